"""Processes that run a student's code, and what these have started."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUILD_SERVER = ("CI", "BUILD_NUMBER")  # by which pytest knows one


def pytest_environment() -> dict[str, str]:
    """Ours for a pytest of the unit tests: it brings no options along, and tells a comparison as
    long as everywhere; where it takes itself to be on a build server, it would tell all of it."""
    kept = {name: value for name, value in os.environ.items() if name not in BUILD_SERVER}
    return kept | {"PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def workspace(prefix: str) -> Iterator[Path]:
    """A temporary folder for a process; what cannot be removed at the end is left behind.

    Windows removes no file that is open and no folder that somebody is in, and a process that was
    ended, or what it has started, may take a moment to be gone.
    """
    folder = tempfile.TemporaryDirectory(prefix=prefix)
    try:
        yield Path(folder.name).resolve()  # by the name that those who work in it see
    finally:
        with contextlib.suppress(OSError, RecursionError):  # tempfile tries again without end
            folder.cleanup()


def end_group(process: "subprocess.Popen[Any]") -> None:
    """End a process that leads a group of its own, and those it has started.

    Where there are no groups, only the process itself is ended.
    """
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
