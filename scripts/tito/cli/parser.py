"""The parser of a command line: help as wide as the terminal, and complaints that say what to type.

A complaint is `Usage`, raised here and wherever else a command cannot do what was typed.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any, NoReturn

_LIKE_AN_OPTION = re.compile(r"--?[A-Za-z]")  # -1 is a number


class Usage(Exception):
    """Bad usage or an unusable tree: the message says what to do; exit status 2."""


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
        if homes := [name for name, below in self.actions.items() if value in below.actions]:
            mend = f"did you mean: {self.prog} {homes[0]} {value}"
        raise Usage(f"{self._lacks(kind)} {value!r}; {mend}")

    def _lacks(self, kind: str) -> str:
        """The fact of a complaint; the program's own name stands before every complaint."""
        _, _, words = self.prog.partition(" ")
        return f"{self.prog} has no {kind}" if words else f"there is no {kind}"

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
        raise Usage(f"{self._lacks('option')} {word}; {mend}")

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
