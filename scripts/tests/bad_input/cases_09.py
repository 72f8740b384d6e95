"""Bad input to module 09: what is called, what it must raise, what the message must name.

The callables import the course when they are called, so that the table can be read without it.
"""

from importlib import import_module
from typing import Any

import numpy as np


def spatial(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 09."""
    return getattr(import_module("tinytorch.core.spatial"), name)(*arguments, **named)


def tensor(*shape: int, dtype: Any = np.float32) -> Any:
    """A tensor of zeros."""
    return import_module("tinytorch.core.tensor").Tensor(np.zeros(shape, dtype))


def convolve(shape: tuple[int, ...], filters: tuple[int, ...], *settings: Any, **named: Any) -> Any:
    """Call conv2d on zeros."""
    return spatial("conv2d", tensor(*shape), tensor(*filters), *settings, **named)


IMAGES, FILTERS = (2, 3, 8, 6), (4, 3, 3, 3)

CASES = [
    # Convolution
    (
        "wrong channels",
        lambda: convolve(IMAGES, (4, 5, 3, 3)),
        ValueError,
        ["(2, 3, 8, 6)", "3 channels", "want 5", "in_channels"],
    ),
    (
        "channels last",
        lambda: spatial("Conv2d", 3, 4, 3)(tensor(2, 8, 6, 3)),
        ValueError,
        ["8 channels", "want 3", "axis 1"],
    ),
    (
        "an image without a batch axis",
        lambda: convolve(IMAGES[1:], FILTERS),
        ValueError,
        ["(3, 8, 6)", "(N, C, H, W)", "unsqueeze(0)"],
    ),
    (
        "a flat batch",
        lambda: spatial("Conv2d", 3, 4, 3)(tensor(2, 144)),
        ValueError,
        ["(2, 144)", "(N, C, H, W)", "reshape"],
    ),
    ("filters of 2 axes", lambda: convolve(IMAGES, (4, 3)), ValueError, ["(4, 3)", "kh, kw"]),
    (
        "images of whole numbers",
        lambda: spatial("Conv2d", 3, 4, 3)(tensor(*IMAGES, dtype=np.uint8)),
        TypeError,
        ["uint8", "astype(np.float32)"],
    ),
    (
        "a kernel larger than the image",
        lambda: convolve(IMAGES, (4, 3, 3, 7)),
        ValueError,
        ["spans 7 pixels", "image of 6", "smaller kernel"],
    ),
    (
        "a dilated kernel larger than the image",
        lambda: convolve(IMAGES, FILTERS, dilation=(1, 3)),
        ValueError,
        ["spans 7 pixels", "more padding"],
    ),
    ("stride 0", lambda: convolve(IMAGES, FILTERS, stride=0), ValueError, ["stride is 0", "1"]),
    ("stride (1, 0)", lambda: convolve(IMAGES, FILTERS, None, (1, 0)), ValueError, ["(1, 0)"]),
    (
        "half a stride",
        lambda: convolve(IMAGES, FILTERS, None, 0.5),
        ValueError,
        ["0.5", "integers"],
    ),
    (
        "three strides",
        lambda: convolve(IMAGES, FILTERS, None, (1, 1, 1)),
        ValueError,
        ["one or two"],
    ),
    ("dilation 0", lambda: convolve(IMAGES, FILTERS, dilation=0), ValueError, ["dilation is 0"]),
    ("negative padding", lambda: convolve(IMAGES, FILTERS, padding=-1), ValueError, ["is -1"]),
    ("padding by name", lambda: convolve(IMAGES, FILTERS, padding="full"), ValueError, ["'full'"]),
    (
        "same padding with a stride",
        lambda: convolve(IMAGES, FILTERS, stride=2, padding="same"),
        ValueError,
        ["'same'", "(2, 2)", "stride 1"],
    ),
    (
        "groups that do not divide",
        lambda: convolve(IMAGES, FILTERS, groups=2),
        ValueError,
        ["3 input", "4 output", "2 groups"],
    ),
    ("groups 0", lambda: convolve(IMAGES, FILTERS, groups=0), ValueError, ["groups is 0"]),
    (
        "a bias of the wrong length",
        lambda: convolve(IMAGES, FILTERS, tensor(3)),
        ValueError,
        ["(3,)", "4 filters"],
    ),
    (
        "a layer whose groups do not divide",
        lambda: spatial("Conv2d", 4, 6, 3, groups=4),
        ValueError,
        ["4 input", "6 output", "4 groups"],
    ),
    ("a layer without channels", lambda: spatial("Conv2d", 0, 4, 3), ValueError, ["0 input"]),
    ("a kernel of 0", lambda: spatial("Conv2d", 3, 4, 0), ValueError, ["kernel_size is 0"]),
    (
        "naive: wrong channels",
        lambda: spatial("conv2d_naive", tensor(*IMAGES), tensor(4, 5, 3, 3)),
        ValueError,
        ["3 channels", "want 5"],
    ),
    # Pooling
    (
        "pool larger than the image",
        lambda: spatial("max_pool2d", tensor(*IMAGES), 7),
        ValueError,
        ["spans 7 pixels", "image of 6"],
    ),
    (
        "pool without a batch axis",
        lambda: spatial("MaxPool2d", 2)(tensor(3, 8, 6)),
        ValueError,
        ["(3, 8, 6)", "unsqueeze(0)"],
    ),
    (
        "pool stride 0",
        lambda: spatial("avg_pool2d", tensor(*IMAGES), 2, 0),
        ValueError,
        ["stride is 0"],
    ),
    (
        "pool of nothing but padding",
        lambda: spatial("avg_pool2d", tensor(*IMAGES), 2, 1, 2),
        ValueError,
        ["(2, 2)", "more than half"],
    ),
    (
        "pool of whole numbers",
        lambda: spatial("max_pool2d", tensor(*IMAGES, dtype=int), 2),
        TypeError,
        ["int64", "astype"],
    ),
    (
        "adaptive pool to 0",
        lambda: spatial("adaptive_avg_pool2d", tensor(*IMAGES), 0),
        ValueError,
        ["0", "at least 1"],
    ),
    # Batch normalisation
    (
        "batch norm of other channels",
        lambda: spatial("BatchNorm2d", 4)(tensor(*IMAGES)),
        ValueError,
        ["(2, 3, 8, 6)", "3 channels", "4", "num_features"],
    ),
    (
        "batch norm of 2 axes",
        lambda: spatial("BatchNorm2d", 4)(tensor(2, 4)),
        ValueError,
        ["(2, 4)", "(N, C, H, W)"],
    ),
    (
        "batch norm of one value",
        lambda: spatial("BatchNorm2d", 3)(tensor(1, 3, 1, 1)),
        ValueError,
        ["1 value per channel", "larger batch"],
    ),
]
