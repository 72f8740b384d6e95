"""The given part of module 04: where the classes are in an array of scores, and what a label is."""

from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox


def class_axis(x: Any) -> int:
    """Return the axis that runs over classes."""
    return 1 if x.ndim > 1 else 0


def by_rows(x: Any, targets: Any, ignore_index: int) -> tuple[Any, np.ndarray]:
    """Return x as (examples, classes) and the labels as (examples,), int64.

    Raises:
        ValueError: If the shapes do not belong together or a label is no class.
    """
    labels = np.asarray(targets.data if isinstance(targets, ArrayBox) else targets)
    axis = class_axis(x)
    if not x.ndim or labels.shape != x.shape[:axis] + x.shape[axis + 1 :]:
        raise ValueError(
            f"cannot match scores of shape {x.shape} with labels of shape {labels.shape}: "
            f"give one label for each row of scores"
        )
    whole = labels.astype(np.int64)
    if labels.dtype.kind not in "iu" and not np.array_equal(whole, labels):
        raise ValueError(
            "labels must be whole numbers, the index of each class; probabilities need shape "
            f"{x.shape}, got {labels.shape}"
        )
    wrong = whole[((whole < 0) | (whole >= x.shape[axis])) & (whole != ignore_index)]
    if wrong.size:
        raise ValueError(
            f"label {wrong.flat[0]} is not one of the {x.shape[axis]} classes: "
            f"labels run from 0 to {x.shape[axis] - 1}"
        )
    if x.ndim != 2:
        last = (*range(axis), *range(axis + 1, x.ndim), axis)
        x = x.permute(last).reshape(-1, x.shape[axis])
    return x, whole.reshape(-1)
