"""Bad input to module 17: what is called, what it must raise, what the message must name."""

from importlib import import_module
from typing import Any

import numpy as np


def make(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 17."""
    return getattr(import_module("tinytorch.core.memoization"), name)(*arguments, **named)


def config(**options: Any) -> Any:
    """The sizes of a GPT of 5 tokens and 4 places."""
    sizes = {"vocab_size": 5, "block_size": 4, "n_layer": 1, "n_head": 2, "n_embd": 8}
    return import_module("tinytorch.core.transformers").GPTConfig(**{**sizes, **options})


def gpt() -> Any:
    """A GPT of these sizes."""
    return import_module("tinytorch.core.transformers").GPT(config())


def part(*shape: int, dtype: Any = np.float32) -> Any:
    """Keys or values."""
    return import_module("tinytorch.core.tensor").Tensor(np.ones(shape, dtype))


def append(*parts: Any, layer: int = 0, batch: int = 1) -> Any:
    """Append keys and values to a new cache."""
    return make("KVCache", config(), batch).append(layer, *parts)


def read(ids: Any, batch: int = 1, capacity: int = 4) -> Any:
    """Read ids into a new cache."""
    return make("read", gpt(), ids, make("KVCache", config(), batch, capacity))


K, LONG = (1, 2, 1, 4), (1, 2, 5, 4)

CASES = [
    ("a memo without room", lambda: make("Memo", len, 0), ValueError, ["capacity is 0"]),
    ("half a place", lambda: make("Memo", len, 1.5), ValueError, ["capacity is 1.5"]),
    ("no texts", lambda: make("KVCache", config(), 0), ValueError, ["batch is 0", "at least 1"]),
    ("no room", lambda: make("KVCache", config(), 1, 0), ValueError, ["capacity is 0"]),
    (
        "more room than places",
        lambda: make("KVCache", config(), 1, 5),
        ValueError,
        ["5 tokens", "block_size 4"],
    ),
    (
        "a layer too many",
        lambda: append(part(*K), part(*K), layer=1),
        IndexError,
        ["layer 1", "0 to 0"],
    ),
    (
        "keys of another batch",
        lambda: append(part(*K), part(*K), batch=3),
        ValueError,
        ["keys", "(1, 2, 1, 4)", "(3, 2, 1, 4)"],
    ),
    (
        "keys before the heads are split",
        lambda: append(part(1, 1, 8), part(1, 1, 8)),
        ValueError,
        ["(1, 1, 8)", "features of a head"],
    ),
    (
        "fewer values than keys",
        lambda: append(part(1, 2, 2, 4), part(*K)),
        ValueError,
        ["values", "(1, 2, 1, 4)", "(1, 2, 2, 4)"],
    ),
    (
        "keys of another dtype",
        lambda: append(part(*K, dtype=np.float64), part(*K, dtype=np.float64)),
        TypeError,
        ["float64", "float32", "dtype="],
    ),
    (
        "keys beyond the capacity",
        lambda: append(part(*LONG), part(*LONG)),
        ValueError,
        ["5 more tokens", "0 of 4", "crop"],
    ),
    (
        "crop to more than there is",
        lambda: make("KVCache", config()).crop(1),
        ValueError,
        ["0 tokens to 1"],
    ),
    ("crop to -1", lambda: make("KVCache", config()).crop(-1), ValueError, ["length is -1"]),
    ("read nothing", lambda: read(np.zeros((1, 0), int)), ValueError, ["(1, 0)", "at least one"]),
    ("read without a batch", lambda: read([1, 2]), ValueError, ["(2,)", "(batch, tokens)"]),
    ("read two texts into one", lambda: read([[1], [2]]), ValueError, ["(2, 1)", "1 texts"]),
    (
        "read too much",
        lambda: read([[1, 2, 3]], capacity=2),
        ValueError,
        ["3 tokens", "room for 2"],
    ),
    ("read an unknown token", lambda: read([[5]]), IndexError, ["5", "0 to 4"]),
    ("read half a token", lambda: read([[0.5]]), TypeError, ["whole numbers"]),
    (
        "write with a cache after nothing",
        lambda: gpt().generate([], 2, use_cache=True),
        ValueError,
        ["at least one token"],
    ),
]
