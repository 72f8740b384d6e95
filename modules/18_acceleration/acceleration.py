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
# # Module 18: Acceleration
#
# The same mathematics, faster: first you measure what this machine can do, then you move fewer
# bytes.
#
# - **You build** a roofline of the machine, a blocked matrix product, a convolution by columns and
#   one without, fused and in-place arithmetic, batches and threads, and `accelerate(model)`, which
#   rewrites a trained network.
# - **You need** 09 (`Conv2d`, `BatchNorm2d`, `windows`) and what it builds on. Kernels take and
#   give plain NumPy arrays here; only `accelerate` deals with modules.
# - **Time**: about four hours.
#
# A faster kernel must give the same numbers to 1e-5, `same` checks it; and a claim is a ratio to
# the naive twin, measured on this machine: `best_seconds` is the clock.

# %%
#| default_exp core.acceleration

# %%
#| export
import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from tinytorch.core.layers import Dropout, Linear, Module, Sequential
from tinytorch.core.spatial import BatchNorm2d, Conv2d, convolution, output_sizes, windows
from tinytorch.core.tensor import Tensor
from tinytorch.imaging import check_convolution, geometry, pad
from tinytorch.threads import blas, in_parts
from tinytorch.tree import fit_features
from tinytorch.utils import speed as given
from tinytorch.utils.speed import best_seconds, checked_count, same

Array = np.ndarray

# %% [markdown]
# ## Step 1: How fast could it be?
#
# A machine does so many operations a second (its *peak*) and moves so many bytes a second (its
# *bandwidth*). A kernel needs both, and the slower one decides. Its *intensity* is its operations
# for each byte:
#
# $$\text{attainable} = \min(\text{peak},\ \text{bandwidth} \cdot \text{intensity})$$
#
# As a curve over the intensity this is a roof: a slope, then flat. They meet at the *ridge*, peak /
# bandwidth. Left of it a kernel is **memory bound**, and only moving fewer bytes helps; right of it
# **compute bound**.
#
# *Worked example*, 100 GFLOP/s and 20 GB/s: ridge 5. Adding two arrays of float32: 1 operation, 12
# bytes, intensity 1/12: 1.7 GFLOP/s at best, 1.7% of the peak, in any language. A product of two
# 512 × 512 matrices: 2·512³ operations, 3·512²·4 bytes, intensity 85: it may reach the peak.
#
# To measure: the peak with a large `a @ b`, 2n³ operations; the bandwidth with a *triad*, a = b +
# 3c, on arrays larger than the caches. In NumPy, `multiply` and then `add`, both told to write to
# `a` (`out=`): five passes over 4 bytes a number.


# %%
#| export
class Roofline(NamedTuple):
    """What a machine can do: operations a second, and bytes a second."""

    peak: float
    bandwidth: float

    @property
    def ridge(self) -> float:
        """The intensity, in operations for each byte, at which both limits are equal."""
        ### BEGIN SOLUTION
        return self.peak / self.bandwidth
        ### END SOLUTION

    def attainable(self, flops: float, nbytes: float) -> float:
        """Operations a second that a kernel with so many operations and bytes can reach."""
        ### BEGIN SOLUTION
        return min(self.peak, self.bandwidth * flops / nbytes)
        ### END SOLUTION

    def bound(self, flops: float, nbytes: float) -> str:
        """Return "memory" for an intensity left of the ridge, "compute" otherwise."""
        ### BEGIN SOLUTION
        return "memory" if flops / nbytes < self.ridge else "compute"
        ### END SOLUTION


def measure_roofline(size: int = 768, length: int = 1 << 23) -> Roofline:
    """Measure this machine: a product of `size` × `size`, a triad of `length` numbers, float32."""
    rng = np.random.default_rng(0)
    left, right = rng.random((2, checked_count("size", size), size), np.float32)
    a, b, c = np.ones((3, checked_count("length", length)), np.float32)
    ### BEGIN SOLUTION
    product = best_seconds(lambda: left @ right)

    def triad() -> None:
        np.multiply(c, 3, out=a)
        np.add(a, b, out=a)

    return Roofline(2 * size**3 / product, 5 * a.nbytes / best_seconds(triad))
    ### END SOLUTION


# %%
roof = Roofline(peak=100e9, bandwidth=20e9)
print(roof.ridge, f"{roof.attainable(1, 12) / 1e9:.2f}", roof.bound(1, 12))
print(roof.bound(2 * 512**3, 3 * 512**2 * 4))
here = measure_roofline()
print(f"here: {here.peak / 1e9:.0f} GFLOP/s, {here.bandwidth / 1e9:.0f} GB/s, {here.ridge:.1f}")
# Expected output:
# 5.0 1.67 memory
# compute
# here: ... GFLOP/s, ... GB/s, ...


# %%
#| test
def test_the_roof_has_a_slope_and_a_flat_part():
    roof = Roofline(peak=60.0, bandwidth=10.0)
    assert [roof.attainable(flops, 2) for flops in (2, 12, 100)] == [10, 60, 60]
    assert [roof.bound(flops, 2) for flops in (2, 12, 100)] == ["memory", "compute", "compute"]


if __name__ == "__main__":
    test_the_roof_has_a_slope_and_a_flat_part()

# %% [markdown]
# ## Step 2: A product in blocks
#
# n³ multiply-adds on 3n² numbers: every number is used n times. But does it stay in the cache until
# then? Written as a sum of n rank-one updates, `out += a[:, k:k+1] * b[k]`, the whole of `out` is
# read and written n times: about 2n³ numbers moved. With *blocks* of s × s three tiles stay in the
# cache, and each number fetched serves s times: 2n³/s. The same operations, in another order.
#
#     out[i:i+s, j:j+s] += a[i:i+s, k:k+s] @ b[k:k+s, j:j+s]      for all i, j, k in steps of s
#
# Slices end at the edge by themselves, so n need not be a multiple of s. *Worked example*, n = 512,
# s = 64: 268 million numbers moved become 4 million, with three tiles of 16 KB each. A single block
# of 512 is `@` itself: BLAS has blocks of its own, for each level of the cache.


# %%
#| export
def matmul_naive(a: Array, b: Array) -> Array:
    """Multiply (n, k) and (k, m) by the definition: three loops over numbers."""
    given.checked_matrices(a, b)
    out = np.zeros((a.shape[0], b.shape[1]), np.result_type(a, b))
    ### BEGIN SOLUTION
    for i, j in np.ndindex(out.shape):
        for k in range(a.shape[1]):
            out[i, j] += a[i, k] * b[k, j]
    return out
    ### END SOLUTION


def matmul_blocked(a: Array, b: Array, block: int = 64) -> Array:
    """Multiply (n, k) and (k, m) tile by tile; `@` multiplies two tiles of at most block²."""
    given.checked_matrices(a, b)
    checked_count("block", block)
    out = np.zeros((a.shape[0], b.shape[1]), np.result_type(a, b))
    ### BEGIN SOLUTION
    for i in range(0, a.shape[0], block):
        for j in range(0, b.shape[1], block):
            tile = out[i : i + block, j : j + block]  # a view: += writes into out
            for k in range(0, a.shape[1], block):
                tile += a[i : i + block, k : k + block] @ b[k : k + block, j : j + block]
    return out
    ### END SOLUTION


# %%
rng = np.random.default_rng(0)
a, b = rng.random((2, 48, 48), np.float32)
slow, quick = (best_seconds(f, a, b, repeat=2) for f in (matmul_naive, matmul_blocked))
print(f"loops / blocks: {slow / quick:.0f} times", same(matmul_naive(a, b), matmul_blocked(a, b)))
a, b = rng.random((2, 512, 512), np.float32)
sweeps = best_seconds(given.matmul_sweeps, a, b, repeat=2)
for block in (16, 64, 512):
    ratio = sweeps / best_seconds(matmul_blocked, a, b, block, repeat=2)
    print(f"sweeps / {block}: {ratio:.1f} times", same(a @ b, matmul_blocked(a, b, block)))
# Expected output:
# loops / blocks: ... times True
# sweeps / 16: ... times True
# sweeps / 64: ... times True
# sweeps / 512: ... times True


# %%
#| test
def test_blocks_of_any_size_give_the_product():
    rng = np.random.default_rng(0)
    for n, k, m, block in ((5, 7, 3, 2), (6, 1, 9, 64)):
        a, b = rng.standard_normal((n, k)), rng.standard_normal((k, m))
        np.testing.assert_allclose(matmul_naive(a, b), a @ b)
        np.testing.assert_allclose(matmul_blocked(a, b, block), a @ b)


if __name__ == "__main__":
    test_blocks_of_any_size_give_the_product()

# %% [markdown]
# ## Step 3: Columns, or no columns
#
# Module 09 wrote each window as a column and multiplied once (*im2col*). One large product is what
# BLAS is best at, but the columns hold each pixel up to kh·kw times. The *direct* way needs none:
# tap (i, j) of the kernel sees `windows(...)[:, :, i, j]`, a strided view of shape (N, C, OH, OW),
# and contributes a product over the channels alone; kh·kw smaller products are added up.
#
#     3 × 3, padded, on 64 channels of 32 × 32:   input 262 KB,   columns 2359 KB,   a tap 262 KB
#
# Both move and multiply the same numbers (`tensordot` copies the view too, but one tap at a time);
# which is faster depends on the sizes. So measure. `np.tensordot(w, v, axes=(1, 1))` sums over
# axis 1 of both: (F, C) and (N, C, OH, OW) give (F, N, OH, OW). `windows` does not pad: `pad(x,
# geo)` (given) comes first.


# %%
#| export
def im2col(x: Array, geo: Any) -> Array:
    """Pad images (N, C, H, W), copy all windows into columns, (N, C·kh·kw, OH·OW)."""
    ### BEGIN SOLUTION
    view = windows(pad(x, geo), geo)  # (N, C, kh, kw, OH, OW)
    return view.reshape(len(x), -1, view.shape[4] * view.shape[5])
    ### END SOLUTION


def conv2d_im2col(x: Array, weight: Array, bias: Array, stride: Any = 1, padding: Any = 0) -> Array:
    """Convolve (N, C, H, W) with (F, C, kh, kw) by one product of each image's columns."""
    geo = geometry(weight.shape[2:], stride, padding)
    check_convolution(x, weight, bias, 1)
    ### BEGIN SOLUTION
    out = weight.reshape(len(weight), -1) @ im2col(x, geo)  # (N, F, OH·OW)
    out += bias[:, None]
    return out.reshape(len(x), len(weight), *output_sizes(x.shape, geo))
    ### END SOLUTION


def conv2d_direct(x: Array, weight: Array, bias: Array, stride: Any = 1, padding: Any = 0) -> Array:
    """Convolve without columns: a product over the channels for each tap of the kernel."""
    geo = geometry(weight.shape[2:], stride, padding)
    check_convolution(x, weight, bias, 1)
    ### BEGIN SOLUTION
    view = windows(pad(x, geo), geo)
    out = np.zeros((len(weight), len(x), *view.shape[4:]), np.result_type(x, weight))
    for i, j in np.ndindex(*geo.kernel):
        out += np.tensordot(weight[:, :, i, j], view[:, :, i, j], axes=(1, 1))
    return out.swapaxes(0, 1) + bias[:, None, None]
    ### END SOLUTION


# %%
from tinytorch.core.spatial import conv2d_naive

for channels, size, kernel in ((4, 8, 3), (64, 16, 3), (64, 16, 1), (3, 32, 7)):
    x, b = rng.random((2, channels, size, size), np.float32), np.zeros(6, np.float32)
    w = rng.random((6, channels, kernel, kernel), np.float32)
    loops = best_seconds(conv2d_naive, x, w, repeat=1)
    one, other = (best_seconds(f, x, w, b) for f in (conv2d_im2col, conv2d_direct))
    agree, extra = same(conv2d_im2col(x, w, b), conv2d_direct(x, w, b)), im2col(x, geometry(kernel))
    print(f"{channels} channels, kernel {kernel}: loops / im2col {loops / one:.0f}", end=", ")
    print(f"direct / im2col {other / one:.2f}, columns {extra.nbytes / x.nbytes:.1f}", agree)
# Expected output:
# 4 channels, kernel 3: loops / im2col ..., direct / im2col ..., columns 5.1 True
# 64 channels, kernel 3: loops / im2col ..., direct / im2col ..., columns 6.9 True
# 64 channels, kernel 1: loops / im2col ..., direct / im2col ..., columns 1.0 True
# 3 channels, kernel 7: loops / im2col ..., direct / im2col ..., columns 32.3 True


# %%
#| test
def test_both_convolutions_are_the_definition():
    from tinytorch.core.spatial import conv2d_naive

    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s) for s in ((2, 3, 7, 6), (4, 3, 3, 2), (4,)))
    for settings in ((1, 0), ((1, 3), (2, 0))):
        wanted = conv2d_naive(x, w, b, *settings).numpy()
        np.testing.assert_allclose(conv2d_im2col(x, w, b, *settings), wanted)
        np.testing.assert_allclose(conv2d_direct(x, w, b, *settings), wanted)


if __name__ == "__main__":
    test_both_convolutions_are_the_definition()

# %% [markdown]
# ## Step 4: Fewer passes, no new memory
#
# `np.maximum(x * scale + shift, 0)`, a batch normalisation with ReLU, makes three arrays. Each pass
# reads and writes all numbers, and fresh memory must first be mapped by the system, page by page.
#
# - **In place**: write each result where the last one was: NumPy's functions take `out=`. One
#   array in the place of three.
# - **Fused**: do all three operations on a part that fits in the cache before going to the next.
#   Then memory is read once and written once: 8 bytes a number, not 24.
#
# Given: `in_parts` takes a function, `x` and `out`, and calls it for parts of both along the first
# axis that fit in the cache. Three operations for 8 bytes are still far left of the ridge.


# %%
#| export
def scale_shift_relu(x: Array, scale: Array, shift: Array, out: Array | None = None) -> Array:
    """Compute max(x * scale + shift, 0) in one pass, into `out` (a new array, or x itself).

    scale and shift broadcast against x[0], such as (C, 1, 1) for x (N, C, H, W).
    """
    out = given.checked_out(out, x.shape, np.result_type(x, scale, shift))

    ### BEGIN SOLUTION
    def work(x: Array, out: Array) -> None:
        np.multiply(x, scale, out=out)
        np.add(out, shift, out=out)
        np.maximum(out, 0, out=out)

    in_parts(work, x, out)
    return out
    ### END SOLUTION


def linear_relu(
    x: Array, weight: Array, bias: Array | None, relu: bool = True, out: Array | None = None
) -> Array:
    """Compute x @ weight.T + bias, with ReLU if asked for, all in the product's array, `out`."""
    shape = (*x.shape[:-1], len(weight))
    out = given.checked_out(out, shape, np.result_type(x, weight))
    ### BEGIN SOLUTION
    np.matmul(x, weight.T, out=out)
    if bias is not None:
        out += bias
    if relu:
        np.maximum(out, 0, out=out)
    return out
    ### END SOLUTION


# %%
x, out = rng.random((64, 64, 32, 32), np.float32), np.empty((64, 64, 32, 32), np.float32)
scale, shift = rng.random((64, 1, 1), np.float32), rng.random((64, 1, 1), np.float32) - 1
naive = lambda: np.maximum(x * scale + shift, 0)  # noqa: E731
times = [best_seconds(f) for f in (naive, lambda: scale_shift_relu(x, scale, shift, out))]
print(f"three arrays / one pass: {times[0] / times[1]:.1f} times, {same(out, naive())}")
print(f"of the roof: {3 * x.size / times[1] / here.attainable(3, 8):.2f}", here.bound(3, 8))
# Expected output:
# three arrays / one pass: ... times, True
# of the roof: ... memory


# %%
#| test
def test_fused_arithmetic_equals_its_naive_twin():
    rng = np.random.default_rng(0)
    x, scale, shift = (rng.standard_normal(s) for s in ((40, 3, 64, 64), (3, 1, 1), (3, 1, 1)))
    wanted = np.maximum(x * scale + shift, 0)
    assert scale_shift_relu(x, scale, shift, out=x) is x, "in place"
    np.testing.assert_allclose(x, wanted)
    x, w, b = (rng.standard_normal(s) for s in ((2, 5, 4), (3, 4), (3,)))
    np.testing.assert_allclose(linear_relu(x, w, b), np.maximum(x @ w.T + b, 0))


if __name__ == "__main__":
    test_fused_arithmetic_equals_its_naive_twin()

# %% [markdown]
# ## Step 5: Many at once: batches and threads
#
# One example reads every weight for itself; a batch reads it once (module 03). One example on a
# layer (out, in): 2·in·out operations on 4·in·out bytes, intensity ½. A batch of B: B/2, until the
# ridge is passed. Very large batches leave the cache again, so long inputs go in batches of a
# bearable size.
#
# *Threads*: NumPy lets go of Python's lock while it computes, so several threads work at once. Not
# for memory-bound kernels, if one core already uses all of the bandwidth; and not inside a matrix
# product whose BLAS has threads already: `with blas.single():` keeps it to one meanwhile.


# %%
#| export
def in_batches(function: Callable[[Array], Array], x: Array, size: int) -> Array:
    """Call a function on runs of at most `size` rows of x, in order; join the results."""
    checked_count("size", size)
    ### BEGIN SOLUTION
    starts = range(0, max(len(x), 1), size)
    return np.concatenate([function(x[i : i + size]) for i in starts])
    ### END SOLUTION


def in_workers(function: Callable[[Array], Array], x: Array, workers: int) -> Array:
    """Call a function on a share (`np.array_split`) of the rows in each thread; join in order.

    With fewer rows than workers there is a thread for each row: no share is empty.
    """
    checked_count("workers", workers)
    ### BEGIN SOLUTION
    shares = np.array_split(x, min(workers, max(len(x), 1)))
    with ThreadPoolExecutor(len(shares)) as pool:
        return np.concatenate(list(pool.map(function, shares)))
    ### END SOLUTION


# %%
import contextlib

x, w = rng.random((256, 512), np.float32), rng.random((512, 512), np.float32)
layer = lambda rows: np.tanh(rows @ w)  # noqa: E731
alone = best_seconds(in_batches, layer, x, 1)
for size in (8, 64, 256):
    ratio = alone / best_seconds(in_batches, layer, x, size)
    print(f"batches of {size}: {ratio:.1f} times, {same(in_batches(layer, x, size), layer(x))}")
with blas.single() if blas.set else contextlib.nullcontext():
    one, two = (best_seconds(in_workers, layer, x, workers) for workers in (1, 2))
print(f"two threads: {one / two:.1f} times, {same(in_workers(layer, x, 2), layer(x))}")
# Expected output:
# batches of 8: ... times, True
# batches of 64: ... times, True
# batches of 256: ... times, True
# two threads: ... times, True


# %%
#| test
def test_parts_come_back_in_order():
    x = np.arange(14.0).reshape(7, 2)
    for run in (in_batches, in_workers):
        for number in (1, 3, 100):
            np.testing.assert_array_equal(run(lambda rows: rows * 2, x, number), x * 2)


if __name__ == "__main__":
    test_parts_come_back_in_order()

# %% [markdown]
# ## Step 6: Fold what does not change
#
# In evaluation a batch normalisation multiplies each channel by γ/√(σ² + ε) and adds a number. So
# does a convolution, if its filters are multiplied beforehand: one layer, the other is gone.
#
# $$s = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}, \qquad w' = s\,w, \qquad
# b' = s\,(b - \mu) + \beta$$
#
# *Worked example*: w = 3, b = 1, μ = 2, σ² + ε = 4, γ = 1, β = 5: s = ½, w' = 1.5, b' = 4.5. For
# x = 2 both ways give 7.5.
#
# `FusedLinear` and `FusedConv2d` are for evaluation: no graph, ReLU in place. The forward rule of
# the convolution is `convolution.forward(x, weight, bias, geo=...)`, on arrays, bias 0.0 for none.


# %%
#| export
def fold_batchnorm(conv: Conv2d, norm: BatchNorm2d) -> Conv2d:
    """Return a convolution that does what `conv` and then `norm`, in evaluation, do."""
    given.check_foldable(conv, norm)
    folded = copy.deepcopy(conv)
    ones, zeros = np.ones(norm.num_features, np.float32), np.zeros(norm.num_features, np.float32)
    gamma, beta = (ones, zeros) if norm.weight is None else (norm.weight.data, norm.bias.data)
    bias = zeros if conv.bias is None else conv.bias.data
    ### BEGIN SOLUTION
    scale = gamma / np.sqrt(norm.running_var.data + norm.eps)
    weight = conv.weight.data * scale[:, None, None, None]
    bias = scale * (bias - norm.running_mean.data) + beta
    ### END SOLUTION
    folded.weight = given.parameter_like(conv.weight, weight)
    folded.bias = given.parameter_like(conv.weight, bias)
    return folded


class FusedLinear(Module):
    """A Linear, and a ReLU if `relu`, in one array; for evaluation."""

    def __init__(self, layer: Linear, relu: bool = False):
        super().__init__()
        self.weight, self.bias, self.relu = layer.weight, layer.bias, relu
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features), by `linear_relu`, and record nothing."""
        if not x.ndim or x.shape[-1] != self.in_features:
            x = fit_features(x, self.in_features)
        ### BEGIN SOLUTION
        bias = None if self.bias is None else self.bias.data
        return Tensor._wrap(linear_relu(x.data, self.weight.data, bias, self.relu))
        ### END SOLUTION


class FusedConv2d(Module):
    """A Conv2d, and a ReLU in the array of its result if `relu`; for evaluation."""

    def __init__(self, layer: Conv2d, relu: bool = False):
        super().__init__()
        self.weight, self.bias, self.relu = layer.weight, layer.bias, relu
        self.geometry, self.out_channels = layer.geometry, layer.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W), and record nothing."""
        check_convolution(x, self.weight, self.bias, self.geometry.groups)
        bias = 0.0 if self.bias is None else self.bias.data
        ### BEGIN SOLUTION
        out = convolution.forward(x.data, self.weight.data, bias, geo=self.geometry)
        return Tensor._wrap(np.maximum(out, 0, out=out) if self.relu else out)
        ### END SOLUTION


# %%
conv, norm = Conv2d(1, 1, 1), BatchNorm2d(1, eps=0.0).eval()
conv.load_state_dict({"weight": [[[[3.0]]]], "bias": [1.0]})
norm.running_mean.data[:], norm.running_var.data[:], norm.bias.data[:] = 2, 4, 5
folded, x = fold_batchnorm(conv, norm), Tensor([[[[2.0]]]])
print(folded.weight.item(), folded.bias.item(), folded(x).item(), norm(conv(x)).item())
# Expected output:
# 1.5 4.5 7.5 7.5


# %%
#| test
def random_norm(channels):
    """Make a BatchNorm2d in evaluation, with statistics as after training."""
    rng, norm = np.random.default_rng(channels), BatchNorm2d(channels).eval()
    norm.running_mean.data, norm.running_var.data = rng.random((2, channels), np.float32) + 0.5
    norm.weight.data, norm.bias.data = rng.standard_normal((2, channels)).astype(np.float32)
    return norm


def test_folded_layers_do_what_both_did():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype(np.float32))
    conv, norm = Conv2d(4, 6, 3, stride=2, padding=1, groups=2), random_norm(6)
    wanted, folded = norm(conv(x)).numpy(), fold_batchnorm(conv, norm)
    np.testing.assert_allclose(folded(x).numpy(), wanted, atol=1e-5)
    fused = FusedConv2d(folded, relu=True)
    np.testing.assert_allclose(fused(x).numpy(), np.maximum(wanted, 0), atol=1e-5)
    layer = Linear(5, 3)
    np.testing.assert_allclose(FusedLinear(layer)(x).numpy(), layer(x).numpy(), atol=1e-6)


if __name__ == "__main__":
    test_folded_layers_do_what_both_did()

# %% [markdown]
# ## Step 7: `accelerate(model)`
#
# A small compiler: it reads a chain and writes a shorter one that means the same.
#
#     Conv2d  BatchNorm2d  ReLU  Dropout  Flatten  Linear  ReLU  Linear
#     FusedConv2d(relu)                   Flatten  FusedLinear(relu)  FusedLinear
#
# Go through the layers, and look at the last one already written. A ReLU after a fused layer
# becomes its flag. A BatchNorm2d after a FusedConv2d **without** ReLU is folded into it; after one
# with ReLU it must stay: max(·, 0) stands between them. Dropout does nothing now, and goes.
#
# Only a model in evaluation is taken, and it stays as it is: the result is new, and not trainable.


# %%
#| export
def fuse_chain(layers: list[Any]) -> list[Any]:
    """Write a chain of layers shorter; each other Module becomes `rewritten(module)`."""
    result: list[Any] = []
    for layer in layers:
        last = result[-1] if result else None
        ### BEGIN SOLUTION
        if isinstance(layer, Dropout):
            continue
        if given.is_relu(layer) and type(last) in (FusedLinear, FusedConv2d):
            result[-1] = copy.copy(last)
            result[-1].relu = True
        elif given.is_fixed_norm(layer) and type(last) is FusedConv2d and not last.relu:
            result[-1] = fold_batchnorm(last, layer)
        else:
            result.append(rewritten(layer) if isinstance(layer, Module) else layer)
        ### END SOLUTION
    return result


def rewritten(module: Module) -> Module:
    """Return the faster form of a module that is our own copy."""
    if type(module) in (Linear, Conv2d):
        return FusedLinear(module) if type(module) is Linear else FusedConv2d(module)
    if isinstance(module, Sequential) and type(module).forward is Sequential.forward:
        return Sequential(fuse_chain(list(module)))
    for name, child in list(module.named_children()):
        setattr(module, name, rewritten(child))
    return module


def accelerate(model: Module) -> Module:
    """Return a faster copy of a model in evaluation, equal to 1e-5; it cannot be trained."""
    given.check_evaluation(model)
    return given.frozen(rewritten(copy.deepcopy(model))).eval()


# %%
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Flatten
from tinytorch.core.spatial import MaxPool2d
from tinytorch.core.tensor import randn

layers = [Conv2d(3, 16, 3, padding=1), BatchNorm2d(16), ReLU(), Conv2d(16, 16, 3, padding=1)]
layers += [BatchNorm2d(16), ReLU(), MaxPool2d(2), Dropout(0.1), Flatten()]
model = Sequential(*layers, Linear(4096, 64), ReLU(), Linear(64, 10)).eval()
model(randn(8, 3, 32, 32))
fast, x = accelerate(model), randn(16, 3, 32, 32)
print(len(model), "layers become", *[type(layer).__name__ for layer in fast])
gain = best_seconds(model, x) / best_seconds(fast, x)
print(f"{gain:.2f} times as fast", same(fast(x), model(x)))
# Expected output:
# 12 layers become FusedConv2d FusedConv2d MaxPool2d Flatten FusedLinear FusedLinear
# ... times as fast True


# %%
#| test
from tinytorch.core.activations import ReLU
from tinytorch.core.tensor import randn


def test_a_chain_is_shorter_and_means_the_same():
    inner = Sequential(Conv2d(4, 4, 1, bias=False), ReLU(), random_norm(4), ReLU())
    model = Sequential(Conv2d(3, 4, 3), random_norm(4), Dropout(0.5), inner).eval()
    fast, x = accelerate(model), randn(2, 3, 6, 6)
    np.testing.assert_allclose(fast(x).numpy(), model(x).numpy(), atol=1e-5)
    assert [type(p).__name__ for p in fast] == ["FusedConv2d", "Sequential"]
    assert [type(p).__name__ for p in fast[1]] == ["FusedConv2d", "BatchNorm2d", "ReLU"]


if __name__ == "__main__":
    test_a_chain_is_shorter_and_means_the_same()

# %% [markdown]
# ## Systems: a network under its roof
#
# Which of its layers could still be faster? Count operations and bytes (input, weights, output) of
# each, and compare the time with what the roofline allows.

# %%
x = randn(16, 3, 32, 32)
for layer in fast:
    y = layer(x)
    if (weight := getattr(layer, "weight", None)) is not None:
        flops = 2 * weight.size * y.size // len(layer.bias)
        nbytes = x.nbytes + weight.nbytes + y.nbytes
        share = flops / here.attainable(flops, nbytes) / best_seconds(layer, x)
        print(f"{type(layer).__name__}: {flops / nbytes:.1f} a byte, {share:.0%} of the roof")
    x = y
# Expected output:
# FusedConv2d: 11.4 a byte, ...% of the roof
# FusedConv2d: 35.8 a byte, ...% of the roof
# FusedLinear: 6.4 a byte, ...% of the roof
# FusedLinear: 2.8 a byte, ...% of the roof

# %% [markdown]
# The first linear layer reads 1 MB of weights for 16 images: a larger batch, not a better kernel,
# would help it. More than 100% is possible: the roof was measured in main memory, while these
# arrays may come from the cache. And mind what the roof is made of: the product uses all threads of
# BLAS, the triad only one, so with several cores the ridge is drawn too far to the right for a
# kernel in threads.
#
# ## Pitfalls
#
# - Timing the first call: it maps memory, starts threads and fills caches. Warm up, take the best.
# - Writing into an input that someone else still needs, or that the graph has kept.
# - Folding a normalisation of the batch: only running statistics are fixed.
# - Threads inside threads: two workers, each in a BLAS with two threads, fight for the cores.
#
# ## What PyTorch does differently, and why
#
# - `torch.compile` traces a model and *generates* fused kernels; ours are written beforehand.
# - cuDNN chooses among direct, im2col, Winograd and FFT convolutions by shape, or measures them
#   (`torch.backends.cudnn.benchmark = True`), as step 3 suggests.
#
# ## Sources
#
# Williams, Waterman and Patterson 2009 (roofline) · McCalpin 1995 (triad) · Goto and van de Geijn
# 2008 (blocks) · Chellapilla, Puri and Simard 2006 (im2col) · Ioffe and Szegedy 2015.
#
# ## Reflection
#
# A colleague says: "Our model is slow, let us rewrite it in C." In 150–300 words in
# `modules/18_acceleration/reflection.md`: which figures of yours do you show first? Which layers
# could a perfect kernel make faster on this machine, by how much at most, and which could not?
#
# ## Checkpoint
#
#     tito checkpoint run 18
