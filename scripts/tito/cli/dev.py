"""tito dev: for the authors of the course."""

import argparse

from tito.cli.actions import add_action, add_seed
from tito.cli.console import complain, quote, say


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito dev`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = add_action(
        actions,
        "check",
        "what is missing, wrong or left over in the course, with its place and its mend",
        teaches="Reads every file, then grades the solutions, where everything must pass, and the\n"
        "stubs, where nothing may have been started. Exit status 1 when anything was found.",
    )
    check.add_argument(
        "modules", nargs="*", metavar="MODULE", help="run these only (all files are read)"
    )
    check.add_argument("--static", action="store_true", help="only read, which takes a second")
    add_seed(check, "of the random inputs")
    check.set_defaults(run=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Print each finding on a line of its own."""
    from tito.devcheck import check_files, check_runs
    from tito.grading.grade import new_seed
    from tito.ladder import load_ladder
    from tito.release import ReleaseError

    try:
        found = check_files(options.root)
        if not found and not options.static:
            seed = new_seed() if options.seed is None else options.seed
            ladder = load_ladder(options.root)
            rungs = [ladder.find(name) for name in options.modules] or list(ladder.checkpoints)
            found = check_runs(options.root, ladder, rungs, seed)
    except ReleaseError as error:
        complain(str(error))
        return 2
    for finding in found:
        say(quote(str(finding)))
    if found:
        say(f"[red]{len(found)} finding{'s' if len(found) > 1 else ''}[/]")
        if not options.static:
            say("what needs running is checked once the files are in order")
        return 1
    say("the course is in order" + (", as far as reading shows" if options.static else ""))
    return 0
