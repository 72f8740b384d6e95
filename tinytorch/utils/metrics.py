"""Given parts of module 07's metrics: answers and targets brought into one form, then refused."""

from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox

AVERAGES = ("auto", "binary", "macro", "micro", "weighted")


def plain(values: Any) -> np.ndarray:
    """Return the array of a tensor, an array or a list."""
    return np.asarray(values.data if isinstance(values, ArrayBox) else values)


def flat(classes: np.ndarray) -> np.ndarray:
    """Return classes as one row of int64."""
    return classes.astype(np.int64, copy=False).ravel()


def decided(scores: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray | None:
    """Return the answers where no class axis has to be searched: classes, or one number each.

    Returns:
        The answers as flat integers; None if the scores have a class axis.
    """
    if scores.ndim and scores.shape[-1] == 1 and scores.size == truth.size:
        scores, truth = scores.ravel(), truth.ravel()
    if scores.shape != truth.shape or (scores.ndim >= 2 and truth.dtype.kind not in "iub"):
        return None
    if scores.dtype.kind not in "iub":
        several = truth.size and truth.max() > 1  # then these are classes, not probabilities
        scores = np.rint(scores) if several else scores > threshold
    return flat(scores)


def class_axes(scores: np.ndarray, truth: np.ndarray) -> list[int]:
    """Return the axes of the scores, second or last, without which they have the targets' shape.

    Raises:
        ValueError: If there is none, and the targets are no one-hot rows either.
    """
    axes = (1, scores.ndim - 1) if scores.ndim > 1 else ()
    fits = [a for a in axes if scores.shape[:a] + scores.shape[a + 1 :] == truth.shape]
    if scores.shape != truth.shape and not fits:
        raise ValueError(f"cannot match outputs {scores.shape} with targets {truth.shape}")
    return fits


def table_size(truth: np.ndarray, predicted: np.ndarray, num_classes: int | None) -> int:
    """Return how many classes a table needs; refuse negative ones, and a table too small."""
    least = 1 + int(max(predicted.max(initial=-1), truth.max(initial=-1)))
    size = least if num_classes is None else num_classes
    if size < least or min(predicted.min(initial=0), truth.min(initial=0)) < 0:
        raise ValueError(f"classes must be from 0 to {size - 1}; give num_classes={least} or more")
    return size


def grown(table: np.ndarray, size: int) -> np.ndarray:
    """Return a square table with rows and columns of zeros added up to `size`."""
    return np.pad(table, (0, size - len(table)))


def checked_average(average: str) -> str:
    """Return the name of an average over classes, or refuse it."""
    if average not in AVERAGES:
        raise ValueError(f"average is {average!r}; use auto, binary, macro, micro or weighted")
    return average


def averaged(scores: np.ndarray, table: np.ndarray, average: str) -> float:
    """Average the scores of the classes; those that never occur are left out."""
    if average == "auto":
        average = "binary" if len(table) <= 2 else "macro"
    if average == "micro":
        return float(np.trace(table) / max(table.sum(), 1))
    if average == "binary":
        return float(scores[1]) if len(scores) > 1 else 0.0
    support = table.sum(axis=1)
    weights = support if average == "weighted" else (support + table.sum(axis=0) > 0)
    return float((scores * weights).sum() / max(weights.sum(), 1))


class Metric:
    """A figure that is collected batch by batch: reset, update, update, …, compute.

    Attributes:
        name: Its key in the history.
    """

    name = "metric"

    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.matrix = np.zeros((0, 0), dtype=np.int64)
        self.correct = self.total = 0

    def update(self, outputs: Any, targets: Any) -> None:
        """Take a batch into account."""
        raise TypeError(f"{type(self).__name__} has no update(); define one")

    def compute(self) -> Any:
        """Return the figure for everything since the last reset."""
        raise TypeError(f"{type(self).__name__} has no compute(); define one")

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """Return the figure for one batch alone."""
        self.reset()
        self.update(outputs, targets)
        return self.compute()
