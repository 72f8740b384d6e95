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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tinytorch.core.activations import ReLU
from tinytorch.core.tensor import Tensor, rand, randn
from tinytorch.tree import (
    Branch,
    LayerList,
    LoadedKeys,
    Named,
    Trained,
    calculate_gain,
    fit_features,
    join,
    live_state,
    made,
    plain_array,
)

# %% [markdown]
# ## The menu: Parameter and Module (given)
#
# A `Parameter` is a Tensor with `requires_grad` on and a class of its own, by which a module
# recognises what training may change. A `Module` needs one method from you, `forward`; calling the
# module calls it. Assign a Parameter or another Module to `self.something` and it belongs to the
# tree: `vars(module)`, Python's own dictionary of attributes, is the registry. The short methods
# ask the functions that you write in steps 1 and 2; other given parts (`join`, `fit_features`, …)
# are in `tinytorch/tree.py`.


# %%
#| export
class Parameter(Tensor, Trained):
    """A tensor that belongs to a module and is to be trained."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None):
        super().__init__(data, requires_grad=requires_grad, dtype=dtype)


class Module(Branch):
    """A part of a network: its attributes hold parameters and smaller modules."""

    # fmt: off
    def named_children(self): return find_children(self)
    def children(self): return (child for _, child in find_children(self))
    def named_modules(self, prefix="", remove_duplicate=True):
        return walk_modules(self, prefix, remove_duplicate)
    def modules(self): return (module for _, module in walk_modules(self))
    def named_parameters(self, prefix=""): return walk_parameters(self, prefix)
    def parameters(self): return (parameter for _, parameter in walk_parameters(self))
    def train(self, mode=True): return set_training(self, mode)
    def eval(self): return set_training(self, False)
    def zero_grad(self): clear_gradients(self)
    def apply(self, function): return apply_to_all(self, function)
    def state_dict(self): return read_state(self)
    def load_state_dict(self, state, strict=True): return write_state(self, state, strict)
    # fmt: on


# %% [markdown]
# ## Step 1: Walking the tree
#
# An optimiser wants every parameter of a network, however deep, each exactly once. The name of a
# parameter is the path to it, joined by dots (by `join`):
#
#     net ─┬─ factor                     factor
#          └─ inner ─── factor           inner.factor
#
# Walk depth first: a module with its own parameters, then its children in the order in which they
# were assigned. Two places may hold the *same* object: GPT uses one matrix as its embedding and as
# its output layer. Listed twice, it would be updated twice per step. So remember what was met, by
# identity: `id(x)`, because `==` on tensors compares elements. Only `state_dict` (step 2) wants
# every name, and says `remove_duplicate=False`. Cost: one visit per module.
#
# With the walk, a word to the whole network is two lines. `model.eval()` must reach a Dropout five
# levels down, or the network goes on guessing with half of its units.


# %%
#| export
def find_children(module: Module) -> Named:
    """Yield (name, child) for each attribute of `module` that is a Module, in order."""
    ### BEGIN SOLUTION
    for name, value in vars(module).items():
        if isinstance(value, Module):
            yield name, value
    ### END SOLUTION


def walk_modules(module: Module, prefix: str = "", remove_duplicate: bool = True) -> Named:
    """Yield (path, module), depth first: (prefix, module) itself, then all below it."""
    ### BEGIN SOLUTION
    seen = set()

    def walk(part: Module, path: str) -> Named:
        if remove_duplicate and id(part) in seen:
            return
        seen.add(id(part))
        yield path, part
        for name, child in find_children(part):
            yield from walk(child, join(path, name))

    yield from walk(module, prefix)
    ### END SOLUTION


def walk_parameters(module: Module, prefix: str = "") -> Named:
    """Yield (path, parameter) for every Parameter in the tree; a shared one only once."""
    ### BEGIN SOLUTION
    seen = set()
    for path, part in walk_modules(module, prefix):
        for name, value in vars(part).items():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield join(path, name), value
    ### END SOLUTION


# %%
#| export
def set_training(module: Module, mode: bool) -> Module:
    """Set `training` on the module and on all below it; return it, for `net = Net().eval()`."""
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
class Scale(Module):
    def __init__(self, factor, inner=None):
        self.factor, self.inner = Parameter([factor]), inner

    def forward(self, x):
        return (self.inner(x) if self.inner else x) * self.factor


net = Scale(10.0, Scale(2.0))
print(net(Tensor([1.5])).numpy(), [name for name, _ in net.named_parameters()])
net.eval().apply(lambda part: print(part.factor.numpy(), part.training))
# Expected output:
# [30.] ['factor', 'inner.factor']
# [2.] False
# [10.] False


# %%
#| test
def nested_module():
    """Make a module with a parameter, a child, and a grandchild shared by two names."""
    root, child, shared = Module(), Module(), Module()
    root.own, child.own, shared.own = Parameter([1.0]), Parameter([2.0]), Parameter([3.0])
    root.child, child.left, child.right = child, shared, shared
    return root


def test_everything_is_found_once():
    root, every = nested_module(), ["", "child", "child.left", "child.right"]
    assert [path for path, _ in root.named_modules()] == every[:3]
    assert [path for path, _ in root.named_modules(remove_duplicate=False)] == every
    assert [n for n, _ in root.named_parameters()] == ["own", "child.own", "child.left.own"]


def test_a_word_reaches_everything():
    root, met = nested_module(), []
    root.child.left.own.grad = Tensor([1.0])
    root.zero_grad()
    assert root.child.left.own.grad is None
    assert root.eval().apply(met.append) is root
    assert met == [root.child.left, root.child.left, root.child, root]
    assert not any(part.training for part in met)


if __name__ == "__main__":
    test_everything_is_found_once()
    test_a_word_reaches_everything()

# %% [markdown]
# ## Step 2: Saving and loading a state
#
# The state of a network is a dictionary from paths to numbers. It holds the parameters and the
# *buffers*: tensors that belong to the state but are not trained, such as the running mean of a
# batch normalisation (module 09), which `register_buffer` keeps. Two rules make it safe:
#
# - **A state is a photograph, not a window.** Both functions copy. If a state shared memory with
#   the network, the "best weights so far" would go on changing with every training step.
# - **All or nothing.** Check every name and every shape before the first number is written: a
#   network that is half old and half new is worse than an error. The error names all that is wrong.
#
# `live_state(module)` (given) finds the tensors themselves, and `plain_array` makes arrays of them.


# %%
#| export
def read_state(module: Module) -> dict[str, Tensor]:
    """Photograph the state: every name of `live_state` with a copy of its numbers."""
    ### BEGIN SOLUTION
    return {name: Tensor(value.data) for name, value in live_state(module).items()}
    ### END SOLUTION


def write_state(module: Module, state: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
    """Copy a state into the module, keeping each tensor's own dtype.

    Returns:
        LoadedKeys(names that are missing, names that are unexpected).

    Raises:
        ValueError: Before anything is changed; lists every wrong shape and, if `strict`, every
            missing and unexpected name.
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


# %%
before = net.state_dict()
net.factor.data[0] = 0.5
print("net", net.factor.numpy(), "photograph", before["factor"].numpy())
try:
    net.load_state_dict({"factor": [1.0, 2.0], "tail": 0.0})
except ValueError as error:
    print(error)
# Expected output:
# net [0.5] photograph [10.]
# cannot load into Scale: missing inner.factor; unexpected tail; factor: expected (1,), got (2,)


# %%
#| test
def test_a_state_is_copied_both_ways():
    source, target = nested_module(), nested_module()
    source.register_buffer("mean", Tensor([4.0]))
    target.register_buffer("mean", Tensor([0.0]))
    assert target.load_state_dict(source.state_dict()) == ([], [])
    source.own.data[0] = source.mean.data[0] = -1.0
    assert (target.own.item(), target.mean.item()) == (1, 4), "the two networks share memory"


def test_a_bad_state_changes_nothing():
    module, refused = Module(), np.testing.assert_raises_regex
    module.first, module.second = Parameter([1.0]), Parameter([2.0])
    bad = {"first": [9.0], "second": [[1.0]]}
    refused(ValueError, "missing second", module.load_state_dict, {"first": [9.0]})
    refused(ValueError, r"\(1,\), got \(1, 1\)", module.load_state_dict, bad)
    assert module.first.item() == 1
    assert module.load_state_dict({"first": [9.0]}, strict=False) == (["second"], [])
    assert module.first.item() == 9


if __name__ == "__main__":
    test_a_state_is_copied_both_ways()
    test_a_bad_state_changes_nothing()

# %% [markdown]
# ## Step 3: First values
#
# If all weights are equal, all units of a layer compute the same thing forever. So weights start
# random, and the question is how large. A unit sums n = fan_in products w·x. If the inputs have
# variance v and the weights variance s², the sum has variance n·s²·v. With n = 256 and s = 0.01
# that factor is 0.0256, after ten layers 0.0256¹⁰ ≈ 1e-16: the signal is gone.
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


# %%
#| export
def fan(shape: tuple[int, ...], mode: str) -> int:
    """Count the products in one sum of a weight (out, in, *kernel): "fan_in" or "fan_out"."""
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
    """Return the standard deviation that Kaiming's rule gives; `calculate_gain` knows the gain."""
    ### BEGIN SOLUTION
    return calculate_gain(nonlinearity, a) / math.sqrt(fan(shape, mode))
    ### END SOLUTION


def uniform_of_std_(tensor: Tensor, std: float) -> Tensor:
    """Fill with uniform numbers, symmetric about 0, of the given standard deviation."""
    ### BEGIN SOLUTION
    return uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std)
    ### END SOLUTION


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with normal numbers by Xavier's rule."""
    return normal_(tensor, 0.0, xavier_std(tensor.shape, gain))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with uniform numbers by Xavier's rule."""
    return uniform_of_std_(tensor, xavier_std(tensor.shape, gain))


def kaiming_normal_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu") -> Tensor:
    """Fill with normal numbers by Kaiming's rule; a = 0 is the slope of ReLU."""
    return normal_(tensor, 0.0, kaiming_std(tensor.shape, a, mode, nonlinearity))


def kaiming_uniform_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu") -> Tensor:
    """Fill with uniform numbers by Kaiming's rule."""
    return uniform_of_std_(tensor, kaiming_std(tensor.shape, a, mode, nonlinearity))


# %%
from tinytorch.core.activations import relu
from tinytorch.core.tensor import manual_seed, ones, zeros

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
def test_the_rules_have_the_right_spread():
    assert (fan((8, 3, 5, 5), "fan_in"), fan((8, 3, 5, 5), "fan_out")) == (75, 200)
    np.testing.assert_allclose(xavier_std((300, 400), 1.0), math.sqrt(2 / 700))
    np.testing.assert_allclose(kaiming_std((300, 400), 0.0, "fan_in", "relu"), math.sqrt(2 / 400))
    weight = uniform_of_std_(Tensor(np.zeros((300, 400))), 0.1).numpy()
    assert abs(weight.std() - 0.1) < 0.002
    assert 0.17 < np.abs(weight).max() <= 0.1 * math.sqrt(3)


if __name__ == "__main__":
    test_the_rules_have_the_right_spread()

# %% [markdown]
# ## Step 4: Linear
#
# The work-horse: y = x Wᵀ + b, with W of shape (out, in). Why transposed? PyTorch stores one row of
# weights per output unit, and we keep its shapes so that weights can move between the two.
#
#     x (2, 3)  @  Wᵀ (3, 4)  +  b (4,)  →  y (2, 4)
#
# Axes in front of the last are batch axes and pass through: (N, T, in) gives (N, T, out). When the
# last axis is not `in_features` but a run of trailing axes multiplies to it, `fit_features(x,
# in_features)` flattens those, never the batch axis: images (N, 1, 28, 28) into Linear(784, 10)
# give (N, 10). Cost: N · in · out multiply-adds, and (in + 1) · out numbers kept.
#
# First values as in PyTorch: both W and b uniform in [−1/√in, 1/√in]. In terms of step 3 this is
# Kaiming uniform with a = √5, since the gain is then √(2/6) and the bound √(1/3) · √(3/in) = 1/√in.


# %%
#| export
class Linear(Module):
    """Map (..., in_features) to (..., out_features): x @ weight.T + bias."""

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
print(layer, Linear(784, 10)(zeros(64, 1, 28, 28)).shape)
# Expected output:
# [[ 1.5  6. ]
#  [ 4.5 15. ]]
# Linear(in_features=3, out_features=2, bias=True) (64, 10)


# %%
#| test
def test_linear():
    layer = Linear(2, 3)
    layer.load_state_dict({"weight": [[1, 2], [3, 4], [5, 6]], "bias": [10, 20, 30]})
    np.testing.assert_allclose(layer(Tensor([1.0, -1.0])).numpy(), [9, 19, 29])
    assert layer(Tensor(np.zeros((4, 5, 2)))).shape == (4, 5, 3)
    for parameter in Linear(100, 200).parameters():
        assert 0.09 < np.abs(parameter.numpy()).max() <= 0.1, "starts in [-1/√in, 1/√in]"


if __name__ == "__main__":
    test_linear()

# %% [markdown]
# ## Step 5: Dropout
#
# A network that leans on a few units remembers instead of generalising. Dropout sets each value to
# 0 with probability p, differently at every call, so no unit can rely on another. In evaluation
# nothing is dropped, yet the expected value must be the same: survivors are divided by 1 − p, and
# E[out] = (1 − p) · x / (1 − p) + p · 0 = x. Scaling while training (*inverted* dropout) leaves
# evaluation free of any cost:
#
#     x = [4, 4, 4, 4], p = 0.5, mask = [1, 0, 0, 1]  →  [8, 0, 0, 8]
#
# The mask comes from module 01's generator, so `manual_seed` makes a run repeatable.


# %%
#| export
def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Set each value to 0 with probability p and divide the others by 1 - p, if training.

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

    shown = ("p",)

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


# %%
manual_seed(1)
drop = Dropout(0.5)
print(drop(ones(8)).numpy(), drop(ones(8)).numpy())
print(drop.eval()(ones(8)).numpy())
# Expected output:
# [0. 2. 2. 2. 0. 0. 2. 2.] [0. 0. 2. 0. 0. 2. 0. 0.]
# [1. 1. 1. 1. 1. 1. 1. 1.]


# %%
#| test
def test_dropout_keeps_the_mean():
    x = Tensor(np.ones(100_000, dtype=np.float32))
    first, second = dropout(x, p=0.2).numpy(), dropout(x, p=0.2).numpy()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1.25)}
    assert abs(first.mean() - 1) < 0.01
    assert (first != second).any(), "every call draws a new mask"
    assert (Dropout(0.9).eval()(x).numpy() == 1).all(), "nothing is dropped in evaluation"


if __name__ == "__main__":
    test_dropout_keeps_the_mean()

# %% [markdown]
# ## Step 6: Chains
#
# Most networks feed each layer the output of the one before. `Sequential` calls its layers in order
# and names them 0, 1, 2 …, so its parameters are "0.weight", "2.bias" and so on. It accepts any
# callable: modules, the activations of module 02, a plain function. Only modules have parameters,
# but everything keeps its number, and the names agree with PyTorch's. A plain Python list would
# *not* do: `self.blocks = [Linear(…)]` hides its layers from `vars`, and the optimiser never hears
# of them. For layers that are not a chain there is `ModuleList`.
#
# `Flatten` merges all axes but the first: (N, C, H, W) becomes (N, C·H·W). The multilayer
# perceptron is linear, bend, linear, bend, …, linear: `MLP(784, [128, 64], 10)` is a Sequential of
# five. No bend follows the last layer, since a loss wants logits (module 04).


# %%
#| export
class ModuleList(LayerList, Module):
    """Layers under the names 0, 1, 2 …, where the tree can find them."""


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


ModuleList.sliced, Sequential.sliced = ModuleList, Sequential


class Flatten(Module):
    """Merge the axes from start_dim to end_dim; by default all but the batch axis."""

    shown = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return x with those axes merged."""
        ### BEGIN SOLUTION
        return x.flatten(self.start_dim, self.end_dim)
        ### END SOLUTION


# %%
#| export
class MLP(Sequential):
    """Fully connected layers with an activation between them, and a dropout if asked for.

    Args:
        hidden_sizes: Sizes between input and output: one number or a list.
        activation: A class such as ReLU, to be made anew for each layer, or any callable; give it
            to `made`, which tells them apart. `output_activation`, if any, follows the last layer.
        dropout: If above 0, the p of a Dropout after each activation.
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
        sizes, layers = [input_size, *hidden, output_size], []
        ### BEGIN SOLUTION
        for i in range(len(sizes) - 1):
            layers.append(Linear(sizes[i], sizes[i + 1]))
            if i < len(sizes) - 2:
                layers.append(made(activation))
                if dropout > 0:
                    layers.append(Dropout(dropout))
        ### END SOLUTION
        if output_activation is not None:
            layers.append(made(output_activation))
        super().__init__(layers)


create_mlp = MLP

# %%
model = MLP(784, [128], 10)
print(model)
print(Sequential(Flatten(), model)(zeros(5, 1, 28, 28)).shape, list(model.state_dict()))
# Expected output:
# MLP(
#   (0): Linear(in_features=784, out_features=128, bias=True)
#   (1): ReLU()
#   (2): Linear(in_features=128, out_features=10, bias=True)
# )
# (5, 10) ['0.weight', '0.bias', '2.weight', '2.bias']


# %%
#| test
def test_chains():
    model = Sequential(lambda x: x + 1, lambda x: x * 10)
    assert model(Tensor([1.0])).item() == 20
    assert Flatten()(Tensor(np.zeros((2, 3, 4, 5)))).shape == (2, 60)
    kinds = [type(layer).__name__ for layer in MLP(4, [8, 8], 2, dropout=0.1)]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]


if __name__ == "__main__":
    test_chains()

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
per_example = {}
for batch in (1, 8, 64, 512):
    x, times = randn(batch, 784), []
    for _ in range(20):
        start = time.perf_counter()
        model(x)
        times.append(time.perf_counter() - start)
    per_example[batch] = min(times) / batch
    gain = per_example[1] / per_example[batch]
    print(f"batch {batch:3}: {gain:5.1f} times cheaper per example than alone")
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
# - **`parameters()` is an iterator**: it can be walked once. Keep `list(model.parameters())`.
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
