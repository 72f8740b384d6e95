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
# # Module 01: Tensor
#
# A tensor is a block of numbers in memory and a rule for reading it as an N-dimensional array.
#
# **You build** the rules that turn Python data into numbers, numbers into shapes, shapes into
# results, and `apply`, the one door through which every operation of your framework will pass. The
# long menus are given. **You need** NumPy and module 00. **Time**: about four hours.

# %%
#| default_exp core.tensor

# %%
#| export
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytorch.machinery import (
    FLOAT32,
    FLOAT64,
    ArrayBox,
    Node,
    Primitive,
    Shape,
    explained,
    grad_mode,
    plain_index,
    record,
    settle,
    share_version,
    sizes,
)

# %% [markdown]
# ## Step 1: From Python data to numbers in memory
#
# A Python list of a million floats is a million pointers to objects of 24 bytes. An array is one
# block: a million numbers of 4 bytes side by side, all of one **dtype**. Which one?
#
# | you give                         | you get                                            |
# |----------------------------------|----------------------------------------------------|
# | Python numbers, nested lists     | float32                                            |
# | Python booleans                  | bool: they are masks                               |
# | an array, NumPy scalar or Tensor | its own dtype: int64 labels must not become floats |
# | anything, with `dtype=`          | that dtype                                         |
#
# Why float32, when NumPy says float64? Half the bytes, twice the numbers per vector instruction,
# and gradients are noisier than its 24 bits. The price: beyond 2²⁴ = 16,777,216 some integers have
# no float32 of their own. The data are always **copied**: what the caller does to an array
# afterwards must not reach us.


# %%
#| export
def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """Copy data into a new row-major array of numbers, with the dtype of the table above.

    Raises:
        TypeError: If the data are not real numbers.
        ValueError: If the rows of nested lists differ in length.
    """
    ### BEGIN SOLUTION
    try:
        array = np.array(data, dtype=dtype, order="C")
    except ValueError as error:
        raise ValueError(f"cannot make a tensor of {data!r:.60}: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"cannot make a tensor of {data!r:.60}: give real numbers")
    untyped = dtype is None and not hasattr(data, "dtype") and array.dtype != bool
    return array.astype(FLOAT32) if untyped else array
    ### END SOLUTION


# %%
print(as_array([[1, 2], [3, 4]]).dtype, as_array(np.array([3, 1])).dtype, as_array(True).dtype)
print(int(as_array(16_777_216)), int(as_array(16_777_217)))
# Expected output:
# float32 int64 bool
# 16777216 16777216


# %%
#| test
def test_data_are_copied_with_the_right_dtype():
    given = [1, [2, 3], np.array([1, 2]), [True], np.float64(1)]
    assert [str(as_array(x).dtype) for x in given] == "float32 float32 int64 bool float64".split()
    source = np.zeros(3)
    as_array(source)[0] = 1
    assert source[0] == 0


if __name__ == "__main__":
    test_data_are_copied_with_the_right_dtype()

# %% [markdown]
# ## Step 2: Memory layout
#
# Memory has one axis, the address. An array adds a **shape** and **strides**, the bytes to walk
# for one step along each axis. *Row-major* means that the last axis is packed closest:
#
#     [[1. 2. 3.]     memory   1. 2. 3. 4. 5. 6.      shape   (2, 3)
#      [4. 5. 6.]]    byte     0  4  8  12 16 20      strides (12, 4)
#
# Element `[i, j]` lies at byte 12 i + 4 j: `[1, 2]` at 12 + 8 = 20, and there is the 6. A stride is
# the item size times the sizes to its right. With its strides swapped the same memory is the
# transpose: see step 7.


# %%
#| export
def row_major_strides(shape: Shape, itemsize: int) -> Shape:
    """Return the bytes per step along each axis of a packed row-major array."""
    ### BEGIN SOLUTION
    return tuple(itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    ### END SOLUTION


def byte_offset(index: Shape, strides: Shape) -> int:
    """Return the distance in bytes from the first element to the one at `index`."""
    ### BEGIN SOLUTION
    return int(np.dot(index, strides))
    ### END SOLUTION


# %%
#| test
def test_strides_and_offsets_are_those_of_numpy():
    x = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    assert row_major_strides(x.shape, 8) == x.strides
    assert byte_offset((1, 2, 3), x.strides) == 8 * x[1, 2, 3]


if __name__ == "__main__":
    test_strides_and_offsets_are_those_of_numpy()

# %% [markdown]
# ## Step 3: Broadcasting
#
# Adding a bias (3,) to a batch (2, 3) must not cost a copy of the bias per row. Write the shapes
# right-aligned, with 1 where one is shorter. In each column the sizes are equal, or one of them is
# 1 and the other wins: an axis of size 1 is read again and again, with stride 0.
#
#     (2, 3)        (3, 1)        (4, 1, 3)       (2, 3)
#        (3)           (3)           (2, 1)          (4)
#     ------        ------        ---------       ------
#     (2, 3)        (3, 3)        (4, 2, 3)       3 and 4 differ: refused
#
# The second is the most expensive accident in machine learning: predictions (3, 1) minus targets
# (3,) are nine differences, and the mean of their squares still looks like a loss.


# %%
#| export
def broadcast_shape(a: Shape, b: Shape) -> Shape:
    """Return the shape of an elementwise operation on arrays of shapes `a` and `b`.

    Raises:
        ValueError: If two aligned sizes differ and neither is 1: `cannot broadcast shapes
            (2, 3) and (4,): last axes 3 and 4 differ; reshape one or make it 1`.
    """
    ### BEGIN SOLUTION
    shape: list[int] = []
    while len(shape) < len(a) or len(shape) < len(b):
        axis = len(shape) + 1  # counted from the right
        m = a[-axis] if axis <= len(a) else 1
        n = b[-axis] if axis <= len(b) else 1
        if m != n and m != 1 and n != 1:
            reason = f"{'last axes' if axis == 1 else f'axes -{axis}'} {m} and {n} differ"
            remedy = "reshape one or make it 1"
            raise ValueError(f"cannot broadcast shapes {a} and {b}: {reason}; {remedy}")
        shape.append(n if m == 1 else m)
    return tuple(reversed(shape))
    ### END SOLUTION


# %%
#| test
def test_broadcasting_agrees_with_numpy():
    for a, b in [((2, 3), (3,)), ((3, 1), (3,)), ((), (5,)), ((4, 1, 3), (2, 1)), ((1, 0), (2, 1))]:
        assert broadcast_shape(a, b) == np.broadcast_shapes(a, b)
    with np.testing.assert_raises_regex(ValueError, r"\(2, 3\) and \(4,\).* 3 and 4 differ"):
        broadcast_shape((2, 3), (4,))


if __name__ == "__main__":
    test_broadcasting_agrees_with_numpy()

# %% [markdown]
# ## The box and its menu (given)
#
# A `Tensor` is a thin box around an array; `tinytorch/machinery.py` gives `.data`, `.item()`,
# printing and the like. Below is the menu: each operator and method applies an `Op`, a name with a
# rule on arrays. The Ops come in steps 5 to 7; Python looks them up when they are used.


# %%
#| export
class Op(Primitive):
    """A primitive that can be called on tensors; settings by place or name: `sum(x, dim=1)`."""

    __slots__ = ()

    def __call__(self, *args: Any, **settings: Any) -> "Tensor":
        if settings or len(args) != self.arity:
            args, settings = self.bind(args, settings)
        return apply(self, *args, **settings)


def primitive(forward: Callable[..., Any] | None = None, **traits: bool) -> Any:
    """Make an Op of a rule: what stands before the `*` are tensors, what follows are settings."""
    if forward is None:
        return lambda rule: Op(rule.__name__, rule, **traits)
    return Op(forward.__name__, forward)


class Tensor(ArrayBox):
    """An N-dimensional array of numbers that can remember how it was made; see `as_array`."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        self._data = as_array(data, dtype)
        self.grad: Tensor | None = None
        self._node: Node | None = None  # how it was made; None for a leaf
        self._version = [0]  # counts changes; one for all views of a memory
        self.requires_grad_(requires_grad)

    @staticmethod
    def _wrap(array: np.ndarray) -> "Tensor":
        """Make a tensor around an array, without copying or checking it."""
        tensor = object.__new__(Tensor)
        tensor._data = array
        tensor.requires_grad = False
        tensor.grad = tensor._node = None
        tensor._version = [0]
        return tensor

    # fmt: off
    def __add__(self, other): return apply(add, self, other)
    def __radd__(self, other): return apply(add, other, self)
    def __sub__(self, other): return apply(sub, self, other)
    def __rsub__(self, other): return apply(sub, other, self)
    def __mul__(self, other): return apply(mul, self, other)
    def __rmul__(self, other): return apply(mul, other, self)
    def __truediv__(self, other): return apply(div, self, other)
    def __rtruediv__(self, other): return apply(div, other, self)
    def __pow__(self, other): return apply(pow, self, other)
    def __rpow__(self, other): return apply(pow, other, self)
    def __matmul__(self, other): return apply(matmul, self, other)
    def __rmatmul__(self, other): return apply(matmul, other, self)
    def __neg__(self): return apply(neg, self)
    def __abs__(self): return apply(abs, self)
    def __eq__(self, other): return False if other is None else apply(eq, self, other)
    def __ne__(self, other): return True if other is None else apply(ne, self, other)
    def __lt__(self, other): return apply(lt, self, other)
    def __le__(self, other): return apply(le, self, other)
    def __gt__(self, other): return apply(gt, self, other)
    def __ge__(self, other): return apply(ge, self, other)

    def __getitem__(self, index): return apply(getitem, self, index=plain_index(index))

    add, sub, mul, div, pow, matmul = __add__, __sub__, __mul__, __truediv__, __pow__, __matmul__
    neg, abs = __neg__, __abs__
    def exp(self): return apply(exp, self)
    def log(self): return apply(log, self)
    def sqrt(self): return apply(sqrt, self)
    def tanh(self): return apply(tanh, self)
    def clip(self, min=None, max=None): return apply(clip, self, min=min, max=max)
    def astype(self, dtype): return apply(astype, self, dtype=np.dtype(dtype))
    def sum(self, *axis, **names): return sum(self, *axis, **names)
    def mean(self, *axis, **names): return mean(self, *axis, **names)
    def var(self, *axis, **names): return var(self, *axis, **names)
    def max(self, *axis, **names): return max(self, *axis, **names)
    def min(self, *axis, **names): return min(self, *axis, **names)
    def argmax(self, *axis, **names): return argmax(self, *axis, **names)

    def clone(self): return apply(clone, self)
    def reshape(self, *shape): return apply(reshape, self, shape=sizes(shape))
    def view(self, *shape): return apply(view, self, shape=sizes(shape))
    def expand(self, *shape): return apply(expand, self, shape=sizes(shape))
    def permute(self, *axes): return apply(permute, self, axes=sizes(axes))
    def transpose(self, *axes, **names): return transpose(self, *axes, **names)
    def flatten(self, *axes, **names): return flatten(self, *axes, **names)
    def squeeze(self, *axis, **names): return squeeze(self, *axis, **names)
    def unsqueeze(self, *axis, **names): return unsqueeze(self, *axis, **names)
    T = property(lambda self: apply(transpose, self), doc="The axes reversed; a view.")
    __hash__ = ArrayBox.__hash__  # by identity: a class that defines == must say so
    # fmt: on


# %% [markdown]
# ## Step 4: One door for every operation
#
# `apply(add, x, 2.0)` takes five steps, and no operation ever goes another way:
#
# 1. **Open** the inputs: a Tensor gives its array `x._data`, anything else becomes `operand(x)`.
#    Note whether some Tensor requires a gradient.
# 2. **Run** the rule, `op.forward(*arrays, **params)`: an array comes out, or with `op.saves` the
#    pair (array, saved). A ValueError is raised again as `explained(...)` words it.
# 3. **Settle** the result with `settle`: NumPy makes scalars where we want 0-d arrays, and float64
#    of int64 / int64. Most results (an ndarray whose `dtype is not FLOAT64`) need no settling.
# 4. **Wrap** it, and if `op.is_view` call `share_version`: both must notice a change.
# 5. **Record** it, if a Tensor wants a gradient, `grad_mode.enabled`, `op.differentiable` and the
#    result is floating. This makes `(x * 2).requires_grad` true.
#
# The cost is the same for one element and a million: about a microsecond.


# %%
#| export
def operand(x: Any) -> Any:
    """Make an input that is not a Tensor ready for a rule."""
    if type(x) in (int, float, bool) or isinstance(x, np.ndarray):
        return x  # a bare number: NumPy then keeps float32
    return x.item() if isinstance(x, np.generic) else as_array(x)


def apply(op: Op, *inputs: Any, **params: Any) -> Tensor:
    """Run a primitive on tensors, arrays and numbers, with settings such as `axis`."""
    ### BEGIN SOLUTION
    arrays, wants_grad = [], False
    for x in inputs:
        if isinstance(x, Tensor):
            arrays.append(x._data)
            if x.requires_grad:
                wants_grad = True
        else:
            arrays.append(operand(x))
    try:
        out = op.forward(*arrays, **params)
    except ValueError as error:
        raise explained(op, arrays, params, error) from None
    out, saved = out if op.saves else (out, None)
    if type(out) is not np.ndarray or out.dtype is FLOAT64:
        out = settle(op, out, arrays, params)
    result = Tensor._wrap(out)
    if op.is_view:
        share_version(result, inputs[0])
    if wants_grad and grad_mode.enabled and op.differentiable and out.dtype.kind == "f":
        record(op, inputs, arrays, result, saved, params)
    return result
    ### END SOLUTION


# %%
#| test
def test_apply_runs_settles_and_records():
    divide, x = Op("divide", lambda a, b: a / b), Tensor([1.0], requires_grad=True)
    results = [apply(divide, a, 2) for a in (x, x.detach(), Tensor(np.array([1])), np.ones(1))]
    assert [r.dtype.itemsize for r in results] == [4, 4, 4, 8]
    assert [r.requires_grad for r in results] == [True, False, False, False]
    assert results[0]._node.parents == [x, None]
    assert apply(Op("total", lambda x, *, axis: x.sum(axis)), Tensor([1, 2]), axis=0).shape == ()


if __name__ == "__main__":
    test_apply_runs_settles_and_records()

# %% [markdown]
# ## Step 5: Arithmetic
#
# Most elementwise rules are one NumPy ufunc, and are listed. Two are yours: `clip`, and `matmul`,
# where the whole field spends its electricity:
#
#     [[1. 2.]  @  [[5. 6.]   =  [[1·5 + 2·7   1·6 + 2·8]   =  [[19. 22.]
#      [3. 4.]]     [7. 8.]]      [3·5 + 4·7   3·6 + 4·8]]      [43. 50.]]
#
# (n, k) @ (k, m) gives (n, m) for 2nkm operations on only nk + km numbers: 2·10⁹ on 8 MB for two
# 1000 x 1000 matrices, so a BLAS library can use each number a thousand times while it is in cache.
# Leading axes are batches and broadcast. A vector (k,) is a row on the left, a column on the right,
# and its axis is gone from the result. Rules take arrays and return arrays: `apply` does the rest.


# %%
#| export
add, sub, mul = Op("add", np.add), Op("sub", np.subtract), Op("mul", np.multiply)
div, neg, abs = Op("div", np.divide), Op("neg", np.negative), Op("abs", np.abs)
exp, log, sqrt, tanh = (Op(rule.__name__, rule) for rule in (np.exp, np.log, np.sqrt, np.tanh))
pow = Op("pow", lambda a, b: a**b)  # knows that x ** 2 is x * x, which np.power does not
eq, ne, lt, le, gt, ge = (
    Op("compare", rule, differentiable=False)
    for rule in (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
)
astype = Op("astype", lambda x, *, dtype: x.astype(dtype))
where = Op("where", lambda condition, a, b: np.where(condition, a, b))  # noqa: PLW0108


@primitive
def clip(x, *, min=None, max=None):
    """Replace what is below `min` by `min` and what is above `max` by `max`; None is no bound."""
    ### BEGIN SOLUTION
    return np.clip(x, min, max)
    ### END SOLUTION


@primitive
def matmul(a, b):
    """Multiply matrices, batches of matrices, and vectors: (..., n, k) @ (..., k, m)."""
    ### BEGIN SOLUTION
    return a @ b
    ### END SOLUTION


# %%
x = Tensor([[1, 2], [3, 4]])
print((2 * x - 1).tolist(), (x**2 > 4).tolist(), x.clip(max=3).tolist(), (x @ [1, 10]).tolist())
# Expected output:
# [[1.0, 3.0], [5.0, 7.0]] [[False, False], [True, True]] [[1.0, 2.0], [3.0, 3.0]] [21.0, 43.0]


# %%
#| test
def test_arithmetic_clip_and_matmul():
    x, y = Tensor([7]), 2
    assert [float(z) for z in (x + y, x - y, x * y, x / y, x**y, y - x)] == [9, 5, 14, 3.5, 49, -5]
    assert [clip(x, -1, 1).tolist(), clip(-x, min=0).tolist()] == [[1], [0]]
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    assert matmul(Tensor(a), b).tolist() == (a @ b).tolist()
    assert [matmul(b[:, 0], b).shape, matmul(np.ones((5, 2, 3)), b).shape] == [(4,), (5, 2, 4)]


if __name__ == "__main__":
    test_arithmetic_clip_and_matmul()

# %% [markdown]
# ## Step 6: Reductions
#
# A reduction makes one number of each line along an axis, and that axis disappears:
#
#     x = [[1. 2. 3.]   sum(axis=0) = [5. 7. 9.]    (3,)    down the columns
#          [4. 5. 6.]]  sum(axis=1) = [6. 15.]      (2,)    along the rows
#                       sum()       = 21.           ()      everything
#
# With `keepdims=True` it stays, of size 1: (2, 1) broadcasts back against (2, 3), (2,) does not.
# `max`, `min` and `argmax` are given: they show the pattern.
#
# The variance is Σ (x − mean)² / (count − correction): correction 1 to estimate from a sample, as
# PyTorch does by default; 0 for exactly these numbers, as in normalisation. The shortcut
# mean(x²) − mean(x)² subtracts two huge numbers: for 10000, 10001, 10002 in float32 it gives 0,
# where the truth is 0.667.


# %%
#| export
max = Op("max", lambda x, *, axis=None, keepdims=False: x.max(axis, keepdims=keepdims))
min = Op("min", lambda x, *, axis=None, keepdims=False: x.min(axis, keepdims=keepdims))
argmax = Op(
    "argmax",
    lambda x, *, axis=None, keepdims=False: x.argmax(axis, keepdims=keepdims),
    differentiable=False,
)


@primitive
def sum(x, *, axis=None, keepdims=False):
    """Add up along one axis, several (a tuple), or all (None)."""
    ### BEGIN SOLUTION
    return x.sum(axis=axis, keepdims=keepdims)
    ### END SOLUTION


@primitive
def mean(x, *, axis=None, keepdims=False):
    """Average along one axis, several, or all."""
    ### BEGIN SOLUTION
    return x.mean(axis=axis, keepdims=keepdims)
    ### END SOLUTION


@primitive
def var(x, *, axis=None, keepdims=False, correction=1):
    """Sum of squared distances from the mean, divided by count - correction."""
    ### BEGIN SOLUTION
    squares = (x - x.mean(axis=axis, keepdims=True)) ** 2
    total = squares.sum(axis=axis, keepdims=keepdims)
    return total / (x.size // total.size - correction)
    ### END SOLUTION


# %%
#| test
def test_reductions_along_axes():
    x = Tensor([[1, 5, 3], [4, 2, 6]])
    assert [sum(x, 1).tolist(), mean(x, axis=0).tolist()] == [[9, 12], [2.5, 3.5, 4.5]]
    assert [sum(x, 1, True).shape, mean(x, dim=0, keepdim=True).shape] == [(2, 1), (1, 3)]
    x = Tensor([10_000, 10_001, 10_002])
    np.testing.assert_allclose([var(x), var(x, correction=0)], [1, 2 / 3], rtol=1e-6)


if __name__ == "__main__":
    test_reductions_along_axes()

# %% [markdown]
# ## Step 7: Views and copies
#
# What follows changes how memory is read, not what is in it. Of x, shape (2, 3), strides (12, 4):
#
# | expression           | shape  | strides | memory |
# |----------------------|--------|---------|--------|
# | `x.T`                | (3, 2) | (4, 12) | shared |
# | `x[:, 1]`            | (2,)   | (12,)   | shared |
# | `x[:1].expand(4, 3)` | (4, 3) | (0, 4)  | shared |
# | `x[[0, 0, 1]]`       | (3, 3) | (12, 4) | copied |
# | `x.T.reshape(6)`     | (6,)   | (4,)    | copied |
#
# Integers and slices step evenly, so they share; a list or a mask does not, so it copies. The last
# row must copy: no stride reads 1 4 2 5 3 6. There `reshape` copies in silence, and `view` refuses.
# Sharing costs nothing, but who writes through one tensor changes the other.


# %%
#| export
getitem = Op("getitem", lambda x, *, index: x[index], is_view=True)
reshape = Op("reshape", lambda x, *, shape: x.reshape(shape), is_view=True)
permute = Op("permute", lambda x, *, axes: x.transpose(axes), is_view=True)
unsqueeze = Op("unsqueeze", lambda x, *, axis: np.expand_dims(x, axis), is_view=True)
clone = Op("clone", lambda x: x.copy())
stack = Op("stack", lambda *arrays, axis=0: np.stack(arrays, axis))
concatenate = cat = Op("concatenate", lambda *arrays, axis=0: np.concatenate(arrays, axis))


@primitive(is_view=True)
def view(x, *, shape):
    """Reshape, but raise ValueError where that would copy."""
    ### BEGIN SOLUTION
    out = x.reshape(shape)
    if x.size and not np.may_share_memory(out, x):
        raise ValueError(f"strides {x.strides} would need a copy; use reshape")
    return out
    ### END SOLUTION


@primitive(is_view=True)
def transpose(x, *, axis0=None, axis1=None):
    """Swap two axes; without arguments reverse them all."""
    ### BEGIN SOLUTION
    return x.T if axis0 is None else x.swapaxes(axis0, axis1)
    ### END SOLUTION


@primitive(is_view=True)
def flatten(x, *, start_dim=0, end_dim=-1):
    """Merge the axes from start_dim to end_dim, both included, into one."""
    ### BEGIN SOLUTION
    ndim = x.ndim or 1
    start, end = start_dim % ndim, end_dim % ndim + 1
    return x.reshape(*x.shape[:start], math.prod(x.shape[start:end]), *x.shape[end:])
    ### END SOLUTION


@primitive(is_view=True)
def squeeze(x, *, axis=None):
    """Drop all axes of size 1, or only `axis` if its size is 1."""
    ### BEGIN SOLUTION
    stays = axis is not None and x.shape[axis] != 1
    return x[...] if stays else x.squeeze(axis)
    ### END SOLUTION


@primitive(is_view=True)
def expand(x, *, shape):
    """Repeat axes of size 1 without copying, and add axes on the left; -1 keeps a size."""
    ### BEGIN SOLUTION
    old = (1,) * (len(shape) - x.ndim) + x.shape
    return np.broadcast_to(x, [m if n == -1 else n for m, n in zip(old, shape, strict=False)])
    ### END SOLUTION


# %%
x = Tensor([[1, 2, 3], [4, 5, 6]])
column = x[:, 1]
column[0] = 20
print(x.tolist(), column.strides, x.T.strides, x[:1].expand(4, 3).strides)
# Expected output:
# [[1.0, 20.0, 3.0], [4.0, 5.0, 6.0]] (12,) (4, 12) (0, 4)


# %%
#| test
def test_views_have_their_shape_and_share_memory():
    x = Tensor(np.zeros((2, 1, 3)))
    views = [view(x, (3, 2)), x.T, flatten(x, 1), x.squeeze(), expand(x, (4, 2, 5, -1))]
    assert [y.shape for y in views] == [(3, 2), (3, 1, 2), (2, 3), (2, 3), (4, 2, 5, 3)]
    assert all(np.shares_memory(x.data, y.data) and y._version is x._version for y in views)
    assert [transpose(x, 2, 1).shape, squeeze(x, 0).shape] == [(2, 3, 1), (2, 1, 3)]
    np.testing.assert_raises_regex(ValueError, "use reshape", x.T.view, 6)


if __name__ == "__main__":
    test_views_have_their_shape_and_share_memory()

# %% [markdown]
# ## Step 8: Making tensors
#
# All randomness comes from one generator, so that one seed repeats a whole experiment. Reseeding
# replaces its *state*, not the object: whoever imported `default_generator` keeps the right one.
# Everything is float32 unless told otherwise, and drawn as such. Only `arange` of whole numbers is
# int64, as in PyTorch, because it makes indices.


# %%
#| export
default_generator = np.random.Generator(np.random.PCG64())


def manual_seed(seed: int) -> np.random.Generator:
    """Restart `default_generator` as a new `np.random.PCG64(seed)` would start; return it."""
    ### BEGIN SOLUTION
    default_generator.bit_generator.state = np.random.PCG64(seed).state
    return default_generator
    ### END SOLUTION


def full(shape: Any, value: float, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Make a tensor with `value` everywhere; `shape` is an int or a tuple."""
    ### BEGIN SOLUTION
    return Tensor(np.full(shape, value, dtype), requires_grad)
    ### END SOLUTION


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """Count from `start` up to, not including, `stop`; from 0 if only one number is given."""
    ### BEGIN SOLUTION
    array = np.arange(start) if stop is None else np.arange(start, stop, step)
    return Tensor(array, dtype=dtype or (FLOAT32 if array.dtype.kind == "f" else np.int64))
    ### END SOLUTION


def rand(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Draw uniformly from [0, 1): given, as the pattern."""
    return Tensor(default_generator.random(sizes(shape), np.float32), requires_grad, dtype)


def randn(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Draw from the normal distribution of mean 0 and variance 1."""
    ### BEGIN SOLUTION
    drawn = default_generator.standard_normal(sizes(shape), np.float32)
    return Tensor(drawn, requires_grad, dtype)
    ### END SOLUTION


def zeros(*shape: Any, **kind: Any) -> Tensor:
    """Make a tensor of zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    return full(sizes(shape), 0, **kind)


def ones(*shape: Any, **kind: Any) -> Tensor:
    """Make a tensor of ones."""
    return full(sizes(shape), 1, **kind)


def eye(n: int, m: int | None = None, dtype: Any = FLOAT32) -> Tensor:
    """Make an (n, m) matrix with ones on its diagonal; square by default."""
    return Tensor(np.eye(n, m), dtype=dtype)


# %%
manual_seed(7)
first = randn(2)
manual_seed(7)
print((first == randn(2)).tolist(), arange(2, 8, 2).tolist(), arange(3).dtype, zeros(2).tolist())
# Expected output:
# [True, True] [2, 4, 6] int64 [0.0, 0.0]


# %%
#| test
def test_factories_and_seeds():
    assert [manual_seed(3).random() for _ in range(2)] == [manual_seed(3).random()] * 2
    made = [randn(2, 3), rand((2, 3)), full((2, 3), 7), zeros(2, 3)]
    assert {(x.shape, str(x.dtype)) for x in made} == {((2, 3), "float32")}
    assert [arange(3).tolist(), arange(0, 1, 0.5).tolist()] == [[0, 1, 2], [0, 0.5]]


if __name__ == "__main__":
    test_factories_and_seeds()

# %% [markdown]
# ## Measure: what memory costs
#
# **Views**: transposing 16 MiB takes as long as transposing 16 bytes; copying them does not.
# **Cache lines**: memory comes in lines of 64 bytes, so adding 65,536 numbers that lie 256 bytes
# apart fetches sixteen times as many lines as adding 65,536 neighbours. **The door**: one element
# notices what `apply` costs, a million do not.
#
# **O(N²) against O(N).** Collect N rows, appending each by `concatenate`: every step copies the
# rows so far, N (N + 1) / 2 rows in all. Filling a tensor made in advance moves N. Double N, and
# the second doubles where the first quadruples. Every loop that "just appends" is such a trap.


# %%
import timeit


def microseconds(function: Callable[..., Any], *inputs: Any, number: int = 10) -> float:
    return np.min(timeit.repeat(lambda: function(*inputs), number=number)) / number * 1e6


x = ones(2048, 2048)
near, apart = x.data.reshape(-1)[:65_536], x.data.reshape(-1)[::64]
print(f"view {microseconds(np.transpose, x.data):.1f} µs, copy {microseconds(clone, x.T):.0f} µs")
print(f"near {microseconds(np.sum, near):.0f} µs, apart {microseconds(np.sum, apart):.0f} µs")
for a in (ones(1), ones(1_000_000)):
    plain, ours = microseconds(np.add, a.data, a.data), microseconds(add, a, a)
    print(f"add {a.size}: NumPy {plain:.1f} µs, Tensor {ours:.1f} µs")


def append(n: int) -> None:
    rows = zeros(0, 256)
    for _ in range(n):
        rows = concatenate([rows, ones(1, 256)])


def fill(n: int) -> None:
    rows = zeros(n, 256)
    for i in range(n):
        rows[i] = ones(256)


for n in (400, 800, 1600):
    slow, quick = (microseconds(f, n, number=1) / 1e3 for f in (append, fill))
    print(f"{n} rows: {n * (n + 1) // 2 * 1024 / 1e6:.0f} MB in {slow:.0f} ms,", end=" ")
    print(f"{n * 1024 / 1e6:.1f} MB in {quick:.1f} ms")
# Expected output:
# view ... µs, copy ... µs
# near ... µs, apart ... µs
# add 1: NumPy ... µs, Tensor ... µs
# add 1000000: NumPy ... µs, Tensor ... µs
# 400 rows: 82 MB in ... ms, 0.4 MB in ... ms
# 800 rows: 328 MB in ... ms, 0.8 MB in ... ms
# 1600 rows: 1312 MB in ... ms, 1.6 MB in ... ms

# %% [markdown]
# ## Pitfalls
#
# - predictions (3, 1) − targets (3,) is (3, 3): check `.shape` before you trust a loss.
# - `reshape` is not `transpose`: one keeps the order of the elements, the other the axes.
# - Writing through a view writes into the original; `clone` first if that is not what you want.
# - In this file `sum`, `max`, `min`, `abs` and `pow` are Ops. Python's own are `builtins.sum` …
# - Never compare floats with `==` after arithmetic: 0.1 + 0.2 is not 0.3, least of all in float32.
#
# ## What PyTorch does differently, and why
#
# `torch.tensor([1, 2])` is int64: it follows Python's types, we follow what a network needs. Its
# `.data` is a tensor, because the memory may be that of a GPU; ours is the NumPy array.
# `torch.max(x, dim)` returns values and positions; ours the values, like `torch.amax`. There too
# every operation passes one door, the dispatcher: it chooses by device, dtype and gradient mode.
#
# ## Sources
#
# - van der Walt, Colbert, Varoquaux 2011, "The NumPy array". Harris et al. 2020, Nature 585.
# - Goldberg 1991, "What every computer scientist should know about floating-point arithmetic".
# - Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance".
# - Paszke et al. 2019, "PyTorch: an imperative style, high-performance deep learning library".
#
# ## Reflect
#
# In 150 to 300 words, in `modules/01_tensor/reflection.md`: a colleague's training script makes
# `x.T.reshape(...)` in its inner loop and is slow. Explain with strides which copy happens, how you
# would measure it, and when a copy is the *faster* choice. Use numbers from your own machine.
#
# **Checkpoint**: `tito checkpoint run 01`
