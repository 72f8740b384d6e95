"""The graded side: holds the student's package and does what the grader asks, one call a time.

Never imported by the grader. Everything here may be changed by the student's code, which lives
in the same process; nothing here is relied upon for a verdict.

The package arrives as source text and is imported from memory: there is no file that running
code could rewrite.
"""

import contextlib
import difflib
import importlib
import importlib.abc
import importlib.machinery
import io
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from tito.isolation import operations, stack, wire
from tito.isolation.frames import frames_of

MESSAGE_LIMIT = 4000
NAME_LIMIT = 100
FRAMES_LIMIT = 40


class Package(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import the student's package from text, under the names of the files they wrote."""

    def __init__(self, sources: dict[str, dict[str, Any]]):
        self.sources = sources
        self.files = {source["filename"] for source in sources.values()}
        self.roots = {name.partition(".")[0] for name in sources} | {"tinytorch"}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of a module of the package; None for modules that are not ours."""
        if name.partition(".")[0] not in self.roots:
            return None
        source = self.sources.get(name)
        if source is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        is_package = source["is_package"]
        return importlib.machinery.ModuleSpec(name, self, is_package=is_package)

    def exec_module(self, module: types.ModuleType) -> None:
        """Compile and run a module's text."""
        source = self.sources[module.__name__]
        if source["problem"]:
            raise ImportError(source["problem"], name=module.__name__)
        module.__file__ = source["filename"]
        code = compile(source["text"], source["filename"], "exec", dont_inherit=True)
        exec(code, module.__dict__)

    def get_source(self, name: str) -> str:
        """The text of a module, for tracebacks."""
        return self.sources[name]["text"]


class Missing(Exception):
    """A module or a name that a test refers to is not there."""

    def __init__(self, module: str, name: str | None, nearest: list[str]):
        super().__init__(module, name)
        self.module = module
        self.name = name
        self.nearest = nearest


class Broken(Exception):
    """A module of the student's could not be imported; the cause says why."""


class Room:
    """What lives in this process: the package, the probes, and the objects the grader holds."""

    def __init__(self, package: Package):
        self.package = package
        self.probes: dict[str, dict[str, Any]] = {}
        self.objects: dict[int, Any] = {}
        self.last = 0
        self.process = os.getpid()

    def keep(self, value: Any, out: wire.Frame) -> None:
        """Hold an object for the grader, and write its number instead of it."""
        self.last += 1
        self.objects[self.last] = value
        wire.encode_handle(self.last, type(value).__name__[:NAME_LIMIT], out)

    def held(self, number: int, name: str) -> Any:
        """The object of a handle."""
        return self.objects[number]

    def module(self, name: str) -> types.ModuleType:
        """A module of the package, imported if need be."""
        module = sys.modules.get(name)
        if module is None:
            if name not in self.package.sources:
                nearest = difflib.get_close_matches(name, self.package.sources, 3)
                raise Missing(name, None, nearest)
            try:
                module = importlib.import_module(name)
            except BaseException as error:
                raise Broken from error
        return module

    def look_up(self, reference: str) -> Any:
        """What a reference names: something in a module of the package, or in a probe."""
        place, _, name = reference.rpartition(":")
        if place in self.probes:
            probe = self.probes[place]
            if name not in probe:
                raise Missing(place, name, difflib.get_close_matches(name, probe, 3))
            return probe[name]
        module = self.module(place)
        if not name:
            return module
        try:
            return getattr(module, name)
        except AttributeError:
            if f"{place}.{name}" in self.package.sources:
                return self.module(f"{place}.{name}")
            nearest = difflib.get_close_matches(name, dir(module), 3)
            raise Missing(place, name, nearest) from None

    def define_probe(self, key: str, name: str, source: str) -> None:
        """Run pristine source in a namespace of its own."""
        namespace: dict[str, Any] = {"__name__": name, "__builtins__": __builtins__}
        self.package.files.add(f"<{name}>")
        exec(compile(source, f"<{name}>", "exec", dont_inherit=True), namespace)
        self.probes[key] = namespace


def _frames(error: BaseException, files: set[str]) -> list[list[Any]]:
    """The student's lines that an exception passed through: the first few and the last."""
    found = frames_of(error, files.__contains__)
    frames = [[file, line, function[:NAME_LIMIT]] for file, line, function in found]
    if isinstance(error, SyntaxError) and error.filename in files:
        frames.append([error.filename, error.lineno or 0, "<module>"])
    return frames if len(frames) <= FRAMES_LIMIT else frames[:5] + frames[5 - FRAMES_LIMIT :]


def describe(error: BaseException, files: set[str]) -> dict[str, Any]:
    """An exception as plain values."""
    if isinstance(error, Missing):
        words = {"module": error.module, "name": error.name, "nearest": error.nearest}
        return {"kind": "missing", **words}
    kind = "raised"
    if isinstance(error, Broken) and error.__cause__ is not None:
        error = error.__cause__
        kind = "syntax" if isinstance(error, SyntaxError) else "import"
    elif isinstance(error, wire.WireError):
        kind = "unsendable"
    if not isinstance(error, Exception):
        kind = "crash"
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        message = str(message)[:MESSAGE_LIMIT]
    except BaseException:
        message = "(its message could not be made)"
    mro = [base.__name__[:NAME_LIMIT] for base in type(error).__mro__[:32]]
    frames = _frames(error, files)
    return {"kind": kind, "message": message, "mro": mro, "frames": frames}


def answer(room: Room, data: bytes | memoryview) -> wire.Frame:
    """Do what one request asks; the reply is a sealed frame."""
    reader = wire.Reader(data, wire.REQUEST.size, room.held, room.look_up)
    identity, code, dropped = wire.read_request(reader)
    for number in dropped:
        room.objects.pop(number, None)
    try:
        name = operations.NAMES[code]
        operands = reader.values()
        perform = operations.OPERATIONS.get(name, room.define_probe)
        return wire.reply(identity, 0, perform(*operands), room.keep)
    except BaseException as error:
        report = describe(error, room.package.files)
    return wire.reply(identity, 1, report, room.keep)


Read = Callable[[memoryview], int | None]
Write = Callable[[Any], Any]


def serve(read_into: Read, write: Write, greeting: list[list[Any]]) -> None:
    """Answer requests until the grader closes the connection."""
    buffer = memoryview(bytearray(wire.BUFFER))
    reader = wire.Reader(wire.receive(read_into, buffer), wire.HEADER, lambda number, name: None)
    package = Package(reader.value())
    sys.meta_path.insert(0, package)
    room = Room(package)
    write(wire.reply(bytes(8), 0, greeting, room.keep))
    with contextlib.suppress(EOFError, OSError):
        while True:
            reply = answer(room, wire.receive(read_into, buffer))
            if os.getpid() != room.process:
                return  # a copy that the student's code forked must not answer too
            write(reply)


def run(read_into: Read, write: Write, greeting: list[list[Any]]) -> None:
    """Serve with standard output as our only output, then leave without exit handlers."""
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = io.TextIOWrapper(
        io.FileIO(1, "w", closefd=False), "utf-8", "backslashreplace", "\n", write_through=True
    )
    stack.tell_when_asked(1)
    serve(read_into, write, greeting)
    os._exit(0)
