"""tito grade: export, ladder, report, badges, summary, grade."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tito.cli.actions import shown
from tito.cli.console import complain, quote, say, say_json_text
from tito.cli.parser import Usage
from tito.cli.running import Follow, add_run_arguments, run_rungs, say_integrity, verdict_line
from tito.files import ASIDE, write_atomic
from tito.ladder import AnyRung, load_ladder

if TYPE_CHECKING:
    from tito.report import Report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito grade`."""
    add_run_arguments(parser)
    parser.add_argument("--require", metavar="NN", help="exit 1 unless the level reaches this rung")
    parser.add_argument(
        "--fail-under", type=int, metavar="POINTS", help="exit 1 below this many points"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.epilog = (
        "Exit status: 0 when grading completed, whatever the score; 1 when a gate is missed; "
        "2 on bad usage or an unusable tree."
    )
    parser.set_defaults(run=run)


def _missed(options: argparse.Namespace, report: "Report", required: str | None) -> list[str]:
    """The gates that the report does not pass, in words."""
    missed = []
    if required is not None and (report.level is None or report.level < int(required)):
        level = "none" if report.level is None else f"{report.level:02}"
        missed.append(f"level {required} is required, reached: {level}")
    if options.fail_under is not None and report.score.points < options.fail_under:
        missed.append(f"{options.fail_under} points are required, reached: {report.score.points}")
    return missed


def _written(options: argparse.Namespace) -> str:
    """What was written, and where that is for whoever stands elsewhere than in the tree's root."""
    report = shown(options.root / options.report)
    if options.root == Path.cwd():
        return f"{report}, summary.md, grade.json, badges/"
    return f"{report}; summary.md, grade.json and badges/ in {options.root}"


def run(options: argparse.Namespace) -> int:
    """Do what a push does, in this tree."""
    from tito.cli.custom import say_trouble
    from tito.custom import usable
    from tito.export import export_tree, present
    from tito.render import render_all
    from tito.report import dump_report, save_report

    if (options.root / options.report).is_dir():
        raise Usage(f"{shown(options.report)} is a directory; {ASIDE}, then: tito grade")
    ladder = load_ladder(options.root)
    required = ladder.find(options.require).id if options.require else None
    exports = export_tree(options.root, ladder, present(options.root, ladder))
    quiet = options.json
    if not exports and not quiet:
        back = "bring them back with: git checkout HEAD -- modules"
        say(f"[red]problem[/]  there is no module folder under modules/; {back}")
    for result in exports:
        if result.problem and not quiet:
            say(f"[red]problem[/]  {quote(str(result.problem))}")
    rungs: list[AnyRung] = [*ladder.checkpoints, *usable(options.root, ladder)]
    progress = Follow(ladder, rungs, quiet=quiet)
    try:
        with progress:
            report = run_rungs(options, ladder, rungs, progress)
    except KeyboardInterrupt:
        kept = "and badges/ are as they were, tinytorch/core is exported anew"
        complain(f"interrupted: {progress.so_far()}; {shown(options.report)} {kept}")
        return 130
    save_report(report, options.root / options.report)
    for name, text in render_all(report).items():
        write_atomic(options.root / Path(name), text)
    if options.json:
        say_json_text(dump_report(report))
    else:
        say(verdict_line(report))
        say_trouble(report)
        if report.custom:
            passed = sum(c.status == "passed" for c in report.custom)
            say(f"custom checkpoints: {passed} of {len(report.custom)} passed")
        say(quote(f"written: {_written(options)}"))
        say_integrity(report)
    missed = _missed(options, report, required)
    for gate in missed:
        say(f"[red]gate missed[/]  {gate}") if not quiet else None
    return 1 if missed else 0
