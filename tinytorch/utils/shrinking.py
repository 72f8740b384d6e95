"""The given part of module 16: what is refused, which weights are pruned, layers cut to size."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tinytorch.tree import Trained, plain_array
from tinytorch.utils.sources import shipped

Array = np.ndarray


class CSR(NamedTuple):
    """A matrix by its non-zeros, row after row (compressed sparse rows).

    Attributes:
        values: The non-zeros, (nnz,).
        columns: The column of each, (nnz,), int32.
        starts: Where each row begins in `values`, and the end, (rows + 1,), int32.
        shape: Of the matrix, (rows, columns).
    """

    values: Array
    columns: Array
    starts: Array
    shape: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.values.nbytes + self.columns.nbytes + self.starts.nbytes


def checked_share(name: str, value: float, *, whole: bool = False) -> float:
    """Return a share from 0 to below 1 (or to 1 if `whole`), or refuse it by name."""
    if not 0 <= value <= 1 or (value == 1 and not whole):
        limit = "to 1" if whole else "to below 1: something must remain"
        raise ValueError(f"{name} is {value!r}; give a share from 0 {limit}")
    return float(value)


def check_pruner(scope: str, every: int) -> None:
    """Require a known scope, and at least one step between two looks at the schedule."""
    if scope not in ("global", "layer"):
        raise ValueError(f"scope is {scope!r}; use 'global' or 'layer'")
    if every < 1:
        raise ValueError(f"every {every} steps is no rhythm; use 1 or more")


def check_steps(steps: int) -> None:
    """Require that a rise takes some time."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; the rise takes at least one step")


def checked_temperature(temperature: float) -> float:
    """Return a temperature above 0, or refuse it."""
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature!r}; it divides logits: use 1 or more")
    return float(temperature)


def check_logits(student: Any, teacher: Any) -> None:
    """Require logits of two models for the same examples and classes."""
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(
            f"student {student.shape} and teacher {teacher.shape} must both give logits (N, C)"
        )


def checked_matrix(weight: Any) -> Array:
    """Return a weight as an array of two axes: (out, in), kernels flattened."""
    array = plain_array(weight)
    if array.ndim < 2:
        raise ValueError(f"a weight has shape (out, in), got {array.shape}; a bias is no matrix")
    return array.reshape(len(array), -1)


def checked_rank(rank: int, shape: tuple[int, int]) -> int:
    """Return the rank of a factorisation of (out, in), or refuse it."""
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer):
        raise ValueError(f"rank is {rank!r}; give a whole number")
    if not 1 <= rank <= min(shape):
        raise ValueError(f"rank {rank} for a weight {shape}: use 1 to {min(shape)}")
    return int(rank)


def prunable(model: Any) -> dict[str, Any]:
    """Find what is pruned: parameters of two axes or more, by name. Biases are few; they stay."""
    weights = {name: p for name, p in model.named_parameters() if p.ndim >= 2}
    if not weights:
        raise ValueError(f"{type(model).__name__} has no weight of two axes; nothing to prune")
    return weights


def from_csr(sparse: CSR) -> Array:
    """Write a matrix out again, zeros included."""
    matrix = np.zeros(sparse.shape, sparse.values.dtype)
    rows = np.repeat(np.arange(len(matrix)), np.diff(sparse.starts))
    matrix[rows, sparse.columns] = sparse.values
    return matrix


def compression_report(model: Any) -> dict[str, dict[str, int]]:
    """Count, for each prunable weight, its numbers, its zeros, and its bytes in both forms."""
    report = {}
    for name, weight in prunable(model).items():
        nonzero = int(np.count_nonzero(weight.data))
        each = weight.data.itemsize + 4
        report[name] = {
            "size": weight.size,
            "zeros": weight.size - nonzero,
            "dense_bytes": weight.nbytes,
            "csr_bytes": nonzero * each + 4 * (len(weight) + 1),
        }
    return report


def resized(layer: Any, weight: Array, bias: Any) -> Any:
    """Copy a layer (Linear or Conv2d) with another weight and bias, and the sizes they have."""
    if getattr(layer, "groups", 1) != 1:
        raise ValueError(f"{layer!r} has groups, each with its own channels; prune other layers")
    new, kind = copy.deepcopy(layer), type(layer.weight)
    new.weight = kind(plain_array(weight))
    new.bias = None if bias is None else kind(plain_array(bias))
    for axis, names in enumerate(
        (("out_features", "out_channels"), ("in_features", "in_channels"))
    ):
        for name in names:
            if hasattr(new, name):
                setattr(new, name, weight.shape[axis])
    return new


def named_layers(model: Any) -> dict[str, Any]:
    """Return the layers of a chain by name, or refuse what is no chain."""
    if not hasattr(model, "_names"):
        kind = type(model).__name__
        raise TypeError(f"{kind} is no Sequential: who reads a unit is known in a chain only")
    return {name: getattr(model, name) for name in model._names}


def neighbours(layers: Mapping[str, Any], zeros: Any) -> list[tuple[str, str]]:
    """Name each pair of layers with a weight of which the second reads the units of the first.

    What stands between them must have no parameters, and make 0 of `zeros`.
    """
    pairs, last, between = [], None, []
    for name, part in layers.items():
        if isinstance(weight := getattr(part, "weight", None), Trained) and weight.ndim >= 2:
            if last is not None:
                for other in between:
                    check_silent(other, layers[other], zeros)
                pairs.append((last, name))
            last, between = name, []
        else:
            between.append(name)
    return pairs


def check_silent(name: str, part: Any, zeros: Any) -> None:
    """Require that a unit which gives 0 is not heard after this layer."""
    if hasattr(part, "parameters") and list(part.parameters()):
        kind = type(part).__name__
        raise ValueError(f"layer {name}, a {kind}, has parameters for each unit; fold it first")
    if value := float(np.abs(part(zeros).numpy()).max()):
        raise ValueError(
            f"layer {name}, {part!r}, makes {value:.4g} of 0, so a removed unit would be missed; "
            "use an activation with f(0) = 0, such as ReLU"
        )


def readers(keep: Array, columns: int) -> Array:
    """Repeat a mask of units for a layer that reads each unit through several columns.

    After a Flatten each channel of 4 by 4 pixels is read through 16 columns.
    """
    if columns % len(keep):
        raise ValueError(f"{len(keep)} units cannot be read through {columns} columns")
    return np.repeat(keep, columns // len(keep))


def digit_batches() -> tuple[list[Any], list[Any]]:
    """Return the shipped digits in batches of 64, shuffled once: 23 to train, 6 to test."""
    rows = np.loadtxt(shipped("digits.csv.gz"), np.float32, delimiter=",")
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    cuts = range(0, len(rows), 64)
    batches = [(rows[i : i + 64, :64] / 16, rows[i : i + 64, 64].astype(int)) for i in cuts]
    return batches[:23], batches[23:]
