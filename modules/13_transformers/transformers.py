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
# # Module 13: Transformers
#
# You put everything together: a GPT that reads text, learns to guess the next token, and writes.
#
# - **You build** `LayerNorm` with its gradient by hand, `FeedForward`, `TransformerBlock`, the
#   model `GPT` (also `TinyGPT`) with its first values, and `generate`.
# - **You need** 03 (`Module`, `Linear`, `Dropout`), 05 (`register_vjp`, `no_grad`), 06 to train, 11
#   (`Embedding`, `LearnedPositionalEmbedding`) and 12 (`MultiHeadAttention`); `cross_entropy`
#   comes from 04.
# - **Time**: about six hours.

# %%
#| default_exp core.transformers

# %%
#| export
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinytorch.core.activations import gelu
from tinytorch.core.attention import MultiHeadAttention
from tinytorch.core.autograd import no_grad, register_vjp
from tinytorch.core.embeddings import Embedding, LearnedPositionalEmbedding
from tinytorch.core.layers import Dropout, Linear, Module, ModuleList, Parameter, normal_
from tinytorch.core.losses import cross_entropy
from tinytorch.core.tensor import Tensor, apply, default_generator, primitive
from tinytorch.utils import language as given
from tinytorch.utils.imports import course_graph, imported_modules  # noqa: F401 (for step 7)
from tinytorch.utils.language import GPTConfig, feature_shape

Array = np.ndarray

# %% [markdown]
# ## Step 1: Normalise every token, and the way back
#
# Numbers grow or shrink from layer to layer. *Layer normalisation* gives each token's vector mean 0
# and variance 1, then a learned scale γ (`weight`) and shift β (`bias`) for each feature:
#
# $$y = \gamma\,\hat x + \beta, \qquad \hat x = (x - \mu)\, r, \qquad
# r = 1 / \sqrt{\sigma^2 + \varepsilon}$$
#
# Both run over the **features** of one token (divided by their count C, not by C − 1), so no token
# depends on another, nor on the batch: what batch normalisation cannot offer a model that writes
# one token at a time. *Worked:* x = [1, 3]: μ = 2, σ² = 1, x̂ = [−1, 1]. And [100, 300] gives the
# same x̂. The ε = 10⁻⁵ is for a vector of equal numbers: 0 · 1/√0 would be NaN, 0 · 1/√ε is 0.
#
# `axes` are those of the features, such as (−1,); with `keepdims=True` μ and σ² line up with x. The
# rule saves μ and r for the way back: two numbers for each token.


# %%
#| export
@primitive(saves=True)
def normalise(x, weight, bias, *, axes, eps):
    """Normalise x along `axes`, scale and shift; save (mean, 1 / sqrt(variance + eps))."""
    ### BEGIN SOLUTION
    mean = x.mean(axis=axes, keepdims=True)
    normal = x - mean
    inverse = 1 / np.sqrt((normal * normal).mean(axis=axes, keepdims=True) + eps)
    normal *= inverse
    return normal * weight + bias, (mean, inverse)
    ### END SOLUTION


def layer_norm(x: Tensor, normalized_shape: int | Iterable[int], weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalise the last axes of x, those of `normalized_shape`; then scale and shift."""
    shape = feature_shape(normalized_shape)
    given.check_norm(x, shape, weight, bias)
    scale, shift = 1.0 if weight is None else weight, 0.0 if bias is None else bias
    return apply(normalise, x, scale, shift, axes=tuple(range(-len(shape), 0)), eps=eps)


# %%
print(layer_norm(Tensor([[1, 3], [100, 300], [7, 7]]), 2).numpy().round(3))
# Expected output:
# [[-1.  1.]
#  [-1.  1.]
#  [ 0.  0.]]


# %% [markdown]
# **The way back.** Write h = g γ for the gradient of x̂. If μ and σ² were constants, that of x
# would be r h. But each x also moves them, and normalisation takes both away again. So the part of
# h that would shift all features alike, and the part that would stretch them, are lost:
#
# $$\bar x = r\,\big(h - \text{mean}(h) - \hat x\; \text{mean}(h\,\hat x)\big), \qquad
# \bar\gamma = \textstyle\sum g\,\hat x, \qquad \bar\beta = \sum g$$
#
# Means run over the features of a token. The sums over tokens are un-broadcasting: the engine of
# module 05 does it, so return g x̂ and g as they are. *Check:* for x = [1, 3] and γ = 1, h = [1, 1]
# and h = [−1, 1] both give 0: with two features, x̂ is [−1, 1] whatever x is. x̂ is computed again,
# instead of keeping one more array of the size of x until backward.


# %%
#| export
def normalise_rule(needs, g, out, x, weight, bias, *, axes, eps, saved):
    """Return the gradients of x (None if not `needs[0]`), weight and bias, arrays."""
    mean, inverse = saved
    ### BEGIN SOLUTION
    normal = x - mean
    normal *= inverse
    for_weight = g * normal
    if not needs[0]:
        return None, for_weight, g
    h = g * weight
    common = h.mean(axis=axes, keepdims=True)
    normal *= (h * normal).mean(axis=axes, keepdims=True)
    h -= common
    h -= normal
    h *= inverse
    return h, for_weight, g
    ### END SOLUTION


register_vjp(normalise, joint=normalise_rule, keeps=("inputs",))


class LayerNorm(Module):
    """`layer_norm` with a scale (if `elementwise_affine`) and a shift (if also `bias`)."""

    def __init__(self, normalized_shape: int | Iterable[int], eps: float = 1e-5,
                 elementwise_affine: bool = True, bias: bool = True):  # fmt: skip
        shape = self.normalized_shape = feature_shape(normalized_shape)
        self.eps = eps
        self.weight = Parameter(np.ones(shape, np.float32)) if elementwise_affine else None
        shifted = elementwise_affine and bias
        self.bias = Parameter(np.zeros(shape, np.float32)) if shifted else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axes of x."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


# %%
x = Tensor([[1, 3], [1, 3]], requires_grad=True)
layer = LayerNorm(2)
layer(x).backward([[1, 0], [1, 5]])
print(np.abs(x.grad.numpy()).max() < 1e-4, layer.weight.grad.numpy(), layer.bias.grad.numpy())
# Expected output:
# True [-1.99999...  4.99997...] [2. 5.]


# %%
#| test
def test_layer_norm_and_its_gradients():
    from tinytorch.core.autograd import gradcheck

    rng = np.random.default_rng(0)
    x, w, b = (Tensor(rng.normal(1, 2, s), requires_grad=True) for s in ((2, 3, 4), 4, 4))
    wide = layer_norm(x, (3, 4)).numpy()
    np.testing.assert_allclose(wide.mean(axis=(1, 2)), 0, atol=1e-12)
    assert gradcheck(lambda x, w, b: layer_norm(x, 4, w, b), [x, w, b])


if __name__ == "__main__":
    test_layer_norm_and_its_gradients()

# %% [markdown]
# ## Step 2: A block: communicate, then compute
#
# In attention tokens exchange information; then each one digests it **alone**, in a small network
# that widens C features to 4C, bends them by `gelu`, and comes back. Both parts hang on a *residual
# stream*:
#
#     x ──┬────────────────────────────(+)──┬───────────────────────────────(+)──▶
#         └─ norm1 ─ self_attn ─ dropout ─┘ └─ norm2 ─ feed_forward ─────────┘
#
# The plus signs let a stack be deep: the gradient of a sum goes to both sides unchanged, so from
# the loss to the first layer leads a path on which nothing is multiplied. It must stay free: the
# norm stands **before** each part (*pre-norm*), inside the branch. The paper of 2017 normalised
# after the sum, on the path itself, and needed a careful warm-up to train at all.
#
# Cost for each token: 4C² multiply-adds in the attention's projections, 8C² in the feed-forward
# part, and 2TC in attention itself. At C = 128 and T = 64: 65,536 + 131,072 + 16,384.


# %%
#| export
class FeedForward(Module):
    """Two linear layers with a gelu between, for each token alone; `hidden_dim` is 4C if None."""

    def __init__(self, embed_dim: int, hidden_dim: int | None = None, dropout: float = 0.0,
                 bias: bool = True):  # fmt: skip
        hidden_dim = 4 * embed_dim if hidden_dim is None else hidden_dim
        self.linear1 = Linear(embed_dim, hidden_dim, bias)
        self.linear2 = Linear(hidden_dim, embed_dim, bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Widen, bend by gelu in its "tanh" form, narrow, drop: (..., C) -> (..., C)."""
        ### BEGIN SOLUTION
        hidden = gelu(self.linear1(x), approximate="tanh")  # (..., 4C)
        return self.dropout(self.linear2(hidden))
        ### END SOLUTION


class TransformerBlock(Module):
    """Attention and a feed-forward network, each behind a norm and added to its input.

    `dropout` is that of the attention weights, and of what each part adds.
    """

    def __init__(self, embed_dim: int, num_heads: int, hidden_dim: int | None = None,
                 dropout: float = 0.0, bias: bool = True):  # fmt: skip
        self.norm1 = LayerNorm(embed_dim, bias=bias)
        self.self_attn = MultiHeadAttention(embed_dim, num_heads, dropout, bias)
        self.dropout = Dropout(dropout)
        self.norm2 = LayerNorm(embed_dim, bias=bias)
        self.feed_forward = FeedForward(embed_dim, hidden_dim, dropout, bias)

    def forward(self, x: Tensor, mask: Any = None, is_causal: bool = False) -> Tensor:
        """Let the tokens of x, (B, T, C), attend to each other, then compute; (B, T, C)."""
        ### BEGIN SOLUTION
        attended = self.self_attn(self.norm1(x), mask=mask, is_causal=is_causal)
        x = x + self.dropout(attended)
        return x + self.feed_forward(self.norm2(x))
        ### END SOLUTION


# %%
from tinytorch.core.tensor import manual_seed, randn

manual_seed(0)
block, x = TransformerBlock(8, num_heads=2), randn(2, 5, 8)
changed = Tensor(x.data)
changed[:, -1] = 9.0
same = np.isclose(block(x, is_causal=True).data, block(changed, is_causal=True).data)
print("tokens that do not notice the last one:", same[0].all(axis=-1).astype(int))
# Expected output:
# tokens that do not notice the last one: [1 1 1 1 0]


# %%
#| test
def test_a_block_adds_to_its_input():
    block, x = TransformerBlock(8, 2), np.random.default_rng(0).normal(3, 2, (2, 5, 8))
    for layer in (block.self_attn.out_proj, block.feed_forward.linear2):
        layer.weight.data, layer.bias.data = layer.weight.data * 0, layer.bias.data * 0
    np.testing.assert_array_equal(block(Tensor(x)).numpy(), x)  # both branches are silent


if __name__ == "__main__":
    test_a_block_adds_to_its_input()

# %% [markdown]
# ## Step 3: GPT
#
#     ids ─ token_embedding ─ + position ─ dropout ─ block × L ─ norm ─ head ─▶ logits
#     (B, T)       (B, T, C)                                                    (B, T, V)
#
# At every place the model guesses the *next* token: one sequence of T tokens is T examples, since
# the blocks are causal. The last `norm` is there because nobody has normalised the stream itself.
#
# **First values.** GPT-2 draws every matrix, embeddings too, from the normal distribution of
# deviation 0.02, and starts biases at 0 and norms at 1 and 0. The first logits are then close to 0
# and the first loss close to log V: an honest "I do not know" (module 04). One exception: the
# stream is a sum to which L blocks add 2L branches. If each adds variance v, the sum grows by 2L v.
# So the last matrix of a branch (`out_proj.weight`, `linear2.weight`) gets the deviation 0.02 /
# √(2L).


# %%
#| export
def initialise(model: Module, n_layer: int, std: float = 0.02) -> None:
    """Give all parameters of a GPT their first values, by their names and axes.

    Matrices are normal of deviation `std`, `out_proj.weight` and `linear2.weight` of
    std / sqrt(2 * n_layer); biases are 0; the weights of norms (one axis) stay 1.

    Source: Radford et al. 2019, section 2.3.
    """
    ### BEGIN SOLUTION
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data = np.zeros_like(parameter.data)
        elif name.endswith(("out_proj.weight", "linear2.weight")):
            normal_(parameter, std=std / math.sqrt(2 * n_layer))
        elif parameter.ndim > 1:
            normal_(parameter, std=std)
    ### END SOLUTION


# %% [markdown]
# **Tied weights.** `token_embedding.weight` (V, C) says what vector a token is; `head.weight`, also
# (V, C), which vector speaks for a token. GPT-2 uses *one* matrix for both: V·C parameters less,
# and each token is trained as an answer too. Tying is one assignment of a `Parameter`.
#
# **The loss** compares logits[b, t] with targets[b, t]. Whoever makes the targets has shifted them
# (step 4); the model does not shift. `cross_entropy` wants one row for each guess: (B·T, V).
#
# **To write**, only the guess at the last place matters: `next_logits` takes the newest
# `block_size` tokens, for there are no positions beyond, and applies the head to one place.
#
# `GPTConfig` (given) holds the sizes: vocab_size 65, block_size 64, n_layer 4, n_head 4, n_embd
# 128, dropout 0.0, bias and tie_weights True, unless you give others.


# %%
#| export
class GPT(Module):
    """A decoder-only transformer; its parts are made in the order of the drawing."""

    def __init__(self, config: GPTConfig):
        self.config, C = config, config.n_embd
        self.token_embedding = Embedding(config.vocab_size, C)
        self.position_embedding = LearnedPositionalEmbedding(C, config.block_size)
        self.dropout = Dropout(config.dropout)
        settings = {"dropout": config.dropout, "bias": config.bias}
        blocks = range(config.n_layer)
        self.blocks = ModuleList(TransformerBlock(C, config.n_head, **settings) for _ in blocks)
        self.norm = LayerNorm(C, bias=config.bias)
        self.head = Linear(C, config.vocab_size, bias=False)
        initialise(self, config.n_layer)
        if config.tie_weights:
            ### BEGIN SOLUTION
            self.head.weight = self.token_embedding.weight
            ### END SOLUTION

    def features(self, ids: Any) -> Tensor:
        """Read ids (B, T) and return what goes into the head: (B, T, C)."""
        ids = given.checked_sequence(ids, self.config.block_size)
        ### BEGIN SOLUTION
        x = self.dropout(self.position_embedding(self.token_embedding(ids)))
        for block in self.blocks:
            x = block(x, is_causal=True)
        return self.norm(x)
        ### END SOLUTION

    def forward(self, ids: Any, targets: Any = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (B, T, V) for ids (B, T), T at most block_size.

        With targets (B, T), the tokens to guess, return the pair (logits, mean cross-entropy).
        """
        if targets is not None:
            given.check_targets(targets, ids)
        ### BEGIN SOLUTION
        logits = self.head(self.features(ids))
        if targets is None:
            return logits
        flat = logits.reshape(-1, self.config.vocab_size)
        return logits, cross_entropy(flat, np.reshape(targets, -1))
        ### END SOLUTION

    def next_logits(self, ids: Array) -> Array:
        """Return the logits (B, V) of the token after ids (B, T); T may exceed block_size."""
        ### BEGIN SOLUTION
        return self.head(self.features(ids[:, -self.config.block_size :])[:, -1]).data
        ### END SOLUTION

    def generate(self, ids: Any, max_new_tokens: int, temperature: float = 1.0,
                 top_k: int | None = None, top_p: float | None = None,
                 seed: int | None = None, use_cache: bool = False) -> Tensor:  # fmt: skip
        """Write on after `ids`: the function `generate` of step 6."""
        return generate(self, ids, max_new_tokens, temperature, top_k, top_p, seed, use_cache)


TinyGPT = GPT

# %%
manual_seed(0)
model = GPT(GPTConfig(vocab_size=65))
ids = np.random.default_rng(0).integers(0, 65, (2, 10))
logits, loss = model(ids, np.roll(ids, -1, axis=1))
print(logits.shape, f"loss {loss.item():.2f}, log V {np.log(65):.2f}")
parameters = dict(model.named_parameters())
print(sum(p.size for p in parameters.values()), "parameters")
for name in ("token_embedding.weight", "blocks.0.self_attn.out_proj.weight"):
    print(f"deviation {parameters[name].numpy().std():.3f} of {name}")
# Expected output:
# (2, 10, 65) loss 4.19, log V 4.17
# 809856 parameters
# deviation 0.020 of token_embedding.weight
# deviation 0.007 of blocks.0.self_attn.out_proj.weight


# %%
#| test
def test_gpt_looks_back_only():
    model = GPT(GPTConfig(10, block_size=8, n_layer=2, n_head=2, n_embd=12))
    assert model.head.weight is model.token_embedding.weight
    ids = np.random.default_rng(0).integers(0, 10, (3, 8))
    changed = ids.copy()
    changed[:, 5] = (ids[:, 5] + 1) % 10
    before, after = model(ids).numpy(), model(changed).numpy()
    np.testing.assert_array_equal((before != after).any(axis=(0, 2)), np.arange(8) >= 5)
    long = np.concatenate([changed, ids], axis=1)
    np.testing.assert_allclose(model.next_logits(long), before[:, -1], atol=1e-6)


if __name__ == "__main__":
    test_gpt_looks_back_only()

# %% [markdown]
# ## Step 4: Examples from a text
#
# Cut windows of T tokens out of one long sequence. The target of each token is its successor, so
# the targets are the same window one place further on:
#
#     tokens   t h e   c a t        start 1, T = 3:   ids      h e ␣
#              0 1 2 3 4 5 6                          targets  e ␣ c
#
# A sequence of N tokens has N − T windows that leave room for the last target: starts 0 to
# N − T − 1. Draw the starts at random; windows may overlap.


# %%
#| export
def random_windows(tokens: Any, block_size: int, batch_size: int,
                   rng: np.random.Generator | None = None) -> tuple[Array, Array]:  # fmt: skip
    """Draw windows of a sequence (N,) and their targets, each (batch_size, block_size), int64."""
    tokens = given.one_sequence(tokens, block_size)
    rng = default_generator if rng is None else rng
    ### BEGIN SOLUTION
    starts = rng.integers(0, len(tokens) - block_size, batch_size)
    places = starts[:, None] + np.arange(block_size)  # (B, T)
    return tokens[places].astype(np.int64), tokens[places + 1].astype(np.int64)
    ### END SOLUTION


# %%
from tinytorch.core.optimizers import AdamW

text = "to be, or not to be: that is the question."
letters = sorted(set(text))
tokens = np.array([letters.index(c) for c in text])
ids, targets = random_windows(tokens, 12, 1, np.random.default_rng(3))
print(["".join(letters[i] for i in row[0]) for row in (ids, targets)])
manual_seed(0)
model = GPT(GPTConfig(len(letters), block_size=16, n_layer=2, n_head=2, n_embd=32))
optimizer = AdamW(model.parameters(), lr=3e-3)
for step in range(201):
    _, loss = model(*random_windows(tokens, 16, 8))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step:3} loss {loss.item():.2f}")
# Expected output:
# ['t is the que', ' is the ques']
# step   0 loss 2.7...
# step 100 loss ...
# step 200 loss 0...


# %%
#| test
def test_targets_are_the_successors():
    ids, targets = random_windows(np.arange(100, 110), 4, 200, np.random.default_rng(0))
    np.testing.assert_array_equal(targets, ids + 1)
    assert set(ids[:, 0].tolist()) == {100, 101, 102, 103, 104, 105}


if __name__ == "__main__":
    test_targets_are_the_successors()

# %% [markdown]
# ## Step 5: From logits to a choice
#
# Always taking the likeliest token (*greedy*) gives text that runs in circles; drawing from the
# model's probabilities gives lively text, and some nonsense. Three knobs, applied in this order:
#
# - **temperature** t divides the logits. t → 0 is greedy, 1 is what the model believes, above 1 is
#   flatter. t = 0 means greedy, exactly: all probability on the first of the largest logits.
# - **top_k** keeps the k likeliest tokens.
# - **top_p** (*nucleus*) keeps the smallest set of likeliest tokens whose probability together
#   reaches p: a few when the model is sure, many when it is not. The token that crosses p stays.
#
# What remains is divided by its sum. *Worked:* p = [0.5, 0.3, 0.15, 0.05]. top_k = 2: [0.625,
# 0.375, 0, 0]. top_p = 0.6: 0.5 < 0.6 stands before the second token, so it stays; 0.8 before the
# third, so it goes. t = 0.5 squares and rescales: [0.685, 0.247, 0.062, 0.007].
#
# In the order of one sort, likeliest first (stable, so that ties go to the smaller id), both cuts
# are a matter of places; `np.put_along_axis` brings the rest home. Cost: V log V.


# %%
#| export
def next_probabilities(logits: Array, temperature: float = 1.0, top_k: int | None = None,
                       top_p: float | None = None) -> Array:  # fmt: skip
    """Return the probabilities (B, V), float64, from which the next token is drawn."""
    ### BEGIN SOLUTION
    if temperature == 0:
        top_k, temperature = 1, 1.0
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    order = np.argsort(-scores, axis=-1, kind="stable")
    p = np.exp(np.take_along_axis(scores, order, axis=-1) / temperature)  # likeliest first
    if top_k is not None:
        p[:, top_k:] = 0
    p /= p.sum(axis=-1, keepdims=True)
    if top_p is not None:
        p[p.cumsum(axis=-1) - p >= top_p] = 0
        p /= p.sum(axis=-1, keepdims=True)
    found = np.empty_like(p)
    np.put_along_axis(found, order, p, axis=-1)
    return found
    ### END SOLUTION


# %%
logits = np.log([[0.15, 0.5, 0.05, 0.3]])
for knobs in ({}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}, {"temperature": 0}):
    print(next_probabilities(logits, **knobs).round(3)[0], knobs)
# Expected output:
# [0.15 0.5  0.05 0.3 ] {}
# [0.062 0.685 0.007 0.247] {'temperature': 0.5}
# [0.    0.625 0.    0.375] {'top_k': 2}
# [0.    0.625 0.    0.375] {'top_p': 0.6}
# [0. 1. 0. 0.] {'temperature': 0}


# %%
#| test
def test_knobs_together():
    p = np.array([[0.4, 0.1, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25]])
    both = next_probabilities(np.log(p), top_k=3, top_p=0.7)
    np.testing.assert_allclose(both, [[4 / 7, 0, 3 / 7, 0], [1 / 3, 1 / 3, 1 / 3, 0]])


if __name__ == "__main__":
    test_knobs_together()

# %% [markdown]
# ## Step 6: Write
#
# Ask for the next logits, choose, append, and again. Around the loop, leave no trace:
#
# - nothing is recorded (`no_grad`), and the model is in evaluation mode; afterwards **each part**
#   is in the mode it was in;
# - with a `seed`, the draws come from a new `np.random.default_rng(seed)`; without one, from
#   `default_generator`, which `manual_seed` restarts.
#
# Each row of a batch draws for itself. Every new token reads the whole context again: n tokens cost
# O(n · T) tokens read. Module 17 remembers instead: `given.reader_of` returns the model itself,
# or what module 17 puts in its place; the loop asks either for its `next_logits`.


# %%
#| export
def generate(model: GPT, ids: Any, max_new_tokens: int, temperature: float = 1.0,
             top_k: int | None = None, top_p: float | None = None,
             seed: int | None = None, use_cache: bool = False) -> Tensor:  # fmt: skip
    """Append tokens chosen by the model to ids, (B, T) or (T,), which may exceed block_size.

    The knobs are those of `next_probabilities`; `use_cache` reads only what is new, by module 17.

    Returns:
        int64, (B, T + max_new_tokens), or (T + max_new_tokens,).
    """
    given.check_choice(temperature, top_k, top_p)
    ids = given.beginning(ids, model.config.vocab_size, max_new_tokens)
    if ids.ndim == 1:
        knobs = temperature, top_k, top_p, seed, use_cache
        return generate(model, ids[None], max_new_tokens, *knobs)[0]
    reader = given.reader_of(model, use_cache)
    ### BEGIN SOLUTION
    rng = default_generator if seed is None else np.random.default_rng(seed)
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with no_grad():
            for _ in range(max_new_tokens):
                p = next_probabilities(reader.next_logits(ids), temperature, top_k, top_p)
                drawn = [rng.choice(len(row), p=row) for row in p]
                ids = np.concatenate([ids, np.array(drawn)[:, None]], axis=1)
    finally:
        for part, mode in modes:
            part.training = mode
    return Tensor(ids)
    ### END SOLUTION


# %%
def written(ids):
    return "".join(letters[i] for i in ids)


start = [letters.index(c) for c in "to be, "]
print(written(model.generate(start, 35, temperature=0).tolist()))
for seed in (1, 1, 2):
    print(repr(written(model.generate(start, 20, temperature=1.5, seed=seed).tolist())))
# Expected output:
# to be, or not to be: that is the question.
# ...


# %%
#| test
def test_generate():
    model = GPT(GPTConfig(10, block_size=8, n_layer=2, n_head=2, n_embd=12, dropout=0.5))
    model.blocks[1].eval()
    modes = [part.training for part in model.modules()]
    once, again = (model.generate([3], 12, seed=7).tolist() for _ in range(2))
    assert once == again
    assert [part.training for part in model.modules()] == modes
    model.eval()
    out = model.generate([[1, 2, 3], [4, 5, 6]], 12, temperature=0).numpy()
    for t in range(3, 15):
        np.testing.assert_array_equal(out[:, t], model.next_logits(out[:, :t]).argmax(axis=-1))


if __name__ == "__main__":
    test_generate()

# %% [markdown]
# ## Step 7: What did language cost you?
#
# You began with a framework for images. How much of it is new for text? The imports tell: draw an
# arrow from each module of `tinytorch.core` to those it imports. What a GPT reaches along the
# arrows is what it is made of, and so for a vision model. `course_graph` (given, by Python's own
# parser `ast`) reads the arrows; you follow them, and count. A module may be reached twice, or
# import itself in a circle: visit each once.


# %%
#| export
def reached(graph: Mapping[str, Iterable[str]], starts: Iterable[str]) -> set[str]:
    """Name all modules that can be reached along imports, the starts included."""
    ### BEGIN SOLUTION
    found, waiting = set(), list(starts)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph.get(name, ()))
    return found
    ### END SOLUTION


def reused_share(graph: Mapping[str, Iterable[str]], new: list[str], old: list[str]) -> float:
    """Return which share of the modules reached from `new` is reached from `old` as well."""
    ### BEGIN SOLUTION
    parts = reached(graph, new)
    return len(parts & reached(graph, old)) / len(parts)
    ### END SOLUTION


# %%
graph = course_graph()
language, vision = ["transformers", "tokenization", "training"], ["spatial", "training"]
print("new   ", *sorted(reached(graph, language) - reached(graph, vision)))
print("reused", *sorted(reached(graph, language) & reached(graph, vision)))
print(f"{reused_share(graph, language, vision):.0%} of a GPT was there before")
# Expected output:
# new    attention embeddings tokenization transformers
# reused activations autograd layers losses optimizers tensor training
# 64% of a GPT was there before


# %%
#| test
def test_imports_are_followed():
    graph = {"a": {"b"}, "b": {"c", "a"}, "c": set(), "d": {"c"}}
    assert reached(graph, ["a"]) == {"a", "b", "c"}
    assert reused_share(graph, ["a"], ["d"]) == 1 / 3


if __name__ == "__main__":
    test_imports_are_followed()

# %% [markdown]
# ## Systems: where parameters, memory and time go
#
# Of 4 layers, 4 heads, 128 features, 95% of the parameters are in the blocks (in GPT-2, with V =
# 50,257 and C = 768, the embedding has a third). In a training step, batch 4, a token's own
# activations do not depend on the length T; attention's weights, 4 heads × T × T in each layer,
# grow with its square, and beyond T ≈ 500 they take over.

# %%
import time
import tracemalloc

config = GPTConfig(block_size=256)
model = GPT(config)
total = sum(p.size for p in model.parameters())
for part in ("token_embedding", "position", "self_attn", "feed_forward"):
    share = sum(p.size for name, p in model.named_parameters() if part in name) / total
    print(f"{part} {share:.1%};", end=" ")
for T in (32, 64, 128, 256):
    ids = np.zeros((4, T), np.int64)
    model(ids, ids)[1].backward()
    tracemalloc.start()
    _, loss = model(ids, ids)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    begin = time.perf_counter()
    loss.backward()
    seconds = time.perf_counter() - begin
    squares = config.n_layer * 4 * config.n_head * T * T * 4
    print(f"\nT {T:3}: {held / 4 / T / 1e3:3.0f} kB a token, {squares / held:3.0%} T x T;", end=" ")
    print(f"backward {seconds / 4 / T * 1e6:5.0f} µs a token", end="")
# Expected output:
# token_embedding 1.0%; position 3.9%; self_attn 31.7%; feed_forward 63.1%;
# T  32: ... kB a token, ...% T x T; backward ... µs a token
# T  64: ... kB a token, ...% T x T; backward ... µs a token
# T 128: ... kB a token, ...% T x T; backward ... µs a token
# T 256: ... kB a token, ...% T x T; backward ... µs a token

# %% [markdown]
# ## Pitfalls
#
# - **A loss that falls below 1 at once** on real text: the future leaks.
# - **Targets shifted twice**, in the data and in the model: it learns to skip a token.
# - **`head.weight.data = token_embedding.weight.data`** shares the numbers until the first
#   optimizer step; sharing the `Parameter` shares them for good.
# - **Decay for everything.** Norms and biases should have `weight_decay=0`; see module 06.
#
# ## What PyTorch does differently, and why
#
# - It has no GPT, but `nn.TransformerEncoderLayer(norm_first=True)` is our block; its keys are ours
#   without `feed_forward.`. Its default is post-norm, as published in 2017.
# - Its `LayerNorm` also keeps x, mean and r, and computes x̂ again; in one pass over memory.
#
# ## Sources
#
# Vaswani et al. 2017, "Attention is all you need" · Ba, Kiros and Hinton 2016 (layer norm) · Xiong
# et al. 2020 (pre-norm) · Press and Wolf 2017 (tying) · Radford et al. 2019, GPT-2 · Karpathy 2022,
# nanoGPT · Fan et al. 2018 (top_k), Holtzman et al. 2020 (top_p).
#
# ## Reflect (150–300 words)
#
# You may make your model four times larger in one of three ways: twice the width, four times the
# depth, or four times the context at the same parameters. Use your measurements to say what each
# does to parameters, activation memory, time for each step and for each generated token, and to
# what the model could learn. Which would you choose for Shakespeare, which for program code? Write
# the answer to `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 13`
