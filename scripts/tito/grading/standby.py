"""A process that has imported all it needs and waits for one job, so that the job starts at once.

    python -I -m tito.grading.standby session     # a grading session, with a warm fork server
    python -P -m tito.grading.standby units       # a module's unit tests

The job (JSON) comes on standard input. Nothing of a student is read before it comes, and each
process does one job only: what a standby judges is judged as by a fresh process.

A last argument names the lifeline, a pipe that nobody writes to: it can be read when the process
that started this one is gone, and then this one and all it started end, too.
"""

import faulthandler
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from typing import IO, Any

from tito.grading.keeper import bound, keep
from tito.grading.run import Begun, begin_session, session_environment
from tito.processes import pytest_environment

# NumPy loads some of itself when it is first used.
HEAVY = (
    *("numpy", "numpy.fft", "numpy.ma", "numpy.random", "numpy.testing"),
    *("pytest", "pytest_jsonreport.plugin"),
)
END_WAIT = 10.0  # seconds for a process to end what is below it, once it was told to
STACK = "stack.txt"  # where a job's folder says what ran when its time was up


@cache
def _lifeline() -> tuple[int, ...]:
    """The end to read of a pipe whose other end is closed when this process ends, however."""
    return os.pipe()[:1] if os.name == "posix" else ()


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
        errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        process = subprocess.Popen(
            [
                *(sys.executable, "-P" if units else "-I", "-m", "tito.grading.standby", self.kind),
                *map(str, _lifeline()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=pytest_environment() if units else session_environment(),
            cwd=tempfile.gettempdir(),
            pass_fds=_lifeline(),
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
            with errors:
                end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process, which ends what is below it, and wait for that."""
    with process:
        process.terminate()
        try:
            process.wait(END_WAIT)
        except subprocess.TimeoutExpired:
            process.kill()


def _import_all() -> None:
    """Import what every job needs, pytest's own plugins included."""
    for name in HEAVY:
        importlib.import_module(name)
    from _pytest.config import default_plugins

    for name in default_plugins:
        with suppress(ImportError):
            importlib.import_module(f"_pytest.{name}")
    gc.freeze()  # what is loaded stays: the collector need not look at it again


def _end_with(lifeline: int) -> None:
    """End this process when the one that started it is gone; a fork server below sees it go."""
    os.read(lifeline, 1)
    os._exit(1)


def _session(lifeline: int | None) -> int:
    """Wait for a grading job with a warm fork server at hand."""
    if lifeline is not None:
        threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
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
    """Tells the parent which test begins, how many are done, and how many there are."""

    def __init__(self, out: IO[str]):
        self.out = out
        self.done = self.total = 0

    def pytest_collection_finish(self, session: Any) -> None:
        """All tests are known."""
        self.total = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        print(self.done, self.total, nodeid.rpartition("::")[2], file=self.out, flush=True)

    def pytest_runtest_logfinish(self) -> None:
        """A test has ended."""
        self.done += 1


def _units(lifeline: int | None) -> int:
    """Run unit tests, and see to it that nothing of them remains."""
    return _run_units() if lifeline is None else keep(_run_units, lifeline)


def _run_units() -> int:
    """Wait for a folder with a module and its unit tests; they have so many seconds together."""
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
    bound()
    with open(STACK, "w", encoding="utf-8") as stack:
        faulthandler.dump_traceback_later(job["seconds"], exit=True, file=stack)
        status = pytest.main(["-p", "no:faulthandler", *job["arguments"]], plugins=[_Names(out)])
        faulthandler.cancel_dump_traceback_later()
    return int(status)


def main(kind: str, lifeline: str = "") -> int:
    """Wait for a job of a kind."""
    return {"session": _session, "units": _units}[kind](int(lifeline) if lifeline else None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
