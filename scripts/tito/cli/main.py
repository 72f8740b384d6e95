"""Parse the command line and hand over to the command; turn known errors into messages.

Exit status: 0 done (whatever the score), 1 a gate or a check was missed, 2 bad usage or an
unusable tree, 130 interrupted.
"""

import argparse
import gc
import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

from tito import __version__
from tito.cli.parser import Parser, Usage

COMMANDS = {
    "status": "where you are and what is next, in full",
    "module": "begin, test, complete and read modules, or list them",
    "test": "run the unit tests that stand beside the steps of a module",
    "watch": "on every save, test the step and check the module, on one screen",
    "checkpoint": "run checkpoints in isolation, or see where you stand",
    "milestone": "run a historical result on your framework, or see which are unlocked",
    "milestones": "the historical results: the same as tito milestone list",
    "examples": "another name for the milestones: tito examples available",
    "export": "copy your modules to tinytorch/core, line for line",
    "grade": "export, run the ladder, write the report, badges and grade: what a push does",
    # course-only
    "start": "turn a fork of the course into a student's tree, to work through it alone",
    "dev": "for authors: check that the course is in order",
    "release": "make the student's tree: stubs for solutions, badges at zero, a manifest",
    # /course-only
    "report": "turn report.json into badges, a timeline, a summary",
    "notebook": "work on a module as a notebook",
    "update": "take a newer release of the course into your repository",
    "system": "check this machine and its environment, or name the versions",
    "completion": "let your shell complete tito's commands and modules",
}
EPILOG = """\
tito alone says where you are and what to do next.

a day of work:
  tito module start 01             where to begin
  edit modules/01_tensor/tensor.py write a step
  tito test 01                     its unit tests, no export needed
  tito module complete 01          tests, export, checkpoint, what it unlocked
  git push                         badges, timeline and grade
"""


def find_root(start: Path) -> Path:
    """The TinyTorch tree around a directory: the nearest parent with checkpoints/ladder.toml."""
    for folder in (start, *start.parents):
        if (folder / "checkpoints" / "ladder.toml").is_file():
            return folder
    raise Usage(f"no TinyTorch tree at {start} or above it; go to the folder that holds modules/")


def build_parser(wanted: str | None, *, everything: bool = False) -> Parser:
    """Build the parser; only the wanted command is loaded, which keeps start-up quick."""
    parser = Parser(
        prog="tito",
        description="Build TinyTorch module by module, and see how far your framework has come.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"tito {__version__}")
    parser.add_argument(
        "-C", "--root", type=Path, metavar="FOLDER", help="the tree (default: found from here)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        if wanted and name != wanted and not everything:
            continue  # only for the list of commands, which is not asked for
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
        )
        if name == wanted or everything:
            importlib.import_module(f"tito.cli.{name}").configure(command)
    return parser


def _wanted(arguments: list[str]) -> str | None:
    """The word on the line that names the command, found without parsing the rest."""
    words = iter(arguments)
    for word in words:
        if word in ("-C", "--root"):
            next(words, None)  # a folder
        elif not word.startswith("-"):
            return word
    return None


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the line; what no option or argument takes is named with the nearest option."""
    if not arguments:  # nothing to parse: where you are
        return argparse.Namespace(root=None, command=None)
    word = _wanted(arguments)
    # A word that is no command may be the action of one, which only their parsers know.
    unknown = word is not None and word not in COMMANDS
    parser = build_parser(None if unknown else word, everything=unknown)
    options, rest = parser.parse_known_args(arguments)
    if rest:
        at = parser
        for word in (options.command, getattr(options, "action", None)):
            at = at.actions.get(word, at)
        extra = next((word for word in rest if word.startswith("-")), rest[0])
        if extra.startswith("-"):
            at.no_option(extra)
        raise Usage(f"{at.prog} does not know what to do with {extra!r}; see: {at.prog} --help")
    return options


def _tree(options: argparse.Namespace) -> Path:
    """The tree around here; for a command that may run anywhere, else the one of tito itself."""
    try:
        return find_root(Path.cwd())
    except Usage:
        if getattr(options, "anywhere", False):
            return find_root(Path(__file__).resolve().parent)
        raise


def _run(arguments: list[str]) -> int:
    """Run one command."""
    options = _parse(arguments)
    options.root = (options.root or _tree(options)).resolve()
    if options.command is None:
        from tito.cli.status import run_brief

        return run_brief(options)
    return options.run(options)


def _listen() -> list[int]:
    """Take a request to end, SIGTERM or a closed terminal, for Ctrl-C: all is tidied up then.

    Returns:
        A list that gets the number of the signal; the next ones are ignored.
    """
    import signal

    asked: list[int] = []
    numbers = [n for name in ("SIGTERM", "SIGHUP") if (n := getattr(signal, name, None))]
    numbers = [n for n in numbers if signal.getsignal(n) is signal.SIG_DFL]

    def end(number: int, frame: object) -> NoReturn:
        asked.append(number)
        for n in numbers:
            signal.signal(n, signal.SIG_IGN)
        raise KeyboardInterrupt

    for n in numbers:
        signal.signal(n, end)
    return asked


def main(arguments: list[str] | None = None) -> int:
    """Run one command, that of the program's own line if none is given; return its exit status."""
    asked = _listen() if arguments is None else []
    gc.set_threshold(100_000)  # looking for cycles while a report is read takes a tenth of a start
    try:
        status = _guarded(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # before anything was begun
        status = 130
    return 128 + asked[0] if asked and status == 130 else status


def _guarded(arguments: list[str]) -> int:
    """Run one command; what is known to go wrong becomes a message."""
    from tito.cli.console import complain, prepare_streams
    from tito.files import ASIDE, FileProblem
    from tito.ladder import LadderError

    prepare_streams()
    try:
        return _run(arguments)
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
        if error.filename and os.path.isdir(error.filename):
            complain(f"{where}is a directory; {ASIDE}, then type the command again")
            return 2
        complain(f"{where}{error.strerror or error}; nothing was left half-written")
        return 2
