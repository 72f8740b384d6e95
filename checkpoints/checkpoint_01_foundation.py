"""Checkpoint 01: can I create and manipulate the building blocks of ML?

Passing proves that numbers become tensors of the right dtype, that shapes broadcast, reduce and
multiply as they should, that views share memory and copies do not, that one seed repeats every
random number, and that `apply` costs about a microsecond.
"""

import math

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    expect_true,
    probe,
    timed,
)
from tinytorch.core import tensor as core
from tinytorch.core.tensor import Tensor

X = np.array([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]], dtype=np.float32)
F32, I64 = np.dtype(np.float32), np.dtype(np.int64)

BESIDE = probe('''
import numpy as np
from tinytorch.core import tensor as core
from tinytorch.core.tensor import Op, Tensor


def array_and_tensor():
    """Change an array after a tensor was made of it; return what the tensor holds."""
    source = np.zeros(3)
    tensor = Tensor(source)
    source[0] = 1.0
    return np.array(tensor.numpy())


def array_on_the_left():
    """Let an array meet a tensor, the array on the left."""
    array, tensor = np.array([1, 2, 3], dtype=np.float32), Tensor([10, 20, 30])
    return np.array((array - tensor).numpy())


def scalars_of_numpy():
    """The dtypes of float32 tensors that meet float64 scalars."""
    tensor = Tensor([1, 2])
    return [str((tensor * np.float64(2)).dtype), str((np.float64(1) - tensor).dtype)]


def write_through(how):
    """Take a view of zeros (2, 3), write 7 into its last element; return the base, and versions."""
    base = Tensor(np.zeros((2, 3)))
    other = how_to[how](base)
    other[(-1,) * other.ndim] = 7.0
    return np.array(base.numpy()), base.version, other.version


how_to = {
    "x.T": lambda x: x.T,
    "x.reshape(3, 2)": lambda x: x.reshape(3, 2),
    "x.view(6)": lambda x: x.view(6),
    "x.flatten()": lambda x: x.flatten(),
    "x.unsqueeze(0)": lambda x: x.unsqueeze(0),
    "x.squeeze()": lambda x: x.squeeze(),
    "x[1:]": lambda x: x[1:],
    "x.T.reshape(6)": lambda x: x.T.reshape(6),
    "x[[0, 1]]": lambda x: x[[0, 1]],
}


def with_recording_off(x):
    """Compute while grad_mode is off; say whether the result requires a gradient."""
    core.grad_mode.enabled = False
    try:
        return (x * 2.0).requires_grad
    finally:
        core.grad_mode.enabled = True


def own_ops(x):
    """Ops of our own: one that cannot be differentiated, one that saves, one with a setting."""
    sign = Op("sign", np.sign, differentiable=False)
    pair = Op("pair", lambda a: (a + 1, "saved"), saves=True)
    power = Op("power", lambda a, *, by: a**by)
    return sign(x).requires_grad, np.array(pair(x).numpy()), np.array(power(x, by=3).numpy())


def add_tensors(x, times):
    for _ in range(times):
        x + x


def add_arrays(x, times):
    x = x.numpy()
    for _ in range(times):
        x + x


def descend(inputs, targets, steps):
    """Fit targets = inputs @ w + b by gradient descent, the gradient written by hand."""
    x, y, w, b = Tensor(inputs), Tensor(targets), core.zeros(inputs.shape[1], 1), core.zeros(1)
    for _ in range(steps):
        error = x @ w + b - y
        w = w - 0.2 * (x.T @ error) / len(x)
        b = b - 0.2 * error.mean(axis=0)
    return np.array(w.numpy()), np.array(b.numpy())
''')


@asks("imports", step=8, of="full", hint="each name comes from one step; run tito test 01")
def test_names_are_there():
    """Call every function of the module once."""
    x = Tensor(X)
    for name in "neg abs exp log sqrt tanh clip sum mean var max min argmax".split():
        number = float(core.sum(getattr(core, name)(x)))
        expect_true(math.isfinite(number), call=f"{name}(x)", expected="numbers", got=number)
    for name in "add sub mul div pow eq ne lt le gt ge".split():
        expect_equal(getattr(core, name)(x, x).shape, (2, 3), call=f"{name}(x, x).shape")
    for name, settings in {
        "reshape": [(3, 2)], "view": [(3, 2)], "permute": [(1, 0)], "transpose": [0, 1],
    }.items():  # fmt: skip
        expect_equal(getattr(core, name)(x, *settings).shape, (3, 2), call=f"{name}(x, …).shape")
    for name in ("zeros", "ones", "rand", "randn", "eye"):
        expect_equal(getattr(core, name)(2, 2).shape, (2, 2), call=f"{name}(2, 2).shape")
    for name in ("stack", "concatenate"):
        expect_equal(getattr(core, name)([x, x]).dtype, F32, call=f"{name}([x, x]).dtype")
    result = core.apply(
        core.add, core.where(x > 9, x, core.full((2, 3), 1)), core.matmul(x, x.T).sum()
    )
    expect(result, np.full((2, 3), 1 + (X @ X.T).sum()), call="apply(add, …)")


@asks("functionality", step=1, of="as_array", hint="float32 unless the data bring a dtype along")
def test_dtypes_of_data():
    """Make tensors of numbers, nested lists, booleans, arrays, scalars and tensors."""
    cases = [(3, F32), ([[1, 2], [3, 4]], F32), (2.5, F32), ([True, False], np.dtype(bool))]
    cases += [(np.array([1, 2]), I64), (np.float64(2), np.dtype(float)), (X.astype("f8"), "f8")]
    for data, dtype in cases:
        expect(Tensor(data), np.asarray(data), dtype=dtype, call=f"Tensor({data!r:.30})")
    expect(Tensor(Tensor(np.array([7]))), [7], dtype=I64, call="Tensor(Tensor([7]))")
    expect(Tensor([1, 2], dtype="int32"), [1, 2], dtype="int32", call="Tensor(x, dtype='int32')")


@asks("functionality", step=1, of="as_array", hint="who owns the memory: you, or the caller?")
def test_data_are_copied():
    """Change an array after making a tensor of it: the tensor stays as it was."""
    expect(BESIDE.array_and_tensor(), [0, 0, 0], call="Tensor(array), then array[0] = 1")


@asks("functionality", step=1, of="as_array", hint="say what cannot become numbers, and why")
def test_bad_data_are_refused():
    """Make tensors of ragged rows, of text and of None."""
    expect_raises(ValueError, Tensor, [[1], [1, 2]], call="Tensor([[1], [1, 2]])")
    expect_raises(TypeError, Tensor, "text", call="Tensor('text')", mentions=["text"])
    expect_raises(TypeError, Tensor, None, call="Tensor(None)")


@asks("functionality", step=2, of="row_major_strides", hint="the last axis is packed closest")
def test_strides():
    """Find the strides of packed arrays of several shapes."""
    for shape, itemsize in [((2, 3), 4), ((2, 3, 4), 8), ((5,), 2), ((), 4), ((3, 1, 2), 4)]:
        wanted = np.zeros(shape, f"V{itemsize}").strides
        expect_equal(
            core.row_major_strides(shape, itemsize), wanted, call=f"row_major_strides({shape})"
        )


@asks("functionality", step=2, of="byte_offset", hint="each axis adds its own walk")
def test_offset():
    """Find the byte where an element begins, in a packed array and in a transposed one."""
    expect_equal(core.byte_offset((1, 2), (12, 4)), 20, call="byte_offset((1, 2), (12, 4))")
    expect_equal(core.byte_offset((2, 1), (4, 12)), 20, call="byte_offset((2, 1), (4, 12))")
    expect_equal(core.byte_offset((), ()), 0, call="byte_offset((), ())")


@asks("functionality", step=3, of="broadcast_shape", hint="align the shapes on the right")
def test_broadcast_shapes():
    """Find the shape that two shapes broadcast to."""
    for a, b in [((2, 3), (3,)), ((3, 1), (3,)), ((), (4,)), ((5, 1, 3), (2, 1)), ((0,), (1,))]:
        wanted = tuple(np.broadcast_shapes(a, b))
        expect_equal(core.broadcast_shape(a, b), wanted, call=f"broadcast_shape({a}, {b})")
        expect_equal(core.broadcast_shape(b, a), wanted, call=f"broadcast_shape({b}, {a})")
    words = {"call": "broadcast_shape((2, 3), (4,))", "mentions": ["(2, 3)", "(4,)"]}
    expect_raises(ValueError, core.broadcast_shape, (2, 3), (4,), **words)
    expect_raises(
        ValueError, core.broadcast_shape, (2, 3), (3, 3), call="broadcast_shape(…, (3, 3))"
    )


@asks("functionality", step=4, of="apply", hint="open the tensors, run the rule, wrap the result")
def test_apply_runs_the_rule():
    """Apply an op to tensors, arrays and numbers."""
    expect(core.apply(core.sub, Tensor(X), 1.0), X - 1, dtype=F32, call="apply(sub, x, 1.0)")
    expect(core.apply(core.sub, 10, Tensor(X)), 10 - X, dtype=F32, call="apply(sub, 10, x)")
    expect(core.apply(core.add, Tensor(X), X), X + X, dtype=F32, call="apply(add, x, array)")
    expect(core.apply(core.mul, Tensor(X), 2), 2 * X, dtype=F32, call="apply(mul, x, 2)")


@asks("functionality", step=4, of="apply", hint="a setting and a saved value go their own ways")
def test_apply_serves_other_ops():
    """Apply ops of the checkpoint's own: with a setting, with a saved value, without gradient."""
    differentiable, raised, cubed = BESIDE.own_ops(Tensor([1.0, 2.0], requires_grad=True))
    expect_equal(differentiable, False, call="sign(x).requires_grad")
    expect(raised, [2, 3], call="an op whose rule returns (array, saved)")
    expect(cubed, [1, 8], call="an op called with by=3")


@asks("functionality", step=4, of="apply", hint="settle: float64 only where float64 came in")
def test_float32_stays_float32():
    """Mix float32 tensors with Python numbers, NumPy scalars and int64 tensors."""
    x, labels = Tensor(X), Tensor(np.array([1, 2, 4]))
    for result in (x * 2.5, 1 / x, x + labels, x**2, labels / 2, labels.mean(), x.mean(), x.sum()):
        expect_equal(result.dtype, F32, call="the dtype of a result without float64 in it")
    expect_equal(BESIDE.scalars_of_numpy(), ["float32"] * 2, call="x * np.float64(2)")
    expect_equal((labels + 1).dtype, I64, call="(int64 + 1).dtype")
    expect_equal((Tensor(X.astype(float)) * x).dtype, np.dtype(float), call="(f64 * f32).dtype")
    whole = type(x.sum().numpy()) is np.ndarray
    expect_true(whole, call="x.sum().numpy()", expected="an array of shape ()", got="a scalar")


@asks("functionality", step=4, of="apply", hint="who wants a gradient, and who cannot have one?")
def test_requires_grad_spreads():
    """See which results require a gradient when one input does."""
    x = Tensor(X, requires_grad=True)
    for result in (x * 2, 1 - x, x.sum(), x[0], Tensor(X) @ x.T, x * Tensor(X)):
        expect_equal(result.requires_grad, True, call="f(x).requires_grad")
        expect_equal(result.is_leaf, False, call="f(x).is_leaf")
    for result in (Tensor(X) + 1, x.detach() * 2, x > 2, x.argmax(), x.astype("int64")):
        expect_equal(result.requires_grad, False, call="requires_grad of x > 2, argmax, detach")
    expect_equal(BESIDE.with_recording_off(x), False, call="(x * 2).requires_grad, grad_mode off")
    expect_raises(TypeError, Tensor, np.array([1]), True, call="Tensor(int64, requires_grad=True)")


@asks("functionality", step=4, of="apply", hint="explained(...) knows how to say it")
def test_errors_name_the_shapes():
    """Add, multiply and reshape tensors whose shapes do not fit."""
    x, y = Tensor(X), Tensor([1.0, 2.0, 3.0, 4.0])
    words = ["(2, 3)", "(4,)"]
    expect_raises(ValueError, lambda: x + y, call="(2, 3) + (4,)", mentions=["add", *words])
    expect_raises(ValueError, lambda: x @ y, call="(2, 3) @ (4,)", mentions=["matmul", *words])
    expect_raises(ValueError, lambda: x.reshape(4), call="x.reshape(4)", mentions=["(2, 3)"])


@asks(
    "functionality", step=4, of="apply", hint="numbers go to the rule as they are, in their order"
)
def test_arithmetic_with_numbers():
    """Compute 2 * x, 1 - x, 6 / x, x ** 2, 2 ** x and their mirror images."""
    x = Tensor(X)
    expect(2 * x, 2 * X, dtype=F32, call="2 * x")
    expect(1 - x, 1 - X, dtype=F32, call="1 - x")
    expect(x - 1, X - 1, dtype=F32, call="x - 1")
    expect(6 / x, 6 / X, dtype=F32, call="6 / x")
    expect(x / 2, X / 2, dtype=F32, call="x / 2")
    expect(x**2, X**2, dtype=F32, call="x ** 2")
    expect(2**x, 2**X, dtype=F32, call="2 ** x")
    expect(1 + -x, 1 - X, dtype=F32, call="1 + -x")
    expect(BESIDE.array_on_the_left(), [-9, -18, -27], call="array - tensor")


@asks("functionality", step=4, of="apply", hint="(3, 1) and (3,) make (3, 3), not (3,)")
def test_arithmetic_broadcasts(rng):
    """Add, multiply and compare tensors of different shapes."""
    column, row = Tensor([[1], [2], [3]]), Tensor([10, 20, 30])
    expect(column + row, [[11, 21, 31], [12, 22, 32], [13, 23, 33]], call="(3, 1) + (3,)")
    for a, b in [((2, 3), (3,)), ((4, 1, 3), (2, 1)), ((), (2, 2))]:
        x, y = rng.normal(size=a), rng.normal(size=b)
        expect(Tensor(x) * Tensor(y), x * y, call=f"{a} * {b}")
        expect(Tensor(x) - Tensor(y), x - y, call=f"{a} - {b}")


@asks("functionality", step=4, of="apply", hint="a comparison answers for each element")
def test_comparisons():
    """Compare a tensor with a number and with a tensor."""
    x, y = Tensor(X), Tensor([4.0, 5.0, 3.0])
    boolean = {"dtype": bool}
    expect(x == 5, X == 5, call="x == 5", **boolean)
    expect(x != y, X != [4, 5, 3], call="x != y", **boolean)
    expect(x < y, X < [4, 5, 3], call="x < y", **boolean)
    expect(x <= y, X <= [4, 5, 3], call="x <= y", **boolean)
    expect(x > 3, X > 3, call="x > 3", **boolean)
    expect(x >= 3, X >= 3, call="x >= 3", **boolean)


@asks(
    "functionality", step=5, of="clip", hint="NumPy has one for each; clip may have one bound only"
)
def test_elementwise_functions():
    """Compute abs, exp, log, sqrt, tanh, clip and where."""
    x = Tensor(X)
    for name in ("exp", "log", "sqrt", "tanh", "abs"):
        expect(getattr(x, name)(), getattr(np, name)(X), dtype=F32, call=f"x.{name}()")
    expect(core.abs(-x), X, call="abs(-x)")
    expect(x.clip(2, 4), np.clip(X, 2, 4), dtype=F32, call="x.clip(2, 4)")
    expect(core.clip(x, min=3), np.maximum(X, 3), dtype=F32, call="clip(x, min=3)")
    expect(core.clip(x, max=3), np.minimum(X, 3), dtype=F32, call="clip(x, max=3)")
    expect(core.where(x > 2, x, 0.0), np.where(X > 2, X, 0), dtype=F32, call="where(x > 2, x, 0.0)")


@asks("functionality", step=5, of="matmul", hint="rows times columns, and a vector loses its axis")
def test_matmul(rng):
    """Multiply matrices, vectors and batches."""
    a, b = Tensor([[1, 2], [3, 4]]), Tensor([[5, 6], [7, 8]])
    expect(a @ b, [[19, 22], [43, 50]], dtype=F32, call="[[1 2] [3 4]] @ [[5 6] [7 8]]")
    shapes = [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
    ]
    for first, second in [*shapes, ((2, 1, 2, 3), (5, 3, 2))]:
        x, y = rng.normal(size=first), rng.normal(size=second)
        expect(core.matmul(Tensor(x), Tensor(y)), x @ y, call=f"{first} @ {second}")


@asks(
    "functionality",
    step=6,
    of="sum",
    hint="which numbers make one result? keepdims keeps their axis",
)
def test_reductions_along_an_axis():
    """Reduce a (2, 3) tensor over its rows, its columns and both, with and without keepdims."""
    x = Tensor(X)
    expect(x.sum(axis=1), [9, 12], dtype=F32, call="Tensor.sum(axis=1)")
    expect(x.mean(axis=0), [2.5, 3.5, 4.5], dtype=F32, call="Tensor.mean(axis=0)")
    expect(x.max(axis=1), [5, 6], dtype=F32, call="Tensor.max(axis=1)")
    for name in ("sum", "mean", "max", "min", "argmax"):
        for axis in (0, 1, -1, None):
            wanted = getattr(X, name)(axis=axis)
            expect(getattr(x, name)(axis=axis), wanted, call=f"Tensor.{name}(axis={axis})")
            kept = getattr(X, name)(axis=axis, keepdims=True)
            words = {"call": f"Tensor.{name}(axis={axis}, keepdims=True)"}
            expect(getattr(x, name)(axis=axis, keepdims=True), kept, **words)
    expect(x.sum(dim=1, keepdim=True), [[9], [12]], call="Tensor.sum(dim=1, keepdim=True)")
    expect(x.sum(axis=(0, 1)), 21, call="Tensor.sum(axis=(0, 1))")
    expect_equal(x.argmax(axis=1).dtype, I64, call="Tensor.argmax(axis=1).dtype")


@asks(
    "functionality", step=6, of="var", hint="first the mean, then the squares; count - correction"
)
def test_variance(rng):
    """Find the variance along each axis, with both corrections, and far from zero."""
    x = Tensor(X)
    expect(x.var(), 3.5, call="Tensor.var()")
    for axis in (0, 1, None):
        expect(x.var(axis=axis), X.var(axis=axis, ddof=1), call=f"Tensor.var(axis={axis})")
        biased = X.var(axis=axis, keepdims=True)
        expect(x.var(axis=axis, keepdims=True, correction=0), biased, call="var(correction=0)")
    far = Tensor([10_000, 10_001, 10_002])
    expect(far.var(correction=0), 2 / 3, call="var of 10000, 10001, 10002")


@asks("functionality", step=4, of="apply", hint="what NumPy's index selects, repeats too")
def test_indexing():
    """Select by number, slice, list with repeats, mask, None and ellipsis; then assign."""
    x = Tensor(X)
    rows = np.array([1, 0, 1])
    cases = [
        (0, X[0]),
        ((1, 2), X[1, 2]),
        ((slice(None), -1), X[:, -1]),
        ((..., None), X[..., None]),
    ]
    cases += [([0, 0, 1], X[[0, 0, 1]]), (rows, X[rows]), (X > 2, X[X > 2])]
    for index, wanted in cases:
        expect(x[index], wanted, dtype=F32, call=f"x[{index!r:.30}]")
    expect(x[Tensor(rows)], X[rows], call="x[a tensor of indices]")
    expect(x[x > 2], X[X > 2], call="x[x > 2]")
    x[0, 1:] = 9.0
    expect(x, [[1, 9, 9], [4, 2, 6]], call="x[0, 1:] = 9.0")


@asks(
    "functionality", step=7, of="flatten", hint="count the axes, and the elements, before and after"
)
def test_shapes(rng):
    """Reshape, flatten, transpose, permute, squeeze, unsqueeze and expand a (2, 1, 3, 4) tensor."""
    a = rng.normal(size=(2, 1, 3, 4))
    x = Tensor(a)
    expect(x.reshape(6, -1), a.reshape(6, 4), call="x.reshape(6, -1)")
    expect(x.view(2, -1), a.reshape(2, 12), call="x.view(2, -1)")
    expect(x.flatten(), a.ravel(), call="x.flatten()")
    expect(x.flatten(1), a.reshape(2, 12), call="x.flatten(1)")
    expect(core.flatten(x, 1, 2), a.reshape(2, 3, 4), call="flatten(x, 1, 2)")
    expect(x.T, a.T, call="x.T")
    expect(x.transpose(-1, 0), a.swapaxes(-1, 0), call="x.transpose(-1, 0)")
    expect(x.permute(2, 0, 3, 1), a.transpose(2, 0, 3, 1), call="x.permute(2, 0, 3, 1)")
    expect(x.squeeze(), a[:, 0], call="x.squeeze()")
    expect(x.squeeze(1), a[:, 0], call="x.squeeze(1)")
    expect(x.squeeze(0), a, call="x.squeeze(0), an axis of size 2")
    expect(x.unsqueeze(-1), a[..., None], call="x.unsqueeze(-1)")
    wanted = np.broadcast_to(a, (7, 2, 5, 3, 4))
    expect(x.expand(7, -1, 5, 3, 4), wanted, call="x.expand(7, -1, 5, 3, 4)")


@asks("functionality", step=7, of="view", hint="does the result read the same memory?")
def test_views_share_and_copies_do_not():
    """Write into the result of each shape function and look at the original."""
    written = np.zeros((2, 3))
    written[1, 2] = 7
    ways = ["x.T", "x.reshape(3, 2)", "x.view(6)", "x.flatten()", "x.unsqueeze(0)", "x.squeeze()"]
    for how in [*ways, "x[1:]"]:
        base, version, other_version = BESIDE.write_through(how)
        expect(base, written, call=f"x after writing into {how}")
        versions = (version, other_version)
        expect_equal(versions, (1, 1), call=f"versions of x and {how}")
    for how in ("x.T.reshape(6)", "x[[0, 1]]"):
        base, version, _ = BESIDE.write_through(how)
        expect(base, np.zeros((2, 3)), call=f"x after writing into {how}")
        expect_equal(version, 0, call=f"version of x after writing into {how}")
    refused = {"call": "x.T.view(6)", "hint": "view never copies: it refuses"}
    expect_raises(ValueError, lambda: Tensor(X).T.view(6), **refused)


@asks("functionality", step=4, of="apply", hint="a new axis, or one that is there already?")
def test_joining():
    """Stack and concatenate tensors along both axes."""
    x, y = Tensor(X), Tensor(X + 10)
    for axis in (0, 1, -1):
        wanted = np.stack([X, X + 10], axis)
        expect(core.stack([x, y], axis=axis), wanted, call=f"stack([x, y], axis={axis})")
        wanted = np.concatenate([X, X + 10], axis)
        expect(core.concatenate([x, y], dim=axis), wanted, call=f"concatenate([x, y], dim={axis})")


@asks("functionality", step=8, of="full", hint="shape as given; float32 unless told otherwise")
def test_factories():
    """Make tensors of zeros, ones, a value, a count and a diagonal."""
    for made, wanted in [
        (core.zeros(2, 3), np.zeros((2, 3))),
        (core.ones((3,)), np.ones(3)),
        (core.full((2, 2), 7), np.full((2, 2), 7)),
        (core.eye(2, 3), np.eye(2, 3)),
        (core.arange(0, 1, 0.25), [0, 0.25, 0.5, 0.75]),
    ]:
        expect(made, wanted, dtype=F32, call="zeros, ones, full, eye, arange of floats")
    expect(core.arange(2, 11, 3), [2, 5, 8], dtype=I64, call="arange(2, 11, 3)")
    expect(core.arange(4), [0, 1, 2, 3], dtype=I64, call="arange(4)")
    expect_equal(
        core.zeros(2, requires_grad=True).requires_grad, True, call="zeros(requires_grad=True)"
    )


@asks("functionality", step=8, of="manual_seed", hint="one seed restarts the one generator")
def test_one_seed_repeats_all_randomness(rng):
    """Seed, draw, seed again, draw again: the numbers repeat, and follow their distribution."""
    seed = int(rng.integers(1000))
    core.manual_seed(seed)
    normal, uniform, again = (
        np.array(f(200, 50).numpy()) for f in (core.randn, core.rand, core.randn)
    )
    core.manual_seed(seed)
    expect(core.randn(200, 50), normal, dtype=F32, call="randn(200, 50) after the same seed")
    expect(core.rand(200, 50), uniform, dtype=F32, call="rand(200, 50) after the same seed")
    expect_true(
        bool((normal != again).any()), call="randn twice", expected="new numbers", got="the same"
    )
    core.manual_seed(seed + 1)
    fresh = core.randn(200, 50).numpy()
    expect_true(
        bool((fresh != normal).any()), call="another seed", expected="new numbers", got="the same"
    )
    expect([normal.mean(), normal.std()], [0, 1], atol=0.06, call="mean and deviation of randn")
    expect([uniform.mean(), uniform.std()], [0.5, 12**-0.5], atol=0.02, call="those of rand")
    inside = bool(uniform.min() >= 0 and uniform.max() < 1)
    expect_true(inside, call="rand", expected="numbers in [0, 1)", got=uniform)


@asks("integration", step=6, of="var", hint="reduce with keepdims, then let it broadcast")
def test_standardised_batch(rng):
    """Standardise the columns of a batch: mean 0 and variance 1, all in float32."""
    batch = rng.normal(3.0, 5.0, (50, 4)).astype(np.float32)
    x = Tensor(batch)
    z = (x - x.mean(axis=0, keepdims=True)) / (x.var(axis=0, keepdims=True) + 1e-5).sqrt()
    wanted = (batch - batch.mean(0)) / np.sqrt(batch.var(0, ddof=1) + 1e-5)
    expect(z, wanted, rtol=1e-4, atol=1e-5, dtype=F32, call="(x - mean) / sqrt(var)")


@asks("integration", step=5, of="matmul", hint="a layer is x @ w.T + b, a loss a mean of squares")
def test_two_layers_and_a_loss(rng):
    """Run a batch through two layers made by hand, and take the mean squared error."""
    arrays = [rng.normal(size=shape) for shape in [(8, 5), (6, 5), (6,), (2, 6), (2,), (8, 2)]]
    x, w1, b1, w2, b2, y = (Tensor(a) for a in arrays)
    loss = (((x @ w1.T + b1).clip(min=0) @ w2.T + b2 - y) ** 2).mean()
    a, v1, c1, v2, c2, t = arrays
    wanted = ((np.maximum(a @ v1.T + c1, 0) @ v2.T + c2 - t) ** 2).mean()
    expect(loss, wanted, call="loss, mean((relu(x @ w1.T + b1) @ w2.T + b2 - y) ** 2)")


@asks("integration", step=4, of="apply", hint="every operation of the loop passes through apply")
def test_gradient_descent_by_hand(rng):
    """Fit a plane to 60 points by gradient descent, with the gradient written out."""
    inputs = rng.normal(size=(60, 3)).astype(np.float32)
    plane = rng.normal(size=(3, 1)).astype(np.float32)
    w, b = BESIDE.descend(inputs, inputs @ plane + np.float32(0.5), 400)
    expect(w, plane, atol=1e-2, dtype=F32, call="the slopes after 400 steps")
    expect(b, [0.5], atol=1e-2, dtype=F32, call="the offset after 400 steps")


@asks("performance", step=7, of="transpose", hint="a view changes strides; it moves no number")
def test_views_cost_nothing():
    """Transpose, reshape, flatten and expand 32 MB: far quicker than copying them."""
    x, row, array = core.ones(2048, 4096), core.ones(1, 4096), np.ones((2048, 4096), np.float32)
    copying = timed(array.copy)
    ways = [("T", lambda: x.T), ("reshape", lambda: x.reshape(-1)), ("flatten", x.flatten)]
    ways += [("view", lambda: x.view(4096, 2048)), ("expand", lambda: row.expand(2048, 4096))]
    for name, way in [*ways, ("squeeze", x.squeeze), ("x[1:]", lambda: x[1:])]:
        ratio = timed(way) / copying
        expect_at_most(ratio, 0.5, call=f"Tensor.{name}", what="time of a view, in copies")


@asks("performance", step=5, of="matmul", hint="hand the loops to NumPy")
def test_matmul_and_sum_keep_up_with_numpy():
    """Multiply (256, 256) matrices and add 4 million numbers: NumPy's speed, not Python's."""
    array = np.ones((1000, 4000), np.float32)
    unit = timed(lambda: array.sum(axis=1))  # about 1 ms, and one thread, whoever else computes
    x, y = core.ones(256, 256), core.ones(1000, 4000)
    sums, products = timed(lambda: y.sum(axis=1), repeat=3), timed(lambda: x @ x, repeat=3)
    expect_at_most(sums / unit, 12, call="x.sum(axis=1)", what="time against NumPy")
    expect_at_most(products / unit, 60, call="x @ x", what="time, in NumPy's sums of 4 million")


@asks("performance", step=4, of="apply", hint="do only what the result needs, and do it once")
def test_the_door_is_cheap():
    """Add two tensors of 4 numbers 5,000 times: the cost of apply against that of NumPy."""
    x = Tensor([1, 2, 3, 4])
    tensors = timed(BESIDE.add_tensors, x, 5000)
    arrays = timed(BESIDE.add_arrays, x, 5000)
    expect_at_most(tensors / arrays, 20, call="x + x", what="time against NumPy")


@asks("performance", step=1, of="as_array", hint="4 bytes a number, and not one more")
def test_memory_is_float32():
    """Count the bytes of a thousand numbers, and of a view of them."""
    x = Tensor([0.5] * 1000)
    expect_equal(x.nbytes, 4000, call="Tensor([0.5] * 1000).nbytes")
    expect_equal(x.expand(50, 1000).strides, (0, 4), call="x.expand(50, 1000).strides")
