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
# # Module 11: Embeddings
#
# You turn token ids, which are names, into vectors, which can be computed with, and add to each
# vector the place where its token stands.
#
# - **You build** `one_hot`, the lookup `embedding` with its gradient, the layer `Embedding`, and two
#   ways to say where a token is: `PositionalEncoding`, made of waves, and
#   `LearnedPositionalEmbedding`.
# - **You need** 01 (`Tensor`), 03 (`Module`, `Parameter`) and 05 (`register_vjp`).
# - **Time**: about three hours.

# %%
#| default_exp core.embeddings

# %%
#| export
from typing import Any

import numpy as np

from tinytorch.core.autograd import register_vjp
from tinytorch.core.layers import Module, Parameter, normal_
from tinytorch.core.tensor import Tensor, primitive

Array = np.ndarray

# %% [markdown]
# ## Step 1: One-hot vectors, the honest but expensive way
#
# A tokenizer says that "cat" is 2 and "dog" is 3. These are names, not amounts: dog is not one more
# than cat. Written as *one-hot* vectors, with a 1 in the place of the id, all tokens are equally
# far from each other:
#
#     ids [2, 0], 3 tokens      [[0. 0. 1.]
#                                [1. 0. 0.]]
#
# A linear layer may now give each token a vector: `one_hot(ids) @ weight`, with weight of shape
# (V, C) for V tokens. For our ids and `weight = [[1, 2], [3, 4], [5, 6]]`, the first row is
# 0·[1, 2] + 0·[3, 4] + 1·[5, 6] = [5, 6]: row 2 of the weight. All the other products were zeros.
# For N ids that is N·V·C multiplications, and N·V numbers, to copy N rows.
#
# `checked_ids` (given) refuses what is no id. Why so strict? An id of −1 is a valid *index* in
# NumPy: it would silently be the last token. And in this course `Tensor([2, 0])` is float32.


# %%
#| export
def checked_ids(ids: Any, num_embeddings: int) -> Array:
    """Return token ids as an array of int64, or refuse them.

    Raises:
        TypeError: If they are not whole numbers.
        IndexError: If one is below 0, or not below `num_embeddings`.
    """
    array = ids.data if isinstance(ids, Tensor) else np.asarray(ids)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(
            f"token ids are whole numbers, got {array.dtype}; use Tensor(ids, dtype=np.int64)"
        )
    wrong = (array < 0) | (array >= num_embeddings)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise IndexError(
            f"token id {array[place]} at {place} is out of range: a table of {num_embeddings} rows "
            f"has ids 0 to {num_embeddings - 1}; enlarge the table or check the tokenizer"
        )
    return array.astype(np.int64, copy=False)


def one_hot(ids: Any, num_classes: int) -> Tensor:
    """Write each id as a vector of zeros with a single 1, in the place of the id.

    Args:
        ids: Whole numbers from 0 to num_classes - 1, any shape.

    Returns:
        Shape (*ids.shape, num_classes), float32.
    """
    ids = checked_ids(ids, num_classes)
    ### BEGIN SOLUTION
    return Tensor._wrap(np.eye(num_classes, dtype=np.float32)[ids])
    ### END SOLUTION


# %%
weight = Tensor([[1, 2], [3, 4], [5, 6]])
print(one_hot([2, 0], 3).tolist())
print((one_hot([2, 0], 3) @ weight).tolist())
# Expected output:
# [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
# [[5.0, 6.0], [1.0, 2.0]]


# %%
#| test
def test_one_hot_has_a_single_one():
    out = one_hot(np.array([[1, 0], [2, 1]]), 4).numpy()
    assert (out.shape, str(out.dtype)) == ((2, 2, 4), "float32")
    np.testing.assert_array_equal(out.argmax(axis=-1), [[1, 0], [2, 1]])
    np.testing.assert_array_equal(out.sum(axis=-1), np.ones((2, 2)))


if __name__ == "__main__":
    test_one_hot_has_a_single_one()

# %% [markdown]
# ## Step 2: Look the row up, and give its gradient back
#
# So copy the rows: `weight[ids]`, N·C numbers moved and nothing multiplied, whatever V is.
#
# What is its gradient? That of the product: `one_hot(ids).T @ g`. Row r of it is the **sum** of the
# rows of g where the id was r: a token that occurs five times is pulled five times.
#
#     ids = [2, 0, 2]      g = [[1, 1],        gradient = [[10, 10],     id 0, once
#                               [10, 10],                  [ 0,  0],     never
#                               [100, 100]]                [101, 101]]   id 2, twice
#
# `gradient[ids] = g` overwrites: row 2 would be [100, 100]. `np.add.at(gradient, ids, g)` is right,
# but goes element by element. Quicker: sort the ids, so that equal ones are neighbours,
#
#     order = [1, 0, 2]    ids[order] = [0, 2, 2]    runs start at [0, 1]
#
# and add up each run of `g[order]` at once: `np.add.reduceat(g[order], starts)` sums from each start
# to the next. Sorting N integers is cheap beside moving N·C floats; the last section measures it.
#
# **Padding.** Sentences of one batch differ in length, and are filled up with one id that means
# nothing. Its row gets no gradient, however often it occurs.


# %%
#| export
@primitive
def lookup(weight, ids, *, padding_idx=None):
    """Copy rows of a table: weight (V, C), ids (...) -> (..., C)."""
    ### BEGIN SOLUTION
    return weight[ids]
    ### END SOLUTION


def lookup_rule(g: Array, out: Any, weight: Array, ids: Array, padding_idx: Any = None) -> Array:
    """The rule of `lookup` for the table: each row collects the gradients of its ids.

    Args:
        g: Shape (..., C), as the output.
        ids: Shape (...), perhaps empty.
        padding_idx: A row that gets no gradient, or None.

    Cost: sorting N ids, and N * C additions; V * C zeros.
    """
    ### BEGIN SOLUTION
    gradient = np.zeros(weight.shape, g.dtype)
    flat = ids.reshape(-1)
    order = np.argsort(flat, kind="stable")
    flat = flat[order]
    starts = np.flatnonzero(np.diff(flat, prepend=-1))  # where a run of equal ids begins
    rows = g.reshape(flat.size, weight.shape[1])[order]
    gradient[flat[starts]] = np.add.reduceat(rows, starts, axis=0)
    if padding_idx is not None:
        gradient[padding_idx] = 0
    return gradient
    ### END SOLUTION


register_vjp(lookup, lookup_rule, None, keeps=("inputs",))


def embedding(ids: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Look up the row of each token id.

    Args:
        ids: Whole numbers from 0 to V - 1, of any shape: Tensor, array or list.
        weight: The table, shape (V, C).
        padding_idx: The id whose row is not to be trained; -1 is the last row.

    Returns:
        Shape (*ids.shape, C).
    """
    if weight.ndim != 2:
        raise ValueError(f"the table has shape {weight.shape}; give (num_embeddings, dim)")
    if padding_idx is not None:
        padding_idx = checked_padding(padding_idx, len(weight))
    return lookup(weight, checked_ids(ids, len(weight)), padding_idx=padding_idx)


def checked_padding(padding_idx: int, num_embeddings: int) -> int:
    """Return the row of the padding token, counted from the front."""
    if not -num_embeddings <= padding_idx < num_embeddings:
        raise ValueError(
            f"padding_idx {padding_idx} is out of range for {num_embeddings} embeddings; "
            f"use {-num_embeddings} to {num_embeddings - 1}"
        )
    return padding_idx % num_embeddings


# %%
weight = Tensor([[1, 2], [3, 4], [5, 6]], requires_grad=True)
out = embedding([2, 0, 2], weight)
print(out.tolist())
out.backward([[1, 1], [10, 10], [100, 100]])
print(weight.grad.tolist())
# Expected output:
# [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]
# [[10.0, 10.0], [0.0, 0.0], [101.0, 101.0]]


# %%
#| test
def test_lookup_equals_the_one_hot_product():
    rng = np.random.default_rng(0)
    table, ids = rng.standard_normal((5, 3)), rng.integers(0, 5, (4, 6))
    hot, g = np.eye(5)[ids], rng.standard_normal((4, 6, 3))
    np.testing.assert_array_equal(embedding(ids, Tensor(table)).numpy(), hot @ table)
    wanted = np.einsum("ijv,ijc->vc", hot, g)
    np.testing.assert_allclose(lookup_rule(g, None, table, ids), wanted)
    wanted[3] = 0
    np.testing.assert_allclose(lookup_rule(g, None, table, ids, padding_idx=3), wanted)


def test_no_ids_no_gradient():
    table, ids = np.ones((4, 3), np.float32), np.zeros((2, 0), np.int64)
    assert embedding(ids, Tensor(table)).shape == (2, 0, 3)
    assert not lookup_rule(np.zeros((2, 0, 3), np.float32), None, table, ids).any()


def test_what_is_no_id_is_refused():
    for ids, error in [([-1], IndexError), ([3], IndexError), ([1.0], TypeError)]:
        np.testing.assert_raises(error, embedding, ids, Tensor(np.ones((3, 2))))


if __name__ == "__main__":
    test_lookup_equals_the_one_hot_product()
    test_no_ids_no_gradient()
    test_what_is_no_id_is_refused()

# %% [markdown]
# ## Step 3: The layer `Embedding`
#
# A table that is a `Parameter`. PyTorch draws it from the normal distribution of mean 0 and
# deviation 1: rows of C such numbers have length about √C and are nearly at right angles to each
# other, so the model starts with V clearly different tokens. The row of the padding token starts at
# zero, and with the gradient of step 2 it stays there.


# %%
#| export
class Embedding(Module):
    """A table with a trained vector for each token id.

    Args:
        num_embeddings: Tokens in the vocabulary, V.
        embedding_dim: Numbers for each token, C.
        padding_idx: A token whose vector is zero and stays so.

    Attributes:
        weight: Shape (V, C).
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None):
        for name, size in (("num_embeddings", num_embeddings), ("embedding_dim", embedding_dim)):
            checked_size(name, size)
        if padding_idx is not None:
            padding_idx = checked_padding(padding_idx, num_embeddings)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        self.weight = Parameter(np.zeros((num_embeddings, embedding_dim), np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from the normal distribution; clear the padding row."""
        ### BEGIN SOLUTION
        normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0
        ### END SOLUTION

    def forward(self, ids: Any) -> Tensor:
        """Look ids (...) up: (..., embedding_dim)."""
        ### BEGIN SOLUTION
        return embedding(ids, self.weight, self.padding_idx)
        ### END SOLUTION

    def extra_repr(self) -> str:
        """Name the sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def checked_size(name: str, size: Any) -> int:
    """Return a whole number of at least 1, or refuse it by name."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"{name} is {size!r}; give a whole number of at least 1")
    return int(size)


# %%
from tinytorch.core.tensor import manual_seed

manual_seed(0)
table = Embedding(4, 3, padding_idx=0)
print(table)
print(table([[2, 1], [3, 0]]).numpy().round(2))
# Expected output:
# Embedding(4, 3, padding_idx=0)
# ...


# %%
#| test
def test_embedding_starts_normal():
    values = Embedding(1000, 50).weight.numpy()
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03


def test_padding_stays_zero():
    table = Embedding(4, 3, padding_idx=-1)
    assert table.padding_idx == 3
    out = table([3, 1, 3])
    np.testing.assert_array_equal(out.numpy()[[0, 2]], np.zeros((2, 3)))
    out.backward(np.ones((3, 3)))
    np.testing.assert_array_equal(table.weight.grad.numpy()[:, 0], [0, 1, 0, 0])


if __name__ == "__main__":
    test_embedding_starts_normal()
    test_padding_stays_zero()

# %% [markdown]
# ## Step 4: Waves that count
#
# "Dog bites man" and "man bites dog" are the same set of vectors, and attention (module 12) sees a
# set. So the place must be *in* the vector: add to it another one that depends on the place only.
#
# How would you write a number with C values between −1 and 1? In binary, the last digit flips at
# every count, the one before at every second, and so on. *Sinusoids* are the smooth version, a
# pair of clock hands for each pair of columns $2i, 2i + 1$, the last pair the slowest:
#
# $$P_{t,\,2i} = \sin(t\,\omega_i), \quad P_{t,\,2i+1} = \cos(t\,\omega_i), \quad
# \omega_i = 10000^{-2i/C}$$
#
# *Worked, C = 4:* ω is 1 and 10000^(−1/2) = 0.01. Place 0 is [0, 1, 0, 1]; place 1 is
# [sin 1, cos 1, sin 0.01, cos 0.01] = [0.8415, 0.5403, 0.0100, 0.9999]. If C is odd, the last
# column is a sine without its cosine.
#
# **Why both?** Because the step from place t to t + k is then the same for all t. By the addition
# theorems,
#
# $$\begin{pmatrix} \sin (t+k)\omega \\ \cos (t+k)\omega \end{pmatrix} =
# \begin{pmatrix} \cos k\omega & \sin k\omega \\ -\sin k\omega & \cos k\omega \end{pmatrix}
# \begin{pmatrix} \sin t\omega \\ \cos t\omega \end{pmatrix}$$
#
# a rotation that knows k and not t: a linear layer can learn "three places back".


# %%
#| export
def sinusoidal_encoding(length: int, dim: int) -> Array:
    """Return the waves for places 0 to length - 1.

    Returns:
        Shape (length, dim), float32, computed in float64: sines in even columns.

    Source: Vaswani et al. 2017, section 3.5.
    """
    ### BEGIN SOLUTION
    places = np.arange(length)[:, None]
    angles = places * 10_000.0 ** (-np.arange(0, dim, 2) / dim)  # (length, ceil(dim / 2))
    waves = np.empty((length, dim))
    waves[:, 0::2] = np.sin(angles)
    waves[:, 1::2] = np.cos(angles[:, : dim // 2])
    return waves.astype(np.float32)
    ### END SOLUTION


# %%
waves = sinusoidal_encoding(50, 4)
print(waves[:2].round(4))

k, omega = 3, np.array([1, 0.01])
for i, w in enumerate(omega):
    rotation = np.array([[np.cos(k * w), np.sin(k * w)], [-np.sin(k * w), np.cos(k * w)]])
    pair = waves[:, 2 * i : 2 * i + 2]  # (50, 2)
    print(f"largest error of the rotation: {np.abs(pair[:-k] @ rotation.T - pair[k:]).max():.0e}")
# Expected output:
# [[0.     1.     0.     1.    ]
#  [0.8415 0.5403 0.01   0.9999]]
# largest error of the rotation: ...e-0...
# largest error of the rotation: ...e-0...


# %%
#| test
def test_waves_by_loops():
    for dim in (1, 4, 7):
        waves = sinusoidal_encoding(6, dim)
        assert (waves.shape, str(waves.dtype)) == ((6, dim), "float32")
        for t in range(6):
            for c in range(dim):
                angle = t / 10_000 ** ((c - c % 2) / dim)
                wanted = np.cos(angle) if c % 2 else np.sin(angle)
                np.testing.assert_allclose(waves[t, c], wanted, atol=1e-6)


if __name__ == "__main__":
    test_waves_by_loops()

# %% [markdown]
# ## Step 5: `PositionalEncoding`
#
# The layer adds these waves to its input: (T, C) or (B, T, C), where place t is along the axis
# **before the last**, and every sentence of the batch gets the same. They are computed once, for
# `max_len` places, and kept as a *buffer*: no parameter, no gradient, and not in the state, since
# anyone can compute them again.
#
# When a model writes token after token, the one it reads now does not stand at place 0: `offset`
# says how many came before.


# %%
#| export
def places(x: Tensor, offset: int, shape: tuple[int, int]) -> slice:
    """Return which rows of a table of shape (max_len, C) belong to x, or refuse x.

    Raises:
        ValueError: If x is not (..., T, C), or reaches beyond the table.
    """
    max_len, dim = shape
    if x.ndim < 2 or x.shape[-1] != dim:
        raise ValueError(
            f"cannot add positions of {dim} columns to shape {x.shape}; give (T, {dim}) or "
            f"(B, T, {dim})"
        )
    end = offset + x.shape[-2]
    if offset < 0 or end > max_len:
        raise ValueError(
            f"positions {offset} to {end - 1} are out of range: max_len is {max_len}; shorten the "
            "sequence or enlarge max_len"
        )
    return slice(offset, end)


class PositionalEncoding(Module):
    """Add sinusoids to a sequence of vectors.

    Args:
        embed_dim: Columns of the input, C.
        max_len: Longest sequence, in tokens.

    Attributes:
        encoding: Shape (max_len, C), a buffer.
    """

    def __init__(self, embed_dim: int, max_len: int = 5000):
        shape = checked_size("max_len", max_len), checked_size("embed_dim", embed_dim)
        ### BEGIN SOLUTION
        self.register_buffer("encoding", Tensor(sinusoidal_encoding(*shape)), persistent=False)
        ### END SOLUTION

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add to x, (..., T, C), the waves of places offset to offset + T - 1."""
        ### BEGIN SOLUTION
        return x + self.encoding.data[places(x, offset, self.encoding.shape)]  # (T, C)
        ### END SOLUTION


# %%
layer = PositionalEncoding(4, max_len=10)
x = Tensor(np.zeros((2, 3, 4)))
print(layer(x).numpy()[1].round(2))
print(layer(x[:, :1], offset=2).numpy()[1].round(2))
print(len(list(layer.parameters())), "parameters")
# Expected output:
# [[0.   1.   0.   1.  ]
#  [0.84 0.54 0.01 1.  ]
#  [0.91 -0.42 0.02 1. ]]
# [[0.91 -0.42 0.02 1. ]]
# 0 parameters


# %%
#| test
def test_places_are_added_along_the_sequence():
    layer, x = PositionalEncoding(5, max_len=8), np.random.default_rng(0).random((4, 3, 5))
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), x + sinusoidal_encoding(3, 5))
    np.testing.assert_allclose(layer(Tensor(x[0]), 5).numpy(), x[0] + layer.encoding.numpy()[5:])
    assert not list(layer.parameters())
    np.testing.assert_raises(ValueError, layer, Tensor(x), 6)


if __name__ == "__main__":
    test_places_are_added_along_the_sequence()

# %% [markdown]
# ## Step 6: Or let the model learn it
#
# GPT-2 (Radford et al. 2019) does not compute the vector of a place, it trains one: an embedding
# whose ids are 0, 1, 2, … The cost is max_len · C parameters, and a place that never occurred in
# training knows nothing; the sinusoids are defined for every place. The start is small (deviation
# 0.02, as GPT-2's) so that at first the tokens speak louder than their places.


# %%
#| export
class LearnedPositionalEmbedding(Module):
    """Add a trained vector for each place to a sequence of vectors.

    Args:
        embed_dim: Columns of the input, C.
        max_len: Longest sequence, in tokens.

    Attributes:
        weight: Shape (max_len, C).
    """

    def __init__(self, embed_dim: int, max_len: int):
        shape = checked_size("max_len", max_len), checked_size("embed_dim", embed_dim)
        self.weight = Parameter(np.zeros(shape, np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw from the normal distribution of deviation 0.02."""
        ### BEGIN SOLUTION
        normal_(self.weight, std=0.02)
        ### END SOLUTION

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add to x, (..., T, C), the vectors of places offset to offset + T - 1."""
        ### BEGIN SOLUTION
        return x + self.weight[places(x, offset, self.weight.shape)]  # (T, C)
        ### END SOLUTION


# %%
layer = LearnedPositionalEmbedding(2, max_len=4)
layer(Tensor(np.zeros((5, 3, 2)))).sum().backward()
print(layer.weight.grad.tolist())
# Expected output:
# [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0], [0.0, 0.0]]


# %%
#| test
def test_learned_places_are_trained():
    layer = LearnedPositionalEmbedding(3, max_len=6)
    x = np.random.default_rng(0).random((2, 4, 3))
    np.testing.assert_allclose(layer(Tensor(x), 2).numpy(), x + layer.weight.numpy()[2:6])
    layer(Tensor(x), 2).backward(np.ones(x.shape))
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [0, 0, 2, 2, 2, 2])
    assert 0 < LearnedPositionalEmbedding(50, 50).weight.numpy().std() < 0.03


if __name__ == "__main__":
    test_learned_places_are_trained()
