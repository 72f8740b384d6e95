"""tito release: the student's tree, from this course."""

import argparse
from pathlib import Path

from tito.cli.console import complain, quote, say


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito release`."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR",
        help="a new or empty folder, or one that holds an earlier release",
    )  # fmt: skip
    parser.epilog = (
        "Only what Git tracks is taken, as it stands in the folder. Exit status 1, and nothing "
        "overwritten, if DIR holds something else or a solution would leak."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build the tree, then write it."""
    from tito.release import ReleaseError, build, changes, counts, refuse_leaks, write

    try:
        tree = build(options.root)
        refuse_leaks(options.root, tree)
        write(tree, options.out, options.root)
        unsaved = changes(options.root)
    except ReleaseError as error:
        complain(str(error))
        return 1
    if unsaved:
        say(f"[yellow]note[/]  the course has uncommitted changes: {quote(', '.join(unsaved[:8]))}")
    files, modules, stubs = counts(tree)
    where = quote(str(options.out))
    say(f"released {files} files, {modules} modules with {stubs} stubs, to {where}")
    return 0
