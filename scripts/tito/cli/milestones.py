"""tito milestones: the same as tito milestone list."""

import argparse

from tito.cli.actions import add_report


def configure(parser: argparse.ArgumentParser) -> None:
    """Take what `tito milestone list` takes."""
    from tito.cli.milestone import run_list

    parser.add_argument("--json", action="store_true", help="as JSON")
    add_report(parser)
    parser.epilog = "One of them in full: tito milestone info 03. Run it: tito milestone run 03"
    parser.set_defaults(run=run_list)
