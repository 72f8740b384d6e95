"""Checkpoint 02: can I add nonlinearity, the key to neural network intelligence?

Passing proves that the eight activations are right to float32 precision, work along the axis that
was asked for, stay finite and silent from -10,000 to 10,000, and bend a network enough for XOR.
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
from tinytorch.core.activations import (
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from tinytorch.core.tensor import Tensor

FUNCTIONS = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "silu": silu,
    "gelu": gelu,
    "softmax": softmax,
    "log_softmax": log_softmax,
}
CLASSES = {
    "ReLU": ReLU,
    "LeakyReLU": LeakyReLU,
    "Sigmoid": Sigmoid,
    "Tanh": Tanh,
    "SiLU": SiLU,
    "GELU": GELU,
    "Softmax": Softmax,
    "LogSoftmax": LogSoftmax,
}
EXTREMES = [-1e4, -1e3, -100.0, 0.0, 100.0, 1e3, 1e4]

WATCH = probe('''
import warnings
import numpy as np
from tinytorch.core import activations
from tinytorch.core.tensor import Tensor


def warned(name, values):
    """Call an activation and return its values and the warnings it caused."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(
        over="warn", divide="warn", invalid="warn"
    ):
        warnings.simplefilter("always")
        out = getattr(activations, name)(Tensor(values)).numpy()
    return np.array(out), [str(w.message) for w in caught]
''')


def each(function, x):
    """Apply a function of one number to every element of an array."""
    return np.array([function(float(v)) for v in x.ravel()]).reshape(x.shape)


def sigmoid_of(v):
    """The logistic function, from the side on which exp cannot overflow."""
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


def gelu_of(v):
    """x times the normal distribution function."""
    return v * 0.5 * math.erfc(-v / math.sqrt(2))


def gelu_tanh_of(v):
    """GPT-2's approximation."""
    return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def log_softmax_along(x, axis):
    """Row by row: every score minus the logarithm of the sum of exponentials."""

    def one(row):
        top = max(row)
        return [v - top - math.log(sum(math.exp(w - top) for w in row)) for v in row]

    return np.apply_along_axis(one, axis, x.astype(float))


def softmax_along(x, axis):
    """Row by row: exponentials of the shifted scores over their sum."""
    return np.exp(log_softmax_along(x, axis))


@asks("imports", step=5, of="relu", hint="each name comes from one step; run tito test 02")
def test_functions_are_there():
    """Call each of the eight functions on a (2, 3) tensor."""
    x = np.array([[-1.0, 0.0, 2.0], [3.0, -0.5, 1.0]], dtype=np.float32)
    for name, function in FUNCTIONS.items():
        out = function(Tensor(x))
        expect_equal(out.shape, (2, 3), call=f"{name}(x).shape")
        expect_equal(out.dtype, np.dtype(np.float32), call=f"{name}(x).dtype")


@asks("imports", step=6, of="Activation.forward", hint="an object calls its function")
def test_objects_are_there():
    """Make each of the eight classes without arguments and call the object on a tensor."""
    x = np.array([[-1.0, 0.0, 2.0]])
    for name, kind in CLASSES.items():
        expect_equal(kind()(Tensor(x)).shape, (1, 3), call=f"{name}()(x).shape")


@asks("functionality", step=1, of="relu", hint="the larger of x and 0, for every element")
def test_relu():
    """Apply relu to [-2, -0.5, 0, 3]."""
    expect(relu(Tensor([-2.0, -0.5, 0.0, 3.0])), [0, 0, 0, 3], call="relu(x)")


@asks("functionality", step=1, of="relu", hint="an activation makes a new array; x is still needed")
def test_input_is_left_alone(rng):
    """Call relu and softmax and look at the input again."""
    x = rng.normal(size=(4, 5))
    tensor = Tensor(x)
    relu(tensor), softmax(tensor)
    expect(tensor, x, call="x after relu(x) and softmax(x)")


@asks("functionality", step=1, of="leaky_relu", hint="negative values keep a small slope")
def test_leaky_relu(rng):
    """Apply leaky_relu with the default slope 0.01, then with 0.2."""
    expect(leaky_relu(Tensor([-2.0, 0.0, 3.0])), [-0.02, 0, 3], call="leaky_relu(x)")
    x = rng.normal(size=(3, 7))
    wanted = each(lambda v: v if v > 0 else 0.2 * v, x)
    expect(leaky_relu(Tensor(x), negative_slope=0.2), wanted, call="leaky_relu(x, 0.2)")


@asks("functionality", step=2, of="sigmoid", hint="1 / (1 + exp(-x)), between 0 and 1")
def test_sigmoid(rng):
    """Apply sigmoid to 0, to 2, and to random numbers."""
    expect(sigmoid(Tensor([0.0, 2.0])), [0.5, 0.880797], call="sigmoid([0, 2])")
    x = rng.normal(0, 4, size=(3, 4, 2))
    expect(sigmoid(Tensor(x)), each(sigmoid_of, x), call="sigmoid(x)", rtol=1e-10, atol=0)


@asks("functionality", step=2, of="sigmoid", hint="never raise e to a large positive power")
def test_sigmoid_at_the_extremes():
    """Apply sigmoid, silu and tanh to float32 values up to ±10,000: no overflow, no warning."""
    x = np.array(EXTREMES, dtype=np.float32)
    wanted = {"sigmoid": sigmoid_of, "silu": lambda v: v * sigmoid_of(v), "tanh": math.tanh}
    for name, function in wanted.items():
        values, warnings = WATCH.warned(name, x)
        expect(values, each(function, x), call=f"{name}(±10,000)", atol=1e-30)
        expect_equal(warnings, [], call=f"{name}(±10,000): warnings")


@asks("functionality", step=2, of="sigmoid", hint="the left tail is small, not zero: exp(-20)")
def test_sigmoid_keeps_its_small_values():
    """Apply sigmoid to the float32 values -20 and -80."""
    x = np.array([-20.0, -80.0], dtype=np.float32)
    expect(sigmoid(Tensor(x)), np.exp([-20.0, -80.0]), call="sigmoid([-20, -80])", atol=0)


@asks("functionality", step=3, of="silu", hint="the gate of x is sigmoid of the same x")
def test_silu(rng):
    """Apply silu, x times sigmoid(x)."""
    x = rng.normal(0, 3, size=(5, 4))
    expect(silu(Tensor(x)), each(lambda v: v * sigmoid_of(v), x), call="silu(x)", rtol=1e-10)


@asks("functionality", step=3, of="gelu", hint="the exact form uses the normal distribution")
def test_gelu_is_exact(rng):
    """Apply gelu in its default form to -1, 0, 1 and to random numbers."""
    expect(gelu(Tensor([-1.0, 0.0, 1.0])), [-0.158655, 0, 0.841345], call="gelu([-1, 0, 1])")
    x = rng.normal(0, 2, size=(6, 5))
    expect(gelu(Tensor(x)), each(gelu_of, x), call="gelu(x)", rtol=1e-9, atol=1e-12)


@asks("functionality", step=3, of="gelu", hint="compare both constants with the formula")
def test_gelu_by_tanh(rng):
    """Apply gelu with approximate="tanh"; any other word is refused."""
    x = rng.normal(0, 2, size=(6, 5))
    call = 'gelu(x, approximate="tanh")'
    out = gelu(Tensor(x), approximate="tanh")
    expect(out, each(gelu_tanh_of, x), call=call, rtol=1e-9, atol=1e-12)
    call = 'gelu(x, approximate="erf")'
    expect_raises(ValueError, gelu, Tensor([1.0]), approximate="erf", call=call, mentions=["erf"])


@asks("functionality", step=4, of="softmax", hint="exponentials over their sum, along the axis")
def test_softmax_of_a_row():
    """Turn the scores [1, 2, 3] into probabilities."""
    out = softmax(Tensor([1.0, 2.0, 3.0]))
    expect(out, [0.09003057, 0.24472847, 0.66524096], call="softmax([1, 2, 3])")


@asks(
    "functionality",
    step=4,
    of="softmax",
    hint="which scores compete? reduce along that axis, both times",
)
def test_softmax_along_each_axis(rng):
    """Apply softmax to two rows, then to a (2, 3, 4) tensor: over the last axis, or as asked."""
    rows = [[0.09003057, 0.24472847, 0.66524096], [1 / 3, 1 / 3, 1 / 3]]
    expect(softmax(Tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])), rows, call="softmax(two rows)")
    x = rng.normal(0, 2, size=(2, 3, 4))
    expect(softmax(Tensor(x)), softmax_along(x, -1), call="softmax(x)")
    for axis in (0, 1, 2):
        wanted = softmax_along(x, axis)
        expect(softmax(Tensor(x), axis=axis), wanted, call=f"softmax(x, axis={axis})")
    expect(softmax(Tensor(x), dim=1), softmax_along(x, 1), call="softmax(x, dim=1)")


@asks(
    "functionality",
    step=4,
    of="softmax",
    hint="exp overflows; what may all scores of a group lose alike?",
)
def test_softmax_at_the_extremes():
    """Apply softmax to rows with scores up to ±10,000 in float32, without a warning."""
    x = np.array([[1e4, 0, -1e4], [-1e4, -1e4 + 1, -1e4], [1, 2, 3]], dtype=np.float32)
    values, warnings = WATCH.warned("softmax", x)
    expect(values, softmax_along(x, -1), call="softmax(±10,000)", atol=1e-30)
    expect_equal(warnings, [], call="softmax(±10,000): warnings")


@asks("functionality", step=5, of="log_softmax", hint="the logarithm of a quotient is a difference")
def test_log_softmax(rng):
    """Apply log_softmax along the last axis and along axis 0."""
    x = rng.normal(0, 2, size=(4, 3))
    expect(log_softmax(Tensor(x)), log_softmax_along(x, 1), call="log_softmax(x)")
    expect(log_softmax(Tensor(x), axis=0), log_softmax_along(x, 0), call="log_softmax(x, axis=0)")


@asks("functionality", step=5, of="log_softmax", hint="never take the log of a rounded probability")
def test_log_softmax_at_the_extremes():
    """Apply log_softmax to scores up to ±10,000 in float32: all finite, without a warning."""
    x = np.array([[1e4, 0, -1e4], [0, 200, -200]], dtype=np.float32)
    values, warnings = WATCH.warned("log_softmax", x)
    expect(values, [[0, -1e4, -2e4], [-200, 0, -400]], call="log_softmax(±10,000)")
    expect_equal(warnings, [], call="log_softmax(±10,000): warnings")


@asks("functionality", step=6, of="Activation.forward", hint="hand the remembered settings on")
def test_objects_remember_their_settings(rng):
    """Make activations with settings and call them."""
    x = rng.normal(size=(3, 4))
    slope = each(lambda v: v if v > 0 else 0.3 * v, x)
    expect(LeakyReLU(0.3)(Tensor(x)), slope, call="LeakyReLU(0.3)(x)")
    expect(GELU("tanh")(Tensor(x)), each(gelu_tanh_of, x), call='GELU("tanh")(x)')
    expect(Softmax(dim=0)(Tensor(x)), softmax_along(x, 0), call="Softmax(dim=0)(x)")
    expect(LogSoftmax(dim=0)(Tensor(x)), log_softmax_along(x, 0), call="LogSoftmax(dim=0)(x)")
    expect(Tanh()(Tensor(x)), np.tanh(x), call="Tanh()(x)")
    expect(ReLU(inplace=True)(Tensor(x)), np.maximum(x, 0), call="ReLU(inplace=True)(x)")


@asks("integration", step=1, of="relu", hint="two bends make XOR; without them the sum is a line")
def test_two_bends_make_xor():
    """Compute relu(a + b) - 2 relu(a + b - 1) for the four pairs of bits."""
    pairs = Tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    hidden = relu(pairs @ Tensor([[1.0, 1.0], [1.0, 1.0]]) + Tensor([0.0, -1.0]))
    expect(hidden @ Tensor([1.0, -2.0]), [0, 1, 1, 0], call="relu(x @ W + b) @ v")


@asks("integration", step=4, of="softmax", hint="one example must not feel the others of its batch")
def test_a_batch_is_its_rows(rng):
    """Classify six examples at once and one by one: matmul, gelu, matmul, softmax."""
    x, w, v = rng.normal(size=(6, 5)), rng.normal(size=(5, 8)), rng.normal(size=(8, 3))
    wanted = softmax_along(each(gelu_of, x @ w) @ v, 1)
    together = softmax(gelu(Tensor(x) @ Tensor(w)) @ Tensor(v))
    expect(together, wanted, call="softmax(gelu(x @ w) @ v)")
    alone = softmax(gelu(Tensor(x[2]) @ Tensor(w)) @ Tensor(v))
    expect(alone, wanted[2], call="softmax(gelu(x[2] @ w) @ v)")


@asks("integration", step=1, of="relu", hint="use the primitive, so that apply can record")
def test_activations_take_part_in_the_graph():
    """Call each activation on a tensor that requires grad: the result must require it too."""
    for name, function in FUNCTIONS.items():
        out = function(Tensor([[1.0, -2.0]], requires_grad=True))
        call = f"{name}(x).requires_grad"
        expect_true(out.requires_grad is True, call=call, expected="True", got="False")


@asks("performance", step=4, of="softmax", hint="whole arrays at a time; no Python loop over rows")
def test_softmax_works_on_whole_arrays(rng):
    """Apply softmax to a (4096, 32) tensor, compared with the same passes in NumPy."""
    x = rng.normal(size=(4096, 32)).astype(np.float32)

    def passes():
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    ratio = timed(softmax, Tensor(x)) / timed(passes)
    expect_at_most(ratio, 6, call="softmax(x)", what="a multiple of NumPy's time")


@asks("performance", step=3, of="gelu", hint="whole arrays at a time, in the dtype of x")
def test_gelu_works_on_whole_arrays(rng):
    """Apply gelu to 131,072 float32 values, compared with a Python loop over math.erf."""
    x = rng.normal(size=(512, 256)).astype(np.float32)
    values, tensor = x.ravel().tolist(), Tensor(x)
    ratio = timed(gelu, tensor) / timed(lambda: [v * (1 + math.erf(v)) for v in values], repeat=3)
    expect_at_most(ratio, 0.5, call="gelu(x)", what="a share of a Python loop's time")
    expect_equal(gelu(tensor).nbytes, x.nbytes, call="gelu(x).nbytes")
