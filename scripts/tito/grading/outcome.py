"""Say what an exception in a checkpoint means: a status, and the parts of a failure message."""

import builtins
import re
import types
from typing import Any

from checkpoints.feedback import Mismatch
from tito.isolation import (
    MissingModule,
    MissingName,
    ProtocolError,
    StudentError,
    WorkerDied,
    WorkerTimeout,
)
from tito.isolation.errors import endless
from tito.render.failure import ASKED, KEYBOARD

HEADLINE = 79  # columns
IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError")
# What helps with an error of this kind, whatever the test is about.
HINTS = {
    "NameError": "nothing of that name is known there: a slip of the pen, or a forgotten import",
    "UnboundLocalError": "it is read before a value is given to it on this way through",
    "RecursionError": "it calls itself too deeply: does it never end, or should it be a loop?",
    "AttributeError": "that has no such name: a slip of the pen, or an object of another kind?",
    "MemoryError": "more memory was asked for than there is: which array grows, and how far?",
    "ZeroDivisionError": "here 0 is divided by: what should come out when there is nothing?",
    "SystemExit": "a function gives back a result or raises an error; it does not end Python",
}
CRASH = "did an array, or a chain of calls, grow without end? or was Python itself ended?"
NO_INPUT = "EOF when reading a line"  # what Python says of `input()` where nothing can be typed
ENDLESS = "a line outside all functions runs at import; which loop there never ends?"
_PLACE = re.compile(
    r"(?P<file>modules/[\w/]+/(?P<name>\w+\.py))(:(?P<line>\d{1,7}))?: (?P<fact>.*)", re.DOTALL
)
# A name that is looked for has at most 100 characters: the student's code chooses it.
_ABSENT = re.compile(
    r"module 'tinytorch\.core\.(?P<module>\w+)' has no attribute '(?P<name>\w{1,100})'"
)
_LACKING = re.compile(
    r"(type object )?'(?P<kind>[\w.]{1,100})'( object)? has no attribute '(?P<name>\w{1,100})'"
)
SPELLING = "is it spelt as in the text of its step, and defined at the left margin?"
MEMBER = "is it spelt as in the text of its step? A method is inside its class, a value on self"
NOTHING = "None came in: did a step give nothing back, as a function without return does?"
_NOT_THERE = re.compile(
    r"cannot import name '(?P<name>\w{1,100})' from 'tinytorch\.core\.(?P<module>\w+)' .*"
)
_INSIDE = re.compile(r"an object of type (?P<kind>\w+) (is not an array|has no truth value)")
# What `apply` of module 01 says of an operation whose rule gave back no array.
_RULE = re.compile(
    r"the rule of (?P<name>\w{1,100}) must return an array of numbers, got (?P<got>.*)"
)
_STUB = re.compile(r"module (?P<module>\d\d)(, step (?P<step>\d+))?: (?P<name>[\w.]+)")


def fit(text: str, width: int = HEADLINE) -> str:
    """A text on one line, cut to a width."""
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= width else line[: width - 1] + "…"


def _stub(error: BaseException, of: str) -> dict[str, Any]:
    """The failure of a step that is not written yet; it may belong to an earlier module."""
    match = _STUB.search(str(error))
    if match is None:
        return {"headline": fit(f"{of}: not implemented yet"), "got": fit(str(error), 240)}
    step = f"step {match['step']} of " if match["step"] else ""
    return {
        "headline": fit(f"{match['name']}: not written yet ({step}module {match['module']})"),
        "got": "the stub's NotImplementedError",
        "stub": {"module": match["module"], "name": match["name"], "step": match["step"]},
    }


def _import(message: str) -> dict[str, Any]:
    """The failure of a module that cannot be imported, with its line where that is known."""
    parts: dict[str, Any] = {"headline": fit(f"the module cannot be imported: {message}")}
    parts["hint"] = "every test of this module waits until it can be imported"
    if place := _PLACE.match(message):
        fact = place["fact"].removesuffix("; mend this line")
        at = f"{place['name']}:{place['line']}" if place["line"] else place["name"]
        parts["headline"] = fit(f"{at} cannot be imported: {fact}")
        parts["got"] = fact if parts["headline"].endswith("…") else ""
        line = {"file": place["file"], "line": int(place["line"] or 1), "function": ""}
        parts["traceback"] = [line]
    return parts


def _missing(name: str, fact: str, hint: str, module: str = "") -> dict[str, Any]:
    """The failure of a name that is not there, however the test came to ask for it."""
    parts = {"headline": fit(f"{name}: {fact}"), "got": "", "hint": hint}
    return parts | {"missing": name, "module": module}


def _absent(error: BaseException, of: str) -> dict[str, Any]:
    """What to say of an attribute that the test itself asked for in vain; nothing, if it did not.

    A test's own lines are those of a probe, or none that the worker knows.
    """
    frames = getattr(error, "frames", ())
    if frames and not frames[-1].file.startswith("<"):
        return {}
    if absent := _ABSENT.fullmatch(str(error)):
        fact = f"module {absent['module']} has no such name"
        return _missing(absent["name"], fact, SPELLING, absent["module"])
    lacking = _LACKING.fullmatch(str(error))
    if lacking is None:
        return {}
    kind, name = lacking["kind"], lacking["name"]
    if kind == "NoneType" or "." in kind or hasattr(builtins, kind) or hasattr(types, kind):
        given = "None" if kind == "NoneType" else f"a {kind}"
        headline = fit(f"{of}: expected an object with .{name}, got {given}")
        return {"headline": headline, "got": "", "hint": NOTHING if given == "None" else None}
    return _missing(f"{kind}.{name}", "there is no such method or attribute", MEMBER)


def _frames(error: BaseException) -> list[dict[str, Any]]:
    """The student's lines that an exception passed through, the outermost first."""
    return [
        {"file": frame.file, "line": frame.line, "function": frame.function}
        for frame in getattr(error, "frames", ())
    ]


def _raised(error: StudentError, of: str) -> tuple[str, dict[str, Any]]:
    """The status of a test in which the student's code raised, and what to say about it."""
    told = f"{error.remote_type}: {error}".removesuffix(": ")
    parts = {"headline": fit(f"{of}: raised {told}"), "got": told, "traceback": _frames(error)}
    asks = error.remote_type == "EOFError" and str(error) == NO_INPUT
    parts["hint"] = KEYBOARD if asks else HINTS.get(error.remote_type)
    if error.remote_type in ("TypeError", "AttributeError") and "None" in str(error):
        parts["hint"] = NOTHING
    if isinstance(error, AttributeError):
        parts |= _absent(error, of)
    if rule := _RULE.fullmatch(str(error)):
        fact = f"{rule['name']}: its rule must return an array of numbers, got {rule['got']}"
        parts |= {"headline": fit(fact), "got": "", "rule": rule["name"]}
    if error.kind in ("import", "syntax") or error.remote_type in IMPORT_ERRORS:
        parts |= _import(ASKED if asks else str(error))
        parts["hint"] = KEYBOARD if asks else parts["hint"]
        if lost := _NOT_THERE.match(str(error)):
            fact = f"module {lost['module']} has no such name"
            parts |= _missing(lost["name"], fact, SPELLING, lost["module"])
        return "error", parts
    return ("failed" if error.kind in ("raised", "unsendable") else "error"), parts


def judge(error: BaseException, of: str) -> tuple[str, dict[str, Any]]:
    """The status of a test that raised, and what to say about it.

    Args:
        error: What the test raised on the trusted side.
        of: The function or class that the test is about.

    Returns:
        A status (failed, not_started, error or timeout) and named parts: headline, asked,
        expected, got, hint, traceback; of a missing name also that name and its module.
    """
    frames = _frames(error)
    if isinstance(error, Mismatch):
        names = ("call", "asked", "expected", "got", "detail", "hint")
        parts = {name: getattr(error, name) for name in names}
        return "failed", {"headline": fit(error.headline)} | parts
    if isinstance(error, WorkerTimeout):
        if line := error.endless_import:
            return "timeout", _import(endless(line, error.seconds)) | {"hint": ENDLESS}
        parts = {"headline": fit(str(error)), "got": "still running; it was stopped"}
        return "timeout", parts | {"called": error.call, "traceback": frames}
    if isinstance(error, WorkerDied):
        headline = f"{error.call}: {error}" if error.call else str(error)
        parts = {"headline": fit(headline), "got": str(error) if len(headline) > HEADLINE else ""}
        return "error", parts | {"hint": CRASH, "called": error.call}
    if isinstance(error, MissingName):
        module = error.module.rpartition(".")[2]
        return "error", _missing(error.name, f"module {module} has no such name", SPELLING, module)
    if isinstance(error, MissingModule | ProtocolError):
        return "error", {"headline": fit(str(error)), "got": str(error), "traceback": frames}
    if isinstance(error, NotImplementedError):
        return "not_started", _stub(error, of) | {"traceback": frames}
    if isinstance(error, StudentError):
        return _raised(error, of)
    fact = str(error)
    if inside := _INSIDE.match(fact):
        fact = f"expected plain numbers, got a {inside['kind']}"
    parts = {"headline": fit(f"{of}: its result does not fit: {fact}")}
    parts["got"] = f"{type(error).__name__}: {fact}" if parts["headline"].endswith("…") else ""
    if isinstance(error, AttributeError):
        parts |= _absent(error, of)
    return "failed", parts
