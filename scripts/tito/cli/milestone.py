"""tito milestone: the historical results, what unlocks them, and their runs."""

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tito.cli.actions import add_action, add_report, append_to, typed
from tito.cli.console import complain, console, quote, say, say_json
from tito.cli.milestone_info import add_info, add_timeline, as_json
from tito.cli.milestone_run import add_run, last_report, results_of
from tito.cli.parser import Usage
from tito.files import FileProblem, read_bytes
from tito.ladder import Ladder, Milestone, load_ladder
from tito.render.escape import command_message, plain

if TYPE_CHECKING:
    from tito.milestones import Found, MilestoneRecord

RECORD_NAME = "record.json"
MARGIN = 5  # minutes between the end that is asked of a run and the one that a job enforces


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito milestone`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(
        actions,
        "list",
        "all milestones, what is missing to unlock each, and its last run",
        teaches="A milestone is unlocked when the last report shows all that it requires passed.",
    )
    listing.set_defaults(run=run_list)
    add_info(actions)
    add_timeline(actions)
    plan = add_action(
        actions,
        "plan",
        "which milestones a scheduled run takes now: unlocked, and changed since the last result",
        teaches="In an Actions step it also writes the outputs `any` and `matrix`, and a summary.",
    )
    plan.add_argument("--only", default="", metavar="NN", help="this milestone alone")
    plan.add_argument("--published", type=typed, metavar="FOLDER", help="a checkout of `badges`")
    plan.add_argument("--quick", action="store_true", help="plan quick runs")
    plan.add_argument("--fresh", action="store_true", help="also what has not changed")
    plan.set_defaults(run=run_plan)
    run = add_run(actions)
    show = add_action(actions, "show", "the verdict of a run, as Markdown")
    show.add_argument("milestone", metavar="NN", help="03, 03_1986_mlp, 1986 …")
    show.add_argument("--out", type=typed, metavar="FOLDER", help="where the run left its results")
    show.add_argument("--status", default="", help="how the run said it ended")
    show.set_defaults(run=run_show)
    publish = add_action(
        actions,
        "publish",
        "bring records of runs to the branch `badges`: a flag and a badge each",
        teaches="FOLDER holds a folder milestone-ID with a record.json for each run. One counts\n"
        "if it is valid and of the code in this tree. GITHUB_TOKEN authenticates if it is set.",
    )
    publish.add_argument("--runs", type=typed, required=True, metavar="FOLDER")
    publish.add_argument("--branch", default="badges", help="default: badges")
    publish.add_argument("--remote", help="default: the run's repository in Actions, else origin")
    publish.set_defaults(run=run_publish)
    for action in (listing, plan):
        action.add_argument("--json", action="store_true", help="as JSON")
    for action in (listing, plan, run):
        add_report(action)


def _state(found: "Found") -> str:
    """One word for the list."""
    if found.script is None:
        return "not here yet"
    return "unlocked" if found.unlocked else "locked"


def run_list(options: argparse.Namespace) -> int:
    """Print the milestones in the order of their years."""
    from tito.milestones import discover

    try:
        report, trouble = last_report(options), ""
    except Usage as unusable:  # a person is shown what was run all the same
        if options.json:
            raise
        report, trouble = None, str(unusable)
        complain(trouble)
    milestones = discover(options.root, load_ladder(options.root), report)
    if options.json:
        say_json([as_json(found) for found in milestones])
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("milestone", "title", "state", "still to pass"):
        table.add_column(name)
    runs = []
    for found in milestones:
        unknown = "the report cannot be read" if trouble else "no report yet"
        missing = unknown if found.missing is None else " ".join(found.missing) or "–"
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
    if report is None and not trouble:
        say("\nno report yet: tito grade shows which milestones are unlocked")
    return 0


def run_plan(options: argparse.Namespace) -> int:
    """Say which milestones to run, to people, machines and Actions."""
    from tito.milestones import find, make_plan
    from tito.published import published_records, published_report, read_checkout
    from tito.render.milestone import plan_page

    ladder = load_ladder(options.root)
    only = find(ladder, options.only) if options.only.strip(" ") not in ("", "all") else None
    files = read_checkout(options.root / options.published, ladder) if options.published else {}
    report = published_report(files) or last_report(options)
    plans = make_plan(
        options.root,
        ladder,
        report,
        published_records(files, ladder),
        quick=options.quick,
        fresh=options.fresh,
    )
    plans = [p for p in plans if only in (None, p.milestone)]
    include = [
        {"id": p.milestone.id, "code": p.code, "minutes": p.milestone.minutes,
         "limit": p.milestone.minutes + MARGIN}
        for p in plans
        if p.wanted
    ]  # fmt: skip
    matrix = json.dumps({"include": include}, separators=(",", ":"))
    append_to("GITHUB_OUTPUT", f"any={'true' if include else 'false'}\nmatrix={matrix}\n")
    append_to("GITHUB_STEP_SUMMARY", plan_page([(p.milestone, p.wanted, p.why) for p in plans]))
    if options.json:
        say_json({"include": include, "skipped": [
            {"id": p.milestone.id, "why": p.why} for p in plans if not p.wanted
        ]})  # fmt: skip
        return 0
    for p in plans:
        now = f"[green]run[/], {p.milestone.minutes} minutes at most" if p.wanted else "not now"
        say(f"{p.milestone.id}  {now}: {quote(p.why)}")
    return 0


def _record_of(folder: Path, milestone: Milestone) -> "tuple[MilestoneRecord | None, str]":
    """The record that a run left in a folder; None and the problem where it cannot be used."""
    from tito.milestones import read_record_at

    if not os.path.lexists(folder / RECORD_NAME):
        return None, ""
    try:
        return read_record_at(folder, RECORD_NAME, milestone), ""
    except ValueError as error:
        return None, str(error)


def run_show(options: argparse.Namespace) -> int:
    """Print the page of a run; in an Actions step it is the summary."""
    from tito.milestones import RECORD_LIMIT, find
    from tito.render.milestone import SAMPLE_LIMIT, milestone_page

    milestone = find(load_ladder(options.root), options.milestone)
    folder = results_of(options, milestone)
    record, problem = _record_of(folder, milestone)
    status = options.status or ("" if record is None else "passed" if record.passed else "missed")
    sample = ""
    for path in sorted(folder.glob("*-sample.txt"))[:1]:
        with contextlib.suppress(FileProblem):
            content = read_bytes(folder, path.name, RECORD_LIMIT)
            sample = content.decode("utf-8", "replace")[:SAMPLE_LIMIT]
    page = milestone_page(milestone, status, record, sample, problem)
    append_to("GITHUB_STEP_SUMMARY", page)
    print(plain(page), end="")
    return 0


def run_publish(options: argparse.Namespace) -> int:
    """Add the usable records of some runs to those that are published."""
    from tito.publish import PublishError, find_remote, publish
    from tito.published import better, publication, published_records, published_report
    from tito.render.milestone import results_page

    ladder = load_ladder(options.root)
    new = dict(_usable(options, ladder))
    remote = options.remote or find_remote(options.root, os.environ)
    if not remote:
        say("not published: this tree has no remote")
        return 0
    records: dict[str, MilestoneRecord] = {}

    def add(there: Mapping[str, bytes]) -> Mapping[str, bytes]:
        report = published_report(there)
        if report is None:
            raise PublishError(f"no report is on the branch {options.branch} yet; push first")
        records.update(published_records(there, ladder))
        records.update({name: better(records.get(name), new[name]) for name in new})
        return publication(report, records)

    try:
        subject = f"Milestones: {', '.join(sorted(new)) or 'nothing new'}"
        commit = publish(
            add, remote=remote, branch=options.branch, subject=subject, environment=os.environ
        )
    except PublishError as error:
        _warn("The milestones were not published", str(error))
        complain(f"not published: {error}")
        return 1
    append_to("GITHUB_STEP_SUMMARY", results_page(ladder.milestones, records))
    say(f"published {len(new)} records on the branch {options.branch} ({commit[:12]})")
    return 0


def _usable(options: argparse.Namespace, ladder: Ladder) -> "Iterator[tuple[str, MilestoneRecord]]":
    """By id, the records of the runs that are valid and of the code in this tree."""
    from tito.milestones import code_digest

    for milestone in ladder.milestones:
        folder = options.root / options.runs / f"milestone-{milestone.id}"
        record, problem = _record_of(folder, milestone)
        if record is not None and record.code != code_digest(options.root, ladder, milestone):
            problem = "it is of other code than that of this commit; run the milestone again"
        if problem:
            _warn(f"The record of {milestone.id} was left out", problem)
            complain(f"{milestone.id}: {problem}")
        elif record is not None:
            yield milestone.id, record


def _warn(title: str, text: str) -> None:
    """An annotation, where a run of Actions shows one."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(f"::warning title={title}::{command_message(text)}")
