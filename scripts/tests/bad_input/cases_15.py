"""Bad input to module 15: what is called, what it must raise, what the message must name."""

from importlib import import_module
from typing import Any

import numpy as np

ONE = np.ones((2, 3), np.float32)
CODES = np.ones((2, 3), np.int8)


def make(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 15."""
    return getattr(import_module("tinytorch.core.quantization"), name)(*arguments, **named)


def layer(kind: str, *arguments: Any, **named: Any) -> Any:
    """A float layer."""
    room = "spatial" if kind == "Conv2d" else "layers"
    return getattr(import_module(f"tinytorch.core.{room}"), kind)(*arguments, **named)


def packed(kind: str, *arguments: Any, **named: Any) -> Any:
    """A quantized layer that saw -1 to 1."""
    seen = make("Calibrator")
    seen.observe(np.array([-1.0, 1.0]))
    return make(f"Quantized{kind}", *arguments, **named).pack(
        layer(kind, *arguments, **named), seen
    )


def tensor(data: Any) -> Any:
    """A Tensor."""
    return import_module("tinytorch.core.tensor").Tensor(data)


def with_nan(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, and NaN at the end."""
    array = np.zeros(shape, np.float32)
    array.flat[-1] = np.nan
    return array


def broken() -> Any:
    """A Linear with NaN among its weights."""
    linear = layer("Linear", 3, 2)
    linear.weight.data = with_nan((2, 3))
    return linear


CASES = [
    # Codes
    ("NaN", lambda: make("quantize", with_nan((2, 3))), ValueError, ["nan", "(1, 2)"]),
    (
        "NaN, scale given",
        lambda: make("quantize", with_nan((2,)), 0.1),
        ValueError,
        ["nan", "(1,)"],
    ),
    ("infinity", lambda: make("quantize", [1.0, -np.inf]), ValueError, ["-inf", "(1,)"]),
    ("too large for float32", lambda: make("quantize", [1.0, 1e300]), ValueError, ["1e+300"]),
    ("nothing", lambda: make("quantize", np.zeros((0, 3))), ValueError, ["(0, 3)", "empty"]),
    ("whole numbers", lambda: make("quantize", np.arange(3)), TypeError, ["int64", "float32"]),
    ("booleans", lambda: make("quantize", ONE > 0), TypeError, ["bool", "float32"]),
    ("codes again", lambda: make("quantize", CODES), TypeError, ["int8"]),
    ("texts", lambda: make("quantize", ["a"]), TypeError, ["<U1"]),
    ("9 bits", lambda: make("quantize", ONE, bits=9), ValueError, ["bits is 9", "from 2 to 8"]),
    ("1 bit", lambda: make("quantize", ONE, bits=1), ValueError, ["bits is 1"]),
    ("half a bit", lambda: make("quantize", ONE, bits=4.5), ValueError, ["bits is 4.5"]),
    ("axis out of range", lambda: make("quantize", ONE, axis=2), ValueError, ["axis 2", "(2, 3)"]),
    ("axis no number", lambda: make("quantize", ONE, axis="rows"), TypeError, ["'rows'"]),
    ("scale of 0", lambda: make("quantize", ONE, 0.0), ValueError, ["scale is 0.0", "above 0"]),
    ("negative scale", lambda: make("quantize", ONE, -0.1), ValueError, ["-0.1"]),
    ("scale NaN", lambda: make("quantize", ONE, np.nan), ValueError, ["nan", "finite"]),
    (
        "scales of other channels",
        lambda: make("quantize", ONE, [0.1, 0.1], axis=1),
        ValueError,
        ["(2,)", "(3,)", "axis=1"],
    ),
    ("zero point 200", lambda: make("quantize", ONE, 0.1, 200), ValueError, ["200", "-128 to 127"]),
    ("zero point 0.5", lambda: make("quantize", ONE, 0.1, 0.5), ValueError, ["0.5", "whole"]),
    ("range reversed", lambda: make("choose_qparams", 2, 1), ValueError, ["2.0 to 1.0", "lower"]),
    ("range of NaN", lambda: make("choose_qparams", np.nan, 1), ValueError, ["nan"]),
    ("unequal ranges", lambda: make("choose_qparams", [0, 1], 1), ValueError, ["(2,)", "()"]),
    # Calibration
    ("method unknown", lambda: make("Calibrator", "kl"), ValueError, ["'kl'", "'minmax'"]),
    ("percentile 0", lambda: make("Calibrator", "percentile", 0), ValueError, ["is 0", "above 50"]),
    ("no batch seen", lambda: make("Calibrator").qparams(), ValueError, ["observe(batch)"]),
    ("empty batch", lambda: make("Calibrator").observe(ONE[:0]), ValueError, ["(0, 3)", "empty"]),
    ("batch of NaN", lambda: make("Calibrator").observe(with_nan((3,))), ValueError, ["nan"]),
    # Products
    (
        "product of floats",
        lambda: make("integer_matmul", ONE, CODES.T),
        TypeError,
        ["float32 and int8", "quantize"],
    ),
    ("shapes", lambda: make("integer_matmul", CODES, CODES), ValueError, ["(2, 3) and (2, 3)"]),
    (
        "sums too long",
        lambda: make(
            "integer_matmul", np.ones((1, 70_000), np.int8), np.ones((70_000, 1), np.int8)
        ),
        ValueError,
        ["70000", "65536"],
    ),
    # Layers
    ("a weight of NaN", lambda: make("quantize_model", broken(), [ONE]), ValueError, ["nan"]),
    (
        "an input of NaN",
        lambda: packed("Linear", 3, 2)(tensor(with_nan((2, 3)))),
        ValueError,
        ["nan", "(1, 2)"],
    ),
    (
        "other features",
        lambda: packed("Linear", 4, 2)(tensor(ONE)),
        ValueError,
        ["(2, 3)", "in_features=4"],
    ),
    (
        "other channels",
        lambda: packed("Conv2d", 2, 2, 1)(tensor(np.ones((1, 3, 4, 4), np.float32))),
        ValueError,
        ["3 channels", "want 2"],
    ),
    (
        "an image smaller than the kernel",
        lambda: packed("Conv2d", 1, 1, 3)(tensor(np.ones((1, 1, 2, 2), np.float32))),
        ValueError,
        ["3 pixels", "2"],
    ),
    # Models
    (
        "no calibration batch",
        lambda: make("quantize_model", layer("Linear", 3, 2), []),
        ValueError,
        ["no calibration batch"],
    ),
    (
        "an array for batches",
        lambda: make("quantize_model", layer("Linear", 3, 2), ONE),
        TypeError,
        ["(2, 3)", "[x]"],
    ),
    (
        "batches of whole numbers",
        lambda: make("quantize_model", layer("Linear", 3, 2), [np.ones((2, 3), int)]),
        TypeError,
        ["int64"],
    ),
]
