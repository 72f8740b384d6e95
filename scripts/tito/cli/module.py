"""tito module: begin, test, complete and read the modules of the ladder."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from tito.cli.actions import add_action, add_seed, shown, typed
from tito.cli.console import console, quote, row, say, say_failure, say_json, working
from tito.cli.parser import Usage
from tito.cli.selfstudy import add_actions as add_selfstudy
from tito.cli.status import mark
from tito.files import FileProblem, read_text
from tito.ladder import Checkpoint, Ladder, load_ladder
from tito.render.words import LOOKS, rung_words

if TYPE_CHECKING:
    from tito.progress import Progress, Rung

MODULE = "05, 5, autograd or 05_autograd"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito module`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(
        actions,
        "list",
        "all modules, what they need and how far you are",
        teaches="The state is that of the last report; `changed since` means that the module was\n"
        "edited after it was graded: tito grade brings it up to date.",
    )
    listing.add_argument("--json", action="store_true", help="the list as JSON")
    listing.set_defaults(run=run_list)
    start = add_action(
        actions,
        "start",
        "what a module builds on, and the line to begin at",
        teaches="Exports what the module needs; writes nothing else and can be repeated.",
    )
    start.set_defaults(run=run_start)
    test = add_action(
        actions,
        "test",
        "run a module's unit tests: the same as tito test NN",
        teaches="Exit status 1 if any fails.",
    )
    test.set_defaults(run=run_test, all=False, integration=None, k=None, x=False, pytest=False)
    test.add_argument("-v", "--verbose", action="store_true", help="every failure in full")
    complete = add_action(
        actions,
        "complete",
        "unit tests, export, checkpoint, and what that unlocked",
        teaches="The result goes into report.json. Exit status 0 when the checkpoint passed, 1\n"
        "when a test or the checkpoint did not: the first failure is shown with its command.",
    )
    complete.add_argument("--skip-test", action="store_true", help="leave the unit tests out")
    add_seed(complete)
    complete.set_defaults(run=run_complete)
    view = add_action(
        actions,
        "view",
        "read a module's README in the terminal",
        teaches="Piped, it is the Markdown itself.",
    )
    view.add_argument("--path", action="store_true", help="print only where the file is")
    view.set_defaults(run=run_view)
    graph = add_action(
        actions,
        "graph",
        "the map of the course: what each module needs, and what its source really imports",
        teaches="`needs` comes from the ladder, `imports` from the modules of this tree.",
    )
    graph.add_argument("--svg", type=typed, metavar="FILE", help="draw it into a file instead")
    graph.set_defaults(run=run_graph)
    for action in (start, test, complete, view, *add_selfstudy(actions)):
        action.add_argument("module", metavar="NN", help=MODULE)


def _rows(options: argparse.Namespace, progress: "Progress") -> list[dict]:
    """One row a module, as the ladder, the tree and the last report say."""
    return [
        {
            "id": c.id,
            "module": c.module,
            "checkpoint": c.name,
            "stage": c.stage,
            "tier": progress.ladder.tier_of(c.id),
            "points": c.points,
            "needs": list(c.needs),
            "source": c.source if (options.root / c.source).is_file() else None,
            "exported": (options.root / "tinytorch" / "core" / f"{c.module}.py").is_file(),
            "status": rung.status,
            "freshness": rung.freshness,
            "steps": rung.steps,
            "steps_left": len(rung.stubs),
        }
        for rung in progress.rungs
        for c in (rung.checkpoint,)
    ]


def run_list(options: argparse.Namespace) -> int:
    """Print the modules in ladder order."""
    from tito.progress import load_progress

    progress = load_progress(options.root, load_ladder(options.root))
    if options.json:
        say_json(_rows(options, progress))
        return 0
    say(f"[bold]   id module        {'state':<30} steps  points  needs[/]")
    for rung in progress.rungs:
        c = rung.checkpoint
        done = f"{rung.steps - len(rung.stubs)}/{rung.steps}" if rung.steps else "–"
        earned = rung.result.points if rung.result else 0
        points = f"{earned}/{c.points}"
        needs = " ".join(c.needs) or "–"
        style = "dim" if rung.status in ("absent", "not_started") else "default"
        text = f"{c.id} {c.module:<13} {rung_words(rung):<30} {done:>5}  {points:>6}  {needs}"
        say(f"{mark(rung)}  [{style}]{text}[/]")
    for rung in progress.rungs:
        if rung.problem:
            say(f"[red]problem[/]  {quote(str(rung.problem))}")
    return 0


def _find(options: argparse.Namespace, ladder: Ladder) -> Checkpoint:
    """The module that was named; one that this tree lacks is bad usage."""
    rung = ladder.find(options.module)
    if not (options.root / "modules" / rung.folder).is_dir():
        raise Usage(f"this tree has no modules/{rung.folder}")
    return rung


def _name(rung: "Rung") -> str:
    """A rung with its mark, and in words what its last result wants."""
    plain = rung.settled or rung.freshness == "unknown"
    state = "" if plain else f" ({rung_words(rung)})"
    return f"{mark(rung)} {rung.id} {rung.checkpoint.module}{state}"


def _export(options: argparse.Namespace, ladder: Ladder, ids: list[str]) -> list[FileProblem]:
    """Export modules of the tree, and return what stands in the way of any."""
    from tito.export import export_tree

    rungs = [ladder.by_id[i] for i in ids if (options.root / ladder.by_id[i].source).is_file()]
    return [r.problem for r in export_tree(options.root, ladder, rungs) if r.problem]


def _exported(options: argparse.Namespace, c: Checkpoint) -> bool:
    """Whether the copy of a module was written after the module itself."""
    try:
        copy = options.root / "tinytorch" / "core" / f"{c.module}.py"
        return copy.stat().st_mtime_ns > (options.root / c.source).stat().st_mtime_ns
    except OSError:
        return False


def _readme(rung: Checkpoint) -> str:
    return f"modules/{rung.folder}/README.md"


def run_start(options: argparse.Namespace) -> int:
    """Say what a module builds on, export that, and name the line to begin at."""
    from tito.progress import load_progress

    ladder = load_ladder(options.root)
    c = _find(options, ladder)
    progress = load_progress(options.root, ladder)
    rung = progress.by_id[c.id]
    if rung.problem:
        raise rung.problem
    say(f"[bold]{c.id} {c.module}[/]  {c.question}\n")
    needs = ladder.transitive_needs(c.id)
    if needs:
        row("needs", " · ".join(_name(progress.by_id[need]) for need in needs))
    unmet = [need for need in needs if not progress.by_id[need].passed]
    if unmet and progress.report:
        row("", f"[yellow]first complete {unmet[0]}: tito module complete {unmet[0]}[/]")
    old = [need for need in needs if not _exported(options, ladder.by_id[need])]
    for problem in _export(options, ladder, old) if old else []:
        row("", f"[red]not exported:[/] {quote(str(problem))}")
    if (options.root / _readme(c)).is_file():
        row("read", f"{_readme(c)}, or: tito module view {c.id}")
    if rung.stubs:
        stub = rung.stubs[0]
        step = f"step {stub.step}, " if stub.step else ""
        left = f"{len(rung.stubs)} of {rung.steps} to write"
        row("open", f"{c.source}:{stub.line}  {step}{quote(stub.name)} ({left})")
    else:
        row("open", f"{c.source}  every step is written")
    row("next", f"[bold]tito {'test' if rung.stubs else 'module complete'} {c.id}[/]")
    return 0


def run_test(options: argparse.Namespace) -> int:
    """Do what `tito test NN` does."""
    from tito.cli.test import run

    return run(options)


def run_view(options: argparse.Namespace) -> int:
    """Show a module's README, or say where it is."""
    c = _find(options, load_ladder(options.root))
    if options.path:
        say(quote(str(options.root / _readme(c))))
        return 0
    text = read_text(options.root, _readme(c))
    out = console()
    if not out.is_terminal:
        say(quote(text))
        return 0
    from rich.markdown import Markdown

    from tito.render.escape import plain

    out.print(Markdown(plain(text), hyperlinks=False))
    return 0


# The four steps of `tito module complete`


def run_complete(options: argparse.Namespace) -> int:
    """Run the four steps; the first that fails ends it."""
    from tito.cli.console import complain

    ladder = load_ladder(options.root)
    c = _find(options, ladder)
    say(f"[bold]{c.id} {c.module}[/]  {c.question}\n")
    done: list[str] = []
    steps: list[tuple[str, Callable[..., bool]]] = [
        ("unit tests", _test_step),
        ("export", _export_step),
        ("checkpoint", _checkpoint_step),
    ]
    try:
        for number, (name, step) in enumerate(steps, 1):
            if not step(options, ladder, c, f"{number} {name:<12}"):
                say(f"\nthen again: [bold]tito module complete {c.id}[/]")
                return 1
            done.append(name)
    except KeyboardInterrupt:
        kept = f"done: {', '.join(done)}" if done else "nothing was changed"
        complain(f"interrupted during {steps[len(done)][0]}; {kept}; report.json is whole")
        return 130
    return 0


def _test_step(options: argparse.Namespace, ladder: Ladder, c: Checkpoint, label: str) -> bool:
    """Step 1: the unit tests; the first failure is shown in full."""
    from tito.progress import stubs_of
    from tito.telling import ordered
    from tito.unittests import check_unit_tests, following

    if options.skip_test:
        say(f"{label}[dim]left out[/]")
        return True
    try:
        with working(f"{label}…") as line:
            runner = following(lambda name: line.update(f"{label}{quote(name)}"))
            tests = check_unit_tests(options.root, ladder, c, runner=runner)
    except FileProblem as problem:
        say(f"{label}[red]{LOOKS['failed'].mark}[/]\n\n{quote(str(problem))}")
        return False
    if tests.ok:
        say(f"{label}[green]{LOOKS['passed'].mark}[/] {tests.passed} passed, {tests.seconds:.1f} s")
        return True
    say(f"{label}[red]{LOOKS['failed'].mark}[/] {tests.count}\n")
    if tests.failures:
        say_failure(ordered(tests.failures, c.id, c.source, stubs_of(options.root, c.source))[0])
    return False


def _export_step(options: argparse.Namespace, ladder: Ladder, c: Checkpoint, label: str) -> bool:
    """Step 2: the module and what it builds on go to tinytorch/core."""
    ids = [*ladder.transitive_needs(c.id), c.id]
    problems = _export(options, ladder, ids)
    if any(problem.file == c.source for problem in problems):
        say(f"{label}[red]{LOOKS['failed'].mark}[/]\n")
        say(quote(str(problems[-1])))
        return False
    say(f"{label}[green]{LOOKS['passed'].mark}[/] tinytorch/core/{c.module}.py")
    for problem in problems:
        say(f"  {quote(str(problem))}")
    return True


def _to_run(progress: "Progress", c: Checkpoint) -> list[Checkpoint]:
    """The checkpoint itself, after those it builds on whose last result no longer holds."""
    needs = [progress.by_id[i] for i in progress.ladder.transitive_needs(c.id)]
    return [*(r.checkpoint for r in needs if r.here and r.freshness != "fresh"), c]


def _checkpoint_step(
    options: argparse.Namespace, ladder: Ladder, c: Checkpoint, label: str
) -> bool:
    """Steps 3 and 4: the checkpoint in isolation, the report, and what it unlocked."""
    from tito.cli.checkpoint import REPORT, last_report, show_checkpoint
    from tito.cli.running import Follow
    from tito.grading.grade import grade, new_seed
    from tito.grading.merge import merged
    from tito.progress import load_progress
    from tito.report import save_report

    if not (options.root / c.file).is_file():
        raise Usage(f"this tree has no {c.file}")
    last = last_report(options.root / REPORT)
    before = load_progress(options.root, ladder, last)
    rungs = [rung for rung in _to_run(before, c) if (options.root / rung.file).is_file()]
    # A report has one seed; results that are put into it are made with that one.
    seed = options.seed if options.seed is not None else last.seed if last else new_seed()
    with Follow(ladder, rungs, quiet=False) as follow:
        new = grade(options.root, ladder, rungs, seed=seed, progress=follow)
    here = [rung.id for rung in ladder.checkpoints if (options.root / rung.file).is_file()]
    report = merged(ladder, last, new, [rung.id for rung in rungs], here)
    save_report(report, options.root / REPORT)
    result = report.by_id[c.id]
    passed = result.status == "passed"
    if passed:
        count = f"{result.passed}/{len(result.tests)} tests, {result.points}/{result.max_points}"
        say(
            f"{label}[green]{LOOKS['passed'].mark}[/] {result.name}: {count} points, "
            f"{result.duration:.1f} s"
        )
        if len(rungs) > 1:
            others = ", ".join(rung.id for rung in rungs[:-1])
            say(f"{'':<14}what it builds on was run too, as it was not known: {others}")
        _unlocked(options, before, load_progress(options.root, ladder, report), c)
        return True
    say(f"{label}[red]{LOOKS['failed'].mark}[/]\n")
    show_checkpoint(options.root, result, verbose=False)
    return False


def _unlocked(
    options: argparse.Namespace, before: "Progress", after: "Progress", c: Checkpoint
) -> None:
    """Step 4: what the student can do now, what runs now, and what comes next."""
    from tito.reflection import read_reflection

    say(f"4 {'unlocked':<12}[bold]{capability(c.question)}[/]\n")
    stage = next(s for s in after.stages if s.name == c.stage)
    if stage.complete:
        row("stage", f"[green]{stage.name} is complete: “{stage.capability}”[/]")
    else:
        row("stage", f"{stage.name}: {stage.passed} of {stage.total} checkpoints passed")
    known = {m.id for m in before.milestones if m.unlocked}
    for milestone in after.milestones:
        if milestone.unlocked and milestone.id not in known:
            number = milestone.id.partition("_")[0]
            title = f"{milestone.year}, {milestone.title}"
            row("", f"[green]milestone unlocked[/] {title}: tito milestone run {number}")
    own = read_reflection(options.root, c)
    if own.state != "fits":
        row("write", f"{own.file}: {own.summary}")
    row("score", f"{after.points} of {after.ladder.points} points, git push shows it")
    row("next", f"[bold]{after.next.command}[/]  {quote(after.next.why)}")


def capability(question: str) -> str:
    """A checkpoint's question, answered: `Can I …?` becomes `I can ….`"""
    if question.startswith("Can I ") and question.endswith("?"):
        return f"I can {question[6:-1]}."
    return question


def run_graph(options: argparse.Namespace) -> int:
    """Print the map of the course, or draw it."""
    from tito.files import write_atomic
    from tito.overview import read_overview
    from tito.render.overview import overview_svg, overview_text

    overview = read_overview(options.root, load_ladder(options.root))
    if options.svg is None:
        print(overview_text(overview), end="")
        return 0
    write_atomic(options.svg, overview_svg(overview))
    say(f"drawn: {quote(shown(options.svg))}")
    return 0
