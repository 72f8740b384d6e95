"""How a command gets its actions: one summary serves the list and the action's own help."""

import argparse
from pathlib import Path
from typing import Any


def add_action(
    actions: Any, name: str, summary: str, *, teaches: str = ""
) -> argparse.ArgumentParser:
    """Add an action; `teaches` closes its help with how it is used."""
    return actions.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=teaches,
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """Let a command read another report than the tree's own."""
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("report.json"),
        metavar="FILE",
        help="default: report.json",
    )
