"""tito module: the modules of the ladder."""

import argparse

from tito.cli.actions import add_action
from tito.cli.console import console, say_json
from tito.ladder import Ladder, load_ladder


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito module`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(
        actions,
        "list",
        "all modules, what they need and whether they are here",
        teaches="`to export` means the source is here but tinytorch/core has no copy yet.",
    )
    listing.add_argument("--json", action="store_true", help="the list as JSON")
    listing.set_defaults(run=run_list)


def _rows(options: argparse.Namespace, ladder: Ladder) -> list[dict]:
    """One row a module, as the ladder and the tree say."""
    return [
        {
            "id": c.id,
            "module": c.module,
            "checkpoint": c.name,
            "stage": c.stage,
            "tier": ladder.tier_of(c.id),
            "points": c.points,
            "needs": list(c.needs),
            "source": c.source if (options.root / c.source).is_file() else None,
            "exported": (options.root / "tinytorch" / "core" / f"{c.module}.py").is_file(),
        }
        for c in ladder.checkpoints
    ]


def run_list(options: argparse.Namespace) -> int:
    """Print the modules in ladder order."""
    ladder = load_ladder(options.root)
    rows = _rows(options, ladder)
    if options.json:
        say_json(rows)
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("id", no_wrap=True)
    table.add_column("module", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("needs", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row in rows:
        state = "exported" if row["exported"] else "to export" if row["source"] else "not here yet"
        points, needs = str(row["points"]), " ".join(row["needs"]) or "–"
        table.add_row(row["id"], row["module"], points, needs, state)
    console().print(table)
    return 0
