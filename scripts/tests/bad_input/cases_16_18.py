"""Bad input to modules 16 and 18: what is called, what it must raise, what the message must name.

The callables import the course when they are called, so that the table can be read without it.
"""

from importlib import import_module
from typing import Any

import numpy as np


def core(module: str, name: str) -> Any:
    """Something of a module."""
    return getattr(import_module(f"tinytorch.core.{module}"), name)


def tensor(*shape: int) -> Any:
    """A tensor of ones."""
    return core("tensor", "Tensor")(np.ones(shape, np.float32))


def compression(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 16."""
    return core("compression", name)(*arguments, **named)


def acceleration(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 18."""
    return core("acceleration", name)(*arguments, **named)


def folded(filters: int, channels: int, **settings: Any) -> Any:
    """Fold a normalisation of so many channels into so many filters."""
    norm = core("spatial", "BatchNorm2d")(channels, **settings)
    return acceleration("fold_batchnorm", core("spatial", "Conv2d")(1, filters, 3), norm)


def partly_training() -> Any:
    """Accelerate a chain of which one layer is in training."""
    model = core("layers", "MLP")(4, [6], 2).eval()
    model[2].train()
    return acceleration("accelerate", model)


def images(*shape: int) -> Any:
    """Ones, as an array."""
    return np.ones(shape, np.float32)


def layer(name: str, *arguments: Any) -> Any:
    """Make a layer of module 03."""
    return core("layers", name)(*arguments)


def distilled(student: tuple, teacher: tuple) -> Any:
    """Compare logits of these shapes."""
    return compression("DistillationLoss")(tensor(*student), tensor(*teacher), [0])


CASES = [
    # Compression
    (
        "all weights gone",
        lambda: compression("magnitude_mask", np.ones(4), 1.0),
        ValueError,
        ["1.0", "below 1"],
    ),
    (
        "a negative sparsity",
        lambda: compression("magnitude_mask", np.ones(4), -0.1),
        ValueError,
        ["sparsity", "-0.1"],
    ),
    (
        "percent for a share",
        lambda: compression("unit_mask", np.ones((4, 2)), 80),
        ValueError,
        ["sparsity is 80"],
    ),
    (
        "NaN for a share",
        lambda: compression("unit_mask", np.ones((4, 2)), np.nan),
        ValueError,
        ["nan"],
    ),
    ("CSR of a bias", lambda: compression("to_csr", np.ones(4)), ValueError, ["(4,)", "(out, in)"]),
    (
        "nothing to prune",
        lambda: compression("Pruner", layer("Flatten")),
        ValueError,
        ["Flatten", "prune"],
    ),
    (
        "an unknown scope",
        lambda: compression("Pruner", layer("Linear", 2, 2), "model"),
        ValueError,
        ["'model'", "'layer'"],
    ),
    (
        "a look at every 0th step",
        lambda: compression("Pruner", layer("Linear", 2, 2), "layer", None, 0),
        ValueError,
        ["every 0"],
    ),
    (
        "a rise of no steps",
        lambda: compression("cubic_sparsity", 0, 0.8, 0),
        ValueError,
        ["steps is 0"],
    ),
    (
        "units of what is no chain",
        lambda: compression("prune_units", layer("Linear", 2, 2), 0.5),
        TypeError,
        ["Linear", "Sequential"],
    ),
    (
        "units behind a sigmoid",
        lambda: compression(
            "prune_units",
            core("layers", "MLP")(4, [6], 2, activation=core("activations", "Sigmoid")),
            0.5,
        ),
        ValueError,
        ["layer 1", "Sigmoid", "0.5", "ReLU"],
    ),
    (
        "columns that cannot be shared out",
        lambda: compression(
            "remove_units", layer("Linear", 2, 4), layer("Linear", 6, 2), np.ones(4, bool)
        ),
        ValueError,
        ["4 units", "6 columns"],
    ),
    (
        "rank 0",
        lambda: compression("factor_linear", layer("Linear", 4, 3), 0),
        ValueError,
        ["rank 0", "(3, 4)", "1 to 3"],
    ),
    (
        "a rank above both sides",
        lambda: compression("low_rank_factors", np.ones((3, 4)), 4),
        ValueError,
        ["rank 4", "1 to 3"],
    ),
    (
        "a share for a rank",
        lambda: compression("low_rank_error", np.ones((3, 4)), 0.5),
        ValueError,
        ["0.5", "whole number"],
    ),
    ("temperature 0", lambda: compression("DistillationLoss", 0), ValueError, ["temperature is 0"]),
    (
        "alpha above 1",
        lambda: compression("DistillationLoss", 1.0, 1.5),
        ValueError,
        ["alpha is 1.5"],
    ),
    (
        "other classes than the teacher",
        lambda: distilled((1, 3), (1, 4)),
        ValueError,
        ["(1, 3)", "(1, 4)"],
    ),
    ("logits of one axis", lambda: distilled((3,), (3,)), ValueError, ["(3,)", "(N, C)"]),
    # Acceleration
    (
        "matrices that do not fit",
        lambda: acceleration("matmul_blocked", images(2, 3), images(2, 3)),
        ValueError,
        ["(2, 3)"],
    ),
    (
        "a vector for a matrix",
        lambda: acceleration("matmul_naive", images(3), images(3, 2)),
        ValueError,
        ["(3,)"],
    ),
    (
        "blocks of 0",
        lambda: acceleration("matmul_blocked", images(2, 2), images(2, 2), 0),
        ValueError,
        ["block is 0"],
    ),
    ("matrices of 2.5", lambda: acceleration("measure_roofline", 2.5), ValueError, ["size is 2.5"]),
    (
        "a triad of nothing",
        lambda: acceleration("measure_roofline", 8, 0),
        ValueError,
        ["length is 0"],
    ),
    (
        "images of other channels",
        lambda: acceleration("conv2d_im2col", images(1, 2, 4, 4), images(3, 1, 2, 2), images(3)),
        ValueError,
        ["2 channels", "1"],
    ),
    (
        "a bias of another length",
        lambda: acceleration("conv2d_direct", images(1, 1, 4, 4), images(3, 1, 2, 2), images(2)),
        ValueError,
        ["(2,)", "3 filters"],
    ),
    (
        "an out of another shape",
        lambda: acceleration("linear_relu", images(2, 3), images(4, 3), None, out=images(2, 3)),
        ValueError,
        ["(2, 3)", "(2, 4)"],
    ),
    (
        "an out of another dtype",
        lambda: acceleration("scale_shift_relu", images(2), images(1), images(1), np.ones(2)),
        ValueError,
        ["float64", "float32"],
    ),
    (
        "batches of 0 rows",
        lambda: acceleration("in_batches", np.abs, images(4), 0),
        ValueError,
        ["size is 0"],
    ),
    (
        "no workers",
        lambda: acceleration("in_workers", np.abs, images(4), 0),
        ValueError,
        ["workers is 0"],
    ),
    (
        "a normalisation of other channels",
        lambda: folded(4, 3),
        ValueError,
        ["3 channels", "4 filters"],
    ),
    (
        "a normalisation by the batch",
        lambda: folded(3, 3, track_running_stats=False),
        ValueError,
        ["running"],
    ),
    (
        "a model in training",
        lambda: acceleration("accelerate", layer("Linear", 2, 2)),
        ValueError,
        ["eval()"],
    ),
    ("a part in training", partly_training, ValueError, ["eval()"]),
]
