"""tito milestone info: one historical result, what it needs, and how its last run went."""

import argparse
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from tito.cli.console import quote, row, say, say_json
from tito.files import FileProblem, read_text
from tito.ladder import Ladder, Milestone, load_ladder

if TYPE_CHECKING:
    from tito.milestones import Found
    from tito.progress import Progress

SHORT = 9  # columns of a label


def add_info(actions: "argparse._SubParsersAction") -> None:
    """Add the action `info`."""
    from tito.cli.actions import add_action, add_report

    parser = add_action(
        actions,
        "info",
        "one milestone: its story, what it needs, and its last run",
        teaches="Nothing is run: what is missing is said by the last report.",
    )
    parser.add_argument("milestone", metavar="NN", help="03, 03_1986_mlp, 1986 …")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_report(parser)
    parser.set_defaults(run=run)


def add_timeline(actions: "argparse._SubParsersAction") -> None:
    """Add the action `timeline`."""
    from tito.cli.actions import add_action, add_report

    parser = add_action(
        actions,
        "timeline",
        "the milestones on a line of years, and how each stands",
        teaches="Nothing is run. A terminal that shows only ASCII gets ASCII by itself.",
    )
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    add_report(parser)
    parser.set_defaults(run=run_timeline)


def as_json(found: "Found") -> dict:
    """A milestone for a machine."""
    m = found.milestone
    return {
        "id": m.id,
        "year": m.year,
        "title": m.title,
        "requires": list(m.requires),
        "must": m.must,
        "minutes": m.minutes,
        "missing": None if found.missing is None else list(found.missing),
        "here": found.script is not None,
        "unlocked": found.unlocked,
        "record": found.record.to_json() if found.record else None,
        "problem": found.problem or None,
    }


def run_timeline(options: argparse.Namespace) -> int:
    """Draw the years, and say what comes next."""
    from tito.cli.console import console
    from tito.cli.timeline import PIPED, best_charset, draw
    from tito.milestones import discover
    from tito.progress import load_progress
    from tito.render.lines import ASCII
    from tito.render.years import years

    ladder = load_ladder(options.root)
    progress = load_progress(options.root, ladder, options.report)
    found = discover(options.root, ladder, progress.report)
    charset = ASCII if options.ascii else best_charset()
    draw(years(found, console().width if console().is_terminal else PIPED, charset))
    say()
    open_ones = [f for f in found if f.record is None and f.script is not None]
    first = next((f for f in open_ones if f.unlocked), open_ones[0] if open_ones else None)
    step = _next(ladder, progress, first) if first else progress.next.command
    say(f"next: [bold]{step}[/]")
    return 0


def story(root: Path, milestone: Milestone) -> tuple[str, str]:
    """The title and the first paragraph of a milestone's README; the ladder's title without it."""
    try:
        text = read_text(root, f"milestones/{milestone.id}/README.md")
    except FileProblem:
        return f"{milestone.year}: {milestone.title}", ""
    lines = iter(text.splitlines())
    title = next((line.lstrip("# ") for line in lines if line.startswith("# ")), milestone.title)
    rest = list(lines)
    start = next((i for i, line in enumerate(rest) if line.strip()), len(rest))
    return title, " ".join(takewhile(str.strip, rest[start:]))


def run(options: argparse.Namespace) -> int:
    """Print everything known of one milestone."""
    from tito.milestones import discover, find
    from tito.progress import load_progress

    ladder = load_ladder(options.root)
    milestone = find(ladder, options.milestone)
    progress = load_progress(options.root, ladder, options.report)
    found = next(
        f for f in discover(options.root, ladder, progress.report) if f.milestone == milestone
    )
    title, words = story(options.root, milestone)
    if options.json:
        say_json({**as_json(found), "story": words})
        return 0
    say(f"[bold]{quote(title)}[/]  [dim]{milestone.id}[/]")
    if words:
        row("", quote(words), indent=0)
    say()
    _needs(progress, found)
    row("must", f"reach {quote(milestone.must)}" if milestone.must else "run", indent=SHORT)
    minutes = f"{milestone.minutes} minutes at most for one scheduled run"
    row("time", f"--quick under a minute; {minutes}, a longer one goes on", indent=SHORT)
    _last_run(found)
    say()
    row("next", f"[bold]{_next(ladder, progress, found)}[/]", indent=SHORT)
    return 0


def _needs(progress: "Progress", found: "Found") -> None:
    """Whether it is locked, and the rungs it requires with their marks."""
    from tito.cli.status import mark

    if found.missing is None:
        state = "no report yet shows what has passed"
    elif found.missing:
        count = len(found.missing)
        what = "checkpoint is" if count == 1 else "checkpoints are"
        state = f"[yellow]locked[/]: {count} {what} missing, {' '.join(found.missing)}"
    else:
        state = "[green]unlocked[/]" if found.script else "unlocked, but not in this tree"
    row("state", state, indent=SHORT)
    rungs = [progress.by_id[need] for need in found.milestone.requires]
    row("needs", "  ".join(f"{mark(rung)} {rung.id}" for rung in rungs), indent=SHORT)


def _last_run(found: "Found") -> None:
    """The last record: its verdict, its figures, and its curves in characters."""
    if found.problem:
        row("last run", f"[red]{quote(found.problem)}[/]", indent=SHORT)
    record = found.record
    if record is None:
        if not found.problem:
            row("last run", "none yet", indent=SHORT)
        return
    verdict = "[green]reached[/]" if record.passed else "[yellow]missed[/]"
    kind = "quick" if record.quick else "full"
    when = f"{record.finished_at[:10]}, {record.seconds:.0f} s, seed {record.seed}"
    row("last run", f"{verdict}, {kind}, {when}", indent=SHORT)
    row("", quote(record.summary), indent=SHORT)
    from tito.render.milestone import chart

    for curve in record.curves[:2]:
        say()
        print("\n".join("  " + line for line in chart(curve).splitlines()))


def _next(ladder: Ladder, progress: "Progress", found: "Found") -> str:
    """The command that brings this milestone nearer."""
    if found.missing is None:
        return "tito grade"
    if found.missing:
        return progress.towards(found.missing[0]).command
    if found.script is None:
        return "tito update"
    number = found.milestone.id.partition("_")[0]
    full = found.record is not None and found.record.passed
    return f"tito milestone run {number}{'' if full else ' --quick'}"
