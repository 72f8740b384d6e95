"""Run checkpoints in a trusted session of their own, and collect the outcome of each test."""

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from tito.grading.failures import cut, outcome_of
from tito.grading.places import Places
from tito.grading.pristine import LAUNCH
from tito.grading.score import Run
from tito.grading.snapshot import Snapshot
from tito.isolation.limits import protect_grader
from tito.ladder import AnyRung, Custom, Ladder
from tito.processes import end_group, workspace
from tito.report import Outcome

PASSED_ON = tuple("PATH LANG LC_ALL TMPDIR TEMP TMP SYSTEMROOT HOME USERPROFILE".split())
# One thread unless asked for more: idle threads of BLAS spin, and `timed` would count that as work.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
SESSION_MARGIN = 60.0  # seconds for start-up and collection, beyond the checkpoints' own budgets
MESSAGE_LIMIT = 2000  # characters
ROOM = 1 << 20  # bytes that a session may want in its temporary folder
RAW_LIMIT = 64 << 20  # bytes of a session's raw report; the ladder's has a half of a million
LINE_LIMIT = 1 << 20  # bytes of one message of a session
WORD_MOST = 120  # characters of a test's name, or of its status, in a message
COUNT_MOST = 1_000_000  # tests that a session may say a checkpoint has
LINGER = 0.1  # seconds between two looks at whether a silent session has ended
TESTS_MOST = 200  # of one checkpoint: a report holds no more
NO_MESSAGE = "it printed what is no message"
RAW_REPORT = "raw.json"  # what pytest-json-report writes into the job's folder


@dataclass
class LadderOutcome:
    """What the sessions gave: a run per rung, and what the isolation and the machine offered."""

    runs: dict[str, Run] = field(default_factory=dict)
    isolation: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    session_bytes: int | None = None
    spending: dict[str, dict[str, Any]] = field(default_factory=dict)


Progress = Callable[[dict[str, Any]], None]
Begun = tuple["subprocess.Popen[bytes]", IO[bytes]]
Begin = Callable[[dict[str, Any]], Begun]


def session_environment() -> dict[str, str]:
    """A short environment for the session: no token, no PYTEST_ADDOPTS, no path additions."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    threads = {name: os.environ.get(name, "1") for name in THREADS}
    return kept | threads | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def begin_session(job: dict[str, Any], *, start_new_session: bool = False) -> Begun:
    """Start the process of one session; the file takes its complaints."""
    command = [sys.executable, "-I", "-m", "tito.grading.session"]
    if not job["installed"]:
        command = [sys.executable, "-I", "-c", LAUNCH, job["root"]]
    errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in _session
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=session_environment(),
        cwd=job["folder"],
        start_new_session=start_new_session,
    ), errors


def begin_apart(job: dict[str, Any]) -> Begun:
    """Start a session that runs a student's own checkpoints, in a process group of its own."""
    return begin_session(job, start_new_session=os.name == "posix")


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[bytes]:
    """The lines a process prints until it ends; whoever inherited its output is not waited for."""
    assert process.stdout is not None
    if os.name != "posix":
        yield from process.stdout
        return
    file, rest, ended = process.stdout.fileno(), b"", False
    while True:
        if not select.select([file], [], [], 0 if ended else LINGER)[0]:
            if ended:
                return
            ended = process.poll() is not None
            continue
        data = os.read(file, 65536)
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
        if not data:
            return
        if len(rest) > LINE_LIMIT or (ended and not lines):
            raise ValueError(NO_MESSAGE)


def _message(line: bytes, rungs: list[str]) -> dict[str, Any]:
    """What a session says of a test; that of a student's own checkpoints may print anything.

    A released session of an earlier version does not say how many `tests` there are.

    Raises:
        ValueError: If it is not as agreed.
    """
    try:
        message = json.loads(line)
        rung, test, status = message["rung"], message["test"], message["status"]
        tests = message.get("tests", 0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ValueError(NO_MESSAGE) from None
    typed = type(rung) is type(test) is type(status) is str and type(tests) is int
    known = typed and rung in ("", *rungs)
    if not (known and len(status) <= WORD_MOST and 0 <= tests <= COUNT_MOST):
        raise ValueError(NO_MESSAGE)
    said = {"rung": rung, "test": cut(test, WORD_MOST), "status": status}
    return said | ({"tests": tests} if "tests" in message else {})


def _session(
    job: dict[str, Any], seconds: float, progress: Progress, begin: Begin
) -> tuple[dict | None, str]:
    """Run one session; returns its raw report, or None and the rung at which it ended."""
    at = job["rungs"][0]
    process, errors = begin(job)
    with errors, process:
        watchdog = threading.Timer(seconds, process.kill)
        watchdog.daemon = True  # Ctrl-C may come while it starts
        try:
            watchdog.start()
            assert process.stdin is not None
            assert process.stdout is not None
            # It may end at once: the missing report below says so. Windows has no BrokenPipeError.
            with suppress(OSError):
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
            for line in _lines(process):
                message = _message(line, job["rungs"])
                at = message["rung"] or at
                progress(message)
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()
            if begin is begin_apart:
                end_group(process)  # of what a student's own checkpoints left running
        path = Path(job["folder"]) / RAW_REPORT
        if path.is_file() and process.returncode in (0, 1):
            if path.stat().st_size > RAW_LIMIT:
                raise ValueError(f"its raw report has more than {RAW_LIMIT:,} bytes")
            with suppress(ValueError):  # cut off
                return json.loads(path.read_text(encoding="utf-8")), at
        _check_room(job["folder"])
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - MESSAGE_LIMIT))
        return None, f"{at}\n{errors.read().decode(errors='replace')}"


def _check_room(folder: str) -> None:
    """See whether a session was lost for want of room: no code of a student's is to blame then.

    Raises:
        OSError: What the system says, and of which folder.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, folder) from None


def _collect(
    outcome: LadderOutcome, raw: dict[str, Any], rungs: list[AnyRung], places: Places
) -> None:
    """Sort the tests of a raw report by rung; a file that was not collected gets a message."""
    by_file = {Path(rung.file).name: rung for rung in rungs}
    tests: dict[str, list[Outcome]] = {rung.id: [] for rung in rungs}
    for test in raw.get("tests", []):
        rung = by_file[Path(test["nodeid"].partition("::")[0]).name]
        tests[rung.id].append(outcome_of(test, rung, places))
    failed = {
        Path(c["nodeid"]).name: cut(c.get("longrepr"), MESSAGE_LIMIT)
        for c in raw.get("collectors", [])
        if c.get("outcome") == "failed"
    }
    extra = raw.get("tito", {})
    for rung in rungs:
        if len(tests[rung.id]) > TESTS_MOST:
            raise ValueError(f"{len(tests[rung.id])} tests, more than the {TESTS_MOST} allowed")
        reason = failed.get(Path(rung.file).name)
        message = f"{rung.file} could not be collected: {reason}" if reason else None
        outcome.runs[rung.id] = Run(
            tests=tuple(tests[rung.id]),
            trouble="error" if reason else None,
            message=message,
            peak_memory_bytes=extra.get("memory", {}).get(rung.id),
        )
    outcome.spending |= extra.get("spending", {})
    outcome.isolation = outcome.isolation or extra.get("isolation", {})
    outcome.machine = outcome.machine or extra.get("machine", {})
    outcome.session_bytes = outcome.session_bytes or extra.get("session_bytes")


def run_ladder(
    root: Path,
    ladder: Ladder,
    snapshot: Snapshot,
    rungs: list[AnyRung],
    *,
    seed: int,
    progress: Progress = lambda message: None,
    start: str | None = None,
    installed: bool = True,
    begin: Begin = begin_session,
    measure: bool = False,
) -> LadderOutcome:
    """Run the checkpoints of `rungs` against a snapshot of the student's package.

    One pytest session runs them all, and after it a second one the student's own checkpoints:
    they are the student's code, and could judge in the ladder's place in the first. If a session
    itself is lost, the rung it was at is charged with the loss and the others are run again
    without it.

    Args:
        root: The tree whose checkpoints/ are trusted.
        snapshot: The package under test, as text.
        rungs: Which checkpoints; those without a file are skipped.
        seed: Seeds the inputs of every test.
        progress: Called with {"rung", "test", "status", "tests"} as each test begins, its status
            being "running", and after it; `tests` is how many the rung has.
        start: How workers start: None for the best at hand, "fork" or "spawn".
        installed: Whether the installed tool judges, or that of `root`.
        begin: Starts the process of a session; it may have one ready.
        measure: Whether to note what each test spends.
    """
    package = {name: asdict(part) for name, part in snapshot.package.items()}
    protect_grader()  # this process holds the whole environment; the session gets a part of it
    outcome, places = LadderOutcome(), Places(root, ladder)
    here = [rung for rung in rungs if (root / rung.file).is_file()]
    own = [rung for rung in here if isinstance(rung, Custom) and rung.own]
    for rung in rungs:
        if isinstance(rung, Custom) and rung not in here:
            outcome.runs[rung.id] = Run(trouble="error", message=f"there is no file {rung.file}")
    job = {"root": str(root), "package": package, "seed": seed, "start": start}
    job |= {"installed": installed, "measure": measure}
    _run_group(outcome, job, [rung for rung in here if rung not in own], places, progress, begin)
    try:
        _run_group(outcome, job, own, places, progress, begin_apart)
    except Exception as error:  # whatever the student's own checkpoints made of their session
        message = cut(f"its session gave no usable result: {error!r}", MESSAGE_LIMIT)
        outcome.runs |= {rung.id: Run(trouble="error", message=message) for rung in own}
    return outcome


def _run_group(
    outcome: LadderOutcome,
    job: dict[str, Any],
    waiting: list[AnyRung],
    places: Places,
    progress: Progress,
    begin: Begin,
) -> None:
    """Run some rungs in one session, and again without the one at which a session was lost."""
    while waiting:
        with workspace("tito-grade-") as folder:
            this = job | {"rungs": [rung.id for rung in waiting], "folder": str(folder)}
            seconds = SESSION_MARGIN + sum(rung.seconds for rung in waiting)
            raw, at = _session(this, seconds, progress, begin)
        if raw is not None:
            _collect(outcome, raw, waiting, places)
            return
        said, _, details = at.partition("\n")
        lost = next((rung for rung in waiting if rung.id == said), waiting[0])
        message = f"the grading session ended during this checkpoint: {details}"
        outcome.runs[lost.id] = Run(trouble="error", message=cut(message, MESSAGE_LIMIT))
        waiting = [rung for rung in waiting if rung != lost]
