"""tito checkpoint timeline: the journey so far, drawn for a terminal of any width."""

import argparse
import os
import sys

from tito.cli.actions import add_action, add_report
from tito.cli.console import console, quote, say, say_lines
from tito.ladder import load_ladder
from tito.render.lines import ASCII, UNICODE, Charset, Line, plain_text

PIPED = 80  # columns where there is no terminal
POOR = ("dumb", "linux", "vt100", "vt220")  # terminals whose fonts lack the marks


def add_timeline(actions: "argparse._SubParsersAction") -> None:
    """Add the action `timeline`."""
    parser = add_action(
        actions,
        "timeline",
        "the journey so far: stages, modules, capabilities, milestones",
        teaches="Nothing is run: this is the last report, held against your modules as they are.\n"
        "A terminal that shows only ASCII gets ASCII by itself.",
    )
    parser.add_argument("--horizontal", action="store_true", help="the stages side by side")
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    add_report(parser)
    parser.set_defaults(run=run)


def best_charset() -> Charset:
    """The characters that standard output can show."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    poor = os.environ.get("TERM", "") in POOR and sys.stdout.isatty()
    return UNICODE if encoding.startswith("utf") and not poor else ASCII


def draw(rows: list[Line]) -> None:
    """Print drawn lines; what is not a terminal gets their bare text."""
    if not console().is_terminal:
        print("".join(f"{plain_text(row).rstrip()}\n" for row in rows), end="")
        return
    from rich.text import Text

    texts = [Text.assemble(*((span.text, span.style) for span in row)) for row in rows]
    for text in texts:
        text.rstrip()
    say_lines(texts)


def run(options: argparse.Namespace) -> int:
    """Draw the timeline as wide as the terminal, and say what comes next."""
    from tito.progress import load_progress
    from tito.render.tree import side_by_side, tree

    progress = load_progress(options.root, load_ladder(options.root), options.report)
    charset = ASCII if options.ascii else best_charset()
    width = console().width if console().is_terminal else PIPED
    form = side_by_side if options.horizontal else tree
    draw(form(progress, width, charset))
    say()
    if progress.problem:
        say(f"[yellow]the report cannot be used: {quote(progress.problem)}[/]")
    elif progress.stale:
        say("[yellow]some results are older than your modules; up to date: tito grade[/]")
    say(f"next: [bold]{progress.next.command}[/]")
    return 0
