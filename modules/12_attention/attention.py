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
# # Module 12: Attention
#
# You let the tokens of a sequence look at each other, and measure what that costs.
#
# - **You build** attention step by step; then the same as one fused operation with a gradient
#   derived by hand, `scaled_dot_product_attention`; `causal_mask`; and the layers `SelfAttention`
#   (one head) and `MultiHeadAttention`, whose weights can be exchanged with PyTorch's.
# - **You need** 01 (`Tensor`), 02 (`softmax`), 03 (`Module`, `Linear`) and 05 (`register_vjp`).
# - **Time**: about five hours. Steps 3 and 4 are the heart.

# %%
#| default_exp core.attention

# %%
#| export
import math
from typing import Any

import numpy as np

from tinytorch.core.activations import softmax
from tinytorch.core.autograd import register_vjp
from tinytorch.core.layers import Linear, Module, Parameter, constant_, xavier_uniform_
from tinytorch.core.tensor import Tensor, apply, primitive, rand, where
from tinytorch.utils.sequences import check_attention, check_heads, check_sequences, checked_size

Array = np.ndarray
Maybe = Tensor | None

# %% [markdown]
# ## Step 1: Ask, compare, mix
#
# In "the animal did not cross because **it** was tired", what "it" is stands five words earlier.
# Attention is a dictionary that is looked up softly: every token sends out a *query* q (what am I
# looking for?), shows a *key* k (what do I have?), and holds a *value* v (what do I give?). For T
# queries and S keys of D numbers:
#
# $$\text{scores} = \frac{q\, k^\top}{\sqrt D}, \qquad w = \text{softmax}(\text{scores}), \qquad
# \text{out} = w\, v$$
#
# Scores and weights are (T, S): row i says how much query i takes from each key; the softmax runs
# along the **keys**, so that each row sums to 1.
#
# *Two tokens, worked*, D = 4: q₀ = [2, 0, 0, 0], q₁ = 0; k₀ = [1, 0, 0, 0], k₁ = 0; v = [10], [20].
# Query 0: q·k = 2 and 0, divided by √4: 1 and 0; softmax: e/(e + 1) = 0.7311 and 0.2689; out =
# 7.311 + 5.379 = 12.689. Query 1: all scores 0, weights ½ and ½, out = 15.
#
# **Why √D?** If the numbers in q and k have variance 1, their dot product, a sum of D products, has
# variance D. At D = 64 scores of ±8 are normal, and e⁸ is 3000: the softmax would take one key and
# ignore the others, with almost no gradient. Divided by √D the variance is 1 whatever D is.
#
# `mask` (step 2 makes them) says by boolean which keys a query **may** attend to; or, if it is of
# floats, what to add to the scores. `read_mask` (given) turns either into both. A query that may
# attend to nothing gets zeros: forbidden scores become the lowest number there is, and the weights
# are cleared once more afterwards.


# %%
#| export
def read_mask(mask: Any) -> tuple[Array | None, Any]:
    """Return (allowed, bias): where attention may go, and what is added to the scores."""
    if mask is None:
        return None, None
    array = mask.data if isinstance(mask, Tensor) else np.asarray(mask)
    if array.dtype == bool:
        return array, None
    allowed = array > -np.inf
    return allowed, where(allowed, mask, 0.0)


def attention_by_steps(q: Tensor, k: Tensor, v: Tensor, mask: Any = None) -> tuple[Tensor, Tensor]:
    """Return the result (..., T, E) and the weights (..., T, S), by modules 01 and 02; for study.

    Queries are (..., T, D), keys (..., S, D), values (..., S, E); a mask broadcasts to (..., T, S).

    Cost: T * S * (D + E) multiply-adds; an array of T * S numbers for each operation.
    """
    allowed, bias = read_mask(mask)
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., T, S)
    if bias is not None:
        scores = scores + bias
    if allowed is not None:
        scores = where(allowed, scores, float(np.finfo(scores.dtype).min))
    weights = softmax(scores, axis=-1)
    if allowed is not None:
        weights = where(allowed, weights, 0.0)
    return weights @ v, weights
    ### END SOLUTION


# %%
q, k = Tensor([[2, 0, 0, 0], [0, 0, 0, 0]]), Tensor([[1, 0, 0, 0], [0, 0, 0, 0]])
v = Tensor([[10], [20]])
out, weights = attention_by_steps(q, k, v)
print(weights.numpy().round(4))
print(out.numpy().round(3))
# Expected output:
# [[0.7311 0.2689]
#  [0.5    0.5   ]]
# [[12.689]
#  [15.   ]]


# %%
#| test
def attention_by_loops(q, k, v, allowed):
    """One query of (T, D) at a time, one key of (S, D) at a time."""
    out = np.zeros((len(q), v.shape[1]))
    for i, j in np.argwhere(allowed):
        scores = np.exp([q[i] @ key / len(key) ** 0.5 for key in k])
        out[i] += scores[j] / scores[allowed[i]].sum() * v[j]
    return out


def test_attention_by_steps():
    rng = np.random.default_rng(0)
    q, k, v = rng.random((3, 4)), rng.random((5, 4)), rng.random((5, 2))
    allowed = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    for mask in (allowed, np.where(allowed, 0, -np.inf)):
        out, weights = attention_by_steps(Tensor(q), Tensor(k), Tensor(v), mask)
        np.testing.assert_allclose(out.numpy(), attention_by_loops(q, k, v, allowed))
        np.testing.assert_allclose(weights.numpy().sum(axis=-1), [1, 1, 0])


if __name__ == "__main__":
    test_attention_by_steps()

# %% [markdown]
# ## Step 2: Masks
#
# A language model guesses the next token. If token i could look at token i + 1, it would only have
# to copy. The *causal* mask lets each look at itself and at what came before:
#
#     causal_mask(3)  [[1 0 0]        causal_mask(2, past=2)  [[1 1 1 0]
#                      [1 1 0]                                 [1 1 1 1]]
#                      [1 1 1]]
#
# Rows are queries, columns keys. The second form is for writing: the keys of `past` tokens were
# computed before (module 17 keeps them). Another mask hides padding: with `real` (B, S), True for
# real tokens, `real[:, None, :]` serves all queries. Combine boolean masks by `&`.


# %%
#| export
def causal_mask(length: int, past: int = 0) -> Tensor:
    """Say which keys each query may attend to, itself and all before it: boolean (T, past + T)."""
    if length < 0 or past < 0:
        raise ValueError(f"cannot mask {length} queries after {past} keys; give 0 or more of each")
    ### BEGIN SOLUTION
    return Tensor(np.tri(length, past + length, past, dtype=bool))
    ### END SOLUTION


# %%
_, weights = attention_by_steps(q, k, v, causal_mask(2))
print(weights.numpy().round(4))
# Expected output:
# [[1.  0. ]
#  [0.5 0.5]]


# %%
#| test
def test_causal_mask_looks_back_only():
    mask = causal_mask(3, past=2).numpy()
    assert mask.tolist() == [[j <= 2 + i for j in range(5)] for i in range(3)]


if __name__ == "__main__":
    test_causal_mask_looks_back_only()

# %% [markdown]
# ## Step 3: All of it in one operation
#
# `attention_by_steps` makes a new array of (T, S) numbers for each operation, and some of them stay
# until backward. Fused into one primitive, **one** array is made, and turned from scores into
# weights where it lies:
#
# 1. Scale q, not the scores: T·D numbers instead of T·S.
# 2. Multiply by the keys. Add the mask: 0 where allowed, −∞ elsewhere.
# 3. Subtract the row's maximum, `exp`, divide by the row's sum, each in place (`out=`, `-=`, `/=`).
#
# A row that is −∞ throughout needs no special case. Its maximum is replaced by the lowest finite
# number, −∞ less that is still −∞, and exp makes 0 of it. The sum is 0, but in every other row it
# is at least 1, since the maximum contributes exp(0): so divide by `np.maximum(sum, 1)`.
#
# **Dropout** hits the weights: `kept`, drawn from `rand`, is 0 with probability p and 1/(1 − p)
# otherwise, as in module 03.


# %%
#| export
def softmax_in_place(scores: Array, allowed: Array | None) -> Array:
    """Turn scores (..., T, S) into weights, row by row, and return the same array.

    A key is forbidden by False in `allowed` (None allows all), or by a score of −∞.
    """
    ### BEGIN SOLUTION
    if allowed is not None:
        scores += np.where(allowed, 0, -np.inf).astype(scores.dtype)
    lowest = np.finfo(scores.dtype).min
    scores -= scores.max(axis=-1, keepdims=True, initial=lowest)
    np.exp(scores, out=scores)
    scores /= np.maximum(scores.sum(axis=-1, keepdims=True), 1)
    return scores
    ### END SOLUTION


def attend(
    q: Array, k: Array, v: Array, mask: Array | None, is_causal: bool, dropout_p: float
) -> tuple[Array, tuple[Array, Array | None]]:
    """Return the result (..., T, E), and what the way back needs: (weights before dropout, factors
    of dropout or None), both (..., T, S).
    """
    ### BEGIN SOLUTION
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.swapaxes(-1, -2)  # (..., T, S)
    allowed = causal_mask(q.shape[-2]).data if is_causal else None
    if mask is not None and mask.dtype != bool:
        scores += mask
    elif mask is not None:
        allowed = mask if allowed is None else allowed & mask
    weights = softmax_in_place(scores, allowed)
    if not dropout_p:
        return weights @ v, (weights, None)
    scale = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
    kept = ((rand(weights.shape).data >= dropout_p) * scale).astype(weights.dtype)
    return (weights * kept) @ v, (weights, kept)
    ### END SOLUTION


# %%
rows = np.array([[1.0, 0.0], [1e4, -1e4], [3.0, 3.0]])
allowed = np.array([[True, True], [True, True], [False, False]])
print(softmax_in_place(rows, allowed).round(4))
# Expected output:
# [[0.7311 0.2689]
#  [1.     0.    ]
#  [0.     0.    ]]


# %%
#| test
def test_fused_equals_stepwise():
    rng = np.random.default_rng(0)
    q, k, v = rng.random((2, 3, 4)), rng.random((2, 5, 4)), rng.random((2, 5, 6))
    for mask in (None, rng.random((3, 5)) > 0.4, rng.random((2, 1, 5)), np.zeros((3, 5), bool)):
        wanted, weights = attention_by_steps(Tensor(q), Tensor(k), Tensor(v), mask)
        out, (saved, _) = attend(q, k, v, mask, False, 0.0)
        np.testing.assert_allclose(out, wanted.numpy())
        np.testing.assert_allclose(saved, weights.numpy())
    out, (weights, kept) = attend(q, k, v, None, False, 0.2)
    assert set(kept.round(6).ravel().tolist()) == {0, 1.25}
    np.testing.assert_allclose(out, (weights * kept) @ v)


if __name__ == "__main__":
    test_fused_equals_stepwise()

# %% [markdown]
# ## Step 4: The way back, by hand
#
# Write w for the weights, m for the dropout factors (1 without dropout), and g for the gradient of
# out = (w m) v. Going back one operation at a time:
#
# $$\bar v = (w m)^\top g, \qquad \bar w = m\,(g\, v^\top), \qquad
# \bar s = w\,(\bar w - \textstyle\sum_j w_j \bar w_j), \qquad
# \bar q = \frac{\bar s\, k}{\sqrt D}, \qquad \bar k = \frac{\bar s^\top q}{\sqrt D}$$
#
# The third is the softmax rule of module 05, with a sum along each row: `np.einsum` multiplies and
# adds in one pass, without an array for the products. $\bar s$ is also the gradient of a mask of
# floats. And zeros stay zeros: a forbidden weight is 0, so its $\bar s$ is 0.
#
# *The example of step 1, g = 1 for query 0 only:* $\bar w = [10, 20]$, their weighted sum is
# 12.689, and $\bar s = [0.7311\,(10 - 12.689),\ 0.2689\,(20 - 12.689)] = [-1.966,\ 1.966]$: attend
# less to token 0 and more to token 1.


# %%
#| export
def attend_rule(
    g: Array, q: Array, k: Array, v: Array, saved: tuple[Array, Array | None]
) -> tuple[Array, Array, Array, Array]:
    """Return the gradients of q, k, v and of the scores (..., T, S).

    Cost: four matrix products, twice the forward pass; one more array of T * S numbers.
    """
    weights, kept = saved
    ### BEGIN SOLUTION
    used = weights if kept is None else weights * kept
    for_v = used.swapaxes(-1, -2) @ g
    scores = g @ v.swapaxes(-1, -2)  # (..., T, S), the gradient of the weights so far
    if kept is not None:
        scores *= kept
    scores -= np.einsum("...ts,...ts->...t", weights, scores)[..., None]
    scores *= weights
    scale = 1 / math.sqrt(q.shape[-1])
    for_q, for_k = scores @ k, scores.swapaxes(-1, -2) @ q
    for_q *= scale
    for_k *= scale
    return for_q, for_k, for_v, scores
    ### END SOLUTION


@primitive(saves=True)
def attention(q, k, v, mask=None, *, is_causal=False, dropout_p=0.0):
    """The primitive behind `scaled_dot_product_attention`: `attend` on 3 or 4 tensors."""
    return attend(q, k, v, mask, is_causal, dropout_p)


def attention_joint(needs: list[bool], g: Array, out: None, *inputs: Array, saved, **settings):
    """The joint rule of `attention`, with or without a mask."""
    return attend_rule(g, *inputs[:3], saved)[: len(needs)]


register_vjp(attention, joint=attention_joint, keeps=("inputs",))


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Any = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, *,
                                 attn_mask: Any = None) -> Tensor:  # fmt: skip
    """Let each query take a weighted mean of the values; the weights come from its keys.

    Args:
        q, k, v: Queries (..., T, D), keys (..., S, D), values (..., S, E).
        mask: Broadcasts to (..., T, S). Boolean: True = may attend. Floats are added to the scores.
        dropout_p: Share of the weights to drop; there is no evaluation mode here, so give 0 then.
        is_causal: Use `causal_mask(T)`; needs as many keys as queries.
        attn_mask: PyTorch's name for `mask`.

    Returns:
        Shape (..., T, E). Queries that may attend to nothing get zeros.
    """
    mask = attn_mask if mask is None else mask
    check_attention(q, k, v, mask, is_causal, dropout_p)
    inputs = (q, k, v) if mask is None else (q, k, v, mask)
    return apply(attention, *inputs, is_causal=is_causal, dropout_p=dropout_p)


# %%
q, k, v = (Tensor(x.data, requires_grad=True) for x in (q, k, v))
out = scaled_dot_product_attention(q, k, v)
out[0].sum().backward()
print([[round(x, 4) for x in row] for row in v.grad.tolist()], end=" ")
print([round(row[0], 3) for row in k.grad.tolist()])
# Expected output:
# [[0.7311], [0.2689]] [-1.966, 1.966]


# %%
#| test
def test_gradients_of_every_input():
    from tinytorch.core.autograd import gradcheck

    rng = np.random.default_rng(0)
    shapes = (2, 3, 4), (2, 3, 4), (2, 3, 5), (3, 3)
    q, k, v, bias = (Tensor(rng.standard_normal(s), requires_grad=True) for s in shapes)
    assert gradcheck(scaled_dot_product_attention, [q, k, v, bias])
    some = np.array([[True, False, True], [False, False, False], [False, True, False]])
    assert gradcheck(lambda *x: scaled_dot_product_attention(*x, mask=some), [q, k, v])


if __name__ == "__main__":
    test_gradients_of_every_input()

# %% [markdown]
# ## Step 5: Self-attention with one head
#
# Queries, keys and values of one sequence x, (B, T, C), come from three linear layers: what a token
# looks for need not be what it shows. Everything else is step 4. Without a mask and without
# positions (module 11), permuting the tokens merely permutes the result.


# %%
#| export
class SelfAttention(Module):
    """One head of attention over a single sequence; `head_dim` is `embed_dim` by default."""

    def __init__(self, embed_dim: int, head_dim: int | None = None, dropout: float = 0.0,
                 bias: bool = True):  # fmt: skip
        check_heads(embed_dim, 1, dropout)
        head_dim = embed_dim if head_dim is None else checked_size("head_dim", head_dim)
        self.query = Linear(embed_dim, head_dim, bias)
        self.key = Linear(embed_dim, head_dim, bias)
        self.value = Linear(embed_dim, head_dim, bias)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Any = None, is_causal: bool = False) -> Tensor:
        """Attend within x, (..., T, embed_dim) -> (..., T, head_dim); drop only in training."""
        ### BEGIN SOLUTION
        dropout_p = self.dropout if self.training else 0.0
        q, k, v = self.query(x), self.key(x), self.value(x)
        return scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
        ### END SOLUTION


# %%
from tinytorch.core.tensor import manual_seed, randn

manual_seed(0)
head, x = SelfAttention(8, head_dim=4), randn(5, 8)
print(head(x).shape, np.allclose(head(x[[2, 0, 1, 4, 3]]).data, head(x).data[[2, 0, 1, 4, 3]]))
# Expected output:
# (5, 4) True


# %%
#| test
def test_self_attention_looks_back_only():
    head, x = SelfAttention(6), np.random.default_rng(0).random((2, 4, 6)).astype(np.float32)
    before = head(Tensor(x), is_causal=True).numpy()
    x[:, 2:] += 1
    after = head(Tensor(x), is_causal=True).numpy()
    np.testing.assert_allclose(after[:, :2], before[:, :2], rtol=1e-6)


if __name__ == "__main__":
    test_self_attention_looks_back_only()

# %% [markdown]
# ## Step 6: Several heads in one array
#
# One softmax per token makes one mixture: "it" can look for its noun *or* for its verb. H *heads*
# look at the same time, each at D = C/H of the features, for the same cost in all:
#
#     (B, T, C) = (B, T, H·D)  →  (B, T, H, D)  →  (B, H, T, D)
#                    reshape            permute
#
# The order matters: `reshape(B, H, T, D)` at once would have the right shape, and mix up tokens
# with features. *Two tokens, two heads, D = 1:* [[1, 2], [3, 4]] must become head 0: [1, 3] and
# head 1: [2, 4]. Reshaped at once, head 0 is [1, 2], which is token 0. Permuting copies nothing,
# and BLAS multiplies matrices whose rows lie apart as quickly as packed ones.


# %%
#| export
def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """View (B, T, C) as (B, num_heads, T, C / num_heads)."""
    ### BEGIN SOLUTION
    B, T, C = x.shape
    return x.reshape(B, T, num_heads, C // num_heads).permute(0, 2, 1, 3)
    ### END SOLUTION


def merge_heads(heads: Tensor) -> Tensor:
    """Put heads (B, H, T, D) side by side again: (B, T, H * D)."""
    ### BEGIN SOLUTION
    B, H, T, D = heads.shape
    return heads.permute(0, 2, 1, 3).reshape(B, T, H * D)
    ### END SOLUTION


# %%
heads = split_heads(Tensor([[[1, 2], [3, 4]]]), num_heads=2)
print(heads.tolist(), merge_heads(heads).tolist())
# Expected output:
# [[[[1.0], [3.0]], [[2.0], [4.0]]]] [[[1.0, 2.0], [3.0, 4.0]]]


# %%
#| test
def test_splitting_and_merging():
    x = np.random.default_rng(0).random((2, 3, 8))
    heads = split_heads(Tensor(x), 4)
    np.testing.assert_array_equal(heads.numpy()[1, 2], x[1, :, 4:6])
    np.testing.assert_array_equal(merge_heads(heads).numpy(), x)


if __name__ == "__main__":
    test_splitting_and_merging()

# %% [markdown]
# ## Step 7: `MultiHeadAttention`
#
# Project, attend in all heads, merge, and mix the heads by one more linear layer, `out_proj`. As in
# PyTorch, the three projections lie in one `in_proj_weight`, (3C, C): C rows for the queries, C for
# the keys, C for the values; within each, D rows for head 0, then head 1, … So weights can be
# exchanged with `torch.nn.MultiheadAttention`. As in `Linear`, a projection is x @ rows.T + bias.
#
# If keys and values come from another sequence than the queries, as when a translation looks at its
# source, it is *cross-attention*. The layer's halves have names, `project` and `attend`: module 17
# will put a cache of earlier keys and values between them.


# %%
#| export
class MultiHeadAttention(Module):
    """Attention in several heads; the parameters are those of torch.nn.MultiheadAttention.

    Attributes:
        in_proj_weight, in_proj_bias: (3C, C) and (3C,), or None: queries, keys, values.
        out_proj: Linear(C, C).
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True):
        check_heads(embed_dim, num_heads, dropout)
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.in_proj_weight = Parameter(np.zeros((3 * embed_dim, embed_dim), np.float32))
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw in_proj_weight by Xavier's uniform rule; both biases start at zero."""
        xavier_uniform_(self.in_proj_weight)
        if self.in_proj_bias is not None:
            constant_(self.in_proj_bias, 0)
            constant_(self.out_proj.bias, 0)

    def project(self, q: Tensor, k: Maybe = None, v: Maybe = None) -> tuple[Tensor, ...]:
        """Project (B, tokens, C) to heads (B, H, tokens, D): k is q, and v is k, by default."""
        ### BEGIN SOLUTION
        k = q if k is None else k
        v = k if v is None else v
        found, C = [], self.embed_dim
        for start, x in zip((0, C, 2 * C), (q, k, v), strict=True):
            out = x @ self.in_proj_weight[start : start + C].T
            if self.in_proj_bias is not None:
                out = out + self.in_proj_bias[start : start + C]
            found.append(split_heads(out, self.num_heads))
        return tuple(found)
        ### END SOLUTION

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        """Attend by head, (B, H, tokens, D), merge the heads and mix them: (B, T, C)."""
        ### BEGIN SOLUTION
        dropout_p = self.dropout if self.training else 0.0
        heads = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
        return self.out_proj(merge_heads(heads))
        ### END SOLUTION

    def forward(self, q: Tensor, k: Maybe = None, v: Maybe = None, mask: Any = None,
                is_causal: bool = False) -> Tensor:  # fmt: skip
        """Attend from q to k and v; within q if these are left out.

        Args:
            q, k, v: Shape (B, tokens, C), or all (tokens, C); the result has the shape of q.
            mask: (T, S), (B, T, S) or (B, H, T, S). Boolean: True = may attend. Floats are added.
        """
        check_sequences(self.embed_dim, q, k, v)
        if q.ndim == 2:
            q, k, v = (None if x is None else x.unsqueeze(0) for x in (q, k, v))
            return self.forward(q, k, v, mask, is_causal)[0]
        if len(np.shape(mask)) == 3:
            mask = mask[:, None]  # the same for all heads
        return self.attend(*self.project(q, k, v), mask, is_causal)


# %%
manual_seed(0)
layer, x = MultiHeadAttention(8, num_heads=2), randn(3, 5, 8)
print([(name, value.shape) for name, value in layer.state_dict().items()])
print(layer(x, is_causal=True).shape, layer(x, randn(3, 7, 8)).shape)
_, keys, values = layer.project(x)
last, _, _ = layer.project(x[:, 4:])  # one new token; the keys of the others are known
print(np.allclose(layer.attend(last, keys, values).data, layer(x, is_causal=True).data[:, 4:]))
# Expected output:
# [('in_proj_weight', (24, 8)), ('in_proj_bias', (24,)), ('out_proj.weight', (8, 8)),
#  ('out_proj.bias', (8,))]
# (3, 5, 8) (3, 5, 8)
# True


# %%
#| test
def test_heads_by_loops():
    layer, rng = MultiHeadAttention(6, num_heads=3, dropout=0.5), np.random.default_rng(0)
    x, y, layer.in_proj_bias.data = rng.random((4, 6)), rng.random((5, 6)), rng.random(18)
    weights, biases = (np.split(p.data, 3) for p in (layer.in_proj_weight, layer.in_proj_bias))
    q, k, v = (z @ w.T + b for z, w, b in zip((x, y, y), weights, biases, strict=True))
    parts, seen = [slice(d, d + 2) for d in (0, 2, 4)], np.ones((4, 5), bool)
    heads = [attention_by_loops(q[:, d], k[:, d], v[:, d], seen) for d in parts]
    wanted = layer.out_proj(Tensor(np.concatenate(heads, axis=1))).numpy()
    got = layer.eval()(Tensor(x), Tensor(y)).numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


if __name__ == "__main__":
    test_heads_by_loops()

# %% [markdown]
# ## Systems: every token with every token
#
# The weights are H·T² numbers for each sentence: double the length, and they take four times the
# memory, and their products four times as long. The projections only double. Measured for four
# heads of 32: what a forward pass holds for backward, and its time. `causal` computes the whole
# square too, and throws the upper half away.

# %%
import timeit
import tracemalloc


def held_megabytes(function, *inputs):
    """Return the MB that stay allocated while the result is alive."""
    tracemalloc.start()
    result = function(*inputs)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / 1e6 if result is not None else 0.0


ways = {"fused": scaled_dot_product_attention, "in steps": attention_by_steps}
for tokens in (128, 256, 512, 1024):
    qkv = [randn(4, tokens, 32, requires_grad=True) for _ in range(3)]
    print(f"T = {tokens}: weights {4 * tokens**2 * 4 / 1e6:.2f} MB", end="")
    for name, function in ways.items():
        best = min(timeit.repeat(lambda: function(*qkv), number=1, repeat=3)) * 1e3  # noqa: B023
        print(f"; {name} holds {held_megabytes(function, *qkv):.1f} MB, {best:.1f} ms", end="")
    print()
# Expected output:
# T = 128: weights 0.26 MB; fused holds 0.3 MB, ... ms; in steps holds 0.6 MB, ... ms
# T = 256: weights 1.05 MB; fused holds 1.2 MB, ... ms; in steps holds 2.2 MB, ... ms
# T = 512: weights 4.19 MB; fused holds 4.5 MB, ... ms; in steps holds 8.7 MB, ... ms
# T = 1024: weights 16.78 MB; fused holds 17.3 MB, ... ms; in steps holds 34.1 MB, ... ms

# %% [markdown]
# On a machine with two cores, using one: 0.2, 0.8, 3.0 and 12.3 ms, four times as long at each
# doubling; in steps 0.7, 2.9, 8.4 and 23 ms, with twice the memory. Sixteen thousand tokens would
# need 4 GB for the weights of one layer of one sentence.
#
# ## Pitfalls
#
# - The softmax along the queries instead of the keys: rows do not sum to 1, and the future leaks.
# - Masking *after* the softmax: the forbidden keys took their share, and the rows miss it.
# - `reshape(B, H, T, D)` without moving axes: right shape, wrong numbers, and it even trains a bit.
# - A boolean mask the wrong way round. Here True means "may attend".
#
# ## What PyTorch does differently, and why
#
# - Its boolean masks disagree with each other: True means "may attend" in
#   `scaled_dot_product_attention`, as here, but "ignore" in the `attn_mask` and `key_padding_mask`
#   of `nn.MultiheadAttention`. Moving from there, pass `~mask`.
# - `nn.MultiheadAttention` puts the tokens first unless `batch_first=True`, and returns (output,
#   weights). Its parameters have our names and shapes: `load_state_dict` works both ways.
# - With fewer queries than keys, its `is_causal` lines both up at the *first* token. For a cache
#   that is silently wrong, so ours refuses, and `causal_mask(T, past)` says what is meant.
# - Its kernels (FlashAttention) never store the (T, S) weights: they go through keys block by block
#   with a running softmax, and compute the weights again in backward: memory O(T), time O(T²).
#
# ## Sources
#
# Bahdanau, Cho and Bengio 2015 (attention in translation) · Vaswani et al. 2017, "Attention is all
# you need", section 3.2 · Dao et al. 2022, "FlashAttention" · Karpathy, nanoGPT.
#
# ## Reflect (150–300 words)
#
# Your users want T = 8192 where you have 1024. From your table, foretell the memory and time of the
# weights for one layer, and say at which T they overtake the projections (4·T·C² multiply-adds
# against 2·T²·C). Then choose: attend to the last 1024 tokens only; store no weights and recompute;
# or rent a larger machine. What does each cost, and who would notice? Write the answer to
# `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 12`
