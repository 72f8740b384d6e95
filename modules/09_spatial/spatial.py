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
# # Module 09: Spatial
#
# A convolution looks at an image through a small window, with the same weights everywhere.
#
# **You build** the output size, a convolution in loops that anyone can check, a fast one made of
# matrix products with both its gradients, max and average pooling, batch normalisation, and the
# layers `Conv2d`, `MaxPool2d`, `AvgPool2d`, `AdaptiveAvgPool2d`, `GlobalAvgPool2d`, `BatchNorm2d`.
# **You need** 01 (`primitive`, `apply`), 03 (`Module`), 05 (`register_vjp`), 06 to train.
# **Time**: six to eight hours.
#
# Images are (N, C, H, W): batch, channels, height, width. A `Linear` from a 32×32 colour image to
# 32 maps of the same size would need 100 million weights, and would have to learn an edge anew at
# every place. A 3×3 convolution needs 896, and knows the edge everywhere.

# %%
#| default_exp core.spatial

# %%
#| export
import math
from typing import Any

import numpy as np

from tinytorch.core.autograd import register_vjp
from tinytorch.core.layers import Module, Parameter, constant_, uniform_
from tinytorch.core.tensor import Shape, Tensor, apply, primitive
from tinytorch.imaging import (
    Geometry,
    Scratch,
    adaptive_average,
    adaptive_average_gradient,
    average_divisor,
    blocks,
    channel_scale,
    channel_sums,
    channels_first,
    check_channels,
    check_convolution,
    check_features,
    check_images,
    columns,
    geometry,
    inside,
    pad,
    pooling_geometry,
    settings_of,
)
from tinytorch.threads import in_parts, in_threads

Array = np.ndarray

# %% [markdown]
# ## Step 1: How large is the output?
#
# Along one axis: `size` pixels, `padding` zeros at *both* ends, a window of `kernel` taps that lie
# `dilation` pixels apart, moved by `stride`. The window spans $d (k - 1) + 1$ pixels. Its first
# place is 0, and it moves while it still fits:
#
# $$\text{out} = \left\lfloor \frac{n + 2p - d(k - 1) - 1}{s} \right\rfloor + 1$$
#
# *Worked example*: n = 7, k = 3, s = 2, p = 0: places 0, 2, 4, so 3. With p = 1: ⌊6/2⌋ + 1 = 4. A
# kernel of 3 with padding 1 keeps the size: remember that one.


# %%
#| export
def output_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Count the places of a window along one axis; all lengths in pixels.

    Raises:
        ValueError: If the window does not fit once: names its span, the padded size, the remedy.
    """
    ### BEGIN SOLUTION
    span, room = dilation * (kernel - 1) + 1, size + 2 * padding
    if span > room:
        raise ValueError(
            f"a kernel that spans {span} pixels does not fit into {room} (an image of {size} with "
            f"padding {padding}); use a smaller kernel or more padding"
        )
    return (room - span) // stride + 1
    ### END SOLUTION


def output_sizes(shape: Shape, geo: Geometry) -> tuple[int, int]:
    """Apply `output_size` to the last two axes."""
    rows, columns = zip(shape[-2:], geo.kernel, geo.stride, geo.padding, geo.dilation, strict=True)
    return output_size(*rows), output_size(*columns)


# %%
print(output_size(7, 3, stride=2), output_size(7, 3, 2, 1), output_size(32, 3, padding=1))
# Expected output:
# 3 4 32


# %%
#| test
def test_output_size_counts_the_places():
    for size, kernel, stride, padding, dilation in np.ndindex(9, 4, 3, 3, 3):
        kernel, stride, dilation = kernel + 1, stride + 1, dilation + 1
        span, room = dilation * (kernel - 1) + 1, size + 2 * padding
        if places := len(range(0, room - span + 1, stride)):
            assert output_size(size, kernel, stride, padding, dilation) == places
    np.testing.assert_raises_regex(ValueError, "7 pixels .* 5 ", output_size, 3, 4, 1, 1, 2)


if __name__ == "__main__":
    test_output_size_counts_the_places()

# %% [markdown]
# ## Step 2: The definition, in loops
#
# $$y_{n,f,u,v} = b_f + \sum_{c,i,j} w_{f,c,i,j}\; x_{n,\,c,\,s u + d i,\,s v + d j}$$
#
# with x already padded, and s and d for each axis on its own. This is *cross-correlation*: a
# convolution in mathematics would flip the kernel. As the weights are learned, nobody does.
#
# *Worked example*: the rows `[1 2 4 7]` under the kernel `[-1 1]` give the differences `[1 2 3]`.
#
# With `groups` = G, channels and filters are cut into G equal runs; filter f sees only the channels
# of its own run. So w has shape (F, C / G, kh, kw). G = C is *depthwise*: a filter per channel.
#
# Cost: N · F · OH · OW · (C / G) · kh · kw multiply-adds, and in Python about 1 µs for each window.


# %%
#| export
def conv2d_loops(x: Array, weight: Array, bias: Array | float, geo: Geometry) -> Array:
    """Convolve by the definition: four loops, and one sum of products in the innermost.

    Args:
        x: (N, C, H, W).
        weight: (F, C / groups, kh, kw).
        bias: (F,), or the number 0.
    """
    ### BEGIN SOLUTION
    (sh, sw), (ph, pw), (dh, dw) = geo.stride, geo.padding, geo.dilation
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    filters, channels, kh, kw = weight.shape
    out = np.empty((len(x), filters, *output_sizes(x.shape, geo)), np.result_type(x, weight))
    for n, f, u, v in np.ndindex(out.shape):
        first = f // (filters // geo.groups) * channels
        rows = slice(u * sh, u * sh + dh * (kh - 1) + 1, dh)
        columns = slice(v * sw, v * sw + dw * (kw - 1) + 1, dw)
        window = padded[n, first : first + channels, rows, columns]  # (C / G, kh, kw)
        out[n, f, u, v] = (window * weight[f]).sum()
    return out + np.reshape(bias, (-1, 1, 1)).astype(out.dtype)
    ### END SOLUTION


def conv2d_naive(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolve by explicit loops, for study and for tests; no gradient."""
    x, weight = Tensor(x), Tensor(weight)
    bias = None if bias is None else Tensor(bias)
    geo = geometry(weight.shape[2:], stride, padding, dilation, groups)
    check_convolution(x, weight, bias, groups)
    return Tensor(conv2d_loops(x.data, weight.data, 0.0 if bias is None else bias.data, geo))


# %%
image = Tensor([[[[1.0, 2, 4, 7], [1, 1, 1, 1]]]])
print(conv2d_naive(image, [[[[-1.0, 1]]]]).numpy()[0, 0])
print(conv2d_naive(image, [[[[-1.0, 1]]]], bias=[10.0], stride=2, padding=(0, 1)).numpy()[0, 0])
# Expected output:
# [[1. 2. 3.]
#  [0. 0. 0.]]
# [[11. 12.  3.]]


# %%
#| test
def test_loops_by_hand():
    x, w = np.arange(16.0).reshape(1, 1, 4, 4), np.array([[[[1.0, 2], [3, 4]]]])
    np.testing.assert_array_equal(conv2d_naive(x, w, stride=2).numpy(), [[[[34, 54], [114, 134]]]])
    np.testing.assert_array_equal(conv2d_naive(x, w, dilation=3).numpy(), [[[[0 + 6 + 36 + 60]]]])
    x = np.stack([np.full((2, 2), 10.0**c) for c in range(4)])[None]
    out = conv2d_naive(x, np.ones((2, 2, 1, 1)), groups=2).numpy()
    np.testing.assert_array_equal(out[0, :, 0, 0], [11, 1100])


if __name__ == "__main__":
    test_loops_by_hand()

# %% [markdown]
# ## Step 3: All windows at once, without a copy
#
# Module 01: an array is memory, a shape and strides. Nothing forbids two indices to mean the same
# byte. So all windows of an image are a *view* with two more axes: one step in `i` moves `dilation`
# rows down, one step in `u` moves `stride` rows down.
#
#     x (N, C, H, W), padded by `pad`, strides (a, b, h, w)
#     →  (N, C, kh, kw, OH, OW)  strides (a, b, dh·h, dw·w, sh·h, sw·w)
#
# *Worked example*: `[1 2 4 7]`, 4 bytes each, kernel 2: shape (2, 3), strides (4, 4), that is
# `[[1 2 4] [2 4 7]]`: four numbers in memory, six in the view. Cost: nothing. `view[:, :, i, j]`
# is what tap (i, j) sees at every place, an ordinary strided slice; most of this module is that.


# %%
#| export
def windows(x: Array, geo: Geometry) -> Array:
    """View padded images as windows, (A, B, H, W) → (A, B, kh, kw, OH, OW), sharing memory.

    Use `np.lib.stride_tricks.as_strided(x, shape, strides)`; x is padded already.
    """
    ### BEGIN SOLUTION
    (dh, dw), (sh, sw) = geo.dilation, geo.stride
    a, b, h, w = x.strides
    sizes = output_sizes(x.shape, geo._replace(padding=(0, 0)))
    strides = (a, b, dh * h, dw * w, sh * h, sw * w)
    return np.lib.stride_tricks.as_strided(x, (*x.shape[:2], *geo.kernel, *sizes), strides)
    ### END SOLUTION


# %%
row = np.array([1, 2, 4, 7], np.float32).reshape(1, 1, 1, 4)
view = windows(row, geometry((1, 2)))
print(view.shape, view[0, 0, 0, :, 0].tolist(), np.shares_memory(view, row))
# Expected output:
# (1, 1, 1, 2, 1, 3) [[1.0, 2.0, 4.0], [2.0, 4.0, 7.0]] True


# %%
#| test
def test_windows_are_a_view_of_every_place():
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8))[:, :, ::-1]
    geo = geometry((3, 2), stride=(2, 3), dilation=(1, 2))
    view = windows(x, geo)
    assert view.shape == (2, 3, 3, 2, 4, 2)
    assert np.shares_memory(view, x)
    for i, j, u, v in np.ndindex(3, 2, 4, 2):
        np.testing.assert_array_equal(view[:, :, i, j, u, v], x[:, :, 2 * u + i, 3 * v + 2 * j])


if __name__ == "__main__":
    test_windows_are_a_view_of_every_place()

# %% [markdown]
# ## Step 4: Convolution is a matrix product
#
# Write each window as a column of C·kh·kw numbers, side by side for all places (*im2col*):
#
#     (F, C·kh·kw) @ (C·kh·kw, B·OH·OW) = (F, B·OH·OW)       B images at a time
#
# The matrix has each pixel up to kh·kw times: for 64 images of 32 channels of 32×32, 75 MB. So
# we go by *blocks*: a few images (or, of huge images, a band of rows) whose columns fit into the
# cache, 2 MB, made and used up at once, in the same memory. With G groups there are G products: the
# first axis of both matrices, which `np.matmul` loops over.
#
# Given: `columns(view, groups, scratch)` copies windows (C, kh, kw, B, OH, OW) into a matrix for
# each group, (G, C/G·kh·kw, B·OH·OW). `scratch(name, shape, dtype)` lends the same memory again.
# `blocks` deals the blocks out into one *share* for each thread, a list of (images, bands), and
# `in_threads(run, shares)` calls `run(share)` in a thread each. What happens to a share is yours.


# %%
#| export
def column_blocks(share: Any, x: Array, geo: Geometry, scratch: Scratch) -> Any:
    """Yield (images, band, columns) for each block of a share.

    For the images: the windows of the padded images, with axes (C, kh, kw, B, OH, OW). For each
    band of output rows: the columns of `view[..., band, :]`.
    """
    ### BEGIN SOLUTION
    for images, bands in share:
        view = windows(pad(x[images], geo), geo).transpose(1, 2, 3, 0, 4, 5)
        for band in bands:
            yield images, band, columns(view[..., band, :], geo.groups, scratch)
    ### END SOLUTION


@primitive
def convolution(x, weight, bias, *, geo):
    """Convolve images with a bank of filters, block by block.

    Args:
        x: (N, C, H, W).
        weight: (F, C / groups, kh, kw).
        bias: (F,), or the number 0; the product and the bias go into `out[images, :, band]`.
    """
    ### BEGIN SOLUTION
    filters, dtype = len(weight), np.result_type(x, weight)
    out = np.empty((len(x), filters, *output_sizes(x.shape, geo)), dtype)
    matrix = weight.reshape(geo.groups, filters // geo.groups, -1)
    offset = np.reshape(bias, (-1, 1, 1, 1)).astype(dtype)

    def run(share: Any) -> None:
        scratch = Scratch()
        for images, band, cols in column_blocks(share, x, geo, scratch):
            target = out[images, :, band].swapaxes(0, 1)  # (F, B, rows, OW)
            product = scratch("product", (*matrix.shape[:2], cols.shape[2]), dtype)
            np.matmul(matrix, cols, out=product)
            np.add(product.reshape(target.shape), offset, out=target)

    in_threads(run, blocks(out.shape, x, geo))
    return out
    ### END SOLUTION


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolve images (N, C, H, W) with filters (F, C / groups, kh, kw), as `F.conv2d` does.

    stride, padding and dilation are pixels, one number or (vertical, horizontal); padding may also
    be "valid" or "same". What does not fit is a ValueError that names it.
    """
    geo = geometry(weight.shape[2:] or 1, stride, padding, dilation, groups)
    check_convolution(x, weight, bias, groups)
    return apply(convolution, x, weight, 0.0 if bias is None else bias, geo=geo)


# %%
from tinytorch.core.tensor import manual_seed, randn

manual_seed(0)
x, w = randn(2, 4, 9, 8), randn(6, 2, 3, 2)
settings = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3), "groups": 2}
fast, slow = conv2d(x, w, **settings), conv2d_naive(x, w, **settings)
print(fast.shape, bool(np.allclose(fast.numpy(), slow.numpy(), atol=1e-5)))
# Expected output:
# (2, 6, 5, 9) True


# %%
#| test
CASES = [{}, {"padding": (2, 0), "groups": 2}]
CASES += [{"stride": (1, 3), "padding": (0, 1), "dilation": (2, 1)}]


def random_case(how):
    """Return x, weight and bias in float64."""
    rng, groups = np.random.default_rng(0), how.get("groups", 1)
    shapes = (2, 4, 5, 7), (4, 4 // groups, 3, 2), (4,)
    return [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


def test_fast_is_the_definition():
    for how in CASES:
        arrays = random_case(how)
        expected = conv2d_naive(*(a.detach() for a in arrays), **how)
        np.testing.assert_allclose(conv2d(*arrays, **how).numpy(), expected.numpy(), atol=1e-12)


if __name__ == "__main__":
    test_fast_is_the_definition()

# %% [markdown]
# ## Step 5: Both gradients
#
# **Of the weights.** Of $Y = W X$ it is $\partial L/\partial W = G X^\top$ (module 05).
# Here X are the columns: made anew from x, block by block, rather than kept: nine times the memory
# for a tenth of the time is a bad bargain. Each block sees some of the places, and each place has
# used the same weights: **add up over blocks**. Every place adds b: its gradient is the sum of g
# over all axes but the channels. *Worked example*: x = `[1 2 4 7]`, kernel of two, g = `[1 0 1]`:
# ∂L/∂w = `[1+4, 2+7]` = `[5 9]`.
#
# **Of the input.** For the columns, $\partial L/\partial X = W^\top G$. Each number of it stands
# for a pixel that was *copied* into several windows, and uses add up. So where forward gathers,
# backward scatters: lay the same windows on a padded image of zeros and add, tap by tap. Within one
# tap no two places share a pixel, so that `target += …` is safe; over all windows at once it would
# lose sums. Then cut off the padding: gradient that went to the frame is nobody's. *Worked
# example*: kernel `[-1 1]`, g = `[1 0 1]`, four pixels: tap 0 adds `[-1 0 -1 .]`, tap 1 adds
# `[. 1 0 1]`: `[-1 1 -1 1]`. Pixels at the border are in fewer windows and get less.
#
# The first layer of a network has no use for this: `register_vjp` takes one rule for each input,
# and the engine does not call the rule of an input that requires no gradient.


# %%
#| export
def weight_gradient(g: Array, out: Any, x: Array, weight: Array, bias: Any, geo: Geometry) -> Array:
    """The rule of convolution for its weight: the sum over blocks of g @ columnsᵀ.

    `channels_first(part of g, groups, scratch)` makes a matrix of (B, F, rows, OW) for each group,
    (G, F/G, B·rows·OW). Let `run` return the sum over its share; `in_threads` returns all of them.
    """
    ### BEGIN SOLUTION
    groups, window = geo.groups, math.prod(weight.shape[1:])

    def run(share: Any) -> Array:
        total, scratch = np.zeros(weight.shape, x.dtype).reshape(groups, -1, window), Scratch()
        for images, band, cols in column_blocks(share, x, geo, scratch):
            total += channels_first(g[images, :, band], groups, scratch) @ cols.mT
        return total

    total = sum(in_threads(run, blocks(g.shape, x, geo)))
    return np.reshape(total, weight.shape)
    ### END SOLUTION


def bias_gradient(g: Array, out: Any, x: Array, weight: Array, bias: Any, geo: Geometry) -> Array:
    """The rule of convolution for its bias."""
    ### BEGIN SOLUTION
    return g.sum(axis=(2, 3)).sum(axis=0)
    ### END SOLUTION


# %%
#| export
def scatter(cols: Array, padded: Array, geo: Geometry, band: slice) -> None:
    """Add columns (C, kh, kw, B, rows, OW) into padded images (C, B, H, W), at a band of rows."""
    ### BEGIN SOLUTION
    view = windows(padded, geo)  # (C, B, kh, kw, OH, OW)
    for i, j in np.ndindex(geo.kernel):
        target = view[:, :, i, j, band]
        target += cols[:, i, j]
    ### END SOLUTION


def input_gradient(g: Array, out: Any, x: Array, weight: Array, bias: Any, geo: Geometry) -> Array:
    """The rule of convolution for its input: scatter weightᵀ @ g, block by block."""
    ### BEGIN SOLUTION
    (ph, pw), (height, width) = geo.padding, x.shape[2:]
    gradient, dtype = np.empty(x.shape, x.dtype), np.result_type(g, weight)
    matrix = weight.reshape(geo.groups, len(weight) // geo.groups, -1).mT

    def run(share: Any) -> None:
        scratch = Scratch()
        for images, bands in share:
            target = gradient[images].swapaxes(0, 1)  # (C, B, H, W)
            padded = np.zeros((*target.shape[:2], height + 2 * ph, width + 2 * pw), dtype)
            shape = (len(target), *geo.kernel, target.shape[1], -1, g.shape[3])
            for band in bands:
                part = channels_first(g[images, :, band], geo.groups, scratch)
                cols = scratch("columns", (geo.groups, matrix.shape[1], part.shape[2]), dtype)
                np.matmul(matrix, part, out=cols)
                scatter(cols.reshape(shape), padded, geo, band)
            target[...] = padded[:, :, ph : ph + height, pw : pw + width]

    in_threads(run, blocks(g.shape, x, geo))
    return gradient
    ### END SOLUTION


register_vjp(convolution, input_gradient, weight_gradient, bias_gradient, keeps=("inputs",))

# %%
row = Tensor([[[[1.0, 2, 4, 7]]]], requires_grad=True)
pattern = Tensor([[[[-1.0, 1]]]], requires_grad=True)
conv2d(row, pattern).backward(np.array([[[[1.0, 0, 1]]]]))
print(pattern.grad.numpy().ravel(), row.grad.numpy().ravel())
# Expected output:
# [5. 9.] [-1.  1. -1.  1.]


# %%
#| test
def test_gradients_agree_with_measured_slopes():
    from tinytorch import imaging
    from tinytorch.core.autograd import gradcheck

    usual = imaging.BLOCK_BYTES
    try:
        for how in CASES:
            for imaging.BLOCK_BYTES in (usual, 1, 2000):  # all at once, single rows, some rows
                assert gradcheck(lambda x, w, b: conv2d(x, w, b, **how), random_case(how))  # noqa: B023
    finally:
        imaging.BLOCK_BYTES = usual


if __name__ == "__main__":
    test_gradients_agree_with_measured_slopes()

# %% [markdown]
# ## Step 6: The layer
#
# First values as in PyTorch: weight and bias uniform in [−1/√n, 1/√n], with n the number of
# products in one sum, C / G · kh · kw. For 3 channels and a 3×3 kernel: 1/√27 = 0.192.


# %%
#| export
class Conv2d(Module):
    """Convolve (N, in_channels, H, W) to (N, out_channels, OH, OW).

    Args:
        kernel_size, stride, padding, dilation: Pixels; one number or (vertical, horizontal).
        groups: Into how many independent parts the channels are cut.
        bias: Whether to add one learned number per output channel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1,
                 bias: bool = True):  # fmt: skip
        super().__init__()
        self.geometry = geo = geometry(kernel_size, stride, padding, dilation, groups)
        check_channels(in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = geo[:4]
        shape = (out_channels, in_channels // groups, *geo.kernel)
        self.weight = Parameter(np.zeros(shape, np.float32))
        self.bias = Parameter(np.zeros(out_channels, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias; `uniform_(tensor, low, high)` fills in place."""
        ### BEGIN SOLUTION
        bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
        uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            uniform_(self.bias, -bound, bound)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the layer's own filters and settings."""
        ### BEGIN SOLUTION
        return conv2d(x, self.weight, self.bias, *self.geometry[1:])
        ### END SOLUTION

    def extra_repr(self) -> str:
        """Name the sizes."""
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{sizes}, stride={self.stride}, padding={self.padding}"


Conv2D = Conv2d

# %%
layer = Conv2D(3, 32, kernel_size=3)
print(layer, layer(randn(8, 3, 32, 32)).shape)
# Expected output:
# Conv2d(3, 32, kernel_size=(3, 3), stride=(1, 1), padding=(0, 0)) (8, 32, 30, 30)


# %%
#| test
def test_conv2d_layer_uses_all_its_settings():
    layer = Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 4, 7, 8)).astype(np.float32))
    expected = conv2d_naive(x, layer.weight, layer.bias, (2, 1), (1, 0), (1, 2), 2)
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), atol=1e-5)
    for p in Conv2d(3, 200, 3).parameters():
        assert 0.18 < np.abs(p.numpy()).max() <= 1 / math.sqrt(27)


if __name__ == "__main__":
    test_conv2d_layer_uses_all_its_settings()

# %% [markdown]
# ## Step 7: Pooling
#
# **Max pooling** keeps the strongest answer of each window: a shift of a pixel then changes little,
# and the next layer has a quarter of the work. With the taps of step 3 that is kh·kw − 1 calls of
# `np.maximum` on whole slices, in place, not an `argmax` per window. Padding is −∞ here: zero would
# win over negative numbers.
#
# Backward, the whole gradient of a window goes to the pixel that won, **one** pixel: among equals
# the first in reading order, as in PyTorch. So go through the taps in order and remember which
# windows are served. Windows may overlap: then a pixel wins several times, and adds up. *Worked
# example*: `[[1 5] [5 2]]`, window 2, g = 3: out `5`, gradient `[[0 3] [0 0]]`.
#
# **Average pooling** takes the mean of each window; backward each tap gets g / divisor. The divisor
# is kh·kw, or without `count_include_pad` the number of real pixels under each window: given.
#
# *Adaptive* pooling (given, too) asks for an output size: output i averages the input from ⌊i·n/m⌋
# to ⌈(i+1)·n/m⌉. *Global* pooling, one mean per map, frees a network from the size of its input.


# %%
#| export
def max_forward(x: Array, out: Array, geo: Geometry) -> None:
    """Write the largest tap of each window of x, padded already, into out."""
    ### BEGIN SOLUTION
    view = windows(x, geo)
    np.copyto(out, view[:, :, 0, 0])
    for i, j in np.ndindex(geo.kernel):
        np.maximum(out, view[:, :, i, j], out=out)
    ### END SOLUTION


def max_backward(g: Array, out: Array, x: Array, gradient: Array, geo: Geometry) -> None:
    """Add each g into `gradient` (padded as x is) at the first tap that equals out."""
    ### BEGIN SOLUTION
    view, targets = windows(x, geo), windows(gradient, geo)
    waiting = np.ones(out.shape, bool)
    for i, j in np.ndindex(geo.kernel):
        won = (view[:, :, i, j] == out) & waiting
        waiting ^= won
        target = targets[:, :, i, j]
        target += g * won
    ### END SOLUTION


@primitive
def max_pooling(x, *, geo):
    """Take the maximum of every window."""
    padded = pad(x, geo, -np.inf)
    out = np.empty((*x.shape[:2], *output_sizes(x.shape, geo)), x.dtype)
    in_parts(lambda x, out: max_forward(x, out, geo), padded, out)
    return out


def max_pooling_gradient(g: Array, out: Array, x: Array, geo: Geometry) -> Array:
    """The rule of max_pooling."""
    padded = pad(x, geo, -np.inf)
    gradient = np.zeros(padded.shape, g.dtype)
    in_parts(lambda *parts: max_backward(*parts, geo), g, out, padded, gradient)
    return inside(gradient, geo)


register_vjp(max_pooling, max_pooling_gradient)


def max_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1
) -> Tensor:
    """Take the maximum of each window of each map; the stride is kernel_size unless given."""
    geo = pooling_geometry(x, kernel_size, stride, padding, dilation)
    return apply(max_pooling, x, geo=geo)


# %%
#| export
@primitive
def average_pooling(x, *, geo, include_pad):
    """Average every window: add up the taps, then divide."""
    ### BEGIN SOLUTION
    view = windows(pad(x, geo), geo)
    out = sum(view[:, :, i, j] for i, j in np.ndindex(geo.kernel))
    out /= average_divisor(x.shape, geo, include_pad)
    return out
    ### END SOLUTION


def average_pooling_gradient(
    g: Array, out: Any, shape: Shape, geo: Geometry, include_pad: bool
) -> Array:
    """The rule of average_pooling; only the shape of the input is kept.

    `inside(padded, geo)` cuts the padding off.
    """
    ### BEGIN SOLUTION
    share = g / average_divisor(shape, geo, include_pad)
    (ph, pw), (*front, h, w) = geo.padding, shape
    gradient = np.zeros((*front, h + 2 * ph, w + 2 * pw), share.dtype)
    for i, j in np.ndindex(geo.kernel):
        target = windows(gradient, geo)[:, :, i, j]
        target += share
    return inside(gradient, geo)
    ### END SOLUTION


register_vjp(average_pooling, average_pooling_gradient, keeps=())
adaptive_pooling = primitive(adaptive_average)
register_vjp(adaptive_pooling, adaptive_average_gradient, keeps=())


# %%
#| export
def avg_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Average each window of each map; the stride is kernel_size unless given."""
    geo = pooling_geometry(x, kernel_size, stride, padding, 1)
    return apply(average_pooling, x, geo=geo, include_pad=count_include_pad)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Average to `output_size`, one number or (OH, OW), in windows as equal as possible."""
    check_images("pool", x)
    return apply(adaptive_pooling, x, size=geometry(output_size).kernel)


class Pooling(Module):
    """A pooling function as a layer, with the function's settings."""

    def __init__(self, *settings: Any, **named: Any):
        super().__init__()
        self.settings = settings_of(self.pool, settings, named)

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return self.pool(x, **self.settings)

    def extra_repr(self) -> str:
        """Name the settings."""
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())


class MaxPool2d(Pooling):
    """`max_pool2d` as a layer."""

    pool = staticmethod(max_pool2d)


class AvgPool2d(Pooling):
    """`avg_pool2d` as a layer."""

    pool = staticmethod(avg_pool2d)


class AdaptiveAvgPool2d(Pooling):
    """`adaptive_avg_pool2d` as a layer."""

    pool = staticmethod(adaptive_avg_pool2d)


class GlobalAvgPool2d(Module):
    """Average each map to one number: (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        ### BEGIN SOLUTION
        return x.mean(axis=(2, 3))
        ### END SOLUTION


# %%
x = Tensor([[[[1.0, 5], [5, 2]]]], requires_grad=True)
out = max_pool2d(x, 2)
(out * 3).sum().backward()
print(out.numpy().ravel(), x.grad.numpy().ravel())
x = Tensor(np.arange(1.0, 10).reshape(1, 1, 3, 3))
print(avg_pool2d(x, 2, stride=1).numpy().ravel(), GlobalAvgPool2d()(x).numpy())
print(avg_pool2d(x, 2, padding=1).numpy().ravel(), AvgPool2d(2, padding=1))
# Expected output:
# [5.] [0. 3. 0. 0.]
# [3. 4. 6. 7.] [[5.]]
# [0.25 1.25 2.75 7.  ] AvgPool2d(kernel_size=2, stride=None, padding=1, count_include_pad=True)


# %%
#| test
def test_pools_and_their_gradients():
    from tinytorch.core.autograd import gradcheck

    x = Tensor(np.random.default_rng(0).permutation(np.arange(-112.0, 0)), True)
    x = x.reshape(2, 1, 7, 8)
    padded, geo = pad(x.data, geometry((3, 2), (1, 2), 1), -np.inf), geometry((3, 2), (1, 2))
    expected = windows(padded, geo).max(axis=(2, 3))
    np.testing.assert_array_equal(max_pool2d(x, (3, 2), (1, 2), 1).numpy(), expected)
    np.testing.assert_allclose(avg_pool2d(x, (7, 8)).numpy()[..., 0, 0], x.data.mean((2, 3)))
    x = x.detach()
    x.requires_grad = True
    assert gradcheck(lambda x: max_pool2d(x, (3, 2), (1, 2), 1), x)
    assert gradcheck(lambda x: avg_pool2d(x, (3, 2), (2, 1), 1, False), x)
    assert gradcheck(lambda x: adaptive_avg_pool2d(x, (3, 2)), x)
    assert GlobalAvgPool2d()(Tensor(np.ones((2, 3, 4, 5)))).tolist() == [[1, 1, 1]] * 2


if __name__ == "__main__":
    test_pools_and_their_gradients()

# %% [markdown]
# ## Step 8: Batch normalisation
#
# Give every channel mean 0 and variance 1 over the batch and all places, then a learned scale γ and
# shift β. In training with the batch's own mean μ and variance σ² (divided by m, the count); in
# evaluation with running averages, so that an image's answer does not depend on its neighbours:
#
# $$y = \gamma\,\hat x + \beta, \quad \hat x = (x - \mu)\,/\sqrt{\sigma^2 + \varepsilon}$$
#
# running ← (1 − momentum) · running + momentum · batch: a momentum of 0.1 means one part *new*. The
# running variance uses m − 1, the unbiased estimate. *Worked example*: a channel `[1 3]`: μ = 2,
# σ² = 1, x̂ = `[-1 1]`; the running variance starts at 1 and becomes 0.9 · 1 + 0.1 · 2 = 1.1.
#
# Backward, x matters three times: directly, through μ and through σ². Collected (all sums over the
# m numbers of a channel):
#
# $$\frac{\partial L}{\partial\beta} = \sum g,\quad
# \frac{\partial L}{\partial\gamma} = \sum g\hat x,\quad
# \frac{\partial L}{\partial x} = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}
# \Big(g - \frac1m\sum g - \frac{\hat x}{m} \sum g\hat x\Big)$$
#
# Cost: forward three passes over x, backward two over x and g; memory bound, all of it. The passes
# are given, in parts that stay in the cache: `channel_sums(x)` sums over all axes but the channels,
# `channel_sums(x, y)` sums x·y, `channel_sums(x, less=mean)` the squares of x − mean, and
# `channel_scale(x, slope, offset)` makes slope·x + offset, with a slope and an offset per channel;
# `channel_scale(x, slope, offset, g, tilt)` adds tilt·g.


# %%
#| export
def batch_statistics(x: Array) -> tuple[Array, Array]:
    """Return mean and (biased) variance of each channel of (N, C, H, W), each (C,).

    Subtract the mean before squaring: E[x²] − E[x]² loses all digits of a large mean.
    """
    ### BEGIN SOLUTION
    count = x.size // x.shape[1]
    mean = channel_sums(x) / count
    return mean, channel_sums(x, less=mean) / count
    ### END SOLUTION


@primitive
def normalisation(x, weight, bias, *, mean, inverse):
    """Compute weight * (x - mean) * inverse + bias, for each channel, in one scale and shift.

    Args:
        mean, inverse: (C,), mean and 1 / sqrt(variance + eps) of this very batch.
    """
    ### BEGIN SOLUTION
    scale = weight * inverse
    return channel_scale(x, scale, bias - scale * mean)
    ### END SOLUTION


def normalisation_gradients(
    needs: Any, g: Array, out: Any, x: Array, weight: Array, bias: Array, mean: Array,
    inverse: Array,
) -> tuple[Array | None, Array, Array]:  # fmt: skip
    """The joint rule of normalisation: gradients of x (None if not needed), weight and bias."""
    ### BEGIN SOLUTION
    count = x.size // x.shape[1]
    total = channel_sums(g)
    projected = (channel_sums(g, x) - mean * total) * inverse  # sum of g * x̂
    if not needs[0]:
        return None, projected, total
    slope = weight * inverse  # of g
    tilt = -slope * inverse * projected / count  # of x
    offset = -slope * total / count - tilt * mean
    return channel_scale(x, tilt, offset, g, slope), projected, total
    ### END SOLUTION


register_vjp(normalisation, joint=normalisation_gradients, keeps=("inputs",))


class BatchNorm2d(Module):
    """Normalise each channel of (N, num_features, H, W).

    Args:
        eps: Added to the variance.
        momentum: Share of the newest batch in the running averages; None: a plain average of all.
        affine: Whether to learn a scale (weight) and a shift (bias) for each channel.
        track_running_stats: Whether to keep running averages; without, always use the batch.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True):  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        new, kept = np.zeros(num_features, np.float32), track_running_stats
        self.weight = constant_(Parameter(new), 1.0) if affine else None
        self.bias = Parameter(new) if affine else None
        self.register_buffer("running_mean", Tensor(new) if kept else None)
        self.register_buffer("running_var", Tensor(new + 1) if kept else None)
        self.register_buffer("num_batches_tracked", Tensor(np.array(0)) if kept else None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the batch in training, by the running averages in evaluation."""
        check_features(x, self.num_features, self.training or self.running_mean is None)
        affine = self.weight is not None
        weight, bias = (self.weight, self.bias) if affine else (np.ones(1, x.dtype), 0.0)
        if not self.training and self.running_mean is not None:
            return self.by_running(x, weight, bias)
        count = x.size // self.num_features
        mean, var = batch_statistics(x.data)
        if self.training and self.running_mean is not None:
            self.track(mean, var, count)
        inverse = 1 / np.sqrt(var + self.eps)
        bias = np.zeros(1, x.dtype) if self.bias is None else bias
        return apply(normalisation, x, weight, bias, mean=mean, inverse=inverse)

    def by_running(self, x: Tensor, weight: Any, bias: Any) -> Tensor:
        """Normalise by `running_mean` and `running_var`, which have no gradient."""
        ### BEGIN SOLUTION
        scale = weight * Tensor(1 / np.sqrt(self.running_var.data + self.eps))
        shift = bias - scale * self.running_mean
        return x * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)
        ### END SOLUTION

    def track(self, mean: Array, var: Array, count: int) -> None:
        """Take a batch into the running averages, and count it.

        Args:
            mean, var: (C,) of the batch; the variance is biased.
            count: Numbers per channel.
        """
        ### BEGIN SOLUTION
        self.num_batches_tracked.data = self.num_batches_tracked.data + 1
        share = self.momentum
        if share is None:
            share = 1 / self.num_batches_tracked.item()
        unbiased = var * (count / (count - 1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.data = ((1 - share) * running.data + share * new).astype(running.dtype)
        ### END SOLUTION

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


# %%
norm, x = BatchNorm2d(1), Tensor([[[[1.0, 3.0]]]])
print(norm(x).numpy().round(3).ravel(), norm.running_mean.numpy(), norm.running_var.numpy())
print(norm.eval()(x).numpy().round(3).ravel(), list(norm.state_dict()))
# Expected output:
# [-1. 1.] [0.2] [1.1]
# [0.763 2.67 ] ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']


# %%
#| test
def test_batch_norm_normalises_and_tracks():
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 2)) * 3 + 1000
    norm = BatchNorm2d(3, momentum=0.25)
    out = norm(Tensor(x)).numpy()
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.25 * x.mean((0, 2, 3)), rtol=1e-6)
    expected = 0.75 + 0.25 * x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(norm.running_var.numpy(), expected, rtol=1e-6)
    running = norm.running_mean.numpy()[:, None, None]
    expected = (x - running) / np.sqrt(norm.running_var.numpy() + 1e-5)[:, None, None]
    np.testing.assert_allclose(norm.eval()(Tensor(x)).numpy(), expected, rtol=1e-5)


def test_batch_norm_gradients():
    from tinytorch.core.autograd import gradcheck

    def through(x, weight, bias):
        mean, var = batch_statistics(x.data)
        return apply(normalisation, x, weight, bias, mean=mean, inverse=1 / np.sqrt(var + 0.1))

    rng, shapes = np.random.default_rng(0), ((3, 3, 2, 4), (3,), (3,))
    assert gradcheck(through, [Tensor(rng.standard_normal(s), requires_grad=True) for s in shapes])


if __name__ == "__main__":
    test_batch_norm_normalises_and_tracks()
    test_batch_norm_gradients()

# %% [markdown]
# ## Systems: where the time of a convolution goes
#
# The loops cost a microsecond or more for each window, the matrix product a nanosecond for some
# fifty multiply-adds. And what do blocks buy?


# %%
import time

from tinytorch import imaging


def best_ms(work, repeat=3) -> float:
    """The fastest of a few runs, in milliseconds."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


x, w = randn(2, 16, 16, 16), randn(32, 16, 3, 3)
naive, quick = (best_ms(lambda f=f: f(x, w, padding=1), 1) for f in (conv2d_naive, conv2d))
print(f"loops {naive:.0f} ms, matrix product {quick:.2f} ms")
x, usual = randn(32, 16, 32, 32), imaging.BLOCK_BYTES
for size in (1 << 16, 1 << 21, 1 << 30):
    imaging.BLOCK_BYTES = size
    print(f"blocks of {size >> 10} KB: {best_ms(lambda: conv2d(x, w, padding=1)):.0f} ms")
imaging.BLOCK_BYTES = usual
# Expected output:
# loops ... ms, matrix product ... ms
# blocks of 64 KB: ... ms
# blocks of 2048 KB: ... ms
# blocks of 1048576 KB: ... ms

# %% [markdown]
# Larger blocks leave the cache between copying and multiplying; smaller ones make thin matrices. On
# one core of an AMD EPYC, batch 64, 64 → 128 channels at 16×16, all three passes took 105 ms: 81 in
# the products (90 billion operations a second, all that BLAS can do there), 10 in copying windows,
# 15 in the scatter; PyTorch's oneDNN took 68. What threads do mattered more: with BLAS's threads
# inside each small product, the same step took 400 ms on two cores shared with other work, because
# every product waits for its slowest thread. A share of the blocks for each thread: 109 ms.
#
# ## Pitfalls
#
# - `padding` adds to **both** sides: `n + p` instead of `n + 2p` works for p = 0 and nowhere else.
# - (kh, kw) is vertical, horizontal. Test with a kernel that is not square.
# - `as_strided` checks nothing: a wrong stride reads someone else's memory.
# - `view += g` on overlapping windows loses sums; tap by tap it does not.
# - Forgetting `model.eval()`: batch norm then answers by the batch, differently for each.
# - A bias before a batch norm does nothing: its mean is subtracted. `Conv2d(…, bias=False)`.
#
# ## What PyTorch does differently, and why
#
# - oneDNN compiles a kernel for each shape, in a layout with 16 channels innermost, so that columns
#   are never written. For 3×3 it may use Winograd: 2.25 times fewer products, a little less exact.
# - `ceil_mode`, `return_indices`, `padding_mode` and images without a batch axis are left out.
# - `nn.BatchNorm2d` updates its running variance from the fused kernel; we compute statistics once
#   and use them for both. There is no `GlobalAvgPool2d`: one writes `AdaptiveAvgPool2d(1)`.
#
# ## Sources
#
# Fukushima 1980 (neocognitron) · LeCun, Bottou, Bengio and Haffner 1998 · Chellapilla, Puri and
# Simard 2006 (im2col) · Ioffe and Szegedy 2015 (batch normalization), figure and section 3 · Lavin
# and Gray 2016 (Winograd) · Dumoulin and Visin 2016, "A guide to convolution arithmetic".
#
# ## Reflection
#
# A colleague wants to keep the columns of the forward pass, "since backward needs them again". In
# 150–300 words in `modules/09_spatial/reflection.md`: how many bytes would that be for your network
# and batch, against the activations kept now? How much time would it save, measured? On what
# machine would you decide otherwise, and what would you measure there first?
#
# ## Checkpoint
#
#     tito checkpoint run 09
