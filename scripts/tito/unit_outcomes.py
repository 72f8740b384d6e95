"""What the unit tests of a module gave: pytest's words turned into named parts and places."""

import ast
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, NamedTuple

from tito.export import exported_text
from tito.ladder import Checkpoint, Ladder
from tito.loops import Loop, down_to_loop, loops_in
from tito.render.failure import ASKED, HEADLINE, KEYBOARD, LOOP, ROUNDS, last_lines
from tito.report import Failure, Frame
from tito.source import ModuleSource

NOT_WRITTEN = "not written yet"
DEPTH = 6  # frames of a traceback
WAITING = "no test of this module can run until it can be imported"
EXIT = "does the code call exit?"

Status = Literal["passed", "failed", "not_started"]

STUB = re.compile(r"module (?P<module>\d\d)(, step (?P<step>\d+))?: (?P<name>[\w.]+)")
# A frame as `faulthandler` writes it, and what stands above those of another thread.
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
_THREAD = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)
# The modules in front of an exception's class.
_HOME = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z]\w*(?::|$))", re.MULTILINE)
# What pytest's stand-in for a keyboard says.
_ASKS = re.compile(r"^OSError: pytest: reading from stdin .*", re.MULTILINE)
# How pytest explains a part of an assertion, and what it advises to those who call it.
_WHERE = re.compile(r"\s*(\+\s+(where|and)\b|Use -v to get more diff)")

_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_OPERATIONS = ast.BinOp | ast.BoolOp | ast.UnaryOp | ast.Compare


@dataclass(frozen=True)
class UnitTest:
    """One unit test: its name, the step it stands beside, and how it went."""

    name: str
    step: int | None
    status: Status


class Stopped(NamedTuple):
    """Unit tests that did not come to their end.

    `test` was under way, "" while the module was imported. `late` tells a test whose time was up,
    after so many `seconds`, from a process that ended by itself; `trace` is `faulthandler`'s word
    on what ran then.
    """

    test: str
    seconds: float
    trace: str = ""
    late: bool = True


class Sides(NamedTuple):
    """The left value of a comparison that did not hold, and of the right what its source hides."""

    left: str
    right: str


class Places:
    """Where the lines of a temporary tree stand in the student's.

    `module` is the text that was laid out there: the file itself may have been saved since.
    """

    def __init__(self, ladder: Ladder, rung: Checkpoint, folder: Path, module: ModuleSource):
        self.rung, self.folder, self.module = rung, folder.resolve(), module
        self.sources = {f"tinytorch/core/{r.module}.py": r.source for r in ladder.checkpoints}
        try:
            self.tree = ast.parse(exported_text(module, "test"))
        except SyntaxError:  # in a unit test: pytest says where
            self.tree = ast.Module([], [])
        functions = (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))
        self.tests = {node.name: node for node in functions}

    def loops(self, file: str) -> dict[int, Loop]:
        """The loops in a file of the student's, by line: of the module itself only."""
        return loops_in(self.tree) if file == self.rung.source else {}

    def asked(self, test: str) -> str:
        """What a test asks: the first paragraph of its docstring."""
        doc = ast.get_docstring(self.tests[test]) if test in self.tests else None
        return " ".join((doc or "").split("\n\n")[0].split())

    def step(self, test: str) -> int | None:
        """The step that a test stands beside."""
        return self.module.step_of(self.tests[test].lineno) if test in self.tests else None

    def nearest(self, frames: tuple[Frame, ...], test: str) -> tuple[Frame, ...]:
        """The frames to open the last of: of the test's own step, else of this module, else all.

        What one step hands to another, or to an earlier module, is refused there and made here.
        """
        own = tuple(f for f in frames if f.file == self.rung.source)
        step = self.step(test)
        return tuple(f for f in own if self.module.step_of(f.line) == step) or own or frames

    def statement(self, frames: tuple[Frame, ...], test: str) -> str:
        """The statement of a test that did not hold, on one line."""
        node = self._statement(frames, test)
        text = ast.unparse(node.test if isinstance(node, ast.Assert) else node) if node else ""
        return " ".join(text.split())

    def _statement(self, frames: tuple[Frame, ...], test: str) -> ast.Assert | ast.Expr | None:
        """The statement of a test that one of the frames is in."""
        lines = [frame.line for frame in frames if frame.file == self.rung.source]
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef) and function.name == test:
                inside = [n for n in ast.walk(function) if isinstance(n, ast.Assert | ast.Expr)]
                for node in inside:
                    if any(node.lineno <= line <= (node.end_lineno or 0) for line in lines):
                        return node
        return None

    def sides(self, frames: tuple[Frame, ...], test: str, told: str) -> Sides | None:
        """What a failed `assert left == right` compared, of pytest's `assert 3 == 4`.

        None where the two cannot be told apart, or where the left one is no value that came: a
        literal of the test, or an operation that pytest may tell with its operands.
        """
        node = self._statement(frames[-1:], test)  # and not a function's that it calls
        compare = node.test if isinstance(node, ast.Assert) else None
        if not isinstance(compare, ast.Compare) or len(compare.ops) > 1:
            return None
        sign, text = f" {_SIGNS[type(compare.ops[0])]} ", told.strip().removeprefix("assert ")
        left, _, right = text.partition(sign)
        if isinstance(compare.left, _OPERATIONS) or _is_literal(compare.left):
            return None
        if text.count(sign) != 1 or left == ast.unparse(compare.left):
            return None
        whole = _is_literal(compare.comparators[0]) or "..." in right
        return Sides(
            left, "" if whole else f"where {ast.unparse(compare.comparators[0])} is {right}"
        )

    def frames(self, came: Iterable[tuple[str, int, str]]) -> tuple[Frame, ...]:
        """The lines of the student's files among those that an exception came through."""
        located = ((self.own(file), max(1, line), function) for file, line, function in came)
        return tuple(Frame(*at) for at in located if at[0])

    def own(self, path: str) -> str | None:
        """The student's file for a path of the temporary tree, or None for any other file."""
        place = Path(path) if os.path.isabs(path) else self.folder / path
        try:
            name = place.resolve().relative_to(self.folder).as_posix()
        except ValueError:
            return None
        name = self.sources.get(name, name)
        return name if name.startswith("modules/") else None


def stopped(ended: Stopped, places: Places) -> Failure:
    """The test that did not end, and the line that ran then; else that of the test itself."""
    rung, bare = places.rung, ended.test.partition("[")[0]
    main = _THREAD.split(ended.trace)[-1]  # the thread that Python began with stands last
    at = ((places.own(f[1]), int(f[2]), f[3]) for f in _FRAME.finditer(main))
    frames = tuple(Frame(*place) for place in at if place[0] and 0 < place[1] < 10**6)[::-1]
    if ended.late:
        frames = down_to_loop(frames, places.loops)
    file, line = (frames[-1].file, frames[-1].line) if frames else (rung.source, None)
    if line is None and bare in places.tests:
        line = places.tests[bare].lineno
    same = line is not None and file == rung.source
    what = ended.test or "importing the module"
    fact = f"not done in {ended.seconds:.0f} s" if ended.late else "the process ended"
    return Failure(
        fit(f"{what}: {fact}"),
        asked=places.asked(bare),
        hint=f"{LOOP} {ROUNDS}" if ended.late else EXIT,
        file=file,
        line=line,
        step=places.module.step_of(line) if same else places.step(bare),
        command=f"tito test {rung.id}" + (f" -k {bare}" if bare else ""),
        traceback=frames[-DEPTH:],
    )


def tests_done(lines: list[str], ended: Stopped, places: Places) -> tuple[UnitTest, ...]:
    """Those that were done before the process was gone, as `OUTCOME NODEID` tells, and its last."""
    found: dict[str, Status] = {}
    for line in lines:
        outcome, _, test = line.partition(" ")
        name = test.rpartition("::")[2].partition("[")[0]
        if name and outcome in ("passed", "failed") and found.get(name) != "failed":
            found[name] = outcome  # type: ignore[assignment]
    if ended.test:
        found[ended.test.partition("[")[0]] = "failed"
    return tuple(UnitTest(name, places.step(name), status) for name, status in found.items())


def tests_of(told: dict[str, Any], places: Places) -> tuple[UnitTest, ...]:
    """Every test that ran, as pytest-json-report's file has it."""
    found = []
    for test in told.get("tests", ()):
        if test["outcome"] == "skipped":
            continue
        name = test["nodeid"].rpartition("::")[2].partition("[")[0]
        status: Status = "passed" if test["outcome"] == "passed" else "failed"
        if status == "failed" and STUB.search(_message(_failed_phase(test))):
            status = "not_started"
        found.append(UnitTest(name, places.step(name), status))
    return tuple(found)


def _failed_phase(test: dict[str, Any]) -> dict[str, Any]:
    """The part of a test that went wrong."""
    phases = (test.get(k, {}) for k in ("setup", "call", "teardown"))
    return next((phase for phase in phases if "crash" in phase), {})


def _message(phase: dict[str, Any]) -> str:
    """What the exception of a failed phase says, without where its class comes from."""
    message = str(phase.get("crash", {}).get("message", ""))
    return _ASKS.sub(ASKED, _HOME.sub("", message)).removeprefix("AssertionError: ")


def failures_of(told: dict[str, Any], places: Places) -> tuple[Failure, ...]:
    """The failures of pytest-json-report's file, those of the import first."""
    found = [_not_imported(imported, places) for imported in told.get("imports", ())]
    bad = (test for test in told.get("tests", ()) if test["outcome"] in ("failed", "error"))
    return (*found, *(_failure(test["nodeid"].rpartition("::")[2], test, places) for test in bad))


def _not_imported(imported: dict[str, Any], places: Places) -> Failure:
    """Why the import failed, and the line to open: of the module that was imported last."""
    rung, frames = places.rung, places.frames(imported["frames"])
    files = [frame.file for frame in frames if frame.function == "<module>"] or [rung.source]
    line = next((frame.line for frame in frames[::-1] if frame.file == files[-1]), None)
    told = _ASKS.sub(ASKED, imported["fact"].replace(f"{places.folder}{os.sep}", ""))
    fact, *rest = told.split("\n")
    at = Path(files[-1]).name + (f":{line}" if line else "")
    headline = f"{at} cannot be imported: {fact}"
    whole = [fact] if fit(headline) != headline else []
    earlier = files[-1] != rung.source
    hint = f"an earlier module comes first: tito test {files[-1].split('/')[1][:2]}"
    hint = KEYBOARD if fact == ASKED else hint if earlier else WAITING
    return Failure(
        fit(headline),
        got="\n".join([*whole, *rest]),
        hint=hint,
        file=files[-1],
        line=line,
        step=None if earlier or line is None else places.module.step_of(line),
        command=f"tito test {rung.id}",
        traceback=frames[-DEPTH:],
    )


def _failure(name: str, test: dict[str, Any], places: Places) -> Failure:
    """One failed unit test: the exception, what was expected, and the line to open."""
    phase = _failed_phase(test)
    frames = places.frames(test.get("metadata", {}).get("frames", ()))
    bare = name.partition("[")[0]
    stub = STUB.search(_message(phase))
    at = frames[-1:] if stub else places.nearest(frames, bare)
    file, line = (at[-1].file, at[-1].line) if at else (places.rung.source, None)
    step = places.module.step_of(line) if line and file == places.rung.source else None
    lines = [t for t in _message(phase).splitlines() if t.strip()] or ["it failed"]
    parts = {"headline": f"{name}: {lines[0]}", "expected": places.statement(frames, bare)}
    cut = fit(parts["headline"]) != parts["headline"]
    told = [text for text in lines[0 if cut else 1 :] if not _WHERE.match(text)]
    compared = next((text for text in lines if text.lstrip().startswith("assert ")), "")
    if sides := places.sides(frames, bare, compared):
        told = [sides.left, *(text for text in told if text != compared)]
        if cut and sides.right:
            parts["expected"] += f"\n{sides.right}"
    parts["got"] = dedent("\n".join(told))
    parts["hint"] = KEYBOARD if lines[0] == ASKED else ""
    if stub is not None:
        parts = {"headline": f"{stub['name']}: {NOT_WRITTEN}"}
        parts["headline"] += f" ({_step_of(stub)}module {stub['module']})"
        if stub["module"] != places.rung.id:
            parts["hint"] = f"an earlier module comes first: tito test {stub['module']}"
        elif stub["step"]:
            command = f"tito checkpoint hint {stub['module']} --step {stub['step']}"
            parts["hint"] = f"its step says what is wanted; then: {command}"
    return Failure(
        **parts | {"headline": fit(parts["headline"])},
        asked=places.asked(bare),
        file=file,
        line=line,
        step=step,
        command=f"tito test {places.rung.id} -k {bare}",
        traceback=() if stub else frames[-DEPTH:],
        output="" if stub else _printed(test),
    )


def is_stub(failure: Failure) -> bool:
    """Whether a unit test met a step that is still to be written."""
    return f": {NOT_WRITTEN}" in failure.headline


def _printed(test: dict[str, Any]) -> str:
    """The last lines that a test printed."""
    phases = [test.get(k, {}) for k in ("setup", "call", "teardown")]
    text = "".join(phase.get(stream, "") for phase in phases for stream in ("stdout", "stderr"))
    return last_lines(text)


def _is_literal(node: ast.expr) -> bool:
    """Whether a value stands in the source as it is."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return True


def _step_of(stub: re.Match[str]) -> str:
    return f"step {stub['step']} of " if stub["step"] else ""


def fit(text: str) -> str:
    """A headline of under 80 columns."""
    return text if len(text) <= HEADLINE else text[: HEADLINE - 1] + "…"
