"""Given parts of the optimizers: groups of parameters, what they refuse, restored values."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from tinytorch.machinery import ArrayBox


def grouped(params: Iterable[Any]) -> list[dict[str, Any]]:
    """Return groups of parameters as they are, and a bare list of tensors as one group."""
    entries = params if isinstance(params, ArrayBox) else list(params)
    are_groups = isinstance(entries, list) and entries and isinstance(entries[0], dict)
    return entries if are_groups else [{"params": entries}]


def checked_parameters(params: Iterable[Any]) -> list[Any]:
    """List parameters; refuse what cannot be optimised: the result of an operation cannot."""
    if isinstance(params, ArrayBox):
        raise TypeError("parameters must be an iterable of tensors, got one tensor: write [tensor]")
    if not (listed := list(params)):
        raise ValueError("the list of parameters is empty; pass model.parameters()")
    for p in listed:
        if not isinstance(p, ArrayBox):
            raise TypeError(f"cannot optimise a {type(p).__name__}; pass tensors")
        if not p.is_leaf:
            raise ValueError(f"cannot optimise a result of shape {p.shape}; pass the parameters")
    return listed


def new_parameters(group: dict[str, Any], known: Iterable[str]) -> tuple[dict, list[Any]]:
    """Return the hyperparameters a group sets, and its parameters; refuse what is wrong."""
    options = {name: value for name, value in group.items() if name != "params"}
    return checked_options(options, known), checked_parameters(group["params"])


def same_groups(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Require saved groups of the same sizes."""
    here, there = ([len(group["params"]) for group in groups] for groups in (ours, theirs))
    if here != there:
        raise ValueError(f"saved groups have {there} parameters, the optimizer's {here}")


def checked_options(given: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Refuse unknown hyperparameters, those below zero, and shares kept of one or more."""
    for name, value in given.items():
        if name not in known:
            raise TypeError(f"unknown option {name!r}; use {', '.join(known)}")
        for number in value if isinstance(value, tuple) else (value,):
            if not number >= 0:
                raise ValueError(f"{name} is {value}; it must be at least 0")
            if name in ("betas", "alpha") and number >= 1:
                raise ValueError(f"{name} is {value}; it must be below 1")
    return given


def restored(name: str, value: Any, p: Any) -> Any:
    """Copy a saved value (array or tensor) into the form it has here; a count is an int."""
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    if name == "step":
        return int(array)
    if array.shape != p.shape:
        raise ValueError(f"saved {name} has shape {array.shape}, its parameter {p.shape}")
    return np.array(array, dtype=p.dtype)


def follow(optimizer: Any, *gradients: Any) -> np.ndarray:
    """Let an optimizer step along gradients of its first parameter; return the path it takes."""
    p, path = optimizer.param_groups[0]["params"][0], []
    for gradient in gradients:
        p.grad = type(p)(gradient)
        optimizer.step()
        path.append(p.numpy().copy())
    return np.array(path, dtype=np.float64)


class ParameterGroups:
    """Parameters in groups, each with its hyperparameters, and a state for each parameter."""

    def __init__(self, params: Iterable[Any] | None = None, defaults: dict[str, Any] | None = None):
        self.defaults = checked_options(dict(defaults or {}), defaults or {})
        self.state: dict[Any, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = [{"params": [], **self.defaults}]
        self._scratch: dict[np.dtype, np.ndarray] = {}
        if params is not None:
            self.bind(params)

    @property
    def bound(self) -> bool:
        """Whether there is any parameter to update."""
        return any(group["params"] for group in self.param_groups)

    def bind(self, params: Iterable[Any]) -> Self:
        """Take charge of parameters, or of groups of them; return the optimizer itself."""
        if self.bound:
            raise RuntimeError("the optimizer has its parameters; add_param_group adds more")
        for group in grouped(params):
            self.add_param_group(group)
        return self

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Append a group; the optimizer says how."""
        raise TypeError(f"{type(self).__name__} has no add_param_group(); define one")

    def require_bound(self) -> None:
        """Refuse to step without parameters."""
        if not self.bound:
            name = type(self).__name__
            raise RuntimeError(f"{name} has no parameters; call bind(model.parameters()) first")

    def scratch(self, like: np.ndarray) -> np.ndarray:
        """Working memory of an array's shape and dtype, lent to every parameter in turn."""
        flat = self._scratch.get(like.dtype)
        if flat is None or flat.size < like.size:
            flat = self._scratch[like.dtype] = np.empty(like.size, dtype=like.dtype)
        return flat[: like.size].reshape(like.shape)
