"""Stand-ins for the student's objects: what a checkpoint holds instead of them.

A `Reference` is a name (a module, then an attribute) that the worker looks up each time it is
used; imports hand these out, so that an import always succeeds and survives a worker's end. A
`Handle` is one object of one worker. Neither has a truth value, equality or a hash of its own:
only values are judged.
"""

import contextlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any, NoReturn

from tito.isolation import operations, wire
from tito.isolation.errors import StaleHandle, UseOutsideTest, clean

_get = object.__getattribute__
PASSED_NAMES = ("__name__", "__version__")


class Proxy:
    """Forwards what Python can do with an object; each use is one request to the worker."""

    __slots__ = ()
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name.startswith("__") and name not in PASSED_NAMES:
            raise AttributeError(name)
        value = _session().operate("getattr", self, name)
        if type(value) is Handle:
            object.__setattr__(value, "_tito_label", f"{_short(self)}.{name}")
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        _session().operate("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        __tracebackhide__ = True
        _session().operate("delattr", self, name)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        __tracebackhide__ = True
        return _session().operate("call", self, arguments, keywords)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{describe(self)} has no truth value here: compare its values, "
            "such as x.numpy() or float(x)"
        )

    def __array__(self, *arguments: Any, **keywords: Any) -> NoReturn:
        raise TypeError(f"{describe(self)} is not an array: judge its values, x.numpy()")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"{describe(self)} lives in the worker and cannot be copied")

    def __iter__(self) -> Iterator[Any]:
        __tracebackhide__ = True
        session = _session()
        iterator = session.operate("iter", self)
        while item := session.operate("next", iterator):
            yield item[0]

    def __next__(self) -> Any:
        __tracebackhide__ = True
        item = _session().operate("next", self)
        if not item:
            raise StopIteration
        return item[0]

    def __enter__(self) -> Any:
        __tracebackhide__ = True
        return _session().operate("enter", self)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        """Never swallows: a verdict that is on its way must arrive."""
        __tracebackhide__ = True
        _session().operate("exit", self, _builtin_name(kind))

    def __repr__(self) -> str:
        __tracebackhide__ = True
        try:
            return _text("repr", self)
        except (UseOutsideTest, StaleHandle):
            return f"<{describe(self)}>"

    def __str__(self) -> str:
        __tracebackhide__ = True
        return _text("str", self)


def _text(operation: str, proxy: Any) -> str:
    """What the student's object says of itself, made safe to show."""
    text = _session().operate(operation, proxy)
    if type(text) is not str:
        raise TypeError(f"{operation}() of {describe(proxy)} gave no text")
    return clean(text, operations.TEXT_LIMIT)


def _builtin_name(kind: type | None) -> str | None:
    """The name of the nearest builtin exception: the worker is told no more than that."""
    if kind is None:
        return None
    return next(base.__name__ for base in kind.__mro__ if base.__module__ == "builtins")


def _forward(operation: str, reflected: bool = False) -> Any:
    """A special method that forwards to the worker."""

    def method(self: Proxy, *operands: Any) -> Any:
        __tracebackhide__ = True
        if reflected:
            return _session().operate(operation, operands[0], self)
        return _session().operate(operation, self, *operands)

    return method


def _compare(operation: str) -> Any:
    """A comparison: its answer must be an object (elementwise), for a bare bool can lie."""

    def method(self: Proxy, other: Any) -> Any:
        __tracebackhide__ = True
        answer = _session().operate(operation, self, other)
        if not isinstance(answer, Proxy):
            raise TypeError(f"comparing {describe(self)} gave {answer!r}: compare its values")
        return answer

    return method


COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
for _name in (*operations.BINARY, "divmod"):
    _special = _name.rstrip("_")
    if _name in COMPARISONS:
        setattr(Proxy, f"__{_special}__", _compare(_name))
    else:
        setattr(Proxy, f"__{_special}__", _forward(_name))
        setattr(Proxy, f"__r{_special}__", _forward(_name, reflected=True))
for _name in (*operations.INPLACE, *operations.UNARY, *operations.ITEMS):
    setattr(Proxy, f"__{_name}__", _forward(_name))
for _name in ("len", "int", "float", "complex", "round"):
    setattr(Proxy, f"__{_name}__", _forward(_name))


class Handle(Proxy):
    """One object of one worker; when it is forgotten here, the worker may forget it too."""

    __slots__ = ("_tito_generation", "_tito_label", "_tito_number", "_tito_session", "_tito_type")

    def __init__(self, session: Any, generation: int, number: int, kind: str):
        put = object.__setattr__
        put(self, "_tito_session", session)
        put(self, "_tito_generation", generation)
        put(self, "_tito_number", number)
        put(self, "_tito_type", kind)
        put(self, "_tito_label", "")

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            _get(self, "_tito_session").drop(
                _get(self, "_tito_generation"), _get(self, "_tito_number")
            )


class Reference(Proxy):
    """A name of the student's package or of a probe, looked up by the worker at each use.

    Args:
        place: The module's name, or the probe's.
        name: What it names there.
        source: The source of the probe, None for a module.
    """

    __slots__ = ("_tito_name", "_tito_place", "_tito_source")

    def __init__(self, place: str, name: str, source: str | None = None):
        put = object.__setattr__
        put(self, "_tito_place", place)
        put(self, "_tito_name", name)
        put(self, "_tito_source", source)

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        # pytest looks at everything a test file holds; it must not find markers of its own
        if name.startswith(("_", "pytest")) and name not in PASSED_NAMES:
            raise AttributeError(name)
        return super().__getattr__(name)


def describe(proxy: Any) -> str:
    """Name a proxy without asking the worker."""
    if type(proxy) is Handle:
        return f"an object of type {_get(proxy, '_tito_type')}"
    return f"{_get(proxy, '_tito_place')}.{_get(proxy, '_tito_name')}"


def _short(value: Any) -> str:
    """How an operand looks in a message: the names of the student's things, no values."""
    if type(value) is Handle:
        return _get(value, "_tito_label") or _get(value, "_tito_type")
    if type(value) is Reference:
        return _get(value, "_tito_name")
    return type(value).__name__


def label(operation: str, operands: tuple) -> str:
    """Name what was asked of the worker, such as `Tensor.sum` or `len(Tensor)`."""
    first = _short(operands[0]) if operands else ""
    if operation == "call":
        return first
    if operation == "getattr":
        return f"{first}.{operands[1]}"
    if operation in ("next", "iter"):
        return f"iterating over {first}"
    if operation == "probe":
        return "a probe"
    return f"{operation}({', '.join(map(_short, operands))})"


def encode_proxy(session: Any, value: Any, out: wire.Frame) -> None:
    """Write what only a request may hold: proxies, slices, an ellipsis.

    Raises:
        TypeError: If the value is none of these, such as a function of the grader's.
        StaleHandle: If it belongs to a worker that has ended.
    """
    kind = type(value)
    if kind is Handle:
        session.check(_get(value, "_tito_generation"), value)
        wire.encode_handle(_get(value, "_tito_number"), "", out)
    elif kind is Reference:
        place, source = _get(value, "_tito_place"), _get(value, "_tito_source")
        if source is not None:
            place = session.define(source, place)
        wire.encode_reference(f"{place}:{_get(value, '_tito_name')}", out)
    elif kind is ProxyModule:
        wire.encode_reference(f"{value.__name__}:", out)
    elif not wire.encode_request_extra(value, out, session.encode_other):
        if callable(value):
            raise TypeError("a function of the test cannot enter the worker: use a probe")
        raise TypeError(f"a {kind.__name__} cannot enter the worker: pass plain values")


class ProxyModule(types.ModuleType):
    """A module of the student's as a test file sees it: every public name is there, unseen."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in PASSED_NAMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return Reference(self.__name__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__") and not isinstance(value, types.ModuleType):
            raise TypeError(f"cannot replace {self.__name__}.{name} from a test: use a probe")
        super().__setattr__(name, value)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers every import of the package with proxies, whether or not the module exists."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Ours are `tinytorch` and all below it."""
        if name.partition(".")[0] != "tinytorch":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        """An empty module that makes references."""
        return ProxyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run: the code is elsewhere."""


_installed: list[tuple[Any, Finder, dict[str, types.ModuleType]]] = []


def _ours() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "tinytorch"]


def install(server: Any) -> None:
    """From now on, `import tinytorch…` in this process gives proxies that use `server`."""
    if _installed:
        raise RuntimeError("an isolation server is already installed; uninstall it first")
    finder = Finder()
    _installed.append((server, finder, {name: sys.modules.pop(name) for name in _ours()}))
    sys.meta_path.insert(0, finder)


def uninstall() -> None:
    """Undo `install`: real imports work again, and find the modules that were there before."""
    while _installed:
        _, finder, modules = _installed.pop()
        sys.meta_path.remove(finder)
        for name in _ours():
            del sys.modules[name]
        sys.modules.update(modules)


def current() -> Any:
    """The server that proxies use, or None."""
    return _installed[-1][0] if _installed else None


def fetch(value: Any) -> Any:
    """The plain value that an imported name stands for; whatever else is given comes back."""
    return _session().operate("fetch", value) if type(value) is Reference else value


class Probe:
    """Pristine source that runs beside the student's code, in each worker that it is used in."""

    def __init__(self, source: str, name: str = "probe"):
        self._source, self._name = source, name

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("__"):
            raise AttributeError(name)
        return Reference(self._name, name, self._source)


def _session() -> Any:
    if not _installed:
        raise UseOutsideTest("the student's code was used where no worker is installed")
    return _installed[-1][0]
