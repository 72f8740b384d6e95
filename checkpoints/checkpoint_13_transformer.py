"""Checkpoint 13: Can I build a GPT that learns and generates?

Passing proves that each token is normalised and its gradient is exact, that a block adds its two
parts to a free residual stream, that a GPT never looks ahead and shares one matrix between its two
ends, that it learns a text, and that it writes on as its probabilities say and leaves no trace.
"""

import math

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
from tinytorch.core.optimizers import AdamW
from tinytorch.core.tensor import Tensor, manual_seed, rand
from tinytorch.core.transformers import (
    GPT,
    FeedForward,
    GPTConfig,
    LayerNorm,
    TinyGPT,
    TransformerBlock,
    generate,
    initialise,
    layer_norm,
    next_probabilities,
    random_windows,
    reached,
    reused_share,
)

BESIDE = probe("""
import tracemalloc

import numpy as np

from tinytorch.core.layers import Module
from tinytorch.core.tensor import Tensor, grad_mode
from tinytorch.core.transformers import GPT, LayerNorm, generate


def one_parameter(model):
    return model.head.weight is model.token_embedding.weight


def modes(model):
    return [bool(part.training) for part in model.modules()]


def freeze_block(model):
    model.blocks[1].eval()


class Spy(GPT):
    \"\"\"Notes in which mode, how long and with how much recording it is asked.\"\"\"

    def __init__(self, config):
        super().__init__(config)
        self.asked = []

    def features(self, ids):
        self.asked.append((bool(self.training), bool(grad_mode.enabled), int(ids.shape[1])))
        return super().features(ids)


def kept_by_norm(x):
    layer, x = LayerNorm(x.shape[-1]), Tensor(x, requires_grad=True)
    layer(x)
    tracemalloc.start()
    out = layer(x)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held / out.nbytes


def peak_of_next_logits(config, ids):
    model = GPT(config)
    model.next_logits(ids)
    tracemalloc.start()
    model.next_logits(ids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def train(model, optimizer, ids, targets, steps):
    for _ in range(steps):
        _, loss = model(ids, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()
""")


def reference_norm(x, weight=1.0, bias=0.0, eps=1e-5):
    """Mean 0 and variance 1 over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def reference_softmax(x):
    """Probabilities along the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def reference_feed_forward(s, x):
    """Linear, GPT-2's gelu, linear; s maps names to arrays."""
    h = x @ s["linear1.weight"].T + s["linear1.bias"]
    h = h / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return h @ s["linear2.weight"].T + s["linear2.bias"]


def reference_block(s, x, heads, causal=True):
    """One pre-norm block on x (B, T, C), head by head."""
    a, (_, T, C) = reference_norm(x, s["norm1.weight"], s["norm1.bias"]), x.shape
    packed = a @ s["self_attn.in_proj_weight"].T + s["self_attn.in_proj_bias"]
    mixed, D = [], C // heads
    for h in range(heads):
        q, k, v = (packed[..., i * C + h * D : i * C + (h + 1) * D] for i in range(3))
        scores = q @ k.swapaxes(1, 2) / math.sqrt(D)
        if causal:
            scores = np.where(np.tri(T, dtype=bool), scores, -1e30)
        mixed.append(reference_softmax(scores) @ v)
    mixed = np.concatenate(mixed, axis=-1)
    x = x + mixed @ s["self_attn.out_proj.weight"].T + s["self_attn.out_proj.bias"]
    below = {name.removeprefix("feed_forward."): s[name] for name in s if "feed_forward" in name}
    return x + reference_feed_forward(below, reference_norm(x, s["norm2.weight"], s["norm2.bias"]))


def reference_gpt(s, ids, heads):
    """Logits of a GPT with the state s."""
    x = s["token_embedding.weight"][ids] + s["position_embedding.weight"][: ids.shape[1]]
    for i in range(1 + max(int(name.split(".")[1]) for name in s if name.startswith("blocks"))):
        block = {n.removeprefix(f"blocks.{i}."): s[n] for n in s if n.startswith(f"blocks.{i}.")}
        x = reference_block(block, x, heads)
    return reference_norm(x, s["norm.weight"], s["norm.bias"]) @ s["head.weight"].T


def reference_loss(logits, targets):
    """Mean of -log p(target)."""
    p = reference_softmax(logits)
    return -np.log(np.take_along_axis(p, targets[..., None], -1)).mean()


def measured_slope(function, x, h=1e-5):
    """Central differences of a function of an array that gives one number."""
    slopes = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slopes[i] = (function(up) - function(down)) / (2 * h)
    return slopes


def filled(model, rng, scale=0.3):
    """Give every parameter random float64 values; return them by name."""
    state = {}
    for name, parameter in model.named_parameters():
        state[name] = rng.normal(float("norm" in name and "weight" in name), scale, parameter.shape)
        parameter.data = state[name]
    if "token_embedding.weight" in state:
        state["head.weight"] = state["token_embedding.weight"]
    return state


def small_gpt(**options):
    """Two layers, two heads, 12 features, 8 places, 10 tokens."""
    sizes = {"vocab_size": 10, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 12}
    return GPT(GPTConfig(**{**sizes, **options}))


@asks("imports", step=3, of="GPT", hint="each part is a Module; TinyGPT is another name of GPT")
def test_the_parts_are_there():
    """Make every part and read the shape of what comes out."""
    x, config = Tensor(np.ones((1, 2, 4))), GPTConfig(5, 3, 1, 2, 4)
    for name, part in (("LayerNorm", LayerNorm(4)), ("FeedForward", FeedForward(4))):
        expect_equal(tuple(part(x).shape), (1, 2, 4), call=f"{name}(4)(x).shape")
    expect_equal(tuple(TransformerBlock(4, 2)(x).shape), (1, 2, 4), call="TransformerBlock(4, 2)")
    expect_equal(tuple(TinyGPT(config)([[1, 2]]).shape), (1, 2, 5), call="TinyGPT(config)")
    initialise(GPT(config), n_layer=1)
    expect_equal(tuple(generate(GPT(config), [1], 2).shape), (3,), call="generate(model, [1], 2)")


@asks("functionality", step=1, of="normalise", hint="mean and variance run over the features")
def test_layer_norm_by_hand():
    """Normalise [1, 3], [100, 300] and [7, 7]: the first two become [-1, 1], the last 0."""
    got = layer_norm(Tensor([[1, 3], [100, 300], [7, 7]]), 2)
    expect(got, [[-1, 1], [-1, 1], [0, 0]], call="layer_norm(x, 2)", atol=1e-4, dtype=np.float32)


@asks("functionality", step=1, of="normalise", hint="divide by the count; eps is in the root")
def test_layer_norm_of_any_shape(rng):
    """Normalise the last axis, and the last two, with scale and shift and a large eps."""
    x, w, b = rng.normal(3, 2, (4, 3, 5)), rng.normal(size=5), rng.normal(size=5)
    got = layer_norm(Tensor(x), 5, Tensor(w), Tensor(b), eps=0.5)
    expect(got, reference_norm(x, w, b, 0.5), call="layer_norm(x, 5, weight, bias, eps=0.5)")
    expected = reference_norm(x.reshape(4, 15)).reshape(x.shape)
    expect(layer_norm(Tensor(x), (3, 5)), expected, call="layer_norm(x, (3, 5))")
    expect(LayerNorm(5)(Tensor(x)), reference_norm(x), call="LayerNorm(5)(x)")


@asks("functionality", step=1, of="normalise_rule", hint="x moves its own mean and variance too")
def test_layer_norm_gradients(rng):
    """Compare the gradients of x, weight and bias with measured slopes."""
    arrays = [rng.normal(1, 2, (2, 3, 4)), rng.normal(size=4), rng.normal(size=4)]
    g = rng.normal(size=(2, 3, 4))
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    layer_norm(tensors[0], 4, tensors[1], tensors[2]).backward(g)
    for i, name in enumerate(("x", "weight", "bias")):

        def loss(a, i=i):
            return (reference_norm(*arrays[:i], a, *arrays[i + 1 :]) * g).sum()

        wanted = measured_slope(loss, arrays[i])
        expect(tensors[i].grad, wanted, call=f"gradient of {name}", rtol=1e-4, atol=1e-6)


@asks("functionality", step=2, of="TransformerBlock.forward", hint="norm inside, sum outside")
def test_block_is_pre_norm_and_residual(rng):
    """Run a block, with and without the causal mask, and compare with NumPy."""
    block, x = TransformerBlock(6, 2), rng.normal(2, 3, (2, 4, 6))
    state = filled(block, rng)
    for causal in (False, True):
        expected = reference_block(state, x, 2, causal)
        expect(block(Tensor(x), is_causal=causal), expected, call=f"block(x, is_causal={causal})")
    hidden = np.tri(4, dtype=bool)
    expect(block(Tensor(x), hidden), reference_block(state, x, 2), call="block(x, mask)")


@asks("functionality", step=3, of="initialise", hint="2 * n_layer branches add to one stream")
def test_first_values(rng):
    """Look at the spread of each kind of parameter in a new GPT of 8 layers."""
    model = GPT(GPTConfig(200, 100, 8, 4, 64))
    for name, parameter in model.named_parameters():
        branch = name.endswith(("out_proj.weight", "linear2.weight"))
        wanted = 0.02 / 4 if branch else 0.0 if parameter.ndim == 1 else 0.02
        values = parameter.numpy()
        expect(values.std(), wanted, call=f"deviation of {name}", rtol=0.1)
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        expect(values.mean(), centre, call=f"mean of {name}", atol=1.5e-3)


@asks("functionality", step=3, of="GPT.features", hint="a place knows itself and what was before")
def test_the_future_does_not_leak(rng):
    """Change token 5 of 8: the logits before it stay, those from it on change."""
    model, ids = small_gpt(), rng.integers(0, 10, (2, 8))
    filled(model, rng)
    changed = ids.copy()
    changed[:, 5] = (ids[:, 5] + 1 + rng.integers(0, 9, 2)) % 10
    before, after = model(ids).numpy(), model(changed).numpy()
    moved = np.flatnonzero(np.abs(after - before).max(axis=(0, 2)) > 1e-9).tolist()
    expect_equal(moved, [5, 6, 7], call="places whose logits change with token 5")
    least = float(np.abs(after - before).max(axis=-1)[:, 5:].min())
    expect_true(least > 1e-6, call="logits from it on", expected="a change", got=least)


@asks("functionality", step=3, of="GPT.features", hint="tokens plus places, blocks, a last norm")
def test_gpt_logits(rng):
    """Compare the logits of a GPT with a NumPy transformer of the same weights."""
    model, ids = small_gpt(), rng.integers(0, 10, (3, 6))
    state = filled(model, rng)
    expect(model(ids), reference_gpt(state, ids, 2), call="GPT(config)(ids)", rtol=1e-4, atol=1e-5)
    model(Tensor(ids))
    one = reference_gpt(state, ids[:1, :1], 2)
    expect(model(ids[:1, :1]), one, call="GPT(config)(one token)", rtol=1e-4, atol=1e-5)


@asks("functionality", step=3, of="GPT.forward", hint="logits and targets stand at the same place")
def test_loss_compares_place_by_place(rng):
    """Give targets: the loss is the mean cross-entropy of logits[b, t] against targets[b, t]."""
    model, ids, targets = small_gpt(), rng.integers(0, 10, (3, 6)), rng.integers(0, 10, (3, 6))
    expected = reference_gpt(filled(model, rng), ids, 2)
    logits, loss = model(ids, targets)
    expect(logits, expected, call="model(ids, targets)[0]", rtol=1e-4, atol=1e-5)
    expect(loss, reference_loss(expected, targets), call="model(ids, targets)[1]", rtol=1e-5)


@asks("functionality", step=3, of="GPT.__init__", hint="assign the Parameter, not its numbers")
def test_head_and_embedding_are_one_parameter():
    """Count the parameters of a GPT with and without tied weights."""
    sizes = [sum(p.size for p in small_gpt(tie_weights=t).parameters()) for t in (True, False)]
    block = 4 * 12 * 12 + 4 * 12 + 8 * 12 * 12 + 5 * 12 + 4 * 12
    tied = 10 * 12 + 8 * 12 + 2 * block + 2 * 12
    expect_equal(sizes, [tied, tied + 120], call="parameters, tied and not")
    expect_true(bool(BESIDE.one_parameter(small_gpt())), call="head.weight", expected="that of "
                "token_embedding", got="another object")  # fmt: skip


@asks("functionality", step=4, of="random_windows", hint="the target of a token is its successor")
def test_windows_and_targets(rng):
    """Cut 300 windows of 4 tokens out of 9: five starts are possible, and targets are one later."""
    tokens = rng.permutation(50)[:9]
    ids, targets = (np.asarray(part) for part in random_windows(tokens, 4, 300))
    starts = [tokens.tolist().index(int(t)) for t in ids[:, 0]]
    expect_equal(sorted(set(starts)), [0, 1, 2, 3, 4], call="starts of random_windows")
    expect(ids, [tokens[s : s + 4] for s in starts], call="random_windows(…)[0]")
    expect(targets, [tokens[s + 1 : s + 5] for s in starts], call="random_windows(…)[1]")


@asks("functionality", step=5, of="next_probabilities", hint="temperature, top_k, top_p, in order")
def test_probabilities_by_hand():
    """Choose from [0.15, 0.5, 0.05, 0.3] by each knob."""
    logits = np.log([[0.15, 0.5, 0.05, 0.3]])
    cases = [
        ({}, [0.15, 0.5, 0.05, 0.3]),
        ({"temperature": 0.5}, np.array([0.0225, 0.25, 0.0025, 0.09]) / 0.365),
        ({"temperature": 0}, [0, 1, 0, 0]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 3}, np.array([0.15, 0.5, 0, 0.3]) / 0.95),
        ({"top_p": 0.6}, [0, 0.625, 0, 0.375]),
        ({"top_p": 0.4}, [0, 1, 0, 0]),
        ({"top_p": 0.81}, np.array([0.15, 0.5, 0, 0.3]) / 0.95),
        ({"top_k": 2, "top_p": 0.62}, [0, 1, 0, 0]),
        ({"temperature": 2.0, "top_p": 0.35}, [0, 1, 0, 0]),
        ({"top_k": 99, "top_p": 1.0}, [0.15, 0.5, 0.05, 0.3]),
    ]
    for knobs, expected in cases:
        call = ", ".join(("logits", *(f"{name}={value}" for name, value in knobs.items())))
        hint = "the fewest likeliest tokens that reach p together" if "top_p" in knobs else None
        got = next_probabilities(logits, **knobs)
        expect(got, [expected], call=f"next_probabilities({call})", hint=hint)


@asks("functionality", step=5, of="next_probabilities", hint="each row is sorted for itself")
def test_probabilities_of_a_batch(rng):
    """Keep the top 5 of random logits, large ones too, row by row."""
    logits = rng.normal(0, 4, (6, 20)) + rng.choice([0, 1000], (6, 1))
    ranks = np.argsort(np.argsort(-logits))
    expected = reference_softmax(np.where(ranks < 5, logits / 0.7, -1e30))
    got = next_probabilities(logits, temperature=0.7, top_k=5)
    expect(got, expected, call="next_probabilities(logits, 0.7, top_k=5)")


@asks("functionality", step=6, of="generate", hint="only the newest block_size tokens are read")
def test_greedy_text_goes_past_the_block(rng):
    """Write 8 tokens at temperature 0 after 3, and after 11, with a block of 8."""
    model = small_gpt()
    state = filled(model, rng, 0.5)
    for length in (3, 11):
        ids = rng.integers(0, 10, (2, length))
        expected = ids
        for _ in range(8):
            last = reference_gpt(state, expected[:, -8:], 2)[:, -1]
            expected = np.concatenate([expected, last.argmax(-1)[:, None]], axis=1)
        call = f"generate(ids of length {length}, 8, temperature=0)"
        expect(model.generate(ids, 8, temperature=0), expected, call=call)
    expect(model.generate([1, 2], 0), [1, 2], call="generate([1, 2], 0)")


@asks("functionality", step=6, of="generate", hint="every row of the batch draws for itself")
def test_tokens_are_drawn_as_often_as_they_should(rng):
    """Draw one token for each of 2000 equal rows and count."""
    model, row = small_gpt(), rng.integers(0, 10, (1, 4))
    logits = reference_gpt(filled(model, rng, 0.5), row, 2)[0, -1]
    p = reference_softmax(logits / 2)
    seed = int(rng.integers(1 << 30))
    call = "generate(2000 rows, 1, temperature=2)"
    drawn = model.generate(np.tile(row, (2000, 1)), 1, temperature=2.0, seed=seed).numpy()[:, -1]
    counts = np.bincount(drawn, minlength=10)
    gaps = np.abs(counts - 2000 * p) - 5 * np.sqrt(2000 * p * (1 - p))
    got = f"{counts.tolist()} for probabilities {p.round(3).tolist()}"
    expect_true(bool((gaps <= 1e-6).all()), call=call, expected="2000 p, within chance", got=got)


@asks("functionality", step=6, of="generate", hint="a generator of its own when there is a seed")
def test_seeds(rng):
    """Write with seeds; then without one, after manual_seed."""
    model, ids = small_gpt(), rng.integers(0, 10, (1, 3))
    manual_seed(7)
    expected = rand(1).item()
    manual_seed(7)
    one, again, other = (model.generate(ids, 16, seed=s).tolist() for s in (3, 3, 4))
    hint = "the course's generator must not move when a seed is given"
    expect(rand(1), [expected], call="rand(1) after generate(seed=3)", hint=hint)
    expect_equal(again, one, call="generate(seed=3), again")
    texts = []
    for seed in (9, 9, None):
        if seed:
            manual_seed(seed)
        texts.append(model.generate(ids, 16).tolist())
    expect_equal(texts[1], texts[0], call="generate() after manual_seed(9)")
    fresh = one != other and texts[2] != texts[1]
    expect_true(fresh, call="another seed, or none", expected="another text", got="the same")


@asks("functionality", step=6, of="generate", hint="evaluate, record nothing, then restore")
def test_generate_leaves_no_trace(rng):
    """Write with a model whose second block is in evaluation mode; look at modes and calls."""
    model = BESIDE.Spy(GPTConfig(10, 8, 2, 2, 12, dropout=0.5))
    BESIDE.freeze_block(model)
    before = BESIDE.modes(model)
    expect_true(True in before and False in before, call="modes", expected="both", got=before)
    model.generate([[1, 2]], 3)
    after = BESIDE.modes(model)
    expect_equal(sum(after), sum(before), call="parts in training mode after generate")
    expect_equal(after, before, call="training of each part after generate")
    expected = [(False, False, 2), (False, False, 3), (False, False, 4)]
    asked = [tuple(one) for one in model.asked]
    expect_equal(asked, expected, call="(training, recording, tokens) in each call")


@asks("functionality", step=7, of="reached", hint="follow every arrow, visit each module once")
def test_imports_are_followed():
    """Follow the arrows of a graph with a circle."""
    graph = {"gpt": ["norm", "layers"], "norm": ["tensor"], "layers": ["tensor", "norm"]}
    graph |= {"cnn": ["layers"], "tensor": [], "loop": ["gpt", "loop"]}
    expected = ["gpt", "layers", "norm", "tensor"]
    expect_equal(sorted(reached(graph, ["gpt"])), expected, call="reached(graph, ['gpt'])")
    expect(reused_share(graph, ["loop"], ["cnn"]), 0.6, call="reused_share")


@asks("integration", step=3, of="GPT", hint="every part must pass its gradient on")
def test_training_by_numpy_slopes(rng):
    """Compare gradients of a GPT's loss with measured slopes, one number of each parameter."""
    model, ids, targets = small_gpt(), rng.integers(0, 10, (2, 5)), rng.integers(0, 10, (2, 5))
    state = filled(model, rng)
    model(ids, targets)[1].backward()
    for name, parameter in model.named_parameters():
        place = tuple(int(rng.integers(0, min(n, 5))) for n in parameter.shape)

        def loss(value, name=name, place=place):
            changed = {**state, name: state[name].copy()}
            changed[name][place] = value[0]
            if name == "token_embedding.weight":
                changed["head.weight"] = changed[name]
            return reference_loss(reference_gpt(changed, ids, 2), targets)

        slope = measured_slope(loss, np.array([state[name][place]]))[0]
        got = parameter.grad.numpy()[place]
        expect(got, slope, call=f"gradient of {name}", rtol=2e-3, atol=1e-6)


@asks("integration", step=6, of="GPT", hint="is a later token visible? are positions added?")
def test_gpt_learns_a_text_by_heart(rng):
    """Overfit 24 tokens of a random text, then complete it greedily."""
    text = rng.integers(0, 6, 24)
    manual_seed(int(rng.integers(1000)))
    model = GPT(GPTConfig(6, 24, 1, 2, 32))
    optimizer = AdamW(model.parameters(), lr=1e-2)
    first = reference_loss(model(text[None, :-1]).numpy(), text[None, 1:])
    expect(first, math.log(6), call="first loss: log of the vocabulary", rtol=0.15)
    BESIDE.train(model, optimizer, text[None, :-1], text[None, 1:], 90)
    last = reference_loss(model(text[None, :-1]).numpy(), text[None, 1:])
    expect_at_most(last, 0.2, call="loss after 90 steps", what="cross-entropy")
    expect(model.generate(text[:8], 16, temperature=0), text, call="generate(first 8, 16, 0)")


@asks("performance", step=1, of="normalise", hint="keep x, and two numbers for each token")
def test_layer_norm_keeps_little(rng):
    """Measure what a LayerNorm holds after its forward pass, its output included."""
    x = rng.normal(size=(64, 64, 128)).astype(np.float32)
    held = float(BESIDE.kept_by_norm(x))
    expect_at_most(held, 1.5, call="LayerNorm(128)(x)", what="arrays of the size of x held")


@asks("performance", step=3, of="GPT.next_logits", hint="crop to block_size before reading")
def test_a_long_beginning_costs_no_more(rng):
    """Write 10 tokens after 64 and after 6,400 tokens, with a block of 64."""
    model = GPT(GPTConfig(20, 64, 2, 2, 32))
    short, long = (rng.integers(0, 20, (1, n)) for n in (64, 6400))
    costs = [timed(model.generate, ids, 10, temperature=0, repeat=3) for ids in (short, long)]
    expect_at_most(costs[1] / costs[0], 3, call="generate", what="time after 100 times the tokens")


@asks("performance", step=3, of="GPT.next_logits", hint="only the last place has to be guessed")
def test_writing_applies_the_head_once(rng):
    """Measure the memory in which the next logits among 20,000 tokens are computed, after 64."""
    ids = rng.integers(0, 20_000, (1, 64))
    peak = float(BESIDE.peak_of_next_logits(GPTConfig(20_000, 64, 1, 1, 16), ids))
    call, row = "next_logits(64 tokens)", 20_000 * 4
    expect_at_most(peak / row, 16, call=call, what="peak memory, in rows of logits")


@asks("performance", step=5, of="next_probabilities", hint="one sort; nothing of V times V numbers")
def test_choosing_costs_one_sort(rng):
    """Choose among 20,000 tokens, greedily and by top_k and top_p, against sorting them."""
    logits = rng.normal(size=(2, 20_000))
    sorting = timed(lambda: np.argsort(logits, kind="stable"), repeat=3)
    for knobs in ({"temperature": 0}, {"top_k": 50, "top_p": 0.9}):
        yours = timed(next_probabilities, logits, repeat=3, **knobs)
        call = f"next_probabilities(logits, **{knobs})"
        expect_at_most(yours / sorting, 8, call=call, what="time against one sort")
