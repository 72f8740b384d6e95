"""Checkpoint 15: can I shrink a model fourfold and keep its accuracy?

Passing proves that numbers become int8 codes and come back within half a mark, that ranges are
learned from data, that layers add integers up exactly and correct for the zero point, and that a
network quantized from end to end answers nearly as before in a quarter of the memory.
"""

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
from tinytorch.core.layers import Linear
from tinytorch.core.quantization import (
    Calibrator,
    QuantizedConv2d,
    QuantizedLinear,
    choose_qparams,
    dequantize,
    fold_batch_norm,
    fp16_state,
    integer_matmul,
    model_nbytes,
    quantization_report,
    quantize,
    quantize_model,
)
from tinytorch.core.spatial import BatchNorm2d, Conv2d
from tinytorch.core.tensor import Tensor

WORK = probe('''
import numpy as np
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Dropout, Flatten, Linear, Sequential
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import Adam
from tinytorch.core.quantization import integer_matmul, quantize
from tinytorch.core.spatial import BatchNorm2d, Conv2d, MaxPool2d
from tinytorch.core.tensor import Tensor, manual_seed


def cnn():
    """A network with every kind of layer that quantize_model is asked to deal with."""
    return Sequential(
        Conv2d(1, 16, 3, padding=1, bias=False), BatchNorm2d(16), ReLU(), MaxPool2d(2),
        Flatten(), Dropout(0.5), Linear(256, 32), ReLU(), Linear(32, 4),
    )


def trained(images, labels, steps):
    """Train the network; it is left in training mode."""
    manual_seed(0)
    model = cnn()
    optimizer, loss = Adam(model.parameters(), lr=0.01), CrossEntropyLoss()
    for _ in range(steps):
        model.zero_grad()
        loss(model(Tensor(images)), Tensor(labels)).backward()
        optimizer.step()
    return model


def state(model):
    """The numbers of a model, and the modes of its parts."""
    modes = [part.training for part in model.modules()]
    return {name: t.numpy().copy() for name, t in model.state_dict().items()}, modes


def answers(model, images):
    """The outputs of a model in the mode it is in."""
    return model(Tensor(images)).numpy()


def products(m, k, n, times):
    """Prepare codes; return a function that multiplies them some times."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((m, k), (k, n)))

    def run():
        for _ in range(times):
            integer_matmul(a, b)

    return run


def coding(channels):
    """Prepare weights; return a function that quantizes them per channel."""
    x = np.random.default_rng(0).random((channels, 640_000 // channels), np.float32)
    return lambda: quantize(x, axis=0).values.shape
''')


def packed(kind, layer, low, high):
    """Quantize a layer whose inputs were seen to run from low to high."""
    seen = Calibrator()
    seen.observe(np.array([low, high], np.float32))
    return kind.from_float(layer, seen)


def marks(rng, shape, scale=0.05, zero_point=-28):
    """Draw inputs away from the middle between two marks, and their codes."""
    codes = rng.integers(-128, 128, shape)
    x = scale * (codes - zero_point + rng.uniform(-0.4, 0.4, shape))
    return np.clip(x, -5, 7.75).astype(np.float32), codes


def weights(rng, shape):
    """Draw weights away from the middle between two marks: values, codes, scale per channel."""
    scale = 10.0 ** rng.uniform(-3, -1, shape[0])
    codes = rng.integers(-126, 127, shape)
    jitter = rng.uniform(-0.4, 0.4, shape)
    codes[:, 0], jitter[:, 0] = -127, 0  # the largest of each channel
    values = (codes + jitter) * scale.reshape(-1, *[1] * (len(shape) - 1))
    return values.astype(np.float32), codes, scale


def convolve(x, weight, stride, padding, groups):
    """Convolve in loops over the places."""
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    filters, channels, kh, kw = weight.shape
    rows, columns = ((n - k) // stride + 1 for n, k in zip(x.shape[2:], (kh, kw), strict=True))
    out = np.zeros((len(x), filters, rows, columns))
    for f, u, v in np.ndindex(filters, rows, columns):
        first = f // (filters // groups) * channels
        top, left = u * stride, v * stride
        window = x[:, first : first + channels, top : top + kh, left : left + kw]
        out[:, f, u, v] = (window * weight[f]).sum(axis=(1, 2, 3))
    return out


def striped_images(rng, count):
    """Images 8x8 of four kinds of stripes, with noise, and their kinds."""
    kinds = rng.integers(0, 4, count)
    i, j = np.indices((8, 8))
    stripes = np.stack([i % 4 < 2, j % 4 < 2, (i + j) % 4 < 2, (i - j) % 4 < 2])
    images = stripes[kinds] + rng.normal(0, 0.4, (count, 8, 8))
    return images[:, None].astype(np.float32), kinds


@asks("imports", step=1, of="quantize", hint="each name comes from one step; run tito test 15")
def test_names_are_there():
    """Code a number, calibrate, and make one of each quantized layer."""
    q = quantize(np.array([0, 1], np.float32))
    expect_equal(q.values.tolist(), [-128, 127], call="quantize([0, 1]).values")
    expect(dequantize(q), [0, 1], call="dequantize(quantize([0, 1]))", atol=0.01)
    linear = packed(QuantizedLinear, Linear(3, 2), -1, 1)
    expect_equal(linear(Tensor(np.zeros((4, 3)))).shape, (4, 2), call="QuantizedLinear: shape")
    conv = packed(QuantizedConv2d, Conv2d(1, 2, 3), -1, 1)
    expect_equal(conv(Tensor(np.zeros((1, 1, 5, 5)))).shape, (1, 2, 3, 3), call="QuantizedConv2d")


@asks(
    "functionality",
    step=1,
    of="choose_qparams",
    hint="256 marks have how many gaps? and 0 must be a mark",
)
def test_scale_and_zero_point_by_hand():
    """Choose scale and zero point for -1 to 3, 2 to 4, -5 to -1; symmetric for -1 to 3, 0 to 0."""
    scale, zero_point = choose_qparams([-1, 2, -5], [3, 4, -1])
    expect(
        scale,
        np.array([4, 4, 5]) / 255,
        call="scales of choose_qparams(low, high)",
        dtype=np.float32,
    )
    expect(zero_point, [-64, -128, 127], call="zero points of choose_qparams(low, high)")
    scale, zero_point = choose_qparams([-1, 0], [3, 0], symmetric=True)
    expect(
        scale, [3 / 127, 1], call="scales of choose_qparams(…, symmetric=True)", dtype=np.float32
    )
    expect(zero_point, [0, 0], call="zero points of choose_qparams(…, symmetric=True)")


@asks("functionality", step=1, of="quantize", hint="what becomes of 138, cast to int8?")
def test_codes_by_hand():
    """Code numbers with scale 0.5 and zero point 10; those out of range saturate."""
    x = np.array([-1e9, -69.1, -0.2, 0, 0.3, 0.75, 1.25, 58.4, 64, 1e9], np.float32)
    q = quantize(x, scale=0.5, zero_point=10)
    wanted = [-128, -128, 10, 10, 11, 12, 12, 127, 127, 127]
    expect(q.values, wanted, call="quantize(x, 0.5, 10).values", dtype=np.int8)
    back = (np.array(wanted) - 10) * 0.5
    expect(dequantize(q), back, call="dequantize(quantize(x, 0.5, 10))", dtype=np.float32)


@asks("functionality", step=1, of="quantize", hint="half a mark, whatever lies in the range")
def test_the_error_is_half_a_mark(rng):
    """Code random numbers per tensor, per channel along each axis, and with fewer bits."""
    x = (rng.normal(size=(5, 6, 7)) * 10.0 ** rng.integers(-3, 3, (5, 6, 1))).astype(np.float32)
    for axis, symmetric, bits in ((None, False, 8), (0, True, 8), (1, False, 8), (-1, False, 4)):
        call = f"quantize(x, axis={axis}, symmetric={symmetric}, bits={bits})"
        q = quantize(Tensor(x), axis=axis, symmetric=symmetric, bits=bits)
        others = None if axis is None else tuple(i for i in range(3) if i != axis % 3)
        low, high = np.minimum(x.min(axis=others), 0), np.maximum(x.max(axis=others), 0)
        top = 2 ** (bits - 1) - 1
        gaps = np.maximum(-low, high) / top if symmetric else (high - low) / (2 * top + 1)
        expect(q.scale, gaps, call=f"{call}.scale", dtype=np.float32)
        ends = [int(np.min(q.values)), int(np.max(q.values))]
        inside = -top - 1 <= ends[0] and ends[1] <= top
        expect_true(inside, call=f"{call}.values", expected=f"up to {top}", got=ends)
        shape = () if axis is None else [-1 if i == axis % 3 else 1 for i in range(3)]
        worst = (np.abs(dequantize(q).numpy() - x) / np.reshape(gaps, shape)).max()
        expect_at_most(worst, 0.501, call=f"dequantize({call})", what="error in marks")


@asks("functionality", step=1, of="quantize", hint="zero, and a constant, have a code of their own")
def test_zero_and_constants_are_exact():
    """Code arrays that hold 0 among others, that hold one number only, and that are all 0."""
    for values in ([-3, 0, 5], [4.2, 4.2], [-0.003, -0.003], [0, 0]):
        x = np.array(values, np.float32)
        back = dequantize(quantize(x)).numpy()
        expect(back[1:2], x[1:2], call=f"dequantize(quantize({values}))[1:2]", atol=0)


@asks("functionality", step=2, of="Calibrator.observe", hint="the range runs over all batches")
def test_ranges_run_over_batches(rng):
    """Observe batches of several sizes with minmax and with the 90th percentile."""
    batches = [rng.normal(m, 2, n).astype(np.float32) for m, n in ((0, 50), (3, 10), (-1, 200))]
    extremes, clipped = Calibrator(), Calibrator("percentile", 90)
    for batch in batches:
        extremes.observe(Tensor(batch))
        clipped.observe(batch)
    every = np.concatenate(batches)
    expect(
        [extremes.low, extremes.high],
        [every.min(), every.max()],
        call="Calibrator(): low, high after 3 batches",
    )
    ends = [np.percentile(batch, [10, 90]) for batch in batches]
    wanted = np.average(ends, axis=0, weights=[50, 10, 200])
    expect([clipped.low, clipped.high], wanted, call="Calibrator('percentile', 90): low, high")
    scale, _ = clipped.qparams()
    expect(
        scale, (wanted[1] - wanted[0]) / 255, call="Calibrator('percentile', 90): scale", rtol=1e-4
    )


@asks("functionality", step=3, of="integer_matmul", hint="float32 is exact up to 2**24 only")
def test_integer_products_are_exact(rng):
    """Multiply codes with 7 to 9000 products a sum, random ones and the largest."""
    for k in (7, 1024, 1025, 2500):
        a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in ((2, 3, k), (k, 4)))
        call = f"integer_matmul of {k} products a sum"
        exact = a.astype(int) @ b.astype(int)
        expect(integer_matmul(a, b), exact, call=call, rtol=0, atol=0, dtype=np.int32)
    a = np.full((1, 9000), 127, np.int8)
    a[0, 0] = 126
    call = "integer_matmul of 9000 large products"
    got = integer_matmul(a, np.full((9000, 1), 127, np.int8))
    expect(got, [[127 * 127 * 9000 - 127]], call=call, rtol=0, atol=0)


@asks("functionality", step=4, of="QuantizedLayer.pack", hint="scale, correction: per channel")
def test_a_packed_layer_holds_codes(rng):
    """Quantize a Linear with rows of different size; look at its buffers."""
    layer, (weight, codes, scale) = Linear(50, 6), weights(rng, (6, 50))
    layer.load_state_dict({"weight": weight, "bias": np.arange(6)})
    small = packed(QuantizedLinear, layer, -5, 7.75)
    expect(small.weight_scale, scale, call="weight_scale", dtype=np.float32)
    expect(small.weight, codes, call="weight", dtype=np.int8)
    expect(small.input_zero_point, -28, call="input_zero_point")
    expect(small.correction, -28 * codes.sum(axis=1), call="correction", dtype=np.int32)
    expect(layer.weight, weight, call="weight of the float layer", atol=0)


@asks("functionality", step=4, of="QuantizedLayer.decode", hint="subtract z times the sum of codes")
def test_quantized_linear(rng):
    """Compare with sums of codes in whole numbers, with and without a bias, for (2, 3, 40)."""
    x, codes = marks(rng, (2, 3, 40))
    for bias in (True, False):
        layer, (weight, weight_codes, scale) = Linear(40, 5, bias), weights(rng, (5, 40))
        layer.load_state_dict({"weight": weight, **({"bias": np.arange(5)} if bias else {})})
        small = packed(QuantizedLinear, layer, -5, 7.75)
        wanted = (codes + 28) @ weight_codes.T * (0.05 * scale) + np.arange(5) * bias
        call = f"QuantizedLinear(40, 5, bias={bias})(x)"
        expect(small(Tensor(x)), wanted, call=call, rtol=1e-4, atol=1e-4, dtype=np.float32)


@asks("functionality", step=5, of="integer_convolution", hint="which code does a padded 0 have?")
def test_quantized_convolution(rng):
    """Compare with loops over codes: stride, padding, groups; the edge is padded with zeros."""
    x, codes = marks(rng, (2, 4, 6, 5))
    for stride, padding, groups in ((1, 0, 1), (2, 1, 2), (1, 2, 4)):
        layer = Conv2d(4, 4, 3, stride, padding, groups=groups)
        weight, weight_codes, scale = weights(rng, (4, 4 // groups, 3, 3))
        layer.load_state_dict({"weight": weight, "bias": np.arange(4)})
        small = packed(QuantizedConv2d, layer, -5, 7.75)
        sums = convolve(codes + 28, weight_codes, stride, padding, groups)
        wanted = sums * (0.05 * scale)[:, None, None] + np.arange(4)[:, None, None]
        call = f"QuantizedConv2d: stride {stride}, padding {padding}, groups {groups}"
        expect(small(Tensor(x)), wanted, call=call, rtol=1e-4, atol=1e-4)


@asks("functionality", step=6, of="fold_batch_norm", hint="a norm in evaluation scales and shifts")
def test_folding_a_batch_norm(rng):
    """Fold a norm into a convolution with and without bias; compare w' and b' by hand."""
    for bias in (True, False):
        conv, norm = Conv2d(2, 3, 3, bias=bias), BatchNorm2d(3)
        gamma, beta, mean = (rng.normal(size=3).astype(np.float32) for _ in range(3))
        var = rng.uniform(0.5, 2, 3).astype(np.float32)
        names = ("weight", "bias", "running_mean", "running_var")
        norm.load_state_dict(dict(zip(names, (gamma, beta, mean, var), strict=True)), strict=False)
        weight = conv.weight.numpy().copy()
        folded, scale = fold_batch_norm(conv, norm), gamma / np.sqrt(var + 1e-5)
        before = conv.bias.numpy() if bias else 0
        expect(folded.weight, weight * scale[:, None, None, None], call="folded.weight", rtol=1e-4)
        expect(folded.bias, (before - mean) * scale + beta, call="folded.bias", rtol=1e-4)
        expect(conv.weight, weight, call="weight of the old convolution", atol=0)


@asks("functionality", step=7, of="fp16_state", hint="float16; what overflows is named")
def test_fp16_storage(rng):
    """Store a layer as float16, load it again; a weight of 70,000 does not fit."""
    layer, other = Linear(20, 10), Linear(20, 10)
    state = fp16_state(layer)
    expect(state["weight"], layer.weight.numpy(), call="weight", rtol=1e-3, dtype=np.float16)
    other.load_state_dict(state)
    expect(other.weight, layer.weight.numpy(), call="loaded", rtol=1e-3, dtype=np.float32)
    layer.load_state_dict({"weight": np.full((10, 20), 7e4), "bias": np.zeros(10)})
    expect_raises(ValueError, fp16_state, layer, call="fp16_state", mentions=["weight"])


@asks("integration", step=6, of="quantize_model", hint="fold, calibrate, replace; on a copy")
def test_a_trained_model_keeps_its_answers(rng):
    """Train a small CNN, quantize it: as accurate within 2 points, and itself left unchanged."""
    images, kinds = striped_images(rng, 400)
    model = WORK.trained(images[:100], kinds[:100], 12)
    before, modes = WORK.state(model)
    small = quantize_model(model, [images[:60], (images[60:100], kinds[60:100])])
    after, modes_after = WORK.state(model)
    expect_equal(modes_after, modes, call="modes of the model after quantize_model")
    for name, value in before.items():
        expect(after[name], value, call=f"{name} after quantize_model", atol=0)
    names = {"quantized": ["0", "6", "8"], "folded": ["1"], "float": []}
    expect_equal(small.quantization, names, call="quantize_model(…).quantization")
    model.eval()
    exact, got = (WORK.answers(m, images[100:]) for m in (model, small))
    away = np.abs(exact - got).max() / np.abs(exact).max()
    expect_at_most(away, 0.1, call="outputs, quantized", what="largest error (relative)")
    lost = 100 * np.mean((exact.argmax(1) == kinds[100:]) * 1.0 - (got.argmax(1) == kinds[100:]))
    expect_at_most(lost, 2, call="quantize_model(model, batches)", what="points lost")


@asks("integration", step=7, of="quantization_report", hint="bytes of all tensors; right answers")
def test_the_report_says_what_was_lost():
    """Compare two layers that always answer 1 and always 0 on labels 1, 1, 1, 0."""
    sure, wrong = Linear(2, 2), Linear(2, 2, bias=False)
    sure.load_state_dict({"weight": np.zeros((2, 2)), "bias": [0, 5]})
    wrong.load_state_dict({"weight": [[1, 1], [0, 0]]})
    data = [(np.ones((4, 2), np.float32), np.array([1, 1, 1, 0]))]
    report = quantization_report(sure, wrong, data)
    wanted = {"bytes": 24, "quantized_bytes": 16, "times_smaller": 1.5, "accuracy": 0.75}
    wanted |= {"quantized_accuracy": 0.25, "points_lost": 50}
    for name, figure in wanted.items():
        expect(float(report[name]), figure, call=f"quantization_report(…)[{name!r}]")


@asks("performance", step=4, of="QuantizedLayer.pack", hint="int8 codes; 12 bytes per channel")
def test_a_quarter_of_the_memory():
    """Weigh a Linear of 600 inputs before and after: all buffers, scales included."""
    layer = Linear(600, 100)
    small = packed(QuantizedLinear, layer, -1, 1)
    expect_equal(model_nbytes(layer), 4 * 601 * 100, call="model_nbytes(Linear(600, 100))")
    held = np.sum([buffer.nbytes for buffer in small.buffers()])
    expect_equal(model_nbytes(small), int(held), call="model_nbytes(quantized)")
    share = held / (4 * 601 * 100)
    expect_at_most(share, 1 / 3.9, call="bytes, quantized", what="share of float's")


@asks("performance", step=3, of="integer_matmul", hint="let BLAS multiply, block by block")
def test_integer_products_are_quick():
    """Multiply (32, 240) by (240, 32) codes 40 times, against NumPy's own loops over int32."""
    # So small that BLAS uses one thread: the wait of one for another would be counted.
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, s).astype(np.int32) for s in ((32, 240), (240, 32)))
    slow = timed(lambda: [a @ b for _ in range(40)])
    cost = timed(WORK.products(32, 240, 32, 40), repeat=9) / slow
    expect_at_most(cost, 0.7, call="integer_matmul", what="time against NumPy's int32")


@asks("performance", step=1, of="quantize", hint="one array operation for all channels")
def test_channels_are_coded_at_once():
    """Code 640,000 weights with 4 channels, and with 4,000."""
    few, many = (timed(WORK.coding(channels)) for channels in (4, 4000))
    call = "quantize(x, axis=0)"
    expect_at_most(many / few, 8, call=call, what="time of 4,000 channels against 4")
