"""tito milestone run: a historical result on the student's framework, and how it came out."""

import argparse
import contextlib
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tito.cli.actions import add_action, append_to, shown, typed
from tito.cli.console import complain, quote, say
from tito.cli.parser import Usage
from tito.ladder import Ladder, Milestone, load_ladder
from tito.render.escape import plain

if TYPE_CHECKING:
    from tito.files import FileProblem
    from tito.milestone_run import Ended
    from tito.report import Report

LOG = "log.txt"
LOG_LIMIT = 1 << 20  # characters
TRACEBACK = "Traceback (most recent call last):"
CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
TRACE = 2000  # lines of tracebacks, and of what comes between and after them
MESSAGE = 20  # lines of an exception's message; after more of them the script goes on


def add_run(actions: "argparse._SubParsersAction") -> argparse.ArgumentParser:
    """Add the action `run`."""
    parser = add_action(
        actions,
        "run",
        "run a milestone on your framework",
        teaches="The full run keeps its state; after an interruption the same command goes on.\n"
        "What follows -- goes to the script: tito milestone run 04 -- --dataset cifar10\n"
        "Exit status: 0 when the target is reached, 1 when it is not (yet), or locked.",
    )
    parser.usage = (
        "tito milestone run NN [--quick] [--fresh] [--force] [--minutes M] [--out FOLDER]\n"
        "       [--no-gate] [--report FILE] [-- ARGUMENTS]"
    )
    parser.passes_on = True
    parser.add_argument("milestone", metavar="NN", help="03, 03_1986_mlp, 1986 …")
    parser.add_argument("--quick", action="store_true", help="under a minute, on shipped data")
    parser.add_argument("--fresh", action="store_true", help="do not go on from a saved state")
    parser.add_argument("--force", action="store_true", help="run it although it is locked")
    parser.add_argument(
        "--minutes", type=_minutes, metavar="M", help="stop in time, the state saved"
    )
    parser.add_argument("--out", type=typed, metavar="FOLDER", help="where results and a log go")
    parser.add_argument("--no-gate", action="store_true", help="exit 0 unless the run is broken")
    parser.set_defaults(run=run)
    return parser


def _minutes(text: str) -> float:
    """How long a run may take; argparse names the option before the complaint."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")
    return minutes


def last_report(options: argparse.Namespace) -> "Report | None":
    """The last report, if there is one."""
    from tito.report import ReportError, load_report

    path = options.root / options.report
    if not path.is_file():
        return None
    try:
        return load_report(path)
    except ReportError as error:
        raise Usage(str(error)) from error


def run(options: argparse.Namespace) -> int:
    """Export what the milestone requires, run it, and say how it came out."""
    from tito.milestones import find, missing_rungs

    ladder = load_ladder(options.root)
    milestone = find(ladder, options.milestone)
    if any(word.partition("=")[0] == "--out" for word in options.extra):
        raise Usage("--out is for tito, which reads the results there; write it before the --")
    missing = () if options.force else missing_rungs(milestone, last_report(options))
    if missing is None:
        raise Usage(
            f"no {shown(options.report)} yet, so nothing shows that {milestone.id} is unlocked; "
            "make one with: tito grade, or run it all the same with --force"
        )
    if missing:
        from tito.progress import load_progress

        rungs = ", ".join(f"{i} {ladder.by_id[i].name}" for i in missing)
        say(f"[yellow]locked[/]  {milestone.id} still requires: {rungs}")
        step = load_progress(options.root, ladder, options.report).towards(missing[0])
        say(f"next: [bold]{step.command}[/]")
        say("or run it all the same: --force")
        return 1
    from tito.export import export_tree, present

    exports = export_tree(options.root, ladder, present(options.root, ladder))
    problems = [result.problem for result in exports if result.problem]
    for problem in problems:
        say(f"[red]problem[/]  {quote(str(problem))}")
    output = _Output()
    with _one_interruption():
        before = _states(options, milestone)
        try:
            ended = _run(options, ladder, milestone, output)
        except KeyboardInterrupt:
            saved = [
                path for path, at in _states(options, milestone).items() if at != before.get(path)
            ]
            complain(_interrupted(options, saved))
            return 130
    if ended.exit_status == 0 and {"-h", "--help"} & set(options.extra):
        return 0  # it said how it is used, and ran nothing
    append_to("GITHUB_OUTPUT", f"status={ended.status}\n")
    if ended.status == "broken":
        _say_broken(options, ladder, output, ended, problems)
        say(f"[red]broken[/]  no result: the script ended with status {ended.exit_status}")
    output.let_go()
    return 0 if ended.status == "passed" or (options.no_gate and ended.status != "broken") else 1


class _Output:
    """What a script prints, shown as it comes but for a traceback: that is held back until the
    end shows whether the student's code is the reason, or the script goes on. The log, where
    there is one, has it all.

    `trace` is what came from a traceback on, unless so much came after it that no run can have
    ended of it; `shown` of its lines have been shown.
    """

    def __init__(self) -> None:
        self.log: IO[str] | None = None
        self.left = LOG_LIMIT
        self.trace: list[str] = []
        self.shown = 0
        self.told = 0  # lines of the last traceback from its exception's own on
        self.goes_on = False

    def __call__(self, line: str) -> None:
        """Take the next line."""
        if self.log and self.left > 0:
            self.left -= self.log.write(plain(line) + "\n")
        if not self.trace and line != TRACEBACK:
            say(quote(line))
            return
        self.trace.append(line)
        at_margin = bool(line[:1].strip())
        if line == TRACEBACK:
            self.told, self.goes_on = 0, False
        elif self.told or at_margin:
            self.told += 1
        # One that goes on at the margin may be a message of several lines: shown, and kept.
        self.goes_on |= self.told > 1 and at_margin and not line.startswith(CHAINED)
        over = self.told > MESSAGE or len(self.trace) > TRACE
        if self.goes_on or over:
            self.let_go()
        if over:
            self.forget()

    def let_go(self) -> None:
        """Show what was held back."""
        while self.shown < len(self.trace):
            self.shown += 1
            say(quote(self.trace[self.shown - 1]))

    def forget(self) -> None:
        """Hold nothing any more."""
        self.trace.clear()
        self.shown = self.told = 0
        self.goes_on = False


def _say_broken(
    options: argparse.Namespace,
    ladder: Ladder,
    output: _Output,
    ended: "Ended",
    problems: "list[FileProblem]",
) -> None:
    """Say why a run has no result: the student's line if it is one, else what the script said."""
    from tito.cli.console import say_failure
    from tito.crash import explain

    uncaught = ended.exit_status == 1  # as Python ends of an exception
    failure = explain(output.trace, options.root, ladder) if uncaught else None
    if failure is None:
        output.let_go()
        return
    output.forget()
    say()
    say_failure(failure)
    for problem in problems[:1]:
        say(f"\n[red]mend first[/]  {quote(str(problem))}")


@contextlib.contextmanager
def _one_interruption() -> Iterator[None]:
    """Let one Ctrl-C end the run, and no second one the words on how it ended.

    It is not heeded again after that: the process says them and ends.
    """

    def end(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is end:
            signal.signal(signal.SIGINT, before)


def results_of(options: argparse.Namespace, milestone: Milestone) -> Path:
    """The folder in which a run leaves its results."""
    return options.out or options.root / "milestones" / milestone.id / "results"


def _states(options: argparse.Namespace, milestone: Milestone) -> dict[Path, int]:
    """The saved states from which runs go on, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in results_of(options, milestone).glob("*.ckpt")}


def _interrupted(options: argparse.Namespace, saved: list[Path]) -> str:
    """What an interruption leaves, and how the run goes on."""
    if not saved:
        return "interrupted before this run saved its state; the same command starts it again"
    again = "the same command without --fresh" if options.fresh else "the same command"
    return f"interrupted; the state is saved in {shown(saved[0])}: {again} goes on from there"


def _run(
    options: argparse.Namespace, ladder: Ladder, milestone: Milestone, output: _Output
) -> "Ended":
    """Run the script with what was asked for; where results go to a folder, a log goes too."""
    from tito.milestone_run import GRACE, run_script
    from tito.milestones import code_digest

    arguments = ["--quick"] * options.quick + ["--fresh"] * options.fresh
    if options.minutes:
        arguments += ["--minutes", f"{options.minutes:g}"]
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        arguments += ["--out", str(options.out)]
        output.log = open(options.out / LOG, "w", encoding="utf-8")  # noqa: SIM115
    try:
        return run_script(
            options.root,
            milestone,
            arguments + options.extra,
            output,
            code=code_digest(options.root, ladder, milestone),
            minutes=options.minutes + GRACE if options.minutes else None,
        )
    except BaseException:  # Ctrl-C above all
        output.let_go()
        raise
    finally:
        if output.log:
            output.log.close()
