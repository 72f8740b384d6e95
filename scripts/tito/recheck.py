"""Check a module again at once: its unit tests and its checkpoint, beside each other.

Both run in processes that have imported everything before they are needed. The checkpoint is
isolated as ever; its result goes into report.json.
"""

import ast
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from tito.aside import keep_aside
from tito.deadline import Deadline
from tito.export import export_one
from tito.files import FileProblem, read_bytes, read_text
from tito.grading.grade import grade, new_seed
from tito.grading.merge import merged
from tito.grading.run import Begun
from tito.grading.standby import STACK, Standby, end
from tito.ladder import Checkpoint, Ladder
from tito.progress import REPORT, Progress, load_progress
from tito.report import SIZE_LIMIT, Report, ReportError, load_report, save_report
from tito.source import ModuleSource, parse
from tito.unit_outcomes import Stopped
from tito.unittests import UnitTests, check_unit_tests

UNIT_SECONDS = 10.0  # for the unit tests of one module together
MARGIN = 2.0  # seconds after which they are ended, if they did not end themselves in time


class Running(NamedTuple):
    """How far a part of a check is: tests done, in all if that is known, and the last one told."""

    check: int
    part: Literal["units", "checkpoint"]
    done: int
    total: int | None
    test: str


class UnitsDone(NamedTuple):
    """What the unit tests gave: a result, or the problem of the module."""

    check: int
    units: UnitTests | None
    problem: FileProblem | None = None


class CheckpointDone(NamedTuple):
    """What the checkpoint gave is in the progress now; `trouble` says why there is nothing.

    `note` says what else happened to the report.
    """

    check: int
    progress: Progress
    trouble: str = ""
    note: str = ""


Answer = UnitsDone | CheckpointDone


def changed_steps(before: ModuleSource | None, after: ModuleSource) -> tuple[int, ...]:
    """The steps whose code differs; empty if anything outside the steps does, or nothing."""
    if before is None:
        return ()
    old, new = _code(before), _code(after)
    changed = {step for step in {*old, *new} if old.get(step) != new.get(step)}
    return () if None in changed else tuple(sorted(s for s in changed if s is not None))


def _code(module: ModuleSource) -> dict[int | None, list[str]]:
    """The lines of code by step."""
    found: dict[int | None, list[str]] = {}
    for cell in module.cells:
        if cell.role != "prose":
            lines = [line for line in module.lines[cell.start : cell.end] if line.strip()]
            found.setdefault(cell.step, []).extend(lines)
    return found


def unit_tests_of(module: ModuleSource, steps: tuple[int, ...]) -> list[str]:
    """The names of the unit tests of some steps; none if they have no tests of their own."""
    names = []
    for cell in module.cells:
        if cell.role == "test" and cell.step in steps:
            with suppress(SyntaxError):
                tree = ast.parse("\n".join(module.lines[cell.start : cell.end]))
                functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
                names += [name for name in functions if name.startswith("test_")]
    return names


class Recheck:
    """Runs one check at a time; a new one ends the one before.

    Args:
        root: The tree.
        ladder: Its ladder.
        tell: Gets a `UnitsDone` and a `CheckpointDone` for each check, from threads of its own.
        follow: Gets a `Running` whenever a test begins or ends.
    """

    def __init__(
        self,
        root: Path,
        ladder: Ladder,
        tell: Callable[[Answer], None],
        follow: Callable[[Running], None] = lambda running: None,
    ):
        self.root, self.ladder, self.tell, self.follow = root, ladder, tell, follow
        self.number = 0
        self._sessions, self._units = Standby("session"), Standby("units")
        self._lock = threading.Lock()
        self._running: list[tuple[int, subprocess.Popen[bytes]]] = []
        self._threads: list[threading.Thread] = []
        self._seed = new_seed()
        self._folder = Path(tempfile.mkdtemp(prefix="tito-watch-")).resolve()

    def warm(self) -> None:
        """Have a process wait for the next check of each kind."""
        self._sessions.renew()
        self._units.renew()

    def check(
        self, rung: Checkpoint, steps: tuple[int, ...] = (), last: Report | None = None
    ) -> int:
        """Begin to check a module: the unit tests of some steps, or all, and the checkpoint.

        `last` is the report as it was last read: what is put into it is made with its seed.
        """
        self.cancel()
        self._seed = last.seed if last else self._seed
        self.number += 1
        problem = export_one(self.root, rung).problem
        if problem is not None:  # perhaps half a save: the last report stays as it is
            self.tell(UnitsDone(self.number, None, problem))
            progress = load_progress(self.root, self.ladder)
            self.tell(CheckpointDone(self.number, progress, "not run: the module cannot be read"))
            return self.number
        jobs = [(self._test, (self.number, rung, steps)), (self._grade, (self.number, rung))]
        self._threads = [threading.Thread(target=f, args=a, daemon=True) for f, a in jobs]
        for thread in self._threads:
            thread.start()
        return self.number

    @property
    def busy(self) -> bool:
        """Whether a check is under way."""
        return any(thread.is_alive() for thread in self._threads)

    def cancel(self) -> None:
        """End what is running; it tells nothing more that counts."""
        with self._lock:
            for _, process in self._running:
                process.terminate()
            self.number += 1  # what has yet to start a process does not
        for thread in self._threads:
            thread.join(10)
        self._threads = []

    def close(self) -> None:
        """End every process and remove what was laid out."""
        self.cancel()
        self._sessions.close()
        self._units.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, standby: Standby, check: int, job: dict[str, Any]) -> Begun:
        """Take the waiting process for a check that still counts."""
        with self._lock:
            begun = standby.begin(job)
            self._running = [(n, p) for n, p in self._running if p.poll() is None]
            self._running.append((check, begun[0]))
            if check != self.number:
                begun[0].terminate()
            return begun

    def _test(self, check: int, rung: Checkpoint, steps: tuple[int, ...]) -> None:
        """Run the unit tests and tell."""

        def runner(folder: Path, rung: Checkpoint, arguments: list[str]) -> Stopped | None:
            module = parse(read_text(self.root, rung.source), rung.source)
            wanted = [f"{rung.source}::{name}" for name in unit_tests_of(module, steps)]
            words = [*(wanted or [rung.source]), "-q", "--import-mode=importlib", *arguments]
            job = {"folder": str(folder), "arguments": words, "installed": True}
            job["seconds"] = UNIT_SECONDS
            return run_units(*self._begin(self._units, check, job), job, tell)

        def tell(done: int, total: int, test: str) -> None:
            self.follow(Running(check, "units", done, total, test))

        units, problem = None, None
        try:
            folder = self._folder / rung.id
            units = check_unit_tests(self.root, self.ladder, rung, folder=folder, runner=runner)
        except FileProblem as found:
            problem = found
        except Exception as error:  # whatever it is, somebody waits for an answer
            problem = FileProblem(rung.source, f"could not be tested: {error}", "save it again")
        self.tell(UnitsDone(check, units, problem))

    def _grade(self, check: int, rung: Checkpoint) -> None:
        """Run the checkpoint, put its result into the report, and tell."""
        trouble, note, done = "", "", 0
        report: Report | Path = REPORT

        def progress(message: dict[str, Any]) -> None:
            nonlocal done
            done += message["status"] != "running"
            total = message.get("tests")  # a released session of an earlier version does not say
            self.follow(Running(check, "checkpoint", done, total, message["test"]))

        try:
            if not (self.root / rung.file).is_file():
                raise FileProblem(rung.file, "is missing", f"git checkout HEAD -- {rung.file}")
            new = grade(
                self.root, self.ladder, [rung], seed=self._seed, progress=progress,
                begin=lambda job: self._begin(self._sessions, check, job),
            )  # fmt: skip
            if check == self.number:
                report, note = self._put_in(rung, new)
        except Exception as error:  # whatever it is, somebody waits for an answer
            trouble = str(error) or type(error).__name__
        now = load_progress(self.root, self.ladder, report)
        self.tell(CheckpointDone(check, now, trouble, note))

    def _put_in(self, rung: Checkpoint, new: Report) -> tuple[Report, str]:
        """Put a result into the report as it is now: another command may have written it
        meanwhile. One that cannot be read is kept aside, which the words say.

        Raises:
            FileProblem: If what is in its place cannot be kept aside.
        """
        last, note, path = None, "", self.root / REPORT
        if path.exists() or path.is_symlink():
            try:
                last = load_report(path)
            except ReportError:
                data = read_bytes(self.root, str(REPORT), SIZE_LIMIT)
                kept = keep_aside(self.root, str(REPORT), data)
                note = f"{REPORT} could not be read and is begun anew; the old one is in {kept}"
        rungs = self.ladder.checkpoints
        here = [r.id for r in rungs if (self.root / r.file).is_file()]
        report = merged(self.ladder, last, new, [rung.id], here)
        save_report(report, path)
        return report, note


Tell = Callable[[int, int, str], object]  # tests done, tests in all, the test that begins


def run_units(
    process: "subprocess.Popen[bytes]", errors: IO[bytes], job: dict[str, Any], tell: Tell
) -> Stopped:
    """Hand unit tests to a waiting process; says what was under way if they did not end."""
    stack = Path(job["folder"]) / STACK
    stack.write_bytes(b"")  # not removed: Windows does not while a process that ends has it open
    # It gives up by itself, and says where; but it runs a student's code.
    deadline = Deadline(job["seconds"] + MARGIN, process.terminate)
    at = ""
    with errors, process:
        deadline.put_off()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(OSError):  # it has ended; Windows has no BrokenPipeError
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
            for line in process.stdout:
                with suppress(ValueError):  # whatever else a student's code may write there
                    done, total, at = line.decode(errors="replace").strip().split(" ", 2)
                    tell(int(done), int(total), at)
        finally:
            deadline.cancel()
            end(process)
    trace = stack.read_text(encoding="utf-8", errors="replace") if stack.is_file() else ""
    return Stopped(at, job["seconds"], trace, late=bool(trace) or deadline.over)
