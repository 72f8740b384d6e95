"""What every command that runs checkpoints shares: its options, the run, a line that follows it."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tito.cli.actions import add_seed, report_file
from tito.cli.console import console, quote, say
from tito.render.escape import one_line

if TYPE_CHECKING:
    from tito.ladder import AnyRung, Ladder
    from tito.report import CheckpointResult, CustomResult, Report

STARTS = ("fork", "spawn") if hasattr(os, "fork") else ("spawn",)


def add_run_arguments(parser: argparse.ArgumentParser, report: str | None = "report.json") -> None:
    """Add what every command that runs checkpoints understands."""
    parser.add_argument(
        "--report",
        type=report_file,
        default=Path(report) if report else None,
        metavar="FILE",
        help="write the report here" + (f" (default: {report})" if report else ""),
    )
    add_seed(parser, "repeat a run's random inputs: its report has the seed")
    parser.add_argument(
        "--start", choices=STARTS, help="how workers start (default: the best at hand)"
    )


class Follow:
    """A line that follows the run on a terminal; nothing when piped."""

    def __init__(self, ladder: "Ladder", rungs: "Iterable[AnyRung]", *, quiet: bool):
        self.ladder = ladder
        self.rungs = {rung.id: rung for rung in rungs}
        self.status = None
        self.seen: dict[str, list[str]] = {}  # by rung, the statuses of its tests so far
        if console().is_terminal and not quiet:
            self.status = console().status("starting the workers")

    def __enter__(self) -> Self:
        if self.status:
            self.status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.status:
            self.status.stop()

    def __call__(self, message: dict[str, Any]) -> None:
        """Show the test that begins, or has just ended."""
        seen = self.seen.setdefault(message["rung"], [])
        if message["status"] != "running":
            seen.append(message["status"])
        if self.status and message["rung"]:
            rung = self.rungs.get(message["rung"]) or self.ladder.by_id[message["rung"]]
            at = f"{len(self.seen)} of {len(self.rungs)}: " if len(self.rungs) > 1 else ""
            count = f"{len(seen)} of {message['tests']} tests" if message.get("tests") else ""
            line = f"{at}{rung.id} {rung.name} · {count} · {message['test']}"
            self.status.update(quote(one_line(line)))

    def so_far(self) -> str:
        """What is known when the run is interrupted, in words; the last rung may be unfinished."""
        ended = list(self.seen)[:-1]
        passed = [i for i in ended if set(self.seen[i]) == {"passed"}]
        failed = [i for i in ended if i not in passed]
        parts = [f"{', '.join(passed)} passed"] if passed else []
        parts += [f"{', '.join(failed)} did not pass"] if failed else []
        at = f"stopped in {list(self.seen)[-1]}" if self.seen else "no test had ended"
        return ", ".join([*parts, at])


def run_rungs(
    options: argparse.Namespace,
    ladder: "Ladder",
    rungs: "list[AnyRung]",
    progress: Follow,
    *,
    last: "Report | None" = None,
) -> "Report":
    """Grade some rungs of the tree with the command's options, and the seed of the last report."""
    from tito.grading.grade import grade, new_seed

    seed = options.seed if options.seed is not None else last.seed if last else new_seed()
    return grade(options.root, ladder, rungs, seed=seed, progress=progress, start=options.start)


def verdict_line(report: "Report") -> str:
    """One line on the whole report."""
    level = "no level yet" if report.level is None else f"level {report.level:02}"
    passed = sum(c.status == "passed" for c in report.checkpoints)
    return (
        f"[bold]{report.score.points} of {report.score.max} points[/], {level}, "
        f"{passed} of {len(report.checkpoints)} checkpoints passed"
    )


def say_integrity(report: "Report") -> None:
    """Print which course files are not as released, and by which text they were graded."""
    found = report.integrity
    kinds = {
        "changed": found.modified,
        "missing": found.missing,
        "not of the course": found.unexpected,
    }
    parts = [f"{word}: {_few(paths)}" for word, paths in kinds.items() if paths]
    left = {*found.modified, *found.missing} - {*found.restored}
    if found.restored:
        where = " where the history has it" if left else ""
        parts.append(f"graded with the released text{where}")
    elif left:
        parts.append("graded as they are")
    if parts:
        say(f"[yellow]integrity[/]  {quote('; '.join(parts))}; see: tito report integrity")


def _few(paths: tuple[str, ...]) -> str:
    """The first paths of a list, and how many more there are."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def by_any_id(report: "Report") -> "dict[str, CheckpointResult | CustomResult]":
    """The results of a report by id, the custom ones too."""
    return {c.id: c for c in (*report.checkpoints, *report.custom)}
