"""Convolution, pooling and batch norm of module 09 against PyTorch's, and a network of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import DTYPES, INSTALL, close, compare, load_course, oracle_summary

torch = pytest.importorskip("torch", reason=INSTALL)
__all__ = ["oracle_summary"]
M = load_course("09")
if not hasattr(M, "spatial"):
    pytest.skip("module 09 is not in this tree", allow_module_level=True)
S, F = M.spatial, torch.nn.functional
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
small = st.tuples(st.integers(1, 3), st.integers(1, 3))


def numbers(shape, dtype, seed=0):
    """Normal random numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.integers(0, 3),
    st.tuples(st.integers(7, 10), st.integers(7, 10)),
    small,
    small,
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    small,
    st.sampled_from([(1, 3, 2), (2, 4, 6), (4, 4, 8), (3, 3, 3)]),
    st.booleans(),
)
def test_conv2d(dtype, batch, size, kernel, stride, padding, dilation, channels, bias):
    """Any setting, an empty batch included."""
    groups, inside, outside = channels
    arrays = [numbers((batch, inside, *size), dtype)]
    arrays.append(numbers((outside, inside // groups, *kernel), dtype, 1))
    if bias:
        arrays.append(numbers((outside,), dtype, 2))
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    ours, theirs = (lambda *a, f=f: f(*a, **how) for f in (S.conv2d, F.conv2d))
    compare(M, "conv2d", ours, theirs, arrays)
    naive = S.conv2d_naive(*arrays, **how).numpy()
    tensors = [torch.from_numpy(a) for a in arrays]
    close("conv2d_naive", "value", naive, F.conv2d(*tensors, **how).numpy(), 1e-5, 1e-2)


@each_dtype
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name(padding, dtype):
    """padding="same" and "valid"."""
    arrays = [numbers((2, 3, 6, 7), dtype), numbers((4, 3, 3, 5), dtype, 1)]
    ours, theirs = (lambda *a, f=f: f(*a, padding=padding) for f in (S.conv2d, F.conv2d))
    compare(M, "conv2d", ours, theirs, arrays)


@each_dtype
@pytest.mark.parametrize(("shape", "filters"), [((9, 32, 32, 32), 16), ((2, 16, 96, 80), 8)])
def test_more_than_a_block(shape, filters, dtype):
    """Several blocks of images; several bands of one image."""
    arrays = [numbers(shape, dtype), numbers((filters, shape[1], 3, 3), dtype, 1)]
    ours, theirs = (lambda *a, f=f: f(*a, padding=1) for f in (S.conv2d, F.conv2d))
    compare(M, "conv2d", ours, theirs, arrays)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.tuples(st.integers(6, 9), st.integers(6, 9)),
    small,
    st.none() | small,
    st.booleans(),
    st.booleans(),
)
def test_pooling(dtype, size, kernel, stride, pads, include):
    """Max pooling (with ties) and average pooling, with and without padding."""
    padding = tuple(k // 2 for k in kernel) if pads else 0
    x = numbers((2, 3, *size), dtype)
    place = (kernel, stride, padding)
    ours, theirs = (lambda x, f=f: f(x, *place) for f in (S.max_pool2d, F.max_pool2d))
    compare(M, "max_pool2d", ours, theirs, [x])
    compare(M, "max_pool2d", ours, theirs, [np.round(x)])
    ours, theirs = (
        lambda x, f=f: f(x, *place, count_include_pad=include) for f in (S.avg_pool2d, F.avg_pool2d)
    )
    compare(M, "avg_pool2d", ours, theirs, [x])


@each_dtype
def test_dilated_and_adaptive_pooling(dtype):
    """Dilation of max pooling; adaptive pooling to smaller and larger sizes."""
    x = numbers((2, 3, 9, 7), dtype)
    ours, theirs = (lambda x, f=f: f(x, 2, 1, 0, (3, 2)) for f in (S.max_pool2d, F.max_pool2d))
    compare(M, "max_pool2d", ours, theirs, [x])
    for size in (1, (3, 2), (4, 7), (11, 8)):
        compare(
            M,
            "adaptive_avg_pool2d",
            lambda x: S.adaptive_avg_pool2d(x, size),  # noqa: B023
            lambda x: F.adaptive_avg_pool2d(x, size),  # noqa: B023
            [x],
        )
    compare(M, "GlobalAvgPool2d", S.GlobalAvgPool2d(), lambda x: x.mean((2, 3)), [x])


@each_dtype
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.3, "eps": 0.1},
        {"momentum": None},
        {"affine": False},
        {"track_running_stats": False},
    ],
)
def test_batch_norm(options, dtype):
    """Three batches in training, one in evaluation: outputs, gradients and state."""
    kind = torch.from_numpy(np.zeros(0, dtype)).dtype
    ours, theirs = S.BatchNorm2d(3, **options), torch.nn.BatchNorm2d(3, **options).to(kind)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        p.data = numbers((3,), dtype, len(name))
        q.data = torch.from_numpy(p.data.copy())
    for running in list(ours.buffers())[:2]:
        if running is not None:
            running.data = running.data.astype(dtype)
    for step in range(3):
        x = 3 * numbers((4, 3, 5, 6), dtype, step) + 2
        compare(M, "BatchNorm2d", ours, theirs, [x], loosen=3)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close("BatchNorm2d", f"grad of {name}", p.grad.numpy(), q.grad.numpy(), 3e-5)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for name, value in mine.items():
        expected = other[name].numpy().astype(value.dtype)
        close("BatchNorm2d", "state", value.numpy(), expected, 1e-5)
    compare(M, "BatchNorm2d", ours.eval(), theirs.eval(), [x], loosen=20)


def network(nn, activation):
    """A small CNN with every kind of layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        activation,
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, stride=2, groups=2),
        nn.BatchNorm2d(8),
        nn.AvgPool2d(2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def test_a_network_trains_as_in_pytorch():
    """Twenty steps of Adam from PyTorch's weights: the same losses; the same answers after them."""
    from types import SimpleNamespace

    torch.manual_seed(0)
    theirs = network(torch.nn, torch.nn.ReLU())
    ours = network(SimpleNamespace(**(vars(M.layers) | vars(S))), M.activations.ReLU())
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    x, labels = numbers((16, 3, 16, 16), np.float32), rng.integers(0, 4, 16)
    mine, other = M.optimizers.Adam(ours.parameters()), torch.optim.Adam(theirs.parameters())
    images, answers = M.tensor.Tensor(x), M.tensor.Tensor(labels)
    for _ in range(20):
        mine.zero_grad()
        loss = M.losses.CrossEntropyLoss()(ours(images), answers)
        M.autograd.backward(loss)
        mine.step()
        other.zero_grad()
        expected = F.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(labels))
        expected.backward()
        other.step()
        assert abs(loss.item() - expected.item()) < 1e-4
    got, expected = ours.eval()(images).numpy(), theirs.eval()(torch.from_numpy(x))
    np.testing.assert_allclose(got, expected.detach().numpy(), atol=2e-3)
