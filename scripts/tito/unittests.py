"""Run the unit tests that stand beside the steps of a module; no export is needed."""

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tito.deadline import Deadline
from tito.export import export_one, exported_text, faces
from tito.files import FileProblem, read_text, write_atomic
from tito.ladder import Checkpoint, Ladder
from tito.processes import end_group, pytest_environment, workspace
from tito.report import Failure
from tito.source import ModuleSource, parse
from tito.unit_outcomes import (
    Places,
    Stopped,
    UnitTest,
    failures_of,
    fit,
    stopped,
    tests_done,
    tests_of,
)

# Naming each test as it begins (-v) shall make no diff longer.
_INI = """\
[pytest]
python_files = *.py
python_functions = test_*
addopts = -p no:cacheprovider
verbosity_assertions = 0
"""
# Where an exception came through, in a test or at import; of what a test prints the end, for a
# print in a loop must not fill the report; and how each test went, in case that the last one takes
# the process along.
_CONFTEST = """\
import faulthandler, os
from os.path import realpath
import pytest
from tito.isolation.frames import frames_of

if "TITO_SECONDS" in os.environ:  # to import the module; pytest then counts for every test
    stack = open("stack.txt", "w", encoding="utf-8")
    faulthandler.dump_traceback_later(float(os.environ["TITO_SECONDS"]), exit=True, file=stack)

def places(error, config):
    here = realpath(config.rootpath)
    return frames_of(error, lambda file: realpath(file).startswith(here))

@pytest.hookimpl(optionalhook=True)
def pytest_json_runtest_metadata(item, call):
    error = call.excinfo and call.excinfo.value
    return {"frames": places(error, item.config)} if error else {}

imports = []

def pytest_exception_interact(node, call):
    error = call.excinfo.value
    if not isinstance(node, pytest.Collector):
        return
    if isinstance(error, node.CollectError):  # pytest's own, in place of what an import raised
        error = error.__cause__ or error
    fact, frames = f"{type(error).__name__}: {error}", places(error, node.config)
    if isinstance(error, SyntaxError):
        fact = f"syntax error: {error.msg}"
        frames.append((error.filename or "", error.lineno or 1, "<module>"))
    imports.append({"fact": fact.removesuffix(": "), "frames": frames})

@pytest.hookimpl(optionalhook=True)
def pytest_json_modifyreport(json_report):
    json_report["imports"] = imports

def pytest_runtest_logreport(report):
    report.sections = [(name, text[-2000:]) for name, text in report.sections]
    if report.when == "call" or report.outcome == "failed":
        with open("done.txt", "a", encoding="utf-8") as done:
            done.write(f"{report.outcome} {report.nodeid}\\n")
"""
TEST_SECONDS = 30.0  # for one unit test
MARGIN = 3.0  # seconds after which a test is ended that did not end itself in time
SAID = 1 << 16  # characters that are kept of what pytest said
LINGER = 0.1  # seconds between two looks at whether a silent process has ended
DONE = "done.txt"  # what the tests told that have ended, a line each

Runner = Callable[[Path, Checkpoint, list[str]], "Stopped | None"]

_BEGUN = re.compile(r"\.py::(\w+)(?:\[[^\n]*\])? ")  # as pytest's -v names a test that begins


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

    @property
    def count(self) -> str:
        """How many passed of those that ran, in words."""
        if not self.tests:
            return "they did not run to the end"
        count = f"{self.passed} of {len(self.tests)} passed"
        return count if self.ran else f"{count}, and the rest did not run"


def lay_out(root: Path, ladder: Ladder, rung: Checkpoint, folder: Path) -> ModuleSource:
    """Write a temporary tree: the package as exported now, and the module with its tests.

    Line N of the temporary module is line N of the student's file, under the same relative
    path, so that what pytest prints can be opened as it stands.

    Returns:
        The module as it was laid out.

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
    return module


def run_unit_tests(
    root: Path, ladder: Ladder, rung: Checkpoint, arguments: list[str], colour: bool
) -> int:
    """Run a module's unit tests with pytest and return its exit status.

    `arguments` go to pytest: `-k sum` chooses tests, `-x` stops at the first failure.
    """
    with workspace("tito-test-") as folder:
        lay_out(root, ladder, rung, folder)
        shown = ["-q", "--no-header", f"--color={'yes' if colour else 'no'}", *arguments]
        return subprocess.run(**_command(folder, rung, shown), check=False).returncode


def _command(folder: Path, rung: Checkpoint, arguments: list[str]) -> dict[str, Any]:
    """How to run pytest on the module laid out in a folder: the arguments of a process."""
    command = [sys.executable, "-P", "-m", "pytest", rung.source, "--import-mode=importlib"]
    environment = pytest_environment() | {
        "PYTHONPATH": str(folder),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return {"args": [*command, *arguments], "cwd": folder, "env": environment}


def problem_below(root: Path, ladder: Ladder, rung: Checkpoint) -> FileProblem | None:
    """The first problem of a module that this one builds on: it cannot be imported there."""
    needs = (export_one(root, ladder.by_id[i]) for i in ladder.transitive_needs(rung.id))
    return next((result.problem for result in needs if result.problem), None)


def following(tell: Callable[[str], object], seconds: float = TEST_SECONDS) -> Runner:
    """A runner that tells the name of each test as it begins, and ends one that lasts too long."""

    def run(folder: Path, rung: Checkpoint, arguments: list[str]) -> Stopped:
        # It gives up by itself, and says where; but it runs a student's code.
        limits = {"faulthandler_timeout": seconds, "faulthandler_exit_on_timeout": "true"}
        limited = [word for key, value in limits.items() for word in ("-o", f"{key}={value}")]
        how = _command(folder, rung, ["-v", "--no-summary", *limited, *arguments])
        how |= {"stdin": subprocess.DEVNULL, "start_new_session": os.name == "posix"}
        how["env"] |= {"TITO_SECONDS": str(seconds)}
        at = said = line = ""
        with subprocess.Popen(**how, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            deadline = Deadline(seconds + MARGIN, lambda: end_group(process))
            try:
                deadline.put_off()
                for told in _told(process):
                    said, line = (said + told)[-SAID:], line + told
                    for begun in _BEGUN.finditer(line):
                        at = begun[1]
                        deadline.put_off()
                        tell(at)
                    line = line.rpartition(" ")[2][-SAID:]
            except KeyboardInterrupt:
                for begun in _BEGUN.finditer(line + _unread(process)):
                    tell(begun[1])  # the one to name
                raise
            finally:  # Ctrl-C too: nothing may run on, of what the tests have started either
                deadline.cancel()
                end_group(process)
        trace = said.rpartition("Timeout (")[2] if "Timeout (" in said else _stack(folder)
        return Stopped(at, seconds, trace, late=bool(trace) or deadline.over)

    return run


def _unread(process: "subprocess.Popen[bytes]") -> str:
    """What a process has said and nobody has read, where that can be known."""
    if os.name != "posix" or process.stdout is None:
        return ""
    file = process.stdout.fileno()
    ready = select.select([file], [], [], 0)[0]
    return os.read(file, 1 << 16).decode(errors="replace") if ready else ""


def _stack(folder: Path) -> str:
    """Where the import of the module was when its time was up, or nothing."""
    with suppress(OSError):
        return (folder / "stack.txt").read_text(encoding="utf-8", errors="replace")
    return ""


def _told(process: "subprocess.Popen[bytes]") -> Iterator[str]:
    """What a process says until it ends; whoever inherited its output is not waited for."""
    assert process.stdout is not None
    file, ended = process.stdout.fileno(), False
    while True:
        if os.name == "posix" and not select.select([file], [], [], 0 if ended else LINGER)[0]:
            if ended:
                return
            ended = process.poll() is not None
        elif data := os.read(file, 1 << 16):
            yield data.decode(errors="replace")
        else:
            return


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
    with nullcontext(folder) if folder else workspace("tito-test-") as folder:
        places = Places(ladder, rung, folder, lay_out(root, ladder, rung, folder))
        raw, done = folder / "raw.json", folder / DONE
        for path in (raw, done):
            path.unlink(missing_ok=True)
        wanted = ["--tb=short", "-p", "pytest_jsonreport.plugin", "--json-report", *arguments]
        wanted += [f"--json-report-file={raw}", "--json-report-omit=log,keywords"]
        ended = (runner or following(lambda name: None))(folder, rung, wanted)
        try:
            told = json.loads(raw.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return _cut_off(ended or Stopped("", 0.0, late=False), done, places, begin)
        failures, tests = failures_of(told, places), tests_of(told, places)
    problem = problem_below(root, ladder, rung) if failures else None
    if problem is not None:
        first = Failure(
            fit(f"an earlier module cannot be used: {problem.message}"),
            hint=problem.mend,
            file=problem.file,
            line=problem.line,
            command=f"tito module complete {rung.id}",
        )
        failures = (first, *failures)
    passed = sum(test.status == "passed" for test in tests)
    return UnitTests(passed, failures, time.perf_counter() - begin, bool(tests), tests)


def _cut_off(ended: Stopped, done: Path, places: Places, begin: float) -> UnitTests:
    """What is known of unit tests whose process was gone before it could report."""
    lines: list[str] = []
    if done.is_file():
        lines = done.read_text(encoding="utf-8", errors="replace").splitlines()
    tests = tests_done(lines, ended, places)
    passed = sum(test.status == "passed" for test in tests)
    seconds = time.perf_counter() - begin
    return UnitTests(passed, (stopped(ended, places),), seconds, False, tests, ended.late)
