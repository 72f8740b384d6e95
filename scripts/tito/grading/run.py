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
from dataclasses import asdict, dataclass, field, replace
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tito.custom import module_of
from tito.files import FileProblem, read_text
from tito.grading.pristine import LAUNCH
from tito.grading.score import Run
from tito.grading.snapshot import Snapshot
from tito.isolation.limits import protect_grader
from tito.ladder import AnyRung, Checkpoint, Custom, Ladder
from tito.loops import Loop, down_to_loop, loops_in
from tito.processes import end_group, workspace
from tito.render.failure import LOOP, ROUNDS, last_lines, named_after
from tito.report import Failure, Frame, Outcome
from tito.source import ModuleSource, parse

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
ALIKE = 0.6  # two names that may be meant for one another
# The student's code chooses both the name that is missing and those that are there, and comparing
# two takes up to the cube of their length: in this process, outside every deadline.
NAME_MOST = 100  # characters of a name that is compared
NAMES_MOST = 500  # definitions of a module among which the nearest is looked for
NEAREST = 10  # names that share the most letters, to be compared in full
CALL_MOST = 400  # characters of a call, as a report keeps it
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
    said = {"rung": rung, "test": _cut(test, WORD_MOST), "status": status}
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


class _Places:
    """Where names stand in the student's files; each file is parsed once."""

    def __init__(self, root: Path, ladder: Ladder):
        self.root, self.ladder = root, ladder
        self.parsed: dict[str, ModuleSource | None] = {}
        self.looped: dict[str, dict[int, Loop]] = {}

    def source(self, rung: Checkpoint) -> ModuleSource | None:
        """The parsed module of a rung, or None if it has a problem."""
        if rung.id not in self.parsed:
            try:
                self.parsed[rung.id] = parse(read_text(self.root, rung.source), rung.source)
            except FileProblem:
                self.parsed[rung.id] = None
        return self.parsed[rung.id]

    def rung(self, module: str, file: str) -> Checkpoint | None:
        """The rung of a module's name, else of a file."""
        rungs = self.ladder.checkpoints
        named = next((r for r in rungs if module and r.module == module), None)
        return named or next((r for r in rungs if r.source == file), None)

    def line(self, rung: Checkpoint, verdict: dict[str, Any]) -> int | None:
        """The line to open in a rung's file: of what was called, else of what was asked for."""
        module = self.source(rung)
        call = _cut((verdict["failure"] or {}).get("call"), CALL_MOST)
        try:
            return module.place(verdict["of"], verdict["step"], call) if module else None
        except FileProblem:
            return None

    def named(self, file: str, call: str, kind: str) -> int | None:
        """The line where what a call names is defined, such as that of sum for `Tensor.sum`."""
        rung = self.rung("", file)
        module = self.source(rung) if rung else None
        try:
            return module.named(_cut(call, CALL_MOST), kind) if module else None
        except FileProblem:
            return None

    def defined(self, file: str, name: str) -> int | None:
        """The line where a file defines a function or class, by its whole name."""
        rung = self.rung("", file)
        module = self.source(rung) if rung else None
        try:
            return module.definitions.get(name) if module else None
        except FileProblem:
            return None

    def missing(self, name: str, rung: Checkpoint) -> tuple[int | None, str]:
        """The line to open for a name that is not in a rung's file, and the nearest that is.

        Without a nearest one it is the class that lacks the name, or else no line.
        """
        module = self.source(rung)
        try:
            lines = module.definitions if module else {}
        except FileProblem:
            lines = {}
        holder, dot, last = name.rpartition(".")
        names = list(islice(lines, NAMES_MOST))
        inside = [n for n in names if n.rpartition(".")[0] == holder]
        if dot and holder not in lines:  # the class of a test: a base of it is here
            inside = [n for n in names if "." in n]
        near = _nearest(last, inside)
        return (lines[near], near.rpartition(".")[2]) if near else (lines.get(holder), "")

    def loops(self, file: str) -> dict[int, Loop]:
        """The loops in a student's file, by line."""
        if file not in self.looped:
            rung = next((r for r in self.ladder.checkpoints if r.source == file), None)
            module = self.source(rung) if rung else None
            self.looped[file] = {}
            with suppress(FileProblem):
                self.looped[file] = loops_in(module.tree) if module else {}
        return self.looped[file]

    def step(self, file: str, line: int) -> int | None:
        """The step that a line of a student's file belongs to."""
        rung = next((r for r in self.ladder.checkpoints if r.source == file), None)
        module = self.source(rung) if rung else None
        return module.step_of(line) if module else None


def _nearest(name: str, others: list[str]) -> str:
    """The one whose last part is most like a name, capitals or not; "" where none is alike.

    Among equals it is one that begins the same.
    """
    from difflib import SequenceMatcher

    if len(name) > NAME_MOST:
        return ""
    matcher = SequenceMatcher(None, b=name.lower())
    close: list[tuple[float, int, str]] = []  # by what their likeness is at most
    for number, other in enumerate(others):
        last = other.rpartition(".")[2]
        matcher.set_seq1(last.lower())
        if len(last) <= NAME_MOST and (most := matcher.quick_ratio()) >= ALIKE:
            close.append((most, -number, other))
    near, best = "", (ALIKE, False)
    for _, _, other in nlargest(NEAREST, close):
        last = other.rpartition(".")[2]
        matcher.set_seq1(last.lower())
        likeness = matcher.ratio(), name[:1] == last[:1]
        if likeness > best or (not near and likeness == best):
            near, best = other, likeness
    return near


def _cut(text: Any, limit: int) -> str:
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


def _failure(verdict: dict[str, Any], outcome: Outcome, rung: AnyRung, places: _Places) -> Failure:
    """The parts of a failure, with the line to open: where it was raised, else what was asked."""
    parts = verdict["failure"]
    frames = tuple(
        Frame(_cut(f["file"], 300), max(1, int(f["line"])), _cut(f["function"], 120))
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
    hint = _cut(parts.get("hint") or _own_hint(outcome, parts, step), 400)
    if parts.get("stub") and parts["stub"]["module"] != module_of(rung):
        hint = f"an earlier module comes first: tito checkpoint run {parts['stub']['module']}"
    return Failure(
        headline=_cut(headline, 400),
        call=_cut(parts.get("call"), 400),
        asked=_cut(parts.get("asked") or outcome.asked, 400),
        expected=_cut(parts.get("expected"), 1000),
        got=_cut(parts.get("got"), 1000),
        detail=_cut(parts.get("detail"), 1000),
        hint=hint,
        file=file,
        line=line,
        step=step,
        command=f"tito checkpoint run {rung.id}",
        output=_cut(last_lines(parts.get("output") or ""), 4000),
        traceback=frames,
    )


def _outcome(raw: dict[str, Any], rung: AnyRung, places: _Places) -> Outcome:
    """One test of pytest-json-report's file, with our verdict beside its own outcome."""
    verdict = raw.get("metadata", {}).get("verdict")
    phases = (raw.get(phase, {}) for phase in ("setup", "call", "teardown"))
    duration = sum(phase.get("duration", 0.0) for phase in phases)
    name = _cut(raw["nodeid"].partition("::")[2], 120)
    if verdict is None or not verdict["kind"]:
        failure = Failure(f"{name}: did not run"[:79], got=_cut(raw.get("outcome"), 1000))
        return Outcome(name, "functionality", "error", duration=duration, failure=failure)
    about = places.ladder.find(verdict["module"] or module_of(rung))
    status = verdict["status"]
    outcome = Outcome(
        name=name,
        kind=verdict["kind"],
        status="error" if status == "passed" and raw["outcome"] != "passed" else status,
        asked=_cut(verdict["asked"], 400),
        duration=duration,
        step=verdict["step"],
        of=_cut(verdict["of"], 120),
        hint=_cut(verdict["hint"], 400),
        file=about.source,
        line=places.line(about, verdict),
    )
    if verdict["failure"] is None:
        return outcome
    return replace(outcome, failure=_failure(verdict, outcome, rung, places))


def _collect(
    outcome: LadderOutcome, raw: dict[str, Any], rungs: list[AnyRung], places: _Places
) -> None:
    """Sort the tests of a raw report by rung; a file that was not collected gets a message."""
    by_file = {Path(rung.file).name: rung for rung in rungs}
    tests: dict[str, list[Outcome]] = {rung.id: [] for rung in rungs}
    for test in raw.get("tests", []):
        rung = by_file[Path(test["nodeid"].partition("::")[0]).name]
        tests[rung.id].append(_outcome(test, rung, places))
    failed = {
        Path(c["nodeid"]).name: _cut(c.get("longrepr"), MESSAGE_LIMIT)
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
    outcome, places = LadderOutcome(), _Places(root, ladder)
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
        message = _cut(f"its session gave no usable result: {error!r}", MESSAGE_LIMIT)
        outcome.runs |= {rung.id: Run(trouble="error", message=message) for rung in own}
    return outcome


def _run_group(
    outcome: LadderOutcome,
    job: dict[str, Any],
    waiting: list[AnyRung],
    places: _Places,
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
        outcome.runs[lost.id] = Run(trouble="error", message=_cut(message, MESSAGE_LIMIT))
        waiting = [rung for rung in waiting if rung != lost]
