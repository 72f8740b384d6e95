"""Bad input to module 20: what is called, what it must raise, what the message must name."""

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tinytorch.utils.bundles import seal


def capstone(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 20."""
    return getattr(import_module("tinytorch.core.capstone"), name)(*arguments, **named)


def layers() -> Any:
    """Module 03."""
    return import_module("tinytorch.core.layers")


def bundle(*parts: Any, shape: tuple[int, ...] = (2,), **named: Any) -> Any:
    """A bundle of a chain of these parts."""
    return capstone("ModelBundle", layers().Sequential(*parts), "m", shape, **named)


def loaded(data: bytes) -> Any:
    """Load a file of these bytes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.bundle"
        path.write_bytes(data)
        return import_module("tinytorch.core.capstone").ModelBundle.load(path)


def forged(**header: Any) -> Any:
    """Load a file whose checksum is right and whose header is this."""
    return loaded(seal({"arrays": [], "architecture": {}, **header}, b"", 1))


def board(text: str | None, **named: Any) -> Any:
    """Read a leaderboard of this text; None: there is no file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "board.json"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        return capstone("Leaderboard", path, **named)


def submission(name: str = "m", accuracy: float = 0.5, size: int = 1, seconds: float = 1.0) -> Any:
    """Make a submission."""
    return capstone("Submission", name, accuracy, size, seconds)


def monitor(reference: Any = None, **named: Any) -> Any:
    """A monitor of two features."""
    return capstone("DriftMonitor", np.eye(2) if reference is None else reference, **named)


def linear(**changed: Any) -> Any:
    """Build a Linear layer of changed settings."""
    settings = {"type": "Linear", "in_features": 2, "out_features": 2, "bias": True}
    return capstone("build", settings | changed)


class Custom:
    """No layer of the course."""

    def __call__(self, x: Any) -> Any:
        return x


CASES = [
    # Bundles
    ("an unknown type", lambda: linear(type="Evil"), ValueError, ["'Evil'", "Linear"]),
    ("no type", lambda: capstone("build", {}), ValueError, ["None", "Sequential"]),
    ("an unknown setting", lambda: linear(code="1"), ValueError, ["Linear", "code", "in_features"]),
    ("a setting that is no value", lambda: linear(bias={}), ValueError, ["{}"]),
    ("a size beyond reason", lambda: linear(in_features=10**15), ValueError, ["too large"]),
    (
        "a layer that hides a method",
        lambda: capstone("build", {"type": "Sequential", "layers": {"forward": {"type": "ReLU"}}}),
        ValueError,
        ["'forward'"],
    ),
    ("a class of one's own", lambda: bundle(Custom()).pack(), TypeError, ["Custom", "Sequential"]),
    (
        "metadata that is no data",
        lambda: bundle(metadata={"x": object()}).pack(),
        TypeError,
        ["JSON"],
    ),
    ("an empty file", lambda: loaded(b""), ValueError, ["m.bundle", "b''", "ModelBundle.save"]),
    ("a pickle", lambda: loaded(b"\x80\x04K\x01."), ValueError, ["m.bundle", "x80", "give a file"]),
    (
        "a file that is cut off",
        lambda: loaded(seal({}, b"12345678", 1)[:-3]),
        ValueError,
        ["m.bundle", "7 of 10 bytes", "copy"],
    ),
    (
        "a file of the future",
        lambda: loaded(seal({}, b"", 9)),
        ValueError,
        ["m.bundle", "9", "up to 1", "update TinyTorch"],
    ),
    (
        "a changed byte",
        lambda: loaded(seal({}, b"12345678", 1)[:-1] + b"9"),
        ValueError,
        ["m.bundle", "SHA-256", "copy"],
    ),
    (
        "a damaged first line",
        lambda: loaded(b"tinytorch-bundle 1 zz\n"),
        ValueError,
        ["first line"],
    ),
    ("a header without architecture", forged, ValueError, ["m.bundle", "None", "fit together"]),
    (
        "arrays that are missing",
        lambda: forged(
            architecture={"type": "Linear", "in_features": 1, "out_features": 1, "bias": False},
            name="m",
            version="1",
            input_shape=[1],
            metadata={},
        ),
        ValueError,
        ["m.bundle", "weight", "(1, 1)", "no such array"],
    ),
    # Server
    (
        "no batch",
        lambda: capstone("Batcher", len, max_batch=0),
        ValueError,
        ["max_batch is 0", "at least 1"],
    ),
    ("a negative wait", lambda: capstone("Batcher", len, max_wait=-1), ValueError, ["max_wait -1"]),
    ("bounds of nothing", lambda: capstone("Histogram", "h", "t", []), ValueError, ["bounds of h"]),
    # Monitoring
    ("a reference of one axis", lambda: monitor(np.ones(3)), ValueError, ["(3,)", "(N, F)"]),
    ("an empty reference", lambda: monitor(np.ones((0, 2))), ValueError, ["(0, 2)"]),
    ("rows of other features", lambda: monitor().observe([[1]]), ValueError, ["(1, 1)", "(n, 2)"]),
    ("a row of NaN", lambda: monitor().observe([[1, np.nan]]), ValueError, ["not finite"]),
    ("an alpha of 2", lambda: monitor(alpha=2), ValueError, ["alpha is 2"]),
    ("a window too small", lambda: monitor(window=10), ValueError, ["window 10", "min_rows 100"]),
    # Rollout
    (
        "shares that shrink",
        lambda: capstone("Rollout", "s", (0.5, 0.2)),
        ValueError,
        ["(0.5, 0.2)"],
    ),
    ("a share above 1", lambda: capstone("Rollout", "s", (0.5, 2.0)), ValueError, ["(0.5, 2.0)"]),
    ("no shares", lambda: capstone("Rollout", "s", ()), ValueError, ["()"]),
    (
        "an answer of a third model",
        lambda: capstone("Rollout", "s").record("third", True),
        ValueError,
        ["'third'", "candidate"],
    ),
    # Leaderboard
    ("no name", lambda: submission(" "), ValueError, ["' '"]),
    ("an accuracy in percent", lambda: submission(accuracy=95), ValueError, ["95", "up to 1"]),
    ("no bytes", lambda: submission(size=0), ValueError, ["size_bytes", "0"]),
    ("a time of NaN", lambda: submission(seconds=np.nan), ValueError, ["latency_seconds", "nan"]),
    ("a new board without a baseline", lambda: board(None), ValueError, ["board.json", "baseline"]),
    ("a board that is no JSON", lambda: board("{"), ValueError, ["board.json", "mend or delete"]),
    ("a board of the future", lambda: board('{"schema_version": 9}'), ValueError, ["9, not 1"]),
    (
        "a board with a foreign entry",
        lambda: board('{"schema_version": 1, "baseline": "a", "entries": [{"name": "a"}]}'),
        ValueError,
        ["board.json", "latency_seconds"],
    ),
]
