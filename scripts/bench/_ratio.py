"""Time two ways of doing the same work, fairly, and say how they compare.

The sides take turns (so that a busy machine slows both), each round gives one ratio, and the
figure is the median of the rounds with the quartiles as its spread. Both sides get the same
number of threads: `start` sets it before NumPy loads, because BLAS reads it only then.

    options = start(__doc__)                    # --runs, --threads, --json FILE
    rows = [compare("matmul", ours, theirs, runs=options.runs, limit=1.5)]
    raise SystemExit(finish(rows, options))
"""

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TORCH_MISSING = "PyTorch is not installed; the oracle extra brings it: pip install -e '.[oracle]'"

Work = Callable[[], Any]
Side = Callable[[], Work]


@dataclass(frozen=True)
class Ratio:
    """One comparison: median seconds of each side, and the ratio ours / theirs."""

    name: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    runs: int
    limit: float | None = None

    @property
    def within(self) -> bool:
        """Whether the ratio keeps its limit; true without one."""
        return self.limit is None or self.ratio <= self.limit


def available_threads() -> int:
    """Count the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start(description: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options that every benchmark has, and fix the number of threads of both sides.

    Call it before NumPy is imported.

    Raises:
        RuntimeError: If NumPy is loaded already: its threads can no longer be set.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=11, help="rounds of each comparison")
    parser.add_argument("--threads", type=int, default=available_threads(), help="of both sides")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(arguments)
    if "numpy" in sys.modules:
        raise RuntimeError("start() came after NumPy was imported; call it first in main()")
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    import tinytorch  # noqa: F401 (before NumPy, as its first lines say)

    return options


def import_torch(threads: int) -> Any:
    """Import PyTorch with this many threads, or stop with the way to install it."""
    try:
        import torch
    except ImportError:
        raise SystemExit(TORCH_MISSING) from None
    torch.set_num_threads(threads)
    return torch


def seconds(side: Side, clock: Callable[[], float] = time.perf_counter) -> float:
    """Prepare the work outside the clock, then time it once."""
    work = side()
    gc.collect()
    begin = clock()
    work()
    return clock() - begin


def compare(
    name: str,
    ours: Side,
    theirs: Side,
    *,
    runs: int = 11,
    limit: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time both sides in turns.

    Args:
        name: What the row is called.
        ours, theirs: Each prepares fresh work and returns it; only the returned call is timed.
            Work without preparation is `lambda: work`.
        runs: Rounds, after one that is not counted.
        limit: The ratio to keep, if any.
        clock: Tells seconds; the clock on the wall, if no other is given.
    """
    seconds(ours, clock), seconds(theirs, clock)
    rounds: list[tuple[float, float]] = []
    for turn in range(runs):
        if turn % 2:
            second, first = seconds(theirs, clock), seconds(ours, clock)
        else:
            first, second = seconds(ours, clock), seconds(theirs, clock)
        rounds.append((first, second))
    ratios = [a / b for a, b in rounds]
    low, _, high = quantiles(ratios, n=4) if runs > 1 else (ratios * 3)
    return Ratio(
        name,
        median(a for a, _ in rounds),
        median(b for _, b in rounds),
        median(ratios),
        low,
        high,
        runs,
        limit,
    )


def table(rows: Sequence[Ratio], ours: str = "tinytorch", theirs: str = "torch") -> str:
    """Lay the comparisons out as text: milliseconds of both sides, ratio, quartiles, limit."""
    width = max([len(row.name) for row in rows] + [len("comparison")])
    heads = f"{ours:>12} {theirs:>12} {'ratio':>7}  {'quartiles':<13} limit"
    lines = [f"{'comparison':<{width}} {heads}"]
    for row in rows:
        spread = f"{row.low:.2f}-{row.high:.2f}"
        limit = "" if row.limit is None else f"{row.limit:g} {'kept' if row.within else 'MISSED'}"
        lines.append(
            f"{row.name:<{width}} {row.ours * 1e3:>9.2f} ms {row.theirs * 1e3:>9.2f} ms"
            f" {row.ratio:>7.2f}  {spread:<13} {limit}"
        )
    return "\n".join(line.rstrip() for line in lines)


def finish(
    rows: Sequence[Ratio],
    options: argparse.Namespace,
    *,
    sides: tuple[str, str] = ("tinytorch", "torch"),
    **extra: Any,
) -> int:
    """Print the table, write the JSON when asked, and return the exit status.

    Args:
        rows: The comparisons.
        options: What `start` read.
        sides: What the two sides are called, if not ours and PyTorch's.
        extra: Further entries of the JSON record.

    Returns:
        0, or 1 when a limit was missed.
    """
    print(table(rows, *sides))
    print(f"threads {options.threads}, rounds {options.runs}, medians")
    if options.json:
        record = {"threads": options.threads, "sides": sides, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(record | extra, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.within for row in rows) else 1
