"""A process that has imported all it needs and waits for one job, so that the job starts at once.

    python -I -m tito.grading.standby session     # a grading session, with a warm fork server
    python -P -m tito.grading.standby units       # a module's unit tests

The job (JSON) comes on standard input. Nothing of a student is read before it comes, and each
process does one job only: what a standby judges is judged as by a fresh process.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO, Any

from tito.grading.run import Begun, begin_session, session_environment

# NumPy loads some of itself when it is first used.
HEAVY = (
    *("numpy", "numpy.fft", "numpy.ma", "numpy.random", "numpy.testing"),
    *("pytest", "pytest_jsonreport.plugin"),
)


class Standby:
    """Keeps one process waiting; `take` gives it away, `renew` starts the next."""

    def __init__(self, kind: str):
        self.kind = kind
        self._waiting: Begun | None = None

    def renew(self) -> None:
        """Start a process if none is waiting."""
        if self._waiting is not None and self._waiting[0].poll() is None:
            return
        self.close()
        units = self.kind == "units"
        environment = os.environ | {"PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"}
        errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        process = subprocess.Popen(
            [sys.executable, "-P" if units else "-I", "-m", "tito.grading.standby", self.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment if units else session_environment(),
            cwd=tempfile.gettempdir(),
            start_new_session=True,  # Ctrl-C is for the terminal's own process
        )
        self._waiting = process, errors

    def take(self) -> Begun:
        """The waiting process, which is then the caller's."""
        self.renew()
        assert self._waiting is not None
        taken, self._waiting = self._waiting, None
        return taken

    def begin(self, job: dict[str, Any]) -> Begun:
        """Begin a grading session with the waiting process, where it may judge."""
        return self.take() if job["installed"] else begin_session(job)

    def close(self) -> None:
        """End the waiting process."""
        if self._waiting is not None:
            process, errors = self._waiting
            self._waiting = None
            with suppress(OSError):
                process.kill()
            with errors, process:
                pass


def _import_all() -> None:
    """Import what every job needs, pytest's own plugins included."""
    for name in HEAVY:
        importlib.import_module(name)
    from _pytest.config import default_plugins

    for name in default_plugins:
        with suppress(ImportError):
            importlib.import_module(f"_pytest.{name}")
    gc.freeze()  # what is loaded stays: the collector need not look at it again


def _session() -> int:
    """Wait for a grading job with a warm fork server at hand."""
    from tito.isolation.limits import protect_grader
    from tito.isolation.process import ForkServer, best_start

    protect_grader()
    forks = ForkServer() if best_start() == "fork" else None
    _import_all()
    from tito.grading import session

    importlib.import_module("checkpoints.feedback")
    text = sys.stdin.buffer.read()
    if not text:  # nobody wants it any more
        if forks is not None:
            forks.close()
        return 0
    job = json.loads(text)
    os.chdir(job["folder"])
    return session.run(job, forks)


class _Names:
    """Tells the parent which test begins."""

    def __init__(self, out: IO[str]):
        self.out = out

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        print(nodeid.rpartition("::")[2], file=self.out, flush=True)


def _units() -> int:
    """Wait for a folder with a module and its unit tests."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _import_all()
    import pytest

    text = sys.stdin.buffer.read()
    if not text:
        return 0
    job = json.loads(text)
    os.chdir(job["folder"])
    sys.path.insert(0, job["folder"])
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return int(pytest.main(job["arguments"], plugins=[_Names(out)]))


if __name__ == "__main__":
    sys.exit({"session": _session, "units": _units}[sys.argv[1]]())
