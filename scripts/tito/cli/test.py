"""tito test: the unit tests of one module, or of all; or its integration tests."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tito.cli.console import complain, console, marked, quote, row, say, say_failure, working
from tito.cli.parser import Usage
from tito.ladder import Checkpoint, Ladder, load_ladder

if TYPE_CHECKING:
    from tito.unittests import UnitTests

NONE_FOUND = 5  # pytest's exit status when no test was chosen


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito test`."""
    parser.usage = "tito test [NN | --all | integration NN] [-k WORDS] [-x] [-v] [--pytest]"
    parser.add_argument("module", nargs="?", metavar="NN", help="05, 5, autograd or 05_autograd")
    parser.add_argument(
        "integration",
        nargs="?",
        metavar="integration NN",
        help="instead: the tests of the module's checkpoint that join it to earlier ones",
    )
    parser.add_argument("--all", action="store_true", help="every module of the tree, in order")
    parser.add_argument("-k", metavar="WORDS", help="only the tests whose name matches")
    parser.add_argument("-x", action="store_true", help="stop at the first failure")
    parser.add_argument("-v", "--verbose", action="store_true", help="every failure in full")
    parser.add_argument("--pytest", action="store_true", help="with pytest's own output")
    parser.epilog = (
        "Reads modules/ as it is: no export is needed, nothing is written to the tree.\n"
        "Exit status 1 if any test fails."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the tests of the wanted modules; exit 1 if any failed."""
    from tito.export import present

    ladder = load_ladder(options.root)
    if options.module == "integration" and options.integration and not options.all:
        if options.x or options.pytest:
            raise Usage("-x and --pytest are for unit tests; leave them out")
        return run_integration(options, ladder, ladder.find(options.integration))
    if options.integration or options.module == "integration":
        raise Usage("say which module: tito test 01, or: tito test integration 05")
    if bool(options.module) == options.all:
        raise Usage("say which module: tito test 01, or all of them: tito test --all")
    wanted = present(options.root, ladder) if options.all else [ladder.find(options.module)]
    if not wanted:
        back = "bring them back with: git checkout HEAD -- modules"
        raise Usage(f"there is no module folder under modules/; {back}")
    return run_units(options, ladder, wanted)


def run_units(options: argparse.Namespace, ladder: Ladder, wanted: list[Checkpoint]) -> int:
    """Run the unit tests of some modules: one in full, several a line each."""
    bad: list[str] = []
    running = ""
    try:
        for rung in wanted:
            running = rung.id
            if not _run_module(options, ladder, rung, alone=len(wanted) == 1):
                bad.append(rung.id)
                if options.x:
                    break
    except Interrupted as at:
        complain(f"interrupted in {running}{at}; nothing was written")
        return 130
    if len(wanted) > 1:
        begun = len(wanted) if not options.x or not bad else wanted.index(ladder.by_id[bad[0]]) + 1
        passed = f"{begun - len(bad)} of {len(wanted)} modules passed"
        say(f"\n[bold]{passed}[/]" + (f"; next: [bold]tito test {bad[0]}[/]" if bad else ""))
    return 1 if bad else 0


class Interrupted(Exception):
    """Ctrl-C came while unit tests ran; the text names the test."""


def _run_module(
    options: argparse.Namespace, ladder: Ladder, rung: Checkpoint, *, alone: bool
) -> bool:
    """Run the unit tests of one module, print them, and say whether all passed."""
    from tito.files import FileProblem

    if options.pytest:
        return _with_pytest(options, ladder, rung, alone=alone)
    try:
        units = _check(options, ladder, rung)
    except FileProblem as problem:
        if alone:
            raise
        say(f"{marked('error')} {rung.id} {rung.module:<13} {quote(str(problem))}")
        return False
    if not units.tests and not units.failures:
        say(f"no unit test of {rung.folder} matches {options.k!r}")
        return not alone
    if alone:
        _show_tests(options.root, rung, units, verbose=options.verbose)
    else:
        _show_line(options.root, rung, units)
    return units.ok


def _check(options: argparse.Namespace, ladder: Ladder, rung: Checkpoint) -> "UnitTests":
    """Run them, naming each on a terminal while it runs."""
    from tito.unittests import check_unit_tests, following

    arguments = (*(("-k", options.k) if options.k else ()), *(("-x",) if options.x else ()))
    at = ""
    with working(f"{rung.id} {rung.module}: importing") as line:

        def tell(name: str) -> None:
            nonlocal at
            at = name
            line.update(f"{rung.id} {rung.module}: {quote(name)}")

        try:
            return check_unit_tests(options.root, ladder, rung, arguments, runner=following(tell))
        except KeyboardInterrupt:
            raise Interrupted(f", {at}" if at else "") from None


def _show_tests(root: Path, rung: Checkpoint, units: "UnitTests", *, verbose: bool) -> None:
    """Every test of a module, the first failure in full or all of them, and what to do now."""
    from tito.progress import stubs_of
    from tito.telling import ordered
    from tito.unit_outcomes import is_stub

    say(f"[bold]{rung.folder}[/]  unit tests of {rung.source}\n")
    shown = [
        f"{marked(t.status)} {f'step {t.step}' if t.step else '':<8}"
        f"{quote(t.name.removeprefix('test_').replace('_', ' '))}"
        for t in units.tests
    ]
    for text in shown:
        say(text)
    say(f"{chr(10) if shown else ''}[bold]{units.count}[/], {units.seconds:.1f} s")
    failures = ordered(units.failures, rung.id, rung.source, stubs_of(root, rung.source))
    for failure in failures if verbose else failures[:1]:
        say()
        say_failure(failure)
    wrong = [f for f in units.failures if not is_stub(f)]  # the list above shows what is unwritten
    hidden = len([f for f in wrong if f is not failures[0]])
    if hidden and not verbose:
        plural = "s" if hidden > 1 else ""
        say(f"\n{hidden} more failure{plural}: tito test {rung.id} --verbose")
    if units.ok:
        say(f"next: [bold]tito module complete {rung.id}[/]")


def _show_line(root: Path, rung: Checkpoint, units: "UnitTests") -> None:
    """One line on a module, and its first failure if it was begun."""
    from tito.progress import is_untouched
    from tito.unit_outcomes import is_stub

    wrong = [failure for failure in units.failures if not is_stub(failure)]
    left = sum(t.status == "not_started" for t in units.tests)
    status = "passed" if units.ok else "not_started" if left and not wrong else "failed"
    fresh = left == len(units.tests) or is_untouched(root, rung.source)
    untouched = status == "not_started" and fresh
    count = f"{units.passed}/{len(units.tests)} passed" if units.tests else "cannot run"
    count += f", {left} not written yet" if left else ""
    words = "not written yet" if untouched else f"{count}, {units.seconds:.1f} s"
    say(f"{marked(status)} {rung.id} {rung.module:<13} {words}")
    if not units.ok and not untouched:
        row("", quote((wrong or units.failures)[0].headline), indent=5)


def _with_pytest(
    options: argparse.Namespace, ladder: Ladder, rung: Checkpoint, *, alone: bool
) -> bool:
    """Run the unit tests of one module with pytest's own output."""
    from tito.unittests import problem_below, run_unit_tests

    arguments = [*(["-k", options.k] if options.k else []), *(["-x"] if options.x else [])]
    arguments += ["-vv"] if options.verbose else []
    say(f"[bold]{rung.folder}[/]  unit tests of {rung.source}")
    colour = console().color_system is not None
    status = run_unit_tests(options.root, ladder, rung, arguments, colour)
    if status == NONE_FOUND and options.k:
        say(f"no unit test of {rung.folder} matches {options.k!r}")
        return not alone
    if status and (problem := problem_below(options.root, ladder, rung)):
        say(f"[red]mend first[/]  {quote(str(problem))}")
    return status == 0


def run_integration(options: argparse.Namespace, ladder: Ladder, rung: Checkpoint) -> int:
    """Run a checkpoint and show what its integration tests say."""
    from tito.cli.running import Follow
    from tito.grading.grade import grade, new_seed

    if not (options.root / rung.file).is_file():
        raise Usage(f"this tree has no {rung.file}")
    with Follow(ladder, [rung], quiet=False) as progress:
        report = grade(options.root, ladder, [rung], seed=new_seed(), progress=progress)
    result = report.by_id[rung.id]
    tests = [test for test in result.tests if test.kind == "integration"]
    tests = [test for test in tests if not options.k or options.k in test.name]
    say(f"[bold]{rung.folder}[/]  integration tests of {rung.file}")
    if result.message:
        say(quote(result.message))
    for test in tests:
        say(f"{marked(test.status)} {quote(test.name)}  [dim]{quote(test.asked)}[/]")
    passed = sum(test.status == "passed" for test in tests)
    failures = [test.failure for test in tests if test.failure]
    for failure in failures if options.verbose else failures[:1]:
        say()
        say_failure(failure)
    say(f"\n{passed} of {len(tests)} integration tests passed")
    if not tests and options.k:
        say(f"no integration test of {rung.folder} matches {options.k!r}")
    return 0 if tests and passed == len(tests) and not result.message else 1
