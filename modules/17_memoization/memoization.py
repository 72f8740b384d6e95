# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 17: Memoization
#
# You make a language model remember what it has read, so that each new token costs one token's
# work, however long the text before it is.
#
# - **You build** `Memo`, which remembers the answers of any function; `KVCache`, which remembers
#   the keys and values of attention; `attend_cached` and `read`, which use it; and `CachedReader`,
#   which is what `model.generate(…, use_cache=True)` asks.
# - **You need** 12 (`MultiHeadAttention`: `project`, `attend`; `causal_mask`) and 13 (`GPT`,
#   `generate`), and from 11 that positions can be added from an `offset`.
# - **Time**: about four hours.

# %%
#| default_exp core.memoization

# %%
#| export
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytorch.core.attention import MultiHeadAttention, causal_mask
from tinytorch.core.autograd import no_grad
from tinytorch.core.tensor import Tensor
from tinytorch.core.transformers import GPT, GPTConfig
from tinytorch.utils.caching import cache_shape, check_crop, check_reading, check_room
from tinytorch.utils.checks import whole

Array = np.ndarray

# %% [markdown]
# ## Step 1: Remember answers
#
# *Memoization* (Michie 1968) trades memory for time: keep the answers of a function, and look an
# answer up when the same question comes again. It is right only if the answer depends on nothing
# but the question, and it pays only if questions come again: count the *hit rate*, hits / calls.
#
# **The key** decides what "the same question" is. `id(array)` will not do: the array can change and
# keep its id, and an equal array has another one. Use what the array *says*: its bytes, and also
# its shape and dtype, for the bytes of [[1, 2]] are those of [[1], [2]], and eight zero bytes are
# 0.0 as well as 0. A dictionary hashes such a tuple and compares it exactly.
#
# **The room** is finite. When it is full, throw away what has not been asked for the longest time
# (*least recently used*). An `OrderedDict` keeps that order if each hit is moved to the end.
# *Worked, room for 2:* questions a, b, a, c, a, b. Misses a and b; a hits; c throws out b (a is
# younger, by its hit); a hits; b misses. 2 hits of 6.


# %%
#| export
class Memo:
    """A function of one array that remembers its last `capacity` answers.

    Attributes:
        calls, hits: How often it was asked, and how often it knew.
    """

    def __init__(self, function: Callable[[Array], Any], capacity: int = 128):
        self.function, self.capacity = function, whole("capacity", capacity, 1)
        self.answers: OrderedDict[Any, Any] = OrderedDict()  # least recently used first
        self.calls = self.hits = 0

    def __call__(self, array: Any) -> Any:
        """Return the answer for this array, computed only if it is not remembered."""
        ### BEGIN SOLUTION
        array = np.asarray(array)
        key = array.shape, array.dtype.str, array.tobytes()
        self.calls += 1
        if key in self.answers:
            self.hits += 1
            self.answers.move_to_end(key)
        else:
            self.answers[key] = self.function(array)
            if len(self.answers) > self.capacity:
                self.answers.popitem(last=False)
        return self.answers[key]
        ### END SOLUTION

    @property
    def hit_rate(self) -> float:
        """Hits as a share of calls, 0 before the first."""
        ### BEGIN SOLUTION
        return self.hits / self.calls if self.calls else 0.0
        ### END SOLUTION


# %%
memo = Memo(lambda x: x.sum(), capacity=2)
a, b, c = np.eye(2, 3, dtype=np.int64), np.ones(2), np.arange(4)
print([memo(x).item() for x in (a, b, a, c, a, b)], memo.hits, "hits of", memo.calls)
# Expected output:
# [2, 2.0, 2, 6, 2, 2.0] 2 hits of 6


# %%
#| test
def test_memo_computes_once():
    memo = Memo(lambda x: x.sum().item(), capacity=2)
    x = np.array([1.0, 2.0])
    assert (memo.hit_rate, memo(x), memo(x.copy()), memo([1.0, 2.0])) == (0, 3, 3, 3)
    x[0] = 5  # the same array says something else
    assert (memo(x), memo([1.0, 2.0]), memo(x[None])) == (7, 3, 7)
    assert (memo.hits, memo.calls, len(memo.answers)) == (3, 6, 2)
    assert (memo([1.0, 2.0]), memo.hits) == (3, 4)  # used later than x, which went


if __name__ == "__main__":
    test_memo_computes_once()

# %% [markdown]
# Does a memo help a model to write? Every text is new, so it never hits. But blocks are causal:
# place t depends on tokens 0 to t only. So old keys and values stay, whatever is written after.

# %%
from tinytorch.core.tensor import manual_seed

manual_seed(0)
model = GPT(GPTConfig(vocab_size=65, block_size=32, n_layer=2, n_head=2, n_embd=32))
memo = Memo(model.next_logits)
ids = np.array([[1, 2, 3]])
for _ in range(20):
    ids = np.concatenate([ids, memo(ids).argmax(axis=-1)[:, None]], axis=1)
print(f"hit rate while writing: {memo.hit_rate:.0%}")

keys = []
for length in (10, 23):
    x = model.position_embedding(model.token_embedding(ids[:, :length]))
    x = model.blocks[0](x, is_causal=True)
    keys.append(model.blocks[1].self_attn.project(model.blocks[1].norm1(x))[1].data[:, :, :10])
print("keys are as before when 13 tokens follow:", np.allclose(*keys, rtol=0, atol=1e-5))
# Expected output:
# hit rate while writing: 0%
# keys are as before when 13 tokens follow: True

# %% [markdown]
# ## Step 2: A place for the past
#
# So remember keys and values, for each layer and text. (No queries: an old query has had its
# answer.) With L layers, B texts, H heads and D features a head, S tokens take 2·L·B·H·S·D numbers.
# *Worked:* GPT-2 small, L = 12, H·D = 768, S = 1024, float32: 2 · 12 · 768 · 1024 · 4 bytes = 75.5
# MB for each text, beside 498 MB of parameters that all share.
# **Preallocate.** Joining old and new by `np.concatenate` copies the past for each token: S tokens
# copy 1 + 2 + … + S = O(S²) rows. Reserve room for `capacity` tokens once, write each new row into
# its place, and hand out *views* of what is filled: O(1) for each token, nothing copied twice.
#
#     keys[layer]  (B, H, capacity, D)     k₀ k₁ k₂ k₃ ·  ·  ·  ·      length 4
#     append 2     ───────────────────▶    k₀ k₁ k₂ k₃ k₄ k₅ ·  ·      length 6, a view of 6
#
# Layers are filled one after the other, so each has its own length; `length` counts the tokens that
# **all** layers have. Going back is free: `crop` shortens the lengths and moves nothing.


# %%
#| export
class KVCache:
    """The keys and values of a GPT's past, with room for `capacity` tokens.

    Args:
        config: Of the model.
        batch: Texts read at the same time.
        capacity: Tokens of each text; the model's block_size by default, and at most.
        dtype: Of the model's parameters.

    Attributes:
        keys, values: (layers, batch, heads, capacity, features of a head).
        lengths: For each layer, how many tokens it has.
    """

    def __init__(self, config: GPTConfig, batch: int = 1, capacity: int | None = None,
                 dtype: Any = np.float32):  # fmt: skip
        shape = cache_shape(config, batch, config.block_size if capacity is None else capacity)
        _, self.batch, _, self.capacity, _ = shape
        self.keys, self.values = np.empty(shape, dtype), np.empty(shape, dtype)
        self.lengths = [0] * shape[0]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values, (B, H, T, D), and return all of this layer, old and new.

        Returns:
            Views of shape (B, H, lengths[layer], D).

        Raises:
            ValueError: If there is no room; nothing is stored then.
        """
        check_room(self, layer, k, v)
        ### BEGIN SOLUTION
        keys, values, start = self.keys[layer], self.values[layer], self.lengths[layer]
        end = self.lengths[layer] = start + k.shape[2]
        keys[:, :, start:end], values[:, :, start:end] = k.data, v.data
        return Tensor._wrap(keys[:, :, :end]), Tensor._wrap(values[:, :, :end])
        ### END SOLUTION

    @property
    def length(self) -> int:
        """Tokens that all layers have."""
        ### BEGIN SOLUTION
        return min(self.lengths)
        ### END SOLUTION

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        ### BEGIN SOLUTION
        return self.keys.nbytes + self.values.nbytes
        ### END SOLUTION

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        check_crop(self, length)
        ### BEGIN SOLUTION
        self.lengths = [length] * len(self.lengths)
        ### END SOLUTION

    def reset(self) -> None:
        """Forget everything."""
        self.crop(0)


# %%
gpt2 = GPTConfig(vocab_size=50_257, block_size=1024, n_layer=12, n_head=12, n_embd=768)
print(f"{KVCache(gpt2).nbytes / 1e6:.1f} MB")
cache = KVCache(GPTConfig(n_layer=2, n_head=1, n_embd=2), capacity=4)
two = Tensor([[[[1, 2], [3, 4]]]])  # (B, H, T, D) = (1, 1, 2, 2)
for layer in (0, 1):
    keys, values = cache.append(layer, two, two * 10)
    print(cache.lengths, cache.length, keys.shape)
cache.crop(1)
print(cache.append(1, two, two)[0].tolist())
# Expected output:
# 75.5 MB
# [2, 0] 0 (1, 1, 2, 2)
# [2, 2] 2 (1, 1, 2, 2)
# [[[[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]]]


# %%
#| test
def test_cache_gives_back_what_it_was_given():
    config, rng = GPTConfig(n_layer=2, n_head=3, n_embd=12), np.random.default_rng(0)
    cache = KVCache(config, batch=2, capacity=7, dtype=np.float64)
    k, v = rng.random((2, 2, 3, 7, 4)), rng.random((2, 2, 3, 7, 4))
    for start, end in ((0, 3), (3, 4), (4, 7)):
        for i in (0, 1):
            new = Tensor(k[i, :, :, start:end]), Tensor(v[i, :, :, start:end])
            keys, values = cache.append(i, *new)
            np.testing.assert_array_equal(keys.data, k[i, :, :, :end])
            np.testing.assert_array_equal(values.data, v[i, :, :, :end])
            assert np.shares_memory(keys.data, cache.keys)
        assert cache.length == end
    np.testing.assert_raises(ValueError, cache.append, 0, *new)
    assert cache.nbytes == 2 * 2 * 2 * 3 * 7 * 4 * 8
    cache.crop(2)
    cache.append(1, *(Tensor(x[1, :, :, :1]) for x in (k, v)))
    assert (cache.length, cache.lengths) == (2, [2, 3])
    np.testing.assert_raises(ValueError, cache.crop, 3)
    cache.reset()
    assert cache.length == 0


if __name__ == "__main__":
    test_cache_gives_back_what_it_was_given()

# %% [markdown]
# ## Step 3: Attend to the past
#
# T new tokens come in, S are known. Project the new ones only; append their keys and values; let
# the T queries attend to all S + T keys. The new tokens may not look ahead among themselves:
# `causal_mask(T, past=S)`. With S = 2 and T = 2 it is
#
#     new token 2   [1 1 1 0]
#     new token 3   [1 1 1 1]
#
# One new token may see everything there is: no mask. `is_causal=True` would be refused, since with
# unlike numbers of queries and keys it does not say where the queries stand.
# Cost: 4C² multiply-adds for each new token, and 2(S + T)C for attention: a row of the triangle.


# %%
#| export
def attend_cached(attention: MultiHeadAttention, x: Tensor, cache: KVCache, layer: int) -> Tensor:
    """Let new tokens, (B, T, C), attend to themselves and to the past of a layer: (B, T, C)."""
    ### BEGIN SOLUTION
    T, past = x.shape[1], cache.lengths[layer]
    q, k, v = attention.project(x)  # (B, H, T, D) each
    keys, values = cache.append(layer, k, v)  # (B, H, past + T, D)
    mask = None if T == 1 else causal_mask(T, past)
    return attention.attend(q, keys, values, mask=mask)
    ### END SOLUTION


# %%
from tinytorch.core.tensor import randn

attention, x = MultiHeadAttention(8, num_heads=2), randn(3, 5, 8)
cache = KVCache(GPTConfig(n_layer=1, n_head=2, n_embd=8), batch=3)
parts = [attend_cached(attention, x[:, a:b], cache, 0).data for a, b in ((0, 2), (2, 4), (4, 5))]
together = attention(x, is_causal=True).data
print(cache.lengths, np.allclose(np.concatenate(parts, axis=1), together, atol=1e-6))
# Expected output:
# [5] True


# %%
#| test
def test_parts_equal_the_whole():
    from itertools import pairwise

    attention, rng = MultiHeadAttention(6, num_heads=3), np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 6)).astype(np.float32)
    wanted = attention(Tensor(x), is_causal=True).numpy()
    for cuts in ((0, 7), range(8), (0, 4, 6, 7)):
        cache = KVCache(GPTConfig(n_layer=1, n_head=3, n_embd=6), batch=2, capacity=7)
        for a, b in pairwise(cuts):
            out = attend_cached(attention, Tensor(x[:, a:b]), cache, 0)
            np.testing.assert_allclose(out.numpy(), wanted[:, a:b], rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    test_parts_equal_the_whole()

# %% [markdown]
# ## Step 4: Read only what is new
#
# Everything outside attention works on each token alone: new tokens pass through it as always, in
# the order of module 13 (a block: norm1, attention, dropout, add; norm2, feed_forward, add). Only
# attention asks the cache. Two things to get right:
#
# - **Positions**: the first new token stands at place `cache.length`, not at 0: `offset=`. Ask for
#   the length *before* the layers change it.
# - **The head** is for the last place only, and nothing is recorded: the cache holds bare numbers.


# %%
#| export
def read(model: GPT, ids: Any, cache: KVCache) -> Array:
    """Read new tokens after those in the cache, and guess the next one.

    Args:
        ids: The new tokens only, (B, T), T at least 1.
        cache: Grows by T tokens.

    Returns:
        Logits (B, V) of the token after the last.
    """
    ids = check_reading(model, ids, cache)
    ### BEGIN SOLUTION
    with no_grad():
        x = model.position_embedding(model.token_embedding(ids), offset=cache.length)
        x = model.dropout(x)  # (B, T, C)
        for layer, block in enumerate(model.blocks):
            attended = attend_cached(block.self_attn, block.norm1(x), cache, layer)
            x = x + block.dropout(attended)
            x = x + block.feed_forward(block.norm2(x))
        return model.head(model.norm(x[:, -1])).data
    ### END SOLUTION


# %%
ids, cache = np.random.default_rng(0).integers(0, 65, (2, 12)), KVCache(model.config, batch=2)
read(model, ids[:, :10], cache)  # a prompt at once,
for t in (10, 11):  # then token by token
    logits = read(model, ids[:, t : t + 1], cache)
print(cache.length, f"{np.abs(logits - model.next_logits(ids)).max():.0e}")
# Expected output:
# 12 ...e-0...


# %%
#| test
def small_gpt(**options):
    """A GPT of 10 tokens and 8 places, with lively random weights."""
    sizes = {"vocab_size": 10, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 12}
    model, rng = GPT(GPTConfig(**{**sizes, **options})), np.random.default_rng(0)
    for p in model.parameters():
        p.data = rng.normal(0, 0.5, p.shape)  # float64: rounding decides nothing
    return model


def test_reading_in_parts():
    from itertools import pairwise

    model, ids = small_gpt(), np.random.default_rng(1).integers(0, 10, (3, 8))
    for cuts in ((0, 8), (0, 1, 2, 5, 8), (0, 7, 8)):
        cache = KVCache(model.config, batch=3, dtype=np.float64)
        for a, b in pairwise(cuts):
            logits = read(model, ids[:, a:b], cache)
            np.testing.assert_allclose(logits, model.next_logits(ids[:, :b]))
    np.testing.assert_raises(ValueError, read, model, ids[:, :1], cache)


if __name__ == "__main__":
    test_reading_in_parts()

# %% [markdown]
# ## Step 5: Ask with the whole text, read the difference
#
# `generate` passes the whole text each time: `reader.next_logits(ids)`. The reader compares it
# with what is in the cache, keeps the beginning that they share in **all** rows, crops the rest
# away, and reads what follows. It never answers for another text than the one it was asked about.
#
#     remembered   t h e _ c a t           shared: 5 of 7; crop(5), read "r s"
#     asked        t h e _ c r s
#
# The last token must be read in any case, for the cache keeps no logits: compare `ids[:, :-1]`.
#
# **When the window slides.** Beyond `block_size` the model sees the newest `block_size` tokens,
# and each stands one place further to the front than before. Its position vector changes, and with
# it every key and value: nothing remembered is true any more. The only way to the *same* tokens is
# to read the window again, as the model does without a cache. So the gain ends at `block_size`,
# and a text beyond it costs what it cost before. (Merely dropping the oldest keys is quick, and
# another model, since the others keep positions that are no longer theirs.)


# %%
#| export
def shared_beginning(old: Array, new: Array) -> int:
    """Count the leading tokens that two batches of texts, (B, S) and (B, T), share in all rows."""
    ### BEGIN SOLUTION
    size = min(old.shape[1], new.shape[1])
    differ = (old[:, :size] != new[:, :size]).any(axis=0)
    return int(differ.argmax()) if differ.any() else size
    ### END SOLUTION


class CachedReader:
    """A model that remembers what it has read; its parameters must not change meanwhile.

    Attributes:
        cache, ids: What is remembered, and of which texts, (B, S).
    """

    def __init__(self, model: GPT):
        self.model, self.ids = model, np.empty((0, 0), np.int64)
        self.cache: KVCache | None = None

    def remember(self, batch: int) -> KVCache:
        """Return a cache for so many texts: the present one, or a new, empty one."""
        if self.cache is None or self.cache.batch != batch:
            dtype = self.model.token_embedding.weight.dtype
            self.cache = KVCache(self.model.config, batch, dtype=dtype)
            self.ids = np.empty((batch, 0), np.int64)
        return self.cache

    def next_logits(self, ids: Array) -> Array:
        """Return the logits (B, V) of the token after ids (B, T), as the model would."""
        ### BEGIN SOLUTION
        if ids.shape[1] > self.model.config.block_size:
            return self.model.next_logits(ids)
        cache = self.remember(len(ids))
        known = shared_beginning(self.ids, ids[:, :-1])
        cache.crop(known)
        logits = read(self.model, ids[:, known:], cache)
        self.ids = ids.copy()
        return logits
        ### END SOLUTION


# %%
for knobs in ({"temperature": 0}, {"seed": 3, "top_k": 5}):
    texts = [model.generate(ids, 40, use_cache=on, **knobs).numpy() for on in (False, True)]
    print(texts[0].shape, np.array_equal(*texts))  # 52 tokens, 20 of them beyond the block
# Expected output:
# (2, 52) True
# (2, 52) True


# %%
#| test
def test_shared_beginnings():
    old = np.array([[1, 2, 3], [1, 2, 3]])
    for count, new in {2: [[1, 2, 3, 4], [1, 2, 4, 4]], 1: [[1], [1]], 0: [[1], [2]]}.items():
        assert shared_beginning(old, np.array(new)) == count
    assert shared_beginning(np.empty((2, 0)), old) == 0


def test_a_reader_answers_as_the_model():
    model, rng = small_gpt(), np.random.default_rng(0)
    reader, ids = CachedReader(model), rng.integers(0, 10, (2, 12))
    other = np.where(np.arange(12) < 4, ids, 9 - ids)
    for text in (ids[:, :3], ids[:, :3], ids[:, :7], other[:, :6], ids[:1, :5], ids, ids[:, :8]):
        np.testing.assert_allclose(reader.next_logits(text), model.next_logits(text))


def test_the_same_tokens_with_and_without_a_cache():
    model = small_gpt(dropout=0.3)
    for ids in ([1, 2], [[1, 2, 3], [4, 5, 6]], [[7] * 11]):
        for knobs in ({"temperature": 0}, {"seed": 1}):
            texts = [model.generate(ids, 12, use_cache=on, **knobs).tolist() for on in (0, 1)]
            assert texts[0] == texts[1]


if __name__ == "__main__":
    test_shared_beginnings()
    test_a_reader_answers_as_the_model()
    test_the_same_tokens_with_and_without_a_cache()

# %% [markdown]
# ## Systems: flat, up to attention
#
# The reference GPT (4 layers, 4 heads, 128 wide) with room for 512 tokens: what does the next token
# cost? With a cache, 12 · C² multiply-adds a layer, and 2 · S · C for attention to S tokens: equal
# at S = 6C = 768, so up to there the cost is nearly flat.

# %%
import timeit

model = GPT(GPTConfig(block_size=512))
ids = np.random.default_rng(0).integers(0, 65, (1, 512))
for length in (16, 128, 512):
    reader = CachedReader(model)
    reader.next_logits(ids[:, : length - 1])  # the past, read beforehand
    with no_grad():
        tries = [
            timeit.repeat(lambda: one.next_logits(ids[:, :length]), number=1, repeat=2)  # noqa: B023
            for one in (model, reader)
        ]
    whole_text, new_token = (1e3 * min(times) for times in tries)
    print(f"token {length:3}: whole text {whole_text:5.1f} ms, new token {new_token:4.1f} ms")
# Expected output:
# token  16: whole text ... ms, new token ... ms
# token 128: whole text ... ms, new token ... ms
# token 512: whole text ... ms, new token ... ms

# %% [markdown]
# The whole task: 256 tokens after a prompt of 64, which a block of 320 just holds; then 32 in a
# block of 64, whose window slides from the first one on. The price is memory.

# %%
prompt = np.random.default_rng(0).integers(0, 65, (1, 64))
for block, count in ((320, 256), (64, 32)):
    model, times, texts = GPT(GPTConfig(block_size=block)), [], []
    for use_cache in (False, True):
        start = timeit.default_timer()
        texts.append(model.generate(prompt, count, seed=0, use_cache=use_cache).tolist())
        times.append(timeit.default_timer() - start)
    held = KVCache(model.config).nbytes / sum(p.nbytes for p in model.parameters())
    print(
        f"block {block}: same text {texts[0] == texts[1]}, {times[0]:.2f} s, {times[1]:.2f} s,",
        end=" ",
    )
    print(f"gain {times[0] / times[1]:.1f}; cache for one text: {held:.0%} of the model")
# Expected output:
# block 320: same text True, ... s, ... s, gain ...; cache for one text: 39% of the model
# block 64: same text True, ... s, ... s, gain ...; cache for one text: 8% of the model

# %% [markdown]
# On one core of a shared machine: 3.1 s and 0.36 s, 8.6 times as fast (7.0 to 10.5 in seven rounds
# of the course's benchmark); in a window that slides, no gain. At 1.4 ms a token it is no
# longer arithmetic that costs: BLAS takes 0.07 ms of it, the rest is Python, 159 small operations.
# A batch shares them: 8 texts took 2.5 times as long as one.
#
# ## Pitfalls
#
# - **Every new token at place 0**: without `offset` the text stays readable for a while, and is
#   wrong. Compare logits with the model's, not by eye.
# - **The cache outlives the truth** after a training step: `generate` makes a new reader each time.
# - **Not bit-identical.** One row and twenty take other paths through BLAS: logits differ in the
#   last digit (6e-08 above), and tokens that are equal to seven digits can change places.
#
# ## What PyTorch does differently, and why
#
# - It has no cache; Hugging Face's `generate(use_cache=True)`, the default there, passes
#   `past_key_values` through every forward. Its `DynamicCache` concatenates; its `StaticCache`
#   reserves, so that a compiler sees fixed shapes.
# - Servers keep all texts in one store of pages of 16 tokens (PagedAttention), since reserving the
#   longest text for each wastes most of it; heads share keys and values (multi-query attention).
#
# ## Sources
#
# Michie 1968, "Memo functions and machine learning" · Shazeer 2019, "Fast transformer decoding"
# (multi-query) · Pope et al. 2022, "Efficiently scaling transformer inference" · Kwon et al. 2023,
# "Efficient memory management for large language model serving with PagedAttention".
#
# ## Reflect (150–300 words)
#
# A server has 16 GB left beside the parameters of a model with 32 layers, 4096 features and texts
# of up to 4096 tokens, in 2 bytes a number. How many texts fit if each reserves its longest, and
# how many if the average has 500 tokens? Your measurements show what the cache saves for each token
# and what remains; when would you rather recompute than remember? And what of the cache could be
# shared between users who all begin with the same instructions? Write the answer to
# `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 17`
