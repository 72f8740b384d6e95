"""Time the start of tito's commands against `python -c "import rich.console"`.

    python scripts/bench/bench_startup.py [--runs 21]

Every command that does not run tests must start in under twice that.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from _ratio import compare, finish, start

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 2.0
COMMANDS = ("--help", "checkpoint status", "module list", "report show", "checkpoint --help")


def main() -> int:
    """Run the comparisons and print them."""
    options = start(__doc__)
    yardstick = [sys.executable, "-c", "import rich.console"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        tito = [sys.executable, "-P", "-m", "tito", "-C", str(ROOT)]
        run = [*tito, "checkpoint", "run", "00", "--report", str(report)]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)

        def command(words: str) -> list[str]:
            takes_report = words in ("checkpoint status", "report show")
            return [*tito, *words.split(), *(["--report", str(report)] if takes_report else [])]

        def quietly(arguments: list[str]) -> None:
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)

        rows = [
            compare(
                f"tito {words}",
                lambda words=words: lambda: quietly(command(words)),
                lambda: lambda: quietly(yardstick),
                runs=options.runs,
                limit=LIMIT,
            )
            for words in COMMANDS
        ]
    return finish(rows, options, sides=("tito", "yardstick"))


if __name__ == "__main__":
    raise SystemExit(main())
