"""tito watch: on every save, the tests of the step and the checkpoint of the module, one screen."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito watch`."""
    parser.add_argument(
        "module", nargs="?", metavar="NN", help="begin at this module (default: where you are)"
    )
    parser.epilog = (
        "Save a module, and the unit tests of the steps you changed and its checkpoint run; the\n"
        "result goes into report.json. Keys: n next, h hint, l list, t timeline, r reset, q quit.\n"
        "Needs a terminal; where there is none, use tito test NN and tito checkpoint run NN."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Watch until `q` or Ctrl-C; only this loads what runs checkpoints."""
    from tito.cli.watching import run

    return run(options)
