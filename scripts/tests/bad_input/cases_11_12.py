"""Bad input to modules 11 and 12: what is called, what it must raise, what the message must name.

The callables import the course when they are called, so that the table can be read without it.
"""

from importlib import import_module
from typing import Any

import numpy as np


def tensor(*shape: int, dtype: Any = np.float32) -> Any:
    """A tensor of ones."""
    return import_module("tinytorch.core.tensor").Tensor(np.ones(shape, dtype))


def embeddings(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 11."""
    return getattr(import_module("tinytorch.core.embeddings"), name)(*arguments, **named)


def attention(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 12."""
    return getattr(import_module("tinytorch.core.attention"), name)(*arguments, **named)


def looked_up(ids: Any) -> Any:
    """Look ids up in a table of 3 rows."""
    return embeddings("Embedding", 3, 2)(ids)


def attended(q: tuple, k: tuple, v: tuple, mask: Any = None, **named: Any) -> Any:
    """Attend with tensors of these shapes."""
    tensors = (tensor(*shape) for shape in (q, k, v))
    return attention("scaled_dot_product_attention", *tensors, mask, **named)


def in_heads(*shapes: tuple, **named: Any) -> Any:
    """Call a MultiHeadAttention(8, 2) with tensors of these shapes."""
    return attention("MultiHeadAttention", 8, 2)(*(tensor(*shape) for shape in shapes), **named)


CASES = [
    # Embeddings
    ("a negative id", lambda: looked_up([0, -1]), IndexError, ["-1", "(1,)", "0 to 2"]),
    ("an id too large", lambda: looked_up([[0, 1], [3, 2]]), IndexError, ["3", "(1, 0)", "3 rows"]),
    (
        "float ids in a Tensor",
        lambda: looked_up(tensor(2)),
        TypeError,
        ["float32", "dtype=np.int64"],
    ),
    ("float ids in a list", lambda: looked_up([0.0, 1.0]), TypeError, ["float64"]),
    ("boolean ids", lambda: looked_up(np.array([True])), TypeError, ["bool"]),
    ("text for ids", lambda: looked_up("ab"), TypeError, ["whole numbers"]),
    ("no ids at all", lambda: looked_up(None), TypeError, ["whole numbers"]),
    ("an empty Tensor of floats", lambda: looked_up(tensor(0)), TypeError, ["float32"]),
    ("no rows", lambda: embeddings("Embedding", 0, 2), ValueError, ["num_embeddings is 0"]),
    ("no columns", lambda: embeddings("Embedding", 3, 0), ValueError, ["embedding_dim is 0"]),
    ("2.5 columns", lambda: embeddings("Embedding", 3, 2.5), ValueError, ["embedding_dim is 2.5"]),
    (
        "padding beyond the table",
        lambda: embeddings("Embedding", 3, 2, padding_idx=3),
        ValueError,
        ["padding_idx 3", "-3 to 2"],
    ),
    (
        "padding too far below 0",
        lambda: embeddings("embedding", [0], tensor(3, 2), -4),
        ValueError,
        ["padding_idx -4"],
    ),
    (
        "a table of one axis",
        lambda: embeddings("embedding", [0], tensor(3)),
        ValueError,
        ["(3,)", "num_embeddings"],
    ),
    ("one-hot of 3 in 3", lambda: embeddings("one_hot", [3], 3), IndexError, ["3", "0 to 2"]),
    (
        "a sequence longer than max_len",
        lambda: embeddings("PositionalEncoding", 4, max_len=5)(tensor(2, 6, 4)),
        ValueError,
        ["0 to 5", "max_len is 5"],
    ),
    (
        "an offset beyond max_len",
        lambda: embeddings("LearnedPositionalEmbedding", 4, 5)(tensor(2, 3, 4), offset=3),
        ValueError,
        ["3 to 5", "max_len is 5"],
    ),
    (
        "a negative offset",
        lambda: embeddings("PositionalEncoding", 4)(tensor(2, 3, 4), offset=-1),
        ValueError,
        ["-1"],
    ),
    (
        "the wrong width",
        lambda: embeddings("PositionalEncoding", 4)(tensor(2, 3, 5)),
        ValueError,
        ["(2, 3, 5)", "(B, T, 4)"],
    ),
    (
        "a single vector",
        lambda: embeddings("PositionalEncoding", 4)(tensor(4)),
        ValueError,
        ["(4,)", "(T, 4)"],
    ),
    ("max_len 0", lambda: embeddings("PositionalEncoding", 4, 0), ValueError, ["max_len is 0"]),
    (
        "embed_dim -1",
        lambda: embeddings("LearnedPositionalEmbedding", -1, 4),
        ValueError,
        ["embed_dim is -1"],
    ),
    # Attention
    (
        "queries and keys of different widths",
        lambda: attended((3, 4), (3, 5), (3, 4)),
        ValueError,
        ["(3, 4)", "(3, 5)", "4 features, keys 5"],
    ),
    (
        "more keys than values",
        lambda: attended((3, 4), (3, 4), (2, 4)),
        ValueError,
        ["3 keys and 2 values"],
    ),
    (
        "batches that do not broadcast",
        lambda: attended((2, 3, 4), (5, 3, 4), (5, 3, 4)),
        ValueError,
        ["(2, 3, 4)", "(5, 3, 4)", "broadcast"],
    ),
    ("a query of one axis", lambda: attended((4,), (3, 4), (3, 4)), ValueError, ["(4,)", "axis"]),
    ("no features", lambda: attended((3, 0), (3, 0), (3, 4)), ValueError, ["0 features"]),
    (
        "causal with more keys than queries",
        lambda: attended((1, 4), (3, 4), (3, 4), is_causal=True),
        ValueError,
        ["1 queries and 3 keys", "causal_mask(1, past=2)"],
    ),
    (
        "a mask of the wrong shape",
        lambda: attended((3, 4), (5, 4), (5, 4), np.ones((5, 3), bool)),
        ValueError,
        ["(5, 3)", "(3, 5)"],
    ),
    (
        "a mask with too many axes",
        lambda: attended((3, 4), (3, 4), (3, 4), np.ones((2, 3, 3), bool)),
        ValueError,
        ["(2, 3, 3)", "(3, 3)"],
    ),
    (
        "a mask of whole numbers",
        lambda: attended((3, 4), (3, 4), (3, 4), np.ones((3, 3), np.int64)),
        TypeError,
        ["int64", "True = may attend"],
    ),
    (
        "a mask in lists",
        lambda: attended((2, 4), (2, 4), (2, 4), [[True, False], [True, True]]),
        TypeError,
        ["list", "array or Tensor"],
    ),
    (
        "dropout above 1",
        lambda: attended((3, 4), (3, 4), (3, 4), dropout_p=1.5),
        ValueError,
        ["dropout_p", "1.5"],
    ),
    (
        "is_causal in the place of dropout_p",
        lambda: attended((3, 4), (3, 4), (3, 4), None, dropout_p=True),
        ValueError,
        ["dropout_p", "True"],
    ),
    (
        "negative dropout",
        lambda: attention("SelfAttention", 4, dropout=-0.1),
        ValueError,
        ["dropout", "-0.1"],
    ),
    ("a mask of -1 tokens", lambda: attention("causal_mask", -1), ValueError, ["-1"]),
    ("a past of -1 tokens", lambda: attention("causal_mask", 1, -1), ValueError, ["-1"]),
    (
        "heads that do not divide",
        lambda: attention("MultiHeadAttention", 8, 3),
        ValueError,
        ["8", "3 heads"],
    ),
    ("no heads", lambda: attention("MultiHeadAttention", 8, 0), ValueError, ["num_heads is 0"]),
    ("no features", lambda: attention("MultiHeadAttention", 0, 1), ValueError, ["embed_dim is 0"]),
    (
        "heads of no features",
        lambda: attention("SelfAttention", 4, 0),
        ValueError,
        ["head_dim is 0"],
    ),
    ("input of the wrong width", lambda: in_heads((2, 3, 6)), ValueError, ["(2, 3, 6)", "8"]),
    ("input of four axes", lambda: in_heads((2, 3, 4, 8)), ValueError, ["(2, 3, 4, 8)", "batch"]),
    ("a batch and a sequence", lambda: in_heads((2, 3, 8), (3, 8)), ValueError, ["(3, 8)"]),
    (
        "batches of two sizes",
        lambda: in_heads((2, 3, 8), (4, 3, 8)),
        ValueError,
        ["broadcast"],
    ),
    (
        "a mask for other heads",
        lambda: in_heads((2, 3, 8), mask=np.ones((2, 5, 3, 3), bool)),
        ValueError,
        ["(2, 5, 3, 3)", "(2, 2, 3, 3)"],
    ),
    (
        "a mask of padding without the axis of queries",
        lambda: in_heads((2, 3, 8), mask=np.ones((2, 3), bool)),
        ValueError,
        ["(2, 3)", "queries and keys"],
    ),
]
