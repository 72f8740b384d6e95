"""Where a student is: the last report held against the tree as it is now.

Nothing here is remembered: a report carries the digests of what it was graded from, so the same
files always give the same answer, and a result that is older than its sources is known for one.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from tito.files import EMPTY, MISSING, FileProblem, empty, read_text, text_digest
from tito.frozen import Frozen, frozen
from tito.ladder import Checkpoint, Ladder, Milestone
from tito.markers import BEGIN
from tito.report import (
    CheckpointResult,
    CustomResult,
    MilestoneResult,
    NewerReport,
    Report,
    ReportError,
    StageResult,
    TierResult,
    load_report,
)

REPORT = Path("report.json")
_STUB = re.compile(
    r'^[ \t]*raise NotImplementedError\("module (\d\d)(?:, step (\d+))?: ([\w.]+)"\)',
    re.MULTILINE,
)

Freshness = Literal["fresh", "changed", "affected", "unknown"]


class Stub(NamedTuple):
    """A step still to be written: the line of the stub that raises."""

    line: int
    step: int | None
    name: str


class Rung(NamedTuple):
    """One rung of the ladder as the last report and the tree show it.

    `result` is the last one there is, or None if the rung was never graded. It is `fresh` if the
    module and all it builds on are as they were then, `changed` if the module itself is not,
    `affected` if only something it builds on is not, and `unknown` without a result.
    `steps` counts the module's solutions, `stubs` are those still to be written.
    """

    checkpoint: Checkpoint
    here: bool
    problem: FileProblem | None
    steps: int
    stubs: tuple[Stub, ...]
    result: CheckpointResult | None
    freshness: Freshness

    @property
    def id(self) -> str:
        """The two digits."""
        return self.checkpoint.id

    @property
    def status(self) -> str:
        """The last known status, as a report spells it; `absent` where the tree has no module."""
        if self.result is not None:
            return self.result.status
        return "not_started" if self.here else "absent"

    @property
    def passed(self) -> bool:
        """Whether the last result is a pass."""
        return self.status == "passed"

    @property
    def stale(self) -> bool:
        """Whether the result is older than the sources it depends on."""
        return self.freshness in ("changed", "affected")

    @property
    def settled(self) -> bool:
        """Whether it passed, and nothing it depends on has changed since."""
        return self.passed and not self.stale

    @property
    def lost(self) -> bool:
        """Whether the module's file is gone, though the tree has had it."""
        return self.problem is not None and self.problem.message == MISSING

    @property
    def emptied(self) -> bool:
        """Whether nothing is left in the module's file."""
        return self.problem is not None and self.problem.message == EMPTY

    @property
    def untouched(self) -> bool:
        """Whether every step of the module is still a stub."""
        return bool(self.stubs) and len(self.stubs) >= self.steps


class Next(NamedTuple):
    """The one thing to do now: where to open, why, and the command to run."""

    command: str
    why: str
    rung: Checkpoint | None = None
    file: str | None = None
    line: int | None = None


@frozen
class Progress(Frozen):
    """Where the student is. `problem` says why a report that is there cannot be used.

    The tree is `outdated` if a newer release of its tool wrote that report.

    `stages`, `tiers` and `milestones` are the report's; without one, those of an empty ladder.
    `custom` are the checkpoints beyond the ladder, those without a result too, and
    `custom_problem` says why the student's own cannot be used.
    `runnable` are the milestones that are unlocked, here, and have no record of a run. `digests`
    has, by id, that of every module as it is now.
    """

    ladder: Ladder
    report: Report | None
    problem: str
    outdated: bool
    rungs: tuple[Rung, ...]
    stages: tuple[StageResult, ...]
    tiers: tuple[TierResult, ...]
    milestones: tuple[MilestoneResult, ...]
    runnable: tuple[Milestone, ...]
    custom: tuple[CustomResult, ...]
    custom_problem: str
    digests: Mapping[str, str]

    @cached_property
    def by_id(self) -> dict[str, Rung]:
        """The rungs by their two digits."""
        return {rung.id: rung for rung in self.rungs}

    @property
    def points(self) -> int:
        """The points of the last report."""
        return self.report.score.points if self.report else 0

    @property
    def level(self) -> int | None:
        """The level of the last report."""
        return self.report.level if self.report else None

    @property
    def passed(self) -> tuple[Rung, ...]:
        """The rungs that passed when they were last graded."""
        return tuple(rung for rung in self.rungs if rung.passed)

    @property
    def stale(self) -> tuple[Rung, ...]:
        """The rungs whose result is older than the sources."""
        return tuple(rung for rung in self.rungs if rung.stale)

    @property
    def changed(self) -> tuple[Rung, ...]:
        """The rungs whose own module changed since it was graded."""
        return tuple(rung for rung in self.rungs if rung.freshness == "changed")

    def causes(self, rung: Rung) -> tuple[Rung, ...]:
        """The changed modules that a rung builds on; none if what it builds on was graded since."""
        needs = self.ladder.transitive_needs(rung.id)
        return tuple(changed for changed in self.changed if changed.id in needs)

    @property
    def current(self) -> Rung | None:
        """The lowest rung of the tree that is not settled; None when all are."""
        return next((rung for rung in self.rungs if rung.here and not rung.settled), None)

    @property
    def next(self) -> Next:
        """What to do now."""
        return _next(self)

    def towards(self, checkpoint_id: str) -> Next:
        """What to do at a rung that something waits for."""
        rung = self.by_id[checkpoint_id]
        if not rung.here:
            why = f"this tree has no modules/{rung.checkpoint.folder} yet"
            return Next(f"tito checkpoint run {rung.id}", why, rung.checkpoint)
        return self.next if rung.settled else _at(self, rung)


def needs_digest(ladder: Ladder, checkpoint_id: str, digests: Mapping[str, str]) -> str:
    """One digest over all the modules that a rung builds on."""
    needs = ladder.transitive_needs(checkpoint_id)
    return text_digest("".join(f"{need} {digests.get(need, '-')}\n" for need in needs))


def find_stubs(text: str) -> tuple[Stub, ...]:
    """The stubs left in a module's text, without parsing it."""
    if "raise NotImplementedError(" not in text:
        return ()
    return tuple(
        Stub(text.count("\n", 0, found.start()) + 1, found[2] and int(found[2]), found[3])
        for found in _STUB.finditer(text)
    )


def stubs_of(root: Path, source: str) -> tuple[Stub, ...]:
    """The stubs left in a module's file; none where it cannot be read."""
    try:
        return find_stubs(read_text(root, source))
    except FileProblem:
        return ()


def is_untouched(root: Path, source: str) -> bool:
    """Whether every step of a module's file is still a stub."""
    try:
        text = read_text(root, source)
    except FileProblem:
        return False
    return 0 < text.count(BEGIN) <= len(find_stubs(text))


def _freshness(
    ladder: Ladder, result: CheckpointResult | None, digests: Mapping[str, str]
) -> Freshness:
    """How a result stands to the sources as they are now."""
    if result is None or result.needs_digest is None:
        return "unknown"
    if result.source_digest != digests.get(result.id):
        return "changed"
    same = result.needs_digest == needs_digest(ladder, result.id, digests)
    return "fresh" if same else "affected"


def _rungs(
    root: Path, ladder: Ladder, report: Report | None
) -> tuple[tuple[Rung, ...], dict[str, str]]:
    """Read every module once, and put its last result beside it; with the modules' digests."""
    texts: dict[str, str] = {}
    problems: dict[str, FileProblem] = {}
    for rung in ladder.checkpoints:
        try:
            text = texts[rung.id] = read_text(root, rung.source)
        except FileProblem as problem:
            problems[rung.id] = problem
        else:
            if not text.strip():
                problems[rung.id] = empty(rung.source)
    digests = {rung: text_digest(text) for rung, text in texts.items()}
    results = {c.id: c for c in report.checkpoints if c.tests or c.needs_digest} if report else {}
    found = []
    for rung in ladder.checkpoints:
        text, result = texts.get(rung.id, ""), results.get(rung.id)
        here = rung.id in texts or (root / "modules" / rung.folder).exists()
        here = here or (result is not None and result.source_digest is not None)
        found.append(
            Rung(
                checkpoint=rung,
                here=here,
                problem=problems.get(rung.id) if here else None,
                steps=text.count(BEGIN),
                stubs=find_stubs(text),
                result=result,
                freshness=_freshness(ladder, result, digests),
            )
        )
    return tuple(found), digests


def _runnable(
    root: Path, ladder: Ladder, milestones: tuple[MilestoneResult, ...]
) -> tuple[Milestone, ...]:
    """The unlocked milestones of this tree that have not been run."""
    waiting = {m.id for m in milestones if m.unlocked and m.result is None}
    folders = ((m, root / "milestones" / m.id) for m in ladder.milestones if m.id in waiting)
    return tuple(
        m
        for m, folder in folders
        if any(folder.glob("*.py")) and not (folder / "results" / "record.json").exists()
    )


def _custom(
    root: Path, ladder: Ladder, report: Report | None
) -> tuple[tuple[CustomResult, ...], str]:
    """The custom checkpoints that the tree names, or else those of the report; and what is wrong
    with the file of the student's own, whose results are then out of date."""
    known = report.custom if report else ()
    if not ladder.custom and not (root / "checkpoints" / "custom.toml").exists():
        return known, ""
    from tito.custom import customs
    from tito.grading.score import score_ladder

    trouble = ""
    try:
        named = customs(root, ladder)
    except FileProblem as problem:
        named, trouble = ladder.custom, str(problem)
    last = {result.name: result for result in known}
    unknown = {result.name: result for result in score_ladder(ladder, {}, custom=named).custom}
    return tuple(last.get(c.name, unknown[c.name]) for c in named), trouble


def _released(root: Path) -> bool:
    """Whether a tree was made by a release, and can take in a newer one."""
    from tito.manifest import MANIFEST_FILE

    return (root / MANIFEST_FILE).exists()


def load_progress(root: Path, ladder: Ladder, report: Path | Report | None = REPORT) -> Progress:
    """Say where the student is.

    Args:
        root: The tree.
        ladder: Its ladder.
        report: A report at hand, or the file it stands in; one that is missing or damaged gives
            a progress without results, and its `problem` says why.
    """
    problem, outdated = "", False
    if isinstance(report, Path):
        path, report = root / report, None
        if path.exists() or path.is_symlink():
            try:
                report = load_report(path)
            except ReportError as error:
                problem = str(error).replace(str(path), path.name)
                outdated = isinstance(error, NewerReport) and _released(root)
    if report is None:
        from tito.grading.score import score_ladder

        standing = score_ladder(ladder, {})
    else:
        standing = report
    rungs, digests = _rungs(root, ladder, report)
    custom, custom_problem = _custom(root, ladder, report)
    return Progress(
        ladder=ladder,
        report=report,
        problem=problem,
        outdated=outdated,
        rungs=rungs,
        digests=digests,
        stages=standing.stages,
        tiers=standing.tiers,
        milestones=standing.milestones,
        runnable=_runnable(root, ladder, standing.milestones),
        custom=custom,
        custom_problem=custom_problem,
    )


def _first_failure(rung: Rung) -> tuple[str | None, int | None]:
    """The place of the first test that was begun and did not pass, while it still holds."""
    if rung.result is None or rung.stale:
        return None, None
    for test in rung.result.tests:
        if test.status not in ("passed", "not_started"):
            place = test.failure if test.failure and test.failure.file else test
            return place.file, place.line
    return None, None


def _without_report(progress: Progress) -> Next:
    """The next step before anything was graded: begin, or see where you stand."""
    first = progress.current
    if progress.outdated:
        return Next("tito update", "the last report is of a newer tito than this tree's scripts")
    if first is None:
        return Next("git checkout HEAD -- modules", "this tree has no modules; bring them back")
    if first.untouched:
        return _open_step(first, "start")
    if first.stubs and not progress.problem:
        return _open_step(first, "test")
    reason = "the last report cannot be read" if progress.problem else "nothing was graded yet"
    return Next("tito grade", f"{reason}: this shows where you stand")


def _open_step(rung: Rung, action: Literal["start", "test"]) -> Next:
    """Write the first step that is still a stub."""
    stub, c = rung.stubs[0], rung.checkpoint
    if action == "start":
        return Next(f"tito module start {c.id}", c.question, c, c.source, stub.line)
    step = f"step {stub.step}" if stub.step else "a step"
    why = f"{step}, {stub.name}, is still to be written"
    return Next(f"tito test {c.id}", why, c, c.source, stub.line)


def _next(progress: Progress) -> Next:
    """Choose the next step: what is broken, then the lowest rung that is not settled."""
    rung = progress.current
    if progress.report is None and not (rung and rung.problem):
        return _without_report(progress)
    return _all_settled(progress) if rung is None else _at(progress, rung)


def _at(progress: Progress, rung: Rung) -> Next:
    """What to do at a rung that is not settled."""
    c = rung.checkpoint
    if rung.problem is not None:
        return _broken(progress, rung, rung.problem)
    if rung.passed and rung.stubs:
        return _open_step(rung, "start" if rung.untouched else "test")
    if rung.freshness == "affected" and rung.passed:
        changed = ", ".join(r.id for r in progress.causes(rung))
        why = f"{changed or 'a module'} changed since {c.id} was graded, which uses it"
        return Next("tito grade", why, c)
    if rung.passed:
        return Next(
            f"tito module complete {c.id}", "its module changed since it passed", c, c.source
        )
    file, line = _first_failure(rung)
    if file is not None:
        left = sum(test.status != "passed" for test in rung.result.tests) if rung.result else 0
        why = f"{left} of its tests {'does' if left == 1 else 'do'} not pass yet"
        return Next(f"tito checkpoint run {c.id}", why, c, file, line)
    if rung.stubs:
        return _open_step(rung, "start" if rung.untouched else "test")
    if rung.result is not None and not rung.stale:
        return Next(f"tito checkpoint run {c.id}", "its checkpoint does not pass yet", c, c.source)
    return Next(
        f"tito module complete {c.id}", "it is written, and still to be checked", c, c.source
    )


def _broken(progress: Progress, rung: Rung, problem: FileProblem) -> Next:
    """Mend a file that cannot be used; one that is lost comes back from the last commit."""
    c = rung.checkpoint
    if rung.emptied:
        why = f"{problem.file} is empty; this brings it back as it was committed"
        return Next(f"git checkout HEAD -- {problem.file}", why, c)
    if not rung.lost:
        why = f"{problem.file} {problem.message}; {problem.mend}"
        return Next(f"tito test {c.id}", why, c, problem.file, problem.line)
    if all(r.lost for r in progress.rungs if r.here):
        return Next("git checkout HEAD -- modules", "the modules are gone; bring them back")
    why = f"{problem.file} is gone; this brings it back as it was committed"
    return Next(f"git checkout HEAD -- modules/{c.folder}", why, c)


def _all_settled(progress: Progress) -> Next:
    """Everything in the tree passed: a milestone, else the push."""
    if progress.runnable:
        m = progress.runnable[0]
        number = m.id.partition("_")[0]
        return Next(
            f"tito milestone run {number}", f"{m.year}, {m.title}: it runs on your framework"
        )
    if len(progress.passed) == len(progress.rungs):
        return Next("git push", f"all {len(progress.rungs)} checkpoints passed")
    return Next("git push", "every checkpoint in this tree passed")
