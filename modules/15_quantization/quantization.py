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
# # Module 15: Quantization
#
# You store and multiply a network's numbers as 8-bit integers: a quarter of the memory, and nearly
# the same answers.
#
# - **You build** the code (`quantize`, `dequantize`), a `Calibrator` that learns ranges from data,
#   an integer product, `QuantizedLinear`, `QuantizedConv2d`, `quantize_model`, FP16, and a report.
# - **You need** 03 (`Linear`, `Sequential`), 07 (`evaluate_model`) and 09 (`Conv2d`, `windows`).
# - **Time**: four to five hours.

# %%
#| default_exp core.quantization

# %%
#| export
import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinytorch import imaging
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Linear, Module, Parameter, Sequential
from tinytorch.core.spatial import BatchNorm2d, Conv2d, output_sizes, windows
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import Dataloader, evaluate_model
from tinytorch.threads import in_threads
from tinytorch.tree import fit_features, live_state
from tinytorch.utils import integers, quantized
from tinytorch.utils.integers import QTensor, checked_values, inputs_of, spread
from tinytorch.utils.quantized import finished, fold_pairs, named_by_storage, replace_layers

Array = np.ndarray

# %% [markdown]
# ## Step 1: A ruler with 256 marks
#
# An int8 holds one of 256 codes, −128 to 127. Lay them as a ruler over the range of some numbers:
#
# $$x \approx s\,(q - z), \qquad s = \frac{high - low}{255}, \qquad z = -128 - low/s$$
#
# The *scale* s is the distance of two marks, and the *zero point* z is the code of 0.0. It is
# rounded to a whole code, so that **zero is coded exactly**: ReLU and padding are full of zeros.
# For that, 0 must lie in the range, which is widened if it does not.
#
# *Worked example*, −1 to 3: s = 4 / 255 = 0.0157, z = −128 + 63.75 = −64.25, rounded −64. Then
# 3 has code 191.25 − 64, rounded 127, and −1 has −63.75 − 64, rounded −128.
#
# *Symmetric* codes go from −127 to 127 with z = 0 and s = largest |x| / 127: for weights, which lie
# evenly about 0. With `bits` = b in place of 8, the top code is 2^(b−1) − 1. Where all numbers are
# 0 (or too small for a float32 scale), any scale will do: take 1.


# %%
#| export
def choose_qparams(
    low: Any, high: Any, symmetric: bool = False, bits: int = 8
) -> tuple[Array, Array]:
    """Choose scale (float32) and zero point (int32) for a range, or, for vectors, per channel."""
    low, high = integers.checked_range(low, high)  # float64
    top = 2 ** (integers.checked_bits(bits) - 1) - 1
    ### BEGIN SOLUTION
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = np.maximum(-low, high) / top if symmetric else (high - low) / (2 * top + 1)
    scale = np.where(scale > np.finfo(np.float32).tiny, scale, 1).astype(np.float32)
    zero_point = np.zeros(scale.shape) if symmetric else np.rint(-top - 1 - low / scale)
    return scale, np.clip(zero_point, -top - 1, top).astype(np.int32)
    ### END SOLUTION


# %% [markdown]
# ### To codes and back
#
# $q = \mathrm{clip}(\mathrm{round}(x / s) + z)$, and back $s\,(q - z)$. Rounding moves a number by
# half a mark at most, so inside the range **the error is at most s / 2**. Outside it *saturates*:
# the last code is as near as one gets. Clip before the cast: as an int8, 130 would wrap to −126.
#
# s is set by the largest number. If channels differ in size, say 0.01 and 1, the small one is coded
# with the marks 0 and ±1 only. So weights get a scale **per channel**: 4 bytes a channel.
# `spread(numbers, axis, ndim)` (given) shapes them to broadcast along their axis. The result is a
# `QTensor` (given): `values` int8, `scale`, `zero_point`, `axis`, `nbytes`.


# %%
#| export
def quantize(x: Any, scale: Any = None, zero_point: Any = 0, axis: int | None = None,
             symmetric: bool = False, bits: int = 8) -> QTensor:  # fmt: skip
    """Code floating numbers as int8; halves are rounded to even, as NumPy and PyTorch do.

    Args:
        scale, zero_point: Of the code. Without a scale, both are chosen from the extremes of x, or
            of each channel; `integers.checked_qparams` brings them into shape.
        axis: The axis with a scale for each index, or None for one scale in all.
    """
    x, bits = checked_values(x, needed=scale is None), integers.checked_bits(bits)
    axis, top = integers.checked_axis(axis, x.shape), 2 ** (bits - 1) - 1
    ### BEGIN SOLUTION
    if scale is None:
        others = tuple(i for i in range(x.ndim) if i != axis)
        scale, zero_point = choose_qparams(x.min(others), x.max(others), symmetric, bits)
    scale, zero_point = integers.checked_qparams(scale, zero_point, axis, x.shape, bits)
    with np.errstate(over="ignore"):  # infinite quotients saturate, too
        codes = np.asarray(x / spread(scale, axis, x.ndim))
    np.rint(codes, out=codes)
    codes += spread(zero_point.astype(codes.dtype), axis, x.ndim)
    np.clip(codes, -top - 1, top, out=codes)
    return QTensor(codes.astype(np.int8), scale, zero_point, axis)
    ### END SOLUTION


def dequantize(q: QTensor) -> Tensor:
    """Return the numbers that codes stand for, float32."""
    ### BEGIN SOLUTION
    ndim = q.values.ndim
    steps = q.values - spread(q.zero_point, q.axis, ndim)  # int32: int8 would overflow
    return Tensor((steps * spread(q.scale, q.axis, ndim)).astype(np.float32))
    ### END SOLUTION


# %%
weight = Tensor([[1.0, -0.6, 0.4], [0.012, -0.005, 0.001]])
for axis in (None, 0):
    q = quantize(weight, axis=axis, symmetric=True)
    print(q.values.tolist(), dequantize(q).numpy()[1].round(4), q.nbytes, "bytes")
# Expected output:
# [[127, -76, 51], [2, -1, 0]] [ 0.0157 -0.0079  0.    ] 14 bytes
# [[127, -76, 51], [127, -53, 11]] [ 0.012 -0.005  0.001] 22 bytes


# %%
#| test
def test_codes_are_within_half_a_mark():
    scale, zero_point = choose_qparams([-1, 2, 0, -5], [3, 4, 0, -1])
    np.testing.assert_allclose(scale, np.array([4, 4, 255, 5]) / 255, rtol=1e-6)
    assert zero_point.tolist() == [-64, -128, -128, 127]
    x = np.random.default_rng(0).standard_normal((4, 300, 3)) * [0.01, 1, 100] + 1
    for axis, symmetric, bits in ((None, False, 8), (-1, True, 8), (2, False, 3)):
        q = quantize(Tensor(x), axis=axis, symmetric=symmetric, bits=bits)
        error = np.abs(dequantize(q).numpy() - x)
        assert (error <= spread(q.scale, q.axis, 3) * 0.5001).all()
    q = quantize([-1e30, -1.0, 0.49, 1.5, 1e30], scale=1.0, zero_point=3)
    assert q.values.tolist() == [-128, 2, 3, 5, 127]


if __name__ == "__main__":
    test_codes_are_within_half_a_mark()

# %% [markdown]
# ## Step 2: Calibration: which range?
#
# Weights are known; what flows between the layers is not. So run some typical batches through the
# network and look. `minmax` keeps the extremes of all batches; one value of 50 among a million
# below 2 stretches the ruler 25-fold for all. `percentile` leaves such outliers out: low and high
# are the (100 − p)th and the pth percentile of each batch, as a running mean in which every *value*
# weighs the same: a batch of n values after N others moves it by n / (N + n) of the difference.
#
# *Worked example*: a batch of 3 values with high 2, then one of 1 value with high 6: high is 2,
# then 2 + ¼ (6 − 2) = 3.


# %%
#| export
class Calibrator:
    """Learn a range from batches, by `method` "minmax" or "percentile" (the upper end, above 50).

    Attributes:
        low, high: The range so far; it starts as 0 to 0, since every range must hold 0.
        count: Values seen.
    """

    def __init__(self, method: str = "minmax", percentile: float = 99.9):
        integers.check_method(method, percentile)
        self.method, self.percentile = method, percentile
        self.low, self.high, self.count = 0.0, 0.0, 0

    def observe(self, x: Any) -> None:
        """Take a batch of values, any shape, into the range; count them."""
        x = checked_values(x, needed=True)
        ### BEGIN SOLUTION
        if self.method == "minmax":
            self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        else:
            share = x.size / (self.count + x.size)
            low, high = np.percentile(x, [100 - self.percentile, self.percentile]).tolist()
            self.low += share * (low - self.low)
            self.high += share * (high - self.high)
        self.count += x.size
        ### END SOLUTION

    def qparams(self, symmetric: bool = False, bits: int = 8) -> tuple[Array, Array]:
        """Return scale and zero point for the range seen."""
        if not self.count:
            raise ValueError("nothing was observed, so no range is known; call observe(batch)")
        return choose_qparams(self.low, self.high, symmetric, bits)


# %%
values = np.random.default_rng(0).random(50_000)
values[7] = 50
for method in ("minmax", "percentile"):
    (seen := Calibrator(method)).observe(values)
    error = np.abs(dequantize(quantize(values, *seen.qparams())).numpy() - values)
    print(f"{method}: median error {np.median(error):.4f}, largest {error.max():.2f}")
# Expected output:
# minmax: median error 0.0483, largest 0.10
# percentile: median error 0.0010, largest 49.00


# %%
#| test
def test_ranges_run_over_batches():
    extremes, quartiles = Calibrator(), Calibrator("percentile", 75)
    for batch in (np.arange(5.0), np.arange(10.0, 25)):  # quartiles 1 and 3, 13.5 and 20.5
        extremes.observe(batch)
        quartiles.observe(batch)
    assert (extremes.low, extremes.high, extremes.count) == (0, 24, 20)
    np.testing.assert_allclose((quartiles.low, quartiles.high), (10.375, 16.125))


if __name__ == "__main__":
    test_ranges_run_over_batches()

# %% [markdown]
# ## Step 3: An integer product
#
# Now multiply codes: int8 · int8, added up in int32. `a.astype(np.int32) @ b` does that in plain
# loops: BLAS, the fast library behind `@`, knows floats only. Can BLAS compute with integers? **A
# float32 holds every whole number up to 2²⁴ exactly.** A product of two codes is at most 128 · 128
# = 2¹⁴ in size. So a sum of up to 2¹⁰ = 1024 of them, and each partial sum on the way, is a whole
# number within 2²⁴: nothing is rounded, whatever the order.
#
# So: cut the inner axis K into blocks of 1024, let BLAS multiply the codes of a block as float32,
# cast the exact result to int32 and add the blocks there. The same integers as the slow way, bit
# for bit.


# %%
#| export
BLOCK = 1024  # 128 * 128 * 1024 = 2**24: such sums are exact in float32
WIDEST = 65_536  # products in one sum: 255 * 128 * 65,536 < 2**31, zero point included


def integer_matmul(a: Array, b: Array) -> Array:
    """Multiply codes exactly: (..., M, K) int8 by (..., K, N) int8 gives (..., M, N) int32."""
    integers.check_codes(a, b, most=WIDEST)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = np.zeros((*lead, a.shape[-2], b.shape[-1]), np.int32)
    ### BEGIN SOLUTION
    for start in range(0, a.shape[-1], BLOCK):
        block = slice(start, start + BLOCK)
        product = a[..., block].astype(np.float32) @ b[..., block, :].astype(np.float32)
        total += product.astype(np.int32)
    return total
    ### END SOLUTION


# %%
rng = np.random.default_rng(0)
a, b = (rng.integers(64, 128, shape, np.int8) for shape in ((20, 5000), (5000, 30)))
slow = a.astype(np.int32) @ b.astype(np.int32)
whole = a.astype(np.float32) @ b.astype(np.float32)
print("equal: blocks", (integer_matmul(a, b) == slow).all(), end=", ")
print("one float product", (whole == slow).all())
# Expected output:
# equal: blocks True, one float product False


# %%
#| test
def test_integer_products_are_exact():
    rng = np.random.default_rng(1)
    for k in (0, 1, 1025, 3000):
        a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((2, 3, k), (k, 4)))
        np.testing.assert_array_equal(integer_matmul(a, b), a.astype(int) @ b.astype(int))


if __name__ == "__main__":
    test_integer_products_are_exact()

# %% [markdown]
# ## Step 4: `QuantizedLinear`
#
# Put the codes into y = Σ x·w + b: weights symmetric, per output channel (scale $s_w$), inputs
# affine with one scale $s_x$ and zero point z.
#
# $$y = \sum_k s_x (q_k - z)\, s_w w_k + b
#     = s_x s_w \Big(\underbrace{\sum_k q_k w_k}_{\text{int32}}
#     - \underbrace{z \sum_k w_k}_{\text{correction}}\Big) + b$$
#
# The correction is known beforehand: one int32 per channel. All K products stay integers; for
# floats *one* multiplication per output is left, at the end.
#
# *Worked example*: x = 0.3, w = 0.5, with $s_x$ = 0.01, z = −128, $s_w$ = 0.5 / 127: q = 30 − 128 =
# −98 and the weight's code is 127. The sum is −98 · 127 = −12,446, the correction −128 · 127 =
# −16,256, their difference 3,810; times 0.01 · 0.5 / 127 that is 0.15.
#
# `quantized.CodedLinear` (given) makes the buffers: `weight`, `weight_scale`, `input_scale`,
# `input_zero_point`, `correction`, `bias`; so `state_dict` saves codes, and there is no gradient. A
# channel takes K + 12 bytes in place of 4K + 4: 3.9 times less at K = 512 but 3.0 times at K = 32.


# %%
#| export
class QuantizedLayer(Module):
    """From floats to codes and back: what both quantized layers share."""

    def pack(self, layer: Module, seen: Any) -> "QuantizedLayer":
        """Fill the buffers' `.data` from a float layer and the range of its input; return self."""
        ### BEGIN SOLUTION
        q = quantize(layer.weight, axis=0, symmetric=True)
        self.weight.data, self.weight_scale.data = q.values, q.scale
        self.input_scale.data, self.input_zero_point.data = seen.qparams()
        sums = q.values.reshape(len(q.values), -1).sum(axis=1, dtype=np.int32)
        self.correction.data = self.input_zero_point.data * sums
        if layer.bias is not None:
            self.bias.data = layer.bias.data.astype(np.float32)
        return self
        ### END SOLUTION

    def encode(self, x: Tensor) -> Array:
        """Return the codes of an input."""
        return quantize(x, self.input_scale.data, self.input_zero_point.data).values

    def decode(self, sums: Array) -> Tensor:
        """Turn sums of products, int32 (rows, channels, ...), into float32 outputs."""
        ### BEGIN SOLUTION
        exact = sums - spread(self.correction.data, 1, sums.ndim)
        scale = spread(self.input_scale.data * self.weight_scale.data, 1, sums.ndim)
        out = np.multiply(exact, scale, dtype=np.float32)
        if self.bias is not None:
            out += spread(self.bias.data, 1, sums.ndim)
        return Tensor(out)
        ### END SOLUTION


class QuantizedLinear(quantized.CodedLinear, QuantizedLayer):
    """A `Linear` on int8 codes: `QuantizedLinear.from_float(layer, calibrator)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features): encode, multiply, decode."""
        if not x.ndim or x.shape[-1] != self.in_features:
            x = fit_features(x, self.in_features)
        ### BEGIN SOLUTION
        codes = self.encode(x).reshape(-1, self.in_features)
        out = self.decode(integer_matmul(codes, self.weight.data.T))  # (rows, out)
        return out.reshape(*x.shape[:-1], self.out_features)
        ### END SOLUTION


# %%
layer, seen = Linear(1, 1), Calibrator()
layer.load_state_dict({"weight": [[0.5]], "bias": [1.0]})
seen.observe([0.0, 2.55])
small = QuantizedLinear.from_float(layer, seen)
print(small.weight.tolist(), small.correction.tolist(), small(Tensor([[0.3], [9.0]])).numpy().T)
# Expected output:
# [[127]] [-16256] [[1.15  2.275]]


# %%
#| test
def test_quantized_linear_is_the_float_one_on_codes():
    x = np.random.default_rng(0).standard_normal((3, 5, 40)).astype(np.float32) + 2
    layer, seen = Linear(40, 7), Calibrator()
    seen.observe(x)
    small = QuantizedLinear.from_float(layer, seen)
    layer.weight.data = dequantize(quantize(layer.weight, axis=0, symmetric=True)).data
    wanted = layer(dequantize(quantize(x, *seen.qparams()))).numpy()
    np.testing.assert_allclose(small(Tensor(x)).numpy(), wanted, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    test_quantized_linear_is_the_float_one_on_codes()

# %% [markdown]
# ## Step 5: `QuantizedConv2d`
#
# Module 09 made a convolution a matrix product of filters and columns; here is the same product, in
# codes. One trap: images are padded with zeros, and the code of zero is **z**, not 0. So encode
# first, then pad with the zero point; the correction, made for all C·kh·kw taps, fits everywhere.
#
# Given in `tinytorch/imaging.py`, as in module 09: `blocks`, `pad(x, geo, value)`, `columns`,
# `Scratch`; and `in_threads`.


# %%
#| export
def integer_convolution(codes: Array, weight: Array, geo: Any, zero_point: int) -> Array:
    """Convolve codes (N, C, H, W) with codes (F, C / groups, kh, kw): int32 (N, F, OH, OW).

    Go through `imaging.blocks(out.shape, codes, geo)` as `convolution` of module 09 does.
    """
    out = np.empty((len(codes), len(weight), *output_sizes(codes.shape, geo)), np.int32)
    matrix = weight.reshape(geo.groups, len(weight) // geo.groups, -1)
    ### BEGIN SOLUTION

    def run(share: Any) -> None:
        scratch = imaging.Scratch()
        for images, bands in share:
            padded = imaging.pad(codes[images], geo, zero_point)
            view = windows(padded, geo).transpose(1, 2, 3, 0, 4, 5)  # (C, kh, kw, B, OH, OW)
            for band in bands:
                target = out[images, :, band].swapaxes(0, 1)  # (F, B, rows, OW)
                cols = imaging.columns(view[..., band, :], geo.groups, scratch)
                target[...] = integer_matmul(matrix, cols).reshape(target.shape)

    in_threads(run, imaging.blocks(out.shape, codes, geo))
    return out
    ### END SOLUTION


class QuantizedConv2d(quantized.CodedConv2d, QuantizedLayer):
    """A `Conv2d` on int8 codes: `QuantizedConv2d.from_float(layer, calibrator)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, in_channels, H, W): encode, convolve, decode."""
        imaging.check_convolution(x, self.weight, self.bias, self.groups)
        ### BEGIN SOLUTION
        zero_point = self.input_zero_point.item()
        codes = self.encode(x)
        return self.decode(integer_convolution(codes, self.weight.data, self.geometry, zero_point))
        ### END SOLUTION


# %%
layer, seen = Conv2d(1, 1, 3, padding=1), Calibrator()
layer.load_state_dict({"weight": np.ones((1, 1, 3, 3)), "bias": [0]})
seen.observe([-1.0, 1.55])
small = QuantizedConv2d.from_float(layer, seen)
print(small.input_zero_point.item(), small(Tensor(np.ones((1, 1, 2, 3)))).tolist())
# Expected output:
# -28 [[[[4.0, 6.0, 4.0], [4.0, 6.0, 4.0]]]]


# %%
#| test
def test_quantized_convolution_is_the_float_one_on_codes():
    x = np.random.default_rng(0).standard_normal((3, 4, 9, 8)).astype(np.float32) + 1
    layer, seen = Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), groups=2), Calibrator()
    seen.observe(x)
    small = QuantizedConv2d.from_float(layer, seen)
    layer.weight.data = dequantize(quantize(layer.weight, axis=0, symmetric=True)).data
    wanted = layer(dequantize(quantize(x, *seen.qparams()))).numpy()
    np.testing.assert_allclose(small(Tensor(x)).numpy(), wanted, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    test_quantized_convolution_is_the_float_one_on_codes()

# %% [markdown]
# ## Step 6: A whole model
#
# **Fold first.** In evaluation a batch norm is a scale and a shift per channel. Put them into the
# weights of the convolution before it, and the layer is gone (Jacob et al. 2018):
#
# $$w' = w\,\frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}, \qquad
# b' = (b - \mu)\,\frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}} + \beta$$
#
# *Worked example*: w = 3, b = 1, μ = 2, σ² + ε = 4, γ = 6, β = 5: w' = 9, b' = (1 − 2) · 3 + 5 = 2.
#
# **Then calibrate, then replace**, all on a copy in evaluation mode: put an `Observed` around each
# `Linear` and `Conv2d`, run the batches through, put a quantized layer in its place.
# `replace_layers(model, classes, make)` (given) returns the model with `make(layer)` in the place
# of every layer of exactly these classes; `finished(part, KINDS, WIDEST)` (given) makes the
# quantized layer of an `Observed`, or gives its float layer back if no batch came through.
# Everything else, ReLU and pools too, works on the floats between the layers.


# %%
#| export
class Observed(quantized.Watch, Module):
    """A float layer and `seen`, a calibrator that sees what goes into it."""


KINDS = {Linear: QuantizedLinear, Conv2d: QuantizedConv2d}


class Folded(quantized.Passing, Module):
    """What is left of a layer that was folded into the one before."""


def fold_batch_norm(conv: Conv2d, norm: BatchNorm2d) -> Conv2d:
    """Return a new convolution that does what `norm(conv(x))` does in evaluation."""
    folded = copy.deepcopy(conv)
    ### BEGIN SOLUTION
    scale = 1 / np.sqrt(norm.running_var.data + norm.eps)
    bias = 0 if conv.bias is None else conv.bias.data
    if norm.weight is not None:
        scale = scale * norm.weight.data
    shift = (bias - norm.running_mean.data) * scale
    if norm.bias is not None:
        shift = shift + norm.bias.data
    folded.weight.data = (conv.weight.data * scale[:, None, None, None]).astype(np.float32)
    folded.bias = Parameter(shift.astype(np.float32))
    return folded
    ### END SOLUTION


def quantize_model(model: Module, batches: Iterable[Any], method: str = "minmax",
                   percentile: float = 99.9) -> Module:  # fmt: skip
    """Return a copy of a model, in evaluation mode, whose Linear and Conv2d layers use int8 codes.

    `batches` are typical inputs, or pairs (inputs, targets); `inputs_of` yields the inputs. The
    copy's `quantization` maps "quantized", "folded" and "float" to the paths of its layers.
    """
    small = copy.deepcopy(model).eval()
    small.zero_grad()
    folded = fold_pairs(small, Sequential, (Conv2d, BatchNorm2d), fold_batch_norm, Folded)
    ### BEGIN SOLUTION
    small = replace_layers(
        small, (Linear, Conv2d), lambda layer: Observed(layer, Calibrator(method, percentile))
    )
    with no_grad():
        for x in inputs_of(batches):
            small(x if isinstance(x, Tensor) else Tensor(x))
    small = replace_layers(small, (Observed,), lambda part: finished(part, KINDS, WIDEST)).eval()
    ### END SOLUTION
    small.quantization = named_by_storage(small, folded)
    return small


# %%
from tinytorch.core.tensor import manual_seed, randn

manual_seed(0)
net, x = Sequential(Conv2d(1, 8, 3), BatchNorm2d(8), Linear(36, 10)), randn(64, 1, 8, 8)
small = quantize_model(net, [x])
print(small.quantization)
print(bool(np.abs(small(x).numpy() - net.eval()(x).numpy()).max() < 0.05))
# Expected output:
# {'quantized': ['0', '2'], 'folded': ['1'], 'float': []}
# True


# %%
#| test
def test_a_model_is_folded_and_quantized_on_a_copy():
    rng = np.random.default_rng(0)
    conv, norm, x = Conv2d(3, 5, 3), BatchNorm2d(5).eval(), Tensor(rng.random((2, 3, 6, 6)))
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data = rng.uniform(0.5, 2, 5).astype(np.float32)
    wanted = norm(conv(x)).numpy()
    np.testing.assert_allclose(fold_batch_norm(conv, norm)(x).numpy(), wanted, atol=1e-5)
    net = Sequential(conv, norm)
    small = quantize_model(net, iter([(x, None), x]))
    assert small.quantization == {"quantized": ["0"], "folded": ["1"], "float": []}
    assert (net.training, small.training, net[0]) == (True, False, conv)
    np.testing.assert_allclose(small(x).numpy(), wanted, atol=0.1)


if __name__ == "__main__":
    test_a_model_is_folded_and_quantized_on_a_copy()

# %% [markdown]
# ## Step 7: What was gained, what was lost?
#
# FP16 is half of the way for free: 2 bytes a number, 11 bits of precision, no calibration. NumPy
# computes with it slowly, so we only *store* it. It ends at 65,504: what is larger is refused.
#
# Then the account: bytes of every tensor a model keeps (`live_state`, by name; a shared one counts
# once), and accuracy on data that neither training nor calibration saw.


# %%
#| export
def fp16_state(model: Module) -> dict[str, Tensor]:
    """Return a model's state, floats as float16; refuse what would be infinite, by its name."""
    state = model.state_dict()
    ### BEGIN SOLUTION
    for name, tensor in state.items():
        if tensor.dtype.kind == "f":
            largest = float(np.abs(tensor.data).max(initial=0))
            if largest > 65_504:
                raise ValueError(f"{name} holds {largest:g}, float16 ends at 65504; rescale it")
            state[name] = tensor.astype(np.float16)
    return state
    ### END SOLUTION


def model_nbytes(model: Module) -> int:
    """Add up the bytes of all parameters and buffers that a model keeps, each once."""
    ### BEGIN SOLUTION
    return sum({id(t): t.nbytes for t in live_state(model).values()}.values())
    ### END SOLUTION


def quantization_report(model: Module, small: Module, dataloader: Dataloader) -> dict[str, float]:
    """Compare a model with its quantized copy: bytes, and accuracy on data.

    Returns:
        "bytes" and "accuracy" (a share) of the model, "quantized_bytes" and "quantized_accuracy" of
        the copy, "times_smaller", and "points_lost", of 100.
    """
    ### BEGIN SOLUTION
    sizes = model_nbytes(model), model_nbytes(small)
    shares = [evaluate_model(m, dataloader)["accuracy"] for m in (model, small)]
    report = {"bytes": sizes[0], "accuracy": shares[0], "times_smaller": sizes[0] / sizes[1]}
    report |= {"quantized_bytes": sizes[1], "quantized_accuracy": shares[1]}
    return report | {"points_lost": 100 * (shares[0] - shares[1])}
    ### END SOLUTION


# %%
from tinytorch.core.layers import MLP
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import Adam
from tinytorch.core.training import Trainer


def clusters(count):
    """Points around ten centres in 512 dimensions, so wide that some are mistaken."""
    labels = rng.integers(0, 10, count)
    return (centres[labels] + 7 * rng.standard_normal((count, 512))).astype(np.float32), labels


rng = np.random.default_rng(0)
centres = rng.standard_normal((10, 512))
data = [clusters(100) for _ in range(15)]
model = MLP(512, 512, 10)
Trainer(model, CrossEntropyLoss(), Adam(lr=0.001)).fit(data, epochs=3, verbose=False)
report = quantization_report(model, quantize_model(model, data[:2]), [clusters(2000)])
print(f"{report['times_smaller']:.2f} times smaller, {report['points_lost']:.1f} points lost")
# Expected output:
# 3.92 times smaller, ... points lost


# %%
#| test
def test_the_account():
    sure, wrong = Linear(2, 2), Linear(2, 2)
    for model, bias in ((sure, [0, 5]), (wrong, [5, 0])):
        model.load_state_dict({"weight": np.zeros((2, 2)), "bias": bias})
    report = quantization_report(sure, wrong, [(np.zeros((4, 2)), np.array([1, 1, 1, 0]))])
    assert (report["bytes"], report["times_smaller"], report["points_lost"]) == (24, 1, 50)
    assert fp16_state(sure)["bias"].dtype == np.float16


if __name__ == "__main__":
    test_the_account()

# %% [markdown]
# ## Systems: bits, channels, and what integers cost here
#
# Each bit less doubles the distance of the marks, and so the error. And is int8 faster? Measure.

# %%
from timeit import repeat

weight = np.random.default_rng(0).standard_normal((64, 500)) * np.logspace(-2, 0, 64)[:, None]
for bits in (8, 6, 4):
    lost = [quantize(weight, axis=axis, symmetric=True, bits=bits) for axis in (None, 0)]
    lost = [np.abs(dequantize(q).data - weight).mean(1) / np.abs(weight).mean(1) for q in lost]
    print(f"{bits} bits: one scale {lost[0].mean():.3f}, per channel {lost[1].mean():.3f}")
layer, seen = Linear(1024, 1024), Calibrator()
seen.observe([-4.0, 4.0])
small = QuantizedLinear.from_float(layer, seen)
for rows in (1, 256):
    x = randn(rows, 1024)
    times = [min(repeat(lambda f=f: f(x), number=1)) * 1e3 for f in (layer, small)]  # noqa: B023
    print(f"{rows} rows: float32 {times[0]:.2f} ms, int8 {times[1]:.2f} ms")
# Expected output:
# 8 bits: one scale 0.178, per channel 0.008
# 6 bits: one scale 0.464, per channel 0.033
# 4 bits: one scale 0.758, per channel 0.146
# 1 rows: float32 ... ms, int8 ... ms
# 256 rows: float32 ... ms, int8 ... ms

# %% [markdown]
# **Memory is saved, time is not.** On one thread of an AMD EPYC (`scripts/bench/bench_int8.py`), a
# layer of 1024 × 1024 took 1.04 times float32's time for 256 rows, and for a row alone 11 times,
# since a million weights are cast to float32 to be used once. NumPy's own integers would take 20
# times as long as our blocks.
#
# ## Pitfalls
#
# - Cast before clip: 130 becomes −126. Sums in int8 or int16: 127 · 127 alone is 16,129.
# - Padding a coded image with 0. The code of zero is the zero point.
# - A zero point that is not a whole code: then zero has an error, in every padded pixel.
# - Calibrating in training mode; or on the test set, which then is no test.
#
# ## What PyTorch does differently, and why
#
# - Its kernels (FBGEMM, oneDNN) use instructions that multiply and add four bytes at once, so int8
#   is quicker there; and they code their results again, so that codes go from layer to layer.
# - It can train with rounding in the loop, which saves what calibration alone cannot.
#
# ## Sources
#
# Jacob et al. 2018, "Quantization and training of neural networks for efficient
# integer-arithmetic-only inference", sections 2 and 3 · Krishnamoorthi 2018 (per channel against
# per tensor) · Nagel et al. 2021, "A white paper on neural network quantization".
#
# ## Reflect (150–300 words)
#
# A model with 3×3 convolutions of 16 channels and one wide linear layer must fit into a quarter of
# its memory. Which layers would you quantize, and what does your account say about each? Your
# measurements show int8 arithmetic in NumPy; when is it quicker than float32 there, when not, and
# what of that would change on a machine with byte instructions? How would you choose the
# calibration data, and how would you notice later that they no longer fit? Write the answer to
# `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 15`
