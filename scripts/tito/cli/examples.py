"""tito examples: the milestones under the name that the course's documents use."""

import argparse

from tito.cli.actions import add_action, add_report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito examples`."""
    from tito.cli.milestone import run_list

    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    available = add_action(
        actions,
        "available",
        "the milestones, and what is missing to unlock each: as tito milestone list",
        teaches="One of them in full: tito milestone info 03. Run it: tito milestone run 03",
    )
    available.add_argument("--json", action="store_true", help="as JSON")
    add_report(available)
    available.set_defaults(run=run_list)
