"""The given part of monitoring: the window of a drift monitor, the counts of a rollout."""

import math
from collections import deque
from collections.abc import Iterable
from threading import Lock
from typing import Any

import numpy as np

KEPT = 1000


class Window:
    """What a DriftMonitor compares: a reference, and the newest rows.

    Args:
        reference: Shape (N, F).
        window: How many of the newest rows are kept.
        alpha: The rate of false alarms to accept, of a report as a whole.
        limit: The least PSI that matters.
        min_rows: With fewer there is no report.
    """

    def __init__(
        self,
        reference: Any,
        window: int = KEPT,
        alpha: float = 0.01,
        limit: float = 0.1,
        min_rows: int = 100,
    ):
        self.reference = checked_rows(reference)
        if not 0 < alpha < 1 or not 0 < min_rows <= window:
            raise ValueError(
                f"alpha is {alpha}, min_rows {min_rows}, window {window}; give an alpha between 0 "
                "and 1, and 1 to window rows"
            )
        self.alpha, self.limit, self.min_rows = alpha, limit, min_rows
        self.rows: deque[np.ndarray] = deque(maxlen=window)
        self.lock = Lock()

    def observe(self, rows: Any) -> None:
        """Add rows, (n, F), to the window."""
        rows = checked_rows(rows, self.reference.shape[1])
        with self.lock:
            self.rows.extend(rows)

    def newest(self) -> np.ndarray:
        """Return the window, shape (n, F)."""
        with self.lock:
            return np.array(self.rows).reshape(len(self.rows), self.reference.shape[1])


class Stages:
    """The stages of a Rollout, and what was counted in the present one.

    Args:
        salt: A text that belongs to this rollout alone.
        shares: Of users who get the candidate, stage by stage.
        min_samples: Answers of each model that end a stage.
        z_limit: Above it the candidate fails significantly more often.

    Attributes:
        stage: Index into `shares`; None after a rollback.
        counts: [errors, answers] of "control" and "candidate" in this stage.
    """

    def __init__(
        self,
        salt: str,
        shares: Iterable[float] = (0.05, 0.25, 1.0),
        min_samples: int = 200,
        z_limit: float = 2.33,
    ):
        self.salt, self.shares = salt, tuple(shares)
        if not self.shares or sorted({0.0, *self.shares, 1.0}) != [0.0, *self.shares]:
            raise ValueError(f"the shares are {self.shares}; let them grow, from above 0 up to 1")
        if min_samples < 1:
            raise ValueError(f"min_samples is {min_samples}; give at least 1")
        self.min_samples, self.z_limit = min_samples, z_limit
        self.begin(0)

    def begin(self, stage: int | None) -> None:
        """Enter a stage with new counts."""
        self.stage, self.counts = stage, {"control": [0, 0], "candidate": [0, 0]}

    def record(self, model: str, ok: bool) -> None:
        """Count an answer of "control" or "candidate"."""
        if model not in self.counts:
            raise ValueError(f"there is no model {model!r}; use 'control' or 'candidate'")
        self.counts[model][0] += not ok
        self.counts[model][1] += 1


def checked_rows(rows: Any, columns: int | None = None) -> np.ndarray:
    """Return rows as an array (N, F) of finite numbers, or refuse them."""
    array = np.asarray(rows, np.float64)
    if array.ndim != 2 or not array.size or columns not in (None, array.shape[1]):
        wanted = "(N, F)" if columns is None else f"(n, {columns})"
        raise ValueError(f"the rows have shape {array.shape}; give {wanted}, none of it empty")
    if not np.isfinite(array).all():
        raise ValueError("a row holds a number that is not finite; leave such rows out")
    return array


def ks_p_value(distance: float, count_a: int, count_b: int) -> float:
    """Return how often chance alone gives two samples at least this Kolmogorov–Smirnov distance.

    Source: Stephens 1970; Press et al., Numerical Recipes (2007), section 14.3.
    """
    root = math.sqrt(count_a * count_b / (count_a + count_b))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:
        return 1.0
    k = np.arange(1, 101)
    terms = np.where(k % 2, 1.0, -1.0) * np.exp(-2 * (k * scaled) ** 2)
    return min(max(2 * float(terms.sum()), 0.0), 1.0)
