"""Checkpoint 17: Can I generate without recomputing the past?

Passing proves that a memo tells questions apart, that a cache keeps keys and values in room that is
reserved once, that a GPT which reads only what is new guesses what it would from the whole, that
texts are the same with and without a cache, beyond block_size too, and that a token costs a token.
"""

import math
from itertools import pairwise

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
from tinytorch.core.attention import MultiHeadAttention
from tinytorch.core.memoization import (
    CachedReader,
    KVCache,
    attend_cached,
    read,
    shared_beginning,
)
from tinytorch.core.tensor import Tensor
from tinytorch.core.transformers import GPT, GPTConfig

BESIDE = probe('''
import numpy as np

from tinytorch.core.embeddings import Embedding
from tinytorch.core.memoization import CachedReader, KVCache, Memo, read
from tinytorch.core.tensor import Tensor, grad_mode
from tinytorch.core.transformers import GPT, GPTConfig


def counted(capacity):
    """A memo of the sum, and a function that lists what it computed."""
    asked = []

    def total(x):
        asked.append(float(np.sum(x)))
        return asked[-1]

    return Memo(total, capacity), lambda: list(asked)


class Counting(Embedding):
    """Notes how many tokens it looks up, and whether that is recorded."""

    def forward(self, ids):
        self.seen.append((int(np.size(ids)), bool(grad_mode.enabled)))
        return super().forward(ids)


def lookups(prompt, count, block):
    """Tokens looked up in each step of writing."""
    model = GPT(GPTConfig(10, block, 1, 2, 8, tie_weights=False))
    spy = model.token_embedding = Counting(10, 8)
    spy.seen = []
    model.generate(prompt, count, seed=0, use_cache=True)
    return list(spy.seen)


def while_reading(model, ids):
    """Whether the last norm records a graph, and the logits are a plain array."""
    seen, norm = [], model.norm
    model.norm = lambda x: seen.append(bool(grad_mode.enabled)) or norm(x)
    logits = read(model, ids, KVCache(model.config, len(ids), dtype="float64"))
    return seen[0], isinstance(logits, np.ndarray)


def aliases(config):
    """Whether appended keys and values lie in the cache, and are copies of what was given."""
    cache, k = KVCache(config), np.ones((1, config.n_head, 2, config.n_embd // config.n_head), "f")
    found = cache.append(0, Tensor(k), Tensor(k + 1))
    inside = [np.shares_memory(a.data, b) for a, b in zip(found, (cache.keys, cache.values))]
    k[:] = 7
    return inside, cache.append(0, Tensor(k), Tensor(k))[0].numpy()[0, 0, :, 0]


def reuses(model, ids):
    """Ask twice through one array that the caller changes in between."""
    reader, text = CachedReader(model), ids.copy()
    reader.next_logits(text)
    text[:, 1] = (text[:, 1] + 1) % 10
    return reader.next_logits(text), text


def appending(held, count=40, capacity=4000):
    """Prepare a cache that holds tokens; return a function that appends some, one at a time."""
    cache = KVCache(GPTConfig(n_layer=1, n_head=4, n_embd=256, block_size=capacity))
    past, one = (Tensor(np.zeros((1, 4, n, 64), np.float32)) for n in (held, 1))
    if held:
        cache.append(0, past, past)

    def run():
        cache.crop(held)
        for _ in range(count):
            cache.append(0, one, one)

    return run


def next_token(length):
    """Two ways to the logits after a text: reading all of it, and only its last token."""
    model = GPT(GPTConfig(65, 256, 1, 4, 64))
    model.eval()
    reader, ids = CachedReader(model), np.random.default_rng(0).integers(0, 65, (1, length))
    reader.next_logits(ids[:, :-1])
    return quiet(model, ids), quiet(reader, ids)


def quiet(one, ids):
    def run():
        one.next_logits(ids)

    return run
''')


def reference_norm(x, weight, bias):
    """Mean 0 and variance 1 over the last axis, scaled and shifted."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def reference_attention(s, x, heads):
    """Causal attention of x (B, T, C), head by head; s maps names to arrays."""
    (_, T, C), D, mixed = x.shape, x.shape[2] // heads, []
    packed = x @ s["in_proj_weight"].T + s["in_proj_bias"]
    for h in range(heads):
        q, k, v = (packed[..., i * C + h * D : i * C + (h + 1) * D] for i in range(3))
        scores = np.where(np.tri(T, dtype=bool), q @ k.swapaxes(1, 2) / math.sqrt(D), -1e30)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed.append(weights / weights.sum(-1, keepdims=True) @ v)
    return np.concatenate(mixed, -1) @ s["out_proj.weight"].T + s["out_proj.bias"]


def below(s, prefix):
    """The entries of a state under a prefix."""
    return {name.removeprefix(prefix): s[name] for name in s if name.startswith(prefix)}


def reference_next(s, ids, heads=2, block=8):
    """Logits of the token after ids: the whole window is read."""
    ids = ids[:, -block:]
    x = s["token_embedding.weight"][ids] + s["position_embedding.weight"][: ids.shape[1]]
    for i in range(2):
        b = below(s, f"blocks.{i}.")
        normal = reference_norm(x, b["norm1.weight"], b["norm1.bias"])
        x = x + reference_attention(below(b, "self_attn."), normal, heads)
        h = reference_norm(x, b["norm2.weight"], b["norm2.bias"])
        h = h @ b["feed_forward.linear1.weight"].T + b["feed_forward.linear1.bias"]
        h = h / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + h @ b["feed_forward.linear2.weight"].T + b["feed_forward.linear2.bias"]
    return reference_norm(x, s["norm.weight"], s["norm.bias"])[:, -1] @ s["head.weight"].T


def filled(model, rng):
    """Give every parameter random float64 values, so that rounding decides nothing."""
    state = {}
    for name, p in model.named_parameters():
        state[name] = rng.normal(float("norm" in name and "weight" in name), 0.5, p.shape)
        p.data = state[name]
    if "token_embedding.weight" in state:
        state["head.weight"] = state["token_embedding.weight"]
    return state


def lively_gpt(rng, **options):
    """A GPT of 10 tokens, 8 places, 2 layers, 2 heads and 12 features, and its parameters."""
    model = GPT(GPTConfig(10, 8, 2, 2, 12, **options))
    return model, filled(model, rng)


@asks("imports", step=2, of="KVCache", hint="each name comes from one step; run tito test 17")
def test_the_parts_are_there():
    """Use every name once: memo, cache, reader, and a GPT that reads with a cache."""
    expect_equal(BESIDE.counted(3)[0]([1.0, 2.0]), 3.0, call="Memo(sum)([1, 2])")
    config = GPTConfig(5, 4, 1, 2, 4)
    model, cache = GPT(config), KVCache(config)
    x = Tensor(np.ones((1, 1, 4), np.float32))
    shape = tuple(attend_cached(MultiHeadAttention(4, 2), x, cache, 0).shape)
    expect_equal(shape, (1, 1, 4), call="attend_cached(attention, x, cache, 0).shape")
    cache.reset()
    expect_equal(read(model, [[1]], cache).shape, (1, 5), call="read(model, [[1]], cache).shape")
    ids = np.array([[1]])
    expect_equal(CachedReader(model).next_logits(ids).shape, (1, 5), call="next_logits(ids).shape")
    expect_equal(shared_beginning(ids, ids), 1, call="shared_beginning(ids, ids)")
    expect_equal(BESIDE.counted(3)[0].hit_rate, 0.0, call="hit_rate before the first call")


@asks("functionality", step=1, of="Memo.__call__", hint="a hit makes its answer the youngest")
def test_memo_by_hand():
    """Ask 1, 2, 1, 3, 1, 2 with room for two answers: two hits, and 2 is computed twice."""
    memo, computed = BESIDE.counted(2)
    a, b, c = np.ones(1), np.full(1, 2.0), np.full(1, 3.0)
    expect_equal([float(memo(x)) for x in (a, b, a, c, a, b)], [1, 2, 1, 3, 1, 2], call="answers")
    expect_equal(
        [int(x) for x in computed()], [1, 2, 3, 2], call="what Memo(…, capacity=2) computed"
    )
    expect_equal((memo.hits, memo.calls), (2, 6), call="(hits, calls)")
    expect(memo.hit_rate, 1 / 3, call="hit_rate")


@asks("functionality", step=1, of="Memo.__call__", hint="the key is what the array says, all of it")
def test_memo_tells_questions_apart(rng):
    """Ask with equal arrays, other shapes, other dtypes, and one value changed."""
    memo, computed = BESIDE.counted(100)
    x = rng.integers(1, 9, (2, 3))
    other = x.copy()
    other[1, 2] += 1
    for array in (x, x.copy(), x.T.copy(), x.astype(np.float32), other, x.reshape(3, 2), x + 0):
        expect(memo(array), float(array.sum()), call="memo(x)")
    expect_equal(len(computed()), 5, call="questions computed of 7", hint="bytes, shape and dtype")


@asks(
    "functionality",
    step=2,
    of="KVCache.append",
    hint="what is handed out: the new tokens, or all of this layer?",
)
def test_cache_returns_old_and_new(rng):
    """Append 3, 1 and 2 tokens to two layers, and look at all that each call returns."""
    cache = KVCache(GPTConfig(n_layer=2, n_head=3, n_embd=12), 2, 6, "float64")
    k, v = rng.normal(size=(2, 2, 2, 3, 6, 4))
    for start, end in ((0, 3), (3, 4), (4, 6)):
        for i in (0, 1):
            new = Tensor(k[i, :, :, start:end]), Tensor(v[i, :, :, start:end])
            keys, values = cache.append(i, *new)
            call = f"append({i}, tokens[{start}:{end}])"
            expect(keys, k[i, :, :, :end], call=f"keys of {call}")
            expect(values, v[i, :, :, :end], call=f"values of {call}")
            expect_equal(cache.length, (start, end)[i], call=f"length after {call}")


@asks("functionality", step=2, of="KVCache.nbytes", hint="keys and values, every layer, every text")
def test_cache_counts_its_bytes():
    """Reserve room for 100 tokens of 3 texts; then for GPT-2 small: 75.5 MB."""
    cache = KVCache(GPTConfig(n_layer=5, n_head=2, n_embd=6, block_size=200), 3, 100)
    expect_equal(cache.nbytes, 2 * 5 * 3 * 100 * 6 * 4, call="nbytes")
    gpt2 = GPTConfig(50_257, 1024, 12, 12, 768)
    expect_equal(KVCache(gpt2).nbytes, 2 * 12 * 1024 * 768 * 4, call="KVCache(gpt2).nbytes")


@asks("functionality", step=2, of="KVCache.append", hint="copy the new in, hand out views of all")
def test_cache_keeps_copies_and_lends_views():
    """Append, change what was appended, append again."""
    inside, row = BESIDE.aliases(GPTConfig(n_layer=1, n_head=2, n_embd=8))
    expect_equal([bool(x) for x in inside], [True, True], call="do the results share its memory?")
    expect(row, [1, 1, 7, 7], call="keys after append, change, append")


@asks("functionality", step=2, of="KVCache.crop", hint="lengths shrink, in every layer")
def test_going_back(rng):
    """Append 4 tokens, crop to 1, append 2 others; then reset."""
    cache = KVCache(GPTConfig(n_layer=2, n_head=1, n_embd=2), 1, 4)
    old, new = rng.normal(size=(1, 1, 4, 2)), rng.normal(size=(1, 1, 2, 2))
    old, new = old.astype(np.float32), new.astype(np.float32)
    for i in (0, 1):
        cache.append(i, Tensor(old), Tensor(-old))
    cache.crop(1)
    expect_equal(cache.length, 1, call="length after crop(1)")
    for i in (1, 0):
        keys, values = cache.append(i, Tensor(new), Tensor(-new))
        expected = np.concatenate([old[:, :, :1], new], axis=2)
        expect(keys, expected, call=f"append({i}, …)[0] after crop(1)")
        expect(values, -expected, call=f"append({i}, …)[1] after crop(1)")
    cache.reset()
    expect_equal(cache.length, 0, call="length after reset()")


@asks("functionality", step=3, of="attend_cached", hint="the mask counts the past too: how long?")
def test_attention_in_parts(rng):
    """Attend to 7 tokens at once, one by one, and in parts of 3, 2 and 2."""
    attention = MultiHeadAttention(6, 2)
    state, x = filled(attention, rng), rng.normal(size=(2, 7, 6))
    expected = reference_attention(state, x, 2)
    for cuts in ((0, 7), tuple(range(8)), (0, 3, 5, 7)):
        cache = KVCache(GPTConfig(n_layer=2, n_head=2, n_embd=6), 2, 7, "float64")
        for a, b in pairwise(cuts):
            got = attend_cached(attention, Tensor(x[:, a:b]), cache, 1)
            expect(got, expected[:, a:b], call=f"attend_cached(x[:, {a}:{b}])")


@asks("functionality", step=4, of="read", hint="where does the first new token stand?")
def test_reading_in_parts(rng):
    """Read 8 tokens of 2 texts at once, one by one, and in parts of 3 and 5; compare logits."""
    (model, state), ids = lively_gpt(rng), rng.integers(0, 10, (2, 8))
    for cuts in ((0, 8), tuple(range(9)), (0, 3, 8)):
        cache = KVCache(model.config, 2, dtype="float64")
        for a, b in pairwise(cuts):
            got = read(model, ids[:, a:b], cache)
            expect(
                got, reference_next(state, ids[:, :b]), call=f"read(model, ids[:, {a}:{b}], cache)"
            )
            expect_equal(cache.length, b, call=f"length after reading {b} tokens")


@asks("functionality", step=4, of="read", hint="a cache of bare numbers cannot carry gradients")
def test_reading_records_nothing(rng):
    """Read outside `no_grad`; look whether a graph is recorded, and what comes back."""
    model, _ = lively_gpt(rng)
    got = tuple(BESIDE.while_reading(model, rng.integers(0, 10, (2, 4))))
    expect_equal(got, (False, True), call="read: (a graph is recorded, gives a NumPy array)")


@asks("functionality", step=5, of="shared_beginning", hint="a column counts if all rows agree")
def test_shared_beginnings(rng):
    """Compare texts that differ nowhere, in one row, at once, and in length."""
    old = rng.integers(0, 9, (3, 6))
    for place in (0, 2, 5):
        new = np.concatenate([old, old], axis=1)
        new[rng.integers(3), place] += 1
        expect_equal(shared_beginning(old, new), place, call=f"row differs at {place}")
    expect_equal(shared_beginning(old, old[:, :4]), 4, call="shared_beginning(6 tokens, first 4)")
    expect_equal(shared_beginning(old[:, :0], old), 0, call="shared_beginning(nothing, 6 tokens)")


@asks("functionality", step=5, of="CachedReader.next_logits", hint="reuse only what is true")
def test_a_reader_answers_every_question(rng):
    """Ask about a growing text, again, another ending, other batches, a long one, a short one."""
    (model, state), ids = lively_gpt(rng), rng.integers(0, 10, (2, 12))
    reader, other = CachedReader(model), ids.copy()
    other[1, 4:] = 9 - other[1, 4:]
    texts = {"2 tokens": ids[:, :2], "5 tokens": ids[:, :5], "the same 5": ids[:, :5]}
    texts |= {"another ending": other[:, :7], "one text": ids[:1, :4], "two texts": ids[:, :8]}
    texts |= {"9 tokens": ids[:, :9], "12 tokens": ids, "8 again": ids[:, :8], "3": ids[:, :3]}
    for name, text in texts.items():
        got = reader.next_logits(text)
        expect(got, reference_next(state, text), call=f"next_logits({name})")
    got, text = BESIDE.reuses(model, ids[:, :5])
    expect(got, reference_next(state, np.array(text)), call="next_logits(the same array, changed)")


@asks("integration", step=5, of="CachedReader.next_logits", hint="beyond block_size, read it anew")
def test_greedy_text_is_the_same(rng):
    """Write 12 greedy tokens after 1 and 11, with a block of 8 and a cache."""
    model, state = lively_gpt(rng, dropout=0.5)
    for length in (1, 11):
        expected = ids = rng.integers(0, 10, (2, length))
        for _ in range(12):
            best = reference_next(state, expected).argmax(-1)
            expected = np.concatenate([expected, best[:, None]], axis=1)
        got = model.generate(ids, 12, temperature=0, use_cache=True)
        expect(got, expected, call=f"generate(ids of length {length}, 12, 0, use_cache=True)")


@asks("integration", step=5, of="CachedReader.next_logits", hint="the draws are those of the seed")
def test_sampled_text_is_the_same(rng):
    """Write 14 sampled tokens, of the three likeliest each, with and without a cache."""
    model, state = lively_gpt(rng)
    for batch in (1, 3):
        ids, seed = rng.integers(0, 10, (batch, 3)), int(rng.integers(1 << 30))
        knobs = {"top_k": 3, "temperature": 1.5, "seed": seed}
        got = model.generate(ids, 14, use_cache=True, **knobs).numpy()
        call = f"generate({batch} texts, 14, use_cache=True, top_k=3, seed={seed})"
        expect(got, model.generate(ids, 14, **knobs).numpy(), call=call)
        for t in range(3, 17):
            best = np.argsort(-reference_next(state, got[:, :t]))[:, :3]
            among = bool((best == got[:, t : t + 1]).any(-1).all())
            expect_true(among, call=call, expected="one of the three likeliest", got=f"token {t}")


@asks("performance", step=5, of="CachedReader.next_logits", hint="how many tokens are new?")
def test_a_token_is_read_once():
    """Count the tokens that are read while 8 are written after 5, and after 3 in a block of 6."""
    counts = [tuple(x) for x in BESIDE.lookups([[1, 2, 3, 4, 5]], 8, 64)]
    expected = [(5, False)] + [(1, False)] * 7
    expect_equal(counts, expected, call="(tokens read, recorded) for each new token")
    counts = [x[0] for x in BESIDE.lookups([[1, 2, 3]], 6, 6)]
    expect_equal(counts, [3, 1, 1, 1, 6, 6], call="tokens read, with a block of 6")


@asks("performance", step=2, of="KVCache.append", hint="write in place; the past is not copied")
def test_appending_does_not_copy_the_past():
    """Append 40 tokens to an empty cache, and to one that holds 3,900."""
    empty, full = (timed(BESIDE.appending(held), repeat=5) for held in (0, 3900))
    expect_at_most(full / empty, 6, call="40 × append", what="time with 3,900 tokens in the cache")


@asks("performance", step=4, of="read", hint="everything but attention sees the new token only")
def test_a_token_costs_a_token():
    """Ask for the token after 256: reading all of them, and with 255 in the cache."""
    whole, new = (timed(way, repeat=3) for way in BESIDE.next_token(256))
    expect_at_most(new / whole, 0.6, call="next_logits", what="time with a cache, against without")
