"""Time the start of tito's commands against `python -c "import rich.console"`.

    python scripts/bench/bench_startup.py [--runs 21]

Every command that does not run tests must start in under twice that, in processor time, so that a
busy machine can be measured. `tito` is started as its users start it, by the console script. Two
commands are shown without a limit: `system doctor` imports NumPy and starts a worker, which is
what it is asked to check, and `notebook sync` is as quick as jupytext.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _ratio import compare, finish, start

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 2.0
COMMANDS = (
    *("", "--help", "status", "status --json", "module list", "module start 05", "module view 05"),
    *("checkpoint status", "checkpoint --help", "milestone list", "report show", "export 00"),
    *("system info", "completion bash", "checkpoint status --detailed", "checkpoint unlock"),
    *("checkpoint hint 14", "checkpoint timeline", "milestone info 03", "milestone timeline"),
)
UNLIMITED = ("system doctor", "notebook sync 00")


def copy_tree(folder: Path) -> Path:
    """A copy of the tree to grade, so that the tree itself stays as it is."""
    tree = folder / "tree"
    for name in ("modules", "checkpoints", "tinytorch", "milestones"):
        ignore = shutil.ignore_patterns("__pycache__", "data", "results", "*.ipynb")
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    return tree


# What an installer writes for `tito = "tito.cli:main"`, for an environment that lacks it.
SCRIPT = """import sys
from tito.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""


def console_script(folder: Path) -> list[str]:
    """How users start tito: the script beside this Python, else one of the same lines."""
    installed = Path(sys.executable).with_name("tito")
    if installed.is_file():
        return [str(installed)]
    script = folder / "tito"
    script.write_text(SCRIPT, encoding="utf-8")
    return [sys.executable, str(script)]


def processor_seconds() -> float:
    """The processor time of the processes that have ended: the clock of this benchmark."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Run the comparisons and print them."""
    options = start(__doc__)
    yardstick = [sys.executable, "-c", "import rich.console"]
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        tito = [*console_script(Path(folder)), "-C", str(tree)]
        subprocess.run([*tito, "grade"], check=True, stdout=subprocess.DEVNULL)

        def quietly(arguments: list[str]) -> None:
            subprocess.run(arguments, check=False, stdout=subprocess.DEVNULL)

        rows = [
            compare(
                f"tito {words}",
                lambda words=words: lambda: quietly([*tito, *words.split()]),
                lambda: lambda: quietly(yardstick),
                runs=options.runs,
                limit=LIMIT if words in COMMANDS else None,
                clock=processor_seconds,
            )
            for words in (*COMMANDS, *UNLIMITED)
        ]
    return finish(rows, options, sides=("tito", "yardstick"))


if __name__ == "__main__":
    raise SystemExit(main())
