# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 01: Tensor
#
# A tensor is a block of numbers in memory and a rule for reading it as an N-dimensional array.

# %%
#| default_exp core.tensor

# %%
#| export
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
NUMBERS = frozenset({int, float, bool})  # handed to NumPy bare, so that float32 stays float32
Shape = tuple[int, ...]

# %% [markdown]
# ## Step 1: From Python data to numbers in memory


# %%
#| export
def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """Copy data into a new row-major array of numbers.

    Args:
        data: A number, nested lists of numbers, an array, or a Tensor.
        dtype: The wanted dtype. By default an array, a NumPy scalar and a Tensor keep theirs,
            Python booleans become bool, and other Python numbers float32.

    Raises:
        TypeError: If the data are not numbers.
        ValueError: If the rows differ in length.
    """
    ### BEGIN SOLUTION
    if isinstance(data, Tensor):
        data = data._data
    try:
        array = np.array(data, dtype=dtype, order="C")
    except ValueError as error:
        raise ValueError(f"cannot make a tensor of {data!r}: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"cannot make a tensor of {type(data).__name__}: give real numbers")
    typed = dtype is not None or isinstance(data, np.ndarray | np.generic)
    return array if typed or array.dtype == bool else array.astype(FLOAT32)
    ### END SOLUTION


# %% [markdown]
# ## Step 2: Memory layout


# %%
#| export
def row_major_strides(shape: Shape, itemsize: int) -> Shape:
    """Return the bytes to walk for one step along each axis of a packed row-major array."""
    ### BEGIN SOLUTION
    strides, step = [], itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
    ### END SOLUTION


def byte_offset(index: Shape, strides: Shape) -> int:
    """Return the distance in bytes from the first element to the one at `index`."""
    ### BEGIN SOLUTION
    offset = 0
    for i, stride in zip(index, strides, strict=True):
        offset += i * stride
    return offset
    ### END SOLUTION


# %% [markdown]
# ## Step 3: Broadcasting


# %%
#| export
def broadcast_shape(a: Shape, b: Shape) -> Shape:
    """Return the shape of an elementwise operation on arrays of shapes `a` and `b`.

    Raises:
        ValueError: If two aligned axes differ and neither is 1; names both shapes and sizes.
    """
    ### BEGIN SOLUTION
    ndim = len(a) if len(a) > len(b) else len(b)
    padded_a = (1,) * (ndim - len(a)) + a
    padded_b = (1,) * (ndim - len(b)) + b
    out = []
    for axis in range(-1, -ndim - 1, -1):
        m, n = padded_a[axis], padded_b[axis]
        if m != n and m != 1 and n != 1:
            axes = "last axes" if axis == -1 else f"axes {axis}"
            raise ValueError(
                f"cannot broadcast shapes {a} and {b}: {axes} {m} and {n} differ; "
                "reshape one or make it 1"
            )
        out.append(n if m == 1 else m)
    return tuple(reversed(out))
    ### END SOLUTION


# %% [markdown]
# ## The machine room: Op, Node, Tensor (given)


# %%
#| export
class GradMode(threading.local):
    """Whether this thread records what it computes; module 05 switches it off in `no_grad`."""

    enabled = True


grad_mode = GradMode()
NAMES = {"dim": "axis", "keepdim": "keepdims", "dims": "axes", "dim0": "axis0", "dim1": "axis1"}


class Op:
    """A primitive: a rule on arrays that can be called on tensors.

    Attributes:
        name: For messages.
        forward: The rule: arrays and Python numbers in, an array out, or (array, saved).
        differentiable, is_view, saves: Has a gradient; may share memory with its first input;
            gives a second value, which the backward rule will want.
        vjps, joint_vjp, keeps: Filled in by module 05: the backward rules, and what they need.
    """

    __slots__ = ("name", "forward", "differentiable", "is_view", "saves", "vjps", "joint_vjp")
    __slots__ += ("keeps", "arity", "settings", "__dict__")

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        *,
        differentiable: bool = True,
        is_view: bool = False,
        saves: bool = False,
    ):
        self.name, self.forward = name, forward
        self.differentiable, self.is_view, self.saves = differentiable, is_view, saves
        self.vjps, self.joint_vjp = None, None
        self.keeps = frozenset({"inputs", "output"})
        code = getattr(forward, "__code__", None)  # a NumPy ufunc has none
        count = code.co_argcount if code else forward.nin
        self.arity = None if code and code.co_flags & 4 else count  # 4: the rule takes *arrays
        first = count + (1 if self.arity is None else 0)
        self.settings = code.co_varnames[count : count + code.co_kwonlyargcount] if code else ()
        self.__doc__, self.__name__, self.__wrapped__ = forward.__doc__, name, forward

    def __call__(self, *args: Any, **named: Any) -> "Tensor":
        """Apply to tensors, then settings by place or name: `sum(x, 1)`, `sum(x, dim=1)`."""
        inputs, placed = args[: self.arity], args[self.arity :] if self.arity else ()
        if self.arity is None:  # stack([a, b], 0): the inputs come as one sequence
            inputs, placed = tuple(args[0]), args[1:]
        if len(placed) > len(self.settings):
            raise TypeError(f"{self.name} takes at most {len(self.settings)} settings")
        settings = {NAMES.get(name, name): value for name, value in named.items()}
        settings.update(zip(self.settings, placed, strict=False))
        return apply(self, *inputs, **settings)

    def __repr__(self) -> str:
        return f"<Op {self.name}>"


def primitive(forward: Callable[..., Any] | None = None, **kind: bool) -> Any:
    """Make an Op of a rule on arrays: tensors before the `*` of its signature, settings after."""
    if forward is None:
        return lambda rule: Op(rule.__name__, rule, **kind)
    return Op(forward.__name__, forward, **kind)


class Node:
    """How a tensor was made; module 05 walks these backwards.

    Attributes:
        parents: For each input: its Node, the Tensor itself if it is a leaf that requires grad,
            or None where no gradient is wanted.
        shapes, dtypes: Of each input; (), None for a Python number.
        values, out, saved: Input arrays, output array and the rule's second value, as kept.
        params: The settings of the call.
        versions: (version cell, number) of each kept tensor, to detect later changes.
    """

    __slots__ = ("op", "parents", "shapes", "dtypes", "values", "out", "saved", "params")
    __slots__ += ("versions", "__weakref__")


# %%
#| export
class Tensor:
    """An N-dimensional array of numbers that remembers how it was made.

    Args:
        data: Number, nested lists, array or Tensor; always copied.
        requires_grad: Whether `backward` should leave a gradient in `.grad`.
        dtype: As `as_array` understands it; float32 for Python numbers.
    """

    __slots__ = ("_data", "requires_grad", "grad", "_node", "_version")
    __array_ufunc__ = None  # ndarray + Tensor is left to Tensor.__radd__
    __hash__ = object.__hash__

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        self._data = as_array(data, dtype)
        if requires_grad and self._data.dtype.kind != "f":
            raise TypeError(f"cannot differentiate {self._data.dtype}; use a floating dtype")
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self._node: Node | None = None
        self._version = [0]

    @staticmethod
    def _wrap(array: np.ndarray) -> "Tensor":
        """Make a tensor of an array without copying or checking it."""
        tensor = new_object(Tensor)
        tensor._data = array
        tensor.requires_grad = False
        tensor.grad = None
        tensor._node = None
        tensor._version = [0]
        return tensor

    @property
    def data(self) -> np.ndarray:
        """The array itself. Assigning to it is not recorded, but counts as a change."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = value if type(value) is np.ndarray else np.asarray(value)
        self._version[0] += 1

    shape = property(lambda self: self._data.shape, doc="Sizes of the axes.")
    ndim = property(lambda self: self._data.ndim, doc="Number of axes.")
    size = property(lambda self: self._data.size, doc="Number of elements.")
    dtype = property(lambda self: self._data.dtype, doc="Type of each element.")
    nbytes = property(lambda self: self._data.nbytes, doc="Bytes of the elements.")
    strides = property(lambda self: self._data.strides, doc="Bytes per step along each axis.")
    T = property(lambda self: permute(self, tuple(range(self.ndim))[::-1]), doc="Axes reversed.")
    is_leaf = property(lambda self: self._node is None, doc="Whether no operation made it.")

    def numpy(self) -> np.ndarray:
        """Return the array, sharing memory."""
        return self._data

    def item(self) -> int | float | bool:
        """Return the only element as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"cannot take the one item of shape {self.shape}; index or reduce it")
        return self._data.item()

    def tolist(self) -> Any:
        return self._data.tolist()

    def detach(self) -> "Tensor":
        """Return the same memory, cut from the graph."""
        tensor = Tensor._wrap(self._data)
        tensor._version = self._version
        return tensor

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        self.requires_grad = requires_grad
        return self

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Leave d(self)/d(leaf) in the `.grad` of every leaf; module 05 builds this."""
        try:
            from tinytorch.core.autograd import backward
        except ModuleNotFoundError as error:
            if error.name != "tinytorch.core.autograd":
                raise
            raise NotImplementedError("module 05: backward; build autograd first") from None
        backward(self, gradient, retain_graph)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("a tensor of shape () has no length")
        return len(self._data)

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous")
        return bool(self._data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __repr__(self) -> str:
        values = np.array2string(self._data, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype in (FLOAT32, np.int64, np.bool_) else f", dtype={self.dtype}"
        return f"Tensor({values}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __getitem__(self, index: Any) -> "Tensor":
        return apply(getitem, self, index=plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        """Overwrite elements in place: refused on a tensor whose gradient is being recorded."""
        if self.requires_grad and grad_mode.enabled:
            raise RuntimeError(
                "cannot assign into a tensor that requires grad; use no_grad(), or where(...)"
            )
        self._data[plain_index(index)] = value._data if isinstance(value, Tensor) else value
        self._version[0] += 1

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

    def add(self, other): return apply(add, self, other)
    def sub(self, other): return apply(sub, self, other)
    def mul(self, other): return apply(mul, self, other)
    def div(self, other): return apply(div, self, other)
    def pow(self, other): return apply(pow, self, other)
    def matmul(self, other): return apply(matmul, self, other)
    def neg(self): return apply(neg, self)
    def abs(self): return apply(abs, self)
    def exp(self): return apply(exp, self)
    def log(self): return apply(log, self)
    def sqrt(self): return apply(sqrt, self)
    def tanh(self): return apply(tanh, self)
    def clip(self, min=None, max=None): return apply(clip, self, min=min, max=max)
    def clone(self): return apply(clone, self)
    def astype(self, dtype): return apply(astype, self, dtype=np.dtype(dtype))
    def float(self): return self.astype(FLOAT32)
    def long(self): return self.astype(np.int64)

    def sum(self, axis=None, keepdims=False, **names): return sum(self, **both(axis, keepdims, names))
    def mean(self, axis=None, keepdims=False, **names): return mean(self, **both(axis, keepdims, names))
    def var(self, axis=None, keepdims=False, **names): return var(self, **both(axis, keepdims, names))
    def max(self, axis=None, keepdims=False, **names): return max(self, **both(axis, keepdims, names))
    def min(self, axis=None, keepdims=False, **names): return min(self, **both(axis, keepdims, names))
    def argmax(self, axis=None, keepdims=False, **names): return argmax(self, **both(axis, keepdims, names))

    def reshape(self, *shape): return apply(reshape, self, shape=sizes(shape))
    def view(self, *shape): return apply(view, self, shape=sizes(shape))
    def expand(self, *shape): return apply(expand, self, shape=sizes(shape))
    def permute(self, *axes): return apply(permute, self, axes=sizes(axes))
    def transpose(self, *axes, **names): return transpose(self, *axes, **names)
    def flatten(self, *axes, **names): return flatten(self, *axes, **names)
    def squeeze(self, *axis, **names): return squeeze(self, *axis, **names)
    def unsqueeze(self, *axis, **names): return unsqueeze(self, *axis, **names)
    # fmt: on


new_object = object.__new__


def sizes(shape: tuple[Any, ...]) -> Shape:
    """Accept `f(2, 3)` and `f((2, 3))` alike."""
    if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
        return tuple(shape[0])
    return shape


def both(axis: Any, keepdims: bool, names: dict[str, Any]) -> dict[str, Any]:
    """Accept NumPy's axis and keepdims beside PyTorch's dim and keepdim."""
    axis, keepdims = names.pop("dim", axis), names.pop("keepdim", keepdims)
    return {"axis": axis, "keepdims": keepdims, **names}


def plain_index(index: Any) -> Any:
    """Replace the tensors in an index by their arrays."""
    if isinstance(index, tuple):
        return tuple(i._data if isinstance(i, Tensor) else i for i in index)
    return index._data if isinstance(index, Tensor) else index


# %% [markdown]
# ## Step 4: One door for every operation


# %%
#| export
def operand(x: Any) -> Any:
    """Make an input that is neither a Tensor nor a Python number ready for a rule."""
    if isinstance(x, np.ndarray):
        return x
    return x.item() if isinstance(x, np.generic) else as_array(x)


def settle(out: Any, arrays: list[Any], params: dict[str, Any]) -> np.ndarray:
    """Make a result an array, and float64 only if float64 came in or was asked for."""
    out = np.asarray(out)
    if out.dtype == FLOAT64 and "dtype" not in params:
        if not any(getattr(a, "dtype", None) == FLOAT64 for a in arrays):
            return out.astype(FLOAT32)
    return out


def explained(op: Op, arrays: list[Any], params: dict[str, Any], error: ValueError) -> ValueError:
    """Say a rule's refusal in terms of shapes."""
    shapes, reason = [np.shape(a) for a in arrays], str(error)
    if op.name == "matmul" and len(shapes[0]) and len(shapes[1]):
        m, n = shapes[0][-1], shapes[1][-2 if len(shapes[1]) > 1 else -1]
        reason = f"inner axes {m} and {n} differ; transpose one" if m != n else reason
    elif len(shapes) == 2 and "broadcast" in reason:
        try:
            broadcast_shape(*shapes)
        except ValueError as refusal:
            reason = str(refusal).partition(": ")[2] or reason
    listed = " and ".join(str(shape) for shape in shapes)
    given = "".join(f", {name}={value}" for name, value in params.items())
    plural = "s" if len(shapes) > 1 else ""
    return type(error)(f"cannot {op.name} shape{plural} {listed}{given}: {reason}")


def record(
    op: Op, inputs: tuple[Any, ...], arrays: list[Any], result: Tensor, saved: Any, params: Any
) -> None:
    """Hang a Node on a result, so that module 05 can go back the way it came."""
    node = new_object(Node)
    parents, shapes, dtypes, versions = [], [], [], []
    keep_inputs, keep_output = "inputs" in op.keeps, "output" in op.keeps
    for x, array in zip(inputs, arrays, strict=True):
        if isinstance(x, Tensor):
            parents.append((x._node or x) if x.requires_grad else None)
            if keep_inputs:
                versions.append((x._version, x._version[0]))
        else:
            parents.append(None)
        is_array = type(array) is np.ndarray
        shapes.append(array.shape if is_array else ())
        dtypes.append(array.dtype if is_array else None)
    if keep_output:
        versions.append((result._version, result._version[0]))
    node.op, node.params, node.saved = op, params, saved
    node.parents, node.shapes, node.dtypes = parents, shapes, dtypes
    node.values = tuple(arrays) if keep_inputs else None
    node.out = result._data if keep_output else None
    node.versions = versions
    result._node, result.requires_grad = node, True


def apply(op: Op, *inputs: Any, **params: Any) -> Tensor:
    """Run a primitive on tensors, arrays and numbers; every operation passes through here.

    Args:
        op: What to compute.
        inputs: Its operands, in order.
        params: Its settings, such as `axis`, handed to the rule unchanged.

    Returns:
        A new Tensor; recorded if gradients are on, `op` has one, and an input requires it.
    """
    ### BEGIN SOLUTION
    arrays, wants_grad = [], False
    for x in inputs:
        if isinstance(x, Tensor):
            arrays.append(x._data)
            wants_grad = wants_grad or x.requires_grad
        else:
            arrays.append(x if type(x) in NUMBERS else operand(x))
    try:
        out = op.forward(*arrays, **params)
    except ValueError as error:
        raise explained(op, arrays, params, error) from None
    out, saved = out if op.saves else (out, None)
    if type(out) is not np.ndarray or out.dtype is FLOAT64:
        out = settle(out, arrays, params)
    result = Tensor._wrap(out)
    if op.is_view and out.base is not None:
        source = inputs[0]
        if out.base is source._data or out.base is source._data.base:
            result._version = source._version
    if wants_grad and op.differentiable and grad_mode.enabled and out.dtype.kind == "f":
        record(op, inputs, arrays, result, saved, params)
    return result
    ### END SOLUTION


# %% [markdown]
# ## Step 5: Arithmetic, element by element


# %%
#| export
@primitive
def add(a, b):
    """Add elementwise, with broadcasting."""
    ### BEGIN SOLUTION
    return a + b
    ### END SOLUTION


@primitive
def sub(a, b):
    """Subtract `b` from `a`."""
    ### BEGIN SOLUTION
    return a - b
    ### END SOLUTION


@primitive
def mul(a, b):
    """Multiply elementwise."""
    ### BEGIN SOLUTION
    return a * b
    ### END SOLUTION


@primitive
def div(a, b):
    """Divide `a` by `b`."""
    ### BEGIN SOLUTION
    return a / b
    ### END SOLUTION


@primitive
def pow(a, b):
    """Raise `a` to the power `b`."""
    ### BEGIN SOLUTION
    return a**b
    ### END SOLUTION


@primitive
def neg(x):
    """Change the sign."""
    ### BEGIN SOLUTION
    return -x
    ### END SOLUTION


@primitive
def abs(x):
    """Drop the sign."""
    ### BEGIN SOLUTION
    return np.abs(x)
    ### END SOLUTION


@primitive
def clip(x, *, min=None, max=None):
    """Push every value into [min, max]; None leaves that side open."""
    ### BEGIN SOLUTION
    return np.clip(x, min, max)
    ### END SOLUTION


clamp = clip
exp, log, sqrt, tanh = (Op(f.__name__, f) for f in (np.exp, np.log, np.sqrt, np.tanh))
eq, ne, lt, le, gt, ge = (
    Op(name, rule, differentiable=False)
    for name, rule in {
        "eq": np.equal,
        "ne": np.not_equal,
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
    }.items()
)


@primitive
def astype(x, *, dtype):
    """Convert every element to `dtype`."""
    ### BEGIN SOLUTION
    return x.astype(dtype)
    ### END SOLUTION


# %% [markdown]
# ## Step 6: Reductions


# %%
#| export
@primitive
def sum(x, *, axis=None, keepdims=False):
    """Add up along `axis`: all axes if None; a reduced axis disappears unless `keepdims`."""
    ### BEGIN SOLUTION
    return x.sum(axis=axis, keepdims=keepdims)
    ### END SOLUTION


@primitive
def mean(x, *, axis=None, keepdims=False):
    """Average along `axis`."""
    ### BEGIN SOLUTION
    return x.mean(axis=axis, keepdims=keepdims)
    ### END SOLUTION


@primitive
def var(x, *, axis=None, keepdims=False, correction=1):
    """Average squared deviation from the mean: sum / (count - correction)."""
    ### BEGIN SOLUTION
    total = x.sum(axis=axis, keepdims=keepdims)
    count = x.size // total.size
    squares = (x - x.mean(axis=axis, keepdims=True)) ** 2
    return squares.sum(axis=axis, keepdims=keepdims) / (count - correction)
    ### END SOLUTION


@primitive
def max(x, *, axis=None, keepdims=False):
    """Largest value along `axis`."""
    ### BEGIN SOLUTION
    return x.max(axis=axis, keepdims=keepdims)
    ### END SOLUTION


@primitive
def min(x, *, axis=None, keepdims=False):
    """Smallest value along `axis`."""
    ### BEGIN SOLUTION
    return x.min(axis=axis, keepdims=keepdims)
    ### END SOLUTION


@primitive(differentiable=False)
def argmax(x, *, axis=None, keepdims=False):
    """Position of the largest value along `axis`, int64."""
    ### BEGIN SOLUTION
    return x.argmax(axis=axis, keepdims=keepdims)
    ### END SOLUTION


# %% [markdown]
# ## Step 7: Matrix multiplication


# %%
#| export
@primitive
def matmul(a, b):
    """Multiply matrices: (..., n, k) @ (..., k, m) -> (..., n, m); vectors lose their axis."""
    ### BEGIN SOLUTION
    return a @ b
    ### END SOLUTION


# %% [markdown]
# ## Step 8: Views: the same memory, read differently


# %%
#| export
@primitive(is_view=True)
def reshape(x, *, shape):
    """Read the same elements in order under another shape; one size may be -1."""
    ### BEGIN SOLUTION
    return x.reshape(shape)
    ### END SOLUTION


@primitive(is_view=True)
def view(x, *, shape):
    """Reshape without ever copying.

    Raises:
        ValueError: If the strides of x do not allow it.
    """
    ### BEGIN SOLUTION
    out = x.reshape(shape)
    if not np.may_share_memory(out, x) and x.size:
        raise ValueError(f"strides {x.strides} would need a copy; use reshape")
    return out
    ### END SOLUTION


@primitive(is_view=True)
def permute(x, *, axes):
    """Reorder the axes."""
    ### BEGIN SOLUTION
    return x.transpose(axes)
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
    start, end = start_dim % (x.ndim or 1), end_dim % (x.ndim or 1)
    merged = int(np.prod(x.shape[start : end + 1]))
    return x.reshape(*x.shape[:start], merged, *x.shape[end + 1 :])
    ### END SOLUTION


@primitive(is_view=True)
def squeeze(x, *, axis=None):
    """Drop the axes of size 1: all of them, or only `axis` if it is one."""
    ### BEGIN SOLUTION
    if axis is not None and x.shape[axis] != 1:
        return x[...]
    return x.squeeze(axis)
    ### END SOLUTION


@primitive(is_view=True)
def unsqueeze(x, *, axis):
    """Insert an axis of size 1 at `axis` of the result."""
    ### BEGIN SOLUTION
    return np.expand_dims(x, axis)
    ### END SOLUTION


@primitive(is_view=True)
def expand(x, *, shape):
    """Repeat axes of size 1, without copying, until the shape is `shape`; -1 keeps a size."""
    ### BEGIN SOLUTION
    old = (1,) * (len(shape) - x.ndim) + x.shape
    new = tuple(m if n == -1 else n for m, n in zip(old, shape, strict=True))
    return np.broadcast_to(x, new)
    ### END SOLUTION


@primitive
def clone(x):
    """Copy the elements into memory of their own, row-major."""
    ### BEGIN SOLUTION
    return x.copy(order="C")
    ### END SOLUTION


# %% [markdown]
# ## Step 9: Picking, joining, choosing


# %%
#| export
@primitive(is_view=True)
def getitem(x, *, index):
    """Select by integers and slices (a view), by integer lists or a boolean mask (a copy)."""
    ### BEGIN SOLUTION
    return x[index]
    ### END SOLUTION


@primitive
def stack(*arrays, axis=0):
    """Join arrays of one shape along a new axis."""
    ### BEGIN SOLUTION
    return np.stack(arrays, axis=axis)
    ### END SOLUTION


@primitive
def concatenate(*arrays, axis=0):
    """Join arrays along an axis they already have."""
    ### BEGIN SOLUTION
    return np.concatenate(arrays, axis=axis)
    ### END SOLUTION


cat = concatenate


@primitive
def where(condition, a, b):
    """Take from `a` where the condition holds, from `b` elsewhere."""
    ### BEGIN SOLUTION
    return np.where(condition, a, b)
    ### END SOLUTION


# %% [markdown]
# ## Step 10: Making tensors


# %%
#| export
default_generator = np.random.Generator(np.random.PCG64())


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the course's one source of randomness from `seed`."""
    ### BEGIN SOLUTION
    default_generator.bit_generator.state = np.random.PCG64(seed).state
    return default_generator
    ### END SOLUTION


def made(array: np.ndarray, dtype: Any, requires_grad: bool) -> Tensor:
    """Wrap a fresh array as a leaf tensor."""
    tensor = Tensor._wrap(array.astype(dtype, copy=False))
    return tensor.requires_grad_(requires_grad)


def full(shape: Any, value: float, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Make a tensor that holds `value` everywhere."""
    ### BEGIN SOLUTION
    return made(np.full(shape, value, dtype), dtype, requires_grad)
    ### END SOLUTION


def zeros(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Make a tensor of zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    ### BEGIN SOLUTION
    return full(sizes(shape), 0, dtype, requires_grad)
    ### END SOLUTION


def ones(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Make a tensor of ones."""
    ### BEGIN SOLUTION
    return full(sizes(shape), 1, dtype, requires_grad)
    ### END SOLUTION


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None
) -> Tensor:
    """Count from `start` (0 if only one number is given) up to, not including, `stop`.

    Returns:
        int64 if all arguments are ints (they make good indices), float32 otherwise.
    """
    ### BEGIN SOLUTION
    start, stop = (0, start) if stop is None else (start, stop)
    whole = all(isinstance(n, int | np.integer) for n in (start, stop, step))
    array = np.arange(start, stop, step)
    return made(array, dtype or (np.int64 if whole else FLOAT32), False)
    ### END SOLUTION


def eye(n: int, m: int | None = None, dtype: Any = FLOAT32) -> Tensor:
    """Make an (n, m) matrix with ones on the diagonal; m = n by default."""
    ### BEGIN SOLUTION
    return made(np.eye(n, m, dtype=dtype), dtype, False)
    ### END SOLUTION


def rand(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Draw uniformly from [0, 1)."""
    ### BEGIN SOLUTION
    return made(default_generator.random(sizes(shape), np.float32), dtype, requires_grad)
    ### END SOLUTION


def randn(*shape: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Draw from the normal distribution of mean 0 and variance 1."""
    ### BEGIN SOLUTION
    drawn = default_generator.standard_normal(sizes(shape), np.float32)
    return made(drawn, dtype, requires_grad)
    ### END SOLUTION
