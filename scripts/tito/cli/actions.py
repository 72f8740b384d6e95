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


LARGEST_SEED = 2**53 - 1  # the largest whole number that every reader of JSON keeps exactly


def seed(text: str) -> int:
    """A seed from the command line."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 on, not {text!r}")
    return number


def add_seed(parser: argparse.ArgumentParser, words: str = "repeat a run's random inputs") -> None:
    """Let a command repeat the random inputs of a run."""
    parser.add_argument("--seed", type=seed, metavar="N", help=words)


def add_report(parser: argparse.ArgumentParser) -> None:
    """Let a command read another report than the tree's own."""
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("report.json"),
        metavar="FILE",
        help="default: report.json",
    )
