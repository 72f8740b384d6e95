"""tito export: modules to tinytorch/core."""

import argparse

from tito.cli.console import quote, say, say_json
from tito.cli.parser import Usage
from tito.ladder import load_ladder


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito export`."""
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="05, 5, autograd or 05_autograd"
    )
    parser.add_argument("--all", action="store_true", help="every module of the tree (the default)")
    parser.add_argument(
        "--continue",
        dest="go_on",
        action="store_true",
        help="exit 0 although a module has a problem: the ladder reports it",
    )
    parser.add_argument("--json", action="store_true", help="the outcome as JSON")
    parser.epilog = (
        "A module with a problem keeps its last good export; the message names the line."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export, and say what changed and what is wrong."""
    from tito.export import export_tree, present

    if options.modules and options.all:
        raise Usage("say which: tito export 01, or all of them: tito export --all")
    ladder = load_ladder(options.root)
    wanted = [ladder.find(name) for name in options.modules]
    results = export_tree(options.root, ladder, wanted or present(options.root, ladder))
    problems = [r.problem for r in results if r.problem]
    if options.json:
        say_json(
            [
                {
                    "module": r.rung.folder,
                    "target": r.target,
                    "exported": r.problem is None,
                    "changed": r.changed,
                    "problem": r.problem
                    and {
                        "file": r.problem.file,
                        "line": r.problem.line,
                        "message": r.problem.message,
                        "mend": r.problem.mend,
                    },
                }
                for r in results
            ]
        )
    else:
        for r in results:
            if r.problem:
                kept = (
                    "the last good export stays"
                    if (options.root / r.target).exists()
                    else "not exported"
                )
                say(f"[red]problem[/]   {quote(str(r.problem))} ({kept})")
            else:
                done = "[green]exported[/] " if r.changed else "unchanged"
                say(f"{done} {r.rung.source} → {r.target}")
        if not results:
            say("nothing to export: there is no module folder under modules/")
    return 1 if problems and not options.go_on else 0
