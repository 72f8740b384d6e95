"""Write the locked requirements anew from pyproject.toml: `python scripts/requirements/lock.py`.

`base.txt` is what `tito` needs, `dev.txt` the same versions and what the tests need beside them,
`plots.txt` the part of these that draws the curves of milestones. All hold for Python 3.11 and
later on Linux, macOS and Windows, name the hash of every file that may be installed, and include
the build backend. Needs `uv`; versions that still satisfy pyproject.toml stay as they are unless
`--upgrade` is given.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COMPILE = (
    "uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --group build "
    "--generate-hashes --no-annotate --no-emit-index-url --no-config"
).split()


def lock(name: str, *options: str) -> None:
    """Compile one file of requirements in place."""
    target = f"scripts/requirements/{name}.txt"
    made_by = ["--custom-compile-command", "python scripts/requirements/lock.py"]
    command = [*COMPILE, *made_by, "-o", target, *options, *sys.argv[1:]]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    lock("base")
    lock("dev", "--extra", "dev", "--constraint", "scripts/requirements/base.txt")
    lock("plots", "--extra", "plots", "--constraint", "scripts/requirements/dev.txt")
