"""See a process through that runs a student's code unisolated: nothing it starts outlives it.

    tito watch ── keeper ── unit tests ── whatever they start

The keeper runs none of that code itself. It ends everything below it when the unit tests are done,
when it is told to (SIGTERM), and when the process that started it is gone, however that ended.
"""

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from tito.isolation import linux
from tito.isolation.forkserver import end_descendants

MORE_MEMORY = 4 << 30  # bytes of address space, beside what is in use: a worker's whole amount
FILE_SIZE = 256 << 20  # bytes
FAILED = 70


def keep(run: Callable[[], int], lifeline: int) -> NoReturn:
    """Run something in a process of its own, and end with its exit status; only on POSIX.

    Args:
        run: What to run; it inherits the standard streams.
        lifeline: A descriptor that can be read when the process that started this one is gone.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    numbers = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda number, frame: None)  # each wakes the loop, by its number
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    with suppress(OSError):
        linux.adopt_orphans()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in numbers:
                signal.signal(number, signal.SIG_DFL)
            for file in (woken, wake, lifeline):
                os.close(file)
            os.setsid()
            with suppress(OSError):
                linux.die_with_parent()
            if os.getppid() == keeper:
                status = run()
        finally:
            os._exit(status)
    for stream in (0, 1):  # theirs alone: whoever reads sees when they are done
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    status = _wait(pid, woken, lifeline)
    _end_all(pid)
    os._exit(status)  # without tidying up: somebody waits for it


def _wait(pid: int, woken: int, lifeline: int) -> int:
    """Wait until the process has ended, or shall end."""
    while True:
        ready, _, _ = select.select([woken, lifeline], [], [])
        if lifeline in ready:
            return FAILED
        told = os.read(woken, 64)
        if set(told) - {signal.SIGCHLD}:
            return FAILED
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code) & 0xFF


def _end_all(pid: int) -> None:
    """End the process and what it left behind; as a rule there is nothing, and no need to look."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # where we adopt orphans, whoever is left is a child of ours
        end_descendants()


def bound() -> None:
    """Bound what the unit tests may use, so that a mistake does not take the machine along.

    Generous, and as far as the platform goes: this is no isolation.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {
        "RLIMIT_AS": _in_use() + MORE_MEMORY,
        "RLIMIT_FSIZE": FILE_SIZE,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        with suppress(AttributeError, ValueError, OSError):
            number = getattr(resource, name)
            _, hard = resource.getrlimit(number)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (value, value))


def _in_use() -> int:
    """The address space of this process, in bytes; 0 where that is not told."""
    with suppress(OSError, ValueError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0
