"""The machine room of module 09: settings that are checked, images in blocks, memory lent again.

What a convolution or a pooling computes is in the module; here is only what every fast one needs.
"""

import inspect
import math
from typing import Any, NamedTuple

import numpy as np

from tinytorch.threads import in_parts, shared_out

Array = np.ndarray
Pair = tuple[int, int]
Block = tuple[slice, list[slice]]
BLOCK_BYTES = 2 << 20  # of the columns of one matrix product; measured in module 09


class Geometry(NamedTuple):
    """How windows lie on an image; every entry is (vertical, horizontal), in pixels."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int = 1

    def __str__(self) -> str:
        return f"(kernel={self.kernel}, stride={self.stride}, padding={self.padding})"


def pair(name: str, value: Any, least: int) -> Pair:
    """Read one setting for both axes: `3` and `(3, 3)` are the same.

    Raises:
        ValueError: If there are not two whole numbers, each at least `least`.
    """
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in both)
    if len(both) != 2 or not whole or min(both) < least:
        raise ValueError(f"{name} is {value!r}; it must be one or two integers, at least {least}")
    return int(both[0]), int(both[1])


def geometry(
    kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Geometry:
    """Check the settings of a convolution or pooling and bring them into one form.

    Args:
        kernel, stride, dilation: Pixels, at least 1; a number for both axes, or a pair.
        padding: Pixels, at least 0; "valid" is 0, "same" keeps the size (stride 1).
        groups: Number of independent groups of channels.
    """
    kernel, stride = pair("kernel_size", kernel, 1), pair("stride", stride, 1)
    dilation = pair("dilation", dilation, 1)
    if padding == "same":
        spare = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if stride != (1, 1) or any(n % 2 for n in spare):
            raise ValueError(
                f"padding 'same' with kernel_size {kernel} and stride {stride} would be uneven; "
                "use an odd kernel and stride 1, or give padding in pixels"
            )
        padding = tuple(n // 2 for n in spare)
    padding = pair("padding", 0 if padding == "valid" else padding, 0)
    return Geometry(kernel, stride, padding, dilation, pair("groups", groups, 1)[0])


def check_images(name: str, x: Any) -> None:
    """Require a batch of images: four axes, of a floating dtype."""
    if x.ndim != 4:
        remedy = "add the batch axis with unsqueeze(0)" if x.ndim == 3 else "reshape the input"
        raise ValueError(f"cannot {name} shape {x.shape}: need (N, C, H, W); {remedy}")
    if x.dtype.kind != "f":
        raise TypeError(f"cannot {name} images of {x.dtype}; convert with astype(np.float32)")


def check_convolution(x: Any, weight: Any, bias: Any, groups: int) -> None:
    """Require that images, filters, bias and groups fit together."""
    check_images("convolve", x)
    if weight.ndim != 4:
        raise ValueError(f"filters have shape {weight.shape}; need (out, in / groups, kh, kw)")
    filters, channels = weight.shape[:2]
    if filters % groups or x.shape[1] % groups:
        raise ValueError(
            f"cannot divide {x.shape[1]} input and {filters} output channels into {groups} "
            "groups; choose groups that divides both"
        )
    if x.shape[1] != channels * groups:
        raise ValueError(
            f"cannot convolve shape {x.shape} with filters {weight.shape}: the images have "
            f"{x.shape[1]} channels, the filters want {channels * groups}; "
            "set in_channels to match, or move the channels to axis 1"
        )
    if bias is not None and bias.shape != (filters,):
        raise ValueError(f"bias has shape {bias.shape} for {filters} filters; need ({filters},)")


def blocks(out_shape: tuple[int, ...], x: np.ndarray, geo: Geometry) -> list[list[Block]]:
    """Cut a convolution so that the columns of one block stay in the cache.

    Args:
        out_shape: (N, F, OH, OW).
        x: (N, C, H, W), of which windows are copied.

    Returns:
        The blocks, shared out among threads. A block is a slice of images and the bands of output
        rows to do one after another: all rows at once unless a single image is too large.
    """
    count, _, height, width = out_shape
    row = max(1, x.shape[1] * math.prod(geo.kernel) * x.itemsize * width)  # bytes
    images = max(1, BLOCK_BYTES // (row * height))
    rows = height if images > 1 else max(1, min(height, BLOCK_BYTES // row))
    bands = [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
    found = [(slice(first, min(first + images, count)), bands) for first in range(0, count, images)]
    return shared_out(found)


class Scratch:
    """Arrays that are lent under a name, again and again.

    Fresh memory is mapped and zeroed page by page, which costs more than the arithmetic on it.
    """

    def __init__(self) -> None:
        self.lent: dict[str, np.ndarray] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Lend an array; what it holds is arbitrary."""
        size = math.prod(shape)
        flat = self.lent.get(name)
        if flat is None or flat.size < size:
            flat = self.lent[name] = np.empty(size, dtype)
        return flat[:size].reshape(shape)


def pad(x: np.ndarray, geo: Geometry, value: float = 0.0) -> np.ndarray:
    """Put `geo.padding` rows and columns of a value on both sides; x itself if there are none."""
    ph, pw = geo.padding
    if ph == pw == 0:
        return x
    *front, h, w = x.shape
    padded = np.full((*front, h + 2 * ph, w + 2 * pw), value, x.dtype)
    padded[..., ph : ph + h, pw : pw + w] = x
    return padded


def inside(padded: np.ndarray, geo: Geometry) -> np.ndarray:
    """Cut the padding off."""
    (ph, pw), (h, w) = geo.padding, padded.shape[2:]
    return padded[:, :, ph : h - ph, pw : w - pw]


def pooling_geometry(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Geometry:
    """Check images and settings; the stride is the kernel unless given."""
    check_images("pool", x)
    geo = geometry(kernel, kernel if stride is None else stride, padding, dilation)
    if any(2 * p > k for p, k in zip(geo.padding, geo.kernel, strict=True)):
        raise ValueError(
            f"padding {geo.padding} is more than half of kernel_size {geo.kernel}: a window would "
            "see nothing but padding; use less"
        )
    return geo


def channel_sums(x: Array, y: Array | None = None, less: Array | None = None) -> Array:
    """Sum over all axes but the channels: x, or x * y, or the squares of x - less: (C,).

    Args:
        less: One number per channel, subtracted before squaring.
    """
    sums = np.empty(x.shape[:2], x.dtype)

    def squared(x: Array, out: Array) -> None:
        centred = x - less[:, None, None]
        np.einsum("nchw,nchw->nc", centred, centred, out=out)

    if less is not None:
        in_parts(squared, x, sums)
    elif y is None:
        in_parts(lambda x, out: np.sum(x, axis=(2, 3), out=out), x, sums)
    else:
        in_parts(lambda x, y, out: np.einsum("nchw,nchw->nc", x, y, out=out), x, y, sums)
    return sums.sum(axis=0)


def channel_scale(
    x: Array, slope: Array, offset: Array, g: Array | None = None, tilt: Array | None = None
) -> Array:
    """Return slope * x + offset, or slope * x + offset + tilt * g, with numbers per channel."""
    slope, offset = slope[:, None, None], offset[:, None, None]
    if g is None:
        out = np.empty(x.shape, np.result_type(x, slope))

        def run(x: Array, out: Array) -> None:
            np.multiply(x, slope, out=out)
            out += offset

        in_parts(run, x, out)
        return out
    out, tilt = np.empty(x.shape, g.dtype), tilt[:, None, None]

    def run_both(x: Array, g: Array, out: Array) -> None:
        np.multiply(x, slope, out=out)
        out += offset
        out += g * tilt

    in_parts(run_both, x, g, out)
    return out


def average_divisor(shape: tuple[int, ...], geo: Geometry, include_pad: bool) -> Any:
    """What the sum of each window is divided by: a number, or an array (OH, OW) of pixel counts.

    Args:
        shape: (N, C, H, W) before padding.
        include_pad: Whether padded zeros count.
    """
    if include_pad:
        return math.prod(geo.kernel)
    rows, cols = (
        np.lib.stride_tricks.sliding_window_view(np.pad(np.ones(n, np.float32), p), k)[::s]
        for n, p, k, s in zip(shape[2:], geo.padding, geo.kernel, geo.stride, strict=True)
    )
    return np.outer(rows.sum(axis=1), cols.sum(axis=1))


def averaging_matrix(outputs: int, inputs: int, dtype: Any) -> Array:
    """Return A (outputs, inputs), which averages along one axis in windows as equal as possible."""
    matrix = np.zeros((outputs, inputs), dtype)
    for i in range(outputs):
        start, stop = i * inputs // outputs, -(-(i + 1) * inputs // outputs)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def adaptive_average(x, *, size):
    """Average to the given (OH, OW): a matrix for each axis, as averaging is linear."""
    rows, cols = (averaging_matrix(m, n, x.dtype) for m, n in zip(size, x.shape[2:], strict=True))
    return rows @ x @ cols.T


def adaptive_average_gradient(g: Array, out: Any, shape: tuple[int, ...], size: Any) -> Array:
    """The rule of adaptive_average; only the shape of the input is needed."""
    rows, cols = (averaging_matrix(m, n, g.dtype) for m, n in zip(size, shape[2:], strict=True))
    return rows.T @ g @ cols


def settings_of(function: Any, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a function takes after its input, given by place or by name."""
    call = inspect.signature(function).bind(None, *given, **named)
    call.apply_defaults()
    return dict(list(call.arguments.items())[1:])


def columns(view: np.ndarray, groups: int, scratch: Scratch) -> np.ndarray:
    """Copy windows (C, kh, kw, B, OH, OW) into a matrix for each group, (G, C/G·kh·kw, B·OH·OW)."""
    copy = scratch("columns", view.shape, view.dtype)
    np.copyto(copy, view)
    return copy.reshape(groups, -1, math.prod(view.shape[3:]))


def channels_first(x: np.ndarray, groups: int, scratch: Scratch) -> np.ndarray:
    """Copy (B, F, OH, OW) into a matrix for each group, (G, F/G, B·OH·OW)."""
    copy = scratch("channels", (x.shape[1], x.shape[0], *x.shape[2:]), x.dtype)
    np.copyto(copy, x.swapaxes(0, 1))
    return copy.reshape(groups, x.shape[1] // groups, -1)


def check_channels(inside: int, outside: int, groups: int) -> None:
    """Require channels that can be divided into groups."""
    if min(inside, outside) < 1 or inside % groups or outside % groups:
        raise ValueError(
            f"cannot divide {inside} input and {outside} output channels into {groups} groups; "
            "choose channels of at least 1 and groups that divides both"
        )


def check_features(x: Any, features: int, from_batch: bool) -> None:
    """Require images of so many channels; and two values each if they are to have a variance."""
    check_images("normalise", x)
    if x.shape[1] != features:
        raise ValueError(
            f"cannot normalise shape {x.shape}: it has {x.shape[1]} channels, the layer "
            f"{features}; set num_features to match"
        )
    if from_batch and x.size < 2 * features:
        raise ValueError(
            f"{x.size // features} value per channel has no variance; use a larger batch"
        )
