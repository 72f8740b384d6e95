"""The warm parent of workers: imports NumPy once, then forks a process per checkpoint.

It never runs or even reads the student's code. Each request on its control socket (standard
input) brings three descriptors and forks a keeper; the keeper forks the worker, waits for it,
tells the grader how it ended, and ends whatever the worker left behind.

    grader ── control ── fork server ── keeper ── worker
"""

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Any

from tito.isolation import limits, linux, stack

CONNECTION, OUTPUT, STATUS = range(3)
WARM = (
    "ast bisect collections.abc contextlib copy csv dataclasses datetime decimal enum fractions "
    "functools gc glob gzip hashlib heapq hmac inspect io itertools json linecache math numbers "
    "operator os pathlib pickle platform queue random re shutil statistics string struct tempfile "
    "textwrap threading time timeit traceback tracemalloc types typing unittest.mock urllib.parse "
    "uuid warnings weakref zipfile zlib "
    "numpy numpy.fft numpy.lib.format numpy.lib.stride_tricks numpy.linalg numpy.random "
    "numpy.testing tito.isolation.worker"
).split()
LEFTOVER_WAIT = 4.0  # seconds for killed processes to be gone
KEEPERS_WAIT = 1.0  # seconds for keepers to end their workers when the grader is gone
FAILED = 70  # exit code of a worker or a keeper that could not begin


def _descendants() -> dict[int, str]:
    """The processes below this one, by their parents in /proc, and the state of each."""
    states, parents = {}, {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
            _, _, rest = file.read().rpartition(b")")
            state, parent, *_ = rest.split(maxsplit=2)
            states[int(name)], parents[int(name)] = state.decode(), int(parent)
    found, me = set(), {os.getpid()}
    while more := {pid for pid in parents if parents[pid] in found | me} - found:
        found |= more
    return {pid: states[pid] for pid in found}


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _await_children(seconds: float) -> None:
    """Wait so long for children that are about to end."""
    until = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.002)


def end_descendants() -> None:
    """End everything below this process.

    What keeps forking is stopped first: stopped processes still count towards the limit of
    processes, and only when all of them stand still can none escape while the others are killed.
    """
    until = time.monotonic() + LEFTOVER_WAIT
    while time.monotonic() < until and (family := _descendants()):
        running = [pid for pid, state in family.items() if state not in "TtZX"]
        _send(running or family, signal.SIGSTOP if running else signal.SIGKILL)
        time.sleep(0.001)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _begin(
    connection: int, output: int, job: dict[str, Any], host: limits.Host, apart: bool
) -> None:
    """Become the worker: streams, limits, directory; then serve until the end."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.dup2(connection, 3)
    os.closerange(4, 1024)
    os.setsid()
    place = limits.Place(host.site, job["folder"], job["folders"])
    layers = limits.confine(limits.Limits(**job["limits"]), host, place, apart)
    kept = socket.socket(fileno=3)
    from tito.isolation import worker

    worker.run(kept.recv_into, kept.sendall, [[x.name, x.active, x.detail] for x in layers])


def _tell(status: socket.socket, **words: Any) -> None:
    with contextlib.suppress(OSError):  # the grader is gone, or wants to know no more
        status.sendall(json.dumps(words).encode() + b"\n")


def _asked(status: socket.socket) -> bool:
    """Whether the grader has asked something; it closes its end when it is done."""
    with contextlib.suppress(OSError):
        return bool(status.recv(16))
    return False


def _wait(pid: int, status: socket.socket, wake: int) -> tuple[int, Any]:
    """Wait for the worker's end; end it when the grader is done with it or goes away.

    What the grader sends before that asks where the worker is.
    """
    while True:
        ready, _, _ = select.select([status, wake], [], [])
        if status in ready:
            if _asked(status):
                os.kill(pid, stack.ASK)
                continue
            os.kill(pid, signal.SIGKILL)
            _, code, usage = os.wait4(pid, 0)
            return code, usage
        os.read(wake, 4096)
        done, code, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return code, usage


def _separate(job: dict[str, Any], host: limits.Host) -> bool:
    """Make namespaces for the worker to come, where they are offered."""
    if host.namespaces and "namespaces" not in job["limits"]["without"]:
        with contextlib.suppress(OSError):
            limits.separate()
            return True
    return False


def _keep(files: list[int], job: dict[str, Any], host: limits.Host) -> None:
    """Fork the worker and see it through; runs in a process of its own."""
    status = socket.socket(fileno=files[STATUS])
    wake, awake = os.pipe()
    os.set_blocking(awake, False)
    with contextlib.suppress(OSError):
        linux.adopt_orphans()
        linux.die_with_parent()
    if host.user is not None:
        os.chown(job["folder"], host.user, host.user)
    apart = _separate(job, host)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(awake, warn_on_full_buffer=False)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        try:
            _begin(files[CONNECTION], files[OUTPUT], job, host, apart)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        os._exit(FAILED)
    os.close(files[CONNECTION])
    os.close(files[OUTPUT])
    _tell(status, pid=pid)
    code, usage = _wait(pid, status, wake)
    if not apart:  # where it was apart, the kernel has ended all others with the first process
        end_descendants()
    _tell(
        status,
        code=os.waitstatus_to_exitcode(code),
        memory=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        processor=usage.ru_utime + usage.ru_stime,
    )
    with contextlib.suppress(OSError):  # the grader does so too, unless it was killed
        if apart:
            linux.unmount(job["folder"])
        shutil.rmtree(job["folder"])


def main() -> None:
    """Fork a keeper for each request until the grader closes the control socket."""
    control, server = socket.socket(fileno=os.dup(0)), os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        linux.set_dumpable(False)
        linux.adopt_orphans()
    host = limits.examine(sys.argv[1])
    for name in WARM:
        importlib.import_module(name)
    gc.freeze()  # a worker's first collection would copy every page that is shared until then
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, files, _, _ = socket.recv_fds(control, 65536, 3)
        if not data:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _await_children(KEEPERS_WAIT)
            end_descendants()
            os._exit(0)
        try:
            if os.fork() == 0:
                control.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _keep(files, json.loads(data), host)
                os._exit(0)
        except BaseException:
            with contextlib.suppress(OSError):
                os.write(files[OUTPUT], traceback.format_exc().encode())
            if os.getpid() != server:
                os._exit(FAILED)
        for file in files:
            os.close(file)
