"""Passing proves that gradients are right, for every operation so far, and cheap.

The oracle is the definition: NumPy computes a function in float64, each input is moved a little up
and down, and the slope is measured. Hand-worked examples come first.
"""

import math
from functools import partial
from operator import methodcaller

import numpy as np
import pytest

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
from tinytorch.core import activations, losses
from tinytorch.core.autograd import grad, gradcheck, no_grad, register_vjp
from tinytorch.core.tensor import Tensor, concatenate, stack, where

RUN = probe('''
import tracemalloc

import numpy as np

from tinytorch.core.activations import Tanh, softmax
from tinytorch.core.autograd import gradcheck, no_grad, numeric_gradient, register_vjp
from tinytorch.core.layers import Linear, Sequential
from tinytorch.core.losses import MSELoss
from tinytorch.core.tensor import Op, Tensor


def measured(values, eps):
    """The slopes of a product as numeric_gradient measures them, and what it leaves in x."""
    x = np.array(values, dtype=float)
    slopes = numeric_gradient(lambda: float(x.prod()), x, eps)
    return slopes, x


def doublings(n):
    """The gradient of x added to itself n times over: 2 ** n."""
    x = y = Tensor(np.array(1.0), requires_grad=True)
    for _ in range(n):
        y = y + y
    y.backward()
    return x.grad.item()


def chain(n):
    """The gradient of y = x - y repeated n times from y = x: 1 if n is even, else 0."""
    x = y = Tensor(np.array(0.5), requires_grad=True)
    for _ in range(n):
        y = x - y
    y.backward()
    return x.grad.item()


def dropped(n):
    """Build a deep graph and let it go without using it."""
    y = Tensor(np.array(0.5), requires_grad=True)
    for _ in range(n):
        y = y + 1.0
    value = y.item()
    del y
    return value


def write_input(write):
    x, w = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=True)
    y = (w * x).sum()
    if write:
        x[0] = 10.0
    y.backward()


def write_output(write):
    w = Tensor([1.0, 2.0], requires_grad=True)
    y = w.exp()
    if write:
        with no_grad():
            y[1] = 0.0
    y.sum().backward()


def write_data(write):
    w = Tensor([3.0, 4.0], requires_grad=True)
    y = (w * w).sum()
    if write:
        w.data -= 1.0
    y.backward()


def decorated():
    """Whether a decorated function records, and whether the line after it does."""
    @no_grad()
    def double(x):
        return x * 2

    x = Tensor([1.0], requires_grad=True)
    return bool(double(x).requires_grad), bool((x * 2).requires_grad)


def after_an_error():
    """Whether recording is on again after a block that failed."""
    try:
        with no_grad():
            raise KeyError("inside")
    except KeyError:
        return bool((Tensor([1.0], requires_grad=True) * 2).requires_grad)


RULES = {
    "right": lambda g, out, x: g * 2 * x,
    "twice": lambda g, out, x: g * 4 * x,
    "one element": lambda g, out, x: g * np.where(x == 2, 3 * x, 2 * x),
}


def check_square(kind):
    """What gradcheck says to a rule for the square."""
    square = Op("square", lambda x: x * x)
    register_vjp(square, RULES[kind])
    return verdict(square, [Tensor(np.array([[0.5, -1.5, 2.0]]), requires_grad=True)])


def check_second_argument():
    """What gradcheck says when only the rule of the second argument is wrong."""
    product = Op("product", lambda a, b: a * b)
    register_vjp(product, lambda g, out, a, b: g * b, lambda g, out, a, b: g * b)
    a, b = (Tensor(np.array(v), requires_grad=True) for v in ([1.0, 2.0], [3.0, 4.0]))
    return verdict(product, [a, b])


def check_hidden_by_a_sum():
    """What gradcheck says to a rule of zeros, for shares whose plain sum is always 1."""
    share = Op("share", lambda x: x / x.sum())
    register_vjp(share, lambda g, out, x: np.zeros_like(x))
    return verdict(share, [Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)])


def verdict(function, inputs):
    try:
        return "agrees" if gradcheck(function, inputs) else "refused"
    except NotImplementedError:
        raise
    except Exception as error:
        return f"refused: {error}"


def train(x, t, weights, rate, steps):
    """The losses of a two-layer network under gradient descent."""
    net = Sequential(Linear(2, 8), Tanh(), Linear(8, 1))
    for p, start in zip(net.parameters(), weights, strict=True):
        p.data = start.copy()
    x, t, curve = Tensor(x), Tensor(t), []
    for _ in range(steps):
        loss = MSELoss()(net(x), t)
        net.zero_grad()
        loss.backward()
        for p in net.parameters():
            p.data -= rate * p.grad.data
        curve.append(loss.item())
    return curve


def held(recording):
    """Bytes held by twenty operations on 100,000 numbers: after forward, after backward."""
    x = Tensor(np.zeros(100_000), requires_grad=True)
    tracemalloc.start()
    y = x
    for _ in range(10):
        if recording:
            y = (y * 0.5).tanh()
        else:
            with no_grad():
                y = (y * 0.5).tanh()
    before, _ = tracemalloc.get_traced_memory()
    if recording:
        y.backward(Tensor(np.ones(100_000)))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return before, after


def peak(batch, rows, width):
    """Bytes at the peak of the backward pass of sum(softmax(x @ w)): one w for a whole batch."""
    x = Tensor(np.ones((batch, rows, width), np.float32))
    w = Tensor(np.ones((width, width), np.float32), requires_grad=True)
    loss = softmax(x @ w).sum()
    tracemalloc.start()
    loss.backward()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most
''')


def measured(reference, arrays, weights):
    """The slopes of sum(weights * reference(*arrays)), by central differences in float64."""
    found = []
    for array in arrays:
        slopes = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            centre, ends = array[index], []
            for step in (1e-6, -1e-6):
                array[index] = centre + step
                ends.append(float((np.asarray(reference(*arrays)) * weights).sum()))
            array[index] = centre
            slopes[index] = (ends[0] - ends[1]) / 2e-6
        found.append(slopes)
    return found


def check(call, rng, function, *arrays, reference=None):
    """Compare what backward leaves in .grad with measured slopes, for a random gradient.

    `reference` is the same function of arrays; `function` itself where it can be called with both.
    """
    arrays = [np.array(a, dtype=np.float64) for a in arrays]
    reference = reference or function
    weights = rng.uniform(0.5, 1.5, np.shape(reference(*arrays)))
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    function(*tensors).backward(Tensor(weights))
    slopes = measured(reference, arrays, weights)
    for place, x in enumerate(tensors):
        which = f"{call}, gradient of input {place}"
        expect(x.grad, slopes[place], call=which, dtype=np.float64)


def either_sign(rng, shape):
    """Random numbers of both signs, away from 0."""
    return rng.uniform(0.2, 2.0, shape) * rng.choice([-1.0, 1.0], shape)


def softmax(x, axis=-1):
    """Probabilities along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@asks("imports", step=5, of="backward", hint="each name comes from one step; run tito test 05")
def test_the_module_offers_its_names():
    """Use Tensor.backward, grad, no_grad, gradcheck and register_vjp once each."""
    x = Tensor([3.0], requires_grad=True)
    (x * 2).backward()
    expect(x.grad, [2.0], call="(x * 2).backward()")
    expect(grad(x * 2, [x])[0], [2.0], call="grad(x * 2, [x])")
    with no_grad():
        expect_equal((x * 2).requires_grad, False, call="(x * 2).requires_grad in no_grad()")
    expect_equal(gradcheck(activations.tanh, [x]), True, call="gradcheck(tanh, [x])")
    expect_raises(ValueError, register_vjp, activations.tanh, call="register_vjp without a rule")


@asks("functionality", step=1, of="arithmetic_rules", hint="how fast does x * y grow with x?")
def test_a_product_by_hand():
    """For L = x * y at x = 2, y = 3: dL/dx = y and dL/dy = x."""
    x, y = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    (x * y).backward()
    expect(x.grad, 3.0, call="x.grad of x * y", dtype=np.float32)
    expect(y.grad, 2.0, call="y.grad of x * y", dtype=np.float32)


@asks("functionality", step=4, of="reverse_pass", hint="x is used twice, and uses add up")
def test_a_product_and_a_sum_by_hand():
    """For L = x * y + x at x = 2, y = 3: dL/dx = y + 1 and dL/dy = x."""
    x, y = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    (x * y + x).backward()
    expect(x.grad, 4.0, call="x.grad of x * y + x", dtype=np.float32)
    expect(y.grad, 2.0, call="y.grad of x * y + x", dtype=np.float32)


ARITHMETIC = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "a ** b": lambda a, b: a**b,
    "2 * a - b / 3": lambda a, b: 2 * a - b / 3,
    "(1 - a) / 2 + 2 ** b": lambda a, b: (1 - a) / 2 + 2**b,
    "a ** 2 + a ** -1.5 + 3 / b": lambda a, b: a**2 + a**-1.5 + 3 / b,
    "-a * abs(b - 2)": lambda a, b: -a * abs(b - 2),
}


@pytest.mark.parametrize("formula", ARITHMETIC)
@asks("functionality", step=1, of="arithmetic_rules", hint="one rule for each operand, in order")
def test_arithmetic(formula, rng):
    """Differentiate a formula of two tensors and numbers, elementwise."""
    check(formula, rng, ARITHMETIC[formula], *rng.uniform(0.5, 1.8, (2, 3)))


@asks("functionality", step=1, of="arithmetic_rules", hint="b a^(b-1) is 0 at b = 0, even if a is")
def test_powers_of_zero():
    """Differentiate x ** 2 and x ** 0 at x = 0."""
    for power, slopes in ((2, [0.0, 6.0]), (0, [0.0, 0.0])):
        x = Tensor([0.0, 3.0], requires_grad=True)
        (x**power).backward(Tensor([1.0, 1.0]))
        expect(x.grad, slopes, call=f"x ** {power} at [0, 3], gradient")


@asks(
    "functionality",
    step=2,
    of="unbroadcast",
    hint="one number used three times gets the sum of three",
)
def test_broadcasting_is_undone(rng):
    """Give each operand of a broadcast product or sum a gradient of its own shape."""
    column, row = Tensor([[1.0], [2.0]], requires_grad=True), Tensor([3.0, 4.0, 5.0], True)
    (column * row).sum().backward()
    expect(column.grad, [[12], [12]], call="gradient of the column in (2, 1) * (3,)")
    expect(row.grad, [3, 3, 3], call="gradient of the row in (2, 1) * (3,)")
    pairs = [((4, 3), (3,)), ((3, 1), (3,)), ((2, 1, 3), (4, 1)), ((), (2, 2)), ((1, 1), (5,))]
    for one, other in pairs:
        a, b = rng.uniform(0.5, 1.5, one), rng.uniform(0.5, 1.5, other)
        check(f"{one} * {other}", rng, lambda a, b: a * b, a, b)
        check(f"{one} - {other}", rng, lambda a, b: a - b, a, b)


@asks("functionality", step=3, of="topological_order", hint="first all the uses, the far ones too")
def test_short_and_long_paths_meet(rng):
    """Differentiate a value that is used both directly and at the end of a longer path."""

    def formula(x, exp):
        y = x * x
        z = exp(exp(y * 0.5) * 0.3)
        return y * z + exp(z) * y - z

    x = rng.uniform(0.3, 0.9, 3)
    of_arrays = lambda x: formula(x, np.exp)  # noqa: E731
    check("y * z + ...", rng, lambda x: formula(x, lambda v: v.exp()), x, reference=of_arrays)


@asks("functionality", step=4, of="reverse_pass", hint="add to what a parent has, never replace it")
def test_one_value_used_many_times():
    """Differentiate x + x, x * x * x and x * y + y * x for x at x = 2, y = 5."""
    x, y = Tensor(2.0, requires_grad=True), Tensor(5.0, requires_grad=True)
    expect(grad(x + x, [x])[0], 2.0, call="x + x, gradient")
    expect(grad(x * x * x, [x])[0], 12.0, call="x * x * x, gradient")
    expect(grad(x * y + y * x, [x])[0], 10.0, call="x * y + y * x, gradient")


@pytest.mark.parametrize("how", ["write_input", "write_output", "write_data"])
@asks("functionality", step=4, of="reverse_pass", hint="compare the versions before you use them")
def test_a_write_into_a_kept_value_is_noticed(how):
    """Refuse to go backward through a value that was overwritten since the forward pass."""
    run = getattr(RUN, how)
    run(False)
    expect_raises((RuntimeError, ValueError), run, True, call=f"backward after {how}")


@asks(
    "functionality", step=4, of="reverse_pass", hint="free a node that has run, unless told not to"
)
def test_a_used_graph_is_freed():
    """Go backward twice: an error, unless the first call said retain_graph=True."""
    x = Tensor([3.0], requires_grad=True)
    y = x * x
    y.backward(retain_graph=True)
    x.grad = None
    y.backward()
    expect(x.grad, [6.0], call="x.grad after a second backward()")
    expect_raises((RuntimeError, ValueError), y.backward, call="backward() on a freed graph")


@asks("functionality", step=4, of="reverse_pass", hint="a gradient has the dtype of its tensor")
def test_gradients_have_the_dtype_of_their_tensor():
    """Mix float32 and float64, and convert on the way."""
    x, y = Tensor([1.0, 2.0], requires_grad=True), Tensor(np.array([3.0, 4]), requires_grad=True)
    (x * y).sum().backward()
    expect(x.grad, [3, 4], call="gradient of a float32 tensor", dtype=np.float32)
    expect(y.grad, [1, 2], call="gradient of a float64 tensor", dtype=np.float64)
    x.grad = None
    (x.astype(np.float64) * 2).sum().backward()
    expect(x.grad, [2, 2], call="gradient through astype(float64)", dtype=np.float32)


@asks("functionality", step=5, of="backward", hint=".grad accumulates until somebody clears it")
def test_backward_accumulates_in_grad():
    """Call backward on three results of one leaf, then clear .grad and call it again."""
    x = Tensor([1.0, -2.0], requires_grad=True)
    for calls in (1, 2, 3):
        (x * x).sum().backward()
        expect(x.grad, [2.0 * calls, -4.0 * calls], call=f"x.grad after {calls} backward()")
    x.grad = None
    (x * 3).sum().backward()
    expect(x.grad, [3.0, 3.0], call="x.grad after x.grad = None and backward()")


@asks("functionality", step=5, of="backward", hint="only one element has a gradient by default")
def test_where_backward_starts(rng):
    """Start at a tensor of shape (2, 3): only with a gradient of that shape."""
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    refused = (RuntimeError, ValueError)
    expect_raises(refused, (x * 2).backward, call="backward() at shape (2, 3)", mentions=["(2, 3)"])
    expect_raises(refused, (x * 2).backward, Tensor([1.0, 2.0]), call="backward of another shape")
    expect_raises(refused, Tensor([1.0]).backward, call="backward without requires_grad")
    g = rng.standard_normal((2, 3))
    (x * 2).backward(Tensor(g))
    expect(x.grad, 2 * g, call="backward(gradient)", dtype=np.float64)


@asks("functionality", step=5, of="backward", hint="leaves that require grad get .grad, only they")
def test_only_leaves_get_grad():
    """Leave gradients at leaves that require them, not at intermediate or constant tensors."""
    x, c = Tensor([2.0], requires_grad=True), Tensor([5.0])
    y = x * c
    (y * y).backward()
    expect(x.grad, [100.0], call="x.grad")
    expect_equal(y.grad, None, call="y.grad, y = x * c")
    expect_equal(c.grad, None, call="c.grad, which does not require grad")
    x.grad = None
    (x.detach() * x).backward()
    expect(x.grad, [2.0], call="x.detach() * x, gradient")


@asks("functionality", step=5, of="backward", hint="an array handed to two leaves must be copied")
def test_no_two_leaves_share_a_gradient():
    """Change the gradient of a after (a + b).backward(): that of b stays."""
    a, b = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    (a + b).backward(Tensor([1.0, 1.0]))
    a.grad[0] = 7.0
    expect(b.grad, [1.0, 1.0], call="b.grad after a.grad[0] = 7")


@asks("functionality", step=6, of="no_grad.__enter__", hint="restore what was before, not just on")
def test_no_grad():
    """Record nothing inside no_grad(), nested too, and everything after it."""
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        with no_grad():
            expect_equal((x * 2).requires_grad, False, call="in the inner block")
        expect_equal((x * 2).requires_grad, False, call="after the inner block")
    expect_equal((x * 2).requires_grad, True, call="after no_grad()")
    expect_equal(RUN.decorated(), (False, True), call="in and after a function with @no_grad()")
    expect_equal(RUN.after_an_error(), True, call="after a block that raised")


@asks("functionality", step=6, of="grad", hint="return the gradients; .grad belongs to backward")
def test_grad_returns_and_does_not_store():
    """Ask for gradients of leaves and of a value on the way, and leave .grad alone."""
    x, w = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0], requires_grad=True)
    x.grad = Tensor([9.0, 9.0])
    y = x * w
    found = grad((y * y).sum(), [w, y, x])
    expect_equal(len(found), 3, call="len(grad(output, [w, y, x]))")
    expect(found[0], [30.0], call="grad for w")
    expect(found[1], [6.0, 12.0], call="grad for y = x * w")
    expect(found[2], [18.0, 36.0], call="grad for x")
    expect(x.grad, [9.0, 9.0], call="x.grad after grad()")
    expect_equal(w.grad, None, call="w.grad after grad()")
    unused = Tensor([1.0], requires_grad=True)
    expect_raises((RuntimeError, ValueError), grad, w * w, [unused], call="grad, unused input")


@asks("functionality", step=7, of="numeric_gradient", hint="one element moves at a time")
def test_measured_slopes_leave_the_array_as_it_was():
    """Measure the slopes of 2 * 3 * 4 with steps of 0.1: the array is then as it was before."""
    slopes, after = RUN.measured([2, 3, 4], 0.1)
    expect(slopes, [12, 8, 6], call="numeric_gradient of 2 * 3 * 4")
    expect(after, [2, 3, 4], call="the array after numeric_gradient")


@asks(
    "functionality", step=7, of="gradcheck", hint="every element of every input, outputs weighted"
)
def test_gradcheck_tells_right_from_wrong():
    """Let right rules pass, refuse wrong ones, and say where the two gradients differ."""
    expect_equal(RUN.check_square("right"), "agrees", call="gradcheck of a right rule")
    cases = {
        "a gradient off by a factor of 2": RUN.check_square("twice"),
        "a wrong second argument": RUN.check_second_argument(),
        "zeros for shares that sum to 1": RUN.check_hidden_by_a_sum(),
        "one wrong element of three": RUN.check_square("one element"),
    }
    for what, said in cases.items():
        ok = said[:7] == "refused"
        expect_true(ok, call=f"gradcheck of {what}", expected="False or an error", got=said)
    told = "square" in said and "2)" in said
    expect_true(told, call="gradcheck", expected="an error naming square, index (0, 2)", got=said)


@asks("functionality", step=8, of="function_rules", hint="what relu shut off has no gradient")
def test_relu_by_hand():
    """Differentiate relu at [-2, 0, 3], with gradients [10, 20, 30] from above."""
    x = Tensor([-2.0, 0.0, 3.0], requires_grad=True)
    activations.relu(x).backward(Tensor([10.0, 20.0, 30.0]))
    expect(x.grad, [0.0, 0.0, 30.0], call="relu, gradient")


normal = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), otypes=[float])
FUNCTIONS = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * normal(x),
    "softmax": softmax,
    "log_softmax": lambda x: np.log(softmax(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@asks("functionality", step=8, of="function_rules", hint="g times the slope; see the table there")
def test_functions(name, rng):
    """Differentiate an elementary function or an activation on a (3, 4) tensor."""
    x = either_sign(rng, (3, 4)) if name not in ("log", "sqrt") else rng.uniform(0.2, 2, (3, 4))
    method = name in ("exp", "log", "sqrt", "abs")
    function = (lambda x: getattr(x, name)()) if method else getattr(activations, name)
    check(name, rng, function, x, reference=FUNCTIONS[name])


SETTINGS = {
    "softmax": ({"axis": 0}, lambda x: softmax(x, 0)),
    "log_softmax": ({"axis": 0}, lambda x: np.log(softmax(x, 0))),
    "leaky_relu": ({"negative_slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    "gelu": (
        {"approximate": "tanh"},
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
}


@asks("functionality", step=8, of="function_rules", hint="settings such as axis come by name")
def test_functions_with_settings(rng):
    """Differentiate along another axis, with another slope, the other gelu, and clip at ties."""
    for name, (settings, reference) in SETTINGS.items():
        function = partial(getattr(activations, name), **settings)
        check(f"{name}, {settings}", rng, function, either_sign(rng, (3, 4)), reference=reference)
    x = Tensor([-1.0, 0.0, 0.5, 2.0, 3.0], requires_grad=True)
    x.clip(0.0, 2.0).sum().backward()
    expect(x.grad, [0, 1, 1, 1, 0], call="clip(0, 2) at [-1, 0, 0.5, 2, 3], gradient")


@asks("functionality", step=9, of="matmul_rule", hint="the shapes leave only one product for each")
def test_matmul_by_hand():
    """Differentiate the sum of [[1, 2]] @ [[3, 5], [4, 6]]."""
    a = Tensor([[1.0, 2.0]], requires_grad=True)
    b = Tensor([[3.0, 5.0], [4.0, 6.0]], requires_grad=True)
    (a @ b).backward(Tensor([[1.0, 1.0]]))
    expect(a.grad, [[8, 10]], call="a @ b, gradient of a")
    expect(b.grad, [[1, 1], [2, 2]], call="a @ b, gradient of b")


PRODUCTS = {
    "matrices": [((2, 3), (3, 4))],
    "vectors": [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4))],
    "batches": [((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)), ((4, 1, 2, 3), (5, 3, 2))],
    "batches and vectors": [((4, 2, 3), (3,)), ((3,), (4, 3, 2))],
}


@pytest.mark.parametrize("kind", PRODUCTS)
@asks(
    "functionality", step=9, of="matmul_rule", hint="vectors get an axis, repeated matrices add up"
)
def test_matmul_of(kind, rng):
    """Differentiate products of matrices, vectors and batches."""
    for one, other in PRODUCTS[kind]:
        a, b = rng.standard_normal(one), rng.standard_normal(other)
        check(f"{one} @ {other}", rng, lambda a, b: a @ b, a, b)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min"])
@asks("functionality", step=10, of="spread", hint="put the reduced axis back, then repeat along it")
def test_reductions(name, rng):
    """Differentiate a reduction over all axes, one, the last, and two, keepdims or not."""
    x = rng.permutation(24).reshape(2, 3, 4) / 8
    for axis in (None, 0, -1, (0, 2)):
        for keepdims in (False, True):
            where_ = {"axis": axis, "keepdims": keepdims}
            more = {"ddof": 1} if name == "var" else {}
            function = methodcaller(name, **where_)
            reference = partial(getattr(np, name), **where_, **more)
            check(f"{name}({axis=}, {keepdims=})", rng, function, x, reference=reference)


@asks("functionality", step=10, of="extreme_rule", hint="first along one axis, shared over all")
def test_equal_maxima():
    """Differentiate max and min where the extreme value occurs twice."""
    x = Tensor([[3.0, 1.0, 3.0], [2.0, 0.0, 0.0]], requires_grad=True)
    cases = {
        "max()": (x.max(), [[0.5, 0, 0.5], [0, 0, 0]]),
        "min()": (x.min(), [[0, 0, 0], [0, 0.5, 0.5]]),
        "max(axis=1)": (x.max(axis=1).sum(), [[1, 0, 0], [1, 0, 0]]),
        "min(axis=1)": (x.min(axis=1).sum(), [[0, 1, 0], [0, 1, 0]]),
    }
    for call, (output, slopes) in cases.items():
        expect(grad(output, [x])[0], slopes, call=f"x.{call}, gradient")


MOVES = {
    "reshape": (lambda x: x.reshape(6, 4), None),
    "flatten": (lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    "permute": (lambda x: x.permute(2, 0, -2), lambda x: x.transpose(2, 0, 1)),
    "transpose": (lambda x: x.transpose(0, 2), lambda x: x.swapaxes(0, 2)),
    "T": (lambda x: x.T, None),
    "unsqueeze": (lambda x: x.unsqueeze(1), lambda x: x[:, None]),
    "squeeze": (lambda x: x[:, :1].squeeze(1), lambda x: x[:, 0]),
    "expand": (lambda x: x[:, :1].expand(5, 2, 3, 4), lambda x: x[:, :1] + np.zeros((5, 2, 3, 4))),
    "x[1]": (lambda x: x[1], None),
    "x[..., 1:, ::2]": (lambda x: x[..., 1:, ::2], None),
}


@pytest.mark.parametrize("name", MOVES)
@asks("functionality", step=11, of="move_rules", hint="what was moved is moved back")
def test_moves(name, rng):
    """Differentiate what only moves, repeats or picks elements of a (2, 3, 4) tensor."""
    function, reference = MOVES[name]
    check(name, rng, function, rng.standard_normal((2, 3, 4)), reference=reference)


@asks("functionality", step=11, of="getitem_rule", hint="each pick of an element counts")
def test_indices_that_repeat(rng):
    """Pick [0, 0, 2] of three, rows that repeat, pairs that repeat, and by a mask."""
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[0, 0, 2]].backward(Tensor([1.0, 1.0, 1.0]))
    expect(x.grad, [2, 0, 1], call="x[[0, 0, 2]], gradient")
    rows, columns, x = np.array([0, 2, 0, 0]), np.array([1, 1, 1, 2]), rng.standard_normal((3, 4))
    mask = x > 0
    check("x[rows]", rng, lambda x: x[rows], x)
    check("x[rows, columns]", rng, lambda x: x[rows, columns], x)
    check("x[mask]", rng, lambda x: x[mask], x)


@asks("functionality", step=11, of="concatenate_rule", hint="cut the gradient where pieces met")
def test_joining_and_choosing(rng):
    """Differentiate concatenate, stack and where; a tensor may come twice, or be a constant."""
    a, b, c = (rng.standard_normal(shape) for shape in ((2, 3), (2, 3), (4, 3)))
    constant, choice = rng.standard_normal((5, 3)), np.array([True, False, True])
    check(
        "concatenate",
        rng,
        lambda a, c: concatenate([a, Tensor(constant), c, a]),
        *(a, c),
        reference=lambda a, c: np.concatenate([a, constant, c, a]),
    )
    for axis in (0, 1, -1):
        for ours, theirs in ((stack, np.stack), (concatenate, np.concatenate)):
            check(
                f"{theirs.__name__}, axis {axis}",
                rng,
                lambda *ab, join=ours, axis=axis: join(list(ab), axis=axis),
                *(a, b),
                reference=lambda *ab, join=theirs, axis=axis: join(list(ab), axis=axis),
            )
    check("where", rng, partial(where, Tensor(choice)), a, b, reference=partial(np.where, choice))


LOSSES = {
    "mse_loss": lambda p, t: np.mean((p - t) ** 2),
    "l1_loss": lambda p, t: np.mean(np.abs(p - t)),
    "huber_loss": lambda p, t: np.mean(np.where(p > t + 1, p - t - 0.5, (p - t) ** 2 / 2)),
    "binary_cross_entropy": lambda p, t: np.mean(-t * np.log(p) - (1 - t) * np.log(1 - p)),
    "binary_cross_entropy_with_logits": lambda x, t: np.mean(np.log(1 + np.exp(x)) - t * x),
}


@pytest.mark.parametrize("name", LOSSES)
@asks("integration", step=8, of="function_rules", hint="losses of module 04: two are primitives")
def test_losses(name, rng):
    """Differentiate a loss of module 04 for predictions and targets between 0 and 1."""
    p, t = rng.uniform(0.55, 0.95, (3, 2)), rng.uniform(0.05, 0.45, (3, 2))
    p *= np.array([[4.0], [1.0], [1.0]]) if name == "huber_loss" else 1
    check(name, rng, getattr(losses, name), p, t, reference=LOSSES[name])


@asks("integration", step=9, of="matmul_rule", hint="d loss / d logits is (softmax - one hot) / N")
def test_cross_entropy_of_a_linear_layer(rng):
    """Differentiate the cross-entropy of x @ W.T + b; compare with the textbooks' formula."""
    x, w, b = rng.standard_normal((6, 4)), rng.standard_normal((3, 4)), rng.standard_normal(3)
    labels = rng.integers(0, 3, 6)
    w_, b_ = Tensor(w, requires_grad=True), Tensor(b, requires_grad=True)
    losses.cross_entropy(Tensor(x) @ w_.T + b_, labels).backward()
    error = (softmax(x @ w.T + b) - np.eye(3)[labels]) / 6
    expect(w_.grad, error.T @ x, call="cross_entropy, gradient of W")
    expect(b_.grad, error.sum(axis=0), call="cross_entropy, gradient of b")


@asks("integration", step=5, of="backward", hint="zero_grad of module 03 clears what accumulates")
def test_a_network_learns_xor(rng):
    """Train a 2-8-1 network on XOR; its loss follows NumPy's own training step by step."""
    x, t = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([[0], [1], [1], [0.0]])
    start = [rng.standard_normal(shape) for shape in ((8, 2), (8,), (1, 8), (1,))]
    w1, b1, w2, b2 = (p.copy() for p in start)
    curve = []
    for _ in range(60):
        h = np.tanh(x @ w1.T + b1)
        e = h @ w2.T + b2 - t
        curve.append((e**2).mean())
        g = 2 * e / e.size
        back = (g @ w2) * (1 - h**2)
        for p, slope in ((w2, g.T @ h), (b2, g.sum(0)), (w1, back.T @ x), (b1, back.sum(0))):
            p -= 0.1 * slope
    expect(RUN.train(x, t, start, 0.1, 60), curve, call="losses of 60 steps", rtol=1e-4)


@asks("performance", step=3, of="topological_order", hint="each node once, not once for each path")
def test_backward_is_not_exponential():
    """Go backward through 60 doublings, x = x + x: 60 nodes, but 2 ** 60 paths."""
    growth = timed(RUN.doublings, 16) / timed(RUN.doublings, 8)
    expect_at_most(growth, 30, call="backward", what="time of 16 doublings over that of 8")
    expect(RUN.doublings(60), 2.0**60, call="60 doublings, gradient")


@asks("performance", step=3, of="topological_order", hint="a list of work instead of recursion")
def test_deep_graphs():
    """Go backward through 12,000 nodes in a row: no recursion error, and linear time."""
    short = timed(RUN.chain, 500)
    gradients = []
    deep = timed(lambda: gradients.append(RUN.chain(12_000)), repeat=1, warm_up=False)
    expect_at_most(deep / short, 120, call="backward", what="time of 12,000 nodes over that of 500")
    expect(gradients[0], 1.0, call="12,000 subtractions, gradient")
    expect(RUN.chain(3), 0.0, call="3 subtractions, gradient")
    expect(RUN.dropped(12_000), 12_000.5, call="a deep graph that is dropped")


@asks("performance", step=4, of="reverse_pass", hint="a node that has run gives up what it kept")
def test_memory_is_given_back():
    """Hold the arrays of twenty operations until backward, not after it, nor in no_grad()."""
    array = 800_000
    before, after = RUN.held(True)
    expect_at_most(before / array, 22, call="forward", what="arrays held")
    expect_at_most(after / array, 4, call="after backward", what="arrays held")
    expect_at_most(RUN.held(False)[1] / array, 2.5, call="in no_grad()", what="arrays held")


@asks("performance", step=9, of="matmul_rule", hint="merge the leading axes into rows")
def test_one_matrix_for_a_batch_is_cheap():
    """Go backward through softmax(x @ w), x of shape (256, 4, 64): never hold a w per example."""
    array = 256 * 4 * 64 * 4
    expect_at_most(RUN.peak(256, 4, 64) / array, 8, call="backward", what="arrays at its peak")
