"""tito milestone: the historical results, what unlocks them, and their runs."""

import argparse
from pathlib import Path

from tito.cli.actions import add_action
from tito.cli.console import console, quote, say, say_json
from tito.export import export_tree
from tito.ladder import load_ladder
from tito.milestones import Found, discover, find, missing_rungs, run_script
from tito.report import Report, load_report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito milestone`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(
        actions,
        "list",
        "all milestones, what is missing to unlock each, and its last run",
        teaches="A milestone is unlocked when the last report shows all that it requires passed.",
    )
    run = add_action(
        actions,
        "run",
        "run a milestone on your framework",
        teaches="The full run keeps its state; after an interruption the same command goes on.\n"
        "What follows -- goes to the script: tito milestone run 04 -- --dataset cifar10\n"
        "Exit status: 0 when the target is reached, 1 when it is not (yet), or locked.",
    )
    run.add_argument("milestone", metavar="NN", help="03, 03_1986_mlp, 1986 …")
    run.add_argument("extra", nargs="*", metavar="-- ARGUMENTS", help="for the script")
    run.add_argument("--quick", action="store_true", help="under a minute, on shipped data")
    run.add_argument("--force", action="store_true", help="run it although it is locked")
    run.set_defaults(run=run_milestone)
    listing.add_argument("--json", action="store_true", help="the list as JSON")
    listing.set_defaults(run=run_list)
    for action in (listing, run):
        action.add_argument(
            "--report", type=Path, default=Path("report.json"), help="default: report.json"
        )


def _report(options: argparse.Namespace) -> Report | None:
    """The last report, if there is one."""
    path = options.root / options.report
    return load_report(path) if path.is_file() else None


def _state(found: Found) -> str:
    """One word for the list."""
    if found.script is None:
        return "not here yet"
    return "unlocked" if found.unlocked else "locked"


def _row(found: Found) -> dict:
    """A milestone for a machine."""
    m = found.milestone
    return {
        "id": m.id,
        "year": m.year,
        "title": m.title,
        "requires": list(m.requires),
        "missing": None if found.missing is None else list(found.missing),
        "here": found.script is not None,
        "unlocked": found.unlocked,
        "record": found.record.to_json() if found.record else None,
        "problem": found.problem or None,
    }


def run_list(options: argparse.Namespace) -> int:
    """Print the milestones in the order of their years."""
    report = _report(options)
    milestones = discover(options.root, load_ladder(options.root), report)
    if options.json:
        say_json([_row(found) for found in milestones])
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("milestone", "title", "state", "still to pass"):
        table.add_column(name)
    runs = []
    for found in milestones:
        missing = "no report yet" if found.missing is None else " ".join(found.missing) or "–"
        if found.problem:
            runs.append(f"{found.milestone.id}  {quote(found.problem)}")
        if found.record:
            verdict = "reached" if found.record.passed else "missed"
            kind = "quick" if found.record.quick else "full"
            summary = quote(found.record.summary)
            runs.append(f"{found.milestone.id}  {verdict}, {kind} run: {summary}")
        table.add_row(found.milestone.id, found.milestone.title, _state(found), missing)
    console().print(table)
    if runs:
        say("\n[bold]last runs[/]")
    for line in runs:
        say(line)
    if report is None:
        say("\nno report yet: tito grade shows which milestones are unlocked")
    return 0


def run_milestone(options: argparse.Namespace) -> int:
    """Export what the milestone requires, run it, and say how it came out."""
    from tito.cli.main import Usage

    ladder = load_ladder(options.root)
    milestone = find(ladder, options.milestone)
    missing = () if options.force else missing_rungs(milestone, _report(options))
    if missing is None:
        raise Usage(
            f"no {options.report} yet, so nothing shows that {milestone.id} is unlocked; "
            "make one with: tito grade, or run it all the same with --force"
        )
    if missing:
        rungs = ", ".join(f"{i} {ladder.by_id[i].name}" for i in missing)
        say(f"[yellow]locked[/]  {milestone.id} still requires: {rungs}")
        say(f"next: tito checkpoint run {missing[0]}, then: tito grade")
        say("or run it all the same: --force")
        return 1
    rungs = [r for r in ladder.checkpoints if (options.root / "modules" / r.folder).exists()]
    for result in export_tree(options.root, ladder, rungs):
        if result.problem:
            say(f"[red]problem[/]  {quote(str(result.problem))}")
    arguments = ["--quick"] * options.quick + options.extra
    ended = run_script(options.root, milestone, arguments, lambda line: say(quote(line)))
    if ended.status == "broken":
        say(f"[red]broken[/]  no result: the script ended with status {ended.exit_status}")
    return 0 if ended.status == "passed" else 1
