"""tito start: make a student's tree of a fork of the course, to work through it alone."""

import argparse
import sys

from tito.cli.console import complain, quote, say
from tito.cli.parser import Usage


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito start`."""
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.epilog = (
        "One more commit on this branch: stubs for solutions, badges at zero, the course's own\n"
        "tests and workflows gone. The solutions stay in the commit before it, on the branch\n"
        "`course`: tito module solution NN shows them, once its checkpoint has passed.\n"
        "Uncommitted changes are never touched: with any, nothing is done."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Say what will happen, ask, and do it."""
    from tito.manifest import load_manifest
    from tito.release import ReleaseError
    from tito.repository import Repository, RepositoryError
    from tito.start import prepare, start

    if load_manifest(options.root) is not None:
        raise Usage("this is a student's tree already; begin with: tito module start 00")
    try:
        repository = Repository(options.root)
        if repository.undo():
            say("a start was interrupted here: the files are back as they were before it")
        repository.check_ready("the start")
        plan = prepare(repository)
        stubs = sum(
            data.count(b'raise NotImplementedError("module ') for data in plan.tree.values()
        )
        say(
            f"This makes a student's tree of {quote(str(options.root))}: {stubs} stubs to fill in, "
            f"badges at zero,\n{len(plan.removed)} files gone that only the course needs. The "
            f"solutions stay in commit {plan.course[:10]}, on the branch {plan.branch}."
        )
        if not options.yes and not _agreed():
            say("nothing was changed")
            return 1
        commit = start(repository, plan)
    except (RepositoryError, ReleaseError) as problem:
        complain(str(problem))
        return 2
    say(f"\ncommitted as {commit[:10]}; take it back: git reset --keep {plan.branch}")
    say(f"the solutions: git show {plan.branch}:modules/…, or: tito module solution NN")
    say("next  [bold]tito module start 00[/]")
    return 0


def _agreed() -> bool:
    """Ask on the terminal; without one, only --yes agrees."""
    if not sys.stdin or not sys.stdin.isatty():
        raise Usage("there is no terminal to ask on; if you are sure: tito start --yes")
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
