"""What `tito watch` knows as a pure state machine: events in, commands out.

It knows no terminal, no clock and no process: `tito.cli.watching` feeds it and does what it asks,
`tito.watch_screen` draws it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from tito.files import FileProblem
from tito.ladder import Checkpoint
from tito.progress import Progress, Rung
from tito.recheck import CheckpointDone, Running, UnitsDone
from tito.report import CheckpointResult, Failure, Outcome
from tito.telling import exact_first, ordered
from tito.unit_outcomes import is_stub
from tito.unittests import UnitTests

KEYS = {"n": "next", "h": "hint", "l": "list", "t": "timeline", "r": "reset", "q": "quit"}


class Check(NamedTuple):
    """Check a module: the unit tests of some steps (all if none are named), the checkpoint."""

    rung: Checkpoint
    steps: tuple[int, ...] = ()


class Reset(NamedTuple):
    """Bring a module back to its stub."""

    rung: Checkpoint


class Quit(NamedTuple):
    """Leave."""


class Begun(NamedTuple):
    """A check of a module has begun; `hints` are those of its steps, `also` the modules that were
    saved and are not checked."""

    check: int
    rung: Checkpoint
    steps: tuple[int, ...]
    hints: Mapping[int, tuple[str, ...]]
    progress: Progress
    also: tuple[str, ...] = ()


class Ticked(NamedTuple):
    """So many seconds have passed since the check began."""

    seconds: int


class Key(NamedTuple):
    """A key was pressed."""

    name: str


class Noted(NamedTuple):
    """Something to tell, until the next key or save."""

    text: str


Event = Begun | Running | Ticked | UnitsDone | CheckpointDone | Key | Noted
Command = Check | Reset | Quit


@dataclass(frozen=True)
class State:
    """All that the screen depends on.

    `waiting` names what the current check still has to tell, `running` how far each of it is;
    `told` counts, by step, the hints that were shown. `owed` has, by module, the steps to test
    again whatever is saved; None among them is for all, and a module that is not there was not
    tested yet. `also` are modules that were saved and are not checked.
    """

    progress: Progress
    rung: Checkpoint
    check: int = 0
    steps: tuple[int, ...] = ()
    waiting: frozenset[Literal["units", "checkpoint"]] = frozenset()
    running: Mapping[str, Running] = field(default_factory=dict)
    seconds: int = 0
    also: tuple[str, ...] = ()
    units: UnitTests | None = None
    problem: FileProblem | None = None
    trouble: str = ""
    graded: bool = False
    hints: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    told: Mapping[int, int] = field(default_factory=dict)
    owed: Mapping[str, frozenset[int | None]] = field(default_factory=dict)
    note: str = ""
    view: Literal["work", "list", "timeline", "reset"] = "work"

    @property
    def here(self) -> Rung:
        """The module's place on the ladder."""
        return self.progress.by_id[self.rung.id]

    @property
    def result(self) -> CheckpointResult | None:
        """What its checkpoint gave."""
        return self.here.result

    @property
    def passed(self) -> bool:
        """Whether all that was run passed."""
        units = self.units is not None and self.units.ok
        return self.graded and not self.trouble and units and self.here.settled


# Events


def advance(state: State, event: Event) -> tuple[State, list[Command]]:
    """What follows from an event."""
    if isinstance(event, Key):
        return _key(state, event.name)
    if isinstance(event, Noted):
        return replace(state, note=event.text, view="work"), []
    if isinstance(event, Begun):
        return _begun(state, event), []
    if isinstance(event, Ticked):
        return replace(state, seconds=event.seconds), []
    if event.check != state.check:
        return state, []  # of a check that was overtaken by a later save
    if isinstance(event, Running):
        return replace(state, running={**state.running, event.part: event}), []
    if isinstance(event, UnitsDone):
        left = state.waiting - {"units"}
        state = replace(state, owed=_owed(state, event.units))
        return replace(state, units=event.units, problem=event.problem, waiting=left), []
    left = state.waiting - {"checkpoint"}
    told = replace(state, progress=event.progress, trouble=event.trouble, waiting=left)
    return replace(told, graded=not event.trouble, note=event.note or state.note), []


def _begun(state: State, event: Begun) -> State:
    """Another check: what the last one gave goes, the hints that were shown stay."""
    same = event.rung == state.rung
    overtaken = not same and under_way(state, state.rung)
    owed = _owing(state, _tested(state)) if overtaken else state.owed
    return State(
        progress=event.progress,
        rung=event.rung,
        check=event.check,
        steps=event.steps,
        waiting=frozenset({"units", "checkpoint"}),
        also=event.also,
        hints=event.hints,
        told=state.told if same else {},
        owed=owed,
        view=state.view if state.view in ("list", "timeline") else "work",
    )


# Which steps to check


def under_way(state: State, rung: Checkpoint) -> bool:
    """Whether unit tests of a module are still running."""
    return rung == state.rung and "units" in state.waiting


def to_check(state: State, rung: Checkpoint, changed: tuple[int, ...]) -> tuple[int, ...]:
    """The steps to test after a save: what changed, and what did not pass before; () for all."""
    owed = state.owed.get(rung.id, frozenset({None}))
    return () if None in owed or not changed else tuple(sorted({*owed, *changed} - {None}))


def _owed(state: State, units: UnitTests | None) -> Mapping[str, frozenset[int | None]]:
    """What is owed after unit tests: a check runs all that was, so only what fails now.

    A step that is still a stub owes nothing: it is tested as soon as it is written.
    """
    if units is None:
        return state.owed  # the module could not be read: nothing was tested
    if not units.ran or units.late:
        return _owing(state, _tested(state))
    stubs = {stub.step for stub in state.here.stubs}
    failed = {test.step for test in units.tests if test.status != "passed"}
    return {**state.owed, state.rung.id: frozenset(failed - stubs)}


def _owing(state: State, steps: frozenset[int | None]) -> Mapping[str, frozenset[int | None]]:
    """What is owed if these steps of the module in hand are too."""
    return {**state.owed, state.rung.id: state.owed.get(state.rung.id, frozenset()) | steps}


def _tested(state: State) -> frozenset[int | None]:
    """The steps of the current check; None for all."""
    return frozenset(state.steps) or frozenset({None})


# Keys


def _key(state: State, key: str) -> tuple[State, list[Command]]:
    """Do what a key asks for; one without a meaning changes nothing."""
    if state.view == "reset":
        state = replace(state, view="work")
        if key in ("y", "Y"):
            return replace(state, note=f"resetting {state.rung.folder}"), [Reset(state.rung)]
        return replace(state, note="nothing was reset"), []
    key, state = key.lower(), replace(state, note="")
    if key == "q":
        return state, [Quit()]
    views: dict[str, Literal["list", "timeline"]] = {"l": "list", "t": "timeline"}
    if key in views:
        return replace(state, view="work" if state.view == views[key] else views[key]), []
    if state.view != "work":
        state = replace(state, view="work")
    if key == "n":
        return _next(state)
    if key == "h":
        return _hint(state), []
    if key == "r":
        return replace(state, view="reset"), []
    return state, []


def _next(state: State) -> tuple[State, list[Command]]:
    """Go to the lowest module that is not done; stay with the one in hand if that is it."""
    target = goes_to(state)
    if state.waiting:
        return replace(state, note="one moment: the tests are still running"), []
    if not state.passed and (target is None or target.id > state.rung.id):
        note = f"{state.rung.id} does not pass yet; another module: tito watch NN"
        return replace(state, note=note), []
    if target is None:
        return replace(state, note=f"nothing is left here; {state.progress.next.command}"), []
    return state, [Check(target)]


def goes_to(state: State) -> Checkpoint | None:
    """Where the key n goes: the lowest module that is not done, if it is not the one in hand."""
    current = state.progress.current
    return current.checkpoint if current and current.id != state.rung.id else None


def step_in_hand(state: State) -> int | None:
    """The step that a hint is about: of the failure shown, else the first one still to write."""
    failure, _ = first_failure(state)
    if failure is not None and failure.step is not None:
        return failure.step
    if state.here.stubs:
        return state.here.stubs[0].step
    return state.steps[0] if state.steps else None


def hints_for(state: State, step: int | None) -> tuple[str, ...]:
    """The hints of a step: those written for it, else those of its checkpoint's tests."""
    if step is not None and step in state.hints:
        return state.hints[step]
    tests = state.result.tests if state.result else ()
    found = (test.hint for test in tests if test.hint and test.step == step)
    return tuple(dict.fromkeys(found))[:3]


def _hint(state: State) -> State:
    """Show one hint more of the step in hand."""
    step = step_in_hand(state)
    hints = hints_for(state, step)
    if not hints:
        return replace(state, note="no hint is written for this; tito module view shows the README")
    told = min(len(hints), state.told.get(step or 0, 0) + 1)
    again = "  (the last one)" if told == len(hints) else ""
    where = f" for step {step}" if step else ""
    note = f"hint {told} of {len(hints)}{where}: {hints[told - 1]}{again}"
    return replace(state, told={**state.told, step or 0: told}, note=note)


# What to show first


def first_failure(state: State) -> tuple[Failure | None, int]:
    """The failure to show, and how many more there are: what is wrong before what is missing."""
    wrong, unwritten = _wrong(state), _unwritten(state)
    found = wrong or unwritten
    return (found[0], len(wrong) + len(unwritten) - 1) if found else (None, 0)


def _wrong(state: State) -> list[Failure]:
    """What was written and is wrong.

    Of the steps that were tested the checkpoint's own failure comes first, as it says most; but
    where unit tests did not come to their end, or time was up, they say it better.
    """
    units = [f for f in state.units.failures if not is_stub(f)] if state.units else []
    own = [t for t in _unpassed(state) if t.status != "not_started"]
    near = [t for t in own if t.status != "timeout" and (not state.steps or t.step in state.steps)]
    far = [t for t in own if t not in near]
    if state.units and (state.units.late or not state.units.ran):
        near, far = [], own
    return [*_failures(near), *units, *_failures(far)]


def _unwritten(state: State) -> list[Failure]:
    """What is still to be written, the first step first."""
    found = [f for f in state.units.failures if is_stub(f)] if state.units else []
    found += _failures([t for t in _unpassed(state) if t.status == "not_started"])
    c = state.rung
    return [f for f in ordered(found, c.id, c.source, state.here.stubs) if is_stub(f)]


def _unpassed(state: State) -> list[Outcome]:
    """The tests of the checkpoint that did not pass, once it has run."""
    tests = state.result.tests if state.result and state.graded else ()
    return [test for test in exact_first(tests) if test.failure]


def _failures(tests: list[Outcome]) -> list[Failure]:
    """What some tests say."""
    return [test.failure for test in tests if test.failure]
