"""Compression and acceleration, modules 16 and 18, against PyTorch."""

import numpy as np
import pytest
from oracle import INSTALL, importable, load_course

torch = pytest.importorskip("torch", reason=INSTALL)
from torch.nn.utils import prune  # noqa: E402

M = load_course(last="18")
lent = importable(M)
C, A, S, L = M.compression, M.acceleration, M.spatial, M.layers
F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
seeds = pytest.mark.parametrize("seed", range(5))


def draw(seed, *shapes):
    """Normal arrays of float32."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@seeds
def test_magnitude_masks(seed):
    """The masks of l1_unstructured, and of global_unstructured for two layers."""
    first, second = draw(seed, (7, 5), (4, 3, 2, 2))
    layers = torch.nn.Linear(5, 7), torch.nn.Conv2d(3, 4, 2)
    for layer, weight in zip(layers, (first, second), strict=True):
        layer.weight.data = torch.from_numpy(weight)
    parts = [(layer, "weight") for layer in layers]
    masks = C.global_masks({"0": first, "1": second}, 0.6)
    prune.global_unstructured(parts, prune.L1Unstructured, amount=0.6)
    for name, layer in enumerate(layers):
        np.testing.assert_array_equal(masks[str(name)], layer.weight_mask.numpy() == 1)
        prune.remove(layer, "weight")
    fresh = torch.nn.Linear(5, 7)
    fresh.weight.data = torch.from_numpy(first)
    prune.l1_unstructured(fresh, "weight", amount=0.3)
    np.testing.assert_array_equal(C.magnitude_mask(first, 0.3), fresh.weight_mask.numpy() == 1)


@seeds
def test_unit_masks(seed):
    """The masks of ln_structured with n = 2 along the first axis, for channels too."""
    (weight,) = draw(seed, (8, 3, 2, 2))
    layer = torch.nn.Conv2d(3, 8, 2)
    layer.weight.data = torch.from_numpy(weight)
    prune.ln_structured(layer, "weight", amount=0.5, n=2, dim=0)
    wanted = layer.weight_mask.numpy().reshape(8, -1).any(axis=1)
    np.testing.assert_array_equal(C.unit_mask(weight, 0.5), wanted)


@seeds
def test_csr(seed):
    """The three arrays of a sparse tensor in CSR."""
    (weight,) = draw(seed, (6, 9))
    weight[np.abs(weight) < 1] = 0
    ours, theirs = C.to_csr(weight), torch.from_numpy(weight).to_sparse_csr()
    np.testing.assert_array_equal(ours.values, theirs.values().numpy())
    np.testing.assert_array_equal(ours.columns, theirs.col_indices().numpy())
    np.testing.assert_array_equal(ours.starts, theirs.crow_indices().numpy())


@seeds
def test_distillation(seed):
    """kl_div of log-probabilities, batchmean, times T squared, and cross-entropy; with gradient."""
    student, teacher = draw(seed, (6, 4), (6, 4))
    labels, temperature, alpha = np.arange(6) % 4, 3.0, 0.7
    ours = M.tensor.Tensor(student, requires_grad=True)
    loss = C.DistillationLoss(temperature, alpha)(ours, M.tensor.Tensor(teacher), labels)
    loss.backward()
    theirs, fixed = torch.from_numpy(student).requires_grad_(), torch.from_numpy(teacher)
    p, q = F.log_softmax(theirs / temperature, -1), F.softmax(fixed / temperature, -1)
    soft = F.kl_div(p, q, reduction="batchmean") * temperature**2
    wanted = alpha * soft + (1 - alpha) * F.cross_entropy(theirs, torch.from_numpy(labels))
    wanted.backward()
    np.testing.assert_allclose(loss.item(), wanted.item(), rtol=1e-5)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_channels_are_removed_through_pooling_and_flatten():
    """A convolutional network without half of its channels answers as if they were zero."""
    M.tensor.manual_seed(0)
    relu = M.activations.ReLU()
    first, second = S.Conv2d(3, 6, 3, padding=1), S.Conv2d(6, 4, 3, padding=1)
    head = L.Linear(4 * 16, 5)
    model = L.Sequential(first, relu, second, relu, S.MaxPool2d(2), L.Flatten(), head)
    smaller = C.prune_units(model, 0.5)
    shapes = [smaller[i].weight.shape for i in (0, 2, 6)]
    assert shapes == [(3, 3, 3, 3), (2, 3, 3, 3), (5, 32)]
    keep = C.unit_mask(first.weight, 0.5)
    first.weight.data[~keep] = first.bias.data[~keep] = 0
    keep = C.unit_mask(second.weight.data[:, keep], 0.5)
    second.weight.data[~keep] = second.bias.data[~keep] = 0
    x = M.tensor.Tensor(draw(1, (2, 3, 8, 8))[0])
    np.testing.assert_allclose(smaller(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)


@seeds
def test_folding(seed):
    """The weights of fuse_conv_bn_eval."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    w, b, mean, gamma, beta = draw(seed, (4, 3, 3, 2), (4,), (4,), (4,), (4,))
    state = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": beta**2 + 0.5}
    conv, norm = torch.nn.Conv2d(3, 4, (3, 2)).eval(), torch.nn.BatchNorm2d(4).eval()
    ours, fixed = S.Conv2d(3, 4, (3, 2)), S.BatchNorm2d(4)
    ours.load_state_dict({"weight": w, "bias": b})
    fixed.load_state_dict(state | {"num_batches_tracked": 1})
    torch_of = {k: torch.from_numpy(v) for k, v in state.items()}
    conv.load_state_dict({"weight": torch.from_numpy(w), "bias": torch.from_numpy(b)})
    norm.load_state_dict(torch_of | {"num_batches_tracked": torch.tensor(1)})
    folded, wanted = A.fold_batchnorm(ours, fixed), fuse_conv_bn_eval(conv, norm)
    np.testing.assert_allclose(folded.weight.numpy(), wanted.weight.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(folded.bias.numpy(), wanted.bias.detach().numpy(), atol=1e-5)
