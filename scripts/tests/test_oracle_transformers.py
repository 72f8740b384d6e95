"""Module 13 against PyTorch's layer norm, transformer layers and a whole GPT."""

import numpy as np
import pytest
from oracle import DTYPES, INSTALL, TOLERANCE, close, compare, load_course, oracle_summary

torch = pytest.importorskip("torch", reason=INSTALL)
__all__ = ["oracle_summary"]
M = load_course(last="13")
SHAPES = [((5, 4), (4,)), ((2, 3, 8), (8,)), ((2, 3, 8), (3, 8)), ((1, 7), (7,)), ((0, 4), (4,))]


def weights_like(model, rng):
    """Random values for every parameter, by name."""
    return {name: rng.normal(0, 0.3, p.shape) for name, p in model.named_parameters()}


def put(model, state, dtype):
    """Give parameters of the course these values."""
    for name, parameter in model.named_parameters():
        parameter.data = state[name].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "last"), SHAPES)
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layer_norm_agrees_with_pytorch(shape, last, eps, dtype):
    """Values and the gradients of x, weight and bias; with a mean far from zero."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(3, 2, shape), rng.normal(1, 1, last), rng.normal(0, 1, last)]
    arrays = [a.astype(dtype) for a in arrays]
    peer = torch.nn.functional.layer_norm
    ours = M.transformers.layer_norm
    compare(M, "layer_norm", lambda x, w, b: ours(x, last, w, b, eps),
            lambda x, w, b: peer(x, last, w, b, eps), arrays)  # fmt: skip
    compare(M, "layer_norm", lambda x: ours(x, last, eps=eps),
            lambda x: peer(x, last, eps=eps), arrays[:1], loosen=4)  # fmt: skip


def test_layer_norm_has_pytorchs_state():
    """Keys and shapes, with and without scale and shift."""
    for options in ({}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.5}):
        ours, theirs = (m.LayerNorm((2, 3), **options) for m in (M.transformers, torch.nn))
        mine = {name: tuple(p.shape) for name, p in ours.state_dict().items()}
        assert mine == {name: tuple(p.shape) for name, p in theirs.state_dict().items()}


def layer(features, heads, state, dtype):
    """PyTorch's pre-norm layer with the weights of a block of the course."""
    peer = torch.nn.TransformerEncoderLayer(
        features, heads, 4 * features, 0.0, batch_first=True, norm_first=True,
        activation=lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    )  # fmt: skip
    peer = peer.to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    renamed = {k.removeprefix("feed_forward."): torch.tensor(v) for k, v in state.items()}
    peer.load_state_dict(renamed)
    return peer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_blocks_agree_with_pytorch(dtype, causal):
    """Output, and gradients of the input and of every parameter."""
    rng = np.random.default_rng(0)
    block = M.transformers.TransformerBlock(8, 2)
    state = weights_like(block, rng)
    put(block, state, dtype)
    peer = layer(8, 2, state, dtype)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=peer.norm1.weight.dtype)
    x = rng.standard_normal((3, 5, 8)).astype(dtype)
    compare(M, "TransformerBlock", lambda x: block(x, is_causal=causal),
            lambda x: peer(x, mask if causal else None), [x], loosen=4)  # fmt: skip
    peers = dict(peer.named_parameters())
    for name, p in block.named_parameters():
        theirs = peers[name.removeprefix("feed_forward.")].grad.numpy()
        tolerance = 4 * TOLERANCE[x.dtype]
        close("TransformerBlock", "grad", p.grad.numpy(), theirs, tolerance, 0.1)


class Peer(torch.nn.Module):
    """A GPT of PyTorch's layers, with the weights of one of the course."""

    def __init__(self, config, state):
        super().__init__()
        as_tensor = {
            name: torch.tensor(value, dtype=torch.float64) for name, value in state.items()
        }
        self.tokens = torch.nn.Parameter(as_tensor["token_embedding.weight"])
        self.places = torch.nn.Parameter(as_tensor["position_embedding.weight"])
        below = [f"blocks.{i}." for i in range(config.n_layer)]
        parts = [{k[len(b) :]: v for k, v in state.items() if k.startswith(b)} for b in below]
        made = [layer(config.n_embd, config.n_head, part, np.float64) for part in parts]
        self.blocks = torch.nn.ModuleList(made)
        self.norm = torch.nn.LayerNorm(config.n_embd, dtype=torch.float64)
        self.norm.load_state_dict({k: as_tensor[f"norm.{k}"] for k in ("weight", "bias")})

    def forward(self, ids, targets):
        """The loss."""
        x = self.tokens[ids] + self.places[: ids.shape[1]]
        size = ids.shape[1]
        mask = torch.nn.Transformer.generate_square_subsequent_mask(size, dtype=x.dtype)
        for block in self.blocks:
            x = block(x, mask)
        logits = self.norm(x) @ self.tokens.T
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def test_training_a_gpt_agrees_with_pytorch():
    """Twenty steps of AdamW in float64: every loss, and the tied matrix at the end."""
    config = M.transformers.GPTConfig(11, 6, 2, 2, 8)
    ours, rng = M.transformers.GPT(config), np.random.default_rng(0)
    state = weights_like(ours, rng)
    put(ours, state, np.float64)
    theirs = Peer(config, state)
    mine = M.optimizers.AdamW(ours.parameters(), lr=1e-2)
    peer = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    for _ in range(20):
        ids, targets = rng.integers(0, 11, (2, 4, 6))
        _, loss = ours(ids, targets)
        expected = theirs(torch.from_numpy(ids), torch.from_numpy(targets))
        close("GPT, 20 steps", "value", loss.numpy(), expected.detach().numpy(), 1e-9)
        mine.zero_grad(), peer.zero_grad()
        M.autograd.backward(loss)
        expected.backward()
        mine.step(), peer.step()
    tied = ours.token_embedding.weight.numpy()
    close("GPT, 20 steps", "value", tied, theirs.tokens.detach().numpy(), 1e-8)
