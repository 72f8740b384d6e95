"""The warm parent of workers: imports NumPy once, then forks a process per checkpoint.

It never runs or even reads the student's code. Each request on its control socket (standard
input) brings three descriptors and forks a keeper; the keeper forks the worker, waits for it,
tells the grader how it ended, and ends whatever the worker left behind.

    grader ── control ── fork server ── keeper ── worker
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

import worker

CONNECTION, OUTPUT, STATUS = range(3)


def _begin(connection: int, output: int, job: dict[str, Any]) -> None:
    """Become the worker: standard streams, working directory, then serve until the end."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    kept = socket.socket(fileno=os.dup2(connection, 3))
    os.closerange(4, 1024)
    os.setsid()
    os.chdir(job["folder"])
    os.environ["HOME"] = os.environ["TMPDIR"] = job["folder"]
    worker.run(kept)


def _tell(status: socket.socket, **words: Any) -> None:
    with contextlib.suppress(OSError):  # the grader is gone, or wants to know no more
        status.sendall(json.dumps(words).encode() + b"\n")


def _wait(pid: int, status: socket.socket, wake: int) -> tuple[int, Any]:
    """Wait for the worker's end; end it when the grader says so or goes away."""
    while True:
        ready, _, _ = select.select([status, wake], [], [])
        if status in ready:
            os.kill(pid, signal.SIGKILL)
            _, code, usage = os.wait4(pid, 0)
            return code, usage
        os.read(wake, 4096)
        done, code, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return code, usage


def _keep(files: list[int], job: dict[str, Any]) -> None:
    """Fork the worker and see it through; runs in a process of its own."""
    status = socket.socket(fileno=files[STATUS])
    wake, awake = os.pipe()
    os.set_blocking(awake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(awake, warn_on_full_buffer=False)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _begin(files[CONNECTION], files[OUTPUT], job)
    os.close(files[CONNECTION])
    os.close(files[OUTPUT])
    _tell(status, pid=pid)
    code, usage = _wait(pid, status, wake)
    _tell(status, code=os.waitstatus_to_exitcode(code), memory=usage.ru_maxrss)


def main() -> None:
    """Fork a keeper for each request until the grader closes the control socket."""
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control.sendall(b"ready")
    while True:
        data, files, _, _ = socket.recv_fds(control, 65536, 3)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            try:
                control.close()
                _keep(files, json.loads(data))
            finally:
                os._exit(0)
        for file in files:
            os.close(file)


if __name__ == "__main__":
    sys.exit("start it through tito.isolation.process")
