"""What can go wrong across the boundary, each an exception with named fields.

`str(error)` is what a student reads first: the message of an exception of theirs as they wrote
it, or one line under 80 columns that says what happened. Everything that came from the worker
is checked and cleaned here; an exception of another shape than agreed is a `ProtocolError`.
"""

from typing import Any, NamedTuple

MESSAGE_LIMIT = 4000
NAME_LIMIT = 100
FRAMES_LIMIT = 40


class Frame(NamedTuple):
    """A line of the student's code (or of a probe) that was being executed."""

    file: str
    line: int
    function: str


class IsolationError(Exception):
    """Anything that this package reports about the worker; `call` says what was being done."""

    call = ""


class UseOutsideTest(IsolationError):
    """The student's code was used while no worker could be: at import, or after the end."""


class StaleHandle(IsolationError):
    """An object was used whose worker has ended: it is gone with that worker."""


class WorkerDied(IsolationError):
    """The process that ran the student's code is gone, or closed its connection.

    Fields: `exit_code` (None if a signal ended it), `signal` (a name such as "SIGKILL", or
    None), `reason` (a sentence), `call`.
    """

    def __init__(self, reason: str, exit_code: int | None, signal: str | None, call: str = ""):
        super().__init__(reason)
        self.reason = reason
        self.exit_code = exit_code
        self.signal = signal
        self.call = call


class WorkerTimeout(IsolationError):
    """A call was not answered within the time of the test, or the checkpoint's time ran out.

    Fields: `seconds` (the limit), `scope` ("test" or "checkpoint"), `call`; `frames`: the
    functions of the student's it was in, outermost first, where it could be asked.
    """

    def __init__(self, seconds: float, scope: str, call: str = "", frames: tuple[Frame, ...] = ()):
        what = f"{call}: " if call else ""
        if scope == "test":
            text = f"{what}no answer within {seconds:.3g} s"
        else:
            text = f"{what}the {seconds:g} s of this checkpoint are used up"
        super().__init__(text)
        self.seconds = seconds
        self.scope = scope
        self.call = call
        self.frames = frames

    @property
    def endless_import(self) -> Frame | None:
        """The line of a module that ran while the module was imported, if it was."""
        outside = [frame for frame in self.frames if frame.function == "<module>"]
        return outside[-1] if outside else None


def endless(line: Frame, seconds: float) -> str:
    """Why a module cannot be imported whose import was stopped at a line."""
    return f"{line.file}:{line.line}: its import does not end, stopped after {seconds:.3g} s"


class ProtocolError(IsolationError):
    """The worker sent bytes that are no answer; it has been stopped. Field: `detail`."""

    def __init__(self, detail: str, call: str = ""):
        super().__init__("the process running your code sent something that is no answer")
        self.detail = detail
        self.call = call


class StudentError(IsolationError):
    """An exception that the student's code raised; an instance is also of the nearest builtin.

    `except ValueError` catches the student's ValueError, and the student's subclass of it.

    Fields:
        remote_type: The name of the exception's class, such as "ShapeError".
        mro: The names of its class and its bases, nearest first.
        kind: "raised"; "import" and "syntax" when a module of the student's could not be
            imported; "crash" for SystemExit, KeyboardInterrupt and other non-Exceptions;
            "unsendable" when a result cannot cross; "missing" for the two classes below.
        frames: The lines of the student's code it passed through, outermost first.
        call: What the test was doing, such as "Tensor.sum".
    """

    def __init__(
        self,
        message: str,
        remote_type: str = "",
        kind: str = "raised",
        frames: tuple[Frame, ...] = (),
        mro: tuple[str, ...] = (),
    ):
        super().__init__(message)
        self.message = message
        self.remote_type = remote_type or type(self).__name__
        self.kind = kind
        self.frames = frames
        self.mro = mro

    def __str__(self) -> str:
        return self.message


class MissingModule(StudentError):
    """A module of the package is not there. Fields: `module`, `file`, `nearest`."""

    def __init__(self, module: str, file: str | None = None, nearest: tuple[str, ...] = ()):
        super().__init__(
            f"there is no module {module}" + (f": {file} is missing" if file else ""),
            "ModuleNotFoundError",
            "missing",
        )
        self.module = module
        self.file = file
        self.nearest = nearest


class MissingName(StudentError):
    """A module is there and lacks a name. Fields: `name`, `module`, `file`, `nearest`."""

    def __init__(
        self, name: str, module: str, file: str | None = None, nearest: tuple[str, ...] = ()
    ):
        text = f"{file or module} has no {name!r}"
        if nearest:
            text += f"; nearest: {', '.join(nearest)}"
        super().__init__(text, "AttributeError", "missing")
        self.name = name
        self.module = module
        self.file = file
        self.nearest = nearest


BUILTINS: dict[str, type[Exception]] = {
    error.__name__: error
    for error in (
        *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError),
        *(FloatingPointError, IndexError, KeyError, LookupError, MemoryError, NameError),
        *(ModuleNotFoundError, NotImplementedError, OverflowError, RecursionError, RuntimeError),
        *(SyntaxError, TypeError, UnboundLocalError, UnicodeError, ValueError, ZeroDivisionError),
        *(OSError, BlockingIOError, BrokenPipeError, ConnectionError, FileExistsError),
        *(FileNotFoundError, InterruptedError, IsADirectoryError, NotADirectoryError),
        *(PermissionError, ProcessLookupError, TimeoutError),
    )
} | {"StopIteration": RuntimeError, "StopAsyncIteration": RuntimeError}

_classes: dict[type, type[StudentError]] = {}


def _class_for(mro: tuple[str, ...]) -> type[StudentError]:
    """StudentError joined with the nearest builtin exception among the names."""
    base = next((BUILTINS[name] for name in mro if name in BUILTINS), None)
    if base is None:
        return StudentError
    if base not in _classes:
        _classes[base] = type(f"Student{base.__name__}", (StudentError, base), {})
    return _classes[base]


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Make text of a student's safe to show: printable characters and newlines, cut to size.

    Control characters, ANSI sequences, bidirectional overrides and lone surrogates come out as
    escapes such as `\\x1b`.
    """
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
            for char in text[: limit + 1]
        )
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _texts(value: Any, limit: int) -> tuple[str, ...]:
    if type(value) is not list or len(value) > limit:
        raise TypeError
    for item in value:
        if type(item) is not str:
            raise TypeError
    return tuple(clean(item, NAME_LIMIT) for item in value)


def _frames(value: Any) -> tuple[Frame, ...]:
    if type(value) is not list or len(value) > FRAMES_LIMIT:
        raise TypeError
    frames = []
    for file, line, function in value:
        if type(file) is not str or type(line) is not int or type(function) is not str:
            raise TypeError
        place = clean(file, 2 * NAME_LIMIT)
        frames.append(Frame(place, min(max(line, 0), 10**7), clean(function, NAME_LIMIT)))
    return tuple(frames)


def from_report(report: Any, files: dict[str, str]) -> StudentError:
    """Build the exception that a worker's report describes.

    Args:
        report: What the worker sent: a dict of plain values, in no way trusted.
        files: The source file of each module of the package.

    Raises:
        TypeError, ValueError, KeyError: If the report has another shape than agreed.
    """
    if type(report) is not dict:
        raise TypeError
    kind = report["kind"]
    if kind == "missing":
        module, nearest = report["module"], _texts(report["nearest"], 5)
        if type(module) is not str:
            raise TypeError
        file, module = files.get(module), clean(module, NAME_LIMIT)
        if report["name"] is None:
            return MissingModule(module, file, nearest)
        (name,) = _texts([report["name"]], 1)
        return MissingName(name, module, file, nearest)
    if kind not in ("raised", "import", "syntax", "crash", "unsendable"):
        raise ValueError
    mro = _texts(report["mro"], 32)
    message = report["message"]
    if type(message) is not str or not mro:
        raise TypeError
    made = _class_for(mro if kind != "crash" else ())
    return made(clean(message), mro[0], kind, _frames(report["frames"]), mro)
