"""Time `tito grade` of the reference, isolated, against bare in-process pytest of the same files.

    python scripts/bench/bench_grade.py [--runs 7]

Both sides run on a copy of the tree that is exported once, with one thread of BLAS. Prints the
wall-clock ratio (limit 1.5) and the peak memory of the trusted session and of its workers.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _ratio import compare, finish, start

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1.5


def copy_tree(target: Path) -> None:
    """Copy what grading reads into a folder of its own."""
    for name in ("modules", "checkpoints", "tinytorch"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))


def main() -> int:
    """Run the comparison and print it."""
    options = start(__doc__)
    from tito.grading.run import THREADS, run_ladder

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        tito = [sys.executable, "-P", "-m", "tito", "-C", str(tree)]
        subprocess.run([*tito, "export", "--all"], check=True, stdout=subprocess.DEVNULL)
        bare = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "checkpoints"]
        bare += ["-o", "python_files=checkpoint_*.py", "--rootdir", str(tree)]
        environment = os.environ | {
            "PYTHONPATH": str(tree),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **{name: os.environ.get(name, "1") for name in THREADS},
        }

        def isolated() -> None:
            subprocess.run([*tito, "grade"], check=True, stdout=subprocess.DEVNULL)

        def in_process() -> None:
            subprocess.run(bare, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)

        row = compare(
            "tito grade / pytest checkpoints",
            lambda: isolated,
            lambda: in_process,
            runs=options.runs,
            limit=LIMIT,
        )
        report = json.loads((tree / "report.json").read_text(encoding="utf-8"))
        from tito.grading.snapshot import take
        from tito.ladder import load_ladder

        ladder = load_ladder(tree)
        outcome = run_ladder(tree, ladder, take(tree, ladder), list(ladder.checkpoints), seed=0)
    score = report["score"]
    workers = [c["peak_memory_bytes"] or 0 for c in report["checkpoints"]]
    tests = sum(len(c["tests"]) for c in report["checkpoints"])
    print(f"{tests} tests, {score['points']} of {score['max']} points")
    print(f"trusted session: {(outcome.session_bytes or 0) / 2**20:.0f} MiB at most")
    print(f"largest worker: {max(workers) / 2**20:.0f} MiB at most")
    sides = ("isolated", "in-process")
    return finish([row], options, sides=sides, tests=tests, session_bytes=outcome.session_bytes)


if __name__ == "__main__":
    raise SystemExit(main())
