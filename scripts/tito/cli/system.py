"""tito system: check this machine and its environment, or name the versions."""

import argparse
import os

from tito.cli.actions import add_action
from tito.cli.console import console, quote, row, say, say_json

MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "bad": "[red]✗[/]"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito system`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    doctor = add_action(
        actions,
        "doctor",
        "check everything the course needs, and say how to mend what is amiss",
        teaches="Nothing is changed. Exit status 1 when something (✗) must be mended; what is\n"
        "only worth knowing (!) does not count.",
    )
    doctor.set_defaults(run=run_doctor)
    info = add_action(actions, "info", "the versions that a report of a problem needs")
    info.set_defaults(run=run_info)
    for action in (doctor, info):
        action.add_argument("--json", action="store_true", help="as JSON")


def run_doctor(options: argparse.Namespace) -> int:
    """Show each check as it is made."""
    from tito.system import Terminal, check_all

    out = console()
    terminal = Terminal(
        out.is_terminal, out.encoding, out.width, out.color_system is not None and not out.no_color
    )
    found = []
    for check in check_all(options.root, terminal):
        found.append(check)
        if options.json:
            continue
        row("", f"{MARKS[check.state]} {check.name:<12}{quote(check.fact)}", indent=0)
        if check.mend:
            row("", f"→ {quote(check.mend)}", indent=14)
    bad = sum(check.state == "bad" for check in found)
    if options.json:
        say_json([vars(check) for check in found])
    elif bad:
        say(f"\n[red]{bad} to mend[/], then again: tito system doctor")
    else:
        say("\n[green]nothing to mend[/]; next: tito")
    return 1 if bad else 0


def run_info(options: argparse.Namespace) -> int:
    """Print the versions."""
    from tito.system import versions

    found = versions(options.root)
    if options.json:
        say_json(found)
        return 0
    for name, value in found.items():
        say(f"{name:<20}{quote(value)}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        say(f"{'Actions':<20}yes")
    return 0
