"""Where output goes: a Rich console, no colour codes when piped, student text escaped.

A terminal that cannot show a mark such as ✓ gets a plain character in its place, so that no
command need think of it. Rich is loaded with the first line for people: help, completion and what
is printed for a machine do without it.
"""

import codecs
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tito.render.escape import plain, stand_in

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from tito.report import Failure

_console: "Console | None" = None


def _plain_character(error: UnicodeError) -> tuple[str, int]:
    """Stand in for characters that an encoding lacks: an error handler of codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(stand_in, error.object[error.start : error.end])), error.end


def prepare_streams() -> None:
    """Let standard output and error replace what their encoding cannot show."""
    codecs.register_error("tito", _plain_character)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _shows_everything(stream):
            stream.reconfigure(errors="tito")


def _shows_everything(stream: Any) -> bool:
    """Whether a stream's encoding has every character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def console() -> "Console":
    """The console for people, on standard output. Honours NO_COLOR; plain when piped."""
    from rich.console import Console

    global _console
    if _console is None or _console.file is not sys.stdout:
        _console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), emoji=False)
    return _console


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a line of our own words; Rich markup is honoured."""
    console().print(text, style=style)


def row(label: str, text: str, *, indent: int = 6, style: str = "bold") -> None:
    """Print a labelled line of markup; what does not fit goes on under the text."""
    say_lines(laid_out(label, text, indent=indent, style=style))


def laid_out(label: str, text: str, *, indent: int = 6, style: str = "bold") -> "list[Text]":
    """The lines that `row` prints; only a terminal has a width that they must fit."""
    from rich.text import Text

    out, whole = console(), Text.from_markup(text, emoji=False)
    lines = [whole]
    if out.is_terminal and (out.width - indent < whole.cell_len or "\n" in whole.plain):
        lines = list(whole.wrap(out, max(20, out.width - indent)))
        for line in lines:
            line.rstrip()
    return [
        Text.assemble((f"{'' if i else label:<{indent}}", style), line)
        for i, line in enumerate(lines)
    ]


def say_lines(lines: "list[Text]") -> None:
    """Print lines that fit, all at once: each print of Rich's costs as much as a dozen lines."""
    from rich.text import Text

    if not console().is_terminal:
        print("".join(f"{line.plain}\n" for line in lines), end="")
    elif lines:
        console().print(Text("\n", no_wrap=True, overflow="ignore").join(lines))


def marked(status: str) -> str:
    """The coloured mark of a status."""
    from tito.render.words import LOOKS

    return f"[{LOOKS[status].style}]{LOOKS[status].mark}[/]"


def say_failure(failure: "Failure") -> None:
    """Print a failure; long parts go on under their own text."""
    from tito.render.failure import LABEL_WIDTH, describe

    headline, *parts = describe(failure).split("\n")
    row("", quote(headline), indent=0)
    indent = LABEL_WIDTH + 2
    out = console()
    for part in parts:
        label, texts = part[:indent], [part[indent:]]
        place, then, command = texts[0].rpartition(", then: ")
        if then and out.is_terminal and len(part) > out.width:
            texts = [f"{place}, then:", command]  # a command stays on one line, to be copied
        for text in texts:
            row(quote(label), quote(text), indent=indent, style="none")
            label = ""


@contextmanager
def working(text: str) -> "Iterator[Working]":
    """A line that shows work in progress on a terminal; nothing when piped."""
    out = console()
    if not out.is_terminal:
        yield Working()
        return
    with out.status(text) as line:
        yield line  # type: ignore[misc]


class Working:
    """Where there is no terminal, work in progress is not shown."""

    def update(self, text: str) -> None:
        """Say what is being done now."""


def quote(text: str) -> str:
    """Make text from a student's code safe to print: no markup, control or workflow command."""
    from rich.markup import escape

    return escape(plain(text))


def say_json(value: Any) -> None:
    """Print one JSON document for a machine."""
    print(json.dumps(value, indent=2, ensure_ascii=not _shows_everything(sys.stdout)))


def say_json_text(text: str) -> None:
    """Print a JSON document as it was written; what the encoding may lack is escaped in it."""
    if not _shows_everything(sys.stdout):
        text = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)
    print(text, end="")


def complain(text: str) -> None:
    """Print an error to standard error, where it cannot spoil a machine's input."""
    from rich.console import Console

    out = Console(stderr=True, highlight=False, emoji=False)
    out.print(f"[bold red]tito:[/] {quote(text)}", soft_wrap=not out.is_terminal)
