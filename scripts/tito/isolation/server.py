"""The server: one worker at a time, one request at a time, and a deadline over each test."""

import itertools
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from tito.isolation import wire
from tito.isolation.errors import (
    IsolationError,
    ProtocolError,
    StaleHandle,
    StudentError,
    UseOutsideTest,
    WorkerDied,
    WorkerTimeout,
    clean,
    from_report,
)
from tito.isolation.limits import Limits
from tito.isolation.process import ForkServer, Worker, signal_name
from tito.isolation.proxy import Handle, Reference, describe, encode_proxy


@dataclass(frozen=True)
class Source:
    """One module of the package under test, as text.

    Attributes:
        text: The source.
        filename: The name that tracebacks show, such as "modules/01_tensor/tensor.py".
        is_package: Whether the module may have submodules.
        problem: Why the source cannot be used; importing the module raises ImportError with it.
    """

    text: str
    filename: str
    is_package: bool = False
    problem: str | None = None


@dataclass
class _Deadline:
    """When the current test must be over; `worker` is the one to end then."""

    at: float
    seconds: float
    scope: str
    expired: bool = False


_generations = itertools.count(1)


class Server:
    """Runs the package under test in worker processes and forwards requests to them.

    Args:
        package: Module name -> source, for every module of `tinytorch`.
        start: "fork" or "spawn"; None takes the best that the platform offers.
        limits: What a worker may use.
        checkpoint_seconds: The time all tests of one checkpoint may take together.

    The life of a server: `start()` early, then `fresh()` before each checkpoint, `begin_test()`
    and `end_test()` around each test, `close()` at the end. Workers start by themselves when
    they are needed; after a death or a timeout the next test gets a new one.
    """

    def __init__(
        self,
        package: dict[str, Source],
        *,
        start: str | None = None,
        limits: Limits | None = None,
        checkpoint_seconds: float = 120.0,
    ):
        self.limits = limits or Limits()
        self.files = {name: source.filename for name, source in package.items()}
        self._package = wire.frame()
        sources = {
            name: {
                "text": source.text,
                "filename": source.filename,
                "is_package": source.is_package,
                "problem": source.problem,
            }
            for name, source in package.items()
        }
        wire.encode(sources, self._package, self.encode_other)
        wire.seal(self._package)
        self._mode = start or "fork"
        self._forks: ForkServer | None = None
        self._worker: Worker | None = None
        self._generation = 0
        self._dropped: list[int] = []
        self._probes: dict[tuple[str, str], str] = {}
        self._defined: set[str] = set()
        self._memory = 0
        self._fatal: IsolationError | None = None
        self._deadline: _Deadline | None = None
        self._began = 0.0
        self._budget = self._left = checkpoint_seconds
        self._wake = threading.Condition()
        self._closed = False
        self._watchdog: threading.Thread | None = None
        self.isolation: dict[str, Any] = {"start": self._mode, "layers": []}

    # Life.

    def start(self) -> None:
        """Start what can be started ahead of the first test; returns at once."""
        if self._forks is None:
            self._forks = ForkServer()
        if self._watchdog is None:
            self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._watchdog.start()

    def fresh(self, checkpoint_seconds: float | None = None) -> None:
        """Begin a checkpoint: a new worker, a new budget of time."""
        self._end_worker()
        self._memory = 0
        self._budget = self._left = checkpoint_seconds or self._budget
        self._fatal = None
        self.start()
        self._worker = self._new_worker()

    def begin_test(self, seconds: float) -> None:
        """Give the next requests, together, so many seconds."""
        if self._fatal is not None:
            self._end_worker()
            self._fatal = None
        self._began = time.monotonic()
        short = self._left < seconds
        scope, limit = ("checkpoint", self._budget) if short else ("test", seconds)
        with self._wake:
            self._deadline = _Deadline(
                self._began + max(min(self._left, seconds), 0.0), limit, scope
            )
            self._wake.notify()

    def end_test(self) -> IsolationError | None:
        """End the test; returns what made its worker unusable, even if the test caught it."""
        with self._wake:
            deadline, self._deadline = self._deadline, None
        if deadline is not None:
            self._left -= time.monotonic() - self._began
            if deadline.expired and self._fatal is None:
                self._fatal = WorkerTimeout(deadline.seconds, deadline.scope)
        return self._fatal

    def take_output(self) -> str:
        """What the student's code printed since the last call: the end of it, made safe."""
        if self._worker is None:
            return ""
        data, dropped = self._worker.output.take()
        text = clean(data.decode("utf-8", "replace"), len(data) + 1)
        return f"({dropped} bytes before this were dropped)\n{text}" if dropped else text

    def peak_memory(self) -> int:
        """The most memory a worker of this checkpoint held at once, in bytes, so far known."""
        return self._memory

    def close(self) -> None:
        """End everything that was started."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._end_worker()
        if self._forks is not None:
            self._forks.close()
            self._forks = None

    # Workers.

    def _new_worker(self) -> Worker:
        assert self._forks is not None
        self._generation = next(_generations)
        self._dropped.clear()
        self._defined.clear()
        worker = Worker(self._forks)
        worker.connection.sendall(self._package)
        self._greeted = False
        return worker

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._memory = max(self._memory, worker.close().memory)

    def _ready(self, call: str) -> Worker:
        """The current worker, started if there is none; its greeting is read."""
        if self._fatal is not None:
            raise self._fatal
        if self._closed:
            raise UseOutsideTest("the student's code was used after the last test")
        if self._worker is None:
            self.start()
            self._worker = self._new_worker()
        if not self._greeted:
            try:
                wire.receive(self._worker.connection.recv)
            except (OSError, EOFError):
                raise self._lost(call) from None
            self._greeted = True
        return self._worker

    def _lost(self, call: str) -> IsolationError:
        """Why the connection ended; from here on the worker is unusable."""
        assert self._worker is not None
        deadline = self._deadline
        if deadline is not None and deadline.expired:
            self._fatal = WorkerTimeout(deadline.seconds, deadline.scope, call)
        else:
            code = self._worker.end().code
            reason = f"the process running your code ended (exit code {code})"
            self._fatal = WorkerDied(reason, code, signal_name(code), call)
        return self._fatal

    def _watch(self) -> None:
        """End the worker when a test's time is up; a blocked read then sees the end."""
        with self._wake:
            while not self._closed:
                deadline = self._deadline
                left = None if deadline is None else deadline.at - time.monotonic()
                if deadline is None or deadline.expired or left is None or left > 0:
                    self._wake.wait(None if deadline is None or deadline.expired else left)
                    continue
                deadline.expired = True
                if self._worker is not None:
                    self._worker.kill()

    # Requests.

    def check(self, generation: int, handle: Handle) -> None:
        """Refuse a handle of a worker that has ended."""
        if generation != self._generation:
            raise StaleHandle(f"{describe(handle)} is gone: its worker has ended")

    def drop(self, generation: int, number: int) -> None:
        """Note that a handle is no longer needed; the worker hears of it with the next request."""
        if generation == self._generation:
            self._dropped.append(number)

    def encode_other(self, value: Any, out: bytearray) -> None:
        """Write what is not a plain value."""
        encode_proxy(self, value, out)

    def probe(self, source: str, name: str = "probe") -> "Probe":
        """Pristine source to run beside the student's code; run when it is first used."""
        return Probe(self, source, name)

    def define(self, source: str, name: str) -> str:
        """Make sure the current worker has run a probe; returns the name it goes by."""
        key = self._probes.setdefault((source, name), f"<probe {len(self._probes)}>")
        self._ready(name)
        if key not in self._defined:
            self._request("probe", (key, name, source), name)
            self._defined.add(key)
        return key

    def operate(self, operation: str, *operands: Any) -> Any:
        """Ask the worker for one operation; returns a plain value or a handle.

        Raises:
            StudentError: What the student's code raised.
            WorkerDied, WorkerTimeout, ProtocolError: The worker is gone; so are its objects.
        """
        __tracebackhide__ = True
        return self._request(operation, operands, operation)

    def _request(self, operation: str, operands: tuple, call: str) -> Any:
        __tracebackhide__ = True
        worker = self._ready(call)
        identity = os.urandom(8)
        out = wire.frame()
        out += identity
        dropped, self._dropped = self._dropped, []
        wire.encode(dropped, out, self.encode_other)
        wire.encode(operation, out, self.encode_other)
        wire.encode(operands, out, self.encode_other)
        try:
            worker.connection.sendall(wire.seal(out))
            data = wire.receive(worker.connection.recv)
        except wire.WireError as error:
            raise self._violated(str(error), call) from None
        except (OSError, EOFError):
            raise self._lost(call) from None
        if data[:8] != identity:
            raise self._violated("an answer to something that was not asked", call)
        try:
            return self._reply(data)
        except (wire.WireError, TypeError, ValueError, KeyError) as error:
            if isinstance(error, StudentError):
                error.call = call
                raise error from None
            raise self._violated(str(error), call) from None

    def _reply(self, data: bytes) -> Any:
        generation = self._generation
        reader = wire.Reader(
            data, lambda number, kind: Handle(self, generation, number, clean(kind, 100)), start=9
        )
        value = reader.value()
        reader.end()
        if data[8:9] == b"\x01":
            return value
        if data[8:9] != b"\x00":
            raise wire.WireError("neither a result nor an error")
        raise from_report(value, self.files)

    def _violated(self, detail: str, call: str) -> ProtocolError:
        assert self._worker is not None
        self._worker.kill()
        self._fatal = ProtocolError(detail, call)
        return self._fatal


class Probe:
    """A probe's names, as references that any worker can look up."""

    def __init__(self, server: Server, source: str, name: str):
        self._server, self._source, self._name = server, source, name

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("__"):
            raise AttributeError(name)
        return Reference(self._server.define(self._source, self._name), (name,))
