"""Where a checkpoint spends its time and memory: measured from the trusted side, test by test.

The worker's processor time and memory are the kernel's figures for its process, read by the
grader: the student's code cannot bend them. Time that neither process computes is waiting.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tito.grading.run import LadderOutcome
    from tito.isolation import Server
    from tito.ladder import AnyRung, Ladder

Figures = dict[str, float | int | bool | None]


class Meter:
    """Reads the clocks around each test, inside the trusted session."""

    def __init__(self, server: "Server"):
        self.server = server
        self.found: dict[str, Figures] = {}
        self._start: tuple[float, float, float | None, int] | None = None
        self._anew = False

    def begin(self) -> None:
        """A test begins."""
        self._anew = self.server.reset_peak()
        self._start = self._read()

    def end(self, name: str) -> None:
        """A test has ended."""
        if self._start is None:
            return
        wall, own, worker, requests = self._start
        wall_now, own_now, worker_now, requests_now = self._read()
        known = worker is not None and worker_now is not None and worker_now >= worker
        self.found[name] = {
            "wall": wall_now - wall,
            "trusted": own_now - own,
            "worker": worker_now - worker if known else None,  # type: ignore[operator]
            "requests": requests_now - requests,
            "memory": self.server.current_peak() or None,
            "memory_anew": self._anew,
        }

    def _read(self) -> tuple[float, float, float | None, int]:
        server = self.server
        return (
            time.perf_counter(),
            time.process_time(),
            server.processor_seconds(),
            server.requests,
        )


@dataclass(frozen=True)
class Spent:
    """One test: seconds by the clock, of the worker's and of the grader's processor, and waiting;
    requests to the worker; the most memory the worker held, in bytes: in this test if it was
    counted `anew`, else so far. None where not told."""

    rung: str
    test: str
    status: str
    wall: float
    trusted: float
    worker: float | None
    requests: int
    memory: int | None
    memory_anew: bool = False

    @property
    def waiting(self) -> float | None:
        """Seconds in which neither process computed."""
        return None if self.worker is None else max(0.0, self.wall - self.trusted - self.worker)


def profile(
    root: Path,
    ladder: "Ladder",
    rungs: "list[AnyRung]",
    *,
    seed: int,
    progress: Callable[[dict[str, str]], None],
    start: str | None = None,
) -> "tuple[list[Spent], LadderOutcome]":
    """Run some checkpoints once, and say what each test of them spent.

    Raises:
        FileProblem: If a hand-written file of the package cannot be read.
    """
    from tito.grading.run import run_ladder
    from tito.grading.snapshot import take

    outcome = run_ladder(
        root, ladder, take(root, ladder), rungs, seed=seed, progress=progress, start=start,
        measure=True,
    )  # fmt: skip
    spent = []
    for rung in rungs:
        run = outcome.runs.get(rung.id)
        for test in run.tests if run else ():
            figures: dict[str, Any] = outcome.spending.get(f"{rung.file}::{test.name}", {})
            if figures:
                spent.append(Spent(rung.id, test.name, test.status, **figures))
    return spent, outcome
