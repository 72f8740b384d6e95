"""The machine room of module 01: the bookkeeping behind tensors, which is given.

`tinytorch.core.tensor` builds on these classes and exports them again. Nothing here computes:
an operation's rule, and the door through which it is applied, are in the module.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

Shape = tuple[int, ...]
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
SYNONYMS = {"dim": "axis", "keepdim": "keepdims", "dims": "axes", "dim0": "axis0", "dim1": "axis1"}
new_object = object.__new__


class GradMode(threading.local):
    """Whether this thread records what it computes; `no_grad` of module 05 switches it off."""

    enabled = True


grad_mode = GradMode()


class Primitive:
    """The description of an operation: a name, a rule on arrays, and what may be said of it.

    Attributes:
        forward: Takes arrays and Python numbers, then settings by name; returns an array, or the
            pair (array, saved) if `saves`.
        differentiable: Whether it has a gradient.
        is_view: Whether its result may share the memory of its first input.
        saves: Whether the rule returns a second value, kept for the way back.
        vjps, joint_vjp, keeps: The way back, and what it keeps of the way here ("inputs",
            "output"); filled in by `register_vjp` of module 05.
        arity: How many tensors the rule takes; 0 for a rule on `*arrays`.
        settings: The names of its settings, in order.
    """

    __slots__ = ("__dict__", "arity", "differentiable", "forward", "is_view", "joint_vjp")
    __slots__ += ("keeps", "name", "saves", "settings", "vjps")

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
        self.vjps = self.joint_vjp = None
        self.keeps = frozenset({"inputs", "output"})
        code = getattr(forward, "__code__", None)
        if code is None:  # a NumPy ufunc
            self.arity, self.settings = forward.nin, ()
        else:
            self.arity = code.co_argcount
            self.settings = code.co_varnames[self.arity : self.arity + code.co_kwonlyargcount]
        self.__name__, self.__doc__, self.__wrapped__ = name, forward.__doc__, forward

    def bind(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Tell tensors from settings, given by place or by NumPy's or PyTorch's names.

        `sum(x, 1)` and `sum(x, dim=1)` are both x and {"axis": 1}; a rule on `*arrays` is called
        with a sequence, as in `stack([x, y], 0)`.
        """
        cut = self.arity or 1
        inputs, placed = args[:cut], args[cut:]
        if not self.arity and inputs:
            inputs = tuple(inputs[0])
        if len(placed) > len(self.settings):
            raise TypeError(f"{self.name} does not take {placed[-1]!r:.40}")
        settings = {SYNONYMS.get(name, name): value for name, value in named.items()}
        for name, value in zip(self.settings, placed, strict=False):
            if name in settings:
                raise TypeError(f"{self.name} got {name} twice")
            settings[name] = value
        return inputs, settings

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Node:
    """How a tensor was made: what module 05 follows backwards.

    Attributes:
        op, params, saved: What was applied, with which settings; the rule's second value.
        parents: Of each input its Node; the Tensor itself if it is a leaf that requires grad; None
            if it wants no gradient. Beside it `shapes` and `dtypes`: () and None for a number.
        values, out: The input arrays and the output array; None where not kept.
        versions: (version cell, number) of every tensor kept, to notice later changes.
    """

    __slots__ = ("__weakref__", "dtypes", "op", "out", "params", "parents", "saved", "shapes")
    __slots__ += ("values", "versions")


class ArrayBox:
    """What a Tensor is apart from its operations: an array, a gradient, a past, a version.

    `_version` is a list of one number, shared by all views of a memory and raised at each change.
    """

    __slots__ = ("__weakref__", "_data", "_node", "_version", "grad", "requires_grad")
    __array_ufunc__ = None  # ndarray + Tensor is left to Tensor.__radd__
    __hash__ = object.__hash__  # by identity, although == compares elements

    @property
    def data(self) -> np.ndarray:
        """The array itself. Assigning it (`p.data -= step`) is not recorded, but noticed."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = value if type(value) is np.ndarray else np.asarray(value)
        self._version[0] += 1

    shape = property(lambda self: self._data.shape, doc="Size of each axis.")
    ndim = property(lambda self: self._data.ndim, doc="Number of axes.")
    size = property(lambda self: self._data.size, doc="Number of elements.")
    dtype = property(lambda self: self._data.dtype, doc="Type of each element.")
    nbytes = property(lambda self: self._data.nbytes, doc="Bytes of all elements.")
    strides = property(lambda self: self._data.strides, doc="Bytes per step along each axis.")
    is_leaf = property(lambda self: self._node is None, doc="Whether no operation made it.")
    version = property(lambda self: self._version[0], doc="How often its memory was written to.")

    def numpy(self) -> np.ndarray:
        """Return the array, sharing its memory."""
        return self._data

    def numel(self) -> int:
        """Return the number of elements."""
        return self._data.size

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers."""
        return self._data.tolist()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"cannot take one item of shape {self.shape}; index or reduce it")
        return self._data.item()

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Say whether `backward` should leave a gradient here; return self."""
        if requires_grad and self._data.dtype.kind != "f":
            raise TypeError(f"cannot differentiate {self._data.dtype}; use a floating dtype")
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Any:
        """Return the same memory without its history."""
        tensor = self._wrap(self._data)
        tensor._version = self._version
        return tensor

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Leave d(self)/d(leaf) in the `.grad` of every leaf."""
        try:
            from tinytorch.core.autograd import backward
        except ModuleNotFoundError as error:
            if error.name != "tinytorch.core.autograd":
                raise
            raise NotImplementedError("module 05: backward; build autograd first") from None
        backward(self, gradient, retain_graph)

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("a tensor of shape () has no length; use item()")
        return len(self._data)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind not in "iu":
            raise TypeError(f"cannot use a tensor of {self.dtype} as an index; use int64")
        return int(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.requires_grad and grad_mode.enabled:
            raise RuntimeError("cannot assign into a tensor that requires grad; use where(...)")
        self._data[plain_index(index)] = value._data if isinstance(value, ArrayBox) else value
        self._version[0] += 1

    def __repr__(self) -> str:
        values = np.array2string(self._data, separator=", ", prefix="Tensor(")
        notes = "" if self.size else f", shape={self.shape}"
        notes += "" if self.dtype in (FLOAT32, np.int64, np.bool_) else f", dtype={self.dtype}"
        return f"Tensor({values}{notes}{', requires_grad=True' if self.requires_grad else ''})"


def sizes(shape: tuple[Any, ...]) -> Shape:
    """Accept `f(2, 3)` and `f((2, 3))` alike."""
    return shape if len(shape) != 1 or isinstance(shape[0], int | np.integer) else tuple(shape[0])


def plain_index(index: Any) -> Any:
    """Replace the tensors in an index by their arrays."""
    if isinstance(index, tuple):
        return tuple(plain_index(part) for part in index)
    return index._data if isinstance(index, ArrayBox) else index


def settle(op: Primitive, out: Any, arrays: list[Any], params: dict[str, Any]) -> np.ndarray:
    """Make a rule's result an array, of float64 only if float64 came in or was asked for.

    NumPy returns scalars where we want 0-d arrays, and float64 for int64 / int64.
    """
    given, out = out, np.asarray(out)
    if out.dtype == object:
        raise TypeError(f"the rule of {op.name} must return an array of numbers, got {given!r:.60}")
    if out.dtype != FLOAT64 or "dtype" in params:
        return out
    wide = any(getattr(a, "dtype", FLOAT32) == FLOAT64 for a in arrays)
    return out if wide else out.astype(FLOAT32)


def share_version(result: ArrayBox, source: Any) -> None:
    """Give a view the version cell of its source; a copy, or a view of an array, keeps its own."""
    if not isinstance(source, ArrayBox):
        return
    out, array = result._data, source._data
    if out is array or out.base is array or (out.base is not None and out.base is array.base):
        result._version = source._version


def explained(
    op: Primitive, arrays: list[Any], params: dict[str, Any], error: ValueError
) -> ValueError:
    """Say why a rule refused, in terms of the shapes it was given and what to do about it."""
    shapes, reason = [np.shape(a) for a in arrays], str(error)
    if op.name == "matmul" and "mismatch" in reason:
        reason = f"inner axes {shapes[0][-1]} and {shapes[1][-2:][0]} differ; transpose one"
    elif len(shapes) == 2 and "broadcast" in reason and op.name != "matmul":
        for axis, (m, n) in enumerate(zip(*(shape[::-1] for shape in shapes), strict=False), 1):
            if m != n and m != 1 and n != 1:
                axes = "last axes" if axis == 1 else f"axes -{axis}"
                reason = f"{axes} {m} and {n} differ; reshape one or make it 1"
                break
    listed = " and ".join(str(shape) for shape in shapes)
    given = "".join(f", {name}={value}" for name, value in params.items() if value is not None)
    kind = type(error) if isinstance(error, IndexError) else ValueError  # AxisError is both
    return kind(f"cannot {op.name} shape{'s'[: len(shapes) > 1]} {listed}{given}: {reason}")


def record(
    op: Primitive, inputs: Any, arrays: list[Any], result: ArrayBox, saved: Any, params: Any
) -> None:
    """Hang a Node on a result, so that module 05 can go back the way it came.

    Runs once for each operation of a training step: written for speed.
    """
    parents, shapes, dtypes, versions = [], [], [], []
    keeps = op.keeps
    keep_inputs = "inputs" in keeps
    for x, array in zip(inputs, arrays):  # noqa: B905 (strict= takes time)
        if isinstance(x, ArrayBox):
            parents.append((x._node or x) if x.requires_grad else None)
            shapes.append(array.shape)
            dtypes.append(array.dtype)
            if keep_inputs:
                cell = x._version
                versions.append((cell, cell[0]))
        else:
            parents.append(None)
            shapes.append(getattr(array, "shape", ()))
            dtypes.append(None)
    node = new_object(Node)
    if "output" in keeps:
        cell = result._version
        versions.append((cell, cell[0]))
        node.out = result._data
    else:
        node.out = None
    node.values = tuple(arrays) if keep_inputs else None
    node.op = op
    node.params = params
    node.saved = saved
    node.parents = parents
    node.shapes = shapes
    node.dtypes = dtypes
    node.versions = versions
    result._node = node
    result.requires_grad = True
