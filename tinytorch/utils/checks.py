"""Arguments of module 08 in one form, or refused: by name, with what to give instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox


class Samples:
    """The base of datasets: says what a subclass has forgotten."""

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no length; define __len__")

    def __getitem__(self, index: int) -> Any:
        raise TypeError(f"{type(self).__name__} has no samples; define __getitem__")


def whole(name: str, value: Any, least: int) -> int:
    """Return a whole number that is large enough, or refuse it by name."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
    return int(value)


def both(name: str, value: Any) -> tuple[int, int]:
    """Return height and width, from one number for both or from two."""
    height, width = value if isinstance(value, tuple | list) else (value, value)
    return whole(name, height, least=1), whole(name, width, least=1)


def probability(p: float) -> float:
    """Return a number from 0 to 1, or refuse it."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}; a probability is between 0 and 1")
    return p


def column(data: Any, name: str, allow_nan: bool = False) -> Any:
    """Return data with one row per sample: an array as it is, a list as an array.

    Raises:
        TypeError: If it is a single number, or no numbers.
        ValueError: If it holds NaN and must not.
    """
    if isinstance(data, list | tuple):
        data = np.asarray(data)
        data = data.astype(np.float32) if data.dtype == np.float64 else data
    if not hasattr(data, "shape") or not data.shape or data.dtype.kind not in "biuf":
        kind = f"of dtype {data.dtype}" if hasattr(data, "dtype") else f"a {type(data).__name__}"
        raise TypeError(f"{name} is {kind}; give an array of numbers with a row per sample")
    numbers = isinstance(data, np.ndarray) and data.dtype.kind == "f" and data.size
    if numbers and not allow_nan and np.isnan(data.min()):  # any NaN makes the minimum NaN
        first = tuple(int(i) for i in np.argwhere(np.isnan(data))[0])
        raise ValueError(
            f"{name} holds NaN, first at index {first}; fill it with np.nan_to_num, drop those"
            " rows, or pass allow_nan=True"
        )
    return data


def columns(arrays: Sequence[Any], allow_nan: bool) -> list[Any]:
    """Return the arrays of a dataset: at least one, all with the same number of rows."""
    plain = [array.data if isinstance(array, ArrayBox) else array for array in arrays]
    found = [column(array, f"array {i}", allow_nan) for i, array in enumerate(plain)]
    if not found:
        raise TypeError("a TensorDataset needs at least one array")
    lengths = [len(rows) for rows in found]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"the arrays have {', '.join(map(str, lengths))} rows; give each as many rows as there"
            " are samples"
        )
    return found


def position(index: Any, length: int) -> int:
    """Return an index counted from the start; negative ones count from the end."""
    at = int(index)
    if not -length <= at < length:
        raise IndexError(f"index {at} is out of range for {length} samples")
    return at % length


def positions(indices: Any, length: int) -> np.ndarray:
    """Return a list of indices as an array, or refuse it if one is out of range."""
    indices = np.asarray(indices, dtype=np.int64)
    for index in (indices.min(), indices.max()) if len(indices) else ():
        position(index, length)
    return indices


def loadable(dataset: Any) -> None:
    """Require a dataset that has a length, an index, and at least one sample."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"cannot load from {type(dataset).__name__}: a dataset has __len__ and __getitem__"
        )
    if not len(dataset):
        raise ValueError("the dataset is empty: no samples to load; check its path or filter")


def read_places(more: Sequence[Any], batch_size: int, shuffle: bool) -> tuple[list[Any], int, bool]:
    """Sort out what followed the dataset by place: more arrays, then batch size, then shuffle."""
    arrays = [part for part in more if not isinstance(part, int)]
    settings = list(more[len(arrays) :])
    if len(settings) > 2 or any(not isinstance(part, int) for part in settings):
        raise TypeError("give arrays first, then batch_size and shuffle, the rest by name")
    return arrays, *[*settings, *(batch_size, shuffle)[len(settings) :]]


def part_sizes(length: int, lengths: Sequence[float]) -> list[int]:
    """Return whole sizes that sum to `length`, from such sizes or from fractions that sum to 1.

    Fractions are rounded down; what is left over is dealt to the parts in turn, from the first.
    """
    if any(isinstance(part, float) for part in lengths) and abs(sum(lengths) - 1) < 1e-6:
        sizes = [int(length * part) for part in lengths]
        for extra in range(length - sum(sizes)):
            sizes[extra % len(sizes)] += 1
        return sizes
    sizes = [int(part) for part in lengths]
    if sizes != list(lengths) or sum(sizes) != length or min(sizes) < 0:
        raise ValueError(
            f"cannot split {length} samples into {list(lengths)}: give whole numbers that sum to"
            f" {length}, or fractions that sum to 1"
        )
    return sizes


def unlike(arrays: Sequence[np.ndarray]) -> ValueError:
    """The error for samples that cannot be stacked."""
    place = next(i for i, array in enumerate(arrays) if array.shape != arrays[0].shape)
    return ValueError(
        f"cannot stack samples of shapes {arrays[0].shape} and {arrays[place].shape} (the first and"
        f" number {place} of the batch); crop or pad them to one shape, or pass a collate_fn"
    )


def image_axes(shape: tuple[int, ...]) -> None:
    """Require an image (C, H, W) or a batch of them (N, C, H, W)."""
    if len(shape) not in (3, 4):
        raise ValueError(
            f"cannot transform shape {shape}: an image is (channels, height, width), a batch has"
            " one more axis in front; reshape it"
        )


def scale(mean: Any, std: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation as float32 vectors, the deviation above 0."""
    means, stds = (np.atleast_1d(np.asarray(part, np.float32)) for part in (mean, std))
    if not np.all(stds > 0) or not np.isfinite(means).all():
        raise ValueError(
            f"cannot normalise with mean {mean} and std {std}: give finite means, and deviations"
            " above 0"
        )
    return means, stds


def per_channel(images: np.ndarray, **vectors: np.ndarray) -> None:
    """Require one number for all channels of (N, C, H, W), or one for each."""
    for name, vector in vectors.items():
        if vector.shape not in ((1,), (images.shape[1],)):
            raise ValueError(
                f"{name} has shape {vector.shape}, the images have {images.shape[1]} channels; give"
                " one number per channel"
            )


def fits(size: tuple[int, int], rows: int, columns: int, padding: int) -> None:
    """Require that a window fits into an image with padding on all sides."""
    if rows + 2 * padding < size[0] or columns + 2 * padding < size[1]:
        raise ValueError(
            f"cannot crop {size[0]} × {size[1]} pixels from {rows} × {columns} with padding"
            f" {padding}; crop less or pad more"
        )


def labels_below_ten(labels: np.ndarray) -> np.ndarray:
    """Return labels as int64, or refuse one that is not 0 to 9."""
    wrong = (labels < 0) | (labels > 9)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"sample {at} has label {labels[at]}, the labels are 0 to 9; get it again")
    return labels.astype(np.int64)
