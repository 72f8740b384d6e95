"""The given part of module 18: a clock, and what is refused before anything is fused."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytorch.machinery import Primitive
from tinytorch.tree import Trained

Array = np.ndarray


def best_seconds(function: Callable[..., Any], *inputs: Any, repeat: int = 5) -> float:
    """Return the least wall-clock time of several calls, after one to warm up."""
    function(*inputs)
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        function(*inputs)
        best = min(best, time.perf_counter() - start)
    return best


def same(got: Any, expected: Any, tolerance: float = 1e-5) -> bool:
    """Whether two results agree to a share of the largest value."""
    got, expected = (np.asarray(a.numpy() if hasattr(a, "numpy") else a) for a in (got, expected))
    scale = max(float(np.abs(expected).max(initial=0)), 1.0)
    shapes = got.shape == expected.shape
    return shapes and float(np.abs(got - expected).max(initial=0)) <= tolerance * scale


def matmul_sweeps(a: Array, b: Array) -> Array:
    """Multiply (n, k) and (k, m) as a sum of k updates, each of which sweeps over the result."""
    out = np.zeros((len(a), b.shape[1]), np.result_type(a, b))
    for k in range(a.shape[1]):
        out += a[:, k : k + 1] * b[k]
    return out


def checked_matrices(a: Any, b: Any) -> None:
    """Require two matrices that can be multiplied."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(
            f"cannot multiply {a.shape} and {b.shape}: give (n, k) and (k, m), with one k"
        )


def checked_count(name: str, value: Any) -> int:
    """Return a whole number of at least 1, or refuse it by name."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least 1")
    return int(value)


def checked_out(out: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the array to write a result into: the one given if it fits, or a new one."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out is {out.shape} of {out.dtype}; the result is {shape} of {dtype}")
    return out


def check_foldable(conv: Any, norm: Any) -> None:
    """Require a normalisation by running statistics, of as many channels as the filters make."""
    if norm.running_mean is None:
        raise ValueError("this BatchNorm2d keeps no running statistics; nothing fixed to fold")
    if norm.num_features != conv.out_channels:
        raise ValueError(
            f"cannot fold {norm.num_features} channels into {conv.out_channels} filters; "
            "give the BatchNorm2d that follows this convolution"
        )


def check_evaluation(model: Any) -> None:
    """Require that no part of a model is in training mode."""
    if any(part.training for part in model.modules()):
        raise ValueError(
            "the model is in training; what is fused cannot be trained, call model.eval() first"
        )


def is_relu(layer: Any) -> bool:
    """Whether a layer is ReLU: the object of module 02, or its function."""
    if isinstance(layer, Primitive):
        return layer.name == "relu"
    return type(layer).__name__ == "ReLU"


def is_fixed_norm(layer: Any) -> bool:
    """Whether a layer is a BatchNorm2d that answers by its running statistics."""
    return type(layer).__name__ == "BatchNorm2d" and layer.running_mean is not None


def frozen(model: Any) -> Any:
    """Forget that parameters are trained, and return the model."""
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


def parameter_like(parameter: Trained, array: Array) -> Any:
    """Make a parameter of the same class and dtype."""
    return type(parameter)(array.astype(parameter.dtype))
