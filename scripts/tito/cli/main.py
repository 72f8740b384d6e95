"""Parse the command line and hand over to the command; turn known errors into messages.

Exit status: 0 done (whatever the score), 1 a gate or a check was missed, 2 bad usage or an
unusable tree, 130 interrupted.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from tito import __version__

COMMANDS = {
    "grade": "export, run the ladder, write the report, badges and grade: what a push does",
    "export": "copy your modules to tinytorch/core, line for line",
    "checkpoint": "run checkpoints in isolation, or see where you stand",
    "report": "turn report.json into badges, a timeline, a summary",
    "milestone": "run a historical result on your framework, or see which are unlocked",
    "module": "the list of modules",
    "test": "run the unit tests that stand beside the steps of a module",
}
EPILOG = """\
a day of work:
  edit modules/01_tensor/tensor.py    write a step
  tito test 01                        its unit tests, no export needed
  tito checkpoint run 01              what a push will check
  git push                            badges, timeline and grade
"""


class Usage(Exception):
    """Bad usage or an unusable tree: the message says what to do; exit status 2."""


def find_root(start: Path) -> Path:
    """The TinyTorch tree around a directory: the nearest parent with checkpoints/ladder.toml."""
    for folder in (start, *start.parents):
        if (folder / "checkpoints" / "ladder.toml").is_file():
            return folder
    raise Usage(f"no TinyTorch tree at {start} or above it; go to the folder that holds modules/")


def build_parser(wanted: str | None) -> argparse.ArgumentParser:
    """Build the parser; only the wanted command is loaded, which keeps start-up quick."""
    parser = argparse.ArgumentParser(
        prog="tito",
        description="Build TinyTorch module by module, and see how far your framework has come.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tito {__version__}")
    parser.add_argument(
        "-C", "--root", type=Path, help="the tree to work on (default: found from here)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:
            importlib.import_module(f"tito.cli.{name}").configure(command)
    return parser


def _wanted(arguments: list[str]) -> str | None:
    """The command named on the line, found without parsing the rest."""
    return next((a for a in arguments if a in COMMANDS), None)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    from tito.cli.console import complain
    from tito.files import FileProblem
    from tito.ladder import LadderError

    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser(_wanted(arguments))
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        options.root = (options.root or find_root(Path.cwd())).resolve()
        return options.run(options)
    except (Usage, LadderError, FileProblem) as error:
        complain(str(error))
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        complain("interrupted; every file is whole, either the old one or the new one")
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}; nothing was left half-written")
        return 2
