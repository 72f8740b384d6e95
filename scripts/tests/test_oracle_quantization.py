"""Codes, ranges, quantized layers and folding of module 15 against PyTorch's."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import INSTALL, importable, load_course

torch = pytest.importorskip("torch", reason=INSTALL)
M = load_course("15")
lent = importable(M)
Q = M.quantization
pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
Tensor = M.tensor.Tensor


def same_codes(ours, theirs, x, scale):
    """Require equal codes, but where x lies on the middle between two marks.

    PyTorch multiplies by the rounded reciprocal of the scale, we divide: such ties may differ.
    """
    away = np.abs(ours.astype(int) - theirs.astype(int))
    tie = np.abs(np.abs(x / scale - np.floor(x / scale)) - 0.5) < 1e-4
    assert (away <= tie).all()
    assert away.sum() <= 0.02 * away.size + 1


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 99), st.floats(-3, 3), st.integers(-128, 127), st.integers(0, 60))
def test_quantize_per_tensor(seed, magnitude, zero_point, size):
    """Codes, and what they stand for; beyond the range, too, and of nothing at all."""
    scale = np.float32(10.0**magnitude)
    x = np.random.default_rng(seed).standard_normal(size).astype(np.float32) * 100 * scale
    theirs = torch.quantize_per_tensor(torch.from_numpy(x), scale.item(), zero_point, torch.qint8)
    ours = Q.quantize(x, scale, zero_point)
    same_codes(ours.values, theirs.int_repr().numpy(), x, scale)
    back = torch._make_per_tensor_quantized_tensor(
        torch.from_numpy(ours.values), scale.item(), zero_point
    )
    np.testing.assert_allclose(Q.dequantize(ours).numpy(), back.dequantize().numpy(), rtol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 99), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_quantize_per_channel(seed, shape, data):
    """Any axis, scales and zero points of each channel."""
    axis, rng = data.draw(st.integers(0, len(shape) - 1)), np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    scale = rng.uniform(0.005, 0.1, shape[axis]).astype(np.float32)
    zero_point = rng.integers(-128, 128, shape[axis])
    theirs = torch.quantize_per_channel(
        torch.from_numpy(x),
        torch.from_numpy(scale).double(),
        torch.from_numpy(zero_point),
        axis,
        torch.qint8,
    )
    ours = Q.quantize(x, scale, zero_point, axis=axis)
    wide = scale.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    same_codes(ours.values, theirs.int_repr().numpy(), x, wide)
    gap = np.abs(Q.dequantize(ours).numpy() - theirs.dequantize().numpy())
    assert (gap <= 1.001 * wide * (ours.values != theirs.int_repr().numpy()) + 1e-5).all()


@pytest.mark.parametrize("ends", [(-1, 3), (2, 4), (-5, -1), (-1e-3, 1e-3), (0, 700)])
def test_ranges(ends):
    """Scale and zero point are those of PyTorch's observers, running over two batches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import MinMaxObserver

        theirs = MinMaxObserver(dtype=torch.qint8)
    ours = Q.Calibrator()
    for batch in ([ends[0]], [ends[1], sum(ends) / 2]):
        theirs(torch.tensor(batch, dtype=torch.float32))
        ours.observe(np.array(batch, np.float32))
    scale, zero_point = theirs.calculate_qparams()
    np.testing.assert_allclose(ours.qparams()[0], scale.item(), rtol=1e-5)
    assert ours.qparams()[1] == zero_point.item()


def layers(seed):
    """Layers of both worlds with the same weights, inputs, and how ours is quantized."""
    rng, nn = np.random.default_rng(seed), torch.nn
    how = {"stride": 2, "padding": 1, "groups": 2}
    yield M.layers.Linear(1500, 9), nn.Linear(1500, 9), rng.normal(1, 1, (4, 1500))
    yield (
        M.spatial.Conv2d(4, 6, 3, **how),
        nn.Conv2d(4, 6, 3, **how),
        rng.normal(1, 1, (2, 4, 9, 8)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_layers_equal_pytorchs_on_the_same_marks(seed):
    """In float64 on the numbers that our codes stand for, PyTorch's layer gives our result."""
    for ours, theirs, x in layers(seed):
        x, seen = x.astype(np.float32), Q.Calibrator()
        seen.observe(x)
        kind = Q.QuantizedLinear if x.ndim == 2 else Q.QuantizedConv2d
        small, state = kind.from_float(ours, seen), ours.state_dict()
        state["weight"] = Q.dequantize(Q.quantize(ours.weight, axis=0, symmetric=True))
        theirs.load_state_dict({n: torch.from_numpy(t.numpy()) for n, t in state.items()})
        marks = Q.dequantize(Q.quantize(x, *seen.qparams())).numpy()
        wanted = theirs.double()(torch.from_numpy(marks).double()).detach().numpy()
        np.testing.assert_allclose(small(Tensor(x)).numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_folding_equals_pytorchs():
    """The weights and biases of torch.nn.utils.fuse_conv_bn_eval."""
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    for _ in range(5):
        norm(conv(torch.randn(8, 3, 6, 6)))
    torch.nn.init.normal_(norm.weight)
    fused = torch.nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval())
    ours = M.spatial.Conv2d(3, 4, 3), M.spatial.BatchNorm2d(4)
    for mine, theirs in zip(ours, (conv, norm), strict=True):
        mine.load_state_dict({n: t.numpy() for n, t in theirs.state_dict().items()})
    folded = Q.fold_batch_norm(*ours)
    for name in ("weight", "bias"):
        wanted = getattr(fused, name).detach().numpy()
        np.testing.assert_allclose(getattr(folded, name).numpy(), wanted, rtol=1e-5, atol=1e-6)
