"""tito checkpoint new: a checkpoint of your own, beyond the ladder."""

import argparse
from typing import TYPE_CHECKING

from tito.cli.actions import add_action
from tito.cli.console import quote, row, say
from tito.cli.parser import Usage
from tito.ladder import load_ladder

if TYPE_CHECKING:
    from tito.report import Report


def add_new(actions: "argparse._SubParsersAction") -> None:
    """Add the action `new`."""
    parser = add_action(
        actions,
        "new",
        "begin a checkpoint of your own: a file with a worked example, ready to run",
        teaches="It runs as isolated as the ladder's, on every push too, and stands at the end of\n"
        "status, summary and timeline. It has no part in the level or the 100 points.\n"
        "In a student's tree it is named in checkpoints/custom.toml; the ladder belongs to the\n"
        "course. In the course itself it is named in checkpoints/ladder.toml, where an\n"
        "instructor can add `counts = true` and take its points from the other rungs.",
    )
    parser.add_argument("name", metavar="NAME", help="such as row_sums")
    parser.add_argument("--question", metavar="TEXT", help="what passing shows: Can I …?")
    parser.add_argument(
        "--needs",
        action="append",
        default=[],
        metavar="NN",
        help="the rungs it builds on: 05, 03-05 … (default: 01)",
    )
    parser.add_argument("--points", type=int, default=0, metavar="N", help="beside the 100")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the file and its entry, and say how to go on."""
    from tito.custom import clean_name, create, customs
    from tito.selection import select

    ladder = load_ladder(options.root)
    name = clean_name(ladder, customs(options.root, ladder), options.name)
    if not 0 <= options.points <= 100:
        raise Usage(f"points are a whole number from 0 to 100, not {options.points}")
    needs = tuple(rung.id for rung in select(ladder, options.needs or ["01"]))
    if not needs:
        raise Usage("--needs names no rung; name those it builds on, such as --needs 01")
    question = " ".join((options.question or f"Can I do {name.replace('_', ' ')}?").split())
    if not question or len(question) > 300:
        raise Usage("the question is one sentence, up to 300 characters: Can I …?")
    made = create(options.root, ladder, name, question, needs, options.points)
    say(f"[bold]{made.custom.id} {name}[/]  {quote(question)}\n")
    row("file", f"{made.custom.file}  two tests as a worked example", indent=8)
    row("entry", f"{made.registered}: question, needs, points", indent=8)
    if not made.custom.own:  # only what Git tracks is released
        row("then", f"git add {made.custom.file}, and it goes to students", indent=8)
    row("next", f"[bold]tito checkpoint run {made.custom.id}[/]", indent=8)
    return 0


def say_trouble(report: "Report") -> None:
    """Print why the student's own checkpoints were not run, if they could not be."""
    from tito.custom import OWN_FILE

    for problem in report.problems:
        if problem.file == OWN_FILE:
            text = f"{problem.file}:{problem.line}: {problem.message}; {problem.mend}"
            say(f"[red]problem[/]  {quote(text)}")
