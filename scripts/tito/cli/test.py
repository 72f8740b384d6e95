"""tito test: the unit tests of one module, or of all."""

import argparse

from tito.cli.console import console, say
from tito.export import present
from tito.ladder import load_ladder
from tito.unittests import run_unit_tests


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito test`."""
    parser.add_argument("module", nargs="?", help="05, 5, autograd or 05_autograd")
    parser.add_argument("--all", action="store_true", help="every module of the tree, in order")
    parser.add_argument("-k", metavar="WORDS", help="only the tests whose name matches")
    parser.add_argument("-x", action="store_true", help="stop at the first failure")
    parser.epilog = "Reads modules/ as it is: no export is needed, nothing is written to the tree."
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the tests of the wanted modules; exit 1 if any failed."""
    from tito.cli.main import Usage

    ladder = load_ladder(options.root)
    if bool(options.module) == options.all:
        raise Usage("say which module: tito test 01, or all of them: tito test --all")
    wanted = present(options.root, ladder) if options.all else [ladder.find(options.module)]
    arguments = [*(["-k", options.k] if options.k else []), *(["-x"] if options.x else [])]
    worst = 0
    for rung in wanted:
        say(f"[bold]{rung.folder}[/]  unit tests of {rung.source}")
        status = run_unit_tests(
            options.root, ladder, rung, arguments, console().color_system is not None
        )
        if status == 5 and options.k:
            say(f"no unit test of {rung.folder} matches {options.k!r}")
        worst = max(worst, status)
        if status == 0:
            say(f"next: tito checkpoint run {rung.id}")
    return min(worst, 1)
