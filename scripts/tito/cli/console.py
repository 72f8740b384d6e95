"""Where output goes: a Rich console, no colour codes when piped, student text escaped."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

from tito.render.escape import plain

_console: Console | None = None


def console() -> Console:
    """The console for people, on standard output. Honours NO_COLOR; plain when piped."""
    global _console
    if _console is None or _console.file is not sys.stdout:
        _console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), emoji=False)
    return _console


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a line of our own words; Rich markup is honoured."""
    console().print(text, style=style)


def quote(text: str) -> str:
    """Make text from a student's code safe to print: no markup, control or workflow command."""
    return escape(plain(text))


def say_json(value: Any) -> None:
    """Print one JSON document for a machine."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def complain(text: str) -> None:
    """Print an error to standard error, where it cannot spoil a machine's input."""
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(
        f"[bold red]tito:[/] {quote(text)}"
    )
