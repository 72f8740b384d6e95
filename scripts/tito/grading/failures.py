"""What a session tells of a test, made the outcome that stands in a report."""

from dataclasses import replace
from typing import Any

from tito.custom import module_of
from tito.grading.places import Places
from tito.ladder import AnyRung, Custom
from tito.loops import down_to_loop
from tito.render.failure import LOOP, ROUNDS, last_lines, named_after
from tito.report import Failure, Frame, Outcome


def cut(text: Any, limit: int) -> str:
    """A text within a report's limit; nothing a student's code says can grow without end."""
    text = "" if text is None else str(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _own_hint(outcome: Outcome, parts: dict[str, Any], step: int | None) -> str:
    """The hint of a test; one that asks for names has none for a call that went wrong.

    What a test of one step has to say does not help with a loop in another.
    """
    if outcome.status == "timeout" and outcome.kind != "performance":
        own = outcome.kind != "imports" and step == outcome.step
        return f"{LOOP} {outcome.hint if own else ROUNDS}"
    if outcome.kind != "imports":
        return outcome.hint
    if stub := parts.get("stub"):
        step = f" --step {stub['step']}" if stub["step"] else ""
        return f"its step says what is wanted; then: tito checkpoint hint {stub['module']}{step}"
    if outcome.status == "failed" and len(parts.get("traceback", ())) > 1:
        return "it was on its way through these lines: read them from the last one upwards"
    return outcome.hint


def _failure(verdict: dict[str, Any], outcome: Outcome, rung: AnyRung, places: Places) -> Failure:
    """The parts of a failure, with the line to open: where it was raised, else what was asked."""
    parts = verdict["failure"]
    frames = tuple(
        Frame(cut(f["file"], 300), max(1, int(f["line"])), cut(f["function"], 120))
        for f in parts.get("traceback", ())[-30:]
    )
    if outcome.status == "timeout" and "called" in parts:
        frames = down_to_loop(frames, places.loops)
    file, line = outcome.file, outcome.line
    step = (places.step(file, line) if file and line else None) or outcome.step
    headline = parts["headline"]
    # The module's own lines first: an error that an earlier one raises is often made here.
    home = outcome.file if isinstance(rung, Custom) else rung.source
    own = [f for f in frames if f.file == home]
    own = own or [f for f in frames if f.file.startswith("modules/")]
    if own:
        file, line = own[-1].file, own[-1].line
        step = places.step(file, line)
        if "<" not in own[-1].function:
            headline = named_after(headline, outcome.of, own[-1].function)
    call = parts.get("called") or parts.get("call")
    if not own and call:
        found = places.named(file, call, outcome.kind)
        line, step = (found, places.step(file, found)) if found else (line, step)
    if parts.get("rule"):  # it is `apply` that raised, and the rule that is wrong
        for name in dict.fromkeys((home, *(frame.file for frame in reversed(frames)))):
            if found := places.defined(name, parts["rule"]):
                file, line, step = name, found, places.step(name, found)
                break
    about = places.rung(parts["module"], file) if parts.get("missing") else None
    if about is not None:
        found, near = places.missing(parts["missing"], about)
        if found or parts["module"]:
            file, line = about.source, found
            step = places.step(file, found) if found else outcome.step
        parts["got"] = f"nothing of that name; the nearest is {near}" if near else ""
    hint = cut(parts.get("hint") or _own_hint(outcome, parts, step), 400)
    if parts.get("stub") and parts["stub"]["module"] != module_of(rung):
        hint = f"an earlier module comes first: tito checkpoint run {parts['stub']['module']}"
    return Failure(
        headline=cut(headline, 400),
        call=cut(parts.get("call"), 400),
        asked=cut(parts.get("asked") or outcome.asked, 400),
        expected=cut(parts.get("expected"), 1000),
        got=cut(parts.get("got"), 1000),
        detail=cut(parts.get("detail"), 1000),
        hint=hint,
        file=file,
        line=line,
        step=step,
        command=f"tito checkpoint run {rung.id}",
        output=cut(last_lines(parts.get("output") or ""), 4000),
        traceback=frames,
    )


def outcome_of(raw: dict[str, Any], rung: AnyRung, places: Places) -> Outcome:
    """One test of pytest-json-report's file, with our verdict beside its own outcome."""
    verdict = raw.get("metadata", {}).get("verdict")
    phases = (raw.get(phase, {}) for phase in ("setup", "call", "teardown"))
    duration = sum(phase.get("duration", 0.0) for phase in phases)
    name = cut(raw["nodeid"].partition("::")[2], 120)
    if verdict is None or not verdict["kind"]:
        failure = Failure(f"{name}: did not run"[:79], got=cut(raw.get("outcome"), 1000))
        return Outcome(name, "functionality", "error", duration=duration, failure=failure)
    about = places.ladder.find(verdict["module"] or module_of(rung))
    status = verdict["status"]
    outcome = Outcome(
        name=name,
        kind=verdict["kind"],
        status="error" if status == "passed" and raw["outcome"] != "passed" else status,
        asked=cut(verdict["asked"], 400),
        duration=duration,
        step=verdict["step"],
        of=cut(verdict["of"], 120),
        hint=cut(verdict["hint"], 400),
        file=about.source,
        line=places.line(about, verdict),
    )
    if verdict["failure"] is None:
        return outcome
    return replace(outcome, failure=_failure(verdict, outcome, rung, places))
