"""The server: one worker at a time, one request at a time, and a deadline over each test."""

import contextlib
import itertools
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from tito.isolation import operations, wire
from tito.isolation.errors import (
    FRAMES_LIMIT,
    NAME_LIMIT,
    Frame,
    IsolationError,
    ProtocolError,
    StaleHandle,
    UseOutsideTest,
    WorkerDied,
    WorkerTimeout,
    clean,
    endless,
    from_report,
)
from tito.isolation.limits import Layer, Limits, protect_grader
from tito.isolation.process import (
    End,
    ForkedWorker,
    ForkServer,
    SpawnedWorker,
    best_start,
    peak_memory,
    processor_seconds,
    reset_peak,
    signal_name,
)
from tito.isolation.proxy import Handle, describe, encode_proxy, label


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


Worker = ForkedWorker | SpawnedWorker
BUSY = 10  # an endless import computes for more than a tenth of its time, however busy the machine


@dataclass
class _Deadline:
    """When the current test must be over; once it has expired, what the worker was doing."""

    at: float
    seconds: float
    scope: str
    expired: bool = False
    frames: tuple[Frame, ...] = ()
    computed: float = 0.0  # seconds of processor time of the worker's life

    def error(self, call: str = "") -> WorkerTimeout:
        """That its time is up."""
        return WorkerTimeout(self.seconds, self.scope, call, self.frames)


_generations = itertools.count(1)


class Server:
    """Runs the package under test in worker processes and forwards requests to them.

    Args:
        package: Module name -> source, for every module of `tinytorch`.
        start: "fork", "spawn", or "spawn-pipes" (as on Windows); None takes the platform's best.
        limits: What a worker may use.
        checkpoint_seconds: The time all tests of one checkpoint may take together.
        folders: Environment variable -> folder that the worker may read, such as shipped data.
            Everything below such a folder can be read by the student's code.
        forks: A fork server that is warm already; this one ends it.

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
        folders: dict[str, str] | None = None,
        forks: ForkServer | None = None,
    ):
        self.limits = limits or Limits()
        self.folders = dict(folders or {})
        self.files = {name: source.filename for name, source in package.items()}
        self._sources = dict(package)
        self._package = self._packed()
        self._mode = start or best_start()
        self._forks = forks
        self._worker: Worker | None = None
        self._generation = 0
        self._dropped: list[int] = []
        self._probes: dict[tuple[str, str], str] = {}
        self._defined: set[str] = set()
        self._memory = 0
        self.requests = 0  # to all workers so far
        self._fatal: IsolationError | None = None
        self._deadline: _Deadline | None = None
        self._began = 0.0
        self._budget = self._left = checkpoint_seconds
        self._shared = False
        self._wake = threading.Condition()
        self._closed = False
        self._watchdog: threading.Thread | None = None
        self._greeted = False
        self._buffer = memoryview(bytearray(wire.BUFFER))
        self._layers: list[Layer] = []
        self._grader: Layer | None = None

    @property
    def isolation(self) -> dict[str, Any]:
        """How workers start, and each layer of protection: name, whether active, detail.

        The worker's layers are known once the first worker has answered.
        """
        layers = [self._grader, *self._layers] if self._grader else self._layers
        return {"start": self._mode, "layers": [asdict(layer) for layer in layers]}

    def _packed(self) -> wire.Frame:
        """The package as each worker gets it."""
        frame = wire.Frame()
        sources = {
            name: {
                "text": source.text,
                "filename": source.filename,
                "is_package": source.is_package,
                "problem": source.problem,
            }
            for name, source in self._sources.items()
        }
        wire.encode(sources, frame, self.encode_other)
        wire.seal(frame)
        return frame

    # Life.

    def start(self) -> None:
        """Start what can be started ahead of the first test; returns at once."""
        if self._grader is None:
            self._grader = protect_grader()
        if self._mode == "fork" and (self._forks is None or not self._forks.alive()):
            self._close_forks()
            self._forks = ForkServer()
        if self._watchdog is None:
            self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._watchdog.start()

    def fresh(self, checkpoint_seconds: float | None = None) -> None:
        """Begin a checkpoint: a new worker, a new budget of time."""
        self._end_worker()
        self._memory = 0
        self._budget = self._left = checkpoint_seconds or self._budget
        self._shared = False
        self._fatal = None
        self._new_worker()

    def renew(self) -> None:
        """Let the next test begin on a worker of its own, within the same checkpoint."""
        self._end_worker()

    def begin_test(self, seconds: float, others: int = 0) -> None:
        """Give the next requests, together, so many seconds.

        `others` tests of the checkpoint come after this one. Once a test has run out of time they
        share what is left, a twentieth to a quarter of its own time each: a loop that many of
        them enter takes no other its turn.
        """
        if self._shared:
            share = self._left / (others + 1)
            seconds = min(max(share, seconds / 20), seconds / 4)
        if self._fatal is not None:
            self._end_worker()
            self._fatal = None
        if self._worker is not None and self._greeted:  # before, it says why it cannot start
            self._worker.output.take()
        self._began = time.monotonic()
        short = self._left < seconds
        scope, limit = ("checkpoint", self._budget) if short else ("test", seconds)
        with self._wake:
            self._deadline = _Deadline(
                self._began + max(min(self._left, seconds), 0.0), limit, scope
            )
            self._wake.notify()

    def end_test(self) -> IsolationError | None:
        """End the test; returns `fatal`, or that its time was over when it ended."""
        with self._wake:
            deadline, self._deadline = self._deadline, None
        if deadline is not None:
            self._left -= time.monotonic() - self._began
            if deadline.expired and self._fatal is None:
                self._fatal = deadline.error()
            busy = BUSY * deadline.computed > time.monotonic() - self._began
            if deadline.expired and busy and not self._shared:
                self._refuse(deadline.error())
            self._shared = self._shared or deadline.expired
        return self._fatal

    def _refuse(self, error: WorkerTimeout) -> None:
        """Let no later worker import a module whose import does not end: each would wait again.

        Only where it had a test's whole time and computed: a machine that stalls says nothing of
        the module.
        """
        line = error.endless_import
        for name, source in self._sources.items():
            if line is not None and source.filename == line.file:
                self._sources[name] = replace(source, problem=endless(line, error.seconds))
                self._package = self._packed()

    @property
    def fatal(self) -> IsolationError | None:
        """What made the current test's worker unusable, even if the test caught it."""
        return self._fatal

    def take_output(self) -> str:
        """What the student's code printed since the last call: the end of it, made safe."""
        if self._worker is None:
            return ""
        data, dropped = self._worker.output.take()
        text = clean(data.decode("utf-8", "replace"), len(data) + 1)
        return f"({dropped} bytes before this were dropped)\n{text}" if dropped else text

    def peak_memory(self) -> int:
        """The most memory a worker of this checkpoint has held at once, in bytes."""
        if self._worker is not None and self._fatal is None:
            self._memory = max(self._memory, peak_memory(self._worker.process))
        return self._memory

    def current_peak(self) -> int:
        """The most memory the current worker has held since `reset_peak`; 0 when unknown."""
        if self._worker is None or self._fatal is not None:
            return 0
        return peak_memory(self._worker.process)

    def reset_peak(self) -> bool:
        """Count the current worker's peak anew, where the kernel allows it; that of the checkpoint
        so far is kept."""
        self.peak_memory()
        return self._worker is not None and reset_peak(self._worker.process)

    def processor_seconds(self) -> float | None:
        """The processor time of the current worker, as the kernel counts it; None if unknown."""
        if self._worker is None or self._fatal is not None:
            return None
        return processor_seconds(self._worker.process)

    def close(self) -> None:
        """End everything that was started."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._end_worker()
        self._close_forks()

    def _close_forks(self) -> None:
        if self._forks is not None:
            self._forks.close()
            self._forks = None

    # Workers.

    def _new_worker(self) -> None:
        """Start a worker; it gets the package when it is first needed, and greets."""
        self.start()
        self._generation = next(_generations)
        self._dropped = []
        self._defined.clear()
        self._greeted = False
        if self._mode == "fork":
            assert self._forks is not None
            self._worker = ForkedWorker(self._forks, self.limits, self.folders)
        else:
            pipes = self._mode == "spawn-pipes" or os.name == "nt"
            self._worker = SpawnedWorker(self.limits, self.folders, pipes)
        with self._wake:  # the deadline may have passed meanwhile, with no worker to end
            if self._deadline is not None and self._deadline.expired:
                self._worker.kill()

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._memory = max(self._memory, worker.close().memory)

    def _ready(self, operation: str, operands: tuple) -> Worker:
        """The current worker, started if there is none; its greeting is read."""
        if self._fatal is not None:
            raise self._fatal.with_traceback(None)
        if self._deadline is None:
            raise UseOutsideTest(f"{label(operation, operands)}: used outside a test")
        if self._worker is None:
            self._new_worker()
        assert self._worker is not None
        if not self._greeted:
            try:
                self._worker.connection.sendall(self._package)
                self._greet(wire.receive(self._worker.connection.recv_into, self._buffer))
            except wire.WireError as error:
                raise self._violated(str(error), operation, operands) from None
            except (OSError, EOFError):
                raise self._lost(operation, operands) from None
            self._greeted = True
        return self._worker

    def _greet(self, data: bytes | memoryview) -> None:
        """Read which layers the worker put on; no code of the student has run by then."""
        _, layers = wire.read_reply(data, bytes(8), lambda number, kind: None)
        self._layers = [Layer(*words) for words in layers]

    def _lost(self, operation: str, operands: tuple) -> IsolationError:
        """Why the connection ended; from here on the worker is unusable."""
        assert self._worker is not None
        call = label(operation, operands)
        deadline = self._deadline
        if deadline is not None and deadline.expired:
            self._fatal = deadline.error(call)
        else:
            end = self._worker.end()
            reason = self._reason(end)
            self._fatal = WorkerDied(reason, end.code, signal_name(end.code), call)
        self._memory = max(self._memory, self._worker.end().memory)
        return self._fatal

    def _reason(self, end: End) -> str:
        """What a worker's end means, in words for its author."""
        name = signal_name(end.code)
        if not self._greeted:
            said = self._forks.last_words() if self._forks else ""
            said = said or self.take_output().strip()
            return "the process for your code could not be started" + (f": {said}" if said else "")
        if end.code is None:
            return "your code closed the connection to the grader"
        if name is None:
            return f"your code ended its own process (exit code {end.code})"
        spent = 2 * end.processor > self.limits.cpu_seconds  # the limit counts ticks, roughly
        if name == "SIGXCPU" or (name == "SIGKILL" and spent):
            return f"your code used up its {self.limits.cpu_seconds} s of processor time"
        if name == "SIGKILL":
            return "the process running your code was killed: out of memory, or by itself"
        return f"the process running your code crashed ({name})"

    def _watch(self) -> None:
        """End the worker when a test's time is up; a blocked read then sees the end."""
        with self._wake:
            while not self._closed:
                deadline = self._deadline
                if deadline is None or deadline.expired:
                    self._wake.wait()
                    continue
                left = deadline.at - time.monotonic()
                if left > 0:
                    self._wake.wait(left)
                    continue
                deadline.expired = True
                with contextlib.suppress(Exception):  # this thread must go on, whatever happens
                    if self._worker is not None:
                        deadline.frames = self._where(self._worker)
                        spent = processor_seconds(self._worker.process)
                        deadline.computed = spent or 0.0
                        self._worker.kill()

    def _where(self, worker: Worker) -> tuple[Frame, ...]:
        """The student's lines that a worker is in, the first few and the last."""
        ours = self.files.values()
        found = [
            Frame(file, line, clean(function, NAME_LIMIT))
            for file, line, function in worker.where()
            if file in ours
        ]
        return tuple(found if len(found) <= FRAMES_LIMIT else found[:5] + found[5 - FRAMES_LIMIT :])

    # Requests.

    def check(self, generation: int, handle: Handle) -> None:
        """Refuse a handle of a worker that has ended."""
        if generation != self._generation:
            raise StaleHandle(f"{describe(handle)} is gone: its worker has ended")

    def drop(self, generation: int, number: int) -> None:
        """Note that a handle is no longer needed; the worker hears of it with the next request."""
        if generation == self._generation:
            self._dropped.append(number)

    def encode_other(self, value: Any, out: wire.Frame) -> None:
        """Write what is not a plain value."""
        encode_proxy(self, value, out)

    def define(self, source: str, name: str) -> str:
        """Make sure the current worker has run a probe; returns the name it goes by there."""
        key = self._probes.setdefault((source, name), f"<{name} {len(self._probes)}>")
        if key not in self._defined:
            self.operate("probe", key, name, source)
            self._defined.add(key)
        return key

    def operate(self, operation: str, *operands: Any) -> Any:
        """Ask the worker for one operation; returns a plain value or a handle.

        Raises:
            StudentError: What the student's code raised.
            WorkerDied, WorkerTimeout, ProtocolError: The worker is gone; so are its objects.
            TypeError: If an operand cannot enter the worker.
        """
        __tracebackhide__ = True
        worker = self._ready(operation, operands)
        identity, generation = os.urandom(8), self._generation
        code = operations.CODES[operation]
        self.requests += 1
        out = wire.request(identity, code, self._dropped, operands, self.encode_other)
        self._dropped = []
        try:
            worker.connection.sendall(out)
            data = wire.receive(worker.connection.recv_into, self._buffer)
        except wire.WireError as wrong:
            raise self._violated(str(wrong), operation, operands) from None
        except (OSError, EOFError):
            raise self._lost(operation, operands) from None

        def handle(number: int, kind: str) -> Handle:
            return Handle(self, generation, number, clean(kind, NAME_LIMIT))

        try:
            failed, value = wire.read_reply(data, identity, handle)
            error = from_report(value, self.files) if failed else None
        except Exception as wrong:  # whatever such bytes bring about
            raise self._violated(repr(wrong), operation, operands) from None
        if error is not None:
            error.call = label(operation, operands)
            raise error
        return value

    def _violated(self, detail: str, operation: str, operands: tuple) -> IsolationError:
        """Stop a worker that sent something that is no answer."""
        assert self._worker is not None
        self._worker.kill()
        self._fatal = ProtocolError(detail, label(operation, operands))
        return self._fatal
