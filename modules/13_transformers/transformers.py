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
import ast
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.core.activations import gelu
from tinytorch.core.attention import MultiHeadAttention
from tinytorch.core.autograd import no_grad, register_vjp
from tinytorch.core.embeddings import Embedding, LearnedPositionalEmbedding
from tinytorch.core.layers import Dropout, Linear, Module, ModuleList, Parameter, normal_
from tinytorch.core.losses import cross_entropy
from tinytorch.core.tensor import Tensor, apply, default_generator, primitive
from tinytorch.utils.language import (
    beginning,
    check_choice,
    check_config,
    check_norm,
    check_targets,
    checked_sequence,
    feature_shape,
    one_sequence,
    reader_of,
)

Array = np.ndarray

# %% [markdown]
# ## Step 1: Normalise every token
#
# A deep network adds and multiplies, and without help the numbers grow or shrink from layer to
# layer. *Layer normalisation* gives each token's vector mean 0 and variance 1, then a learned scale
# γ (`weight`) and shift β (`bias`) for each feature:
#
# $$y = \gamma\,\hat x + \beta, \qquad \hat x = (x - \mu)\, r, \qquad
# r = 1 / \sqrt{\sigma^2 + \varepsilon}$$
#
# Mean μ and variance σ² run over the **features** of one token (divided by their count C, not by
# C − 1), so no token depends on another, nor on the batch: training and evaluation are the same,
# and so are a batch of one and of a thousand. That is what batch normalisation cannot offer a
# model that writes one token at a time.
#
# *Worked:* x = [1, 3]: μ = 2, σ² = 1, x̂ = [−1, 1]. And [100, 300] gives the same x̂. The ε = 10⁻⁵
# is for a vector of equal numbers: 0 · 1/√0 would be NaN, 0 · 1/√ε is 0.
#
# `axes` are those of the features, such as (−1,); with `keepdims=True` μ and σ² line up with x. The
# rule saves μ and r for the way back: two numbers for each token. Cost: seven passes over x.


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
    """Normalise the last axes of x, those of `normalized_shape`; then scale and shift.

    Args:
        normalized_shape: The sizes of these axes, or of the only one.
        weight, bias: Of that shape; left out, 1 and 0.

    Source: Ba, Kiros and Hinton 2016.
    """
    shape = feature_shape(normalized_shape)
    check_norm(x, shape, weight, bias)
    scale, shift = 1.0 if weight is None else weight, 0.0 if bias is None else bias
    return apply(normalise, x, scale, shift, axes=tuple(range(-len(shape), 0)), eps=eps)


# %%
print(layer_norm(Tensor([[1, 3], [100, 300], [7, 7]]), 2).numpy().round(3))
# Expected output:
# [[-1.  1.]
#  [-1.  1.]
#  [ 0.  0.]]


# %%
#| test
def test_each_token_is_normalised():
    x = np.random.default_rng(0).normal(5, 3, (2, 4, 6))
    out = layer_norm(Tensor(x), 6).numpy()
    np.testing.assert_allclose(out.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(axis=-1), 1, rtol=1e-5)
    w, b = np.arange(6.0), np.full(6, 2.0)
    np.testing.assert_allclose(layer_norm(Tensor(x), (6,), w, b).numpy(), out * w + b)
    wide = layer_norm(Tensor(x), (4, 6)).numpy()
    np.testing.assert_allclose(wide.mean(axis=(1, 2)), 0, atol=1e-12)
    np.testing.assert_raises(ValueError, layer_norm, Tensor(x), 4)


if __name__ == "__main__":
    test_each_token_is_normalised()

# %% [markdown]
# ## Step 2: The way back
#
# Write h = g γ for the gradient of x̂. If μ and σ² were constants, that of x would be r h. But each
# x also moves its token's mean and variance, and normalisation takes both away again. So the part
# of h that would shift all features alike, and the part that would stretch them, are lost:
#
# $$\bar x = r\,\big(h - \text{mean}(h) - \hat x\; \text{mean}(h\,\hat x)\big), \qquad
# \bar\gamma = \textstyle\sum g\,\hat x, \qquad \bar\beta = \sum g$$
#
# Means run over the features of a token. The sums over tokens are un-broadcasting: the engine of
# module 05 does it, so return g x̂ and g as they are. *Check:* for x = [1, 3] and γ = 1, h = [1, 1]
# and h = [−1, 1] both give 0: with two features, x̂ is [−1, 1] whatever x is.
#
# x̂ is computed again from x, μ and r: two passes, instead of keeping one more array of the size of
# x until backward. The module that comes with it is only parameters: a weight of ones and a bias of
# zeros, under PyTorch's names.


# %%
#| export
def normalise_rule(
    needs: list[bool], g: Array, out: Any, x: Array, weight: Any, bias: Any, *, axes, eps, saved
) -> tuple[Array | None, Array, Array]:
    """The joint rule of `normalise`: gradients of x (None if not needed), weight and bias.

    Args:
        saved: (mean, 1 / sqrt(variance + eps)).
    """
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
    """`layer_norm` with a learned scale and shift.

    Args:
        normalized_shape: Sizes of the last axes, or of the only one.
        eps: Added to the variance.
        elementwise_affine: Whether to learn a scale (weight).
        bias: Whether to learn a shift (bias) too.
    """

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
        """Name the shape."""
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
def test_gradients_of_layer_norm():
    from tinytorch.core.autograd import gradcheck

    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(1, 2, (2, 3, 4)), requires_grad=True)
    for shape in ((4,), (3, 4)):
        w, b = (Tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(2))
        assert gradcheck(lambda x, w, b: layer_norm(x, shape, w, b), [x, w, b])  # noqa: B023
    assert gradcheck(lambda x: layer_norm(x, 4), x)
    assert list(LayerNorm(4).state_dict()) == ["weight", "bias"]


if __name__ == "__main__":
    test_gradients_of_layer_norm()

# %% [markdown]
# ## Step 3: A block: communicate, then compute
#
# In attention tokens exchange information; then each one digests it **alone**, in a small network
# that widens C features to 4C, bends them, and comes back. GPT-2 bends by `gelu` in its "tanh"
# form. Both parts hang on a *residual stream*:
#
#     x ──┬────────────────────────────(+)──┬───────────────────────────────(+)──▶
#         └─ norm1 ─ self_attn ─ dropout ─┘ └─ norm2 ─ feed_forward ─────────┘
#
# $$x \leftarrow x + \text{attention}(\text{norm}_1(x)), \qquad
# x \leftarrow x + \text{feed\_forward}(\text{norm}_2(x))$$
#
# The plus signs are what lets a stack be deep: the gradient of a sum goes to both sides unchanged,
# so from the loss to the first layer leads a path on which nothing is multiplied. That path must
# stay free: the norm stands **before** each part (*pre-norm*), inside the branch. The paper of 2017
# normalised after the sum, on the path itself, and needed a careful warm-up to train at all.
#
# Cost for each token: 4C² multiply-adds in the attention's projections, 8C² in the feed-forward
# part, and 2TC in attention itself. At C = 128 and T = 64: 65,536 + 131,072 + 16,384.


# %%
#| export
class FeedForward(Module):
    """Two linear layers with a gelu between them, for each token alone.

    Args:
        embed_dim: Features of input and output, C.
        hidden_dim: Features between; 4 * embed_dim by default.
        dropout: Share of the output to drop in training.
        bias: Whether the linear layers have one.
    """

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

    Args:
        embed_dim, num_heads, hidden_dim, bias: Of `MultiHeadAttention` and `FeedForward`.
        dropout: Of the attention weights, and of what each part adds.
    """

    def __init__(self, embed_dim: int, num_heads: int, hidden_dim: int | None = None,
                 dropout: float = 0.0, bias: bool = True):  # fmt: skip
        self.norm1 = LayerNorm(embed_dim, bias=bias)
        self.self_attn = MultiHeadAttention(embed_dim, num_heads, dropout, bias)
        self.dropout = Dropout(dropout)
        self.norm2 = LayerNorm(embed_dim, bias=bias)
        self.feed_forward = FeedForward(embed_dim, hidden_dim, dropout, bias)

    def forward(self, x: Tensor, mask: Any = None, is_causal: bool = False) -> Tensor:
        """Let the tokens of x, (B, T, C), attend to each other, then compute; (B, T, C).

        Args:
            mask, is_causal: As for `MultiHeadAttention`.
        """
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
        layer.weight.data = np.zeros_like(layer.weight.data)
        layer.bias.data = np.zeros_like(layer.bias.data)
    np.testing.assert_array_equal(block(Tensor(x)).numpy(), x)  # both branches are silent


if __name__ == "__main__":
    test_a_block_adds_to_its_input()

# %% [markdown]
# ## Step 4: First values
#
# GPT-2 draws every matrix, embeddings included, from the normal distribution of deviation 0.02,
# and starts biases at 0 and norms at 1 and 0. The first logits are then close to 0 and the first
# loss close to log V: an honest "I do not know" (module 04).
#
# One exception. The stream is a sum: L blocks add 2L branches to it. If each adds variance v, the
# sum grows by 2L v. So the last matrix of each branch (`out_proj.weight`, `linear2.weight`) gets
# the deviation 0.02 / √(2L), and the whole stack adds v, whatever its depth. For 4 layers: 0.00707.


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


# %%
block = TransformerBlock(64, 4)
initialise(block, n_layer=4)
for name, parameter in block.named_parameters():
    if "weight" in name:
        print(f"{name:<28} mean {parameter.numpy().mean():6.3f}  std {parameter.numpy().std():.3f}")
# Expected output:
# norm1.weight                 mean  1.000  std 0.000
# self_attn.in_proj_weight     mean ...0.000  std 0.020
# self_attn.out_proj.weight    mean ...0.000  std 0.007
# norm2.weight                 mean  1.000  std 0.000
# feed_forward.linear1.weight  mean ...0.000  std 0.020
# feed_forward.linear2.weight  mean ...0.000  std 0.007


# %%
#| test
def test_first_values():
    block = TransformerBlock(64, 4)
    initialise(block, n_layer=2, std=0.1)
    spread = {name: p.numpy().std() for name, p in block.named_parameters()}
    np.testing.assert_allclose(spread["self_attn.in_proj_weight"], 0.1, rtol=0.1)
    np.testing.assert_allclose(spread["feed_forward.linear2.weight"], 0.05, rtol=0.1)
    biases = [p.numpy() for name, p in block.named_parameters() if name.endswith("bias")]
    assert len(biases) == 6
    assert not any(b.any() for b in biases)


if __name__ == "__main__":
    test_first_values()

# %% [markdown]
# ## Step 5: GPT
#
#     ids ─ token_embedding ─ + position ─ dropout ─ block × L ─ norm ─ head ─▶ logits
#     (B, T)       (B, T, C)                                                    (B, T, V)
#
# At every place the model guesses the *next* token: one sequence of T tokens is T examples. That
# works because the blocks are causal: place t has seen tokens 0 to t, and nothing else. The last
# `norm` is there because with pre-norm nobody has normalised the stream itself.
#
# **Tied weights.** `token_embedding.weight` (V, C) says what vector a token is; `head.weight`, also
# (V, C), which vector speaks for a token. GPT-2 uses *one* matrix for both: it saves V·C
# parameters, and each token is trained also as an answer when it was only a question. Tying is one
# assignment of a `Parameter`; module 03 lists it once, and its two gradients add up.
#
# **The loss** compares logits[b, t] with targets[b, t]. Whoever makes the targets has shifted them
# (step 6); the model does not shift. `cross_entropy` wants one row for each guess: (B·T, V).
#
# **To write**, only the guess at the last place matters: `next_logits` takes the newest
# `block_size` tokens, for there are no positions beyond, and applies the head to one place.


# %%
#| export
@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT.

    Attributes:
        vocab_size: Tokens in the vocabulary, V.
        block_size: Longest sequence, in tokens.
        n_layer, n_head, n_embd: Blocks; heads in each; features of a token, C.
        dropout: Share dropped in training: of embeddings, attention weights and branches.
        bias: Whether linear layers and norms have one.
        tie_weights: Whether head and token embedding are one parameter.
    """

    vocab_size: int = 65
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    dropout: float = 0.0
    bias: bool = True
    tie_weights: bool = True

    def __post_init__(self) -> None:
        check_config(self)


# %%
#| export
class GPT(Module):
    """A decoder-only transformer.

    Attributes:
        config: Its sizes.
        token_embedding, position_embedding, dropout, blocks, norm, head: Its parts, in order.
    """

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
        ids = checked_sequence(ids, self.config.block_size)
        ### BEGIN SOLUTION
        x = self.dropout(self.position_embedding(self.token_embedding(ids)))
        for block in self.blocks:
            x = block(x, is_causal=True)
        return self.norm(x)
        ### END SOLUTION

    def forward(self, ids: Any, targets: Any = None) -> Tensor | tuple[Tensor, Tensor]:
        """Guess the next token at every place.

        Args:
            ids: Token ids (B, T), T at most block_size.
            targets: The tokens to guess, (B, T); -100 where none counts.

        Returns:
            Logits (B, T, V); with targets, the pair (logits, mean cross-entropy).
        """
        if targets is not None:
            check_targets(targets, ids)
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
        """Write on after `ids`: the function `generate` of step 8."""
        return generate(self, ids, max_new_tokens, temperature, top_k, top_p, seed, use_cache)


TinyGPT = GPT

# %%
manual_seed(0)
model = GPT(GPTConfig(vocab_size=65))
ids = np.random.default_rng(0).integers(0, 65, (2, 10))
logits, loss = model(ids, np.roll(ids, -1, axis=1))
print(logits.shape, f"loss {loss.item():.2f}, log V {np.log(65):.2f}")
print(sum(p.size for p in model.parameters()), "parameters")
print(model.next_logits(ids).shape, "and", model.next_logits(np.tile(ids, 20)).shape)
# Expected output:
# (2, 10, 65) loss 4.19, log V 4.17
# 809856 parameters
# (2, 65) and (2, 65)


# %%
#| test
def small_gpt(**options):
    """A GPT of 10 tokens, 8 places and a few hundred parameters."""
    sizes = {"vocab_size": 10, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 12}
    return GPT(GPTConfig(**{**sizes, **options}))


def test_gpt_looks_back_only():
    model, ids = small_gpt(), np.random.default_rng(0).integers(0, 10, (3, 8))
    before = model(ids).numpy()
    changed = ids.copy()
    changed[:, 5] = (ids[:, 5] + 1) % 10
    after = model(changed).numpy()
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (np.abs(before - after)[:, 5:].max(axis=-1) > 1e-6).all()


def test_tied_weights_are_one_parameter():
    tied, free = small_gpt(), small_gpt(tie_weights=False)
    assert tied.head.weight is tied.token_embedding.weight
    sizes = [sum(p.size for p in model.parameters()) for model in (tied, free)]
    assert sizes[1] - sizes[0] == 10 * 12
    assert set(tied.state_dict()) == set(free.state_dict())


def test_next_logits_are_those_of_the_last_place():
    model, ids = small_gpt(), np.random.default_rng(0).integers(0, 10, (3, 20))
    expected = model(ids[:, -8:]).numpy()[:, -1]
    np.testing.assert_allclose(model.next_logits(ids), expected, atol=1e-6)
    np.testing.assert_raises(ValueError, model, ids)


if __name__ == "__main__":
    test_gpt_looks_back_only()
    test_tied_weights_are_one_parameter()
    test_next_logits_are_those_of_the_last_place()

# %% [markdown]
# ## Step 6: Examples from a text
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
def random_windows(
    tokens: Any, block_size: int, batch_size: int, rng: np.random.Generator | None = None
) -> tuple[Array, Array]:
    """Draw windows of a sequence and their targets, each (batch_size, block_size), int64.

    Args:
        tokens: Token ids (N,), N above block_size.
        rng: Where the starts come from; the course's generator by default.
    """
    tokens = one_sequence(tokens, block_size)
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
    assert (ids.shape, targets.shape, targets.dtype) == ((200, 4), (200, 4), np.int64)
    np.testing.assert_array_equal(targets, ids + 1)
    np.testing.assert_array_equal(ids, ids[:, :1] + np.arange(4))
    assert set(ids[:, 0].tolist()) == {100, 101, 102, 103, 104, 105}


if __name__ == "__main__":
    test_targets_are_the_successors()

# %% [markdown]
# ## Step 7: From logits to a choice
#
# Always taking the likeliest token (*greedy*) gives flat text that runs in circles. Drawing from
# the model's probabilities gives lively text, and now and then nonsense from the long tail. Three
# knobs, applied in this order:
#
# - **temperature** t divides the logits. t → 0 is greedy, 1 is what the model believes, above 1 is
#   flatter. t = 0 means greedy, exactly: all probability on the first of the largest logits.
# - **top_k** keeps the k likeliest tokens.
# - **top_p** (*nucleus*) keeps the smallest set of likeliest tokens whose probability together
#   reaches p: a few when the model is sure, many when it is not. The token that crosses p stays.
#
# What remains is divided by its sum. *Worked:* p = [0.5, 0.3, 0.15, 0.05]. top_k = 2: [0.625,
# 0.375, 0, 0]. top_p = 0.6: before the second token there is 0.5 < 0.6, so it stays; before the
# third 0.8, so it goes: the same two. t = 0.5 squares and rescales: [0.685, 0.247, 0.062, 0.007].
#
# In the order of one sort, likeliest first (stable, so that ties go to the smaller id), both cuts
# are a matter of places; `np.put_along_axis` brings the rest home. Cost: V log V.


# %%
#| export
def next_probabilities(
    logits: Array, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Return the probabilities from which the next token is drawn, float64.

    Args:
        logits: Shape (B, V).
        temperature: 0 for all probability on the largest logit.
        top_k: How many tokens to keep at most.
        top_p: Keep the fewest likeliest tokens that have this probability together.

    Source: Fan, Lewis and Dauphin 2018 (top_k); Holtzman et al. 2020 (top_p).
    """
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
    np.testing.assert_allclose(both[0], [4 / 7, 0, 3 / 7, 0])
    np.testing.assert_allclose(both[1], [1 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(next_probabilities(np.log(p), top_k=99, top_p=1.0), p)
    assert next_probabilities(np.log(p), top_p=1e-9)[0].tolist() == [1, 0, 0, 0]


if __name__ == "__main__":
    test_knobs_together()

# %% [markdown]
# ## Step 8: Write
#
# Ask for the next logits, choose, append, and again. Around the loop, leave no trace:
#
# - nothing is recorded (`no_grad`): a graph over all steps would fill the memory;
# - the model is in evaluation mode, and afterwards **each part** is in the mode it was in;
# - with a `seed`, the draws come from a new `np.random.default_rng(seed)`, and the course's
#   generator is untouched; without one, from `default_generator`, which `manual_seed` restarts.
#
# Each row of a batch draws for itself. Every new token reads the whole context again, although only
# one token is new: for n tokens that is O(n · T) tokens read. Module 17 remembers the keys and
# values instead: the loop knows the model only as something with `next_logits`, and `reader_of`
# (given) returns the model itself, or, with `use_cache=True`, what module 17 puts in its place.


# %%
#| export
def generate(model: GPT, ids: Any, max_new_tokens: int, temperature: float = 1.0,
             top_k: int | None = None, top_p: float | None = None,
             seed: int | None = None, use_cache: bool = False) -> Tensor:  # fmt: skip
    """Append tokens chosen by the model.

    Args:
        ids: The beginning, (B, T) or (T,), at least one token; may be longer than block_size.
        max_new_tokens: How many to append.
        temperature, top_k, top_p: As for `next_probabilities`.
        seed: Makes the result repeatable, whatever was drawn before.
        use_cache: Read only what is new, by module 17.

    Returns:
        int64, (B, T + max_new_tokens), or (T + max_new_tokens,).
    """
    check_choice(temperature, top_k, top_p)
    ids = beginning(ids, model.config.vocab_size, max_new_tokens)
    if ids.ndim == 1:
        knobs = temperature, top_k, top_p, seed, use_cache
        return generate(model, ids[None], max_new_tokens, *knobs)[0]
    reader = reader_of(model, use_cache)
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
def test_generate_is_greedy_at_zero_and_repeatable():
    model, ids = small_gpt(), np.array([[1, 2, 3], [4, 5, 6]])
    out = model.generate(ids, 12, temperature=0).numpy()
    assert (out.shape, out.dtype) == ((2, 15), np.int64)
    np.testing.assert_array_equal(out[:, :3], ids)
    for t in range(3, 15):
        np.testing.assert_array_equal(out[:, t], model.next_logits(out[:, :t]).argmax(axis=-1))
    once, again, other = (model.generate(ids, 12, seed=s).tolist() for s in (7, 7, 8))
    assert once == again
    assert once != other


def test_generate_leaves_no_trace():
    from tinytorch.core.tensor import manual_seed

    model = small_gpt(dropout=0.5)
    model.blocks[1].eval()
    modes = [part.training for part in model.modules()]
    manual_seed(1)
    expected = default_generator.random()
    manual_seed(1)
    model.generate([3], 2, seed=5)
    assert default_generator.random() == expected
    assert [part.training for part in model.modules()] == modes


if __name__ == "__main__":
    test_generate_is_greedy_at_zero_and_repeatable()
    test_generate_leaves_no_trace()

# %% [markdown]
# ## Step 9: What did language cost you?
#
# You began with a framework for images. How much of it is new for text? The imports tell: draw an
# arrow from each module of `tinytorch.core` to those it imports. What a GPT reaches along the
# arrows is what it is made of, and so for a vision model.
#
# Do not search the text for "import": a docstring may say it too. Python's own parser `ast` gives
# the syntax tree, `ast.walk` its nodes. Two spellings name a module of the course:
#
#     from tinytorch.core.layers import Linear      ImportFrom, module "tinytorch.core.layers"
#     from tinytorch.core import losses, tensor     ImportFrom, module "tinytorch.core", with names


# %%
#| export
def imported_modules(source: str) -> set[str]:
    """Name the modules of `tinytorch.core` that a Python source imports by `from`."""
    ### BEGIN SOLUTION
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.module == "tinytorch.core":
                found.update(alias.name for alias in node.names)
            elif (node.module or "").startswith("tinytorch.core."):
                found.add(node.module.split(".")[2])
    return found
    ### END SOLUTION


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


def reused_share(
    graph: Mapping[str, Iterable[str]], new: Iterable[str], old: Iterable[str]
) -> float:
    """Return which share of the modules reached from `new` is reached from `old` as well."""
    ### BEGIN SOLUTION
    parts = reached(graph, new)
    return len(parts & reached(graph, old)) / len(parts)
    ### END SOLUTION


def course_graph() -> dict[str, set[str]]:
    """Read the imports of every exported module."""
    import tinytorch.core

    files = Path(tinytorch.core.__path__[0]).glob("*.py")
    return {path.stem: imported_modules(path.read_text(encoding="utf-8")) for path in files}


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
def test_imports_are_parsed_and_followed():
    source = '''"""Not from tinytorch.core.spatial import this."""
from tinytorch.core.layers import Linear
from tinytorch.core import losses, tensor as ops
def late():
    from tinytorch.core.optimizers import SGD
import numpy
'''
    assert imported_modules(source) == {"layers", "losses", "tensor", "optimizers"}
    graph = {"a": {"b"}, "b": {"c", "a"}, "c": set(), "d": {"c"}}
    assert reached(graph, ["a"]) == {"a", "b", "c"}
    assert reused_share(graph, ["a"], ["d"]) == 1 / 3


if __name__ == "__main__":
    test_imports_are_parsed_and_followed()

# %% [markdown]
# ## Systems: where parameters, memory and time go
#
# First the parameters of 4 layers, 4 heads, 128 features: 98% are in the blocks, two thirds of
# those in the feed-forward parts. In GPT-2 (V = 50,257, C = 768) the embedding has a third of all.

# %%
import time
import tracemalloc

model = GPT(GPTConfig())
total = sum(p.size for p in model.parameters())
groups = {"tokens (and head)": "token_e", "positions": "position", "attention": "self_attn"}
groups |= {"feed-forward": "feed_forward", "norms": "norm"}
for label, word in groups.items():
    count = sum(p.size for name, p in model.named_parameters() if word in name)
    print(f"{label:<18} {count:7} {count / total:6.1%}")
# Expected output:
# tokens (and head)     8320   1.0%
# positions             8192   1.0%
# attention           264192  32.6%
# feed-forward        526848  65.1%
# norms                 2304   0.3%

# %% [markdown]
# Now one step of training against the length T of the sequence, batch 4. A token's own activations
# grow in proportion to T, attention's weights (4 heads × T × T in each layer) with its square: the
# memory held for each token grows with T, and beyond T ≈ 500 the squares take over.

# %%
config = GPTConfig(block_size=256)
model = GPT(config)
for T in (32, 64, 128, 256):
    ids = np.zeros((4, T), np.int64)
    model(ids, ids)[1].backward()
    tracemalloc.start()
    _, loss = model(ids, ids)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        model(ids, ids)[1].backward()
        times.append(time.perf_counter() - begin)
    squares = config.n_layer * 4 * config.n_head * T * T * 4
    print(f"T {T:3}: {held / 4 / T / 1e3:3.0f} kB a token, {squares / held:3.0%} T x T;", end=" ")
    print(f"{min(times) / 4 / T * 1e6:5.0f} µs a token")
del loss
# Expected output:
# T  32: ... kB a token, ...% T x T; ... µs a token
# T  64: ... kB a token, ...% T x T; ... µs a token
# T 128: ... kB a token, ...% T x T; ... µs a token
# T 256: ... kB a token, ...% T x T; ... µs a token

# %% [markdown]
# And writing: each token reads the whole context again. A batch shares the cost of fetching the
# weights, so many texts at once are cheaper, token by token.

# %%
model = GPT(GPTConfig())
for batch, context in ((1, 1), (1, 64), (8, 64)):
    begin = time.perf_counter()
    model.generate(np.zeros((batch, context), np.int64), 8)
    rate = 8 * batch / (time.perf_counter() - begin)
    print(f"{batch} texts, {context:2} tokens of context: {rate:5.0f} tokens per second")
# Expected output:
# 1 texts,  1 tokens of context: ... tokens per second
# 1 texts, 64 tokens of context: ... tokens per second
# 8 texts, 64 tokens of context: ... tokens per second

# %% [markdown]
# ## Pitfalls
#
# - **A loss that falls below 1 at once** on real text: the future leaks. Change a later token and
#   look at the logits before it.
# - **Targets shifted twice**, in the data and in the model: it learns to skip a token.
# - **`head.weight.data = token_embedding.weight.data`** shares the numbers until the first
#   optimizer step; sharing the `Parameter` shares them for good.
# - **Decay for everything.** Norms and biases should have `weight_decay=0`; see module 06.
# - **Generating in training mode**: dropout makes the text worse, silently.
#
# ## What PyTorch does differently, and why
#
# - It has no GPT, but `nn.TransformerEncoderLayer(norm_first=True)` is our block; its keys are ours
#   without `feed_forward.`. Its default is post-norm, as published in 2017.
# - Its `LayerNorm` also keeps x, mean and r, and computes x̂ again; in one pass over memory.
# - `F.cross_entropy` takes logits (B·T, V) there too.
# - Libraries of language models crop, cache and stop at an end token; here the caller cuts.
#
# ## Sources
#
# Vaswani et al. 2017, "Attention is all you need" · Ba, Kiros and Hinton 2016, "Layer
# normalization" · Xiong et al. 2020, "On layer normalization in the transformer architecture"
# (pre-norm) · Press and Wolf 2017, "Using the output embedding" (tying) · Radford et al. 2019,
# GPT-2 · Karpathy 2022, nanoGPT · Holtzman et al. 2020 (nucleus sampling).
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
