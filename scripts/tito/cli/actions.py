"""How a command gets its actions: one summary serves the list and the action's own help."""

import argparse
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
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
