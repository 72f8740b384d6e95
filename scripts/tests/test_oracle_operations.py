"""Every operation of modules 01, 02 and 04 against PyTorch: values and gradients, odd shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from oracle import DTYPES, INSTALL, compare, load_course, operations_below, oracle_summary

torch = pytest.importorskip("torch", reason=INSTALL)
pytest.importorskip("hypothesis", reason="needs hypothesis: pip install -e '.[dev]'")
from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

__all__ = ["oracle_summary"]
F = torch.nn.functional
M = load_course()
T, A, L = M.tensor, M.activations, M.losses
EXAMPLES = 20
Draw = Callable[[st.DataObject], tuple[list[tuple[int, ...]], dict[str, Any]]]


@dataclass(frozen=True)
class Case:
    """An operation in both worlds, the shapes and settings to try, and the range of its inputs.

    `draw` gives the shapes of the inputs and the settings; `ours` and `theirs` get the inputs and
    then the settings as one dictionary. With `ties`, half of the inputs are multiples of 1/2.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    draw: Draw
    low: float = -2.0
    high: float = 2.0
    ties: bool = True
    loosen: float = 1.0
    dtypes: tuple[Any, ...] = DTYPES


def shapes(least: int = 0, most: int = 4, side: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes with so many axes, the sizes from `side` to 5: scalars and empty ones included."""
    return hnp.array_shapes(min_dims=least, max_dims=most, min_side=side, max_side=5)


def one(least: int = 0, side: int = 0, **choices: st.SearchStrategy) -> Draw:
    """One input of any shape, and settings."""
    return lambda data: (
        [data.draw(shapes(least, side=side))],
        {name: data.draw(choice) for name, choice in choices.items()},
    )


def pair(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """Two inputs whose shapes broadcast."""
    found = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5))
    return list(found.input_shapes), {}


def same(count: int, least: int = 0, side: int = 0) -> Draw:
    """So many inputs of one shape."""
    return lambda data: ([data.draw(shapes(least, side=side))] * count, {})


def along(least: int = 1, side: int = 0) -> Draw:
    """One input and one of its axes, counted from either end."""

    def draw(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
        shape = data.draw(shapes(least, side=side))
        return [shape], {"axis": data.draw(st.integers(-len(shape), len(shape) - 1))}

    return draw


def reduced(side: int = 0, single: bool = False) -> Draw:
    """One input and what to reduce: all axes, one, or several; keepdims or not."""

    def draw(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
        shape = data.draw(shapes(1, side=side))
        axis = st.none() | st.integers(-len(shape), len(shape) - 1)
        if not single:
            axis |= hnp.valid_tuple_axes(len(shape), min_size=1)
        return [shape], {"axis": data.draw(axis), "keepdims": data.draw(st.booleans())}

    return draw


def all_axes(axis: Any, x: Any) -> Any:
    """None as PyTorch wants it: every axis."""
    return tuple(range(x.ndim)) if axis is None else axis


def torch_extreme(name: str) -> Callable[..., Any]:
    """max or min as PyTorch has it for each kind of axis: over all, by index, over several."""

    def theirs(x: Any, s: dict[str, Any]) -> Any:
        if s["axis"] is None:
            out = getattr(torch, name)(x)
            return out.reshape((1,) * x.ndim) if s["keepdims"] else out
        if isinstance(s["axis"], int):
            return getattr(torch, name)(x, s["axis"], keepdim=s["keepdims"]).values
        return getattr(torch, "a" + name)(x, s["axis"], keepdim=s["keepdims"])

    return theirs


def products(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """Two operands of matmul: matrices, vectors, batches that broadcast; empty ones too."""
    found = data.draw(
        hnp.mutually_broadcastable_shapes(signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2)
    )
    return list(found.input_shapes), {}


def picks(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """One input and an index: integers and slices, integer arrays that repeat, or a mask."""
    shape = data.draw(shapes(1, 3, side=1))
    kind = data.draw(st.sampled_from(["basic", "arrays", "mask", "mixed"]))
    if kind == "basic":
        index = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
        parts = index if isinstance(index, tuple) else (index,)
        assume(all(not isinstance(p, slice) or (p.step or 1) > 0 for p in parts))
    elif kind == "arrays":
        index = data.draw(hnp.integer_array_indices(shape))
    elif kind == "mask":
        index = data.draw(hnp.arrays(bool, shape))
    else:
        rows = data.draw(st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=7))
        index = (np.array(rows), ...)
    return [shape], {"index": index}


def torch_index(index: Any) -> Any:
    """The same index with PyTorch's tensors for arrays."""
    if isinstance(index, tuple):
        return tuple(torch_index(part) for part in index)
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index


def reshaped(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """One input, and another shape for its elements, one size perhaps left to find."""
    shape = data.draw(shapes(1, side=1))
    new = data.draw(st.permutations(shape))
    cut = data.draw(st.integers(0, len(new)))
    new = (*new[:cut], int(np.prod(new[cut:])))
    return [shape], {"shape": (-1, *new[1:]) if data.draw(st.booleans()) else new}


def permuted(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """One input and an order of its axes, some counted from the end."""
    shape = data.draw(shapes(1))
    axes = [
        a - len(shape) * data.draw(st.booleans())
        for a in data.draw(st.permutations(range(len(shape))))
    ]
    return [shape], {"axes": tuple(axes)}


def two_axes(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """One input and two of its axes, the first not after the second."""
    shape = data.draw(shapes(1))
    first, second = sorted(data.draw(st.integers(0, len(shape) - 1)) for _ in range(2))
    return [shape], {"axis0": first, "axis1": second}


def expanded(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """One input and a shape it can be repeated to, -1 keeping a size."""
    found = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5))
    shape, new = found.input_shapes[0], found.result_shape
    keep = [
        n if i < len(new) - len(shape) or data.draw(st.booleans()) else -1
        for i, n in enumerate(new)
    ]
    keep = [
        n if k == -1 and shape[i - len(new)] != n else k
        for i, (k, n) in enumerate(zip(keep, new, strict=True))
    ]
    return [shape], {"shape": tuple(keep)}


def joined(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """Two to four inputs that differ along one axis."""
    shape = data.draw(shapes(1))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sides = data.draw(st.lists(st.integers(0, 4), min_size=2, max_size=4))
    parts = []
    for side in sides:
        part = list(shape)
        part[axis] = side
        parts.append(tuple(part))
    return parts, {"axis": axis}


def chosen(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """A condition and two inputs, all three broadcasting."""
    found = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=4))
    condition, *inputs = found.input_shapes
    return inputs, {"condition": data.draw(hnp.arrays(bool, condition))}


def labelled(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """Logits of shape (C,), (N, C) or (N, C, d), labels (some ignored), and a reduction."""
    classes = data.draw(st.integers(1, 5))
    shape = data.draw(st.sampled_from([(classes,), (4, classes), (1, classes), (2, classes, 3)]))
    wanted = shape[:1] + shape[2:] if len(shape) > 1 else ()
    labels = data.draw(hnp.arrays(np.int64, wanted, elements=st.integers(0, classes - 1)))
    if data.draw(st.booleans()) and labels.size > 1:
        labels.flat[0] = -100
    how = data.draw(st.sampled_from(["mean", "sum", "none"]))
    return [shape], {
        "labels": labels,
        "reduction": how,
        "smooth": data.draw(st.sampled_from([0.0, 0.1])),
    }


def compared(data: st.DataObject) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """Predictions and targets of one shape, and a reduction."""
    return [data.draw(shapes(side=1))] * 2, {
        "reduction": data.draw(st.sampled_from(["mean", "sum", "none"]))
    }


def reference_loss(name: str) -> Callable[..., Any]:
    """A loss of PyTorch on predictions and targets."""
    return lambda p, t, s: getattr(F, name)(p, t, **s)


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of inputs only, called without the settings."""
    return lambda *inputs: function(*inputs[:-1])


def reduction(name: str) -> Callable[..., Any]:
    """A reduction of ours by name, with the settings."""
    return lambda x, s: getattr(T, name)(x, **s)


positive = {"low": 0.1, "high": 3.0}
slopes, sides = (
    st.floats(0.0, 0.5),
    st.none() | st.floats(-1.0, 0.0).map(lambda v: round(2 * v) / 2),
)

CASES = {
    "add": Case(plain(T.add), plain(torch.add), pair),
    "sub": Case(plain(T.sub), plain(torch.sub), pair),
    "mul": Case(plain(T.mul), plain(torch.mul), pair),
    "div": Case(plain(T.div), plain(torch.div), pair, **positive),
    "div by either sign": Case(plain(T.div), plain(torch.div), pair, ties=False, loosen=50),
    "pow": Case(plain(T.pow), plain(torch.pow), pair, **positive),
    "pow of 0 and below": Case(plain(T.pow), plain(torch.pow), pair),
    "pow by a number": Case(
        lambda x, s: x ** s["by"],
        lambda x, s: x ** s["by"],
        one(by=st.sampled_from([2, 3, 0.5, 0, -1.0, 1])),
    ),
    "number to a power": Case(lambda x, s: 2**x, lambda x, s: 2**x, one()),
    "numbers on the left": Case(
        lambda x, s: (1 - x) * 2 + 3 / (x + 4), lambda x, s: (1 - x) * 2 + 3 / (x + 4), one()
    ),
    "neg": Case(plain(T.neg), plain(torch.neg), one()),
    "abs": Case(plain(T.abs), plain(torch.abs), one()),
    "exp": Case(plain(T.exp), plain(torch.exp), one()),
    "log": Case(plain(T.log), plain(torch.log), one(), low=0.0, high=3.0),
    "sqrt": Case(plain(T.sqrt), plain(torch.sqrt), one(), low=0.0, high=3.0),
    "tanh": Case(plain(T.tanh), plain(torch.tanh), one()),
    "clip": Case(
        lambda x, s: T.clip(x, **s),
        lambda x, s: torch.clamp(x, **s) if s != {"min": None, "max": None} else x * 1,
        one(min=sides, max=sides.map(lambda v: v and -v)),
    ),
    "astype": Case(
        lambda x, s: T.astype(x, dtype=np.float64) * 3, lambda x, s: x.to(torch.float64) * 3, one()
    ),
    "clone": Case(plain(T.clone), plain(torch.clone), one()),
    "detach": Case(lambda x, s: x.detach() * x, lambda x, s: x.detach() * x, one()),
    "x used many times": Case(
        lambda x, s: x * x + x * 3 - x, lambda x, s: x * x + x * 3 - x, one()
    ),
    "sum": Case(
        reduction("sum"),
        lambda x, s: torch.sum(x, all_axes(s["axis"], x), keepdim=s["keepdims"]),
        reduced(),
    ),
    "mean": Case(
        reduction("mean"),
        lambda x, s: torch.mean(x, all_axes(s["axis"], x), keepdim=s["keepdims"]),
        reduced(),
    ),
    "var": Case(
        reduction("var"),
        lambda x, s: torch.var(x, all_axes(s["axis"], x), correction=1, keepdim=s["keepdims"]),
        reduced(side=1),
    ),
    "var, correction 0": Case(
        lambda x, s: T.var(x, correction=0), lambda x, s: torch.var(x, correction=0), one(1, side=1)
    ),
    "max": Case(reduction("max"), torch_extreme("max"), reduced(side=1)),
    "min": Case(reduction("min"), torch_extreme("min"), reduced(side=1)),
    "matmul": Case(plain(T.matmul), plain(torch.matmul), products),
    "reshape": Case(lambda x, s: T.reshape(x, **s), lambda x, s: x.reshape(s["shape"]), reshaped),
    "view": Case(lambda x, s: T.view(x, **s), lambda x, s: x.view(s["shape"]), reshaped),
    "permute": Case(lambda x, s: T.permute(x, **s), lambda x, s: x.permute(s["axes"]), permuted),
    "transpose": Case(
        lambda x, s: T.transpose(x, **s), lambda x, s: x.transpose(s["axis0"], s["axis1"]), two_axes
    ),
    "T": Case(lambda x, s: x.T, lambda x, s: x.permute(tuple(range(x.ndim))[::-1]), one()),
    "flatten": Case(
        lambda x, s: T.flatten(x, s["axis0"], s["axis1"]),
        lambda x, s: torch.flatten(x, s["axis0"], s["axis1"]),
        two_axes,
    ),
    "squeeze": Case(plain(T.squeeze), plain(torch.squeeze), one()),
    "squeeze, one axis": Case(
        lambda x, s: T.squeeze(x, **s), lambda x, s: torch.squeeze(x, s["axis"]), along()
    ),
    "unsqueeze": Case(
        lambda x, s: T.unsqueeze(x, **s), lambda x, s: torch.unsqueeze(x, s["axis"]), along()
    ),
    "expand": Case(lambda x, s: x.expand(s["shape"]), lambda x, s: x.expand(s["shape"]), expanded),
    "getitem": Case(lambda x, s: x[s["index"]], lambda x, s: x[torch_index(s["index"])], picks),
    "concatenate": Case(
        lambda *xs: T.concatenate(xs[:-1], **xs[-1]),
        lambda *xs: torch.cat(xs[:-1], xs[-1]["axis"]),
        joined,
    ),
    "stack": Case(lambda *xs: T.stack(xs[:-1]), lambda *xs: torch.stack(xs[:-1]), same(3)),
    "stack, last axis": Case(
        lambda *xs: T.stack(xs[:-1], axis=-1), lambda *xs: torch.stack(xs[:-1], -1), same(2)
    ),
    "where": Case(
        lambda a, b, s: T.where(s["condition"], a, b),
        lambda a, b, s: torch.where(torch.from_numpy(s["condition"]), a, b),
        chosen,
    ),
    "relu": Case(plain(A.relu), plain(F.relu), one()),
    "leaky_relu": Case(
        lambda x, s: A.leaky_relu(x, **s),
        lambda x, s: F.leaky_relu(x, **s),
        one(negative_slope=slopes),
    ),
    "sigmoid": Case(plain(A.sigmoid), plain(torch.sigmoid), one(), low=-8, high=8),
    "silu": Case(plain(A.silu), plain(F.silu), one(), low=-8, high=8),
    "gelu": Case(plain(A.gelu), plain(F.gelu), one(), low=-4, high=4),
    "gelu, tanh": Case(
        lambda x, s: A.gelu(x, approximate="tanh"),
        lambda x, s: F.gelu(x, approximate="tanh"),
        one(),
        low=-4,
        high=4,
        loosen=5,  # 1 + tanh(-4) has lost four digits in both
    ),
    "softmax": Case(
        lambda x, s: A.softmax(x, **s),
        lambda x, s: F.softmax(x, s["axis"]),
        along(side=1),
        low=-9,
        high=9,
    ),
    "log_softmax": Case(
        lambda x, s: A.log_softmax(x, **s),
        lambda x, s: F.log_softmax(x, s["axis"]),
        along(side=1),
        low=-9,
        high=9,
    ),
    "mse_loss": Case(lambda p, t, s: L.mse_loss(p, t, **s), reference_loss("mse_loss"), compared),
    "l1_loss": Case(lambda p, t, s: L.l1_loss(p, t, **s), reference_loss("l1_loss"), compared),
    "huber_loss": Case(
        lambda p, t, s: L.huber_loss(p, t, **s), reference_loss("huber_loss"), compared
    ),
    "binary_cross_entropy": Case(
        lambda p, t, s: L.binary_cross_entropy(p, t, **s),
        reference_loss("binary_cross_entropy"),
        compared,
        low=0.05,
        high=0.95,
        ties=False,
    ),
    "bce, certain": Case(
        lambda p, t, s: L.binary_cross_entropy(p, t.detach(), **s),
        lambda p, t, s: F.binary_cross_entropy(p, t.detach(), **s),
        compared,
        low=0.0,
        high=1.0,
        dtypes=(np.float32,),  # PyTorch's least divisor is the float32 nearest to 1e-12
    ),
    "bce with logits": Case(
        lambda x, t, s: L.binary_cross_entropy_with_logits(x, t, **s),
        reference_loss("binary_cross_entropy_with_logits"),
        compared,
    ),
    "nll_loss": Case(
        lambda x, s: L.nll_loss(x, s["labels"], reduction=s["reduction"]),
        lambda x, s: F.nll_loss(x, torch.from_numpy(s["labels"]), reduction=s["reduction"]),
        labelled,
    ),
    "cross_entropy": Case(
        lambda x, s: L.cross_entropy(
            x, s["labels"], reduction=s["reduction"], label_smoothing=s["smooth"]
        ),
        lambda x, s: F.cross_entropy(
            x, torch.from_numpy(s["labels"]), reduction=s["reduction"], label_smoothing=s["smooth"]
        ),
        labelled,
        low=-9,
        high=9,
    ),
    "cross_entropy, shares": Case(
        lambda x, t, s: L.cross_entropy(x, t),
        lambda x, t, s: F.cross_entropy(x, t),
        lambda data: ([data.draw(shapes(2, 2, side=1))] * 2, {}),
        low=0.0,
        high=3.0,
    ),
}


def inputs(case: Case, found: list[tuple[int, ...]], seed: int, dtype: Any) -> list[np.ndarray]:
    """Random inputs of these shapes; odd seeds give multiples of 1/2, hence ties."""
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(case.low, case.high, shape) for shape in found]
    if case.ties and seed % 2:
        arrays = [np.round(2 * a) / 2 + 0.0 for a in arrays]  # + 0.0: no negative zeros
    return [np.asarray(a, dtype) for a in arrays]


@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_pytorch(name):
    """Values and gradients agree in float32 and float64, for any shape."""
    case = CASES[name]

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(st.data(), st.integers(0, 2**32 - 1))
    def agree(data, seed):
        found, chosen_settings = case.draw(data)
        for dtype in case.dtypes:
            arrays = inputs(case, found, seed, dtype)
            ours = lambda *xs: case.ours(*xs, chosen_settings)  # noqa: E731
            theirs = lambda *xs: case.theirs(*xs, chosen_settings)  # noqa: E731
            output = compare(M, name, ours, theirs, arrays, seed, case.loosen)
            COVERED.update(operations_below(M, output))

    agree()


COVERED: set[Any] = set()


def test_every_differentiable_operation_was_compared():
    """No Op of the modules is left out (after the tests above, all of them)."""
    modules = [module for name, module in vars(M).items() if name != "autograd"]
    ops = {v for module in modules for v in vars(module).values() if isinstance(v, T.Op)}
    missing = {op.name for op in ops if op.differentiable} - {op.name for op in COVERED}
    if len(COVERED) < 10:
        pytest.skip("run the whole file: the operations above were not compared")
    assert not missing


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_agree_with_pytorch(name):
    """Comparisons give PyTorch's booleans, with broadcasting and ties."""
    a, b = np.array([[0.5], [1.0], [np.nan]], np.float32), np.array([1.0, 0.5, 2.0], np.float32)
    ours = getattr(T, name)(T.Tensor(a), T.Tensor(b)).numpy()
    theirs = getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype == bool


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_argmax_agrees_with_pytorch(data, seed):
    """The first of equal maxima, along each axis and over all."""
    (shape,), s = reduced(side=1, single=True)(data)
    x = np.round(2 * np.random.default_rng(seed).uniform(-2, 2, shape)) / 2
    ours = T.argmax(T.Tensor(x), **s).numpy()
    theirs = torch.argmax(torch.from_numpy(x), s["axis"], keepdim=s["keepdims"]).numpy()
    np.testing.assert_array_equal(ours.ravel(), theirs.ravel())
    assert ours.dtype == np.int64


@pytest.mark.parametrize(
    "name", ["relu", "leaky_relu", "sigmoid", "silu", "gelu", "softmax", "log_softmax"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_far_out(name, dtype):
    """At 100, 1e4 and their negatives the values and gradients are finite, and PyTorch's."""
    x = np.array([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4], dtype)
    extra = {"dim": -1} if "softmax" in name else {}
    output = compare(
        M, f"{name}, far out", getattr(A, name), lambda x: getattr(F, name)(x, **extra), [x]
    )
    assert np.isfinite(output.numpy()).all()
