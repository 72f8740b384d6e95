"""Start worker processes, and end them: the part of the grader that knows about processes."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tito.isolation import stack
from tito.isolation.limits import Limits

OUTPUT_KEPT = 64 * 1024  # bytes of output kept per test
STACK_WAIT = 1.0  # seconds for a worker to say where it is
STACK_LOOK = 0.005  # seconds between two looks whether it has
STACK_KEPT = 16 * 1024  # bytes of it
DRAIN_WAIT = 0.02  # seconds for output to arrive, where a pipe cannot be asked
NATURAL_END = 0.5  # seconds between a closed connection and the end of its process
REST_WAIT = 0.005  # seconds for a worker that has answered to wait for the next request
REMOVE_WAIT = 2.0  # seconds to wait for a worker's files to be gone
# Seconds in which Windows may not yet remove the folder of a process that was killed.
REMOVE_AGAIN = 1.0 if os.name == "nt" else 0.0
REMOVE_LOOK = 0.02  # seconds between two tries
END_WAIT = 5.0  # seconds to wait for a killed worker to be gone
ENVIRONMENT = (
    *("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
HERE = str(Path(__file__).resolve().parent)
SITE = str(Path(np.__file__).resolve().parent.parent)

# Our modules under their own names, without the package's __init__, which is the grader's.
BOOT = """
import sys, types
for name, path in (("tito", []), ("tito.isolation", [sys.argv.pop(1)])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
sys.path.append(sys.argv[1])
from tito.isolation import {0}
{0}.main()
"""


class End(NamedTuple):
    """How a worker ended.

    Attributes:
        code: Its exit code, negative for a signal; None when it had to be ended.
        memory: The most it held at once, in bytes; 0 when unknown.
        processor: Seconds of processor time it used; 0.0 when unknown.
    """

    code: int | None
    memory: int = 0
    processor: float = 0.0


def command(module: str) -> list[str]:
    """The command that runs one of our modules in a bare interpreter with NumPy in reach.

    -I and -S: no environment variables, no working directory, no .pth files, no sitecustomize.
    """
    options = ["-I", "-S", "-B", "-X", "utf8"]
    return [sys.executable, *options, "-c", BOOT.format(module), HERE, SITE]


def environment() -> dict[str, str]:
    """What a worker may know of our environment."""
    names = (*ENVIRONMENT, "PATH") if os.name == "nt" else ENVIRONMENT  # DLLs are found by it
    return {name: os.environ[name] for name in names if name in os.environ}


def best_start() -> str:
    """How workers start best on this platform: forked on Linux, spawned elsewhere."""
    return "fork" if sys.platform == "linux" else "spawn"


def remove_folder(folder: str) -> None:
    """Remove what a worker wrote; if it wrote a great deal, go on without waiting for the end."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # as a rule it is empty
    if not os.path.exists(folder):
        return
    remover = threading.Thread(target=_remove_tree, args=(folder,), daemon=True)
    remover.start()
    remover.join(REMOVE_WAIT)


def _remove_tree(folder: str) -> None:
    """Remove a tree, also where its owner took the rights away from its folders."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError, RecursionError):
        for path, _, _ in os.walk(folder):
            for entry in os.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)
    until = time.monotonic() + REMOVE_AGAIN
    while os.path.exists(folder) and time.monotonic() < until:
        time.sleep(REMOVE_LOOK)
        shutil.rmtree(folder, ignore_errors=True)


class Output:
    """Drain a worker's output: the last 64 KiB are kept, the rest is counted and forgotten."""

    def __init__(self, file: int):
        self._file = file
        self._lock = threading.Lock()
        self._tail = bytearray()
        self._dropped = 0
        self._heard: bytes | None = None  # from the stack on that was asked for
        self._selects = os.name != "nt"
        if self._selects:
            os.set_blocking(file, False)
        threading.Thread(target=self._drain, name="worker-output", daemon=True).start()

    def _drain(self) -> None:
        while True:
            if self._selects:
                select.select([self._file], [], [])
                with self._lock:
                    more = self._read()
            else:
                more = self._read()
            if not more:
                break
        with self._lock:
            os.close(self._file)
            self._file = -1

    def _read(self) -> bool:
        """Take in what is there; False at the end of the output."""
        try:
            data = os.read(self._file, 65536)
        except BlockingIOError:
            return True
        self._tail += data
        if self._heard is not None and len(self._heard) < STACK_KEPT:
            heard = self._heard + data
            at = heard.find(stack.HEAD)
            self._heard = heard[at : at + STACK_KEPT] if at >= 0 else heard[-len(stack.HEAD) :]
        excess = len(self._tail) - OUTPUT_KEPT
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess
        return bool(data)

    def take(self) -> tuple[bytes, int]:
        """What was kept since the last call, and how many bytes before it were dropped."""
        if not self._selects:
            time.sleep(DRAIN_WAIT)
        with self._lock:
            if self._selects and self._file >= 0:
                for _ in range(OUTPUT_KEPT // 4096):  # what was written before an answer came
                    if not select.select([self._file], [], [], 0)[0] or not self._read():
                        break
            taken = bytes(self._tail), self._dropped
            self._tail.clear()
            self._dropped = 0
        return taken

    def listen(self) -> None:
        """Keep what comes from now on if it is a stack, however much is printed after it."""
        with self._lock:
            self._heard = b""

    def take_stack(self) -> list[stack.Place]:
        """Where the worker says it is, once it was asked; what it printed before stays."""
        until, told = time.monotonic() + STACK_WAIT, b""
        while time.monotonic() < until:
            time.sleep(STACK_LOOK)
            with self._lock:
                now = self._heard or b""
            if now.startswith(stack.HEAD) and now == told:  # no more comes
                break
            told = now
        with self._lock:
            self._heard = None
            before, head, _ = self._tail.rpartition(stack.HEAD)
            if head:
                self._tail = before
        return stack.places(told.removeprefix(stack.HEAD).decode("utf-8", "replace"))


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

    def alive(self) -> bool:
        """Whether it can still fork."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """What it said before it ended, if it did."""
        try:
            self._process.wait(NATURAL_END)
        except subprocess.TimeoutExpired:
            return ""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 2000))
        return self._errors.read().decode(errors="replace").strip()

    def fork(self, files: list[int], job: dict[str, Any]) -> None:
        """Ask for a worker; its descriptors go with the request."""
        socket.send_fds(self.control, [json.dumps(job).encode()], files)

    def close(self) -> None:
        """End the fork server and all that is below it."""
        self.control.close()
        try:
            self._process.wait(END_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class ForkedWorker:
    """A worker that a fork server made, and its keeper, who ends it when we say so or die."""

    def __init__(self, forks: ForkServer, limits: Limits, folders: dict[str, str]):
        self.folder = tempfile.mkdtemp(prefix="tito-worker-")
        self.connection, far = socket.socketpair()
        self._status, status = socket.socketpair()
        readable, writable = os.pipe()
        self.output = Output(readable)
        self._said: dict[str, Any] = {}
        self._rest = b""
        job = {"folder": self.folder, "limits": asdict(limits), "folders": folders}
        with contextlib.suppress(OSError):  # a fork server that is gone shows at the first use
            forks.fork([far.fileno(), writable, status.fileno()], job)
        far.close()
        status.close()
        os.close(writable)

    def _listen(self, key: str, seconds: float) -> Any:
        """What the keeper says under `key`, or None if it does not."""
        self._status.settimeout(seconds)
        with contextlib.suppress(OSError, ValueError):
            while key not in self._said and (data := self._status.recv(4096)):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._said |= json.loads(line)
        return self._said.get(key)

    @property
    def process(self) -> int | None:
        """The worker's process id, as the grader sees it."""
        return self._listen("pid", END_WAIT)

    def kill(self) -> None:
        """Have the worker ended, and wake whoever waits for an answer; returns at once."""
        for connection, how in (
            (self._status, socket.SHUT_WR),
            (self.connection, socket.SHUT_RDWR),
        ):
            with contextlib.suppress(OSError):
                connection.shutdown(how)

    def where(self) -> list[stack.Place]:
        """The functions it is in, the outermost first; it goes on meanwhile."""
        with contextlib.suppress(OSError):
            self.output.listen()
            self._status.send(b"?")
            return self.output.take_stack()
        return []

    def end(self) -> End:
        """Wait for the end of a worker that closed its connection; end it if it lingers."""
        code = self._listen("code", NATURAL_END)
        if code is None:
            self.kill()
            self._listen("code", END_WAIT)
        return End(code, self._said.get("memory", 0), self._said.get("processor", 0.0))

    def close(self) -> End:
        """End the worker and remove what it wrote."""
        self.kill()
        self._listen("code", END_WAIT)
        end = self.end()
        self._status.close()
        self.connection.close()
        remove_folder(self.folder)
        return end


class Pipes:
    """Two pipes with the face of a connected socket, for platforms without pairs of sockets."""

    def __init__(self, process: subprocess.Popen):
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._in, self._out = process, process.stdout, process.stdin

    def recv_into(self, target: memoryview) -> int:
        """Read at least one byte, or none at the end; returns how many."""
        return self._in.readinto(target)  # type: ignore[attr-defined]

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._out.fileno(), view) :]

    def shutdown(self, how: int) -> None:
        """A pipe ends with its process."""
        self._process.kill()

    def close(self) -> None:
        """Close both."""
        with contextlib.suppress(OSError):
            self._in.close()
            self._out.close()


class SpawnedWorker:
    """A worker in an interpreter of its own: slower to start, and only its group can be ended."""

    def __init__(self, limits: Limits, folders: dict[str, str], pipes: bool):
        self.folder = tempfile.mkdtemp(prefix="tito-worker-")
        job = {"folder": self.folder, "limits": asdict(limits), "folders": folders}
        job["grader"] = os.getpid()
        readable, writable = os.pipe()
        near, far = (None, None) if pipes else socket.socketpair()
        self._popen = subprocess.Popen(
            [*command("spawned"), json.dumps(job)],
            stdin=far or subprocess.PIPE,
            stdout=far or subprocess.PIPE,
            stderr=writable,
            env=environment(),
            cwd=tempfile.gettempdir(),  # Windows removes no folder that a process began in
            bufsize=0,
            start_new_session=True,
        )
        os.close(writable)
        if far is not None:
            far.close()
        self.connection: Any = near or Pipes(self._popen)
        self.output = Output(readable)
        self.process = self._popen.pid

    def kill(self) -> None:
        """End the worker and its group; wake whoever waits for an answer."""
        if hasattr(os, "killpg") and self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process, signal.SIGKILL)
        self._popen.kill()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def where(self) -> list[stack.Place]:
        """The functions it is in, the outermost first; none on Windows, which cannot ask."""
        if stack.ASK is None or self._popen.poll() is not None:
            return []
        with contextlib.suppress(OSError):
            self.output.listen()
            os.kill(self.process, stack.ASK)
            return self.output.take_stack()
        return []

    def end(self) -> End:
        """Wait for the end of a worker that closed its connection; end it if it lingers."""
        try:
            return End(self._popen.wait(NATURAL_END))
        except subprocess.TimeoutExpired:
            self.kill()
            return End(None)

    def close(self) -> End:
        """End the worker and remove what it wrote."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(END_WAIT)
        self.connection.close()
        remove_folder(self.folder)
        return End(self._popen.returncode)


def peak_memory(process: int | None) -> int:
    """The most memory a living process held at once, in bytes; 0 where that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def reset_peak(process: int | None) -> bool:
    """Let a living process's peak begin anew at what it holds now; whether the kernel did."""
    if process is None:
        return False
    try:
        Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _rests(process: int) -> bool:
    """Whether a process waits for something, or is gone."""
    try:
        file = os.open(f"/proc/{process}/stat", os.O_RDONLY)
    except OSError:
        return True
    try:
        return os.read(file, 512).rpartition(b") ")[2][:1] != b"R"
    except OSError:
        return True
    finally:
        os.close(file)


def processor_seconds(process: int | None) -> float | None:
    """The processor time a living process has used, all threads together; None if not told.

    Linux numbers the clock of process `p` as `(~p << 3) | 2` (kernel/time/posix-cpu-timers.c);
    its own bookkeeping answers, so the process cannot bend it. Of a process that still runs it
    leaves out what came after the last tick, some milliseconds: one that has answered is given
    the moment it takes to rest.
    """
    if process is None or sys.platform != "linux":
        return None
    until = time.monotonic() + REST_WAIT
    while not _rests(process) and time.monotonic() < until:
        pass
    try:
        return time.clock_gettime((~process << 3) | 2)
    except OSError:
        return None


def signal_name(code: int | None) -> str | None:
    """The name of the signal in an exit code, if it is one."""
    if code is None or code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
