"""tito test: the unit tests of one module, or of all; or its integration tests."""

import argparse

from tito.cli.console import console, say
from tito.ladder import Checkpoint, Ladder, load_ladder


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito test`."""
    parser.usage = "tito test [NN | --all | integration NN] [-k WORDS] [-x]"
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
    parser.epilog = (
        "Reads modules/ as it is: no export is needed, nothing is written to the tree.\n"
        "Exit status 1 if any test fails."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the tests of the wanted modules; exit 1 if any failed."""
    from tito.cli.main import Usage
    from tito.export import present

    ladder = load_ladder(options.root)
    if options.module == "integration" and options.integration and not options.all:
        return run_integration(options, ladder, ladder.find(options.integration))
    if options.integration or options.module == "integration":
        raise Usage("say which module: tito test 01, or: tito test integration 05")
    if bool(options.module) == options.all:
        raise Usage("say which module: tito test 01, or all of them: tito test --all")
    wanted = present(options.root, ladder) if options.all else [ladder.find(options.module)]
    return run_units(options, ladder, wanted)


def run_units(options: argparse.Namespace, ladder: Ladder, wanted: list[Checkpoint]) -> int:
    """Run the unit tests of some modules with pytest's own output."""
    from tito.cli.console import quote
    from tito.unittests import problem_below, run_unit_tests

    arguments = [*(["-k", options.k] if options.k else []), *(["-x"] if options.x else [])]
    worst, failed = 0, []
    for rung in wanted:
        say(f"[bold]{rung.folder}[/]  unit tests of {rung.source}")
        status = run_unit_tests(
            options.root, ladder, rung, arguments, console().color_system is not None
        )
        if status == 5 and options.k:
            say(f"no unit test of {rung.folder} matches {options.k!r}")
            status = 5 if len(wanted) == 1 else 0
        worst = max(worst, status)
        if status and (problem := problem_below(options.root, ladder, rung)):
            say(f"[red]mend first[/]  {quote(str(problem))}")
        if status:
            failed.append(rung.id)
            if options.x:
                break
        elif len(wanted) == 1:
            say(f"next: tito module complete {rung.id}")
    if len(wanted) > 1:
        passed = f"{len(wanted) - len(failed)} of {len(wanted)} modules passed"
        say(f"[bold]{passed}[/]" + (f"; next: tito test {failed[0]}" if failed else ""))
    return min(worst, 1)


def run_integration(options: argparse.Namespace, ladder: Ladder, rung: Checkpoint) -> int:
    """Run a checkpoint and show what its integration tests say."""
    from tito.cli.console import marked, quote, say_failure
    from tito.cli.main import Usage
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
    failure = next((test.failure for test in tests if test.failure), None)
    if failure:
        say()
        say_failure(failure)
    say(f"\n{passed} of {len(tests)} integration tests passed")
    if not tests and options.k:
        say(f"no integration test of {rung.folder} matches {options.k!r}")
    return 0 if tests and passed == len(tests) and not result.message else 1
