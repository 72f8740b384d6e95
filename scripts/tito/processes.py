"""Processes that run a student's code, and what these have started."""

import contextlib
import os
import signal
import subprocess
from typing import Any


def end_group(process: "subprocess.Popen[Any]") -> None:
    """End a process that leads a group of its own, and those it has started.

    Where there are no groups, only the process itself is ended.
    """
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
