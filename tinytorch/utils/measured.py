"""The given part of module 19: records of what was measured, the machine, and refusals.

`tinytorch.core.benchmarking` builds on this. Nothing here measures or judges.
"""

import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from tinytorch.utils.checks import whole

SCHEMA_VERSION = 1


def machine() -> dict[str, Any]:
    """Describe where a measurement was made: a figure without this cannot be compared."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


@dataclass(frozen=True)
class Comparison:
    """How many times as fast b is as a, and how sure that is.

    Attributes:
        speedup: Seconds of a over seconds of b: the median over the pairs.
        low, high: The interval of the speedup.
        p_value: How often chance alone would give such a difference.
        seconds_a, seconds_b: Medians.
    """

    speedup: float
    low: float
    high: float
    p_value: float
    seconds_a: float
    seconds_b: float

    @property
    def verdict(self) -> str:
        """Return "b is faster", "a is faster" or "no difference shown" (at the level of 5 %)."""
        if self.p_value >= 0.05 or self.low <= 1 <= self.high:
            return "no difference shown"
        return "b is faster" if self.speedup > 1 else "a is faster"


@dataclass
class Result:
    """What one run of a benchmark found.

    Attributes:
        name: Of the system that was measured.
        scenario: Such as "SingleStream".
        metric, value: The figure that counts, with its unit in the name: "latency_p90_s".
        valid: Whether the scenario's rules were kept.
        seconds: All samples.
        summary: Figures of the samples.
        settings: All that is needed to repeat the run.
        peak_memory_mb: Of one call, if it was measured.
        machine: Where it ran.
    """

    name: str
    scenario: str
    metric: str
    value: float
    valid: bool
    seconds: list[float]
    summary: dict[str, float]
    settings: dict[str, Any]
    peak_memory_mb: float | None = None
    machine: dict[str, Any] = field(default_factory=machine)
    schema_version: int = SCHEMA_VERSION


def checked_record(record: Any) -> dict[str, Any]:
    """Return a dictionary that has just the fields of a Result, or refuse it by name."""
    if not isinstance(record, dict):
        raise ValueError(f"a result is a JSON object, got {type(record).__name__}")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version is {record.get('schema_version')!r}; this reader knows "
            f"{SCHEMA_VERSION}"
        )
    known = [f.name for f in fields(Result)]
    if missing := [name for name in known if name not in record]:
        raise ValueError(f"the result lacks {', '.join(missing)}")
    if unknown := [name for name in record if name not in known]:
        raise ValueError(f"the result has unknown fields: {', '.join(unknown)}")
    return record


def plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays as Python's, which JSON knows: `json.dumps(default=…)`."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot write a {type(value).__name__} to JSON; give numbers, texts, lists")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Python's garbage collector from running in the middle of a `with` block."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def checked_counts(warmup: int, **counts: int) -> None:
    """Require whole numbers: warm-up from 0, others, by name, from 1."""
    whole("warmup", warmup, 0)
    for name, count in counts.items():
        whole(name, count, 1)


def checked_inputs(inputs: Any) -> Any:
    """Return inputs for a system, at least one, or refuse them."""
    if not len(inputs):
        raise ValueError("there are no inputs to ask; give at least one")
    return inputs


def checked_samples(samples: Any) -> np.ndarray:
    """Return samples as a flat array of float64, or refuse them: none, or not all finite."""
    array = np.asarray(samples, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"samples have shape {array.shape}; give a list of at least one number")
    if not np.isfinite(array).all():
        raise ValueError(f"sample {np.argmin(np.isfinite(array))} is not finite; leave it out")
    return array


def checked_pairs(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return paired times as arrays, or refuse them: not as many, or some not above 0."""
    a, b = checked_samples(a), checked_samples(b)
    if len(a) != len(b):
        raise ValueError(f"cannot pair {len(a)} samples with {len(b)}; give as many of each")
    if min(a.min(), b.min()) <= 0:
        raise ValueError(
            f"a time of {min(a.min(), b.min()):g} seconds has no ratio; the clock is too coarse "
            "for this work: raise `calls`"
        )
    return a, b


def checked_percent(q: float) -> None:
    """Require a number from 0 to 100."""
    if not 0 <= q <= 100:
        raise ValueError(f"q is {q!r}; give a number from 0 to 100")


def checked_confidence(confidence: float) -> None:
    """Require a number strictly between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; give a number between 0 and 1")


def checked_positive(name: str, value: float) -> None:
    """Require a finite number above 0."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; give a finite number above 0")
