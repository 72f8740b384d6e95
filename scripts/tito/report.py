"""The report: the single fact about a push, as frozen dataclasses and as report.json.

`scripts/tito/report.schema.json` says the same in JSON Schema. Texts from a student's code are
kept as they came, only cut to length: whoever shows one escapes it (`tito.render.escape`).
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

from tito.files import ASIDE, FileProblem, read_bytes, write_atomic
from tito.record import Choice, Items, Match, Number, Record, RecordError, Text, Whole, record

SCHEMA_VERSION = 1
SIZE_LIMIT = 4 << 20  # bytes a reader accepts
WRITE_LIMIT = 480_000  # bytes; GitHub's GraphQL cuts larger files, and a gradebook reads it there

TEST_STATUSES = ("passed", "failed", "not_started", "error", "timeout")
STATUSES = ("passed", "partial", "failed", "not_started", "blocked", "error", "timeout")
KINDS = ("imports", "functionality", "integration", "performance")

Id = Annotated[str, Match("[0-9]{2}", "a checkpoint's two digits")]
Name = Annotated[str, Text(120)]
File = Annotated[str, Text(300)]
Line = Annotated[int, Whole(1, 10_000_000)]
Sentence = Annotated[str, Text(400)]
Value = Annotated[str, Text(1000)]
Output = Annotated[str, Text(4000)]
Points = Annotated[int, Whole(0, 1000)]
Count = Annotated[int, Whole(0, 100_000)]
Seconds = Annotated[float, Number(1e6)]
Bytes = Annotated[int, Whole()]
Moment = Annotated[
    str,
    Match(
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z",
        "a moment in UTC such as 2026-11-20T12:00:00Z",
    ),
]
Digest = Annotated[str, Match("[0-9a-f]{64}", "a SHA-256")]
Commit = Annotated[str, Match("[0-9a-f]{40}(?:[0-9a-f]{24})?", "a full commit hash")]
Repository = Annotated[str, Match("[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}", "OWNER/NAME")]


class ReportError(ValueError):
    """A report cannot be used: the message names the file, the JSON path, the value, the mend."""

    def __init__(self, file: str, path: str, fact: str, mend: str):
        super().__init__(f"{file}: {path}: {fact}; {mend}" if path else f"{file}: {fact}; {mend}")
        self.file, self.path, self.fact, self.mend = file, path, fact, mend


class NewerReport(ReportError):
    """A report of a later schema than this tool knows."""


def _require(ok: bool, path: str, fact: str) -> None:
    if not ok:
        raise RecordError(path, fact, "the parts of a report must agree")


@record
class Course(Record):
    """The course and the version of its tree."""

    name: Name
    version: Name


@record
class Environment(Record):
    """Where the grading ran; `ci` is true on an automated run."""

    python: Name
    numpy: Name
    blas: Name
    platform: Name
    cores: Count
    ci: bool


@record
class Layer(Record):
    """One layer of isolation, and why it was not active where it was not."""

    name: Name
    active: bool
    detail: Sentence


@record
class Isolation(Record):
    """How the graded code was kept apart from the grader; `start` is how its process began."""

    start: Annotated[str, Choice(("fork", "spawn", "none"))]
    layers: Annotated[tuple[Layer, ...], Items(30)]


@record
class Score(Record):
    """Points reached, of the points there are."""

    points: Points
    max: Points

    def check(self, path: str) -> None:
        _require(self.points <= self.max, path, f"{self.points} points of {self.max}")


@record
class Frame(Record):
    """One line of a traceback, innermost last; `file` is relative to the tree."""

    file: File
    line: Line
    function: Name


@record
class Failure(Record):
    """Why a test did not pass, in named parts; empty texts are left out when it is shown.

    `headline` stands alone in under 80 columns; `detail` says where values differ; `file` and
    `line` are the student's own, with the module's `step`; `command` repeats the test; `output`
    is what the student's code printed.
    """

    headline: Sentence
    call: Sentence = ""
    asked: Sentence = ""
    expected: Value = ""
    got: Value = ""
    detail: Value = ""
    hint: Sentence = ""
    file: File | None = None
    line: Line | None = None
    step: Count | None = None
    command: Name = ""
    output: Output = ""
    traceback: Annotated[tuple[Frame, ...], Items(30)] = ()


@record
class Outcome(Record):
    """One test: what it asks, and how it went.

    `of` is the function, method or class it is about, to be found at `file` and `line`;
    `kind` is null when the test ended before it could say so.
    """

    name: Name
    kind: Annotated[str, Choice(KINDS)] | None
    status: Annotated[str, Choice(TEST_STATUSES)]
    asked: Sentence = ""
    points: Points = 0
    max_points: Points = 0
    duration: Seconds = 0.0
    step: Count | None = None
    of: Name = ""
    hint: Sentence = ""
    file: File | None = None
    line: Line | None = None
    failure: Failure | None = None

    def check(self, path: str) -> None:
        earned = self.max_points if self.status == "passed" else 0
        _require(
            self.points == earned,
            f"{path}.points",
            f"{self.points} of {self.max_points} points, but the test is {self.status}",
        )


@record
class CheckpointResult(Record):
    """One rung. `blocked_by` names the prerequisites to mend first; `message` says what concerns
    the whole checkpoint; `source` is the student's file; `tier` is null for the setup.

    `source_digest` is that of the module as graded, `needs_digest` one over all the modules it
    builds on: with them a reader can tell whether the result is older than the tree.
    """

    id: Id
    module: Name
    name: Name
    question: Sentence
    stage: Name
    tier: Name | None
    source: File
    needs: Annotated[tuple[Id, ...], Items(100)]
    status: Annotated[str, Choice(STATUSES)]
    blocked_by: Annotated[tuple[Id, ...], Items(100)]
    points: Points
    max_points: Points
    duration: Seconds
    peak_memory_bytes: Bytes | None
    message: Output | None
    tests: Annotated[tuple[Outcome, ...], Items(200)]
    source_digest: Digest | None = None
    needs_digest: Digest | None = None

    @property
    def passed(self) -> int:
        """How many of the tests passed."""
        return sum(test.status == "passed" for test in self.tests)

    def check(self, path: str) -> None:
        _require(
            self.points == sum(test.points for test in self.tests),
            f"{path}.points",
            f"{self.points} points are not the sum of its tests' points",
        )
        most = sum(test.max_points for test in self.tests)
        _require(
            not self.tests or self.max_points == most,
            f"{path}.max_points",
            f"{self.max_points} points are not the sum of its tests' {most}",
        )


@record
class CustomResult(Record):
    """A checkpoint beyond the ladder; `own` ones are the student's, the others the course's.

    Its points are in the score only if it `counts`. `file` is the checkpoint itself.
    """

    id: Annotated[str, Match("C[1-9][0-9]{0,2}", "C and a number")]
    name: Name
    question: Sentence
    file: File
    own: bool
    counts: bool
    needs: Annotated[tuple[Id, ...], Items(100)]
    status: Annotated[str, Choice(STATUSES)]
    blocked_by: Annotated[tuple[Id, ...], Items(100)]
    points: Points
    max_points: Points
    duration: Seconds
    peak_memory_bytes: Bytes | None
    message: Output | None
    tests: Annotated[tuple[Outcome, ...], Items(200)]

    @property
    def passed(self) -> int:
        """How many of the tests passed."""
        return sum(test.status == "passed" for test in self.tests)

    @property
    def source(self) -> str:
        """What to open when it could not run: the checkpoint's own file."""
        return self.file

    def check(self, path: str) -> None:
        fact = f"{self.points} points are not the sum of its tests' points"
        _require(self.points == sum(test.points for test in self.tests), f"{path}.points", fact)
        fact = f"{self.points} points of {self.max_points}"
        _require(self.points <= self.max_points, f"{path}.points", fact)
        _require(not (self.own and self.counts), f"{path}.counts", "a student's own counts")


@record
class StageResult(Record):
    """A part of the journey; `passed` of its `total` rungs, its capability earned if complete."""

    name: Name
    short: Name
    capability: Sentence
    complete: bool
    points: Points
    max: Points
    passed: Count
    total: Count


@record
class TierResult(Record):
    """Modules taught together; `passed` of its `total` rungs."""

    name: Name
    complete: bool
    points: Points
    max: Points
    passed: Count
    total: Count


@record
class MilestoneRun(Record):
    """The recorded run of a milestone; `quick` tells the shortened run from the full one."""

    passed: bool
    quick: bool
    summary: Sentence
    duration: Seconds


@record
class MilestoneResult(Record):
    """A historical result, unlocked when all the rungs it requires have passed."""

    id: Name
    year: Annotated[int, Whole(1900, 2100)]
    title: Name
    requires: Annotated[tuple[Id, ...], Items(100)]
    unlocked: bool
    result: MilestoneRun | None


@record
class NextStep(Record):
    """What to do now: the lowest rung that has not passed, its file, and the command."""

    checkpoint: Id
    module: Name
    name: Name
    file: File
    line: Line | None
    command: Name
    why: Sentence


@record
class Problem(Record):
    """A file of the tree that could not be used, and how to mend it."""

    file: File
    line: Line
    message: Sentence
    mend: Sentence


@record
class ReflectionText(Record):
    """What a student wrote on a module's question; read by people, never scored."""

    id: Id
    module: Name
    words: Count
    text: Output


@record
class Integrity(Record):
    """The course's own files against the release's manifest (its version, or null if absent).

    `restored` are those of `modified` and `missing` whose released text the repository's history
    still had: they were graded as released.
    """

    manifest: Name | None
    modified: Annotated[tuple[File, ...], Items(500)]
    missing: Annotated[tuple[File, ...], Items(500)]
    unexpected: Annotated[tuple[File, ...], Items(500)]
    restored: Annotated[tuple[File, ...], Items(500)] = ()


@record
class Report(Record):
    """What one push of a TinyTorch tree is worth, and why.

    `level` is the highest id such that it and every id below it passed; `seed` made the random
    inputs; `next` is null when nothing is left to do. `custom` are the checkpoints beyond the
    ladder; only the score may know of them.
    """

    schema_version: Annotated[int, Whole(SCHEMA_VERSION, SCHEMA_VERSION)]
    course: Course
    ladder_version: Count
    generated_at: Moment
    repository: Repository | None
    commit: Commit | None
    branch: Annotated[str, Text(250)] | None
    seed: Bytes
    duration: Seconds
    environment: Environment
    isolation: Isolation
    score: Score
    level: Annotated[int, Whole(0, 99)] | None
    checkpoints: Annotated[tuple[CheckpointResult, ...], Items(100)]
    stages: Annotated[tuple[StageResult, ...], Items(20)]
    tiers: Annotated[tuple[TierResult, ...], Items(20)]
    milestones: Annotated[tuple[MilestoneResult, ...], Items(30)]
    next: NextStep | None
    problems: Annotated[tuple[Problem, ...], Items(100)]
    integrity: Integrity
    reflections: Annotated[tuple[ReflectionText, ...], Items(100)] = ()
    custom: Annotated[tuple[CustomResult, ...], Items(100)] = ()

    @property
    def scored(self) -> "tuple[CheckpointResult | CustomResult, ...]":
        """The checkpoints that the score is the sum of."""
        return (*self.checkpoints, *(c for c in self.custom if c.counts))

    @property
    def by_id(self) -> dict[str, CheckpointResult]:
        """The checkpoints by their two digits."""
        return {checkpoint.id: checkpoint for checkpoint in self.checkpoints}

    def check(self, path: str) -> None:
        ids = [c.id for c in self.checkpoints]
        _require(ids == sorted(set(ids)), f"{path}.checkpoints", "ids must rise, each once")
        for name, of in (("points", "points"), ("max", "max_points")):
            said, total = getattr(self.score, name), sum(getattr(c, of) for c in self.scored)
            fact = f"{said} is not the checkpoints' sum, {total}"
            _require(said == total, f"{path}.score.{name}", fact)
        passed = {c.id for c in self.checkpoints if c.status == "passed"}
        level = None
        for checkpoint_id in ids:
            if checkpoint_id not in passed:
                break
            level = int(checkpoint_id)
        fact = f"{self.level} does not follow from the checkpoints, which give {level}"
        _require(self.level == level, f"{path}.level", fact)
        stages = {stage.name for stage in self.stages}
        for i, c in enumerate(self.checkpoints):
            _require(c.stage in stages, f"{path}.checkpoints[{i}].stage", f"no stage {c.stage!r}")
            for known in (*c.needs, *c.blocked_by):
                _require(known in ids, f"{path}.checkpoints[{i}].needs", f"no checkpoint {known}")
        custom = [c.id for c in self.custom]
        _require(custom == list(dict.fromkeys(custom)), f"{path}.custom", "each id only once")
        for i, c in enumerate(self.custom):
            for known in (*c.needs, *c.blocked_by):
                _require(known in ids, f"{path}.custom[{i}].needs", f"no checkpoint {known}")
        if self.next is not None:
            _require(self.next.checkpoint in ids, f"{path}.next.checkpoint", "no such checkpoint")

    def with_less_detail(self) -> Iterable[Self]:
        """Yield this report, then ever smaller ones: without what the student's code printed,
        without tracebacks, with one failure a checkpoint, and at last with the reflections'
        words counted only."""
        yield self
        less = _map_failures(self, lambda failure, first: replace(failure, output=""))
        yield less
        less = _map_failures(less, lambda failure, first: replace(failure, traceback=()))
        yield less
        less = _map_failures(less, lambda failure, first: failure if first else None)
        yield less
        yield replace(less, reflections=tuple(replace(r, text="") for r in less.reflections))


def _map_failures(report: Report, change: Any) -> Report:
    """Rebuild a report with `change(failure, is the checkpoint's first)` for every failure."""

    def of(checkpoint: Any) -> Any:
        tests, first = [], True
        for test in checkpoint.tests:
            if test.failure is not None:
                test, first = replace(test, failure=change(test.failure, first)), False
            tests.append(test)
        return replace(checkpoint, tests=tuple(tests))

    checkpoints, custom = (tuple(map(of, them)) for them in (report.checkpoints, report.custom))
    return replace(report, checkpoints=checkpoints, custom=custom)


def _write(report: Report) -> str:
    """JSON text in which whatever could steer a terminal or reorder a line is an escape."""
    text = json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False, indent=1)
    bare = (c for c in set(text) if not c.isprintable() and c != "\n")
    return text.translate({ord(c): json.dumps(c)[1:-1] for c in bare}) + "\n"


def dump_report(report: Report) -> str:
    """Write a report as JSON text, with less detail if it would grow beyond `WRITE_LIMIT`."""
    text = ""
    for candidate in report.with_less_detail():
        text = _write(candidate)
        if len(text.encode()) <= WRITE_LIMIT:
            break
    return text


def save_report(report: Report, path: Path) -> None:
    """Write report.json whole or not at all."""
    write_atomic(path, dump_report(report))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("an object names a key twice")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


AGAIN = "write it again with: tito grade"


def parse_report(text: str, where: str = "report.json") -> Report:
    """Make a report from JSON text, strictly.

    Raises:
        ReportError: If anything is not as the schema says.
    """
    if len(text.encode("utf-8", "replace")) > SIZE_LIMIT:
        raise ReportError(where, "", f"larger than the {SIZE_LIMIT:,} bytes allowed", AGAIN)
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        fact = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ReportError(where, "", f"not valid JSON: {fact}", AGAIN) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        fact = f"written by a newer tito: schema version {version}, this one reads {SCHEMA_VERSION}"
        mend = "bring this tree's scripts up to date with: tito update"
        raise NewerReport(where, "$.schema_version", fact, mend)
    if isinstance(version, int) and version != SCHEMA_VERSION:
        fact = f"of schema version {version}, and this tito reads {SCHEMA_VERSION}"
        raise ReportError(where, "$.schema_version", fact, AGAIN)
    try:
        return Report.from_json(data, "")  # without a path nothing is spent on naming places
    except RecordError:
        pass
    try:
        return Report.from_json(data)
    except RecordError as error:
        raise ReportError(where, error.path, error.fact, f"{error.mend}, or {AGAIN}") from None


def load_report(path: Path) -> Report:
    """Read report.json: a regular file, within `SIZE_LIMIT`, valid.

    Raises:
        ReportError: If it is missing, cannot be read, or is not as the schema says.
    """
    try:
        data = read_bytes(path.parent, path.name, SIZE_LIMIT)
    except FileProblem as problem:
        mend = f"{ASIDE}, then: tito grade" if path.is_dir() else AGAIN
        raise ReportError(str(path), "", problem.message, mend) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        fact = f"not UTF-8 text (byte 0x{data[error.start]:02x} at {error.start})"
        raise ReportError(str(path), "", fact, AGAIN) from None
    return parse_report(text, str(path))
