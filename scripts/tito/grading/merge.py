"""Put newly graded rungs into the last report, so that one of them need not cost a whole run."""

from collections.abc import Collection
from dataclasses import replace

from tito.grading.score import NOT_IN_TREE, Run, score_ladder
from tito.ladder import Ladder
from tito.report import CheckpointResult, Report


def _run_of(result: CheckpointResult) -> Run:
    """What a checkpoint gave, out of its result."""
    return Run(
        tests=result.tests,
        trouble="error" if result.message else None,
        message=result.message,
        duration=result.duration,
        peak_memory_bytes=result.peak_memory_bytes,
    )


def merged(
    ladder: Ladder, last: Report | None, new: Report, ran: Collection[str], here: Collection[str]
) -> Report:
    """The new report with the last one's results for the rungs that were not run, scored anew.

    The digests of each result stay with it, so what is older than the sources stays known.

    Args:
        ladder: The ladder of both.
        last: The report to go on from, or None.
        new: A report of the rungs in `ran` alone.
        ran: The rungs that were run now.
        here: The rungs that the tree has a checkpoint file for.
    """
    old = last.by_id if last else {}
    runs = {}
    for rung in ladder.checkpoints:
        if rung.id in ran:
            runs[rung.id] = _run_of(new.by_id[rung.id])
        elif rung.id in old and old[rung.id].message != NOT_IN_TREE:
            runs[rung.id] = _run_of(old[rung.id])
        elif rung.id in here:
            runs[rung.id] = Run()
    recorded = {m.id: m.result for m in new.milestones if m.result is not None}
    standing = score_ladder(ladder, runs, recorded)
    # Every report has all custom checkpoints, those that were not run without tests.
    kept = {c.name: c for c in (last.custom if last else ()) if c.tests}
    custom = tuple(
        replace(kept[c.name], id=c.id, counts=c.counts)
        if not c.tests and c.name in kept and not c.message
        else c
        for c in new.custom
    )
    points = sum(c.points for c in (*standing.checkpoints, *(c for c in custom if c.counts)))
    checkpoints = []
    for result in standing.checkpoints:
        source = new.by_id[result.id] if result.id in ran else old.get(result.id)
        if source is not None:
            digests = {"source_digest": source.source_digest, "needs_digest": source.needs_digest}
            result = replace(result, **digests)
        checkpoints.append(result)
    return replace(
        new,
        score=replace(standing.score, points=points),
        level=standing.level,
        checkpoints=tuple(checkpoints),
        stages=standing.stages,
        tiers=standing.tiers,
        milestones=standing.milestones,
        next=standing.next,
        custom=custom,
    )
