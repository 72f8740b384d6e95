"""tito notebook: work on a module as a notebook; the percent file stays the source."""

import argparse

from tito.cli.actions import add_action
from tito.cli.console import quote, say
from tito.cli.parser import Usage
from tito.ladder import Checkpoint, load_ladder


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito notebook`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    opening = add_action(
        actions,
        "open",
        "sync a module and its notebook, then open it",
        teaches="Starts JupyterLab where it is installed, else says which file to open. Graded is\n"
        "the .py file: save the notebook, then tito notebook sync NN.",
    )
    opening.set_defaults(run=run_open)
    syncing = add_action(
        actions,
        "sync",
        "bring a module and its notebook to the same state",
        teaches="The side that changed goes to the other. If both did, nothing is written until\n"
        "--take says which to go on with. A version that is overwritten is kept under\n"
        ".tito/notebook/.\n"
        "Exit status 1 on such a conflict.",
    )
    syncing.set_defaults(run=run_sync)
    for action in (opening, syncing):
        action.add_argument("module", metavar="NN", help="05, 5, autograd or 05_autograd")
        action.add_argument("--take", choices=("module", "notebook"), help="go on with this side")


def _sync(options: argparse.Namespace, rung: Checkpoint) -> int:
    """Sync, and say what was done."""
    from tito.notebook import Conflict, MissingExtra, notebook_of, sync
    from tito.system import BOOTSTRAP

    try:
        done = sync(options.root, rung, options.take)
    except MissingExtra:
        raise Usage(
            "notebooks need jupytext; install it with: "
            f"{BOOTSTRAP} --extra notebooks tito notebook open {rung.id}"
        ) from None
    except Conflict as conflict:
        say(f"[yellow]conflict[/]  {rung.source} and {notebook_of(rung)}: {conflict}.")
        say("Nothing was written. Go on with one of them; the other is kept aside:")
        for side in ("module", "notebook"):
            later = "  (saved last)" if side == conflict.newer else ""
            say(f"  tito notebook sync {rung.id} --take {side}{later}")
        return 1
    if done.written == "notebook":
        say(f"{rung.source} → {done.notebook}")
    elif done.written == "module":
        say(f"{done.notebook} → {rung.source}")
    else:
        say(f"the same already: {rung.source} and {done.notebook}")
    if done.kept:
        say(f"the {done.written} as it was is kept in {quote(done.kept)}")
    return 0


def run_sync(options: argparse.Namespace) -> int:
    """Bring both sides to the same state."""
    return _sync(options, load_ladder(options.root).find(options.module))


def run_open(options: argparse.Namespace) -> int:
    """Sync, then start JupyterLab on the notebook or name the file."""
    import shutil
    import subprocess
    import sys
    from pathlib import Path

    from tito.notebook import notebook_of

    rung = load_ladder(options.root).find(options.module)
    status = _sync(options, rung)
    if status:
        return status
    beside = Path(sys.executable).parent
    program = shutil.which("jupyter-lab", path=str(beside)) or shutil.which("jupyter-lab")
    if program and sys.stdout.isatty():
        say(f"starting JupyterLab; Ctrl-C ends it, then: tito notebook sync {rung.id}")
        subprocess.run([program, str(options.root / notebook_of(rung))], check=False)
        return _sync(options, rung)
    say(f"open {notebook_of(rung)} in your editor, and after saving: tito notebook sync {rung.id}")
    return 0
