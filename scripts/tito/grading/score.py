"""What outcomes are worth: points, statuses, level, stages, milestones, the next step. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from tito.ladder import AnyRung, Checkpoint, Custom, Ladder
from tito.report import (
    CheckpointResult,
    CustomResult,
    MilestoneResult,
    MilestoneRun,
    NextStep,
    Outcome,
    Score,
    StageResult,
    TierResult,
)

NOT_IN_TREE = "this tree has no checkpoint file for it yet"


@dataclass(frozen=True, slots=True)
class Run:
    """What running one checkpoint gave. The tests come without points: scoring fills them in.

    `trouble` is set when the checkpoint as a whole could not run to its end, `message` says why.
    `duration` is that of the tests unless given.
    """

    tests: tuple[Outcome, ...] = ()
    trouble: Literal["error", "timeout"] | None = None
    message: str | None = None
    duration: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The judged part of a report."""

    checkpoints: tuple[CheckpointResult, ...]
    score: Score
    level: int | None
    stages: tuple[StageResult, ...]
    tiers: tuple[TierResult, ...]
    milestones: tuple[MilestoneResult, ...]
    next: NextStep | None
    custom: tuple[CustomResult, ...] = ()


def split_points(total: int, count: int) -> tuple[int, ...]:
    """Split whole points over tests by the largest-remainder method.

    Every quota is total / count, so all remainders tie; the points left over go to tests spaced
    evenly: the first k tests get floor(k * total / count) together.
    """
    edges = [i * total // count for i in range(count + 1)] if count else []
    return tuple(after - before for before, after in pairwise(edges))


def award(rung: AnyRung, tests: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Give each test its points; one that may pass on a stub (`free`) is worth none.

    A checkpoint has more tests than points, so some tests of an even split are worth nothing.
    Which ones is a tie, and it is broken so that k of n tests passed are always worth
    floor(k * points / n), whichever they are: the full points need every test, and mending any
    one never costs any.
    """
    scoring = [i for i, test in enumerate(tests) if test.name not in rung.free]
    scoring = scoring or list(range(len(tests)))
    passed = [i for i in scoring if tests[i].status == "passed"]
    others = [i for i in scoring if tests[i].status != "passed"]
    earned = rung.points * len(passed) // max(1, len(scoring))
    worth = dict(zip(passed, split_points(earned, len(passed)), strict=True))
    worth |= zip(others, split_points(rung.points - earned, len(others)), strict=True)
    return tuple(
        replace(test, max_points=worth.get(i, 0), points=worth.get(i, 0) if i in passed else 0)
        for i, test in enumerate(tests)
    )


def own_status(statuses: Sequence[str], trouble: str | None = None) -> str:
    """The status of a checkpoint by itself, from those of its tests that say whether it is begun.

    Some passed makes it partial; else a failed test outweighs a timeout, a timeout an error.
    """
    seen = Counter(statuses)
    if statuses and seen["passed"] == len(statuses) and trouble is None:
        return "passed"
    if seen["passed"]:
        return "partial"
    if trouble is not None:
        return trouble
    return next((s for s in ("failed", "timeout", "error") if seen[s]), "not_started")


def status_of(rung: AnyRung, run: Run, blocked_by: Sequence[str]) -> str:
    """The status of a checkpoint in the ladder.

    A rung that was begun and whose prerequisites have not passed is blocked: mend those first.
    One that passed nevertheless has passed, and one that was not begun is simply not started.
    """
    begun = [test.status for test in run.tests if test.name not in rung.free]
    own = own_status(begun or [test.status for test in run.tests], run.trouble)
    if own == "passed" and any(test.status != "passed" for test in run.tests):
        own = "partial"
    return "blocked" if blocked_by and own not in ("passed", "not_started") else own


def roots(ladder: Ladder, checkpoint_id: str, passed: set[str]) -> tuple[str, ...]:
    """The prerequisites to mend first: those not passed, all of whose own have passed."""
    unmet = [need for need in ladder.transitive_needs(checkpoint_id) if need not in passed]
    return tuple(n for n in unmet if passed.issuperset(ladder.transitive_needs(n)))


def _custom(
    ladder: Ladder, rung: Custom, run: Run | None, passed: set[str], assumed: set[str]
) -> CustomResult:
    """Judge one custom checkpoint, given which rungs have passed or were left out."""
    run = run or Run()
    tests = award(rung, run.tests)
    known = passed | assumed
    mend = {r for need in rung.needs if need not in known for r in roots(ladder, need, known)}
    mend |= {n for n in rung.needs if n not in known and not roots(ladder, n, known)}
    blocked_by = tuple(sorted(mend))
    return CustomResult(
        id=rung.id,
        name=rung.name,
        question=rung.question,
        file=rung.file,
        own=rung.own,
        counts=rung.counts,
        needs=rung.needs,
        status=status_of(rung, run, blocked_by),
        blocked_by=blocked_by,
        points=sum(test.points for test in tests),
        max_points=rung.points,
        duration=sum(t.duration for t in tests) if run.duration is None else run.duration,
        peak_memory_bytes=run.peak_memory_bytes,
        message=run.message,
        tests=tests,
    )


def level_of(checkpoints: Sequence[CheckpointResult]) -> int | None:
    """The highest id such that it and every id below it passed."""
    level = None
    for checkpoint in checkpoints:
        if checkpoint.status != "passed":
            break
        level = int(checkpoint.id)
    return level


def _result(
    ladder: Ladder, rung: Checkpoint, run: Run | None, passed: set[str]
) -> CheckpointResult:
    """Judge one rung, given which earlier rungs have passed."""
    run = run or Run(message=NOT_IN_TREE)
    tests = award(rung, run.tests)
    blocked_by = roots(ladder, rung.id, passed)
    duration = sum(t.duration for t in tests) if run.duration is None else run.duration
    return CheckpointResult(
        id=rung.id,
        module=rung.module,
        name=rung.name,
        question=rung.question,
        stage=rung.stage,
        tier=ladder.tier_of(rung.id) or None,
        source=rung.source,
        needs=rung.needs,
        status=status_of(rung, run, blocked_by),
        blocked_by=blocked_by,
        points=sum(test.points for test in tests),
        max_points=rung.points,
        duration=duration,
        peak_memory_bytes=run.peak_memory_bytes,
        message=run.message,
        tests=tests,
    )


def _sums(rungs: Sequence[CheckpointResult]) -> dict[str, int | bool]:
    """The figures that stages and tiers share."""
    passed = sum(rung.status == "passed" for rung in rungs)
    return {
        "complete": bool(rungs) and passed == len(rungs),
        "points": sum(rung.points for rung in rungs),
        "max": sum(rung.max_points for rung in rungs),
        "passed": passed,
        "total": len(rungs),
    }


def _why(checkpoint: CheckpointResult) -> str:
    """One sentence on what is left of a checkpoint."""
    total = len(checkpoint.tests)
    if checkpoint.status == "not_started":
        return f"not started yet: {checkpoint.question}"
    if checkpoint.message:
        return checkpoint.message.splitlines()[0]
    left = total - checkpoint.passed
    return f"{left} of {total} tests {'does' if left == 1 else 'do'} not pass yet"


def next_step(checkpoints: Sequence[CheckpointResult], ready: set[str]) -> NextStep | None:
    """The lowest rung of those the tree has (`ready`) that has not passed, and where to begin."""
    waiting = (c for c in checkpoints if c.id in ready and c.status != "passed")
    checkpoint = next(waiting, None)
    if checkpoint is None:
        return None
    file, line = checkpoint.source, None
    left = [test for test in checkpoint.tests if test.status != "passed"]
    if left:
        test = min(left, key=lambda test: test.status == "not_started")  # mend, then go on
        place = test.failure if test.failure and test.failure.file else test
        file, line = (place.file, place.line) if place.file else (file, None)
    return NextStep(
        checkpoint=checkpoint.id,
        module=f"{checkpoint.id}_{checkpoint.module}",
        name=checkpoint.name,
        file=file,
        line=line,
        command=f"tito checkpoint run {checkpoint.id}",
        why=_why(checkpoint),
    )


def score_ladder(
    ladder: Ladder,
    runs: Mapping[str, Run],
    milestones: Mapping[str, MilestoneRun] | None = None,
    assumed: Collection[str] = (),
    custom: Sequence[Custom] = (),
) -> Standing:
    """Judge the whole ladder.

    Args:
        ladder: The rungs and what they are worth.
        runs: By id, what each checkpoint gave; a rung that is absent has no checkpoint file in
            this tree: it counts as not started, and its points stay in the total.
        milestones: By id, the recorded run of each milestone that has one.
        assumed: Rungs left out on purpose: they block no other, though they count as not passed.
        custom: The checkpoints beyond the ladder; those of the ladder's file if none are given.
    """
    checkpoints: list[CheckpointResult] = []
    passed: set[str] = set()
    for rung in ladder.checkpoints:
        result = _result(ladder, rung, runs.get(rung.id), passed | set(assumed))
        checkpoints.append(result)
        if result.status == "passed":
            passed.add(rung.id)
    stages = tuple(
        StageResult(
            s.name, s.short, s.capability, **_sums([c for c in checkpoints if c.stage == s.name])
        )
        for s in ladder.stages
    )
    tiers = tuple(
        TierResult(t.name, **_sums([c for c in checkpoints if t.first <= c.id <= t.last]))
        for t in ladder.tiers
    )
    unlocked = tuple(
        MilestoneResult(
            id=m.id,
            year=m.year,
            title=m.title,
            requires=m.requires,
            unlocked=passed.issuperset(m.requires),
            result=(milestones or {}).get(m.id),
        )
        for m in ladder.milestones
    )
    beyond = tuple(
        _custom(ladder, rung, runs.get(rung.id), passed, set(assumed))
        for rung in custom or ladder.custom
    )
    points = sum(c.points for c in (*checkpoints, *(c for c in beyond if c.counts)))
    return Standing(
        checkpoints=tuple(checkpoints),
        score=Score(points, ladder.points),
        level=level_of(checkpoints),
        stages=stages,
        tiers=tiers,
        milestones=unlocked,
        next=next_step(checkpoints, set(runs)),
        custom=beyond,
    )
