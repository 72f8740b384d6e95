"""The given part of module 15: codes with their scale, and refusals."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class QTensor:
    """Whole numbers that stand for real ones: scale * (values - zero_point).

    Attributes:
        values: The codes, int8.
        scale, zero_point: float32 and int32; one number each, or one for each index along `axis`.
        axis: The axis of the channels; None if all share one scale.
    """

    values: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, and of all scales and zero points."""
        return self.values.nbytes + self.scale.nbytes + self.zero_point.nbytes


def spread(numbers: np.ndarray, axis: int | None, ndim: int) -> np.ndarray:
    """Shape one number per channel so that it broadcasts along `axis` of an array."""
    if axis is None or not numbers.ndim:
        return numbers
    shape = [1] * ndim
    shape[axis] = -1
    return numbers.reshape(shape)


def checked_bits(bits: int) -> int:
    """Return a number of bits that fits into int8, or refuse it."""
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits!r}; give a whole number from 2 to 8: codes are int8")
    return int(bits)


def checked_values(x: Any, needed: bool = False) -> np.ndarray:
    """Return floating numbers without NaN as an array, or refuse them.

    Args:
        needed: Whether a range is to be read from them: then none may be infinite, nor all missing.
    """
    array = x.data if isinstance(x, ArrayBox) else np.asarray(x)
    if array.dtype.kind != "f":
        raise TypeError(
            f"cannot quantize {array.dtype}: only floating numbers need it; convert with "
            "astype(np.float32)"
        )
    if not array.size:
        if needed:
            raise ValueError(
                f"an array of shape {array.shape} is empty and has no range; give some values"
            )
        return array
    low, high = array.min(), array.max()
    if np.isnan(low) or (needed and max(-low, high) > LARGEST):  # any NaN makes the minimum NaN
        wrong = np.isnan(array) if np.isnan(low) else np.abs(array) > LARGEST
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"cannot quantize {array[first]} at index {first}: there is no code for it; look where "
            "it comes from"
        )
    return array


def checked_range(low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of one range, or of one for each channel, as float64, or refuse them."""
    low, high = (np.asarray(end, np.float64) for end in (low, high))
    if low.shape != high.shape or low.ndim > 1:
        raise ValueError(
            f"ranges from shape {low.shape} to shape {high.shape}; give two numbers, or two "
            "vectors with one number per channel"
        )
    wrong = ~((low <= high) & (np.abs(low) <= LARGEST) & (np.abs(high) <= LARGEST))
    if wrong.any():
        ends = low[wrong][0], high[wrong][0]
        raise ValueError(
            f"no range from {ends[0]} to {ends[1]}; give finite float32 numbers, the lower first"
        )
    return low, high


def checked_axis(axis: int | None, shape: tuple[int, ...]) -> int | None:
    """Return an axis counted from the front; None stays."""
    if axis is None:
        return None
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(f"axis is {axis!r}; give a whole number, or None for one scale in all")
    if not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"axis {axis} is out of range for shape {shape}; give the axis of the channels"
        )
    return int(axis) % len(shape)


def checked_qparams(
    scale: Any, zero_point: Any, axis: int | None, shape: tuple[int, ...], bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return scales as float32 and zero points as int32, or refuse them."""
    scale, given = np.asarray(scale, np.float32), np.asarray(zero_point)
    wanted = () if axis is None else (shape[axis],)
    if scale.shape != wanted or given.shape not in ((), wanted):
        raise ValueError(
            f"scale has shape {scale.shape}, zero_point {given.shape} for values {shape} with "
            f"axis={axis}; both must have shape {wanted}"
        )
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"scale is {scale}; a scale is a finite number above 0")
    top = 2 ** (bits - 1) - 1
    if given.dtype.kind not in "iu" or ((given < -top - 1) | (given > top)).any():
        raise ValueError(
            f"zero_point is {given}; it is a code: a whole number from {-top - 1} to {top}"
        )
    return scale, np.broadcast_to(given, wanted).astype(np.int32)


def check_codes(a: np.ndarray, b: np.ndarray, most: int) -> None:
    """Refuse matrices that are not int8, do not fit together, or whose sums may leave int32."""
    if a.dtype != np.int8 or b.dtype != np.int8:
        raise TypeError(f"codes are int8, got {a.dtype} and {b.dtype}; call quantize first")
    if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"cannot multiply codes of shapes {a.shape} and {b.shape}: the last axis of the first "
            "and the last but one of the second must agree; transpose one"
        )
    if a.shape[-1] > most:
        raise ValueError(
            f"sums of {a.shape[-1]} products may leave int32; keep such a layer float, at most "
            f"{most} products are safe"
        )


def check_method(method: str, percentile: float) -> None:
    """Refuse an unknown way to calibrate."""
    if method not in ("minmax", "percentile"):
        raise ValueError(f"method is {method!r}; use 'minmax' or 'percentile'")
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}; give a number above 50, up to 100")


def inputs_of(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the inputs of batches that are (inputs, targets), or inputs alone; refuse none."""
    if isinstance(batches, ArrayBox | np.ndarray):
        raise TypeError(
            f"calibration batches are one array of shape {batches.shape}; give a list of batches, "
            "such as [x]"
        )
    empty = True
    for batch in batches:
        empty = False
        yield batch[0] if isinstance(batch, tuple | list) else batch
    if empty:
        raise ValueError(
            "there is no calibration batch, so no range is known; give some typical inputs"
        )
