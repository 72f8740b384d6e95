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
# # Module 02: Activations
#
# An activation is the bend between two linear maps: without it a deep network is a shallow one.
#
# **You will build** eight functions (`relu`, `leaky_relu`, `sigmoid`, `silu`, `gelu`, `softmax`,
# `log_softmax`, and `tanh`, which module 01 already gave you) and their object forms (`ReLU`, …),
# all of them exact from −10,000 to 10,000 in float32.
#
# **You need** module 01: `Tensor`, `primitive` and the rules on arrays. Nothing later.
#
# **Time**: about two hours.
#
# ## Why bend at all?
#
# A linear layer maps x to W x. Stack two and you get W₂(W₁ x) = (W₂ W₁) x: one matrix again. A
# hundred layers still draw one straight line. Put a bend σ in between, W₂ σ(W₁ x), and the collapse
# is gone. XOR, which no straight line separates, needs two bends: relu(a + b) − 2 relu(a + b − 1)
# gives 0 − 0 for (0, 0), 1 − 0 for (0, 1) and (1, 0), and 2 − 2 · 1 for (1, 1).
#
# Each function below is one `primitive`: a rule that receives NumPy arrays and returns an array.
# What stands before the `*` in its signature are tensors, what stands after are settings.
# `primitive` turns the rule into something you call on tensors; the rule itself stays at
# `.forward`, so `sigmoid.forward(array)` is plain NumPy. Module 05 will hang a derivative on each.

# %%
#| default_exp core.activations

# %%
#| export
import math

import numpy as np

from tinytorch.core.tensor import Op, Tensor, primitive, tanh

# %% [markdown]
# ## Step 1: ReLU and its leaky cousin
#
# The rectified linear unit keeps what is positive:
#
#     relu(x) = max(x, 0)            relu([-2, 0, 3]) = [0, 0, 3]
#
# One comparison per element and a slope of exactly 1 on the right: a gradient passes through a
# hundred of them undiminished. On the left the slope is exactly 0, so a unit that is negative for
# every example in the data never changes again. It is *dead*. The leaky form leaves a trickle:
#
#     leaky_relu(x) = x if x > 0, else s · x            s = 0.01 by default
#     leaky_relu([-2, 0, 3]) = [-0.02, 0, 3]
#
# Cost: one pass over the data; reading and writing memory takes longer than computing.


# %%
#| export
@primitive
def relu(x):
    """Keep positive values, replace negative ones by 0; the shape and dtype stay.

    Source: Nair and Hinton 2010; Glorot, Bordes and Bengio 2011.
    """
    ### BEGIN SOLUTION
    return np.maximum(x, 0)
    ### END SOLUTION


@primitive
def leaky_relu(x, *, negative_slope=0.01):
    """Keep positive values, multiply negative ones by `negative_slope`.

    Source: Maas, Hannun and Ng 2013.
    """
    ### BEGIN SOLUTION
    return np.maximum(x, 0) + negative_slope * np.minimum(x, 0)
    ### END SOLUTION


# %%
x = Tensor([-2.0, -0.5, 0.0, 3.0])
print(relu(x).numpy())
print(leaky_relu(x, negative_slope=0.1).numpy())
a, b = Tensor([0, 0, 1, 1]), Tensor([0, 1, 0, 1])
print("XOR:", (relu(a + b) - 2 * relu(a + b - 1)).numpy())
# Expected output:
# [0. 0. 0. 3.]
# [-0.2  -0.05  0.    3.  ]
# XOR: [0. 1. 1. 0.]


# %%
#| test
def test_relu_keeps_the_positive():
    x = Tensor([[-2.0, 0.0], [3.0, -0.5]])
    np.testing.assert_array_equal(relu(x).numpy(), [[0, 0], [3, 0]])
    assert x.numpy()[0, 0] == -2.0, "relu must not change its input"


def test_leaky_relu_lets_a_little_through():
    x = Tensor([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(leaky_relu(x).numpy(), [-0.02, 0, 3], rtol=1e-6)
    np.testing.assert_allclose(leaky_relu(x, 0.2).numpy(), [-0.4, 0, 3], rtol=1e-6)


if __name__ == "__main__":
    test_relu_keeps_the_positive()
    test_leaky_relu_lets_a_little_through()

# %% [markdown]
# ## Step 2: Sigmoid, without overflow
#
# The sigmoid squeezes any number into (0, 1), so that it can be read as a probability:
#
#     sigmoid(x) = 1 / (1 + exp(-x))         sigmoid(0) = 0.5, sigmoid(2) = 0.8808
#
# Typed as it stands it breaks. The largest float32 is about 3.4e38 = exp(88.7), so for x = −100
# NumPy computes exp(100), warns of an overflow, and goes on with infinity. Multiply the fraction
# by exp(x) / exp(x) and the same function reads
#
#     sigmoid(x) = exp(x) / (1 + exp(x))
#
# which is safe on the left and breaks on the right. Use each where it is safe: for x ≥ 0 divide 1
# by 1 + exp(−x), for x < 0 divide exp(x) by 1 + exp(x). Both denominators are 1 + exp(−|x|), and
# both numerators are exp(min(x, 0)). No exponent is ever above 0, and neither half is lost:
#
#     sigmoid(-2) = exp(-2) / (1 + exp(-2)) = 0.1353 / 1.1353 = 0.1192
#
# `tanh(x) = 2 sigmoid(2x) − 1` is the same curve stretched to (−1, 1) and centred on 0. NumPy's
# is already stable, so module 01's `tanh` serves as it is.


# %%
#| export
@primitive
def sigmoid(x):
    """Squeeze every value into (0, 1): 1 / (1 + exp(-x)), without overflow for any finite x.

    Cost: two exponentials an element.
    """
    ### BEGIN SOLUTION
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))
    ### END SOLUTION


# %%
x = Tensor([-1e4, -2.0, 0.0, 2.0, 1e4])
print(sigmoid(x).numpy().round(4))
print(tanh(x).numpy().round(4))
print((2 * sigmoid(2 * x) - 1).numpy().round(4))
# Expected output:
# [0.     0.1192 0.5    0.8808 1.    ]
# [-1.    -0.964  0.     0.964  1.   ]
# [-1.    -0.964  0.     0.964  1.   ]


# %%
#| test
def test_sigmoid_values():
    x = np.array([-3.0, -0.7, 0.0, 0.7, 3.0])
    np.testing.assert_allclose(sigmoid(Tensor(x)).numpy(), 1 / (1 + np.exp(-x)), rtol=1e-12)


def test_sigmoid_is_stable():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = sigmoid(Tensor([-1e4, -100.0, 100.0, 1e4])).numpy()
    np.testing.assert_allclose(out, [0, 0, 1, 1], atol=1e-30)


if __name__ == "__main__":
    test_sigmoid_values()
    test_sigmoid_is_stable()

# %% [markdown]
# ## Step 3: Smooth gates: SiLU and GELU
#
# ReLU multiplies x by a gate that is 0 or 1. Let the gate open gradually instead:
#
#     silu(x) = x · sigmoid(x)
#     gelu(x) = x · Φ(x),   Φ(x) = P(Z ≤ x) for a standard normal Z
#
# Both are smooth at 0, dip a little below it on the left, and approach ReLU far out.
#
#     x          -2        -1        0     1        2
#     silu    -0.2384   -0.2689     0    0.7311   1.7616
#     gelu    -0.0455   -0.1587     0    0.8413   1.9545
#
# Φ has no elementary formula. It is half of the complementary error function,
# Φ(x) = ½ erfc(−x / √2). NumPy has no erfc, so here is one; typing coefficients teaches nothing, so
# they are given. With t = 2 / (2 + |x|), which runs from 1 down to 0, the function
# log(erfc(|x|) / t) + x² is so smooth that a polynomial in 2t − 1 fits it for every x: 13 terms
# for float32, 28 for float64. Against 30-digit arithmetic on [−9, 9] the largest error is 2.8e-7 in
# float32 and 3.5e-16 in float64, two or three units in the last place of erfc's largest values. The
# relative error stays below 7.6e-6 and 1.4e-14 down to where erfc is 1e-36.
#
# GPT-2 used a cheaper formula with one tanh, and PyTorch still offers it:
#
#     gelu_tanh(x) = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))
#
# It differs from the exact form by at most 4.8e-4.


# %%
#| export
# Polynomials in 2t - 1, highest power first: Chebyshev fits of 13 and 28 terms.
ERFC_FLOAT32 = (1.33715035e-05, -8.72838102e-05, -3.21137723e-05, 5.73766372e-04)
ERFC_FLOAT32 += (-1.82782142e-04, -2.28876524e-03, 1.77066612e-03, 8.80882537e-03, -9.87453492e-03)
ERFC_FLOAT32 += (-4.68936406e-02, 4.73434175e-02, 6.72643155e-01, -6.71794085e-01)
ERFC_FLOAT64 = (-1.8902306008944537e-09, 4.06088214696972e-09, 1.117235226362376e-08)
ERFC_FLOAT64 += (-3.917182051027182e-08, 1.4448658046252822e-09, 1.5334345920908171e-07)
ERFC_FLOAT64 += (-2.495832761719667e-07, -1.6849800720653287e-07, 1.2500276612569751e-06)
ERFC_FLOAT64 += (-1.2723119048688704e-06, -2.9479868769982595e-06, 8.562623420121287e-06)
ERFC_FLOAT64 += (1.37726641344644e-07, -3.0187884551394246e-05, 3.1745179749437396e-05)
ERFC_FLOAT64 += (7.140101412757029e-05, -1.743029472030762e-04, -9.373503117098169e-05)
ERFC_FLOAT64 += (6.73678795580235e-04, -1.4624686337800342e-04, -2.345812500482853e-03)
ERFC_FLOAT64 += (1.758933557799016e-03, 8.824938557060623e-03, -9.872689366389957e-03)
ERFC_FLOAT64 += (-4.6895610231175305e-02, 4.734330684190443e-02, 6.726432239776567e-01)
ERFC_FLOAT64 += (-6.717940840566923e-01,)
ERFC_BLOCK = 16384  # elements at a time: the temporaries of a block stay in cache


def erfc(x: np.ndarray) -> np.ndarray:
    """Return the complementary error function, 2/√π times the integral of exp(-s²) from x to ∞.

    Source: the form is that of Press et al. 2007, Numerical Recipes, section 6.2.2.
    """
    x = np.asarray(x)
    coefficients = ERFC_FLOAT64 if x.dtype == np.float64 else ERFC_FLOAT32
    flat = np.ravel(x)
    out = np.empty_like(flat)
    for start in range(0, flat.size, ERFC_BLOCK):
        block = flat[start : start + ERFC_BLOCK]
        distance = np.abs(block)
        t = 2 / (2 + distance)
        place = 2 * t - 1
        power = np.full_like(place, coefficients[0])
        for coefficient in coefficients[1:]:
            power *= place
            power += coefficient
        power -= distance * distance
        sign = np.copysign(1, block)  # erfc(-x) = 2 - erfc(x)
        out[start : start + ERFC_BLOCK] = sign * t * np.exp(power) + (1 - sign)
    return out.reshape(x.shape)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Return Φ(x), the probability that a standard normal variable is at most x."""
    return 0.5 * erfc(x * -math.sqrt(0.5))


# %%
#| export
@primitive
def silu(x):
    """Gate every value by its own sigmoid: x * sigmoid(x).

    Source: Elfwing, Uchibe and Doya 2017; also known as Swish (Ramachandran et al. 2017).
    """
    ### BEGIN SOLUTION
    return x * sigmoid.forward(x)
    ### END SOLUTION


@primitive
def gelu(x, *, approximate="none"):
    """Gate every value by the normal probability of lying below it: x * Φ(x).

    Args:
        approximate: "none" for the exact form (`normal_cdf`), "tanh" for GPT-2's formula.

    Raises:
        ValueError: If `approximate` is neither.
    Source: Hendrycks and Gimpel 2016.
    """
    ### BEGIN SOLUTION
    if approximate == "none":
        return x * normal_cdf(x)
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    raise ValueError(f"approximate is {approximate!r}; use 'none' or 'tanh'")
    ### END SOLUTION


# %%
x = Tensor([-2, -1, 0, 1, 2])
print(silu(x).numpy().round(4))
print(gelu(x).numpy().round(4))
print(gelu(x, approximate="tanh").numpy().round(4))
# Expected output:
# [-0.2384 -0.2689  0.      0.7311  1.7616]
# [-0.0455 -0.1587  0.      0.8413  1.9545]
# [-0.0454 -0.1588  0.      0.8412  1.9546]


# %%
#| test
def test_erfc_against_the_standard_library():
    x = np.linspace(-6, 6, 401)
    expected = [math.erfc(value) for value in x]
    np.testing.assert_allclose(erfc(x), expected, rtol=1e-13)
    np.testing.assert_allclose(erfc(x.astype(np.float32)), expected, rtol=1e-4, atol=4e-7)


def test_silu_is_x_times_sigmoid():
    out = silu(Tensor([-1e4, -2.0, 0.0, 2.0, 1e4])).numpy()
    np.testing.assert_allclose(out, [0, -0.2384058, 0, 1.7615942, 1e4], rtol=1e-6)


def test_gelu_exact_and_approximate():
    x = np.linspace(-4, 4, 33)
    exact = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    np.testing.assert_allclose(gelu(Tensor(x)).numpy(), exact, rtol=1e-12, atol=1e-15)
    approximate = gelu(Tensor(x), approximate="tanh").numpy()
    assert 1e-5 < np.abs(approximate - exact).max() < 5e-4
    assert gelu(Tensor([1.0, 2.0])).dtype == np.float32


if __name__ == "__main__":
    test_erfc_against_the_standard_library()
    test_silu_is_x_times_sigmoid()
    test_gelu_exact_and_approximate()

# %% [markdown]
# ## Step 4: Softmax
#
# A classifier gives one score (a *logit*) per class. Softmax turns the scores of an example into
# probabilities: positive, and summing to 1 along one axis.
#
#     softmax(x)ᵢ = exp(xᵢ) / Σⱼ exp(xⱼ)
#     [1, 2, 3]  →  exp = [2.718, 7.389, 20.086], sum 30.193  →  [0.0900, 0.2447, 0.6652]
#
# Adding the same number to all scores changes nothing: exp(c) cancels. So subtract the largest
# score first. Every exponent is then at most 0, the largest term is exactly 1, nothing overflows
# and the sum cannot vanish:
#
#     [1001, 1002, 1003] - 1003 = [-2, -1, 0]  →  [0.0900, 0.2447, 0.6652]
#
# The axis matters. For a batch of shape (N, C) the classes are the last axis. Along axis 0 the
# *examples* would compete with each other: shapes and sums still look right, and the network
# quietly learns nonsense. Keep the reduced axis (`keepdims=True`), or subtraction and division
# will not line up.


# %%
#| export
@primitive
def softmax(x, *, axis=-1):
    """Turn scores into probabilities that sum to 1 along `axis` (or `dim`).

    Stable: the largest score of each group is subtracted first.

    Source: Bridle 1990; Goodfellow, Bengio and Courville 2016, section 4.1.
    """
    ### BEGIN SOLUTION
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    exponentials /= exponentials.sum(axis=axis, keepdims=True)
    return exponentials
    ### END SOLUTION


# %%
scores = Tensor([[1.0, 2.0, 3.0], [1001.0, 1002.0, 1003.0]])
print(softmax(scores).numpy().round(4))
print(softmax(scores, dim=0).numpy().round(4))
# Expected output:
# [[0.09   0.2447 0.6652]
#  [0.09   0.2447 0.6652]]
# [[0. 0. 0.]
#  [1. 1. 1.]]


# %%
#| test
def test_softmax_of_one_row():
    out = softmax(Tensor([1.0, 2.0, 3.0])).numpy()
    np.testing.assert_allclose(out, [0.09003057, 0.24472847, 0.66524096], rtol=1e-6)


def test_softmax_sums_to_one_along_its_axis():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4))
    for axis in (0, 1, 2, -2):
        np.testing.assert_allclose(softmax(x, axis=axis).numpy().sum(axis=axis), 1.0, rtol=1e-12)


def test_softmax_is_stable():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = softmax(Tensor([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]])).numpy()
    np.testing.assert_allclose(out, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


if __name__ == "__main__":
    test_softmax_of_one_row()
    test_softmax_sums_to_one_along_its_axis()
    test_softmax_is_stable()

# %% [markdown]
# ## Step 5: Log-softmax
#
# A loss needs the *logarithm* of a probability. Taking `log(softmax(x))` fails in a new way: the
# probability of a class 200 below the winner is exp(−200), which float32 rounds to 0, and log(0)
# is −∞. But the logarithm of the whole expression needs no such number:
#
#     log_softmax(x)ᵢ = (xᵢ - m) - log Σⱼ exp(xⱼ - m),      m = maxⱼ xⱼ
#
# The sum lies between 1 and the number of classes, so its logarithm is harmless. This is the
# *log-sum-exp trick*, and module 04 stands on it. For [0, 200]: m = 200, the sum is 1 + exp(−200)
# = 1, its logarithm 0, and the result [−200, 0] is exact.


# %%
#| export
@primitive
def log_softmax(x, *, axis=-1):
    """Return the logarithm of `softmax(x, axis)`, finite for all finite scores."""
    ### BEGIN SOLUTION
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    ### END SOLUTION


# %%
scores = Tensor([0.0, 200.0])
with np.errstate(divide="ignore"):
    print("log of softmax", softmax(scores).log().numpy())
print("log_softmax   ", log_softmax(scores).numpy())
# Expected output:
# log of softmax [-inf   0.]
# log_softmax    [-200.    0.]


# %%
#| test
def test_log_softmax_matches_softmax():
    x = Tensor(np.array([[0.3, -1.2, 2.0], [4.0, 4.0, 4.0]]))
    np.testing.assert_allclose(np.exp(log_softmax(x).numpy()), softmax(x).numpy(), rtol=1e-12)
    np.testing.assert_allclose(log_softmax(x, axis=0).numpy(), np.log(softmax(x, axis=0).numpy()))


def test_log_softmax_is_stable():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = log_softmax(Tensor([1e4, 0.0, -1e4])).numpy()
    np.testing.assert_array_equal(out, [0, -1e4, -2e4])


if __name__ == "__main__":
    test_log_softmax_matches_softmax()
    test_log_softmax_is_stable()

# %% [markdown]
# ## Step 6: Objects that remember their settings
#
# A network is a list of layers, and each layer is called with one argument, x. A slope or an axis
# has to be remembered from the moment the network is put together:
#
#     bend = LeakyReLU(0.2)      # the setting, once
#     bend(x)                    # the call, many times:  leaky_relu(x, negative_slope=0.2)
#
# Such an object is a function and its settings. Its attributes *are* the settings, under the names
# the function knows, so one `forward` serves all eight classes. (`vars(bend)` gives an object's
# attributes as a dictionary, here `{"negative_slope": 0.2}`.)
#
# In PyTorch these classes are `nn.Module`s. `Module` is born in module 03, so here they are plain
# callables, and 03's `Sequential` accepts any callable: they take their place and their number in
# a network, and `parameters()` rightly finds nothing in them.


# %%
#| export
class Activation:
    """A function as an object: settings on making it, a tensor on calling it.

    A subclass names its `function`; its attributes are that function's settings.
    """

    function: Op

    def forward(self, x: Tensor) -> Tensor:
        """Apply `self.function` to x with the settings in `vars(self)`."""
        ### BEGIN SOLUTION
        return self.function(x, **vars(self))
        ### END SOLUTION

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Sigmoid(Activation):
    """`sigmoid` as an object."""

    function = sigmoid


class Tanh(Activation):
    """`tanh` as an object."""

    function = tanh


# %%
#| export
class ReLU(Activation):
    """`relu` as an object; `inplace` is accepted as in PyTorch, but the result is always new."""

    function = relu

    def __init__(self, inplace: bool = False):
        pass


class SiLU(Activation):
    """`silu` as an object; `inplace` as for ReLU."""

    function = silu

    def __init__(self, inplace: bool = False):
        pass


class LeakyReLU(Activation):
    """`leaky_relu` with a slope chosen once; `inplace` as for ReLU."""

    function = leaky_relu

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.negative_slope = negative_slope


class GELU(Activation):
    """`gelu`, exact ("none") or by GPT-2's formula ("tanh")."""

    function = gelu

    def __init__(self, approximate: str = "none"):
        self.approximate = approximate


class Softmax(Activation):
    """`softmax` along an axis chosen once: the last one unless told otherwise."""

    function = softmax

    def __init__(self, dim: int = -1):
        self.dim = dim


class LogSoftmax(Activation):
    """`log_softmax` along an axis chosen once: the last one unless told otherwise."""

    function = log_softmax

    def __init__(self, dim: int = -1):
        self.dim = dim


# %%
bends = [ReLU(), LeakyReLU(0.2), GELU(), Softmax(dim=0)]
for bend in bends:
    print(bend, bend(Tensor([-1.0, 2.0])).numpy().round(4))
# Expected output:
# ReLU() [0. 2.]
# LeakyReLU(negative_slope=0.2) [-0.2  2. ]
# GELU(approximate='none') [-0.1587  1.9545]
# Softmax(dim=0) [0.0474 0.9526]


# %%
#| test
def test_objects_pass_their_settings_on():
    x = Tensor(np.array([[-1.0, 2.0], [0.5, -3.0]]))
    pairs = [
        (LeakyReLU(0.3), leaky_relu(x, negative_slope=0.3)),
        (GELU("tanh"), gelu(x, approximate="tanh")),
        (Softmax(0), softmax(x, axis=0)),
        (LogSoftmax(dim=0), log_softmax(x, axis=0)),
        (Softmax(), softmax(x, axis=1)),
    ]
    for bend, expected in pairs:
        np.testing.assert_array_equal(bend(x).numpy(), expected.numpy(), err_msg=repr(bend))


if __name__ == "__main__":
    test_objects_pass_their_settings_on()

# %% [markdown]
# ## Systems: what does a bend cost?
#
# Count time in units of `x + 1`, which reads and writes each number once, on an array small enough
# to stay in cache. ReLU costs two or three units. Each exponential and each further pass adds its
# own, for every NumPy call reads and writes a whole array. The exact GELU evaluates a polynomial of
# degree 12 and costs most; that is why GPT-2 was happy with one tanh.

# %%
import time


def best_time(function, *inputs, repeat=50, **settings):
    """Return the shortest of several wall-clock times of a call, in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function(*inputs, **settings)
        times.append(time.perf_counter() - start)
    return min(times)


x = Tensor(np.random.default_rng(0).standard_normal((128, 128), dtype=np.float32))
unit = best_time(lambda: x + 1)
for bend in (relu, tanh, leaky_relu, sigmoid, silu, softmax, gelu):
    print(f"{bend.name:11}{best_time(bend, x) / unit:6.1f} units")
print(f"gelu, tanh {best_time(gelu, x, approximate='tanh') / unit:6.1f} units")
# Expected output:
# relu       ... units
# tanh       ... units
# leaky_relu ... units
# sigmoid    ... units
# silu       ... units
# softmax    ... units
# gelu       ... units
# gelu, tanh ... units

# %% [markdown]
# Memory tells a second story. Softmax could be composed of the operations of module 01: `max`,
# `-`, `exp`, `sum`, `/`. The numbers would be the same, but when gradients are recorded each
# operation keeps its inputs and its output alive until the backward pass. One primitive keeps one
# input and one output, and forgets its temporaries. That is why each function here is a single
# rule: it is *fused*.

# %%
import tracemalloc


def composed_softmax(x):
    """Compute softmax from five separate operations."""
    exponentials = (x - x.max(axis=-1, keepdims=True)).exp()
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def kept_megabytes(function, x):
    """Return the memory still held after a call, by its result and all that it remembers."""
    tracemalloc.start()
    result = function(x)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.requires_grad
    return held / 1e6


x = Tensor(np.zeros((1000, 1000), dtype=np.float32), requires_grad=True)
print(f"composed keeps {kept_megabytes(composed_softmax, x):.0f} MB")
print(f"fused keeps    {kept_megabytes(softmax, x):.0f} MB")
# Expected output:
# composed keeps 12 MB
# fused keeps    4 MB

# %% [markdown]
# ## Pitfalls
#
# - **Softmax before a cross-entropy loss.** Module 04's loss takes logits and applies log-softmax
#   itself; a softmax in the model as well flattens the gradients, and nothing crashes.
# - **Softmax along axis 0.** The rows no longer sum to 1. Check `out.sum(axis=-1)`.
# - **Sigmoid in deep stacks.** Its slope is at most 1/4; ten layers of it shrink a gradient by at
#   least 4¹⁰ ≈ 10⁶.
# - **`x * (x > 0)` for ReLU** turns infinity into NaN, since ∞ · 0 is not a number.
# - **float64 by accident.** `np.float64(0.5) * x` promotes a float32 array and doubles its memory;
#   plain Python numbers and `math.sqrt` do not.
#
# ## What PyTorch does differently, and why
#
# - Its classes are `nn.Module`s; ours are plain callables until module 03 puts them into a network.
# - `F.softmax(x)` without `dim` guesses an axis and warns; ours takes the last one.
# - `inplace=True` overwrites x to save memory. We accept the argument and ignore it: a value that a
#   backward pass still needs must not disappear.
# - Its kernels are compiled loops that read each number once. Ours are a few NumPy passes each;
#   module 18 measures what fusing passes is worth.
#
# ## Sources
#
# - Goodfellow, Bengio and Courville, *Deep Learning*, 2016: section 4.1 (overflow), 6.3 (units).
# - Minsky and Papert, *Perceptrons*, 1969: XOR and what one layer cannot do.
# - Leshno, Lin, Pinkus and Schocken 1993: any bend that is not a polynomial is enough.
# - Glorot, Bordes and Bengio 2011 (ReLU); Hendrycks and Gimpel 2016 (GELU); Bridle 1990 (softmax).
#
# ## Reflect (150–300 words)
#
# A colleague replaces every ReLU in a ten-layer network by a sigmoid "because probabilities are
# easier to interpret". Training is slower per step and the first layers hardly change. From your
# cost measurements and from the slopes of the two functions, explain both observations, and say
# what you would measure to convince the colleague. Write the answer to `reflection.md` beside this
# file.
#
# Then run the checkpoint: `tito checkpoint run 02`
