"""What a checkpoint says to a student: comparisons that explain themselves.

A checkpoint imports its helpers from here, and only from here. Each comparison raises
`Mismatch`, whose parts (asked, expected, got, hint) travel to the report as named fields.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from tito.render.failure import HEADLINE, failure_text

KINDS = ("imports", "functionality", "integration", "performance")
ARRAY_ITEMS_SHOWN = 24
ARRAY_START = 6  # items shown of a larger one
TEXT_SHOWN = 240
LINE = 40  # characters of a text that the eye compares by itself
DIGITS = (4, 8, 17)  # after the point: the fewest in which two numbers look different


def asks(
    kind: str, *, step: int, of: str, hint: str, module: str | None = None
) -> pytest.MarkDecorator:
    """Mark a test with what it asks, and where a student should look when it fails.

    Args:
        kind: One of `KINDS`.
        step: The step of the module that the test exercises.
        of: The function, class or method to open, as the module names it.
        hint: The concept, then the place, never the answer.
        module: The module's id, such as "05"; by default that of the checkpoint.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of test {kind!r}; use one of {', '.join(KINDS)}")
    if not hint.strip():
        raise ValueError(f"the hint of a test of {of} is empty; name the concept")
    return pytest.mark.rung(kind=kind, step=step, of=of, hint=hint, module=module)


class Mismatch(AssertionError):
    """A checkpoint's verdict: what was asked, expected and got, as separate parts.

    `asked`, `hint` and `place` are filled in from the test when it did not give them.
    """

    def __init__(
        self,
        headline: str,
        *,
        call: str = "",
        expected: str = "",
        got: str = "",
        asked: str | None = None,
        hint: str | None = None,
        detail: str = "",
    ):
        super().__init__(headline)
        self.headline = headline
        self.call = call
        self.expected = expected
        self.got = got
        self.asked = asked
        self.hint = hint
        self.detail = detail
        self.place = ""

    def __str__(self) -> str:
        parts = [
            ("asked", self.asked or ""),
            ("expected", self.expected),
            ("got", self.got),
            ("differs", self.detail),
            ("hint", self.hint or ""),
            ("look at", self.place),
        ]
        return failure_text(self.headline, parts)


def show(value: Any, digits: int = DIGITS[0]) -> str:
    """Write a value on one short line: arrays without `array(...)`, long texts cut."""
    if isinstance(value, np.ndarray | np.generic):
        text = _show_array(np.asarray(value), digits)
    elif isinstance(value, float):
        text = f"{value:.{min(digits + 2, 17)}g}"
    else:
        text = repr(value)
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…"


def _show_both(expected: Any, got: Any) -> tuple[str, str]:
    """Write two values that differ with as many digits as it takes to see it."""
    for digits in DIGITS:
        texts = show(expected, digits), show(got, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _show_array(array: np.ndarray, digits: int) -> str:
    """Write an array: 20000 and not 2.0e+04 beside 0.5; of a large one, how it begins."""
    shown = array if array.size <= ARRAY_ITEMS_SHOWN else array.ravel()[:ARRAY_START]
    plain = False
    if shown.dtype.kind == "f":
        sizes = np.abs(shown[np.isfinite(shown) & (shown != 0)])
        plain = bool((sizes >= 10.0**-digits).all())
    text = " ".join(np.array2string(shown, precision=digits, suppress_small=plain).split())
    text = text.replace("[ ", "[").replace(" ]", "]")
    if not shown.ndim and text.endswith("."):
        text += "0"
    return text if shown is array else f"{text[:-1]} …], of shape {array.shape}"


def values_of(got: Any, call: str) -> np.ndarray:
    """Return what the student's call gave as an array: `.numpy()` of anything tensor-like."""
    if got is None:
        raise Mismatch(f"{call}: expected an array, got None", call=call, got="None")
    if isinstance(got, str | bytes | dict):
        kind = type(got).__name__
        raise Mismatch(f"{call}: expected an array, got a {kind}", call=call, got=show(got))
    if not isinstance(got, np.ndarray | np.generic | bool | int | float | complex | list | tuple):
        got = got.numpy()
    try:
        array = np.asarray(got)
    except ValueError:
        array = np.asarray(None)
    if array.dtype == object:
        raise Mismatch(f"{call}: expected an array of numbers", call=call, got=show(got))
    return array


def _first(wrong: np.ndarray) -> tuple[int, ...]:
    """The index of the first difference."""
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def _fitting(call: str, *facts: str) -> str:
    """The first of some headlines that fits a line of a terminal, or else the last."""
    lines = [f"{call}: {fact}" for fact in facts]
    return next((line for line in lines if len(line) <= HEADLINE and "\n" not in line), lines[-1])


def _difference(got: np.ndarray, expected: np.ndarray, wrong: np.ndarray) -> str:
    """Say where two arrays of one shape first differ, and by how much at most."""
    if got.ndim == 0:
        return ""
    first = _first(wrong)
    sides = _show_both(expected[first], got[first])
    with np.errstate(all="ignore"):
        gaps = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    finite = gaps[wrong & np.isfinite(gaps)]
    largest = f", largest difference {finite.max():.4g}" if finite.size else ""
    return (
        f"first at index {list(first)}: expected {sides[0]}, got {sides[1]}"
        f" ({int(wrong.sum())} of {got.size} values differ{largest})"
    )


def expect(
    got: Any,
    expected: Any,
    *,
    call: str,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    dtype: Any = None,
    asked: str | None = None,
    hint: str | None = None,
) -> np.ndarray:
    """Compare the shape, then the dtype, then the values of what a call gave.

    Args:
        got: A number, an array, or anything with `.numpy()`.
        expected: What the trusted side computed.
        call: How the call looks to the student, such as `Tensor.sum(axis=1)`.
        rtol, atol: Tolerances as in `numpy.isclose`; NaN equals NaN.
        dtype: The dtype to require, if any.

    Returns:
        The values, as an array, for further checks.

    Raises:
        Mismatch: If anything differs.
    """
    array, wanted = values_of(got, call), np.asarray(expected)
    words = {"call": call, "asked": asked, "hint": hint}
    if array.shape != wanted.shape:
        headline = f"{call}: expected shape {wanted.shape}, got {array.shape}"
        raise Mismatch(headline, **words, **_sides(array, wanted))
    if dtype is not None and array.dtype != np.dtype(dtype):
        headline = f"{call}: expected dtype {np.dtype(dtype)}, got {array.dtype}"
        with np.errstate(all="ignore"):
            sides = {"expected": show(wanted.astype(dtype)), "got": show(array)}
        raise Mismatch(headline, **words, **sides)
    with np.errstate(all="ignore"):
        wrong = ~np.isclose(array, wanted, rtol=rtol, atol=atol, equal_nan=True)
    if wrong.any():
        raise _wrong_values(array, _as_got(wanted, array), wrong, words)
    return array


def _wrong_values(
    got: np.ndarray, expected: np.ndarray, wrong: np.ndarray, words: dict[str, Any]
) -> Mismatch:
    """What to say of values that differ: in the first line both, where they fit."""
    facts = ["wrong values" if got.ndim else "wrong value"]
    sides = _sides(got, expected)
    if got.ndim:
        first = _first(wrong)
        one = _show_both(expected[first], got[first])
        place = f"at {list(first)}"
        facts[:0] = [f"expected {one[0]} {place}, got {one[1]}", f"got {one[1]} {place}"]
    if got.size <= ARRAY_ITEMS_SHOWN:
        sides = dict(zip(("expected", "got"), _show_both(expected, got), strict=True))
        facts.insert(0, f"expected {sides['expected']}, got {sides['got']}")
    headline = _fitting(words["call"], *facts)
    return Mismatch(headline, **words, **sides, detail=_difference(got, expected, wrong))


def _as_got(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    """Whole numbers that were expected of floats, as floats: to be shown, not to be compared."""
    whole = expected.dtype.kind in "iu" and got.dtype.kind == "f"
    return expected.astype(got.dtype) if whole else expected


def _sides(got: np.ndarray, expected: np.ndarray) -> dict[str, str]:
    """Both sides as text."""
    return {"expected": show(_as_got(expected, got)), "got": show(got)}


def _parting(got: Any, expected: Any) -> str:
    """Say where two lists, dictionaries or long texts part, if they are both of one kind."""
    if isinstance(got, dict) and isinstance(expected, dict):
        for key in (*expected, *got):
            if key not in got or key not in expected:
                return f"{key!r} is {'missing' if key in expected else 'not expected'}"
            if got[key] != expected[key]:
                sides = _show_both(expected[key], got[key])
                return f"at {key!r}: expected {sides[0]}, got {sides[1]}"
    if isinstance(got, list | tuple) and isinstance(expected, list | tuple):
        if type(got) is not type(expected):
            return f"expected a {type(expected).__name__}, got a {type(got).__name__}"
        if len(got) != len(expected):
            return f"expected {len(expected)} items, got {len(got)}"
        pairs = enumerate(zip(got, expected, strict=True))
        first = next(((i, a, b) for i, (a, b) in pairs if a != b), None)
        if first is not None and len(got) > 1:
            sides = _show_both(first[2], first[1])
            return f"first at [{first[0]}]: expected {sides[0]}, got {sides[1]}"
    if isinstance(got, str) and isinstance(expected, str) and max(len(got), len(expected)) > LINE:
        pairs = enumerate(zip(got, expected, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(got), len(expected)))
        sides = [
            repr(text[at : at + LINE // 2]) if text[at:] else "its end" for text in (expected, got)
        ]
        return f"first at character {at}: expected {sides[0]}, got {sides[1]}"
    return ""


def expect_equal(
    got: Any,
    expected: Any,
    *,
    call: str,
    asked: str | None = None,
    hint: str | None = None,
) -> None:
    """Require a plain value (number, text, list, tuple, dict) to be exactly the expected one."""
    plain = bool | int | float | complex | str | bytes | list | tuple | dict | np.generic | np.dtype
    same = got is None if expected is None else isinstance(got, plain) and got == expected
    if not isinstance(same, bool | np.bool_) or not same:
        sides = _show_both(expected, got)
        whole, parting = f"expected {sides[0]}, got {sides[1]}", _parting(got, expected)
        place, _, values = parting.removeprefix("first ").partition(": expected ")
        short = f"got {values.rpartition(', got ')[2]} {place}" if values else whole
        raise Mismatch(
            _fitting(call, whole, parting or whole, short, "not the expected value"),
            call=call,
            expected=sides[0],
            got=sides[1],
            asked=asked,
            hint=hint,
            detail=parting,
        )


def expect_true(
    ok: bool,
    *,
    call: str,
    expected: str,
    got: Any,
    asked: str | None = None,
    hint: str | None = None,
) -> None:
    """Require a fact that the trusted side established; `expected` says it in words."""
    if not isinstance(ok, bool | np.bool_):
        raise TypeError(f"{call}: a verdict must be a bool of the trusted side, got {type(ok)}")
    if not ok:
        got = got if isinstance(got, str) else show(got)
        facts = [f"expected {expected}", "not as expected"]
        facts[:0] = [f"{facts[0]}, got {got}"] if got else []
        raise Mismatch(
            _fitting(call, *facts), call=call, expected=expected, got=got, asked=asked, hint=hint
        )


def expect_at_most(
    value: float, limit: float, *, call: str, what: str, hint: str | None = None
) -> None:
    """Require a measured figure (a ratio, bytes, a growth) to stay within its limit."""
    expect_true(
        bool(value <= limit),
        call=call,
        expected=f"{what} at most {limit:.6g}",
        got=f"{value:.4g}",
        hint=hint,
    )


def expect_raises(
    exceptions: type[Exception] | tuple[type[Exception], ...],
    function: Callable[..., Any],
    *arguments: Any,
    call: str,
    mentions: Iterable[Any] = (),
    hint: str | None = None,
    **keywords: Any,
) -> str:
    """Require a call to be refused with one of these errors, and its message to name the values.

    A stub's NotImplementedError is never what was asked for: it is passed on.

    Returns:
        The message, for further checks.
    """
    wanted = exceptions if isinstance(exceptions, tuple) else (exceptions,)
    names = " or ".join(e.__name__ for e in wanted)
    try:
        result = function(*arguments, **keywords)
    except NotImplementedError:
        raise
    except wanted as error:
        message = str(error)
    except Mismatch:
        raise
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        ArithmeticError,
    ) as error:
        got = f"{type(error).__name__}: {error}"
        raise Mismatch(
            _fitting(call, f"expected {names}, got {type(error).__name__}", f"expected {names}"),
            call=call,
            expected=names,
            got=got[:TEXT_SHOWN],
            hint=hint,
        ) from None
    else:
        plain = isinstance(result, str | bytes | bool | int | float | list | tuple | np.ndarray)
        got = "no error" + (f", but {show(result)}" if plain else "")
        raise Mismatch(
            f"{call}: expected {names}, got no error",
            call=call,
            expected=names,
            got=got,
            hint=hint,
        )
    missing = [str(word) for word in mentions if str(word) not in message]
    if missing:
        raise Mismatch(
            f"{call}: the error does not name {', '.join(missing)}",
            call=call,
            expected=f"a message that names {', '.join(missing)}",
            got=show(message),
            hint=hint,
        )
    return message


def _worker_seconds() -> float | None:
    """The processor seconds of the worker, if they are known; 0.0 where there is no worker."""
    isolation = sys.modules.get("tito.isolation")
    server = isolation.current() if isolation is not None else None
    return 0.0 if server is None else server.processor_seconds()


def _cost(wall: float, own: float, before: float | None, after: float | None) -> float:
    """What a call costs, in seconds: of processor time, here and in the worker, if it is known.

    Processor time is what a call costs however busy the machine is. A tenth of the wall-clock
    time stands guard beside it: work that was handed to another process is not free.
    """
    if before is None or after is None:
        return wall
    return max(own + after - before, wall / 10)


def timed(
    function: Callable[..., Any],
    *arguments: Any,
    repeat: int = 5,
    warm_up: bool = True,
    **keywords: Any,
) -> float:
    """Return the least cost of `repeat` calls, in seconds of processor time, after a warm-up.

    Under isolation the worker's time counts, read from the kernel by the trusted side; where it
    cannot be read, and only there, wall-clock time takes its place.
    """
    if warm_up:
        function(*arguments, **keywords)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        best = float("inf")
        worker = _worker_seconds()
        for _ in range(repeat):
            wall, own = time.perf_counter(), time.process_time()
            function(*arguments, **keywords)
            wall, own = time.perf_counter() - wall, time.process_time() - own
            before, worker = worker, _worker_seconds()
            best = min(best, _cost(wall, own, before, worker))
    finally:
        if was_enabled:
            gc.enable()
    return best


class Probe:
    """Pristine source that runs beside the student's code; attributes are what it defines.

    Under plain pytest it runs in this process; under `tito` it runs in the worker, and its
    attributes are proxies like any other.
    """

    def __init__(self, source: str, name: str):
        self._source = source
        self._name = name
        self._namespace: dict[str, Any] | None = None

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        isolation = sys.modules.get("tito.isolation")
        if isolation is not None and isolation.current() is not None:
            return getattr(isolation.probe(self._source, self._name), attribute)
        if self._namespace is None:
            namespace: dict[str, Any] = {"__name__": self._name}
            exec(compile(self._source, f"<{self._name}>", "exec"), namespace)
            self._namespace = namespace
        return self._namespace[attribute]


def probe(source: str, name: str = "probe") -> Probe:
    """Prepare source to run beside the student's code; nothing runs until it is used."""
    return Probe(source, name)
