"""tito checkpoint unlock and hint: what comes next, and a word on how."""

import argparse
from typing import TYPE_CHECKING

from tito.cli.console import complain, quote, row, say, say_json
from tito.cli.parser import Usage
from tito.frozen import Frozen, frozen
from tito.ladder import Checkpoint, load_ladder

if TYPE_CHECKING:
    from tito.progress import Progress, Rung
    from tito.report import Outcome


def add_unlock(actions: "argparse._SubParsersAction") -> None:
    """Add the action `unlock`."""
    from tito.cli.actions import add_action, add_report

    parser = add_action(
        actions,
        "unlock",
        "what the checkpoints you can pass next would open",
        teaches="Modules, milestones and stages that wait for one checkpoint only, by the last\n"
        "report. Nothing is run.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_report(parser)
    parser.set_defaults(run=run_unlock)


def run_unlock(options: argparse.Namespace) -> int:
    """Print what each rung that can be passed now would open."""
    from tito.cli.status import mark
    from tito.progress import load_progress
    from tito.render.words import rung_words
    from tito.unlocks import unlocks

    ladder = load_ladder(options.root)
    progress = load_progress(options.root, ladder, options.report)
    found = unlocks(ladder, {rung.id for rung in progress.passed})
    if options.json:
        say_json(
            [
                {
                    "id": u.rung.id,
                    "module": u.rung.module,
                    "status": progress.by_id[u.rung.id].status,
                    "rungs": [c.id for c in u.rungs],
                    "milestones": [m.id for m in u.milestones],
                    "capabilities": [stage.capability for stage in u.stages],
                }
                for u in found
            ]
        )
        return 0
    if progress.problem:
        say(f"[yellow]the report cannot be used: {quote(progress.problem)}[/]\n")
    if not found:
        say(f"all {len(ladder.checkpoints)} checkpoints passed: nothing is locked any more")
        say("next: [bold]tito milestone list[/]")
        return 0
    for u in found:
        rung = progress.by_id[u.rung.id]
        say(f"{mark(rung)} [bold]{u.rung.id} {u.rung.module}[/]  {rung_words(rung)}")
        for c in u.rungs:
            row("   opens", f"{c.id} {c.module}: {c.question}", indent=11, style="none")
        for m in u.milestones:
            number = m.id.partition("_")[0]
            text = f"[cyan]milestone {number}, {m.year}, {m.title}[/]"
            row("   unlocks", text, indent=11, style="none")
        for stage in u.stages:
            row("   earns", f"[green]“{stage.capability}”[/]", indent=11, style="none")
        if u.nearest:
            m, missing = u.nearest
            text = f"milestone {m.id.partition('_')[0]}, {m.year}, then lacks {' '.join(missing)}"
            row("", f"[dim]{text}[/]", indent=11)
        say()
    stale = [rung.id for rung in progress.rungs if rung.passed and rung.stale]
    if stale:
        say(f"[yellow]graded before the last edits: {', '.join(stale)}; tito grade is sure[/]")
    say(f"next: [bold]{progress.next.command}[/]")
    return 0


# Hints


@frozen
class Place(Frozen):
    """The step to give a hint on, and why that one."""

    rung: Checkpoint
    step: int | None
    name: str
    line: int | None
    why: str
    test: "Outcome | None" = None


def add_hint(actions: "argparse._SubParsersAction") -> None:
    """Add the action `hint`."""
    from tito.cli.actions import add_action, add_report

    parser = add_action(
        actions,
        "hint",
        "a hint on the step that fails first; more of them on request",
        teaches="The first hint names the idea, the next the place, the last the method; none is\n"
        "the answer. Without --step it is the step of the first failure in the last report,\n"
        "else the first one still to be written. Nothing is remembered between two calls.",
    )
    parser.add_argument("checkpoint", nargs="?", metavar="NN", help="default: where you are")
    parser.add_argument("--step", type=int, metavar="N", help="on this step of the module")
    parser.add_argument(
        "--more", "--next", action="count", default=0, help="the next hint too; repeat it for all"
    )
    parser.add_argument("--level", type=int, metavar="N", help="the first N hints")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_report(parser)
    parser.set_defaults(run=run_hint)


def run_hint(options: argparse.Namespace) -> int:
    """Print one hint, or as many as were asked for."""
    from tito.hints import hints_file, read
    from tito.progress import load_progress

    if options.level is not None and (options.level < 1 or options.more):
        raise Usage("say how many hints: --level 2, or --more for one more")
    if options.step is not None and options.step < 1:
        raise Usage("steps count from 1: --step 2")
    level = options.level or 1 + options.more
    ladder = load_ladder(options.root)
    progress = load_progress(options.root, ladder, options.report)
    rung = _rung(options, progress)
    place = _place(progress, rung, options.step)
    if progress.problem:
        complain(f"the report cannot be used: {progress.problem}")
    if rung.problem is not None and options.step is None:
        raise rung.problem
    hints = read(options.root, place.rung)
    if place.test and place.test.status == "error" and place.test.failure and not options.step:
        # What cannot be imported or crashed is no matter of the step that a test is about.
        hints = {place.step or 0: (place.test.failure.hint,)} if place.test.failure.hint else {}
    if options.step is not None and options.step not in hints and hints:
        known = ", ".join(map(str, hints))
        raise Usage(f"{hints_file(place.rung)} has no step {options.step}; it has: {known}")
    known_hints = hints.get(place.step or 0, ())
    own = (place.test.hint,) if place.test and place.test.hint and not known_hints else ()
    shown = (known_hints or own)[:level]
    if options.json:
        say_json({"module": place.rung.folder, "step": place.step, "name": place.name,
                  "hints": list(shown), "of": len(known_hints or own)})  # fmt: skip
        return 0
    _show(place, shown, known_hints or own, graded=progress.report is not None)
    return 0


def _rung(options: argparse.Namespace, progress: "Progress") -> "Rung":
    """The rung that was named, else the one the student is at."""
    if options.checkpoint:
        return progress.by_id[progress.ladder.find(options.checkpoint).id]
    current = progress.current
    if progress.report is None:  # no result says what is settled: what is still to be written does
        current = next((rung for rung in progress.rungs if rung.stubs or rung.problem), current)
    if current is None:
        last = [rung for rung in progress.rungs if rung.here]

        if not last:
            raise Usage("this tree has no modules; bring them back with: git checkout -- modules")
        return last[-1]
    return current


def _place(progress: "Progress", rung: "Rung", step: int | None) -> Place:
    """Which step: the one asked for, else that of the first failure, else the first stub."""
    tests = rung.result.tests if rung.result else ()
    c = rung.checkpoint
    if step is not None:
        test = next((t for t in tests if t.step == step and t.status != "passed"), None)
        name = next((t.of for t in tests if t.step == step), "")
        stub = next((s for s in rung.stubs if s.step == step), None)
        line = stub.line if stub else None
        return Place(c, step, name or (stub.name if stub else ""), line, "asked for", test)
    failed = [t for t in tests if t.status != "passed"]
    begun = [t for t in failed if t.status != "not_started"]
    if begun:
        return _failed(progress, rung, begun[0])
    if rung.stubs:
        stub = rung.stubs[0]
        test = next((t for t in failed if t.step == stub.step), None)
        return Place(c, stub.step, stub.name, stub.line, "still to be written", test)
    if failed:
        return _failed(progress, rung, failed[0])
    return Place(c, None, "", None, "")


def _failed(progress: "Progress", rung: "Rung", test: "Outcome") -> Place:
    """The step that a failed test points at, which may be an earlier module's."""
    failure = test.failure
    file = (failure.file if failure else None) or test.file
    line = (failure.line if failure else None) or test.line
    step = (failure.step if failure else None) or test.step
    at = next((r for r in progress.rungs if r.checkpoint.source == file), rung)
    since = ", changed since" if rung.stale else ""
    headline = failure.headline if failure else test.name
    why = f"the first failure in the last report{since}: {headline}"
    return Place(at.checkpoint, step, test.of, line, why, test)


def _show(place: Place, shown: tuple[str, ...], known: tuple[str, ...], *, graded: bool) -> None:
    """Where, why, the hints, and how to get the next."""
    c = place.rung
    if place.step is None:
        failing = "nothing fails in the last report and " if graded else ""
        say(f"{c.id} {c.module}: {failing}nothing is left to write")
        say(f"a step of your choice: [bold]tito checkpoint hint {c.id} --step 2[/]")
        return
    name = f", {quote(place.name)}" if place.name else ""
    say(f"[bold]{c.id} {c.module}, step {place.step}{name}[/]")
    row("", quote(place.why), indent=2)
    if place.line:
        row("", quote(f"open {c.source}:{place.line}"), indent=2)
    say()
    for number, hint in enumerate(shown, 1):
        row(f"hint {number}", quote(hint), indent=8)
    if not shown:
        say(f"no hint is written for it; read: tito module view {c.id}")
        return
    if len(shown) < len(known):
        more = f"tito checkpoint hint {c.id} --step {place.step} --level {len(shown) + 1}"
        say(f"\n{len(shown)} of {len(known)}; one more: [bold]{more}[/]")
    else:
        last = "the only one" if len(known) == 1 else f"all {len(known)}"
        say(f"\nthat is {last}; then: [bold]tito test {c.id}[/]")
