"""Say what an exception in a checkpoint means: a status, and the parts of a failure message."""

import re
from typing import Any

from checkpoints.feedback import Mismatch, show
from tito.isolation import (
    MissingModule,
    MissingName,
    ProtocolError,
    StudentError,
    WorkerDied,
    WorkerTimeout,
)

HEADLINE = 79  # columns
IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError")
# What helps with an error of this kind, whatever the test is about.
HINTS = {
    "NameError": "nothing of that name is known there: a slip of the pen, or a forgotten import",
    "UnboundLocalError": "it is read before a value is given to it on this way through",
    "RecursionError": "it calls itself too deep: does it never end, or should it be a loop?",
}
_PLACE = re.compile(
    r"(?P<file>modules/[\w/]+/(?P<name>\w+\.py))(:(?P<line>\d+))?: (?P<fact>.*)", re.DOTALL
)
_ABSENT = re.compile(r"module 'tinytorch\.core\.(?P<module>\w+)' has no attribute '(?P<name>\w+)'")
SPELLING = "is it spelt as in the text of its step, and defined at the left margin?"
NOTHING = "None came in: did a step give nothing back, as a function without return does?"
_STUB = re.compile(r"module (?P<module>\d\d)(, step (?P<step>\d+))?: (?P<name>[\w.]+)")


def fit(text: str, width: int = HEADLINE) -> str:
    """The first line of a text, cut to a width."""
    line = text.splitlines()[0] if text.strip() else ""
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


def judge(error: BaseException, of: str) -> tuple[str, dict[str, Any]]:
    """The status of a test that raised, and what to say about it.

    Args:
        error: What the test raised on the trusted side.
        of: The function or class that the test is about.

    Returns:
        A status (failed, not_started, error or timeout) and named parts: headline, asked,
        expected, got, hint, traceback.
    """
    frames = [
        {"file": frame.file, "line": frame.line, "function": frame.function}
        for frame in getattr(error, "frames", ())
    ]
    if isinstance(error, Mismatch):
        names = ("call", "asked", "expected", "got", "detail", "hint")
        parts = {name: getattr(error, name) for name in names}
        return "failed", {"headline": fit(error.headline)} | parts
    if isinstance(error, WorkerTimeout):
        return "timeout", {"headline": fit(str(error)), "got": "still running; it was stopped"}
    if isinstance(error, MissingModule | MissingName | WorkerDied | ProtocolError):
        return "error", {"headline": fit(str(error)), "got": str(error), "traceback": frames}
    if isinstance(error, NotImplementedError):
        return "not_started", _stub(error, of) | {"traceback": frames}
    if isinstance(error, StudentError):
        told = f"{error.remote_type}: {error}"
        parts = {"headline": fit(f"{of}: raised {told}"), "got": told, "traceback": frames}
        parts["hint"] = HINTS.get(error.remote_type)
        if error.remote_type in ("TypeError", "AttributeError") and "None" in str(error):
            parts["hint"] = NOTHING
        if absent := _ABSENT.fullmatch(str(error)):
            parts["headline"] = fit(f"{absent['name']}: module {absent['module']} has no such name")
            parts |= {"got": "", "hint": SPELLING}
        if error.kind in ("import", "syntax") or error.remote_type in IMPORT_ERRORS:
            parts |= _import(str(error))
            return "error", parts
        return ("failed" if error.kind in ("raised", "unsendable") else "error"), parts
    got = f"{type(error).__name__}: {show(str(error))}"
    return "failed", {"headline": fit(f"{of}: its result could not be used"), "got": got}
