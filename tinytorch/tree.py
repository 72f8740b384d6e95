"""The given part of module 03: buffers, lists, and the drawing of modules.

`tinytorch.core.layers` builds on this. Nothing here walks the tree or computes a layer: that is
in the module.
"""

import math
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox, Primitive

Named = Iterator[tuple[str, Any]]
LoadedKeys = namedtuple("LoadedKeys", ["missing_keys", "unexpected_keys"])


class Trained:
    """The mark of a tensor that is to be trained; a class beside Tensor under Parameter."""

    __slots__ = ()


class Branch:
    """What a Module is apart from its tree: something callable, with a mode and buffers.

    Attributes:
        training: Whether `train()` or `eval()` was called last; Dropout looks at it.
        shown: The attributes that `repr` shows of a module without parts.
    """

    training = True
    shown: tuple[str, ...] = ()
    _buffers: Mapping[str, bool] = {}  # name of each buffer: whether it is part of the state

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        """Compute the output; each subclass says how."""
        raise TypeError(f"{type(self).__name__} has no forward(...); define one")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return self.forward(*inputs, **settings)

    def __setattr__(self, name: str, value: Any) -> None:
        plain = isinstance(value, ArrayBox) and not isinstance(value, Trained)
        if plain and isinstance(vars(self).get(name), Trained):
            raise TypeError(
                f"cannot replace the parameter {name!r} by a Tensor, which no optimiser would "
                f"find; assign to .{name}.data, or make it a Parameter"
            )
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Keep a tensor (or None) that belongs to the state but is not trained."""
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, tensor)

    def named_buffers(self, prefix: str = "") -> Named:
        """Yield (path, buffer) for every buffer in the tree."""
        for path, part in self.named_modules(prefix):
            yield from ((join(path, name), getattr(part, name)) for name in part._buffers)

    def buffers(self) -> Iterator[Any]:
        """Yield every buffer in the tree."""
        return (buffer for _, buffer in self.named_buffers())

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of a module without parts."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)

    def __repr__(self) -> str:
        has_forward = ((n, v) for n, v in vars(self).items() if hasattr(v, "forward"))
        return drawn(self, [(n, v) for n, v in has_forward if not isinstance(v, Primitive)])


class LayerList:
    """Layers under the names 0, 1, 2 …, each an attribute; a slice is of the class `sliced`."""

    sliced: Callable[[list[Any]], Any]

    def __init__(self, layers: Iterable[Any] | Mapping[str, Any] = ()):
        self._names: list[str] = []
        for name, layer in layers.items() if isinstance(layers, Mapping) else enumerate(layers):
            self.add_module(str(name), layer)

    def add_module(self, name: str, layer: Any) -> None:
        """Add a layer at the end under a name of its own."""
        if not callable(layer):
            raise TypeError(f"layer {name} is {layer!r}, not callable; give a Module or a function")
        self._names.append(name)
        setattr(self, name, layer)

    def append(self, layer: Any) -> Any:
        """Add a layer at the end under the next number; return self."""
        self.add_module(str(len(self)), layer)
        return self

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._names)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self).sliced(list(self)[index])
        return getattr(self, self._names[index])

    def __setitem__(self, index: int, layer: Any) -> None:
        setattr(self, self._names[index], layer)

    def __repr__(self) -> str:
        return drawn(self, ((name, getattr(self, name)) for name in self._names))


def join(path: str, name: str) -> str:
    """Join the parts of a dotted name: join("0", "weight") is "0.weight"."""
    return f"{path}.{name}" if path else name


def drawn(module: Any, parts: Iterable[tuple[str, Any]]) -> str:
    """Write a module with its parts below it, indented, or on one line if it has none."""
    lines = [f"\n({name}): {part!r}".replace("\n", "\n  ") for name, part in parts]
    inside = "".join(lines) + "\n" if lines else module.extra_repr()
    return f"{type(module).__name__}({inside})"


def live_state(module: Any) -> dict[str, Any]:
    """Collect the tensors themselves: per module its parameters, then its persistent buffers."""
    state = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for name, value in vars(part).items():
            if isinstance(value, Trained):
                state[join(path, name)] = value
        for name, persistent in part._buffers.items():
            if persistent and getattr(part, name) is not None:
                state[join(path, name)] = getattr(part, name)
    return state


def plain_array(value: Any) -> np.ndarray:
    """Return the array of anything tensor-like."""
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def fit_features(x: Any, features: int) -> Any:
    """Merge as many trailing axes as multiply to `features`; the first axis is never merged.

    Raises:
        ValueError: If no run of trailing axes fits.
    """
    axis, product = x.ndim - 1, x.shape[-1] if x.ndim else 0
    while axis > 1 and product * x.shape[axis - 1] <= features:
        axis -= 1
        product *= x.shape[axis]
    if product != features:
        raise ValueError(
            f"cannot feed shape {x.shape} to a layer with in_features={features}: no trailing axes "
            f"multiply to {features}; reshape the input or change the layer"
        )
    return x.reshape(*x.shape[:axis], features)


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    """Return the gain of linear, sigmoid, tanh, relu, or leaky_relu with slope `param`."""
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}
    gains["leaky_relu"] = math.sqrt(2 / (1 + param**2))
    if nonlinearity not in gains:
        raise ValueError(f"no gain is known for {nonlinearity!r}; use one of {', '.join(gains)}")
    return gains[nonlinearity]


def made(activation: Any) -> Any:
    """Make an activation of a class; take any other callable as it is."""
    return activation() if isinstance(activation, type) else activation
