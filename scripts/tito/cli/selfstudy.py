"""tito module reset and tito module solution: begin a module anew, or read how it can be done."""

import argparse
from typing import TYPE_CHECKING, Any

from tito.cli.actions import add_action
from tito.cli.console import complain, console, quote, row, say
from tito.cli.parser import Usage

if TYPE_CHECKING:
    from tito.ladder import Checkpoint
    from tito.selfstudy import Solution


def add_actions(actions: Any) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Add both actions to `tito module`."""
    reset = add_action(
        actions,
        "reset",
        "bring a module back to its stubs; your version is kept aside",
        teaches="Your version goes to .tito/kept/modules/, under a number that is still free. Git\n"
        "ignores that folder: what should last, commit first.",
    )
    reset.set_defaults(run=run_reset)
    solution = add_action(
        actions,
        "solution",
        "how a module can be solved, once its checkpoint has passed",
        teaches="Only where the solutions are: in the course, or in a fork of it that tito start\n"
        "made a student's tree of. A repository made from the template has none.",
    )
    solution.add_argument("--spoil", action="store_true", help="also before it has passed")
    solution.add_argument("--step", type=int, metavar="N", help="of one step only")
    solution.add_argument("--diff", action="store_true", help="against what you wrote")
    solution.set_defaults(run=run_solution)
    return reset, solution


def run_reset(options: argparse.Namespace) -> int:
    """Restore a module's stub."""
    from tito.aside import bring_back
    from tito.ladder import load_ladder
    from tito.selfstudy import reset

    rung = load_ladder(options.root).find(options.module)
    done = reset(options.root, rung)
    if done.made is None:
        say(f"{done.file} has nothing but its stubs already; nothing was changed")
        return 0
    if done.made == "released":
        say(f"{done.file} is as it was released: every step is a stub")
    else:
        say(
            f"{done.file}: every solution is a stub again. Its released text is not in this "
            f"repository's history, so what you changed outside the marks is still there."
        )
    if done.kept:
        row("kept", f"your version is in {quote(done.kept)}")
        row("back", quote(bring_back(done.kept, done.file)))
    row("next", f"[bold]tito module start {rung.id}[/]")
    return 0


def run_solution(options: argparse.Namespace) -> int:
    """Show the solutions of a module."""
    from tito.ladder import load_ladder
    from tito.selfstudy import NoSolution, solutions

    rung = load_ladder(options.root).find(options.module)
    try:
        found = solutions(options.root, rung)
        if not options.spoil:
            _check_passed(options, rung)
    except NoSolution as reason:
        complain(str(reason))
        return 1
    if options.step is not None:
        known = sorted({s.step for s in found if s.step is not None})
        found = [s for s in found if s.step == options.step]
        if not found:
            raise Usage(f"module {rung.id} has no solution in step {options.step}; it has: "
                        f"{', '.join(map(str, known))}")  # fmt: skip
    for solution in found:
        _show(rung, solution, options.diff)
    return 0


def _check_passed(options: argparse.Namespace, rung: "Checkpoint") -> None:
    """Raise unless the last report has the checkpoint as passed."""
    from tito.report import ReportError, load_report
    from tito.selfstudy import NoSolution

    try:
        passed = load_report(options.root / "report.json").by_id[rung.id].status == "passed"
    except (ReportError, OSError, KeyError):
        passed = False
    if not passed:
        raise NoSolution(
            f"checkpoint {rung.id} has not passed yet; see: tito checkpoint hint {rung.id}. Once "
            f"it has (tito module complete {rung.id}), this shows how the course does it; --spoil "
            f"shows it now, and --step N only one step"
        )


def _show(rung: "Checkpoint", solution: "Solution", diff: bool) -> None:
    """One solution under its heading."""
    step = f"step {solution.step}: " if solution.step is not None else ""
    line = solution.line
    where = f"{rung.source}:{line}" if line else f"no longer in {rung.source}"
    say(f"[bold]{step}{quote(solution.name)}[/]  [dim]{where}[/]")
    text = solution.diff if diff else solution.text
    if diff and not text:
        say("    the same as yours\n")
        return
    out = console()
    if out.is_terminal:
        from rich.syntax import Syntax

        kind = "diff" if diff else "python"
        text = text.rstrip("\n")
        out.print(Syntax(text, kind, theme="ansi_dark", background_color="default"))
        out.print()
    else:
        say(quote(text))
