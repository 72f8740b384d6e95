"""Checkpoint 12: can I let tokens look at each other, and say why it is O(N²)?

Passing proves that attention mixes values by a scaled softmax along the keys, that masks forbid
before the softmax and leave no NaN, that the fused operation and its gradients are those of the
slow one, that heads keep to themselves, and that the layer's weights lie where PyTorch's do.
"""

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_true,
    probe,
    timed,
)
from tinytorch.core.attention import (
    MultiHeadAttention,
    SelfAttention,
    attention_by_steps,
    causal_mask,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)
from tinytorch.core.tensor import Tensor, manual_seed

WORK = probe('''
import tracemalloc

import numpy as np
from tinytorch.core.attention import MultiHeadAttention, scaled_dot_product_attention
from tinytorch.core.layers import Linear, Module
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.tensor import Tensor, manual_seed


class Recall(Module):
    """Attention over one-hot tokens and places, then a linear layer."""

    def __init__(self):
        self.attention = MultiHeadAttention(12, 2)
        self.head = Linear(12, 6)

    def forward(self, x):
        return self.head(self.attention(x, is_causal=True))


def train_recall(steps):
    """Learn to say which token came just before; return losses and how many weights had no part."""
    manual_seed(0)
    model, rng = Recall(), np.random.default_rng(0)
    ids = rng.integers(0, 6, (16, 6))
    places = np.broadcast_to(np.eye(6), (16, 6, 6))
    x = Tensor(2 * np.concatenate([np.eye(6)[ids], places], axis=2).astype(np.float32))
    targets = Tensor(np.concatenate([ids[:, :1], ids[:, :-1]], axis=1).reshape(-1))
    losses = []
    for _ in range(steps):
        loss = CrossEntropyLoss()(model(x).reshape(96, 6), targets)
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data = p.data - 0.5 * p.grad.data
    return losses


def prepare(batch, tokens, width):
    """Random queries, keys and values that want gradients."""
    rng = np.random.default_rng(0)
    shape = (batch, tokens, width)
    return [Tensor(rng.random(shape, np.float32), requires_grad=True) for _ in range(3)]


def held_bytes(batch, tokens, width):
    """Bytes that stay allocated while the result, and what it keeps for backward, are alive."""
    inputs = prepare(batch, tokens, width)
    scaled_dot_product_attention(*inputs)
    tracemalloc.start()
    out = scaled_dot_product_attention(*inputs)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held


def there_and_back(batch, tokens, width):
    """Return a function that attends and goes backward."""
    q, k, v = prepare(batch, tokens, width)
    g = np.ones(v.shape, np.float32)

    def run():
        scaled_dot_product_attention(q, k, v).backward(g)

    return run
''')

Q, K, V = [[2, 0, 0, 0], [0, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]], [[10], [20]]
HALF = 1 / (1 + np.e)  # softmax([1, 0]) is [1 - HALF, HALF]


def weights_by_loops(q, k, mask=None):
    """One query (D,) and one key at a time; the mask is boolean, or added to the scores."""
    weights = np.zeros((len(q), len(k)))
    if mask is None or mask.dtype == bool:
        mask = np.where(np.ones(weights.shape, bool) if mask is None else mask, 0, -np.inf)
    for i, j in np.argwhere(mask > -np.inf):
        scores = [np.dot(q[i], key) / np.sqrt(len(key)) for key in k] + mask[i]
        weights[i, j] = np.exp(scores[j] - max(scores)) / sum(np.exp(scores - max(scores)))
    return weights


def by_loops(q, k, v, mask=None):
    """Attention over arrays with any axes in front; the mask has the shape of the scores."""
    if q.ndim == 2:
        return weights_by_loops(q, k, mask) @ v
    masks = [None] * len(q) if mask is None else mask
    return np.array([by_loops(*parts) for parts in zip(q, k, v, masks, strict=True)])


def slopes(function, arrays, g, h=1e-5):
    """Gradient of sum(g * function(*arrays)) by small differences, for each array."""
    found = [np.zeros(array.shape) for array in arrays]
    for array, slope in zip(arrays, found, strict=True):
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + h
            above = (g * function(*arrays)).sum()
            array[place] = kept - h
            slope[place] = (above - (g * function(*arrays)).sum()) / (2 * h)
            array[place] = kept
    return found


def tensors(*arrays, grad=False):
    """A Tensor of each array."""
    return [Tensor(array, requires_grad=grad) for array in arrays]


def draw(rng, *shapes):
    """Normal arrays of float64."""
    return [rng.normal(size=shape) for shape in shapes]


def heads_by_loops(layer, q, k, v, mask=None):
    """What a MultiHeadAttention must give for (T, C) inputs, one head at a time."""
    weights, biases = (np.split(p.numpy(), 3) for p in (layer.in_proj_weight, layer.in_proj_bias))
    q, k, v = (x @ w.T + b for x, w, b in zip((q, k, v), weights, biases, strict=True))
    parts = np.split(np.arange(q.shape[1]), layer.num_heads)
    heads = [by_loops(q[:, d], k[:, d], v[:, d], mask) for d in parts]
    out = layer.out_proj
    return np.concatenate(heads, axis=1) @ out.weight.numpy().T + out.bias.numpy()


def layer_with_biases(rng, C, H, **settings):
    """A layer whose biases are not zero."""
    layer = MultiHeadAttention(C, H, **settings)
    layer.in_proj_bias.data = rng.normal(size=3 * C).astype(np.float32)
    layer.out_proj.bias.data = rng.normal(size=C).astype(np.float32)
    return layer


@asks(
    "imports",
    step=7,
    of="MultiHeadAttention",
    hint="each name comes from one step; run tito test 12",
)
def test_attention_is_there():
    """Use each export once and look at the shapes."""
    x = Tensor(np.ones((2, 3, 4), np.float32))
    call = "scaled_dot_product_attention(x, x, x).shape"
    expect_equal(scaled_dot_product_attention(x, x, x).shape, (2, 3, 4), call=call)
    expect_equal(causal_mask(3).shape, (3, 3), call="causal_mask(3).shape")
    expect_equal(SelfAttention(4, 5)(x).shape, (2, 3, 5), call="SelfAttention(4, 5)(x).shape")
    layer = MultiHeadAttention(4, 2)
    expect_equal(layer(x).shape, (2, 3, 4), call="MultiHeadAttention(4, 2)(x).shape")


@asks(
    "functionality",
    step=1,
    of="attention_by_steps",
    hint="a sum of D products grows with D; and the keys compete",
)
def test_two_tokens_by_hand():
    """Attend with queries [2, 0, 0, 0] and 0, keys [1, 0, 0, 0] and 0, values 10 and 20."""
    out, weights = attention_by_steps(*tensors(Q, K, V))
    expect(weights, [[1 - HALF, HALF], [0.5, 0.5]], call="weights of attention_by_steps(q, k, v)")
    expect(out, [[10 + 10 * HALF], [15]], call="attention_by_steps(q, k, v)", dtype=np.float32)
    fused = scaled_dot_product_attention(*tensors(Q, K, V))
    expect(fused, out.numpy(), call="scaled_dot_product_attention(q, k, v)", dtype=np.float32)


@asks("functionality", step=1, of="attention_by_steps", hint="forbid before the softmax, not after")
def test_steps_with_masks(rng):
    """Compare the steps with loops: no mask, a boolean one, one of floats with −∞, none allowed."""
    q, k, v = draw(rng, (2, 3, 4), (2, 5, 4), (2, 5, 2))
    some = rng.random((2, 3, 5)) > 0.4
    added = np.where(some, rng.normal(size=(2, 3, 5)), -np.inf)
    for name, mask in {"none": None, "boolean": some, "floats": added, "all": some & False}.items():
        out, weights = attention_by_steps(*tensors(q, k, v), mask)
        expect(out, by_loops(q, k, v, mask), call=f"attention_by_steps, mask: {name}")
        eyes = np.broadcast_to(np.eye(5), (2, 5, 5))
        expect(weights, by_loops(q, k, eyes, mask), call=f"weights, mask: {name}")


@asks(
    "functionality",
    step=2,
    of="causal_mask",
    hint="query i stands at place past + i: what is the last it sees?",
)
def test_causal_mask():
    """Write the masks of 3 tokens, and of 2 tokens that follow 2 others."""
    wanted = [[True, False, False], [True, True, False], [True, True, True]]
    expect(causal_mask(3), wanted, call="causal_mask(3)", dtype=bool)
    wanted = [[True, True, True, False], [True, True, True, True]]
    expect(causal_mask(2, past=2), wanted, call="causal_mask(2, past=2)", dtype=bool)


@asks("functionality", step=3, of="attend", hint="all axes before the last two are a batch")
def test_fused_on_random_input(rng):
    """Compare with loops: 3 queries, 5 keys of 4 features, values of 2, in 2 batches of 2 heads."""
    q, k, v = draw(rng, (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 2))
    out = scaled_dot_product_attention(*tensors(q, k, v))
    expect(out, by_loops(q, k, v), call="attention over (2, 2, 3, 4)", dtype=np.float64)


@asks("functionality", step=3, of="softmax_in_place", hint="True = may attend; floats are added")
def test_fused_with_masks(rng):
    """Compare with loops: masks for each query, for a batch, hidden padding, floats, and causal."""
    q, k, v = draw(rng, (2, 3, 4, 3), (2, 3, 4, 3), (2, 3, 4, 2))
    scores, back = (2, 3, 4, 4), np.tri(4, dtype=bool)
    real = np.array([[True, True, True, False], [True, True, False, False]])[:, None, None]
    masks = {"(4, 4)": rng.random((4, 4)) > 0.5, "padding": real, "floats": rng.normal(size=(4, 4))}
    for name, mask in masks.items():
        whole = np.broadcast_to(mask, scores)
        call = f"attention with mask: {name}"
        out = scaled_dot_product_attention(*tensors(q, k, v), mask=Tensor(mask))
        expect(out, by_loops(q, k, v, whole), call=call)
        out = scaled_dot_product_attention(*tensors(q, k, v), attn_mask=mask, is_causal=True)
        both = whole & back if mask.dtype == bool else np.where(back, whole, -np.inf)
        expect(out, by_loops(q, k, v, both), call=f"{call}, is_causal=True")


@asks("functionality", step=3, of="softmax_in_place", hint="no key allowed: weights 0, never 0 / 0")
def test_queries_without_keys_get_zeros():
    """Forbid everything to query 0, by a boolean mask and by −∞: zeros come out, and gradients."""
    allowed = np.array([[False, False], [True, True]])
    for name, mask in (("boolean", allowed), ("−∞", np.where(allowed, 0, -np.inf))):
        q, k, v = tensors(np.array(Q, float), np.array(K, float), np.array(V, float), grad=True)
        out = scaled_dot_product_attention(q, k, v, mask=mask)
        expect(out, [[0], [15]], call=f"attention, row 0 forbidden ({name})")
        out.backward(np.ones((2, 1)))
        expect(v.grad, [[0.5], [0.5]], call=f"gradient of v, row 0 forbidden ({name})")
        expect(q.grad.numpy()[0], np.zeros(4), call=f"gradient of q[0], forbidden ({name})")


@asks("functionality", step=3, of="softmax_in_place", hint="subtract the row's maximum before exp")
def test_large_scores_are_stable():
    """Attend with scores of ±50,000: the winner takes all, and nothing overflows."""
    q, k, v = tensors([[1e5, 0, 0, 0], [0, 0, 0, 0]], [[1, 0, 0, 0], [-1, 0, 0, 0]], V, grad=True)
    out = scaled_dot_product_attention(q, k, v)
    expect(out, [[10], [15]], call="attention with large scores")
    out.backward(np.ones((2, 1), np.float32))
    expect(v.grad, [[1.5], [0.5]], call="gradient of v with large scores")
    expect(q.grad.numpy()[0], np.zeros(4), call="gradient of q with large scores")


@asks("functionality", step=3, of="attend", hint="drop weights; divide the others by 1 - p")
def test_dropout_hits_the_weights():
    """Drop a quarter of 40,000 equal weights, seen through values that are an identity."""
    manual_seed(1)
    q, k, v = tensors(np.zeros((200, 2)), np.zeros((200, 2)), np.eye(200))
    seen = scaled_dot_product_attention(q, k, v, dropout_p=0.25).numpy() * 200
    zeros = seen == 0
    expect(zeros.mean(), 0.25, call="share of dropped weights", atol=0.02)
    expect(seen[~zeros], np.full((~zeros).sum(), 4 / 3), call="kept weights, times their number")
    off = scaled_dot_product_attention(q, k, v, dropout_p=0.0)
    expect(off, np.full((200, 200), 1 / 200), call="attention with dropout_p=0")


@asks("functionality", step=4, of="attend_rule", hint="compare shapes: who is (T, D), who (S, D)?")
def test_gradients_on_random_input(rng):
    """Compare the gradients of q, k, v and of a mask of floats with small differences of loops."""
    arrays, g = draw(rng, (3, 2), (4, 2), (4, 3), (3, 4)), rng.normal(size=(3, 3))
    wanted = slopes(by_loops, arrays, g)
    q, k, v, mask = tensors(*arrays, grad=True)
    scaled_dot_product_attention(q, k, v, mask).backward(g)
    for name, x, slope in zip(("q", "k", "v", "mask"), (q, k, v, mask), wanted, strict=True):
        expect(x.grad, slope, call=f"gradient of {name}", rtol=1e-4, atol=1e-7)
    q, k, v = tensors(*arrays[:3], grad=True)
    out, _ = attention_by_steps(q, k, v, arrays[3])
    out.backward(g)
    expect(k.grad, wanted[1], call="gradient of k, in steps", rtol=1e-4, atol=1e-7)


@asks("functionality", step=4, of="attend_rule", hint="the factors of dropout, on both ways")
def test_gradients_through_dropout(rng):
    """Read the dropped weights through an identity of values, and compare the gradients."""
    manual_seed(3)
    q, k = draw(rng, (4, 3), (5, 3))
    g, (tq, tk, tv) = rng.normal(size=(4, 5)), tensors(q, k, np.eye(5), grad=True)
    out = scaled_dot_product_attention(tq, tk, tv, dropout_p=0.4)
    used, weights = out.numpy().copy(), weights_by_loops(q, k)
    out.backward(g)
    kept = used / weights
    wanted = slopes(lambda q, k: weights_by_loops(q, k) * kept, [q, k], g)
    expect(tv.grad, used.T @ g, call="gradient of v through dropout")
    expect(tq.grad, wanted[0], call="gradient of q through dropout", rtol=1e-4, atol=1e-7)
    expect(tk.grad, wanted[1], call="gradient of k through dropout", rtol=1e-4, atol=1e-7)


@asks("functionality", step=5, of="SelfAttention.forward", hint="query, key, value; attend")
def test_self_attention(rng):
    """Compare one head with loops over its own three linear layers, plain and causal."""
    layer, x = SelfAttention(4, head_dim=3), rng.normal(size=(2, 5, 4)).astype(np.float32)
    parts = [p.weight.numpy() for p in (layer.query, layer.key, layer.value)]
    biases = [p.bias.numpy() for p in (layer.query, layer.key, layer.value)]
    q, k, v = (x @ w.T + b for w, b in zip(parts, biases, strict=True))
    wanted = by_loops(q, k, v)
    expect(layer(Tensor(x)), wanted, call="SelfAttention(4, 3)(x)", rtol=1e-4, dtype=np.float32)
    back = np.broadcast_to(np.tri(5, dtype=bool), (2, 5, 5))
    causal = layer(Tensor(x), is_causal=True)
    expect(causal, by_loops(q, k, v, back), call="SelfAttention(x, is_causal=True)", rtol=1e-4)


@asks(
    "functionality",
    step=6,
    of="split_heads",
    hint="cut the last axis first; moving axes is another operation",
)
def test_heads_keep_their_features():
    """Split two tokens [0, 1, 2, 3], [4, 5, 6, 7] into two heads, and merge them again."""
    x = np.arange(8.0).reshape(1, 2, 4)
    heads = split_heads(Tensor(x), 2)
    expect(heads, [[[[0, 1], [4, 5]], [[2, 3], [6, 7]]]], call="split_heads(x, 2)")
    expect(merge_heads(heads), x, call="merge_heads(split_heads(x, 2))")


@asks("functionality", step=7, of="MultiHeadAttention.project", hint="C rows for q, then k, then v")
def test_heads_against_loops(rng):
    """Compare self- and cross-attention with loops over heads, from the layer's own weights."""
    layer = layer_with_biases(rng, 6, 3)
    x, y = (a.astype(np.float32) for a in draw(rng, (4, 6), (5, 6)))
    cases = {"x": ([x], (x, x, x)), "x, y": ([x, y], (x, y, y)), "x, y, -y": ([x, y, -y],) * 2}
    for name, (inputs, parts) in cases.items():
        wanted, call = heads_by_loops(layer, *parts), f"MultiHeadAttention(6, 3)({name})"
        out = layer(*tensors(*inputs))
        expect(out, wanted, call=call, rtol=1e-4, atol=1e-5, dtype=np.float32)


@asks("functionality", step=7, of="MultiHeadAttention.attend", hint="hand mask and is_causal on")
def test_heads_with_masks(rng):
    """Mask by (T, S), by (B, T, S), by (B, H, T, S), and causally."""
    layer, x = layer_with_biases(rng, 4, 2), rng.normal(size=(3, 4, 4)).astype(np.float32)
    each = rng.random((3, 4, 4)) > 0.3
    cases = {"(4, 4)": (each[0], False), "(3, 4, 4)": (each, False), "causal": (None, True)}
    cases["(3, 1, 4, 4)"] = (each[:, None], False)
    for name, (mask, causal) in cases.items():
        whole = np.tri(4, dtype=bool) if causal else mask
        whole = np.broadcast_to(whole.reshape(-1, 4, 4), (3, 4, 4))
        wanted = [heads_by_loops(layer, x[b], x[b], x[b], whole[b]) for b in range(3)]
        out = layer(Tensor(x), mask=mask, is_causal=causal)
        expect(out, wanted, call=f"layer(x), mask: {name}", rtol=1e-4, atol=1e-5)


@asks("functionality", step=7, of="MultiHeadAttention", hint="names and shapes as PyTorch's")
def test_state_is_pytorchs():
    """Read names and shapes of the state, and call a layer without bias."""
    layer, bare = MultiHeadAttention(64, 4), MultiHeadAttention(64, 4, bias=False)
    shapes = {name: list(value.shape) for name, value in layer.state_dict().items()}
    wanted = {"in_proj_weight": [192, 64], "in_proj_bias": [192]}
    wanted |= {"out_proj.weight": [64, 64], "out_proj.bias": [64]}
    expect_equal(shapes, wanted, call="shapes of MultiHeadAttention(64, 4).state_dict()")
    expect_equal(bare(Tensor(np.ones((1, 2, 64)))).shape, (1, 2, 64), call="layer without bias")


@asks("functionality", step=5, of="SelfAttention.forward", hint="pass dropout on only in training")
def test_layers_drop_only_in_training(rng):
    """Call both layers with dropout=0.5 in training, and in evaluation, compared with loops."""
    manual_seed(0)
    x = rng.normal(size=(1, 8, 4)).astype(np.float32)
    single, heads = SelfAttention(4, dropout=0.5), layer_with_biases(rng, 4, 2, dropout=0.5)
    linears = (single.query, single.key, single.value)
    q, k, v = (x @ part.weight.numpy().T + part.bias.numpy() for part in linears)
    looped = by_loops(q, k, v), heads_by_loops(heads, x[0], x[0], x[0])[None]
    for layer, wanted in zip((single, heads), looped, strict=True):
        differ = bool((layer(Tensor(x)).numpy() != layer(Tensor(x)).numpy()).any())
        expect_true(differ, call="layer(x) in training", expected="a new draw", got="equal results")
        layer.eval()
        expect(layer(Tensor(x)), wanted, call="layer(x) after eval()", rtol=1e-4, atol=1e-5)


@asks("functionality", step=7, of="MultiHeadAttention.project", hint="project, keep, then attend")
def test_the_halves_serve_a_cache(rng):
    """Attend with the last query alone to all keys: this is the last row of causal attention."""
    layer, x = layer_with_biases(rng, 6, 2), Tensor(rng.normal(size=(2, 5, 6)).astype(np.float32))
    _, keys, values = layer.project(x)
    last = layer.project(x[:, 4:])[0]
    expect_equal(last.shape, (2, 2, 1, 3), call="project(one token)[0].shape")
    whole = layer(x, is_causal=True).numpy()
    out = layer.attend(last, keys, values, mask=causal_mask(1, past=4))
    expect(out, whole[:, 4:], call="attend(last query, all keys, all values)", rtol=1e-4)


@asks("integration", step=7, of="MultiHeadAttention", hint="gradients must reach q, k and v rows")
def test_attention_learns_to_look_back():
    """Train a causal layer to say which token came just before each one."""
    losses = WORK.train_recall(150)
    expect_at_most(losses[-1] / losses[0], 0.15, call="training to look back", what="loss left")


@asks("performance", step=3, of="attend", hint="one array of scores, changed in place")
def test_one_array_of_weights_is_held():
    """Measure what a forward pass of 512 tokens holds for backward: T·T floats and little more."""
    held = WORK.held_bytes(2, 512, 16) / (2 * 512 * 512 * 4)
    expect_at_most(held, 1.5, call="bytes held by attention", what="arrays of (T, T)")


@asks("performance", step=4, of="attend_rule", hint="matrix products; no loop over heads or rows")
def test_attention_is_quick():
    """Attend 64 times 64 tokens there and back, against the bare products and one exp in NumPy."""
    rng = np.random.default_rng(0)
    q, scores = rng.random((64, 64, 32), np.float32), rng.random((64, 64, 64), np.float32)

    def reference():
        for _ in range(3):
            q @ q.swapaxes(-1, -2)
            scores @ q
        np.exp(scores)

    cost = timed(WORK.there_and_back(64, 64, 32), repeat=9) / timed(reference, repeat=9)
    expect_at_most(cost, 10, call="attention there and back", what="time against the reference")
