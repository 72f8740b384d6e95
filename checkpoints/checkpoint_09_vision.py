"""Passing proves that convolution, pooling and batch norm are right, with every setting, and quick.

The oracle is the definition in loops: `reference` adds up one tap of one window at a time, and
`reference_gradients` hands each gradient back along the same taps. Hand-worked examples come first.
"""

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
from tinytorch.core.spatial import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2D,
    Conv2d,
    GlobalAvgPool2d,
    MaxPool2d,
    conv2d,
    conv2d_naive,
    max_pool2d,
    output_size,
    windows,
)
from tinytorch.core.tensor import Tensor

RUN = probe('''
import tracemalloc

import numpy as np

from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Linear, Sequential
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import Adam
from tinytorch.core.spatial import BatchNorm2d, Conv2d, GlobalAvgPool2d, MaxPool2d
from tinytorch.core.spatial import conv2d, windows
from tinytorch.core.tensor import Tensor
from tinytorch.imaging import geometry


def make_geometry(kernel, stride, padding, dilation):
    return geometry(kernel, stride, padding, dilation)


def view_is_shared(x):
    """Whether writing into the image shows in its windows."""
    x = x.copy()
    view = windows(x, geometry(2))
    x[...] = 7
    return bool((view == 7).all())


def learn_classes(images, labels, new, state, steps):
    """Train a small network with batch norm; return its answers to new images in evaluation."""
    net = Sequential(Conv2d(1, 4, 3, padding=1), BatchNorm2d(4), ReLU(), MaxPool2d(2),
                     Conv2d(4, 8, 3, padding=1), BatchNorm2d(8), ReLU(), GlobalAvgPool2d(),
                     Linear(8, 2))
    net.load_state_dict(state, strict=False)
    optimizer, images, labels = Adam(net.parameters(), lr=0.02), Tensor(images), Tensor(labels)
    for _ in range(steps):
        optimizer.zero_grad()
        CrossEntropyLoss()(net(images), labels).backward()
        optimizer.step()
    net.eval()
    together = net(Tensor(new)).numpy()
    alone = np.concatenate([net(Tensor(new[i : i + 1])).numpy() for i in range(4)])
    return together, alone


def peak(shape, filters, needs_input=True):
    """Bytes at the peak of a forward and a backward pass."""
    x = Tensor(np.ones(shape, np.float32), requires_grad=needs_input)
    w = Tensor(np.ones((filters, shape[1], 3, 3), np.float32), requires_grad=True)
    g = Tensor(np.ones((shape[0], filters, *shape[2:]), np.float32))
    tracemalloc.start()
    conv2d(x, w, padding=1).backward(g)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most

''')


def both(n):
    """A setting for the two axes."""
    return n if isinstance(n, tuple) else (n, n)


def taps(padded, out_shape, kernel, stride, dilation):
    """What each tap of the kernel sees at every place: (i, j), and a writable slice."""
    (sh, sw), (dh, dw) = both(stride), both(dilation)
    for i, j in np.ndindex(kernel):
        rows = slice(i * dh, i * dh + (out_shape[2] - 1) * sh + 1, sh)
        columns = slice(j * dw, j * dw + (out_shape[3] - 1) * sw + 1, sw)
        yield (i, j), padded[:, :, rows, columns]


def padded_and_shape(x, kernel, stride, padding, dilation, value=0.0):
    """The padded images, and the shape of the output but for its channels."""
    (ph, pw), s, d = both(padding), both(stride), both(dilation)
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=value)
    sizes = []
    for axis in (0, 1):
        room, span = padded.shape[2 + axis], d[axis] * (kernel[axis] - 1) + 1
        sizes.append(len(range(0, room - span + 1, s[axis])))
    return padded, (*x.shape[:2], *sizes)


def reference(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlate, one tap and one pair of channels at a time."""
    padded, shape = padded_and_shape(x, w.shape[2:], stride, padding, dilation)
    out = np.zeros((len(x), len(w), *shape[2:]))
    for (i, j), seen in taps(padded, shape, w.shape[2:], stride, dilation):
        for f in range(len(w)):
            first = f // (len(w) // groups) * w.shape[1]
            for c in range(w.shape[1]):
                out[:, f] += w[f, c, i, j] * seen[:, first + c]
    return out if b is None else out + b[:, None, None]


def reference_gradients(g, x, w, stride=1, padding=0, dilation=1, groups=1):
    """Gradients of x, weight and bias: every tap hands its share back."""
    padded, shape = padded_and_shape(x, w.shape[2:], stride, padding, dilation)
    back, gw = np.zeros(padded.shape), np.zeros(w.shape)
    places = taps(back, shape, w.shape[2:], stride, dilation)
    for ((i, j), seen), (_, target) in zip(
        taps(padded, shape, w.shape[2:], stride, dilation), places, strict=True
    ):
        for f in range(len(w)):
            first = f // (len(w) // groups) * w.shape[1]
            for c in range(w.shape[1]):
                gw[f, c, i, j] += (g[:, f] * seen[:, first + c]).sum()
                target[:, first + c] += w[f, c, i, j] * g[:, f]
    (ph, pw), (h, width) = both(padding), x.shape[2:]
    return back[:, :, ph : ph + h, pw : pw + width], gw, g.sum(axis=(0, 2, 3))


SETTINGS = {
    "plain": {},
    "stride (1, 3)": {"stride": (1, 3)},
    "padding 1": {"padding": 1},
    "dilation (2, 1)": {"dilation": (2, 1)},
    "depthwise": {"groups": 4, "padding": (0, 2)},
    "all": {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2), "groups": 2},
}
each_setting = pytest.mark.parametrize("name", SETTINGS)


def random_case(rng, name):
    """Images, filters (kernel 3 x 2), biases and settings."""
    how = SETTINGS[name]
    shapes = (3, 4, 8, 7), (8, 4 // how.get("groups", 1), 3, 2), (8,)
    return *(rng.standard_normal(shape).astype(np.float32) for shape in shapes), how


@asks("imports", step=6, of="Conv2d", hint="each name comes from one step; run tito test 09")
def test_the_module_offers_its_names():
    """Use every layer once on an image of 3 channels, 8 by 8."""
    x = Tensor(np.ones((2, 3, 8, 8), np.float32))
    layers = {
        "Conv2d(3, 5, 3)": Conv2d(3, 5, 3),
        "Conv2D(3, 5, kernel_size=3)": Conv2D(3, 5, kernel_size=3),
        "MaxPool2d(2)": MaxPool2d(2),
        "AvgPool2d(2, 1)": AvgPool2d(2, 1),
        "AdaptiveAvgPool2d((2, 3))": AdaptiveAvgPool2d((2, 3)),
        "BatchNorm2d(3)": BatchNorm2d(3),
    }
    for call, layer in layers.items():
        expect_equal(len(layer(x).shape), 4, call=f"axes of {call}(x)")
    expect(GlobalAvgPool2d()(x * 3), np.full((2, 3), 3), call="GlobalAvgPool2d()(3 everywhere)")


@asks("functionality", step=1, of="output_size", hint="count the places where the window fits")
def test_output_size(rng):
    """Count the places of a window for random settings; refuse one that does not fit once."""
    expect_equal(output_size(7, 3, 2, 0), 3, call="output_size(7, 3, 2, 0)")
    for size, *how in rng.integers(1, 5, (40, 5)).tolist():
        kernel, stride, padding, dilation = how
        size = 3 * size + 13
        places = len(range(0, size + 2 * padding - dilation * (kernel - 1), stride))
        expect_equal(output_size(size, *how), places, call=f"output_size({size}, *{how})")
    call = "output_size(5, 4, dilation=2)"
    expect_raises(ValueError, output_size, 5, 4, 1, 0, 2, call=call, mentions=(7, 5))


@pytest.mark.parametrize("function", [0, 1])
@asks("functionality", step=2, of="conv2d_loops", hint="the kernel is laid on as it is, not turned")
def test_by_hand(function):
    """Lay the kernel [[0, 1], [2, 0]] on the image 1 .. 9, as it stands."""
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    w = np.array([[[[0.0, 1.0], [2.0, 0.0]]]])
    call, run = (("conv2d_naive", conv2d_naive), ("conv2d", conv2d))[function]
    expected = [[[[2 + 2 * 4, 3 + 2 * 5], [5 + 2 * 7, 6 + 2 * 8]]]]
    expect(run(Tensor(x), Tensor(w)), expected, call=call)
    expect(run(Tensor(x), Tensor(w), Tensor([100.0])), np.add(expected, 100), call=f"{call}, bias")


@pytest.mark.parametrize("name", ["stride (1, 3)", "depthwise", "all"])
@asks("functionality", step=2, of="conv2d_loops", hint="each setting enters where a window starts")
def test_naive_convolution(name, rng):
    """Convolve in loops, with various settings."""
    x, w, b, how = random_case(rng, name)
    got = conv2d_naive(Tensor(x), Tensor(w), Tensor(b), **how)
    expect(got, reference(x, w, b, **how), call=f"conv2d_naive, {name}", rtol=1e-4, atol=1e-4)


@asks("functionality", step=3, of="windows", hint="two more axes, two more strides, no copy")
def test_windows(rng):
    """View an image as windows: the right pixels, in the image's own memory."""
    x, kernel, stride, dilation = rng.standard_normal((2, 3, 9, 8)), (3, 2), (2, 1), (1, 3)
    padded, shape = padded_and_shape(x, kernel, stride, 0, dilation)
    expected = np.empty((2, 3, *kernel, *shape[2:]))
    for (i, j), seen in taps(padded, shape, kernel, stride, dilation):
        expected[:, :, i, j] = seen
    got = windows(x, RUN.make_geometry(kernel, stride, 0, dilation))
    expect(got, expected, call=f"windows(kernel={kernel}, {stride=}, {dilation=})")
    expect_equal(RUN.view_is_shared(x), True, call="windows(x) shows a change of x")


@each_setting
@asks("functionality", step=4, of="convolution", hint="every setting is in the windows' strides")
def test_convolution(name, rng):
    """Convolve by matrix products, with every setting."""
    x, w, b, how = random_case(rng, name)
    got = conv2d(Tensor(x), Tensor(w), Tensor(b), **how)
    near = {"rtol": 1e-4, "atol": 1e-4, "dtype": np.float32}
    expect(got, reference(x, w, b, **how), call=f"conv2d, {name}", **near)


@each_setting
@asks("functionality", step=5, of="input_gradient", hint="uses add up: over places, over the batch")
def test_gradients_of_convolution(name, rng):
    """Go back through a convolution: gradients of images, filters and biases."""
    x, w, b, how = random_case(rng, name)
    inputs = [Tensor(a.astype(np.float64), requires_grad=True) for a in (x, w, b)]
    out = conv2d(*inputs, **how)
    g = rng.standard_normal(out.shape)
    out.backward(Tensor(g))
    expected = reference_gradients(g, x.astype(np.float64), w.astype(np.float64), **how)
    for what, tensor, slope in zip(("input", "weight", "bias"), inputs, expected, strict=True):
        expect(tensor.grad, slope, call=f"gradient of the {what}, conv2d, {name}", rtol=1e-6)


@asks("functionality", step=5, of="scatter", hint="a pixel at the border is in fewer windows")
def test_border_pixels_by_hand():
    """Count in how many 3x3 windows each pixel of a 4x4 image lies, with padding 1."""
    x = Tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    conv2d(x, Tensor(np.ones((1, 1, 3, 3))), padding=1).sum().backward()
    edge, middle = [4.0, 6, 6, 4], [6.0, 9, 9, 6]
    expect(x.grad, [[[edge, middle, middle, edge]]], call="gradient of a sum of windows")


@pytest.mark.parametrize("shape", [(5, 16, 32, 32), (2, 16, 90, 70)])
@asks("functionality", step=5, of="weight_gradient", hint="every block counts, also the last")
def test_large_batches_and_images(shape, rng):
    """Convolve more than one block holds, forward and backward."""
    x, w = rng.standard_normal(shape), rng.standard_normal((2, 16, 3, 3))
    inputs = [Tensor(a.astype(np.float32), requires_grad=True) for a in (x, w)]
    out = conv2d(*inputs, padding=1)
    expect(out, reference(x, w, padding=1), call=f"conv2d of {shape}", rtol=1e-3, atol=1e-3)
    g = rng.standard_normal(out.shape)
    out.backward(Tensor(g.astype(np.float32)))
    gx, gw, _ = reference_gradients(g, x, w, padding=1)
    expect(
        inputs[0].grad, gx, call=f"gradient of the input, conv2d of {shape}", rtol=1e-3, atol=1e-3
    )
    expect(
        inputs[1].grad, gw, call=f"gradient of the weight, conv2d of {shape}", rtol=1e-3, atol=5e-3
    )


@asks("functionality", step=6, of="Conv2d.forward", hint="the layer passes on all of its settings")
def test_the_layer(rng):
    """Make layers with PyTorch's arguments; compare output, state and first values."""
    x = rng.standard_normal((2, 4, 7, 6)).astype(np.float32)
    layer = Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2)
    w, b = layer.weight.numpy(), layer.bias.numpy()
    expected = reference(x, w, b, (2, 1), (1, 0), (1, 2), 2)
    expect(layer(Tensor(x)), expected, call="Conv2d(4, 6, (3, 2), (2, 1), …)(x)", atol=1e-5)
    bare = Conv2d(3, 2, 3, bias=False)
    expect_equal(list(bare.state_dict()), ["weight"], call="state of Conv2d(bias=False)")
    for p in Conv2d(8, 300, 3, groups=2).parameters():
        values, bound = p.numpy(), 1 / 6
        ok = 0.95 * bound < np.abs(values).max() <= bound and np.abs(values.mean()) < 0.03
        call, got = "first values of Conv2d(8, 300, 3, groups=2)", [values.min(), values.max()]
        expect_true(bool(ok), call=call, expected="uniform in [-1/6, 1/6]", got=np.array(got))


POOLS = [((2, 2), None, 0, 1), ((3, 2), (1, 2), 1, 1), (2, 1, 0, (2, 3))]


def pool_reference(x, kernel, stride, padding, dilation, value):
    """All taps of every window, stacked in reading order: (kh * kw, N, C, OH, OW)."""
    kernel, stride = both(kernel), kernel if stride is None else stride
    padded, shape = padded_and_shape(x, kernel, stride, padding, dilation, value)
    return np.stack([seen for _, seen in taps(padded, shape, kernel, stride, dilation)])


@pytest.mark.parametrize("case", range(len(POOLS)))
@asks("functionality", step=7, of="max_forward", hint="padding never wins, even among negatives")
def test_max_pool(case, rng):
    """Take the largest number of each window; all are negative here."""
    x = -1 - rng.random((2, 3, 7, 8)).astype(np.float32)
    expected = pool_reference(x, *POOLS[case], -np.inf).max(axis=0)
    expect(max_pool2d(Tensor(x), *POOLS[case]), expected, call=f"max_pool2d{POOLS[case]}")


@asks("functionality", step=7, of="max_backward", hint="one winner a window; a pixel may win twice")
def test_max_pool_gradient(rng):
    """Give each gradient to the one pixel that won; the first, among equals."""
    x = Tensor([[[[1.0, 5, 0], [5, 2, 0]]]], requires_grad=True)
    max_pool2d(x, 2, 1).backward(Tensor([[[[3.0, 4.0]]]]))
    expect(x.grad, [[[[0, 7, 0], [0, 0, 0]]]], call="gradient of max_pool2d, 5 twice")
    values = rng.permutation(2 * 3 * 7 * 8).reshape(2, 3, 7, 8).astype(np.float64)
    x = Tensor(values, requires_grad=True)
    out = max_pool2d(x, (3, 2), (1, 2), 1)
    g, expected = rng.standard_normal(out.shape), np.zeros((2, 3, 9, 10))
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    for n, c, u, v in np.ndindex(out.shape):
        window = padded[n, c, u : u + 3, 2 * v : 2 * v + 2]
        i, j = np.unravel_index(window.argmax(), window.shape)
        expected[n, c, u + i, 2 * v + j] += g[n, c, u, v]
    out.backward(Tensor(g))
    expect(x.grad, expected[:, :, 1:-1, 1:-1], call="gradient of max_pool2d(x, (3, 2), (1, 2), 1)")


@pytest.mark.parametrize("include", [True, False])
@asks("functionality", step=7, of="average_pooling", hint="what is the sum divided by, both ways?")
def test_average_pool(include, rng):
    """Average windows over the border, with and without counting the padding; and go back."""
    values = rng.standard_normal((2, 3, 7, 8))
    x, case = Tensor(values, requires_grad=True), ((3, 2), (2, 1), 1)
    counts = pool_reference(np.ones((1, 1, 7, 8)), *case, 1, 0.0).sum(axis=0)
    divisor = 6.0 if include else counts
    expected = pool_reference(values, *case, 1, 0.0).sum(axis=0) / divisor
    call = f"AvgPool2d((3, 2), (2, 1), 1, count_include_pad={include})"
    out = AvgPool2d(*case, count_include_pad=include)(x)
    expect(out, expected, call=call)
    g, back = rng.standard_normal(out.shape), np.zeros((2, 3, 9, 10))
    out.backward(Tensor(g))
    for _, target in taps(back, out.shape, (3, 2), (2, 1), 1):
        target += g / divisor
    expect(x.grad, back[:, :, 1:-1, 1:-1], call=f"gradient of {call}")


def normalised(x, mean, var, gamma, beta, eps=1e-5):
    """Scale and shift each channel of x."""
    mean, var, gamma, beta = (np.reshape(a, (-1, 1, 1)) for a in (mean, var, gamma, beta))
    return (x - mean) / np.sqrt(var + eps) * gamma + beta


@asks("functionality", step=8, of="normalisation", hint="training uses the batch, all of it")
def test_batch_norm_in_training(rng):
    """Normalise batches far from 0 by their own mean and biased variance, then γ and β."""
    gamma, beta = rng.uniform(0.5, 2, 3), rng.standard_normal(3)
    norm = BatchNorm2d(3)
    norm.load_state_dict({"weight": gamma, "bias": beta}, strict=False)
    for shift in (0.0, 1000.0):
        x = rng.standard_normal((4, 3, 3, 2)) * [[[2.0]], [[0.5]], [[3.0]]] + shift
        expected = normalised(x, x.mean((0, 2, 3)), x.var((0, 2, 3)), gamma, beta)
        call = f"BatchNorm2d(3)(x), mean near {shift:g}"
        expect(norm(Tensor(x.astype(np.float32))), expected, call=call, rtol=1e-3, atol=2e-3)


@asks("functionality", step=8, of="BatchNorm2d.track", hint="momentum is the share of what is new")
def test_batch_norm_keeps_running_averages(rng):
    """Follow running mean, unbiased running variance and the count over three batches."""
    for momentum in (0.3, None):
        norm, mean, var = BatchNorm2d(2, momentum=momentum), np.zeros(2), np.ones(2)
        for step in (1, 2, 3):
            x = (rng.standard_normal((3, 2, 2, 2)) * 3 + 5).astype(np.float32)
            share = 1 / step if momentum is None else momentum
            mean = (1 - share) * mean + share * x.mean((0, 2, 3))
            var = (1 - share) * var + share * x.var((0, 2, 3), ddof=1)
            norm(Tensor(x))
        call = f"BatchNorm2d(2, momentum={momentum})"
        expect(norm.running_mean, mean, call=f"{call}.running_mean", rtol=1e-4)
        expect(norm.running_var, var, call=f"{call}.running_var", rtol=1e-4)
        expect_equal(int(norm.num_batches_tracked), 3, call=f"{call}.num_batches_tracked")


@asks("functionality", step=8, of="BatchNorm2d.by_running", hint="evaluation looks at no batch")
def test_batch_norm_in_evaluation(rng):
    """Normalise by the running averages after eval(), leave them alone, and go back."""
    names = ("running_mean", "running_var", "weight", "bias")
    state = dict(zip(names, rng.uniform(0.5, 2, (4, 3)), strict=True))
    norm = BatchNorm2d(3)
    norm.load_state_dict(state, strict=False)
    norm.eval()
    values = rng.standard_normal((2, 3, 4, 2)).astype(np.float32)
    x = Tensor(values, requires_grad=True)
    out = norm(x)
    expect(out, normalised(values, *state.values()), call="BatchNorm2d(3).eval()(x)", rtol=1e-4)
    expect(norm.running_mean, state["running_mean"], call="running_mean after evaluation")
    g = rng.standard_normal(out.shape).astype(np.float32)
    out.backward(Tensor(g))
    slope = (state["weight"] / np.sqrt(state["running_var"] + 1e-5)).reshape(-1, 1, 1)
    expect(x.grad, g * slope, call="gradient of x, BatchNorm2d(3).eval()", rtol=1e-4)


@asks("functionality", step=8, of="normalisation_gradients", hint="x also moves mean and variance")
def test_batch_norm_gradients(rng):
    """Compare the gradients of x, γ and β in training with measured slopes."""
    values, gamma, beta = rng.standard_normal((3, 2, 2, 3)), *rng.uniform(0.5, 2, (2, 2))
    g = rng.standard_normal(values.shape)

    def loss(x, gamma, beta):
        return (normalised(x, x.mean((0, 2, 3)), x.var((0, 2, 3)), gamma, beta) * g).sum()

    norm = BatchNorm2d(2)
    norm.weight.data, norm.bias.data = gamma, beta
    x = Tensor(values, requires_grad=True)
    norm(x).backward(Tensor(g))
    arrays = [values, gamma, beta]
    for place, (what, tensor) in enumerate({"x": x, "γ": norm.weight, "β": norm.bias}.items()):
        slopes = np.zeros_like(arrays[place])
        for index in np.ndindex(slopes.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [a.copy() for a in arrays]
                moved[place][index] += step
                ends.append(loss(*moved))
            slopes[index] = (ends[0] - ends[1]) / 2e-6
        expect(tensor.grad, slopes, call=f"gradient of {what}, BatchNorm2d", rtol=1e-5, atol=1e-6)


@asks("integration", step=8, of="BatchNorm2d", hint="evaluation must not depend on the neighbours")
def test_a_network_tells_bars_apart(rng):
    """Train a small network to tell rows from columns; ask it in a batch and one by one."""
    labels = rng.integers(0, 2, 96)
    images = 0.3 * rng.standard_normal((96, 1, 8, 8))
    for image, label, place in zip(images, labels, rng.integers(0, 8, 96), strict=True):
        image[0][(place, slice(None)) if label else (slice(None), place)] += 1.5
    state = {
        "0.weight": rng.uniform(-0.3, 0.3, (4, 1, 3, 3)),
        "4.weight": rng.uniform(-0.2, 0.2, (8, 4, 3, 3)),
    }
    images = images.astype(np.float32)
    train, new = images[:64], images[64:]
    together, alone = RUN.learn_classes(train, labels[:64], new, state, 60)
    right = float((np.argmax(together, axis=1) == labels[64:]).mean())
    expect_at_most(1 - right, 0.1, call="rows against columns", what="share of wrong answers")
    expect(alone, together[:4], call="answers one by one", rtol=1e-3, atol=1e-3)


@asks("performance", step=4, of="convolution", hint="one matrix product a block, no pixel loop")
def test_convolution_is_a_matrix_product(rng):
    """Convolve 16 images of 16 channels, against nine matrix products over the whole batch."""
    x = rng.standard_normal((16, 16, 24, 24)).astype(np.float32)
    w = rng.standard_normal((32, 16, 3, 3)).astype(np.float32)
    padded, shape = padded_and_shape(x, (3, 3), 1, 1, 1)
    views = [seen for _, seen in taps(padded, shape, (3, 3), 1, 1)]

    def direct():
        flat = [v.transpose(1, 0, 2, 3).reshape(16, -1) for v in views]
        return sum(
            m @ v for m, v in zip(w.reshape(32, 16, 9).transpose(2, 0, 1), flat, strict=True)
        )

    images, bank = Tensor(x), Tensor(w)
    yours = timed(conv2d, images, bank, None, 1, 1, repeat=7)
    ratio = yours / timed(direct, repeat=7)
    expect_at_most(ratio, 8.0, call="conv2d", what="time of nine products")


@asks("performance", step=4, of="convolution", hint="make the columns of a block, not of the batch")
def test_memory_is_bounded():
    """Convolve 48 images of 16 channels, forward and back: not nine copies of the batch."""
    limit = 3 * (2 * 48 * 16 * 32 * 32 * 4)
    got = RUN.peak((48, 16, 32, 32), 16)
    expect_at_most(got, limit, call="conv2d(x, w, padding=1).backward(g)", what="bytes at the peak")


@asks("performance", step=5, of="input_gradient", hint="a gradient nobody wants is not computed")
def test_images_need_no_gradient():
    """Go back without a gradient for the images: it must not even be computed."""
    shape = (48, 16, 32, 32)
    saved = RUN.peak(shape, 16) - RUN.peak(shape, 16, needs_input=False)
    call = "conv2d(x, w).backward(g), x without requires_grad"
    expect_true(saved > 1.5e6, call=call, expected="at least 1.5 MB less memory", got=saved)
