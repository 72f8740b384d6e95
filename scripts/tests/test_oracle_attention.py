"""Embeddings and attention, modules 11 and 12, against PyTorch: values, gradients, weights."""

import numpy as np
import pytest
from oracle import DTYPES, INSTALL, TOLERANCE, close, compare, load_course, oracle_summary

torch = pytest.importorskip("torch", reason=INSTALL)
pytest.importorskip("hypothesis", reason="needs hypothesis: pip install -e '.[dev]'")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

__all__ = ["oracle_summary"]
M = load_course(last="12")
A, E = M.attention, M.embeddings
F = torch.nn.functional
LOOSEN = 10  # sums over tokens and features, in another order
sizes = st.integers(1, 6)


def draw(seed, dtype, *shapes):
    """Normal arrays."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(DTYPES))
def test_embedding(data, dtype):
    """Tables of every size, ids of every shape, with and without padding, repeated and absent."""
    rows, dim = data.draw(st.integers(1, 40)), data.draw(sizes)
    shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
    seed = data.draw(st.integers(0, 99))
    ids = np.random.default_rng(seed).integers(0, rows, shape)
    padding = data.draw(st.none() | st.integers(-rows, rows - 1))
    compare(
        M,
        "embedding",
        lambda weight: E.embedding(ids, weight, padding),
        lambda weight: F.embedding(torch.from_numpy(np.asarray(ids)), weight, padding),
        draw(seed, dtype, (rows, dim)),
        seed,
    )


def masks(data, seed, dtype, scores):
    """No mask, a boolean one with rows that allow nothing, or floats; each may broadcast."""
    kind = data.draw(st.sampled_from(["none", "boolean", "floats"]))
    shape = [n if data.draw(st.booleans()) else 1 for n in scores[:-2]] + list(scores[-2:])
    rng = np.random.default_rng(seed)
    if kind == "none":
        return None
    return (
        rng.random(shape) > 0.5 if kind == "boolean" else rng.standard_normal(shape).astype(dtype)
    )


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(DTYPES))
def test_scaled_dot_product_attention(data, dtype):
    """Queries and keys of other numbers than values, batches, every kind of mask; also in steps."""
    lead = data.draw(st.lists(st.integers(1, 3), max_size=2))
    T, S, D, width = (data.draw(sizes) for _ in range(4))
    seed = data.draw(st.integers(0, 99))
    arrays = draw(seed, dtype, (*lead, T, D), (*lead, S, D), (*lead, S, width))
    mask = masks(data, seed, dtype, (*lead, T, S))
    is_float = mask is not None and mask.dtype != bool
    peer = None if mask is None or is_float else torch.from_numpy(mask)
    if is_float:
        arrays.append(mask)

    def theirs(q, k, v, bias=None):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=peer if bias is None else bias)

    def fused(q, k, v, bias=None):
        return A.scaled_dot_product_attention(q, k, v, mask if bias is None else bias)

    def steps(q, k, v, bias=None):
        return A.attention_by_steps(q, k, v, mask if bias is None else bias)[0]

    compare(M, "attention", fused, theirs, arrays, seed, LOOSEN)
    compare(M, "attention in steps", steps, theirs, arrays, seed, LOOSEN)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 4), (2, 3, 7, 8), (3, 64, 16)])
def test_causal_attention(dtype, shape):
    """The same without and with large scores."""
    for scale in (1, 30):
        q, k, v = draw(0, dtype, shape, shape, shape)
        compare(
            M,
            "attention, causal",
            lambda q, k, v: A.scaled_dot_product_attention(q, k, v, is_causal=True),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            [q * dtype(scale), k, v],
            loosen=LOOSEN * scale,
        )


def layers(dim, heads, bias, dtype):
    """The same layer in both worlds: PyTorch's weights, loaded into ours."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(
        dim, heads, bias=bias, batch_first=True, dtype=torch.float64
    )
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.5)
    theirs = theirs.to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    ours = A.MultiHeadAttention(dim, heads, bias=bias)
    state = {name: p.numpy().copy() for name, p in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    assert {n: p.shape for n, p in ours.state_dict().items()} == {
        n: p.shape for n, p in state.items()
    }
    for name, p in ours.named_parameters():
        p.data = state[name]
    return ours, theirs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dim", "heads"), [(4, 1), (6, 3), (16, 4)])
def test_multi_head_attention(dim, heads, bias, dtype):
    """Self- and cross-attention, causal and masked, with PyTorch's own weights."""
    ours, theirs = layers(dim, heads, bias, dtype)
    x, y = draw(1, dtype, (2, 5, dim), (2, 3, dim))
    forbidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    allowed = np.random.default_rng(0).random((2, 5, 3)) > 0.3
    allowed[..., 0] = True  # a row that allows nothing is NaN there
    hidden = torch.from_numpy(~allowed).repeat_interleave(heads, 0)

    def peer(q, k=None, **named):
        k = q if k is None else k
        return theirs(q, k, k, need_weights=False, **named)[0]

    name = "MultiHeadAttention"
    compare(M, name, ours, peer, [x], loosen=LOOSEN)
    theirs.zero_grad()
    ours.zero_grad()
    compare(M, name, ours, peer, [x, y], loosen=LOOSEN)
    peers = dict(theirs.named_parameters())
    for which, p in ours.named_parameters():
        gradient = peers[which].grad.numpy()
        close(name, "grad", p.grad.numpy(), gradient, LOOSEN * TOLERANCE[np.dtype(dtype)])
    compare(
        M,
        f"{name}, causal",
        lambda x: ours(x, is_causal=True),
        lambda x: peer(x, attn_mask=forbidden, is_causal=True),
        [x],
        loosen=LOOSEN,
    )
    compare(
        M,
        f"{name}, masked",
        lambda x, y: ours(x, y, mask=allowed),
        lambda x, y: peer(x, y, attn_mask=hidden),
        [x, y],
        loosen=LOOSEN,
    )


def test_weights_travel_to_pytorch():
    """Our state, loaded strictly into PyTorch's layer, gives our result."""
    ours = A.MultiHeadAttention(8, 2)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict(
        {name: torch.from_numpy(p.numpy().copy()) for name, p in ours.state_dict().items()}
    )
    (x,) = draw(0, np.float32, (2, 5, 8))
    peer = torch.from_numpy(x)
    wanted = theirs(peer, peer, peer)[0].detach().numpy()
    np.testing.assert_allclose(ours(M.tensor.Tensor(x)).numpy(), wanted, rtol=1e-4, atol=1e-6)


def test_layers_start_like_pytorchs():
    """Deviations of the first values, and biases of zero."""
    torch.manual_seed(0)
    ours, theirs = A.MultiHeadAttention(128, 4), torch.nn.MultiheadAttention(128, 4)
    state = theirs.state_dict()
    for name, p in ours.state_dict().items():
        np.testing.assert_allclose(
            p.numpy().std(), state[name].numpy().std(), rtol=0.05, err_msg=name
        )
    table = torch.nn.Embedding(1000, 64, padding_idx=2).weight.detach().numpy()
    weight = E.Embedding(1000, 64, padding_idx=2).weight.numpy()
    np.testing.assert_allclose(weight.std(), table.std(), rtol=0.02)
    np.testing.assert_array_equal(weight[2], table[2])
