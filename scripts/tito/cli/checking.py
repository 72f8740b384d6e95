"""tito checkpoint test: many checkpoints, a line each, and whether any has gone back."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tito.cli.console import complain, marked, quote, row, say, say_json
from tito.cli.parser import Usage
from tito.ladder import AnyRung, Ladder, load_ladder
from tito.render.words import LOOKS

if TYPE_CHECKING:
    from tito.report import CheckpointResult, CustomResult, Report

    Result = CheckpointResult | CustomResult


def add_test(actions: "argparse._SubParsersAction") -> None:
    """Add the action `test`."""
    from tito.cli.actions import add_action, add_report, add_seed

    parser = add_action(
        actions,
        "test",
        "check several checkpoints: a line each, and what has gone back",
        teaches="As isolated as `run`, which shows failures in full and exits 0; `test` is for\n"
        "many at once. Exit status 0 when all passed, 1 when any did not.\n"
        "Nothing is written: the last report stays what the next test is held against.\n\n"
        "  tito checkpoint test 03-07         a range; or names: layers-training\n"
        "  tito checkpoint test --completed   all that passed in the last report",
    )
    parser.add_argument("checkpoints", nargs="*", metavar="NN", help="05, 03-07, autograd …")
    parser.add_argument(
        "--completed", action="store_true", help="what passed in the last report: any regressions?"
    )
    parser.add_argument("--all", action="store_true", help="every checkpoint of this tree")
    add_seed(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_report(parser)
    parser.set_defaults(run=run, start=None)


def _last(options: argparse.Namespace) -> "Report | None":
    """The last report, if it is there; one that cannot be used counts only where it is needed."""
    from tito.cli.actions import shown
    from tito.report import ReportError, load_report

    path = options.root / options.report
    if not path.exists():
        if options.completed:
            raise Usage(
                f"no {shown(options.report)} yet shows what passed; make one with: tito grade"
            )
        return None
    try:
        return load_report(path)
    except ReportError as error:
        if options.completed:
            raise Usage(str(error)) from None
        return None


def _wanted(options: argparse.Namespace, ladder: Ladder, last: "Report | None") -> list[AnyRung]:
    """The rungs to check."""
    from tito.custom import named, usable

    ways = (bool(options.checkpoints), options.completed, options.all)
    if sum(ways) != 1:
        raise Usage(
            "say which: tito checkpoint test 03-07, or all that passed before: "
            "tito checkpoint test --completed, or: --all"
        )
    if options.checkpoints:
        rungs = named(options.root, ladder, options.checkpoints)
        for rung in rungs:
            _require(options.root, rung)
        return rungs
    every = (*ladder.checkpoints, *usable(options.root, ladder))
    here = [rung for rung in every if (options.root / rung.file).is_file()]
    if options.all:
        return here
    passed = _passed(last)
    return [rung for rung in here if rung.name in passed]


def _passed(report: "Report | None") -> set[str]:
    """The names of what passed in a report; a custom checkpoint keeps its name, not its id."""
    results = (*report.checkpoints, *report.custom) if report else ()
    return {c.name for c in results if c.status == "passed"}


def _require(root: Path, rung: AnyRung) -> None:
    """Complain about a checkpoint that this tree does not have."""
    if not (root / rung.file).is_file():
        raise Usage(f"this tree has no {rung.file}")


def run(options: argparse.Namespace) -> int:
    """Check the wanted rungs, and hold them against the last report."""
    from tito.cli.running import Follow, by_any_id, run_rungs

    ladder = load_ladder(options.root)
    last = _last(options)
    rungs = _wanted(options, ladder, last)
    if not rungs:
        say_json({"seed": None, "checkpoints": [], "regressed": []}) if options.json else say(
            "nothing has passed in the last report yet; next: tito status"
        )
        return 0
    progress = Follow(ladder, rungs, quiet=options.json)
    try:
        with progress:
            report = run_rungs(options, ladder, rungs, progress)
    except KeyboardInterrupt:
        complain(f"interrupted: {progress.so_far()}; nothing was written, report.json is as it was")
        return 130
    every = by_any_id(report)
    results = [every[rung.id] for rung in rungs]
    before = _passed(last)
    regressed = [c for c in results if c.status != "passed" and c.name in before]
    if options.json:
        say_json(_as_json(report, results, before))
    else:
        _show(results, report, last, regressed)
    return 0 if all(c.status == "passed" for c in results) else 1


def _as_json(report: "Report", results: "list[Result]", before: set[str]) -> dict:
    """The outcome for a machine."""
    return {
        "seed": report.seed,
        "checkpoints": [
            {
                "id": c.id,
                "name": c.name,
                "status": c.status,
                "passed": c.passed,
                "tests": len(c.tests),
                "seconds": round(c.duration, 3),
                "passed_before": c.name in before,
            }
            for c in results
        ],
        "regressed": [c.id for c in results if c.status != "passed" and c.name in before],
    }


def _show(
    results: "list[Result]",
    report: "Report",
    last: "Report | None",
    regressed: "list[Result]",
) -> None:
    """A line each, the first failure of those that did not pass, and the verdict."""
    from tito.cli.status import moment
    from tito.telling import exact_first

    wide = max(len(c.name) for c in results)
    ids = max(len(c.id) for c in results)
    for c in results:
        mark, word = marked(c.status), LOOKS[c.status].word
        count = f"{c.passed}/{len(c.tests)} tests" if c.tests else "no tests"
        back = "  [red]passed before[/]" if c in regressed else ""
        name = f"{mark} {c.id:<{ids}} {c.name:<{wide}}"
        say(f"{name}  {word:<11} {count:>11}  {c.duration:>4.1f} s{back}")
        failure = next((test.failure for test in exact_first(c.tests) if test.failure), None)
        if c.message or failure:
            text = c.message.splitlines()[0] if c.message else failure.headline  # type: ignore[union-attr]
            row("", quote(text), indent=5)
    passed = sum(c.status == "passed" for c in results)
    kind = "checkpoint" if len(results) == 1 else "checkpoints"
    say(f"\n[bold]{passed} of {len(results)} {kind} passed[/]")
    if last is not None and any(c.status == "passed" for c in last.checkpoints):
        held = f"since the report of {moment(last.generated_at)}"
        if regressed:
            say(f"[red]regressed[/] {held}: {', '.join(c.id for c in regressed)}")
        else:
            say(f"no regressions {held}")
    failed = regressed or [c for c in results if c.status != "passed"]
    if failed:
        again = f"tito checkpoint run {failed[0].id} --seed {report.seed}"
        say(f"next: [bold]{again}[/]")
