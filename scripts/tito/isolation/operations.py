"""The operations a request may ask for, by name: a short list, shared by both sides.

Each takes the operands as decoded and returns the result. In the worker these are the student's
objects; the grader only reads the names.
"""

import builtins
import operator
from collections.abc import Callable
from typing import Any

BINARY = (
    "add sub mul truediv floordiv mod pow matmul lshift rshift and_ or_ xor eq ne lt le gt ge"
).split()
INPLACE = (
    "iadd isub imul itruediv ifloordiv imod ipow imatmul ilshift irshift iand ior ixor"
).split()
UNARY = "neg pos invert abs index".split()
ITEMS = "getitem setitem delitem contains".split()
BUILTIN = "getattr setattr delattr len iter float int complex repr str round divmod".split()

TEXT_LIMIT = 100_000


def _call(function: Any, arguments: tuple, keywords: dict) -> Any:
    return function(*arguments, **keywords)


def _next(iterator: Any) -> tuple:
    """The next item in a tuple, or an empty tuple at the end."""
    try:
        return (next(iterator),)
    except StopIteration:
        return ()


def _enter(manager: Any) -> Any:
    return type(manager).__enter__(manager)


def _exit(manager: Any, error: str | None) -> None:
    """Leave a with-statement; of the grader's exception only the builtin name is told."""
    if error is None:
        type(manager).__exit__(manager, None, None, None)
        return
    kind = getattr(builtins, error, RuntimeError)
    type(manager).__exit__(manager, kind, kind(), None)


def _fetch(value: Any) -> Any:
    return value


def _text(function: Callable[[Any], str]) -> Callable[[Any], str]:
    def text(value: Any) -> str:
        return function(value)[:TEXT_LIMIT]

    return text


OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*BINARY, *INPLACE, *UNARY, *ITEMS)},
    **{name: getattr(builtins, name) for name in BUILTIN},
    "repr": _text(repr),
    "str": _text(str),
    "call": _call,
    "next": _next,
    "enter": _enter,
    "exit": _exit,
    "fetch": _fetch,
}


PROBE = "probe"  # is done by the worker itself
NAMES = (PROBE, *OPERATIONS)
CODES = {name: code for code, name in enumerate(NAMES)}
