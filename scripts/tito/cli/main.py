"""Parse the command line and hand over to the command; turn known errors into messages.

Exit status: 0 done (whatever the score), 1 a gate or a check was missed, 2 bad usage or an
unusable tree, 130 interrupted.
"""

import argparse
import gc
import importlib
import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tito import __version__

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

_LIKE_AN_OPTION = re.compile(r"--?[A-Za-z]")  # -1 is a number


class Usage(Exception):
    """Bad usage or an unusable tree: the message says what to do; exit status 2."""


def find_root(start: Path) -> Path:
    """The TinyTorch tree around a directory: the nearest parent with checkpoints/ladder.toml."""
    for folder in (start, *start.parents):
        if (folder / "checkpoints" / "ladder.toml").is_file():
            return folder
    raise Usage(f"no TinyTorch tree at {start} or above it; go to the folder that holds modules/")


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str:
    """The end of a message on a wrong word: the nearest known one, else all there are."""
    from difflib import get_close_matches

    known = list(known)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean: {before}{near[0]}" if near else f"there are: {', '.join(known)}"


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal; argparse makes a formatter for every argument that is added,
    and would load shutil and its compressors to ask for the width.

    Paragraphs of a description or an epilog are filled; lines that are indented, or set in
    columns, stay as they are.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from itertools import groupby

        def kind(line: str) -> str:
            return "set" if line.startswith(" ") or "  " in line else line and "prose"

        rows: list[str] = []
        for which, lines in groupby(text.strip("\n").split("\n"), kind):
            if which == "prose":
                rows += self._split_lines(" ".join(lines), width)
            else:
                rows += lines
        return "".join(f"{indent}{row}\n" for row in rows)

    def __init__(self, prog: str, **how: Any):
        super().__init__(prog, **({"width": self.columns() - 2} | how))

    @staticmethod
    @cache
    def columns() -> int:
        """The width that COLUMNS or the terminal gives, else 80."""
        try:
            return int(os.environ["COLUMNS"]) or 80
        except (KeyError, ValueError):
            pass
        try:
            return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80
        except (AttributeError, ValueError, OSError):
            return 80


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line that says what to type instead."""

    passes_on = False  # whether what follows -- is for another program: the option `extra`

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest command, action or word; argparse would list its whole repertoire."""
        if action.choices is None or value in action.choices:
            return
        if not isinstance(action, argparse._SubParsersAction):
            name = argparse._get_action_name(action)
            mend = did_you_mean(str(value), map(str, action.choices))
            raise Usage(f"{name} cannot be {value!r}; {mend}")
        kind = "command" if action.dest == "command" else "action"
        mend = did_you_mean(str(value), action.choices, before=f"{self.prog} ")
        raise Usage(f"{self.prog} has no {kind} {value!r}; {mend}")

    def __init__(self, **how: Any):
        super().__init__(**({"formatter_class": Help} | how))

    def add_subparsers(self, **how: Any) -> Any:
        """Add commands or actions; argparse would write a whole usage to find their prefix."""
        return super().add_subparsers(prog=self.prog, **how)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Keep what is to be passed on out of it, and the rest for a complaint that names a word.

        argparse would look for our own options behind -- where positional arguments are left.
        """
        line = list(args or ())
        at = line.index("--") if self.passes_on and "--" in line else len(line)
        self.line = line[:at]
        options, rest = super().parse_known_args(self.line, namespace)
        if self.passes_on:
            options.extra = line[at + 1 :]
        return options, rest

    def no_option(self, word: str) -> NoReturn:
        """Complain about an option that there is not."""
        mend = did_you_mean(word.partition("=")[0], self.options)
        if self.passes_on:
            mend += f"; one of the script's own goes after --: {self.prog} NN -- {word}"
        raise Usage(f"{self.prog} has no option {word}; {mend}")

    def _knows(self, word: str) -> bool:
        """Whether a word that begins with a hyphen is one of its options, or short for one."""
        every = [o for a in self._actions for o in a.option_strings]
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        return any(option.startswith(name) for option in every)

    def error(self, message: str) -> NoReturn:
        """Complain in one line; a wrong option is why an argument is missing."""
        if "arguments are required" in message:
            for word in self.line[: self.line.index("--") if "--" in self.line else None]:
                if _LIKE_AN_OPTION.match(word) and not self._knows(word):
                    self.no_option(word)
        if message.endswith("required: ACTION"):
            message = f"say which: {self.prog} {'|'.join(self.actions)}"
        raise Usage(f"{message}; see: {self.prog} --help")

    @property
    def actions(self) -> "dict[str, Parser]":
        """The parsers of its commands or actions, by name."""
        found = (a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction))
        return next(found, {})  # type: ignore[return-value]

    @property
    def options(self) -> list[str]:
        """Its own options in their long form."""
        return [o for a in self._actions for o in a.option_strings if o.startswith("--")]


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
    """The command named on the line, found without parsing the rest."""
    words = iter(arguments)
    for word in words:
        if word in ("-C", "--root"):
            next(words, None)  # a folder
        elif not word.startswith("-"):
            return word if word in COMMANDS else None
    return None


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the line; what no option or argument takes is named with the nearest option."""
    if not arguments:  # nothing to parse: where you are
        return argparse.Namespace(root=None, command=None)
    parser = build_parser(_wanted(arguments))
    options, rest = parser.parse_known_args(arguments)
    if rest:
        at = parser
        for word in (options.command, getattr(options, "action", None)):
            at = at.actions.get(word, at)
        unknown = next((word for word in rest if word.startswith("-")), rest[0])
        if unknown.startswith("-"):
            at.no_option(unknown)
        raise Usage(f"{at.prog} does not know what to do with {unknown!r}; see: {at.prog} --help")
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
    from tito.files import FileProblem
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
        complain(f"{where}{error.strerror or error}; nothing was left half-written")
        return 2
