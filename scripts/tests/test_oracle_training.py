"""Layers, optimizers and whole training runs of modules 03 and 06 against PyTorch's."""

from itertools import pairwise

import numpy as np
import pytest
from oracle import DTYPES, INSTALL, TOLERANCE, close, compare, load_course, oracle_summary

torch = pytest.importorskip("torch", reason=INSTALL)
__all__ = ["oracle_summary"]
M = load_course()
NETS = [
    ((5, 4), [4, 3]),
    ((1, 4), [4, 1]),
    ((0, 4), [4, 3]),
    ((2, 3, 4), [4, 6, 2]),
    ((7, 8), [8, 16, 16, 3]),
]


def networks(sizes, dtype):
    """The same multilayer perceptron in both worlds, with tanh between the layers."""
    torch.manual_seed(0)
    ours, theirs = [], []
    for fan_in, fan_out in pairwise(sizes):
        ours += [M.layers.Linear(fan_in, fan_out), M.activations.Tanh()]
        theirs += [torch.nn.Linear(fan_in, fan_out, dtype=torch.float64), torch.nn.Tanh()]
    ours, theirs = M.layers.Sequential(*ours[:-1]), torch.nn.Sequential(*theirs[:-1])
    theirs = theirs.to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    state = {name: p.numpy().copy() for name, p in theirs.state_dict().items()}
    assert {n: p.shape for n, p in ours.state_dict().items()} == {
        n: p.shape for n, p in state.items()
    }
    for name, p in ours.named_parameters():
        p.data = state[name]
    return ours, theirs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "sizes"), NETS)
def test_networks_agree_with_pytorch(shape, sizes, dtype):
    """Outputs, gradients of the input and of every parameter; keys and shapes of the state."""
    ours, theirs = networks(sizes, dtype)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    compare(M, "MLP", ours, theirs, [x])
    peers = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        close("MLP", "grad", p.grad.numpy(), peers[name].grad.numpy(), TOLERANCE[x.dtype])


def test_layers_without_parameters_agree_with_pytorch():
    """Flatten, and dropout in evaluation."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    compare(M, "Flatten", M.layers.Flatten(), torch.nn.Flatten(), [x])
    compare(M, "Flatten", M.layers.Flatten(0, 2), torch.nn.Flatten(0, 2), [x])
    compare(M, "Dropout", M.layers.Dropout(0.5).eval(), torch.nn.Dropout(0.5).eval(), [x])


OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1}),
]


@pytest.mark.skipif(not hasattr(M, "optimizers"), reason="module 06 is not in this tree")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_training_agrees_with_pytorch(name, options, dtype):
    """Thirty steps of a network with gradient clipping: losses and parameters."""
    ours, theirs = networks([4, 8, 3], dtype)
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((16, 4)).astype(dtype), rng.integers(0, 3, 16)
    mine = getattr(M.optimizers, name)(ours.parameters(), **options)
    peer = getattr(torch.optim, name)(theirs.parameters(), **options)
    tolerance = 100 * TOLERANCE[x.dtype]  # thirty steps carry errors on
    for _ in range(30):
        loss = M.losses.cross_entropy(ours(M.tensor.Tensor(x)), labels)
        expected = torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(x)), torch.from_numpy(labels)
        )
        close(f"training, {name}", "value", loss.numpy(), expected.detach().numpy(), tolerance)
        mine.zero_grad(), peer.zero_grad()
        M.autograd.backward(loss)
        expected.backward()
        norm = M.optimizers.clip_grad_norm_(ours.parameters(), 0.5)
        bound = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        assert float(norm) == pytest.approx(float(bound), rel=1e-5)
        mine.step(), peer.step()
    peers = dict(theirs.named_parameters())
    for key, p in ours.named_parameters():
        theirs_ = peers[key].detach().numpy()
        close(f"training, {name}", "value", p.numpy(), theirs_, tolerance)
