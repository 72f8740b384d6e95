"""What transforms of images share: one image or a batch, array or Tensor, one after the other."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox
from tinytorch.utils import checks

Generator = np.random.Generator


def generator(seed: int | None) -> Generator:
    """Return a fresh generator of a seed, or for None the one that `manual_seed` restarts."""
    from tinytorch.core.tensor import default_generator

    return default_generator if seed is None else np.random.default_rng(seed)


class Transform:
    """Something done to images: one of shape (C, H, W), or a batch (N, C, H, W).

    A subclass defines `apply(images, rng)`, which gets a batch as an array and returns a new one.

    Args:
        seed: Of the generator that is used when the caller brings none; None takes the course's.
    """

    def __init__(self, seed: int | None = None):
        self.rng = generator(seed)

    def __call__(self, images: Any, rng: Generator | None = None) -> Any:
        """Transform an array or a Tensor; the same kind comes back."""
        array = images.data if isinstance(images, ArrayBox) else np.asarray(images)
        checks.image_axes(array.shape)
        batch = self.apply(array if array.ndim == 4 else array[None], rng or self.rng)
        batch = batch if array.ndim == 4 else batch[0]
        return type(images)._wrap(batch) if isinstance(images, ArrayBox) else batch

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Transform a batch of images (N, C, H, W)."""
        raise TypeError(f"{type(self).__name__} does nothing; define apply")


class Compose(Transform):
    """Several transforms, one after the other."""

    def __init__(self, transforms: Iterable[Any]):
        super().__init__()
        self.transforms = list(transforms)

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Apply each to what the one before it gave."""
        for transform in self.transforms:
            images = transformed(transform, images, rng)
        return images


class Cutout(Transform):
    """Set a square of each image, centred on a random pixel, to zero; the border may cut it off.

    Args:
        size: Side of the square, in pixels.

    Source: DeVries and Taylor 2017.
    """

    def __init__(self, size: int, seed: int | None = None):
        super().__init__(seed)
        self.size = checks.whole("size", size, least=1)

    def apply(self, images: np.ndarray, rng: Generator) -> np.ndarray:
        """Return the images, zero from row top = y - size // 2 and column left = x - size // 2."""
        count, _, rows, columns = images.shape
        top = rng.integers(0, rows, count)[:, None] - self.size // 2  # (N, 1)
        left = rng.integers(0, columns, count)[:, None] - self.size // 2
        row, column = np.arange(rows), np.arange(columns)
        in_rows = (row >= top) & (row < top + self.size)  # (N, H)
        in_columns = (column >= left) & (column < left + self.size)  # (N, W)
        hidden = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # (N, 1, H, W)
        return np.where(hidden, images.dtype.type(0), images)


def transformed(transform: Any, rows: np.ndarray, rng: Generator | None) -> np.ndarray:
    """Transform a batch: a `Transform` at once, any other function row by row, None not at all."""
    if transform is None:
        return rows
    if isinstance(transform, Transform):
        return transform(rows, rng)
    return np.stack([np.asarray(transform(row)) for row in rows])
