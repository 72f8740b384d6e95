"""The command line of TinyTorch: the only place that prints or exits."""

from tito.cli.main import main

__all__ = ["main"]
