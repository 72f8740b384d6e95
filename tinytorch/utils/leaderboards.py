"""The given part of the leaderboard: what may stand in its file, and reading and writing it."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

SCHEMA = 1
FIELDS = {"name": str, "accuracy": float, "size_bytes": int, "latency_seconds": float}


@dataclass(frozen=True)
class Entry:
    """What was measured of a model.

    Attributes:
        accuracy: A share, from 0 to 1.
        size_bytes: Of its bundle.
        latency_seconds: To answer one example.
    """

    name: str
    accuracy: float
    size_bytes: int
    latency_seconds: float

    timer: ClassVar[Callable[..., np.ndarray]]  # seconds of each call of a function

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"the name of a submission is {self.name!r}; give a text")
        if not 0 < self.accuracy <= 1:
            raise ValueError(
                f"the accuracy of {self.name} is {self.accuracy}; give a share above 0, up to 1"
            )
        for name in ("size_bytes", "latency_seconds"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} of {self.name} is {value}; give a number above 0")

    @classmethod
    def measure(cls, name: str, bundle: Any, x: np.ndarray, labels: np.ndarray) -> Any:
        """Measure a bundle: its share of right classes, its bytes, its median time for one example.

        Args:
            x, labels: At least one example, and its class.
        """
        right = bundle.predict(x).argmax(axis=1) == labels
        seconds = cls.timer(lambda: bundle.predict(x[:1]))
        return cls(name, float(right.mean()), len(bundle.pack()), float(np.median(seconds)))


class LeaderboardFile:
    """Submissions by name, kept in a JSON file that is replaced whole.

    Attributes:
        baseline: The submission that all others are compared with.
        entries: All of them by name, the baseline too.
    """

    kind: Callable[..., Any]  # makes an entry

    def __init__(self, path: str | os.PathLike[str], baseline: Any = None):
        self.path, self.entries = Path(path), {}
        if self.path.exists():
            first, self.entries = self.read(self.kind)
            baseline = self.entries[first]
        elif baseline is None:
            raise ValueError(f"{os.fspath(path)} does not exist; give a baseline to begin with")
        self.baseline = baseline
        self.entries.setdefault(baseline.name, baseline)

    def read(self, make: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
        """Return the baseline's name and all entries; refuse what is no leaderboard."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["schema_version"] != SCHEMA:
                raise ValueError(f"schema_version {content['schema_version']}, not {SCHEMA}")
            entries = [self.entry(make, item) for item in content["entries"]]
            named = {entry.name: entry for entry in entries}
            if content["baseline"] not in named or len(named) != len(entries):
                raise ValueError("a baseline without an entry, or two entries of one name")
            return content["baseline"], named
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise ValueError(
                f"cannot read {self.path}: it is no leaderboard ({error}); mend or delete it"
            ) from None

    @staticmethod
    def entry(make: Callable[..., Any], item: dict[str, Any]) -> Any:
        """Make a submission of what the file says."""
        if set(item) != set(FIELDS):
            raise ValueError(f"an entry has {', '.join(item)}, not {', '.join(FIELDS)}")
        return make(**item)

    def add(self, submission: Any) -> None:
        """Enter a submission; one of the same name is replaced. The file is written whole."""
        self.entries[submission.name] = submission
        if submission.name == self.baseline.name:
            self.baseline = submission
        self.write()

    def write(self) -> None:
        """Replace the file by one with the present entries."""
        listed = [{name: asdict(e)[name] for name in FIELDS} for e in self.entries.values()]
        content = {"schema_version": SCHEMA, "baseline": self.baseline.name, "entries": listed}
        data = json.dumps(content, indent=2).encode() + b"\n"
        write = import_module("tinytorch.core.training").write_atomically
        write(self.path, lambda file: file.write(data))
