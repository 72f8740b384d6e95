"""What the next passing checkpoints would open: rungs, milestones, capabilities. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from tito.ladder import Checkpoint, Ladder, Milestone, Stage


class Unlock(NamedTuple):
    """A rung that can be passed now, and what waits for it alone.

    `nearest` is the milestone that then lacks fewest rungs, with those rungs.
    """

    rung: Checkpoint
    rungs: tuple[Checkpoint, ...]
    milestones: tuple[Milestone, ...]
    stages: tuple[Stage, ...]
    nearest: tuple[Milestone, tuple[str, ...]] | None


def unlocks(ladder: Ladder, passed: Collection[str]) -> list[Unlock]:
    """The rungs whose needs have all passed, each with what its own pass would open."""
    done = set(passed)
    ready = [c for c in ladder.checkpoints if c.id not in done and done.issuperset(c.needs)]
    return [_unlock(ladder, done, rung) for rung in ready]


def _unlock(ladder: Ladder, done: set[str], rung: Checkpoint) -> Unlock:
    """What passing one rung would open."""
    then = done | {rung.id}
    milestones = tuple(
        m for m in ladder.milestones if rung.id in m.requires and then.issuperset(m.requires)
    )
    stages = tuple(
        stage
        for stage in ladder.stages
        if stage.name == rung.stage
        and all(c.id in then for c in ladder.checkpoints if c.stage == stage.name)
    )
    rungs = tuple(
        c
        for c in ladder.checkpoints
        if c.id not in then and rung.id in c.needs and then.issuperset(c.needs)
    )
    waiting = [
        (m, tuple(need for need in m.requires if need not in then))
        for m in ladder.milestones
        if rung.id in m.requires and not then.issuperset(m.requires)
    ]
    nearest = min(waiting, key=lambda pair: len(pair[1]), default=None)
    return Unlock(rung, rungs, milestones, stages, None if milestones else nearest)
