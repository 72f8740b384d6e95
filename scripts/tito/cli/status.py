"""tito status, and tito alone: where you are, what is next, one command to run."""

import argparse
from typing import TYPE_CHECKING

from tito.cli.actions import add_report
from tito.cli.console import console, marked, quote, row, say, say_json
from tito.ladder import load_ladder
from tito.render.words import LOOKS, percent, points_words, rung_words

if TYPE_CHECKING:
    from tito.progress import Progress, Rung
    from tito.reflection import Reflection


WIDE = 76  # columns of a rung's line in full


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito status`."""
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_report(parser)
    parser.epilog = (
        "Nothing is run: this is the last report, held against your modules as they are now.\n"
        "Exit status 0, whatever it says."
    )
    parser.set_defaults(run=run)


def mark(rung: "Rung") -> str:
    """The coloured mark of a rung; a result older than its sources is dim."""
    status = "not_started" if rung.status == "absent" else rung.status
    return f"[dim]{LOOKS[status].mark}[/]" if rung.stale else marked(status)


def moment(text: str) -> str:
    """A report's time in short: `2026-11-20 12:00 UTC`."""
    return text.replace("T", " ")[:16] + " UTC"


def _headline(progress: "Progress") -> str:
    """The one line on everything."""
    total = len(progress.rungs)
    level = "no level yet" if progress.level is None else f"level {progress.level:02}"
    points = points_words(progress.points, progress.ladder.points)
    return f"[bold]{points}[/], {level}, {len(progress.passed)} of {total} checkpoints passed"


def _bar(progress: "Progress") -> str:
    """The ladder as a row of marks."""
    return " ".join(mark(rung) for rung in progress.rungs)


def _notes(progress: "Progress") -> list[str]:
    """What makes the shown state untrustworthy."""
    notes = []
    if progress.problem:
        notes.append(f"the report cannot be used: {quote(progress.problem)}")
    if progress.custom_problem:
        notes.append(f"your own checkpoints cannot be run: {quote(progress.custom_problem)}")
    if progress.stale and progress.report:
        graded = f"graded {moment(progress.report.generated_at)}"
        notes.append(
            f"older than your sources: {graded}, and {_changes(progress)}. "
            "tito grade brings it up to date"
        )
    return notes


def _changes(progress: "Progress") -> str:
    """What changed since it was graded, and whose results that concerns."""
    # What was not begun then has nothing to lose by it.
    affected = [r for r in progress.stale if r.freshness == "affected"]
    affected = [r for r in affected if r.status != "not_started"]
    also = [r.id for r in affected if progress.causes(r)]
    alone = [r.id for r in affected if not progress.causes(r)]
    parts = []
    if progress.changed:
        changed = f"{', '.join(r.id for r in progress.changed)} changed since"
        parts.append(changed + (f"; this concerns {', '.join(also)} too" if also else ""))
    if alone:
        parts.append(f"{', '.join(alone)} use a module that has been graded anew")
    return "; ".join(parts) or "a module changed since"


def _show_next(progress: "Progress") -> None:
    """Where you are, the place to open, and the one command."""
    step, rung = progress.next, progress.current
    if rung is not None and progress.next.rung is not None:
        c = rung.checkpoint
        row("now", f"{mark(rung)} {c.id} {c.module}: {c.question}")
        left = f"{len(rung.stubs)} of {rung.steps} steps to write" if rung.stubs else ""
        parts = [part for part in (rung_words(rung), left) if part]
        row("", ", ".join(parts))
    if step.file:
        row("open", quote(f"{step.file}:{step.line}" if step.line else step.file))
    row("next", f"[bold]{step.command}[/]")
    why = quote(step.why)
    if rung is None or why != quote(rung.checkpoint.question):
        row("", why)


def run_brief(options: argparse.Namespace) -> int:
    """Print where you are and one command, on less than half a screen."""
    from tito.progress import load_progress

    progress = load_progress(options.root, load_ladder(options.root))
    say(_headline(progress))
    say(_bar(progress))
    say()
    _show_next(progress)
    for note in _notes(progress):
        row("note", f"[yellow]{note}[/]")
    say("\n[dim]in full: tito status · every command: tito --help[/]")
    return 0


def reflection_words(found: "list[tuple[Rung, Reflection]]") -> str:
    """The reflections in one line."""
    written = [(rung, own) for rung, own in found if own.words]
    text = f"{len(written)} of {len(found)} written"
    off = [f"{rung.id} has {own.words}" for rung, own in written if own.state != "fits"]
    text += f"; 150 to 300 words are asked, {', '.join(off)}" if off else ""
    unreadable = (f"{own.file} {own.problem}" for _, own in found if own.problem)
    return "; ".join([text, *map(quote, unreadable)])


def _milestones(progress: "Progress") -> str:
    """The milestones in one line."""
    reached = [m for m in progress.milestones if m.result and m.result.passed]
    unlocked = [m for m in progress.milestones if m.unlocked]
    text = f"{len(reached)} of {len(progress.milestones)} reached, {len(unlocked)} unlocked"
    if progress.runnable:
        number = progress.runnable[0].id.partition("_")[0]
        text += f"; run one: tito milestone run {number}"
    return text


def run(options: argparse.Namespace) -> int:
    """Print everything: every rung by stage, milestones, reflections, and what is next."""
    from tito.progress import load_progress
    from tito.reflection import read_reflection

    progress = load_progress(options.root, load_ladder(options.root), options.report)
    here = [rung for rung in progress.rungs if rung.here]
    written = [(rung, read_reflection(options.root, rung.checkpoint)) for rung in here]
    if options.json:
        say_json(as_json(progress, written))
        return 0
    say(_headline(progress))
    if progress.report:
        say(f"[dim]graded {moment(progress.report.generated_at)}[/]")
    for stage in progress.stages:
        done = percent(stage.points, stage.max, stage.complete)
        say(f"\n[bold]{stage.name}[/] {done}%")
        if stage.complete:
            say(f"  [green]“{stage.capability}”[/]")
        for rung in progress.rungs:
            if rung.checkpoint.stage == stage.name:
                say(_line(rung))
    say()
    for c in progress.custom:
        done = f"{c.passed} of {len(c.tests)} tests" if c.tests else "not run yet"
        text = f"{c.id} {quote(c.name)}: {LOOKS[c.status].word}, {done}"
        row("own" if c is progress.custom[0] else "", f"{marked(c.status)} {text}")
    row("runs", f"milestones: {_milestones(progress)}")
    row("notes", f"reflections: {reflection_words(written)}")
    say()
    _show_next(progress)
    for note in _notes(progress):
        row("note", f"[yellow]{note}[/]")
    return 0


def _line(rung: "Rung") -> str:
    """One rung of the full list; a narrow terminal leaves the checkpoint's name out."""
    c, out = rung.checkpoint, console()
    name = "" if out.is_terminal and out.width < WIDE else f"{c.name:<17}"
    points = rung.result.points if rung.result else 0
    style = "dim" if rung.status in ("absent", "not_started") else "default"
    text = f"{c.id} {c.module:<14}{name}{rung_words(rung):<30}{points:>2} of {c.points:>2}"
    return f"  {mark(rung)} [{style}]{text}[/]"


def as_json(progress: "Progress", written: "list[tuple[Rung, Reflection]]") -> dict:
    """All of it for a machine."""
    own = {rung.id: reflection for rung, reflection in written}
    step = progress.next
    return {
        "report": {
            "generated_at": progress.report.generated_at if progress.report else None,
            "problem": progress.problem or None,
            "stale": bool(progress.stale),
            "changed": [rung.id for rung in progress.changed],
        },
        "points": progress.points,
        "max": progress.ladder.points,
        "level": progress.level,
        "rungs": [
            {
                "id": rung.id,
                "module": rung.checkpoint.module,
                "checkpoint": rung.checkpoint.name,
                "stage": rung.checkpoint.stage,
                "status": rung.status,
                "freshness": rung.freshness,
                "steps": rung.steps,
                "steps_left": len(rung.stubs),
                "tests": len(rung.result.tests) if rung.result else 0,
                "passed": rung.result.passed if rung.result else 0,
                "points": rung.result.points if rung.result else 0,
                "max": rung.checkpoint.points,
                "reflection_words": own[rung.id].words if rung.id in own else None,
            }
            for rung in progress.rungs
        ],
        "stages": [stage.to_json() for stage in progress.stages],
        "custom": [
            {"id": c.id, "name": c.name, "status": c.status, "own": c.own} for c in progress.custom
        ],
        "milestones": [
            {"id": m.id, "unlocked": m.unlocked, "reached": bool(m.result and m.result.passed)}
            for m in progress.milestones
        ],
        "next": {
            "checkpoint": step.rung.id if step.rung else None,
            "file": step.file,
            "line": step.line,
            "command": step.command,
            "why": step.why,
        },
    }
