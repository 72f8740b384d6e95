"""Checkpoint 18: can I make the same mathematics run faster?

Passing proves that a roofline says what limits a kernel, that blocks, columns, fused passes,
batches and threads give the same numbers with less traffic, and that a trained network can be
rewritten into a shorter one that answers the same.
"""

import math
import time

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    probe,
    timed,
)
from tinytorch.core.acceleration import (
    Roofline,
    accelerate,
    conv2d_direct,
    conv2d_im2col,
    fold_batchnorm,
    in_workers,
    linear_relu,
    matmul_blocked,
    matmul_naive,
    measure_roofline,
    scale_shift_relu,
)
from tinytorch.core.tensor import Tensor

WORK = probe('''
import threading
import tracemalloc
import numpy as np
from tinytorch.core.acceleration import accelerate, conv2d_im2col, fold_batchnorm, im2col
from tinytorch.core.acceleration import in_batches, in_workers, linear_relu, matmul_blocked
from tinytorch.core.acceleration import scale_shift_relu
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Dropout, Flatten, Linear, Module, Sequential
from tinytorch.core.spatial import BatchNorm2d, Conv2d, MaxPool2d
from tinytorch.core.tensor import Tensor
from tinytorch.imaging import geometry


def columns_of(x, kernel, stride, padding):
    return im2col(x, geometry(kernel, stride, padding))


def conv(weight, bias=None, **settings):
    """A convolution with these filters."""
    weight = np.asarray(weight)
    filters, channels, *kernel = weight.shape
    layer = Conv2d(channels * settings.get("groups", 1), filters, tuple(kernel),
                   bias=bias is not None, **settings)
    layer.weight.data = weight.astype(np.float32)
    if bias is not None:
        layer.bias.data = bias.astype(np.float32)
    return layer


def norm(statistics, eps=0.1):
    """A normalisation in evaluation: mean, variance and perhaps weight and bias."""
    mean, var, *affine = (a.astype(np.float32) for a in statistics)
    layer = BatchNorm2d(len(mean), eps=eps, affine=bool(affine)).eval()
    layer.running_mean.data, layer.running_var.data = mean, var
    if affine:
        layer.weight.data, layer.bias.data = affine
    return layer


def linear(weight, bias):
    layer = Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.astype(np.float32), bias.astype(np.float32)
    return layer


class Twice(Module):
    """A module with a forward of its own."""

    def __init__(self, body):
        self.body = body

    def forward(self, x):
        return self.body(x) * 2


def network(w, b, statistics, v, c, u, d):
    """Convolution, normalisation, ReLU, pooling, linear, ReLU, linear, doubled."""
    head = Sequential(Flatten(), linear(v, c), ReLU(), Dropout(0.5), linear(u, d))
    body = Sequential(conv(w, b, padding=1), norm(statistics), ReLU(), MaxPool2d(2), head)
    return Sequential(Twice(body)).eval()


def relu_between(w, b, statistics):
    """A ReLU between the convolution and the normalisation."""
    return Sequential(conv(w, b), ReLU(), norm(statistics)).eval()


def kinds(model):
    """Count the layers of each class that compute something."""
    every = [type(part).__name__ for part in model.modules()]
    return {kind: every.count(kind) for kind in ("BatchNorm2d", "Conv2d", "Dropout", "Linear")}


def wants_gradient(model, x):
    """Whether a parameter, or the answer, asks for a gradient."""
    return any(p.requires_grad for p in model.parameters()) or model(Tensor(x)).requires_grad


def rows_in_batches(x, size):
    """Double x in batches; return the result and the size of each batch."""
    sizes = []

    def double(rows):
        sizes.append(len(rows))
        return rows * 2

    return in_batches(double, x, size), sizes


def meets(x, workers):
    """Double x by workers that wait for each other: it ends only if all run at once."""
    meeting = threading.Barrier(workers)

    def double(rows):
        meeting.wait(timeout=5)
        return rows * 2

    return in_workers(double, x, workers)


def shares(x, workers):
    """The sizes of the shares, and the doubled rows."""
    sizes = []

    def double(rows):
        sizes.append(len(rows))
        return rows * 2

    out = in_workers(double, x, workers)
    return out, sorted(sizes)


def fails(rows):
    raise ArithmeticError("row 3 is odd")


def written_into(x, scale, shift):
    """Compute in place; return what x holds then, and whether the result is x."""
    x = x.copy()
    out = scale_shift_relu(x, scale, shift, out=x)
    return x, np.shares_memory(out, x)


def product_into(x, weight, bias, out):
    out = out.copy()
    return linear_relu(x, weight, bias, out=out) is out, out


def peak_of(kind):
    """The largest memory taken while a kernel writes into an array that is given, as a share."""
    rng = np.random.default_rng(0)
    if kind == "scale_shift_relu":
        x = rng.random((64, 16, 64, 64), np.float32)
        scale, shift = rng.random((2, 16, 1, 1), np.float32)
        out = np.empty_like(x)
        run = lambda: scale_shift_relu(x, scale, shift, out)
    else:
        x, weight = rng.random((4096, 8), np.float32), rng.random((512, 8), np.float32)
        bias, out = rng.random(512, np.float32), np.empty((4096, 512), np.float32)
        run = lambda: linear_relu(x, weight, bias, out=out)
    run()
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / out.nbytes


def product(size):
    a, b = np.random.default_rng(0).random((2, size, size), np.float32)
    return lambda: (matmul_blocked(a, b), None)[1]


def convolve():
    rng = np.random.default_rng(0)
    x, w = rng.random((4, 1, 64, 64), np.float32), rng.random((8, 1, 3, 3), np.float32)
    b = rng.random(8, np.float32)
    return lambda: (conv2d_im2col(x, w, b, 1, 1), None)[1]
''')


def convolved(x, w, b, stride=(1, 1), padding=(0, 0)):
    """Convolve by loops over the places."""
    (sh, sw), (ph, pw), (kh, kw) = stride, padding, w.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    rows, columns = (padded.shape[2] - kh) // sh + 1, (padded.shape[3] - kw) // sw + 1
    out = np.zeros((len(x), len(w), rows, columns))
    for u, v in np.ndindex(rows, columns):
        window = padded[:, :, u * sh : u * sh + kh, v * sw : v * sw + kw]
        out[:, :, u, v] = np.einsum("ncij,fcij->nf", window, w) + b
    return out


def normalised(x, statistics, eps=0.1):
    """Batch normalisation by running statistics."""
    mean, var, weight, bias = (a[:, None, None] for a in statistics)
    return weight * (x - mean) / np.sqrt(var + eps) + bias


def statistics_of(rng, channels):
    """Mean, variance, weight and bias, none of them trivial; some weights negative."""
    mean, bias = rng.normal(size=(2, channels))
    return mean, rng.random(channels) + 0.5, rng.normal(size=channels), bias


def numbers(rng, *shapes):
    """Normal arrays of float32."""
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@asks("imports", step=7, of="fuse_chain", hint="each name comes from one step; run tito test 18")
def test_kernels_are_there():
    """Call each kernel once, with ones."""
    a = np.ones((2, 2), np.float32)
    expect_equal(Roofline(4.0, 4.0).ridge, 1.0, call="Roofline(4, 4).ridge")
    for name, kernel in (("naive", matmul_naive), ("blocked", matmul_blocked)):
        expect(kernel(a, a), [[2, 2], [2, 2]], call=f"matmul_{name}(ones, ones)", dtype=np.float32)
    x, bias = np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32)
    for name, kernel in (("im2col", conv2d_im2col), ("direct", conv2d_direct)):
        expect(kernel(x, x, bias), [[[[1]]]], call=f"conv2d_{name}(one, one, 0)")
    layer = accelerate(WORK.linear(a, np.zeros(2)).eval())
    expect(layer(Tensor(a)), [[2, 2], [2, 2]], call="accelerate(Linear)(ones)")


@asks("functionality", step=1, of="Roofline.attainable", hint="two limits, the lower one decides")
def test_a_roofline_by_hand():
    """100 GFLOP/s and 20 GB/s: adding two arrays, and a product of 512 × 512 matrices."""
    roof = Roofline(peak=100e9, bandwidth=20e9)
    hint = "operations for each byte at which both limits are equal"
    expect(roof.ridge, 5, call="Roofline(100e9, 20e9).ridge", hint=hint)
    cases = ((1, 12, 20e9 / 12, "memory"), (2 * 512**3, 12 * 512**2, 100e9, "compute"))
    for flops, nbytes, wanted, kind in cases:
        expect(roof.attainable(flops, nbytes), wanted, call=f"attainable({flops}, {nbytes})")
        expect_equal(roof.bound(flops, nbytes), kind, call=f"bound({flops}, {nbytes})")


@asks("functionality", step=1, of="measure_roofline", hint="2n³ operations; five passes of 4 bytes")
def test_this_machine_is_measured():
    """Measure with 256 × 256 matrices and arrays of 0.5 MB: rates that fit the time this took."""
    size, length = 256, 1 << 17
    whole = math.inf
    for _ in range(2):  # the quicker of two, in case the machine is busy
        start = time.perf_counter()
        measured = measure_roofline(size, length)
        seconds = time.perf_counter() - start
        if seconds < whole:
            roof, whole = measured, seconds
    rates = ("peak", roof.peak, 2 * size**3), ("bandwidth", roof.bandwidth, 20 * length)
    for name, rate, amount in rates:
        call = f"measure_roofline({size}, {length}).{name}"
        what = "seconds for one run at this rate, of those the whole measurement took,"
        expect_at_most(amount / rate, whole, call=call, what=what)
        expect_at_most(rate, 1e14, call=call, what="rate")


@asks("functionality", step=2, of="matmul_blocked", hint="tiles at the edge are smaller")
def test_products_in_blocks(rng):
    """Multiply matrices of sides that no block divides, by the definition and in blocks."""
    for n, k, m, block in ((2, 3, 4, 2), (5, 7, 3, 4), (1, 9, 6, 3), (4, 4, 4, 8)):
        a, b = numbers(rng, (n, k), (k, m))
        call = f"({n}, {k}) by ({k}, {m})"
        expect(matmul_naive(a, b), a @ b, call=f"matmul_naive, {call}", dtype=np.float32)
        got = matmul_blocked(a, b, block)
        expect(got, a @ b, call=f"matmul_blocked, {call}, block={block}", atol=1e-5)
    expect_equal(str(got.dtype), "float32", call="dtype of a product of float32")


@asks("functionality", step=3, of="im2col", hint="one column for each place, C·kh·kw numbers high")
def test_columns_by_hand():
    """Write the windows of one row [1, 2, 4, 7] under a kernel of two; then with a stride."""
    x = np.array([1, 2, 4, 7], np.float32).reshape(1, 1, 1, 4)
    got = WORK.columns_of(x, (1, 2), 1, 0)
    expect(got, [[[1, 2, 4], [2, 4, 7]]], call="im2col([1, 2, 4, 7], kernel (1, 2))")
    padded = WORK.columns_of(x, (1, 2), 2, (0, 1))
    expect(padded, [[[0, 2, 7], [1, 4, 0]]], call="im2col, stride 2, padding (0, 1)")


@asks("functionality", step=3, of="conv2d_direct", hint="one product over channels for each tap")
def test_two_convolutions_equal_the_definition(rng):
    """Convolve with kernels that are not square, strides and paddings, in both ways."""
    x, w, b = numbers(rng, (2, 3, 7, 6), (4, 3, 3, 2), (4,))
    for stride, padding in (((1, 1), (0, 0)), ((2, 2), (1, 1)), ((1, 3), (2, 0))):
        wanted = convolved(x, w, b, stride, padding)
        for name, kernel in (("im2col", conv2d_im2col), ("direct", conv2d_direct)):
            call = f"conv2d_{name}, stride {stride}, padding {padding}"
            expect(kernel(x, w, b, stride, padding), wanted, call=call, rtol=1e-4, atol=1e-5)


@asks("functionality", step=4, of="scale_shift_relu", hint="every operation writes into the result")
def test_fused_arithmetic(rng):
    """Scale, shift and clip small and large arrays; also in place, and into a given array."""
    for shape in ((2, 3, 4, 5), (40, 3, 64, 64)):
        x, scale, shift = numbers(rng, shape, (3, 1, 1), (3, 1, 1))
        wanted = np.maximum(x * scale + shift, 0)
        call = f"scale_shift_relu(x of shape {shape}, …)"
        expect(scale_shift_relu(x, scale, shift), wanted, call=call, dtype=np.float32)
        expect_equal(float(x.min()) < 0, True, call="x keeps its values")
    got, shared = WORK.written_into(x[:2], scale, shift)
    expect(got, wanted[:2], call="x after scale_shift_relu(x, …, out=x)")
    expect_equal(shared, True, call="scale_shift_relu(x, …, out=x) is x")


@asks("functionality", step=4, of="linear_relu", hint="bias and ReLU in the product's array")
def test_linear_and_relu_in_one_array(rng):
    """Multiply, add and clip; without a bias, without ReLU, for rows in a batch, into `out`."""
    x, w, b, out = numbers(rng, (2, 5, 4), (3, 4), (3,), (2, 5, 3))
    product = x @ w.T
    expect(linear_relu(x, w, b), np.maximum(product + b, 0), call="linear_relu(x, w, b)", atol=1e-5)
    got = linear_relu(x, w, None, relu=False)
    expect(got, product, call="linear_relu(x, w, None, relu=False)", atol=1e-5)
    same, got = WORK.product_into(x, w, b, out)
    expect(got, np.maximum(product + b, 0), call="out after linear_relu(…, out=out)", atol=1e-5)
    expect_equal(same, True, call="linear_relu(…, out=out) is out")


@asks("functionality", step=5, of="in_batches", hint="runs of rows in order; the last may be short")
def test_batches(rng):
    """Go through 7 rows by 3, by 7 and by 100."""
    x = rng.normal(size=(7, 2))
    for size, wanted in ((3, [3, 3, 1]), (7, [7]), (100, [7])):
        out, sizes = WORK.rows_in_batches(x, size)
        expect(out, x * 2, call=f"in_batches(double, x, {size})")
        expect_equal(sizes, wanted, call=f"sizes of the batches of {size}")


@asks("functionality", step=5, of="in_workers", hint="one share for each thread, joined in order")
def test_threads(rng):
    """Share 7 rows among 2, 3 and 10 threads; let two wait for each other; let one fail."""
    x = rng.normal(size=(7, 2))
    for workers, wanted in ((2, [3, 4]), (3, [2, 2, 3]), (10, [1] * 7)):
        out, sizes = WORK.shares(x, workers)
        expect(out, x * 2, call=f"in_workers(double, x, {workers})")
        expect_equal(sizes, wanted, call=f"rows for each of {workers} workers")
    call = "in_workers with two workers that wait for each other"
    expect_raises(ArithmeticError, in_workers, WORK.fails, x, 2, call="in_workers(fails, x, 2)")
    expect(WORK.meets(x, 2), x * 2, call=call)


@asks("functionality", step=6, of="fold_batchnorm", hint="scale filters; shift by mean and beta")
def test_folding_by_hand(rng):
    """Fold w = 3, b = 1 with mean 2, variance 4 and beta 5; then random filters in groups."""
    one = np.ones(1)
    conv, norm = WORK.conv([[[3 * one]]], one), WORK.norm([2 * one, 4 * one, one, 5 * one], 0.0)
    folded = fold_batchnorm(conv, norm)
    expect(folded.weight, [[[[1.5]]]], call="fold_batchnorm(conv, norm).weight")
    expect(folded.bias, [4.5], call="fold_batchnorm(conv, norm).bias")
    x, w, b = numbers(rng, (2, 4, 6, 5), (6, 4, 3, 2), (6,))
    for bias in (b, None):
        kept = statistics_of(rng, 6)
        conv = WORK.conv(w, bias, stride=2, padding=1)
        plain = convolved(x, w, 0 if bias is None else b, (2, 2), (1, 1))
        wanted = normalised(plain, kept)
        folded = fold_batchnorm(conv, WORK.norm(kept))
        call = "fold_batchnorm(conv, norm)(x)" + (", conv without bias" if bias is None else "")
        expect(folded(Tensor(x)), wanted, call=call, rtol=1e-4, atol=2e-5)
        expect(conv(Tensor(x)), plain, call="the given conv afterwards", rtol=1e-4, atol=1e-5)


@asks("integration", step=7, of="fuse_chain", hint="shorter, and the same answers to 1e-5")
def test_a_network_is_rewritten(rng):
    """Accelerate a network with convolution, normalisation, pooling and a module of its own."""
    shapes = (3, 3, 8, 8), (4, 3, 3, 3), (4,), (5, 64), (5,), (2, 5), (2,)
    x, w, b, v, c, u, d = numbers(rng, *shapes)
    kept = statistics_of(rng, 4)
    model = WORK.network(w, b, kept, v, c, u, d)
    fast = accelerate(model)
    maps = np.maximum(normalised(convolved(x, w, b, padding=(1, 1)), kept), 0)
    pooled = maps.reshape(3, 4, 4, 2, 4, 2).max(axis=(3, 5)).reshape(3, 64)
    wanted = 2 * (np.maximum(pooled @ v.T + c, 0) @ u.T + d)
    for name, network in (("model(x)", model), ("accelerate(model)(x)", fast)):
        expect(network(Tensor(x)), wanted, call=name, rtol=1e-4, atol=1e-4)
    none = {"BatchNorm2d": 0, "Conv2d": 0, "Dropout": 0, "Linear": 0}
    expect_equal(WORK.kinds(fast), none, call="layers left after accelerate")
    before = {"BatchNorm2d": 1, "Conv2d": 1, "Dropout": 1, "Linear": 2}
    expect_equal(WORK.kinds(model), before, call="layers of the given model")
    expect_equal(WORK.wants_gradient(fast, x), False, call="the fast model wants gradients")


@asks("integration", step=7, of="fuse_chain", hint="what stands in between cannot be skipped")
def test_a_relu_in_between_is_respected(rng):
    """Accelerate convolution, ReLU, normalisation: nothing may be folded over the ReLU."""
    x, w, b = numbers(rng, (2, 3, 5, 5), (4, 3, 3, 3), (4,))
    kept = statistics_of(rng, 4)
    wanted = normalised(np.maximum(convolved(x, w, b), 0), kept)
    fast = accelerate(WORK.relu_between(w, b, kept))
    expect(fast(Tensor(x)), wanted, call="accelerate(conv, ReLU, norm)(x)", rtol=1e-4, atol=2e-5)


@asks("performance", step=4, of="scale_shift_relu", hint="no array may be made on the way")
def test_no_new_memory():
    """Run both fused kernels with `out` given, and count the bytes they take meanwhile."""
    for name in ("scale_shift_relu", "linear_relu"):
        share = WORK.peak_of(name)
        call = f"{name}(…, out=out)"
        expect_at_most(share, 0.5, call=call, what="memory taken, in arrays of that size")


@asks("performance", step=2, of="matmul_blocked", hint="`@` on tiles, not loops over numbers")
def test_blocks_are_quick():
    """Multiply 256 × 256 matrices in blocks, against loops in C that use no cache blocks."""
    a, b = np.random.default_rng(0).random((2, 256, 256), np.float32)
    cost = timed(WORK.product(256), repeat=5) / timed(np.einsum, "ik,kj->ij", a, b, repeat=5)
    expect_at_most(cost, 6, call="matmul_blocked, 256 × 256", what="time against loops in C")


@asks("performance", step=3, of="conv2d_im2col", hint="one product for all windows of an image")
def test_columns_are_quick():
    """Convolve 4 images of 64 × 64 pixels, against columns in plain NumPy."""
    rng = np.random.default_rng(0)
    x, w = rng.random((4, 1, 66, 66), np.float32), rng.random((8, 9), np.float32)

    def reference():
        view = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
        return w @ view.transpose(0, 1, 4, 5, 2, 3).reshape(4, 9, -1)

    cost = timed(WORK.convolve(), repeat=7) / timed(reference, repeat=7)
    expect_at_most(cost, 8, call="conv2d_im2col", what="time against columns in NumPy")
