# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 03: Layers
#
# A network is a tree of modules whose leaves hold numbers; this module grows the tree.
#
# **You will build** `Module` (what finds, saves, loads and switches everything below it),
# `Parameter`, the layers `Linear`, `Dropout`, `Flatten` and `Sequential`, the `MLP` made of them,
# and the Xavier and Kaiming rules for their first values.
#
# **You need** module 01 (`Tensor`, `rand`, `randn`) and module 02 (activations). No gradients yet:
# everything here runs forward; module 05 will differentiate it unchanged.
#
# **Time**: about four hours.

# %%
#| default_exp core.layers

# %%
#| export
import math
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinytorch.core.activations import Activation, ReLU
from tinytorch.core.tensor import Tensor, rand, randn

# %% [markdown]
# ## The menu: Parameter and Module (given)
#
# A `Parameter` is a tensor that training may change: nothing but a Tensor with `requires_grad` on
# and a class of its own, by which a module recognises it.
#
# A `Module` needs one method from you, `forward`. All that it owns lies in its attributes: assign a
# Parameter or another Module to `self.something` and it belongs to the tree. Nothing has to be
# registered, because `vars(module)`, Python's own dictionary of attributes, is the registry. Look
# through the methods: the short ones ask the functions that you write in steps 1 to 3.


# %%
#| export
class Parameter(Tensor):
    """A tensor that belongs to a module and is to be trained."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None):
        super().__init__(data, requires_grad=requires_grad, dtype=dtype)


class Module:
    """A part of a network: its attributes hold parameters and smaller modules.

    Attributes:
        training: Whether `train()` or `eval()` was called last; Dropout looks at it.
    """

    training = True
    _buffers: Mapping[str, bool] = {}  # name of each buffer: whether it is part of the state
    _hooks: tuple[Callable[..., Any], ...] = ()

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        """Compute the output; each subclass says how."""
        raise TypeError(f"{type(self).__name__} has no forward(...); define one")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        output = self.forward(*inputs, **settings)
        for hook in self._hooks:
            replaced = hook(self, inputs, output)
            output = output if replaced is None else replaced
        return output

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) is Tensor and isinstance(vars(self).get(name), Parameter):
            raise TypeError(
                f"cannot replace the parameter {name!r} by a Tensor, which no optimiser would "
                f"find; assign to .{name}.data, or make it a Parameter"
            )
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep a tensor that is part of the state but is not trained, such as a running mean."""
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, tensor)

    def register_forward_hook(self, hook: Callable[..., Any]) -> SimpleNamespace:
        """Call `hook(module, inputs, output)` after each forward; the handle has `remove()`."""
        self._hooks = (*self._hooks, hook)

        def remove() -> None:
            self._hooks = tuple(other for other in self._hooks if other is not hook)

        return SimpleNamespace(remove=remove)

    # fmt: off
    def named_children(self): return find_children(self)
    def children(self): return (child for _, child in find_children(self))
    def named_modules(self, prefix="", remove_duplicate=True):
        return walk_modules(self, prefix, remove_duplicate)
    def modules(self): return (module for _, module in walk_modules(self))
    def named_parameters(self, prefix="", remove_duplicate=True):
        return walk_parameters(self, prefix, remove_duplicate)
    def parameters(self): return (parameter for _, parameter in walk_parameters(self))
    def named_buffers(self, prefix=""):
        for path, part in walk_modules(self, prefix):
            yield from ((join(path, name), getattr(part, name)) for name in part._buffers)
    def buffers(self): return (buffer for _, buffer in self.named_buffers())
    def train(self, mode=True): return set_training(self, mode)
    def eval(self): return set_training(self, False)
    def zero_grad(self): clear_gradients(self)
    def apply(self, function): return apply_to_all(self, function)
    def state_dict(self): return read_state(self)
    def load_state_dict(self, state, strict=True): return write_state(self, state, strict)
    def extra_repr(self): return ""
    # fmt: on

    def __repr__(self) -> str:
        parts = [(n, v) for n, v in vars(self).items() if isinstance(v, Module | Activation)]
        lines = [f"({name}): {part!r}".replace("\n", "\n  ") for name, part in parts]
        inside = "\n  " + "\n  ".join(lines) + "\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({inside})"


def join(path: str, name: str) -> str:
    """Join the parts of a dotted name: join("0", "weight") is "0.weight"."""
    return f"{path}.{name}" if path else name


# %% [markdown]
# ## Step 1: Walking the tree
#
# An optimiser wants every parameter of a network, however deep, each exactly once. Take a network
# `net` with attributes `body` (a module with a `weight` and a `bias`) and `scale` (a parameter):
#
#     net ─┬─ scale                      scale
#          └─ body ─┬─ weight            body.weight
#                   └─ bias              body.bias
#
# The name of a parameter is the path to it, joined by dots. Walk depth first: a module, then its
# children in the order in which they were assigned. At each module, list its own parameters.
#
# Two places may hold the *same* object: GPT uses one matrix as its embedding and as its output
# layer. Listed twice, an optimiser would update it twice per step. So remember the objects already
# met, by identity: `id(x)`, because `==` on tensors compares elements. Only `state_dict` (step 3)
# wants every name, and says so with `remove_duplicate=False`.
#
# Cost: one visit per module, O(modules + parameters).


# %%
#| export
def find_children(module: Module) -> Iterator[tuple[str, Module]]:
    """Yield (name, child) for each attribute of `module` that is a Module, in order."""
    ### BEGIN SOLUTION
    for name, value in vars(module).items():
        if isinstance(value, Module):
            yield name, value
    ### END SOLUTION


def walk_modules(
    module: Module, prefix: str = "", remove_duplicate: bool = True
) -> Iterator[tuple[str, Module]]:
    """Yield (path, module) for `module` itself and then for all below it, depth first.

    Args:
        prefix: The path of `module`; "" for the root.
        remove_duplicate: Whether a module that sits in two places is yielded only once.
    """
    ### BEGIN SOLUTION
    seen = set()

    def walk(part: Module, path: str) -> Iterator[tuple[str, Module]]:
        if remove_duplicate and id(part) in seen:
            return
        seen.add(id(part))
        yield path, part
        for name, child in find_children(part):
            yield from walk(child, join(path, name))

    yield from walk(module, prefix)
    ### END SOLUTION


def walk_parameters(
    module: Module, prefix: str = "", remove_duplicate: bool = True
) -> Iterator[tuple[str, Parameter]]:
    """Yield (path, parameter) for every Parameter in the tree; a shared one only once."""
    ### BEGIN SOLUTION
    seen = set()
    for path, part in walk_modules(module, prefix, remove_duplicate):
        for name, value in vars(part).items():
            if isinstance(value, Parameter) and not (remove_duplicate and id(value) in seen):
                seen.add(id(value))
                yield join(path, name), value
    ### END SOLUTION


# %%
class Body(Module):
    def __init__(self):
        self.weight = Parameter([[1.0, 2.0], [3.0, 4.0]])
        self.bias = Parameter([0.0, 0.0])

    def forward(self, x):
        return x @ self.weight.T + self.bias


class Net(Module):
    def __init__(self):
        self.body = Body()
        self.scale = Parameter([10.0])
        self.note = "a string is not a parameter"

    def forward(self, x):
        return self.body(x) * self.scale


net = Net()
print(net(Tensor([1.0, 1.0])).numpy())
for name, parameter in net.named_parameters():
    print(name, parameter.shape)
# Expected output:
# [30. 70.]
# scale (1,)
# body.weight (2, 2)
# body.bias (2,)


# %%
#| test
def nested_module():
    """Make a module with a parameter, a child, and a grandchild shared by two names."""
    root, child, shared = Module(), Module(), Module()
    root.own, child.own, shared.own = Parameter([1.0]), Parameter([2.0]), Parameter([3.0])
    root.child, child.left, child.right = child, shared, shared
    return root


def test_every_parameter_is_found_once():
    names = [name for name, _ in nested_module().named_parameters()]
    assert names == ["own", "child.own", "child.left.own"], names


def test_duplicates_on_request():
    names = [name for name, _ in nested_module().named_parameters(remove_duplicate=False)]
    assert names == ["own", "child.own", "child.left.own", "child.right.own"], names


def test_modules_are_walked_depth_first():
    assert [path for path, _ in nested_module().named_modules()] == ["", "child", "child.left"]
    assert [name for name, _ in nested_module().named_children()] == ["child"]


if __name__ == "__main__":
    test_every_parameter_is_found_once()
    test_duplicates_on_request()
    test_modules_are_walked_depth_first()

# %% [markdown]
# ## Step 2: One word to the whole tree
#
# Some commands go to every module at once: `model.eval()` must reach a Dropout five levels down,
# or the network goes on guessing with half of its units. With `walk_modules` each of these is two
# lines. Return the module itself, so that `model = Net().eval()` works.


# %%
#| export
def set_training(module: Module, mode: bool) -> Module:
    """Set `training` on the module and on all below it, and return it."""
    ### BEGIN SOLUTION
    for _, part in walk_modules(module):
        part.training = mode
    return module
    ### END SOLUTION


def clear_gradients(module: Module) -> None:
    """Set the gradient of every parameter to None: forgotten, and its memory freed."""
    ### BEGIN SOLUTION
    for _, parameter in walk_parameters(module):
        parameter.grad = None
    ### END SOLUTION


def apply_to_all(module: Module, function: Callable[[Module], Any]) -> Module:
    """Call `function` on every module, children before their parent, and return the root."""
    ### BEGIN SOLUTION
    for _, child in find_children(module):
        apply_to_all(child, function)
    function(module)
    return module
    ### END SOLUTION


# %%
net.eval()
print([(path or "net", part.training) for path, part in net.named_modules()])
net.train().apply(lambda part: print("applied to", type(part).__name__))
# Expected output:
# [('net', False), ('body', False)]
# applied to Body
# applied to Net


# %%
#| test
def test_train_and_eval_reach_everything():
    root = nested_module()
    assert root.eval() is root
    assert not any(part.training for part in root.modules())
    root.train()
    assert all(part.training for part in root.modules())


def test_zero_grad_forgets():
    root = nested_module()
    for parameter in root.parameters():
        parameter.grad = Tensor([1.0])
    root.zero_grad()
    assert all(parameter.grad is None for parameter in root.parameters())


def test_apply_goes_bottom_up():
    root, met = nested_module(), []
    root.apply(met.append)
    assert met[-1] is root
    assert met[0] is root.child.left


if __name__ == "__main__":
    test_train_and_eval_reach_everything()
    test_zero_grad_forgets()
    test_apply_goes_bottom_up()

# %% [markdown]
# ## Step 3: Saving and loading a state
#
# The state of a network is a dictionary from paths to numbers. It holds the parameters and the
# *buffers*: tensors that belong to the state but are not trained, such as the running mean of a
# batch normalisation (module 09). `register_buffer` in the menu keeps their names.
#
# Two rules make it safe:
#
# - **A state is a photograph, not a window.** Both functions copy. If a state shared memory with
#   the network, the "best weights so far" would go on changing with every training step.
# - **All or nothing.** Check every name and every shape before the first number is written. A
#   network that is half old and half new is worse than an error.
#
# The error names what is wrong: keys that are missing, keys that nobody asked for, and shapes:
# `0.weight: expected (4, 3), got (3, 4)`.


# %%
#| export
LoadedKeys = namedtuple("LoadedKeys", ["missing_keys", "unexpected_keys"])


def live_state(module: Module) -> dict[str, Tensor]:
    """Collect the tensors themselves: per module its parameters, then its persistent buffers."""
    state = {}
    for path, part in walk_modules(module, remove_duplicate=False):
        for name, value in vars(part).items():
            if isinstance(value, Parameter):
                state[join(path, name)] = value
        for name, persistent in part._buffers.items():
            if persistent and getattr(part, name) is not None:
                state[join(path, name)] = getattr(part, name)
    return state


def read_state(module: Module) -> dict[str, Tensor]:
    """Photograph the state: every name of `live_state` with a copy of its numbers."""
    ### BEGIN SOLUTION
    return {name: Tensor(value.data) for name, value in live_state(module).items()}
    ### END SOLUTION


def write_state(module: Module, state: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
    """Copy a state into the module, keeping each tensor's own dtype.

    Args:
        state: Name to Tensor or array, as `state_dict` gives it.
        strict: Whether missing or unexpected names are an error. A wrong shape always is.

    Returns:
        The names that were missing and those that were unexpected.

    Raises:
        ValueError: Before anything was changed; names every missing and unexpected key and
            every shape that differs.
    """
    ### BEGIN SOLUTION
    own = live_state(module)
    keys = LoadedKeys([n for n in own if n not in state], [n for n in state if n not in own])
    problems = [f"missing {n}" for n in keys.missing_keys] if strict else []
    problems += [f"unexpected {n}" for n in keys.unexpected_keys] if strict else []
    arrays = {n: plain_array(state[n]) for n in own if n in state}
    for name, array in arrays.items():
        if array.shape != own[name].shape:
            problems.append(f"{name}: expected {own[name].shape}, got {array.shape}")
    if problems:
        raise ValueError(f"cannot load into {type(module).__name__}: {'; '.join(problems)}")
    for name, array in arrays.items():
        own[name].data = array.astype(own[name].dtype)  # astype copies
    return keys
    ### END SOLUTION


def plain_array(value: Any) -> np.ndarray:
    """Return the array of anything tensor-like."""
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


# %%
before = net.state_dict()
net.scale.data = np.array([0.5], dtype=np.float32)
print("net", net.scale.numpy(), "photograph", before["scale"].numpy())
net.load_state_dict(before)
print("net", net.scale.numpy())
try:
    net.load_state_dict({"scale": [1.0, 2.0], "body.weight": np.zeros((2, 2)), "tail": 0.0})
except ValueError as error:
    print(error)
# Expected output:
# net [0.5] photograph [10.]
# net [10.]
# cannot load into Net: missing body.bias; unexpected tail; scale: expected (1,), got (2,)


# %%
#| test
def test_state_round_trip_copies():
    source, target = nested_module(), nested_module()
    source.own.data = np.array([7.0], dtype=np.float32)
    target.load_state_dict(source.state_dict())
    assert target.own.numpy().tolist() == [7.0]
    source.own.data[0] = -1.0
    assert target.own.numpy().tolist() == [7.0], "the two networks share memory"


def test_buffers_are_state_but_not_parameters():
    module = Module()
    module.register_buffer("mean", Tensor([1.0, 2.0]))
    module.register_buffer("mask", Tensor([1.0]), persistent=False)
    assert list(module.state_dict()) == ["mean"]
    assert list(module.parameters()) == []
    assert [name for name, _ in module.named_buffers()] == ["mean", "mask"]


def test_a_bad_state_changes_nothing():
    module = Module()
    module.first, module.second = Parameter([1.0]), Parameter([2.0])
    refused = np.testing.assert_raises_regex
    refused(ValueError, "missing second", module.load_state_dict, {"first": [9.0]})
    bad = {"first": [9.0], "second": [[1.0]]}
    refused(ValueError, r"\(1,\), got \(1, 1\)", module.load_state_dict, bad)
    assert module.first.numpy().tolist() == [1.0]
    keys = module.load_state_dict({"first": [9.0], "third": 0.0}, strict=False)
    assert keys == (["second"], ["third"])
    assert module.first.numpy().tolist() == [9.0]


if __name__ == "__main__":
    test_state_round_trip_copies()
    test_buffers_are_state_but_not_parameters()
    test_a_bad_state_changes_nothing()

# %% [markdown]
# ## Step 4: First values
#
# If all weights are equal, all units of a layer compute the same thing forever. So weights start
# random, and the question is how large. A unit sums n = fan_in products w·x. If the inputs have
# variance v and the weights variance s², the sum has variance n·s²·v. Ten layers apply that factor
# ten times: with n = 256 and s = 0.01 it is 0.0256, and 0.0256¹⁰ ≈ 1e-16. The signal is gone.
#
# - **Xavier** keeps the variance of a linear layer forward (1/fan_in) and backward (1/fan_out), as
#   well as one number can: s² = gain² · 2 / (fan_in + fan_out).   (Glorot and Bengio 2010)
# - **Kaiming** makes up for the half that ReLU throws away: s² = gain² / fan_in with gain √2.
#   (He, Zhang, Ren and Sun 2015)
#
# A uniform distribution on [−b, b] has variance b²/3, so b = √3 · s. For a weight of shape (out,
# in) fan_in is in, fan_out is out. A convolution, (out, in, kh, kw), sums over its kernel too: both
# are multiplied by kh · kw. Example: Xavier uniform for (50, 100): b = √3 · √(2/150) = 0.2.


# %%
#| export
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill a tensor in place with uniform numbers from [a, b), and return it."""
    tensor.data = (rand(tensor.shape).data * (b - a) + a).astype(tensor.dtype)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill a tensor in place with normal numbers, and return it."""
    tensor.data = (randn(tensor.shape).data * std + mean).astype(tensor.dtype)
    return tensor


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Fill a tensor in place with one value, and return it."""
    tensor.data = np.full(tensor.shape, value, dtype=tensor.dtype)
    return tensor


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    """Return the gain of linear, sigmoid, tanh, relu, or leaky_relu with slope `param`."""
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}
    gains["leaky_relu"] = math.sqrt(2 / (1 + param**2))
    if nonlinearity not in gains:
        raise ValueError(f"no gain is known for {nonlinearity!r}; use one of {', '.join(gains)}")
    return gains[nonlinearity]


# %%
#| export
def fan(shape: tuple[int, ...], mode: str) -> int:
    """Count the products in one sum: forward ("fan_in") or backward ("fan_out").

    Args:
        shape: That of a weight, (out, in) or (out, in, *kernel).
    """
    if len(shape) < 2 or mode not in ("fan_in", "fan_out"):
        raise ValueError(f"no {mode} for shape {shape}; use fan_in or fan_out of (out, in, ...)")
    ### BEGIN SOLUTION
    out, inside, *kernel = shape
    return math.prod(kernel) * (inside if mode == "fan_in" else out)
    ### END SOLUTION


def xavier_std(shape: tuple[int, ...], gain: float) -> float:
    """Return the standard deviation that Xavier's rule gives a weight of this shape."""
    ### BEGIN SOLUTION
    return gain * math.sqrt(2 / (fan(shape, "fan_in") + fan(shape, "fan_out")))
    ### END SOLUTION


def kaiming_std(shape: tuple[int, ...], a: float, mode: str, nonlinearity: str) -> float:
    """Return the standard deviation that Kaiming's rule gives, with `calculate_gain`."""
    ### BEGIN SOLUTION
    return calculate_gain(nonlinearity, a) / math.sqrt(fan(shape, mode))
    ### END SOLUTION


def uniform_of_std_(tensor: Tensor, std: float) -> Tensor:
    """Fill with uniform numbers, symmetric about 0, of the given standard deviation."""
    ### BEGIN SOLUTION
    return uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std)
    ### END SOLUTION


# %%
#| export
def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with normal numbers by Xavier's rule."""
    return normal_(tensor, 0.0, xavier_std(tensor.shape, gain))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with uniform numbers by Xavier's rule."""
    return uniform_of_std_(tensor, xavier_std(tensor.shape, gain))


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill with normal numbers by Kaiming's rule; a = 0 is the slope of ReLU."""
    return normal_(tensor, 0.0, kaiming_std(tensor.shape, a, mode, nonlinearity))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill with uniform numbers by Kaiming's rule."""
    return uniform_of_std_(tensor, kaiming_std(tensor.shape, a, mode, nonlinearity))


# %%
from tinytorch.core.activations import relu
from tinytorch.core.tensor import manual_seed, zeros

manual_seed(0)
small = lambda weight: normal_(weight, 0, 0.01)  # noqa: E731
for rule, fill in (("std 0.01", small), ("Xavier", xavier_normal_), ("Kaiming", kaiming_normal_)):
    x = randn(64, 256)
    for _ in range(10):
        x = relu(x @ fill(zeros(256, 256)).T)
    print(f"{rule:9} after 10 ReLU layers: standard deviation {x.numpy().std():.0e}")
# Expected output:
# std 0.01  after 10 ReLU layers: standard deviation 3e-10
# Xavier    after 10 ReLU layers: standard deviation 3e-02
# Kaiming   after 10 ReLU layers: standard deviation 1e+00


# %%
#| test
def test_fan_counts_the_kernel():
    assert (fan((50, 100), "fan_in"), fan((50, 100), "fan_out")) == (100, 50)
    assert (fan((8, 3, 5, 5), "fan_in"), fan((8, 3, 5, 5), "fan_out")) == (75, 200)


def test_the_rules_have_the_right_spread():
    np.testing.assert_allclose(xavier_std((300, 400), 1.0), math.sqrt(2 / 700))
    np.testing.assert_allclose(kaiming_std((300, 400), 0.0, "fan_in", "relu"), math.sqrt(2 / 400))
    weight = uniform_of_std_(Tensor(np.zeros((300, 400))), 0.1).numpy()
    assert abs(weight.std() - 0.1) < 0.002
    assert 0.17 < np.abs(weight).max() <= 0.1 * math.sqrt(3)


if __name__ == "__main__":
    test_fan_counts_the_kernel()
    test_the_rules_have_the_right_spread()

# %% [markdown]
# ## Step 5: Linear
#
# The work-horse: y = x Wᵀ + b, with W of shape (out, in). Why transposed? PyTorch stores one row of
# weights per output unit, and we keep its shapes so that weights can move between the two.
#
#     x (2, 3)  @  Wᵀ (3, 4)  +  b (4,)  →  y (2, 4)
#
# Shapes in front of the last axis are batch axes and pass through: (N, T, in) gives (N, T, out).
# A layer that follows images should not need a reshape in every network, so when the last axis is
# not `in_features` but a run of trailing axes multiplies to it, those are flattened:
# (N, 1, 28, 28) into Linear(784, 10) gives (N, 10). `fit_features` does that, and refuses the rest.
#
# First values as in PyTorch: both W and b uniform in [−1/√in, 1/√in]. In terms of step 4 this is
# Kaiming uniform with a = √5, since the gain is then √(2/6) and the bound √(1/3) · √(3/in) = 1/√in.
#
# Cost: N · in · out multiply-adds, and (in + 1) · out numbers kept.


# %%
#| export
def fit_features(x: Tensor, features: int) -> Tensor:
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


class Linear(Module):
    """Map (..., in_features) to (..., out_features): x @ weight.T + bias.

    Args:
        in_features, out_features: Sizes of the last axis before and after.
        bias: Whether to add one learned number per output.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.zeros((out_features, in_features), dtype=np.float32))
        self.bias = Parameter(np.zeros(out_features, dtype=np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from [-1/√in_features, 1/√in_features]."""
        ### BEGIN SOLUTION
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            uniform_(self.bias, -bound, bound)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the weight and add the bias; call `fit_features` if the last axis differs."""
        ### BEGIN SOLUTION
        if not x.ndim or x.shape[-1] != self.in_features:
            x = fit_features(x, self.in_features)
        out = x @ self.weight.T  # (..., in) @ (in, out)
        return out if self.bias is None else out + self.bias
        ### END SOLUTION

    def extra_repr(self) -> str:
        """Name the sizes."""
        features = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{features}, bias={self.bias is not None}"


Dense = Linear

# %%
layer = Linear(3, 2)
layer.load_state_dict({"weight": [[1, 0, 0], [1, 1, 1]], "bias": [0.5, 0]})
print(layer(Tensor([[1, 2, 3], [4, 5, 6]])).numpy())
print(layer)
print(Linear(784, 10)(zeros(64, 1, 28, 28)).shape, Linear(8, 3)(zeros(5, 7, 8)).shape)
# Expected output:
# [[ 1.5  6. ]
#  [ 4.5 15. ]]
# Linear(in_features=3, out_features=2, bias=True)
# (64, 10) (5, 7, 3)


# %%
#| test
def test_linear_by_hand():
    layer = Linear(2, 3)
    layer.load_state_dict({"weight": [[1, 2], [3, 4], [5, 6]], "bias": [10, 20, 30]})
    np.testing.assert_allclose(layer(Tensor([1.0, -1.0])).numpy(), [9, 19, 29])
    assert layer(Tensor(np.zeros((4, 5, 2)))).shape == (4, 5, 3)


def test_linear_without_bias_has_one_parameter():
    assert [name for name, _ in Linear(4, 2, bias=False).named_parameters()] == ["weight"]


def test_linear_starts_in_pytorchs_range():
    layer = Linear(100, 200)
    for parameter in layer.parameters():
        values = parameter.numpy()
        assert 0.09 < np.abs(values).max() <= 0.1
        assert abs(values.std() - 0.1 / math.sqrt(3)) < 0.01


def test_linear_flattens_images_and_refuses_the_rest():
    assert Linear(12, 2)(Tensor(np.zeros((5, 3, 2, 2)))).shape == (5, 2)
    assert Linear(12, 2)(Tensor(np.zeros((5, 1, 3, 4)))).shape == (5, 2)
    refused = np.testing.assert_raises_regex
    refused(ValueError, "in_features=12", Linear(12, 2), Tensor(np.zeros((4, 3))))


if __name__ == "__main__":
    test_linear_by_hand()
    test_linear_without_bias_has_one_parameter()
    test_linear_starts_in_pytorchs_range()
    test_linear_flattens_images_and_refuses_the_rest()

# %% [markdown]
# ## Step 6: Sequential and Flatten
#
# Most networks are a chain: feed each layer the output of the one before. `Sequential` calls its
# layers in order and names them 0, 1, 2 …, so its parameters are "0.weight", "2.bias" and so on.
#
# It accepts any callable: modules, the activations of module 02, a plain function. Only modules
# have parameters, so only they are found when the tree is walked; but everything keeps its number,
# and the names agree with PyTorch's. A plain Python list would *not* do: `self.blocks =
# [Linear(…)]` hides its layers from `vars`, and the optimiser never hears of them. Use
# `ModuleList`.
#
# `Flatten` merges all axes but the first: (N, C, H, W) becomes (N, C·H·W).


# %%
#| export
class ModuleList(Module):
    """Layers under the names 0, 1, 2 …, where the tree can find them."""

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

    def append(self, layer: Any) -> "ModuleList":
        """Add a layer at the end under the next number."""
        self.add_module(str(len(self)), layer)
        return self

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._names)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            chain = Sequential if isinstance(self, Sequential) else ModuleList
            return chain(list(self)[index])
        return getattr(self, self._names[index])

    def __setitem__(self, index: int, layer: Any) -> None:
        setattr(self, self._names[index], layer)

    def __repr__(self) -> str:
        lines = [f"\n({n}): {getattr(self, n)!r}".replace("\n", "\n  ") for n in self._names]
        return f"{type(self).__name__}({''.join(lines)}\n)"


# %%
#| export
class Sequential(ModuleList):
    """A chain of layers: `Sequential(a, b)`, `Sequential([a, b])` or `Sequential({"name": a})`."""

    def __init__(self, *layers: Any):
        one = len(layers) == 1 and isinstance(layers[0], list | tuple | Mapping)
        super().__init__(layers[0] if one else layers)

    def forward(self, x: Tensor) -> Tensor:
        """Pass x through every layer in order."""
        ### BEGIN SOLUTION
        for layer in self:
            x = layer(x)
        return x
        ### END SOLUTION


class Flatten(Module):
    """Merge the axes from start_dim to end_dim; by default all but the batch axis."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return x with those axes merged."""
        ### BEGIN SOLUTION
        return x.flatten(self.start_dim, self.end_dim)
        ### END SOLUTION

    def extra_repr(self) -> str:
        """Name the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


# %%
model = Sequential(Flatten(), Linear(4, 8), ReLU(), Linear(8, 2))
print(model)
print([name for name, _ in model.named_parameters()])
print(model(zeros(5, 2, 2)).shape, len(model), model[-1])
# Expected output:
# Sequential(
#   (0): Flatten(start_dim=1, end_dim=-1)
#   (1): Linear(in_features=4, out_features=8, bias=True)
#   (2): ReLU()
#   (3): Linear(in_features=8, out_features=2, bias=True)
# )
# ['1.weight', '1.bias', '3.weight', '3.bias']
# (5, 2) 4 Linear(in_features=8, out_features=2, bias=True)


# %%
#| test
def test_sequential_keeps_the_order():
    model = Sequential(lambda x: x + 1, lambda x: x * 10)
    assert model(Tensor([1.0])).numpy().tolist() == [20.0]
    assert Sequential()(Tensor([1.0])).numpy().tolist() == [1.0]


def test_sequential_names_its_layers():
    model = Sequential(Linear(2, 3), ReLU(), Sequential(Linear(3, 1, bias=False)))
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.0.weight"]
    assert model[0].out_features == 3
    assert len(model[1:]) == 2


def test_flatten_leaves_the_batch_axis():
    assert Flatten()(Tensor(np.zeros((2, 3, 4, 5)))).shape == (2, 60)


if __name__ == "__main__":
    test_sequential_keeps_the_order()
    test_sequential_names_its_layers()
    test_flatten_leaves_the_batch_axis()

# %% [markdown]
# ## Step 7: Dropout
#
# A network that leans on a few units remembers instead of generalising. Dropout sets each value to
# 0 with probability p, differently at every call, so no unit can rely on another. In evaluation
# nothing is dropped.
#
# The expected value must not depend on the mode. With p = 0.25, three quarters of the values
# survive, so the survivors are divided by 0.75: E[out] = 0.75 · (x / 0.75) + 0.25 · 0 = x. Scaling
# while training (*inverted* dropout) leaves evaluation free of any cost:
#
#     x = [4, 4, 4, 4], p = 0.5, mask = [1, 0, 0, 1]  →  [8, 0, 0, 8]
#
# The mask comes from module 01's generator, so `manual_seed` makes a run repeatable.


# %%
#| export
def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Set each value to 0 with probability p and divide the others by 1 - p.

    Returns:
        x itself when not training or when p is 0.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014.
    """
    ### BEGIN SOLUTION
    if not training or p == 0:
        return x
    kept = rand(x.shape).data >= p
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x * (kept * scale).astype(x.dtype)
    ### END SOLUTION


class Dropout(Module):
    """`dropout` that is active in training and the identity in evaluation."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability, got {p}; use a number from 0 to 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop while `self.training`."""
        ### BEGIN SOLUTION
        return dropout(x, self.p, self.training)
        ### END SOLUTION

    def extra_repr(self) -> str:
        """Name the probability."""
        return f"p={self.p}"


# %%
from tinytorch.core.tensor import ones

manual_seed(1)
drop = Dropout(0.5)
print(drop(ones(8)).numpy())
print(drop(ones(8)).numpy())
print(drop.eval()(ones(8)).numpy())
# Expected output:
# [0. 2. 2. 2. 0. 0. 2. 2.]
# [0. 0. 2. 0. 0. 2. 0. 0.]
# [1. 1. 1. 1. 1. 1. 1. 1.]


# %%
#| test
def test_dropout_keeps_the_mean():
    out = dropout(Tensor(np.ones(100_000, dtype=np.float32)), p=0.2).numpy()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1.25)}
    assert abs(out.mean() - 1) < 0.01


def test_dropout_is_off_in_evaluation():
    x = Tensor([1.0, 2.0])
    np.testing.assert_array_equal(Dropout(0.9).eval()(x).numpy(), [1, 2])


def test_dropout_is_repeatable():
    from tinytorch.core.tensor import manual_seed, ones

    manual_seed(3)
    first, second = dropout(ones(50)).numpy(), dropout(ones(50)).numpy()
    manual_seed(3)
    np.testing.assert_array_equal(dropout(ones(50)).numpy(), first)
    assert (first != second).any(), "every call draws a new mask"


if __name__ == "__main__":
    test_dropout_keeps_the_mean()
    test_dropout_is_off_in_evaluation()
    test_dropout_is_repeatable()

# %% [markdown]
# ## Step 8: The multilayer perceptron
#
# Linear, bend, linear, bend, …, linear. `MLP(784, [128, 64], 10)` is a Sequential of five: the bend
# stands between linear layers and not after the last, since a loss wants logits (module 04).
# Optionally a dropout follows each bend.


# %%
#| export
class MLP(Sequential):
    """Fully connected layers with an activation between them.

    Args:
        input_size, output_size: Features of the input and of the output.
        hidden_sizes: Sizes between them: one number or a list.
        activation: A class such as ReLU, made anew for each layer, or any callable.
        output_activation: What follows the last layer, if anything.
        dropout: Probability of a Dropout after each activation; 0 adds none.
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: int | Iterable[int],
        output_size: int,
        activation: Any = ReLU,
        output_activation: Any = None,
        dropout: float = 0.0,
    ):
        hidden = [hidden_sizes] if isinstance(hidden_sizes, int) else list(hidden_sizes)
        layers = mlp_layers([input_size, *hidden, output_size], activation, dropout)
        if output_activation is not None:
            layers.append(made(output_activation))
        super().__init__(layers)


def made(activation: Any) -> Any:
    """Make an activation of a class; take any other callable as it is."""
    return activation() if isinstance(activation, type) else activation


def mlp_layers(sizes: list[int], activation: Any, dropout: float) -> list[Any]:
    """List the layers: a Linear from each size to the next, made(activation) between them.

    Args:
        sizes: Features before, between and after the layers: [784, 128, 10].
        activation: What to put after every Linear but the last.
        dropout: If above 0, the p of a Dropout after every activation.
    """
    ### BEGIN SOLUTION
    layers: list[Any] = []
    for i in range(len(sizes) - 1):
        layers.append(Linear(sizes[i], sizes[i + 1]))
        if i < len(sizes) - 2:
            layers.append(made(activation))
            if dropout > 0:
                layers.append(Dropout(dropout))
    return layers
    ### END SOLUTION


create_mlp = MLP

# %%
model = MLP(784, [128], 10)
print(model)
print(sum(parameter.size for parameter in model.parameters()), "parameters")
# Expected output:
# MLP(
#   (0): Linear(in_features=784, out_features=128, bias=True)
#   (1): ReLU()
#   (2): Linear(in_features=128, out_features=10, bias=True)
# )
# 101770 parameters


# %%
#| test
def test_mlp_alternates():
    from tinytorch.core.activations import Tanh

    kinds = [type(layer).__name__ for layer in MLP(4, [8, 8], 2, activation=Tanh, dropout=0.1)]
    assert kinds == ["Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]
    assert MLP(4, 8, 2)(Tensor(np.zeros((3, 4)))).shape == (3, 2)


if __name__ == "__main__":
    test_mlp_alternates()

# %% [markdown]
# ## Systems: why batches?
#
# A linear layer reads every weight once per call. With one example that is one multiply-add for
# each number fetched from memory; with a batch of 64 the same fetch serves 64. So the batch is
# nearly free until arithmetic, not memory, is the limit. Measure the time per example of the
# network 784-128-10 (its weights take 407,080 bytes):

# %%
import time

model = MLP(784, [128], 10).eval()
single = None
for batch in (1, 8, 64, 512):
    x = randn(batch, 784)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        model(x)
        times.append(time.perf_counter() - start)
    per_example = min(times) / batch
    single = single or per_example
    print(f"batch {batch:3}: {single / per_example:5.1f} times cheaper per example than alone")
print(sum(parameter.nbytes for parameter in model.parameters()), "bytes of parameters")
# Expected output:
# batch   1:   1.0 times cheaper per example than alone
# batch   8: ... times cheaper per example than alone
# batch  64: ... times cheaper per example than alone
# batch 512: ... times cheaper per example than alone
# 407080 bytes of parameters

# %% [markdown]
# ## Pitfalls
#
# - **Layers in a plain list** are invisible to `parameters()`. Use `ModuleList` or `Sequential`.
# - **`self.weight = self.weight - step`** would replace the parameter by an ordinary tensor; the
#   menu refuses it. Change `self.weight.data`.
# - **`parameters()` is an iterator**: it can be walked once. Write `list(model.parameters())` to
#   keep or count them.
# - **Forgetting `eval()`** before measuring accuracy: dropout makes the score too low and noisy.
# - **One activation object used twice** is fine, one Linear used twice is weight sharing.
#
# ## What PyTorch does differently, and why
#
# - It registers parameters in `__setattr__`, in three dictionaries per module, and therefore needs
#   `super().__init__()` to have run first. Looking into `vars` when asked needs neither.
# - Its `state_dict()` shares memory with the network (`copy.deepcopy` it to keep a snapshot). Ours
#   copies: the surprise costs more than the copy.
# - Activations and losses are Modules there. Here they are callables without state.
# - `Linear` does not flatten trailing axes in PyTorch; ours does when the product fits exactly.
#
# ## Sources
#
# - Glorot and Bengio 2010, *Understanding the difficulty of training deep feedforward neural
#   networks*; He et al. 2015, *Delving deep into rectifiers*.
# - Srivastava et al. 2014, *Dropout*.
# - Goodfellow, Bengio and Courville 2016, *Deep Learning*, sections 6.4, 7.12 and 8.4.
#
# ## Reflect (150–300 words)
#
# You store a model's weights for ten years. What, apart from the numbers in `state_dict()`, must be
# written down so that the model computes the same outputs then? Go through what you built here
# (names, shapes, dtype, modes, buffers, the order of layers) and say for each whether the state
# holds it, and what would go wrong silently if it did not. Write the answer to `reflection.md`
# beside this file.
#
# Then run the checkpoint: `tito checkpoint run 03`
