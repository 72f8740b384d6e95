"""tito checkpoint: run checkpoints in isolation, or see where you stand."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tito.cli.actions import add_action, add_report, shown
from tito.cli.advice import add_hint, add_unlock
from tito.cli.checking import add_test
from tito.cli.console import (
    complain,
    laid_out,
    marked,
    quote,
    say,
    say_failure,
    say_json,
    say_json_text,
    say_lines,
)
from tito.cli.custom import add_new, say_trouble
from tito.cli.parser import Usage
from tito.cli.profile import add_profile
from tito.cli.running import (
    Follow,
    add_run_arguments,
    by_any_id,
    run_rungs,
    say_integrity,
    verdict_line,
)
from tito.cli.timeline import add_timeline
from tito.ladder import AnyRung, Ladder, load_ladder
from tito.render.words import LOOKS

if TYPE_CHECKING:
    from tito.report import CheckpointResult, CustomResult, Failure, Report

REPORT = "report.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito checkpoint`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = add_action(
        actions,
        "run",
        "run checkpoints, each in an isolated process",
        teaches="The first failure of each is shown in full: what was asked, expected and got, "
        "a hint,\nand the line to open. The results go into report.json; with --report FILE they "
        "alone\nmake that report, and with --json nothing else is written. Exit status 0 when "
        "they ran,\nwhatever came of them; many at once, and regressions: tito checkpoint test.",
    )
    run.add_argument("checkpoints", nargs="*", metavar="NN", help="05, 03-07, autograd …")
    run.add_argument("--all", action="store_true", help="every checkpoint of the ladder")
    run.add_argument(
        "-v", "--verbose", action="store_true", help="every failure, not only the first"
    )
    run.add_argument("--json", action="store_true", help="print the report as JSON")
    add_run_arguments(run, report=None)
    run.set_defaults(run=run_checkpoints)
    status = add_action(
        actions,
        "status",
        "where you stand, by the last report",
        teaches="Nothing is run: make a new report with tito grade.",
    )
    status.add_argument("--detailed", action="store_true", help="every test")
    status.add_argument("--json", action="store_true", help="as JSON")
    add_report(status)
    status.set_defaults(run=show_status)
    add_test(actions)
    add_unlock(actions)
    add_hint(actions)
    add_profile(actions)
    add_new(actions)
    add_timeline(actions)


def show_checkpoint(
    root: Path, result: "CheckpointResult | CustomResult", *, verbose: bool
) -> None:
    """Print one checkpoint of a tree: its line, what blocks it, and its first failure or all."""
    mark, word = marked(result.status), LOOKS[result.status].word
    count = f"{result.passed}/{len(result.tests)} tests" if result.tests else "no tests"
    points = f"{result.points}/{result.max_points} points, " if result.max_points else ""
    say(f"{mark} {result.id} {result.name}: {word}, {count}, {points}{result.duration:.1f} s")
    if result.message:
        say(f"  {quote(result.message)}")
    if result.blocked_by:
        say(f"  mend first: {', '.join(result.blocked_by)}")
    failures = _told(root, result)
    for failure in failures if verbose else failures[:1]:
        say()
        say_failure(failure)
    hidden = sum(test.failure is not None for test in result.tests) - 1
    if hidden > 0 and not verbose:
        plural = "s" if hidden > 1 else ""
        say(f"\n{hidden} more failure{plural}: tito checkpoint run {result.id} --verbose")


def _told(root: Path, result: "CheckpointResult | CustomResult") -> "list[Failure]":
    """The failures of a checkpoint in the order to tell them."""
    if not any(test.failure for test in result.tests):
        return []
    from tito.progress import stubs_of
    from tito.telling import exact_first, ordered

    found = [test.failure for test in exact_first(result.tests) if test.failure]
    return ordered(found, result.id, result.source, stubs_of(root, result.source))


def last_report(path: Path) -> "Report | None":
    """The report to go on from; one that is missing or cannot be used is begun anew."""
    from tito.report import ReportError, load_report

    if not path.exists() or path.is_dir():  # nothing can be written in a directory's place
        return None
    try:
        return load_report(path)
    except ReportError as error:
        fact = error.fact.removesuffix(f"; {error.mend}")
        complain(f"{path.name} cannot be used ({fact}): it is begun anew with this run alone; "
                 "tito grade makes a whole one")  # fmt: skip
        return None


def _keep(
    options: argparse.Namespace,
    ladder: Ladder,
    last: "Report | None",
    new: "Report",
    ids: list[str],
) -> None:
    """Put what was run into the tree's report, whole or not at all."""
    from tito.grading.merge import merged
    from tito.report import save_report

    if not options.all:
        here = [rung.id for rung in ladder.checkpoints if (options.root / rung.file).is_file()]
        new = merged(ladder, last, new, ids, here)
    save_report(new, options.root / REPORT)


def run_checkpoints(options: argparse.Namespace) -> int:
    """Run the wanted checkpoints and print what came of each."""
    from tito.custom import named, usable
    from tito.report import dump_report, save_report

    ladder = load_ladder(options.root)
    if bool(options.checkpoints) == options.all:
        raise Usage("say which: tito checkpoint run 05, or all of them: tito checkpoint run --all")
    rungs: list[AnyRung] = (
        [*ladder.checkpoints, *usable(options.root, ladder)]
        if options.all
        else named(options.root, ladder, options.checkpoints)
    )
    for rung in rungs:
        if not options.all and not (options.root / rung.file).is_file():
            raise Usage(f"this tree has no {rung.file}")
    progress = Follow(ladder, rungs, quiet=options.json)
    keep = not options.report and not options.json
    # A report has one seed; results that are put into it are made with that one.
    last = last_report(options.root / REPORT) if keep and not options.all else None
    try:
        with progress:
            report = run_rungs(options, ladder, rungs, progress, last=last)
    except KeyboardInterrupt:
        complain(f"interrupted: {progress.so_far()}; nothing was written, report.json is as it was")
        return 130
    if options.json:
        say_json_text(dump_report(report))
    else:
        _show_run(options, report, rungs)
    if options.report:
        save_report(report, options.root / options.report)
    elif keep:
        _keep(options, ladder, last, report, [rung.id for rung in rungs])
    return 0


def _show_run(options: argparse.Namespace, report: "Report", rungs: list[AnyRung]) -> None:
    """Print what was run, before anything is written that might not be writable."""
    for rung in rungs:
        result = by_any_id(report)[rung.id]
        if result.tests or not options.all:
            show_checkpoint(options.root, result, verbose=options.verbose)
    if options.all:
        say(verdict_line(report))
        say_trouble(report)
    if report.integrity.modified:
        say_integrity(report)


def show_status(options: argparse.Namespace) -> int:
    """Print the last report's verdict, checkpoint by checkpoint, and what to do next."""
    from tito.report import ReportError, load_report

    path = options.root / options.report
    if not path.exists():
        raise Usage(f"no {shown(options.report)} yet; make one with: tito grade")
    try:
        report = load_report(path)
    except ReportError as error:
        raise Usage(str(error)) from None
    if options.json:
        say_json(_status_json(report, detailed=options.detailed))
        return 0
    say(f"{verdict_line(report)}  (graded {report.generated_at})")
    for stage in report.stages:
        say(f"\n[bold]{stage.name}[/]  {stage.passed}/{stage.total}")
        for c in report.checkpoints:
            if c.stage == stage.name:
                mark, word = marked(c.status), LOOKS[c.status].word
                say(f"  {mark} {c.id} {c.name:<16} {word:<12} {c.points}/{c.max_points}")
                if options.detailed:
                    _show_tests(c)
    show_custom(report, detailed=options.detailed)
    if report.next:
        rung, where = report.next.checkpoint, f"{report.next.file}:{report.next.line or 1}"
        begun = report.by_id[rung].status != "not_started"
        step = f"{where}, then: {report.next.command}" if begun else f"tito module start {rung}"
        say(f"\nnext: {step}")
    return 0


def show_custom(report: "Report", *, detailed: bool = False) -> None:
    """Print the checkpoints beyond the ladder, if there are any."""
    if not report.custom:
        return
    passed = sum(c.status == "passed" for c in report.custom)
    say(f"\n[bold]Custom[/]  {passed}/{len(report.custom)}")
    for c in report.custom:
        mark, word = marked(c.status), LOOKS[c.status].word
        points = f"{c.points}/{c.max_points}" if c.max_points else ""
        points += " of the 100" if c.counts else " beside the 100" if points else ""
        say(f"  {mark} {c.id} {c.name:<16} {word:<12} {points}".rstrip())
        if detailed:
            _show_tests(c)


def _status_json(report: "Report", *, detailed: bool) -> dict:
    """The status for a machine; in detail, a list of tests a checkpoint."""
    document = {
        "score": report.score.to_json(),
        "level": report.level,
        "generated_at": report.generated_at,
        "checkpoints": {c.id: c.status for c in report.checkpoints},
        "custom": {c.id: {"name": c.name, "status": c.status} for c in report.custom},
        "next": report.next.to_json() if report.next else None,
    }
    if detailed:
        kept = ("name", "kind", "status", "step", "of", "points", "max_points", "duration")
        document["tests"] = {
            c.id: [{key: getattr(test, key) for key in kept} for test in c.tests]
            for c in (*report.checkpoints, *report.custom)
        }
    return document


def _show_tests(checkpoint: "CheckpointResult | CustomResult") -> None:
    """Every test of a checkpoint: what it asks, its step, and why it did not pass."""
    lines = []
    if checkpoint.message:
        lines += laid_out("", quote(checkpoint.message.splitlines()[0]), indent=7)
    for test in checkpoint.tests:
        look = LOOKS[test.status]
        words = quote(test.name.removeprefix("test_").replace("_", " "))
        if test.status != "passed":
            words += f"  [dim]{look.word}{f', step {test.step}' if test.step else ''}[/]"
        lines += laid_out(f"     {look.mark}", words, indent=7, style=look.style)
        if test.failure and test.status != "not_started":
            lines += laid_out("", f"[dim]{quote(test.failure.headline)}[/]", indent=9)
    say_lines(lines)
