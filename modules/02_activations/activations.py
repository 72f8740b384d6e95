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
from tinytorch.special import normal_cdf

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
def test_relu_and_leaky_relu():
    x = Tensor([[-2.0, 0.0], [3.0, -0.5]])
    np.testing.assert_array_equal(relu(x).numpy(), [[0, 0], [3, 0]])
    np.testing.assert_allclose(leaky_relu(x).numpy(), [[-0.02, 0], [3, -0.005]], rtol=1e-6)
    np.testing.assert_allclose(leaky_relu(x, 0.2).numpy(), [[-0.4, 0], [3, -0.1]], rtol=1e-6)
    assert x.numpy()[0, 0] == -2.0, "an activation must not change its input"


if __name__ == "__main__":
    test_relu_and_leaky_relu()

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
def test_sigmoid():
    x = np.array([-3.0, -0.7, 0.0, 0.7, 3.0])
    np.testing.assert_allclose(sigmoid(Tensor(x)).numpy(), 1 / (1 + np.exp(-x)), rtol=1e-12)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = sigmoid(Tensor([-1e4, -100.0, 100.0, 1e4])).numpy()
    np.testing.assert_allclose(out, [0, 0, 1, 1], atol=1e-30)


if __name__ == "__main__":
    test_sigmoid()

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
# Φ has no elementary formula: it is ½ erfc(−x / √2), by the complementary error function, which
# NumPy lacks. `normal_cdf(x)` computes it, from a polynomial fit of 13 terms in float32 and 28 in
# float64 (`tinytorch/special.py`; typing coefficients teaches nothing).
#
# GPT-2 used a cheaper formula with one tanh, and PyTorch still offers it. It differs from the exact
# form by at most 4.8e-4:
#
#     gelu_tanh(x) = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))


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
        gate = np.asarray(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
        np.tanh(gate, out=gate)  # in place: a new array costs more than the arithmetic
        gate += 1
        gate *= 0.5
        gate *= x
        return gate
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
def test_silu_is_x_times_sigmoid():
    out = silu(Tensor([-1e4, -2.0, 0.0, 2.0, 1e4])).numpy()
    np.testing.assert_allclose(out, [0, -0.2384058, 0, 1.7615942, 1e4], rtol=1e-6)


def test_gelu_exact_and_approximate():
    x = np.linspace(-4, 4, 33)
    exact = np.array([v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    np.testing.assert_allclose(gelu(Tensor(x)).numpy(), exact, rtol=1e-12, atol=1e-15)
    approximate = gelu(Tensor(x), approximate="tanh").numpy()
    assert 1e-5 < np.abs(approximate - exact).max() < 5e-4
    assert gelu(Tensor([1.0, 2.0])).dtype == np.float32


if __name__ == "__main__":
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
def test_softmax_sums_to_one_along_its_axis():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4))
    for axis in (0, 1, 2, -2):
        np.testing.assert_allclose(softmax(x, axis=axis).numpy().sum(axis=axis), 1.0, rtol=1e-12)


def test_softmax_is_stable():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = softmax(Tensor([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1, 2, 3]])).numpy()
    wanted = [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.09003057, 0.24472847, 0.66524096]]
    np.testing.assert_allclose(out, wanted, rtol=1e-6)


if __name__ == "__main__":
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
def test_log_softmax():
    x = Tensor(np.array([[0.3, -1.2, 2.0], [4.0, 4.0, 4.0]]))
    np.testing.assert_allclose(np.exp(log_softmax(x).numpy()), softmax(x).numpy(), rtol=1e-12)
    np.testing.assert_allclose(log_softmax(x, axis=0).numpy(), np.log(softmax(x, axis=0).numpy()))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = log_softmax(Tensor([1e4, 0.0, -1e4])).numpy()
    np.testing.assert_array_equal(out, [0, -1e4, -2e4])


if __name__ == "__main__":
    test_log_softmax()

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
# `Module` is born in module 03, so these are plain callables. Its `Sequential` accepts any: they
# take their place in a network, and `parameters()` rightly finds nothing in them.


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
for bend in (ReLU(), LeakyReLU(0.2), GELU(), Softmax(dim=0)):
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
    pairs = [(LeakyReLU(0.3), leaky_relu(x, negative_slope=0.3)), (Softmax(), softmax(x, axis=1))]
    pairs += [(GELU("tanh"), gelu(x, approximate="tanh")), (LogSoftmax(0), log_softmax(x, axis=0))]
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


def best_time(function, *inputs, **settings):
    """Return the shortest of several wall-clock times of a call, in seconds."""
    times = []
    for _ in range(50):
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
