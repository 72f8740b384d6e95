"""Start worker processes, and end them: the part of the grader that knows about processes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OUTPUT_KEPT = 64 * 1024  # bytes of output kept per test
END_WAIT = 5.0  # seconds to wait for a killed worker to be gone
ENVIRONMENT = (
    *("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
HERE = str(Path(__file__).resolve().parent)
SITE = str(Path(np.__file__).resolve().parent.parent)
BOOT = (
    "import sys; sys.path[:0] = [sys.argv[1]]; sys.path.append(sys.argv[2]); import {0}; {0}.main()"
)


class End(NamedTuple):
    """How a worker ended: an exit code (negative: a signal), or None when that is unknown."""

    code: int | None
    memory: int


def command(module: str) -> list[str]:
    """The command that runs one of our modules in a bare interpreter with NumPy in reach.

    -I and -S: no environment variables, no working directory, no .pth files, no sitecustomize.
    """
    options = ["-I", "-S", "-B", "-X", "utf8"]
    return [sys.executable, *options, "-c", BOOT.format(module), HERE, SITE]


def environment() -> dict[str, str]:
    """What a worker may know of our environment."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


class Output:
    """Drain a worker's output: the last 64 KiB are kept, the rest is counted and forgotten."""

    def __init__(self, file: int):
        self._file = file
        self._lock = threading.Lock()
        self._tail = bytearray()
        self._dropped = 0
        os.set_blocking(file, True)
        self._thread = threading.Thread(target=self._drain, name="worker-output", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        with open(self._file, "rb", buffering=0) as pipe:
            while data := pipe.read(65536):
                with self._lock:
                    self._tail += data
                    excess = len(self._tail) - OUTPUT_KEPT
                    if excess > 0:
                        del self._tail[:excess]
                        self._dropped += excess

    def take(self) -> tuple[bytes, int]:
        """What was kept since the last call, and how many bytes before it were dropped."""
        with self._lock:
            taken = bytes(self._tail), self._dropped
            self._tail.clear()
            self._dropped = 0
        return taken


class ForkServer:
    """The warm process that forks workers; started early, so that its imports overlap ours."""

    def __init__(self) -> None:
        self.control, far = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in close()
        self._process = subprocess.Popen(
            command("forkserver"),
            stdin=far,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=environment(),
            cwd="/",
            start_new_session=True,
        )
        far.close()

    def fork(self, files: list[int], job: dict[str, Any]) -> None:
        """Ask for a worker; its descriptors go with the request."""
        socket.send_fds(self.control, [json.dumps(job).encode()], files)

    def close(self) -> None:
        """End the fork server; workers have their own way to end."""
        self.control.close()
        self._process.kill()
        self._process.wait()
        self._errors.close()


class Worker:
    """A worker process: a connection, its output, and the certainty that it can be ended."""

    def __init__(self, forks: ForkServer):
        self.folder = tempfile.mkdtemp(prefix="tito-worker-")
        self.connection, far = socket.socketpair()
        self._status, status = socket.socketpair()
        readable, writable = os.pipe()
        try:
            forks.fork([far.fileno(), writable, status.fileno()], {"folder": self.folder})
        finally:
            far.close()
            status.close()
            os.close(writable)
        self.output = Output(readable)
        self._words: dict[str, Any] = {}
        self._rest = b""

    def _listen(self, key: str) -> Any:
        """What the keeper says under `key`, or None if it never will."""
        self._status.settimeout(END_WAIT)
        with contextlib.suppress(OSError):
            while key not in self._words and (data := self._status.recv(4096)):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._words |= json.loads(line)
        return self._words.get(key)

    def kill(self) -> None:
        """End the worker and all that it started; whoever waits for it sees the end. No waiting."""
        for connection in (self._status, self.connection):
            with contextlib.suppress(OSError):
                how = socket.SHUT_WR if connection is self._status else socket.SHUT_RDWR
                connection.shutdown(how)

    def end(self) -> End:
        """Wait until the worker is gone; it must have been killed or have closed its connection."""
        code = self._listen("code")
        if code is None:
            self.kill()
        return End(code, int(self._words.get("memory", 0)) * 1024)

    def close(self) -> End:
        """End the worker and remove what it wrote."""
        self.kill()
        end = self.end()
        self._status.close()
        self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return end


def signal_name(code: int | None) -> str | None:
    """The name of the signal in an exit code, if it is one."""
    if code is None or code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
