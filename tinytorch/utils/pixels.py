"""Images as bytes: the file formats of the digits and of MNIST, and bytes that read as numbers."""

import struct
from typing import Any

import numpy as np

from tinytorch.utils import checks

Half = tuple[np.ndarray, np.ndarray]  # images and labels


def read_digits(text: str) -> Half:
    """Return the images, (N, 1, 8, 8) float32 from 0 to 1, and the labels, (N,) int64.

    Each line has 64 grey values from 0 to 16, row by row, and then the label.

    Raises:
        ValueError: If a line has not 65 numbers, or a label is not 0 to 9.
    """
    rows = [line.split(",") for line in text.splitlines() if line.strip()]
    if not rows or any(len(row) != 65 for row in rows):
        wrong = next((n for n, row in enumerate(rows, 1) if len(row) != 65), 1)
        raise ValueError(f"line {wrong} of the digits has not 65 numbers; restore the file")
    numbers = np.array(rows, dtype=np.int64)
    images = numbers[:, :64].reshape(-1, 1, 8, 8).astype(np.float32) / 16
    return images, checks.labels_below_ten(numbers[:, 64])


def read_idx(data: bytes) -> np.ndarray:
    """Return the uint8 array of an unpacked IDX file, the format of MNIST.

    Two zero bytes, the type (8 = bytes), the number of axes, each size as four bytes with the most
    significant first, then the values.

    Raises:
        ValueError: If it does not begin as IDX does, or its size is not what its header says.
    """
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise ValueError(
            f"not an IDX file: it begins with {data[:4].hex(' ') or 'nothing'}; get it again"
        )
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"an IDX file of shape {shape} has {values.size} values; get it again")
    return values.reshape(shape)


class ByteArray:
    """Bytes in memory that stand for numbers; a subclass says which, in `__getitem__`.

    Anything but indexing is done on the whole array as numbers, which then exists for a moment.

    Args:
        pixels: uint8 array.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, pixels: np.ndarray):
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels have dtype {pixels.dtype}; give uint8 values from 0 to 255")
        self.pixels = pixels

    shape = property(lambda self: self.pixels.shape, doc="Sizes of the axes.")
    ndim = property(lambda self: self.pixels.ndim, doc="Number of axes.")
    size = property(lambda self: self.pixels.size, doc="Number of elements.")
    nbytes = property(lambda self: self.pixels.nbytes, doc="Bytes held, one per element.")

    def __len__(self) -> int:
        return len(self.pixels)

    def numpy(self) -> np.ndarray:
        """Return everything as float32: four times the memory."""
        return self[:]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "pixels":
            raise AttributeError(name)
        return getattr(self[:], name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, {self.nbytes:,} bytes)"
