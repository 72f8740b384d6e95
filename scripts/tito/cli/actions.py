"""What commands share: their actions, the paths they are given, and the files of GitHub Actions."""

import argparse
import os
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


def typed(text: str) -> Path:
    """A path as its user means it: from where they stand. Defaults stand in the tree instead."""
    return Path.cwd() / text


def report_file(text: str) -> Path:
    """The typed path of a report; what can never become one is refused before anything runs."""
    path = typed(text)
    if path.is_dir():
        fact = f"{text!r} is a directory; name a file, such as {Path(text) / 'report.json'}"
        raise argparse.ArgumentTypeError(fact)
    above = next(folder for folder in path.parents if folder.exists())
    if (path.exists() and not path.is_file()) or not above.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a regular file; name one")
    return path


def shown(path: Path) -> str:
    """A path for a message: as its reader would type it, or whole where it is elsewhere.

    One that is not absolute is a default: it is called by its name in the tree.
    """
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def add_report(parser: argparse.ArgumentParser) -> None:
    """Let a command read another report than the tree's own."""
    parser.add_argument(
        "--report",
        type=report_file,
        default=Path("report.json"),
        metavar="FILE",
        help="default: report.json",
    )


def append_to(variable: str, text: str) -> None:
    """Add to one of the files that Actions reads after a step; elsewhere there is none."""
    if path := os.environ.get(variable):
        with open(path, "a", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
