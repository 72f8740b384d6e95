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
# - **You build** `one_hot`, the lookup `embedding` with its gradient, the layer `Embedding`, and
#   two ways to say where a token is: `PositionalEncoding`, made of waves, and
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
from tinytorch.utils.sequences import (
    checked_ids,
    checked_padding,
    checked_size,
    checked_table,
    places,
)

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
# `checked_ids` (given, like all checks of this module, in `tinytorch/utils/sequences.py`) refuses
# what is no id. Why so strict? An id of −1 is a valid *index* in NumPy: it would silently be the
# last token. And in this course `Tensor([2, 0])` is float32.


# %%
#| export
def one_hot(ids: Any, num_classes: int) -> Tensor:
    """Write each id as a vector of zeros with a single 1, in the place of the id.

    Args:
        ids: Whole numbers from 0 to num_classes - 1, any shape.

    Returns:
        Shape (*ids.shape, num_classes), float32.
    """
    ids = checked_ids(ids, num_classes)
    ### BEGIN SOLUTION
    return Tensor._wrap((ids[..., None] == np.arange(num_classes)).astype(np.float32))
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
# and add up each run of `g[order]` at once: `np.add.reduceat(g[order], starts)` sums from each
# start to the next. Sorting N integers is cheap beside moving N·C floats: measured at the end.
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
    rows = checked_table(weight)
    padding_idx = checked_padding(padding_idx, rows)
    return lookup(weight, checked_ids(ids, rows), padding_idx=padding_idx)


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
        self.num_embeddings = checked_size("num_embeddings", num_embeddings)
        self.embedding_dim = checked_size("embedding_dim", embedding_dim)
        self.padding_idx = checked_padding(padding_idx, num_embeddings)
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


# %%
from tinytorch.core.tensor import manual_seed

manual_seed(0)
table = Embedding(4, 3, padding_idx=0)
print(table)
print(table([[2, 1], [3, 0]]).numpy().round(2))
# Expected output:
# Embedding(4, 3, padding_idx=0)
# [[[ 0.06 -0.03 -0.19]
#   [-0.8   0.6  -0.07]]
#
#  [[ 1.2   0.78 -1.36]
#   [ 0.    0.    0.  ]]]


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
# [sin 1, cos 1, sin 0.01, cos 0.01] = [0.8415, 0.5403, 0.0100, 1.0000]. If C is odd, the last
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
#  [0.8415 0.5403 0.01   1.    ]]
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
# [[ 0.    1.    0.    1.  ]
#  [ 0.84  0.54  0.01  1.  ]
#  [ 0.91 -0.42  0.02  1.  ]]
# [[ 0.91 -0.42  0.02  1.  ]]
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

# %% [markdown]
# ## Systems: the table, the lookup, and the way back
#
# A table weighs V·C·4 bytes, and in training four times that with its gradient and Adam's two
# averages (module 06). A lookup moves N·C numbers whatever V is; the one-hot product grows with V.
# And of the gradient's V rows, most are zeros: only the rows of the batch are not.

# %%
import time


def milliseconds(function, *inputs, repeat=5):
    """Return the least time of several runs."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        function(*inputs)
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def add_at(g, weight, ids):
    gradient = np.zeros(weight.shape, g.dtype)
    np.add.at(gradient, ids, g)
    return gradient


rng = np.random.default_rng(0)
for tokens in (100, 1000, 10_000):
    table = Embedding(tokens, 64)
    ids = np.minimum(rng.zipf(1.3, 512), tokens) - 1  # a few tokens are frequent, as in any text
    g = rng.random((512, 64), np.float32)
    looked, product = embedding(ids, table.weight), one_hot(ids, tokens) @ table.weight
    print(f"V = {tokens}: {table.weight.nbytes / 1e6:.2f} MB,", end=" ")
    print(f"equal {np.array_equal(looked.data, product.data)},", end=" ")
    print(f"lookup {milliseconds(embedding, ids, table.weight):.3f} ms,", end=" ")
    print(f"one-hot {milliseconds(lambda: one_hot(ids, tokens) @ table.weight):.3f} ms,", end=" ")  # noqa: B023
    print(f"way back {milliseconds(lookup_rule, g, None, table.weight.data, ids):.3f} ms,", end=" ")
    print(f"add.at {milliseconds(add_at, g, table.weight.data, ids):.3f} ms")
# Expected output:
# V = 100: 0.03 MB, equal True, lookup ... ms, one-hot ... ms, way back ... ms, add.at ... ms
# V = 1000: 0.26 MB, equal True, lookup ... ms, one-hot ... ms, way back ... ms, add.at ... ms
# V = 10000: 2.56 MB, equal True, lookup ... ms, one-hot ... ms, way back ... ms, add.at ... ms

# %% [markdown]
# On a machine with two cores, at V = 10,000: lookup 0.017 ms, one-hot product 9.8 ms, nearly 600
# times as much, for the same numbers. Way back: 0.12 ms sorted, 0.31 ms with `np.add.at`; with 4096
# ids in place of 512 the two were 0.4 and 5.3 ms.
#
# ## Pitfalls
#
# - `Tensor([2, 0])` is float32 and refused: ids need `dtype=np.int64`, or pass the list itself.
# - The gradient assigned instead of added: nothing breaks, frequent tokens just learn too slowly.
# - Places added along the batch axis: every *sentence* gets its own wave. Test with B ≠ T.
# - A padding token hidden from the embedding still takes part in attention: mask it there too.
# - Trained with max_len 64, a learned table has no row 64; sinusoids have one, but the model has
#   never seen it, and is rarely good there.
#
# ## What PyTorch does differently, and why
#
# - `nn.Embedding(sparse=True)` gives the gradient as (rows, values): for V = 50,000 and a batch of
#   1000 tokens that is 50 times less to write. Few optimizers accept it.
# - It clips row lengths (`max_norm`) and scales by frequency, which few use.
# - On the CPU an id out of range is an IndexError there too; on a GPU it stops the whole process
#   with a "device-side assert", far from the line that is wrong.
# - There is no positional encoding in torch.nn; everyone writes this one. GPT-like models of today
#   rotate queries and keys instead (RoPE, Su et al. 2021): step 4's rotation, put to work.
#
# ## Sources
#
# - Bengio, Ducharme, Vincent and Jauvin 2003: a neural model that learns its word vectors.
# - Mikolov et al. 2013 (word2vec): that such vectors carry meaning.
# - Vaswani et al. 2017, "Attention is all you need", section 3.5: the sinusoids.
# - Goodfellow, Bengio and Courville, *Deep Learning* (2016), section 12.4.
#
# ## Reflect (150–300 words)
#
# A model for phones has V = 50,000 tokens and C = 256. How many megabytes are its table, and its
# training state under Adam? Your measurements say what a lookup costs; what limits its speed,
# arithmetic or memory? A colleague proposes to share one row between rare tokens by hashing ids.
# What would be saved, what would be lost, and how would you find out? Write the answer to
# `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 11`
