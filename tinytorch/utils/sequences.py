"""Refusals of modules 11 and 12: each names the value that is wrong and what to give instead."""

from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox, Shape


def checked_size(name: str, size: Any) -> int:
    """Return a whole number of at least 1, or refuse it by name."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"{name} is {size!r}; give a whole number of at least 1")
    return int(size)


def checked_ids(ids: Any, num_embeddings: int) -> np.ndarray:
    """Return token ids (Tensor, array or list) as an array of int64, or refuse them.

    Raises:
        TypeError: If they are not whole numbers.
        IndexError: If one is below 0, or not below `num_embeddings`.
    """
    array = ids.data if isinstance(ids, ArrayBox) else np.asarray(ids)
    if array.dtype.kind not in "iu" and (array.size or isinstance(ids, ArrayBox)):
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


def checked_padding(padding_idx: int | None, num_embeddings: int) -> int | None:
    """Return the row of the padding token, counted from the front; None if there is none."""
    if padding_idx is None:
        return None
    if not -num_embeddings <= padding_idx < num_embeddings:
        raise ValueError(
            f"padding_idx {padding_idx} is out of range for {num_embeddings} embeddings; "
            f"use {-num_embeddings} to {num_embeddings - 1}"
        )
    return padding_idx % num_embeddings


def checked_table(weight: Any) -> int:
    """Return the number of rows of a table (V, C), or refuse it."""
    if weight.ndim != 2:
        raise ValueError(
            f"the table has shape {weight.shape}; give (num_embeddings, embedding_dim), and the "
            "ids before it"
        )
    return len(weight)


def places(x: Any, offset: int, shape: tuple[int, int]) -> slice:
    """Return which rows of a table of shape (max_len, C) belong to x, (..., T, C), or refuse x."""
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


def check_probability(name: str, p: float) -> None:
    """Refuse what is no probability."""
    if isinstance(p, bool) or not 0 <= p <= 1:
        raise ValueError(f"{name} is a probability, got {p}; use a number from 0 to 1")


def check_attention(q: Any, k: Any, v: Any, mask: Any, is_causal: bool, dropout_p: float) -> None:
    """Refuse queries, keys, values and masks that do not fit together."""
    shapes = q.shape, k.shape, v.shape
    listed = f"cannot attend with q, k, v of shapes {shapes[0]}, {shapes[1]} and {shapes[2]}: "
    if min(map(len, shapes)) < 2:
        raise ValueError(listed + "each needs (..., tokens, features); add an axis")
    (tokens, size), (keys, key_size), values = shapes[0][-2:], shapes[1][-2:], shapes[2][-2]
    if size != key_size or not size:
        raise ValueError(listed + f"queries have {size} features, keys {key_size}; make them equal")
    if keys != values:
        raise ValueError(listed + f"{keys} keys and {values} values; give each key one value")
    if is_causal and tokens != keys:
        raise ValueError(
            listed + f"is_causal with {tokens} queries and {keys} keys does not say where the "
            f"queries stand; pass mask=causal_mask({tokens}, past={max(keys - tokens, 0)})"
        )
    try:
        lead = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
        np.broadcast_shapes(lead, shapes[2][:-2])
    except ValueError:
        raise ValueError(
            listed + "the axes before the last two do not broadcast; make them equal, or 1"
        ) from None
    check_mask(mask, (*lead, tokens, keys))
    check_probability("dropout_p", dropout_p)


def check_mask(mask: Any, scores: Shape) -> None:
    """Refuse a mask that is neither boolean nor floating, or does not broadcast to the scores."""
    if mask is None:
        return
    if not hasattr(mask, "dtype") or mask.dtype.kind not in "bf":
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(
            f"a mask is an array or Tensor, boolean (True = may attend) or floating, got {kind}; "
            "convert it"
        )
    aligned = zip(mask.shape[::-1], scores[::-1], strict=False)
    if len(mask.shape) > len(scores) or any(m not in (1, n) for m, n in aligned):
        raise ValueError(
            f"a mask of shape {mask.shape} does not broadcast to the scores {scores}: the last two "
            "axes are queries and keys; reshape it"
        )


def check_heads(embed_dim: int, num_heads: int, dropout: float) -> None:
    """Refuse sizes that do not divide, and a dropout that is no probability."""
    checked_size("embed_dim", embed_dim)
    checked_size("num_heads", num_heads)
    if embed_dim % num_heads:
        raise ValueError(
            f"embed_dim {embed_dim} does not divide into {num_heads} heads; choose a num_heads "
            "that divides it"
        )
    check_probability("dropout", dropout)


def check_sequences(embed_dim: int, *inputs: Any) -> None:
    """Refuse inputs that are not all (B, tokens, C), or all (tokens, C)."""
    shapes = [x.shape for x in inputs if x is not None]
    for shape in shapes:
        if len(shape) not in (2, 3) or shape[-1] != embed_dim or len(shape) != len(shapes[0]):
            raise ValueError(
                f"cannot attend with inputs of shapes {' and '.join(map(str, shapes))}; give each "
                f"(batch, tokens, {embed_dim}), or each (tokens, {embed_dim})"
            )
