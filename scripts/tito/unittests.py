"""Run the unit tests that stand beside the steps of a module; no export is needed."""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, NamedTuple

from tito.export import export_one, exported_text, faces
from tito.files import FileProblem, read_text, write_atomic
from tito.ladder import Checkpoint, Ladder
from tito.report import Failure, Frame
from tito.source import parse

# Naming each test as it begins (-v) shall make no diff longer.
_INI = """\
[pytest]
python_files = *.py
python_functions = test_*
addopts = -p no:cacheprovider
verbosity_assertions = 0
"""
# Where an exception came through; and of what a test prints the end, for a print in a loop must
# not fill the report.
_CONFTEST = """\
from os.path import realpath
import pytest
from tito.isolation.frames import frames_of

@pytest.hookimpl(optionalhook=True)
def pytest_json_runtest_metadata(item, call):
    here = realpath(item.config.rootpath)
    error = call.excinfo and call.excinfo.value
    return {"frames": frames_of(error, lambda f: realpath(f).startswith(here))} if error else {}

def pytest_runtest_logreport(report):
    report.sections = [(name, text[-2000:]) for name, text in report.sections]
"""
HEADLINE = 79  # columns
PRINTED = 20  # lines
NOT_WRITTEN = "not written yet"
DEPTH = 6  # frames of a traceback
TEST_SECONDS = 30.0  # for one unit test
MARGIN = 3.0  # seconds after which a test is ended that did not end itself in time
SAID = 1 << 16  # characters that are kept of what pytest said

Runner = Callable[[Path, Checkpoint, list[str]], "Stopped | None"]
Status = Literal["passed", "failed", "not_started"]

STUB = re.compile(r"module (?P<module>\d\d)(, step (?P<step>\d+))?: (?P<name>[\w.]+)")
# A frame as `faulthandler` writes it, and what stands above those of another thread.
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
_THREAD = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)
_BEGUN = re.compile(r"\.py::(\w+)")
# The modules in front of an exception's class.
_HOME = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z]\w*(?::|$))", re.MULTILINE)
# How pytest explains a part of an assertion, and what it advises to those who call it.
_WHERE = re.compile(r"\s*(\+\s+(where|and)\b|Use -v to get more diff)")


@dataclass(frozen=True)
class UnitTest:
    """One unit test: its name, the step it stands beside, and how it went."""

    name: str
    step: int | None
    status: Status


@dataclass(frozen=True)
class UnitTests:
    """What a module's unit tests gave; `failures` and `tests` are in the order of the file.

    `ran` is false when the module could not be imported, or (`late`) took too long: the first
    failure says why.
    """

    passed: int
    failures: tuple[Failure, ...]
    seconds: float
    ran: bool = True
    tests: tuple[UnitTest, ...] = ()
    late: bool = False

    @property
    def ok(self) -> bool:
        """Whether there were tests, and all of them passed."""
        return self.passed > 0 and not self.failures


class Stopped(NamedTuple):
    """Unit tests that were ended before their time: the one under way ("" while the module was
    imported), after how many seconds all together, and `faulthandler`'s word on what ran then."""

    test: str
    seconds: float
    trace: str = ""


def lay_out(root: Path, ladder: Ladder, rung: Checkpoint, folder: Path) -> None:
    """Write a temporary tree: the package as exported now, and the module with its tests.

    Line N of the temporary module is line N of the student's file, under the same relative
    path, so that what pytest prints can be opened as it stands.

    Raises:
        FileProblem: If the module itself cannot be exported; an earlier one with a problem is
            left out, and fails where it is imported.
    """
    for file in faces(root, ladder):
        write_atomic(folder / file, read_text(root, file))
    needed = (*ladder.transitive_needs(rung.id), rung.id)
    for earlier in needed:
        result = export_one(root, ladder.by_id[earlier])
        if result.text is not None:
            write_atomic(folder / result.target, result.text)
        elif earlier == rung.id:
            raise result.problem  # type: ignore[misc]
        else:
            (folder / result.target).unlink(missing_ok=True)  # of an earlier time
    module = parse(read_text(root, rung.source), rung.source)
    if not any(cell.role == "test" for cell in module.cells):
        raise FileProblem(rung.source, "has no unit tests", "add a cell that starts with `#| test`")
    write_atomic(folder / rung.source, exported_text(module, "test"))
    write_atomic(folder / "pytest.ini", _INI)
    write_atomic(folder / "conftest.py", _CONFTEST)


def run_unit_tests(
    root: Path, ladder: Ladder, rung: Checkpoint, arguments: list[str], colour: bool
) -> int:
    """Run a module's unit tests with pytest and return its exit status.

    `arguments` go to pytest: `-k sum` chooses tests, `-x` stops at the first failure.
    """
    with tempfile.TemporaryDirectory(prefix="tito-test-") as name:
        folder = Path(name)
        lay_out(root, ladder, rung, folder)
        shown = ["-q", "--no-header", f"--color={'yes' if colour else 'no'}", *arguments]
        return subprocess.run(**_command(folder, rung, shown), check=False).returncode


def _command(folder: Path, rung: Checkpoint, arguments: list[str]) -> dict[str, Any]:
    """How to run pytest on the module laid out in a folder: the arguments of a process."""
    command = [sys.executable, "-P", "-m", "pytest", rung.source, "--import-mode=importlib"]
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    return {"args": [*command, *arguments], "cwd": folder, "env": environment}


def problem_below(root: Path, ladder: Ladder, rung: Checkpoint) -> FileProblem | None:
    """The first problem of a module that this one builds on: it cannot be imported there."""
    needs = (export_one(root, ladder.by_id[i]) for i in ladder.transitive_needs(rung.id))
    return next((result.problem for result in needs if result.problem), None)


class Deadline:
    """Does something when so many seconds have passed since it was last put off."""

    def __init__(self, seconds: float, act: Callable[[], object]):
        self.seconds, self.act, self.over = seconds, act, False
        self._timer: threading.Timer | None = None

    def put_off(self) -> None:
        """Begin to count, or begin anew."""
        self.cancel()
        self._timer = threading.Timer(self.seconds, self._end)
        self._timer.daemon = True  # Ctrl-C may come while it starts
        self._timer.start()

    def cancel(self) -> None:
        """Count no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.over = True
        self.act()


def following(tell: Callable[[str], object], seconds: float = TEST_SECONDS) -> Runner:
    """A runner that tells the name of each test as it begins, and ends one that lasts too long."""

    def run(folder: Path, rung: Checkpoint, arguments: list[str]) -> Stopped | None:
        # It gives up by itself, and says where; but it runs a student's code.
        limits = {"faulthandler_timeout": seconds, "faulthandler_exit_on_timeout": "true"}
        limited = [word for key, value in limits.items() for word in ("-o", f"{key}={value}")]
        how = _command(folder, rung, ["-v", *limited, *arguments])
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        at = said = ""
        with subprocess.Popen(**how, **streams, stderr=subprocess.STDOUT) as process:
            deadline = Deadline(seconds + MARGIN, process.kill)
            try:
                deadline.put_off()
                assert process.stdout is not None
                while told := os.read(process.stdout.fileno(), 1 << 16):
                    said = (said + told.decode(errors="replace"))[-SAID:]
                    for at in _BEGUN.findall(told.decode(errors="replace")):
                        deadline.put_off()
                        tell(at)
            except BaseException:  # Ctrl-C too: nothing may run on
                process.kill()
                raise
            finally:
                deadline.cancel()
        trace = said.rpartition("Timeout (")[2] if "Timeout (" in said else ""
        return Stopped(at, seconds, trace) if trace or deadline.over else None

    return run


def check_unit_tests(
    root: Path,
    ladder: Ladder,
    rung: Checkpoint,
    arguments: tuple[str, ...] = (),
    *,
    folder: Path | None = None,
    runner: Runner | None = None,
) -> UnitTests:
    """Run a module's unit tests without a word, and return each failure in named parts.

    Args:
        root: The tree.
        ladder: Its ladder.
        rung: The module.
        arguments: For pytest.
        folder: Where the module is laid out; one that is kept costs less the next time.
        runner: Runs pytest in that folder, and says what ended it early, if anything did.

    Raises:
        FileProblem: If the module cannot be exported, or has no unit tests.
    """
    begin = time.perf_counter()
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="tito-test-") as at:
        folder = Path(at)
        lay_out(root, ladder, rung, folder)
        raw = folder / "raw.json"
        raw.unlink(missing_ok=True)
        wanted = ["--tb=short", "-p", "pytest_jsonreport.plugin", "--json-report", *arguments]
        wanted += [f"--json-report-file={raw}", "--json-report-omit=log,keywords"]
        ended = (runner or following(lambda name: None))(folder, rung, wanted)
        try:
            told = json.loads(raw.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            failure = _stopped(ended, _Places(root, ladder, rung, folder)) if ended else _died(rung)
            seconds = time.perf_counter() - begin
            return UnitTests(0, (failure,), seconds, ran=False, late=bool(ended))
        places = _Places(root, ladder, rung, folder)
        failures, tests = _failures(told, places), _tests(told, places)
    problem = problem_below(root, ladder, rung) if failures else None
    if problem is not None:
        first = Failure(
            _fit(f"an earlier module cannot be used: {problem.message}"),
            hint=problem.mend,
            file=problem.file,
            line=problem.line,
            command=f"tito module complete {rung.id}",
        )
        failures = (first, *failures)
    passed = sum(test.status == "passed" for test in tests)
    return UnitTests(passed, failures, time.perf_counter() - begin, bool(tests), tests)


class _Places:
    """Where the lines of a temporary tree stand in the student's."""

    def __init__(self, root: Path, ladder: Ladder, rung: Checkpoint, folder: Path):
        self.rung, self.folder = rung, folder.resolve()
        self.sources = {f"tinytorch/core/{r.module}.py": r.source for r in ladder.checkpoints}
        self.module = parse(read_text(root, rung.source), rung.source)
        self.tree = ast.parse(exported_text(self.module, "test"))
        functions = (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))
        self.tests = {node.name: node for node in functions}

    def asked(self, test: str) -> str:
        """What a test asks: the first paragraph of its docstring."""
        doc = ast.get_docstring(self.tests[test]) if test in self.tests else None
        return " ".join((doc or "").split("\n\n")[0].split())

    def step(self, test: str) -> int | None:
        """The step that a test stands beside."""
        return self.module.step_of(self.tests[test].lineno) if test in self.tests else None

    def statement(self, frames: tuple[Frame, ...], test: str) -> str:
        """The statement of a test that did not hold, on one line."""
        lines = [frame.line for frame in frames if frame.file == self.rung.source]
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef) and function.name == test:
                inside = [n for n in ast.walk(function) if isinstance(n, ast.Assert | ast.Expr)]
                for node in inside:
                    if any(node.lineno <= line <= (node.end_lineno or 0) for line in lines):
                        text = ast.unparse(node.test if isinstance(node, ast.Assert) else node)
                        return " ".join(text.split())
        return ""

    def own(self, path: str) -> str | None:
        """The student's file for a path of the temporary tree, or None for any other file."""
        place = Path(path) if os.path.isabs(path) else self.folder / path
        try:
            name = place.resolve().relative_to(self.folder).as_posix()
        except ValueError:
            return None
        name = self.sources.get(name, name)
        return name if name.startswith("modules/") else None


def _died(rung: Checkpoint) -> Failure:
    """What is known when the process is gone."""
    return Failure(
        f"the unit tests of module {rung.id} ended before their time",
        got="the process that ran them died",
        file=rung.source,
        command=f"tito test {rung.id}",
    )


def _stopped(stopped: Stopped, places: _Places) -> Failure:
    """The test whose time was up, and the line that ran then; else that of the test itself."""
    rung, bare = places.rung, stopped.test.partition("[")[0]
    main = _THREAD.split(stopped.trace)[-1]  # the thread that Python began with stands last
    at = ((places.own(f[1]), int(f[2]), f[3]) for f in _FRAME.finditer(main))
    frames = tuple(Frame(*place) for place in at if place[0])[::-1]
    file, line = (frames[-1].file, frames[-1].line) if frames else (rung.source, None)
    if line is None and bare in places.tests:
        line = places.tests[bare].lineno
    same = line is not None and file == rung.source
    what = stopped.test or "importing the module"
    return Failure(
        _fit(f"{what}: not done after {stopped.seconds:.0f} s; does a loop never end?"),
        asked=places.asked(bare),
        file=file,
        line=line,
        step=places.module.step_of(line) if same else places.step(bare),
        command=f"tito test {rung.id}" + (f" -k {bare}" if bare else ""),
        traceback=frames[-DEPTH:],
    )


def _tests(told: dict[str, Any], places: _Places) -> tuple[UnitTest, ...]:
    """Every test that ran, as pytest-json-report's file has it."""
    found = []
    for test in told.get("tests", ()):
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
    return _HOME.sub("", message).removeprefix("AssertionError: ")


def _failures(told: dict[str, Any], places: _Places) -> tuple[Failure, ...]:
    """The failures of pytest-json-report's file, those of the import first."""
    rung = places.rung
    found = [
        Failure(
            _fit(f"{rung.module}.py cannot be imported: {_last_line(collector.get('longrepr'))}"),
            hint="no test of this module can run until it can be imported",
            file=rung.source,
            command=f"tito test {rung.id}",
            output=str(collector.get("longrepr") or "")
            .partition("Traceback:\n")[2]
            .replace(f"{places.folder}/", ""),
        )
        for collector in told.get("collectors", ())
        if collector.get("outcome") == "failed"
    ]
    bad = (test for test in told.get("tests", ()) if test["outcome"] in ("failed", "error"))
    return (*found, *(_failure(test["nodeid"].rpartition("::")[2], test, places) for test in bad))


def _failure(name: str, test: dict[str, Any], places: _Places) -> Failure:
    """One failed unit test: the exception, what was expected, and the line to open."""
    phase = _failed_phase(test)
    came = test.get("metadata", {}).get("frames", ())
    located = [(places.own(file), max(1, line), function) for file, line, function in came]
    frames = tuple(Frame(*at) for at in located if at[0])
    file, line = (frames[-1].file, frames[-1].line) if frames else (places.rung.source, None)
    step = places.module.step_of(line) if line and file == places.rung.source else None
    first, *rest = [t for t in _message(phase).splitlines() if t.strip()] or ["it failed"]
    bare = name.partition("[")[0]
    parts = {"headline": f"{name}: {first}", "expected": places.statement(frames, bare)}
    whole = [first] if _fit(parts["headline"]) != parts["headline"] else []
    told = [text for text in [*whole, *rest] if not _WHERE.match(text)]
    parts["got"] = dedent("\n".join(told))
    stub = STUB.search(first)
    if stub is not None:
        parts = {"headline": f"{stub['name']}: {NOT_WRITTEN}"}
        parts["headline"] += f" ({_step_of(stub)}module {stub['module']})"
        if stub["module"] != places.rung.id:
            parts["hint"] = f"an earlier module comes first: tito test {stub['module']}"
        elif stub["step"]:
            command = f"tito checkpoint hint {stub['module']} --step {stub['step']}"
            parts["hint"] = f"its step says what is wanted; then: {command}"
    return Failure(
        **parts | {"headline": _fit(parts["headline"])},
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
    lines = text.rstrip().splitlines()
    cut = [f"… {len(lines) - PRINTED} earlier lines"] if len(lines) > PRINTED else []
    return "\n".join([*cut, *lines[-PRINTED:]])


def _step_of(stub: re.Match[str]) -> str:
    return f"step {stub['step']} of " if stub["step"] else ""


def _last_line(text: Any) -> str:
    lines = [line for line in str(text or "").splitlines() if line.strip()]
    return lines[-1].removeprefix("E").strip() if lines else "no reason given"


def _fit(text: str) -> str:
    return text if len(text) <= HEADLINE else text[: HEADLINE - 1] + "…"
