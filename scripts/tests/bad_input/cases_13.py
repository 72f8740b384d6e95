"""Bad input to module 13: what is called, what it must raise, what the message must name."""

from importlib import import_module
from typing import Any

import numpy as np


def make(name: str, *arguments: Any, **named: Any) -> Any:
    """Call something of module 13."""
    return getattr(import_module("tinytorch.core.transformers"), name)(*arguments, **named)


def gpt(**options: Any) -> Any:
    """A GPT of 5 tokens and 4 places."""
    sizes = {"vocab_size": 5, "block_size": 4, "n_layer": 1, "n_head": 2, "n_embd": 8}
    return make("GPT", make("GPTConfig", **{**sizes, **options}))


def tensor(data: Any) -> Any:
    """A Tensor."""
    return import_module("tinytorch.core.tensor").Tensor(data)


def write(ids: Any, count: Any = 2, **knobs: Any) -> Any:
    """Generate with a small GPT."""
    return gpt().generate(ids, count, **knobs)


def config(**options: Any) -> Any:
    """A configuration."""
    return make("GPTConfig", **options)


CASES = [
    # Layers
    (
        "layer norm of other features",
        lambda: make("LayerNorm", 4)(tensor(np.ones((2, 3)))),
        ValueError,
        ["(2, 3)", "(4,)", "normalized_shape"],
    ),
    (
        "layer norm of more axes than there are",
        lambda: make("layer_norm", tensor(np.ones(3)), (2, 3)),
        ValueError,
        ["(3,)", "(2, 3)"],
    ),
    ("layer norm of nothing", lambda: make("LayerNorm", ()), ValueError, ["normalized_shape"]),
    ("layer norm of size 0", lambda: make("LayerNorm", 0), ValueError, ["is 0", "at least 1"]),
    (
        "layer norm with a weight of another shape",
        lambda: make("layer_norm", tensor(np.ones((2, 4))), 4, tensor(np.ones(3))),
        ValueError,
        ["(3,)", "(4,)", "weight"],
    ),
    (
        "heads that do not divide",
        lambda: make("TransformerBlock", 10, 3),
        ValueError,
        ["10", "3 heads"],
    ),
    (
        "dropout above 1",
        lambda: make("FeedForward", 4, dropout=1.5),
        ValueError,
        ["1.5", "from 0 to 1"],
    ),
    (
        "a block fed with other features",
        lambda: make("TransformerBlock", 8, 2)(tensor(np.ones((1, 3, 6)))),
        ValueError,
        ["(1, 3, 6)", "8"],
    ),
    # Configuration
    ("no tokens", lambda: config(vocab_size=0), ValueError, ["vocab_size is 0", "at least 1"]),
    ("no layers", lambda: config(n_layer=0), ValueError, ["n_layer is 0"]),
    ("half a layer", lambda: config(n_layer=2.5), ValueError, ["n_layer is 2.5", "whole number"]),
    ("block of -1", lambda: config(block_size=-1), ValueError, ["block_size is -1"]),
    (
        "n_embd that does not divide",
        lambda: config(n_embd=10, n_head=3),
        ValueError,
        ["n_embd 10", "3 heads", "divides"],
    ),
    ("dropout of everything", lambda: config(dropout=1.0), ValueError, ["dropout is 1.0"]),
    ("an unknown setting", lambda: config(n_heads=2), TypeError, ["n_heads"]),
    # The model
    ("id out of range", lambda: gpt()([[0, 5]]), IndexError, ["5", "out of range", "0 to 4"]),
    ("negative id", lambda: gpt()([[0, -1]]), IndexError, ["-1", "out of range"]),
    ("ids that are no whole numbers", lambda: gpt()([[0.5]]), TypeError, ["whole numbers"]),
    (
        "sequence longer than the block",
        lambda: gpt()(np.zeros((1, 5), int)),
        ValueError,
        ["5 tokens", "block_size 4", "crop"],
    ),
    ("ids without a batch", lambda: gpt()([0, 1]), ValueError, ["(2,)", "(batch, tokens)"]),
    ("no tokens to read", lambda: gpt()(np.zeros((1, 0), int)), ValueError, ["(1, 0)"]),
    (
        "targets of another shape",
        lambda: gpt()([[0, 1]], [[1, 2, 3]]),
        ValueError,
        ["(1, 3)", "(1, 2)", "one target for each token"],
    ),
    (
        "target out of range",
        lambda: gpt()([[0, 1]], [[1, 5]]),
        ValueError,
        ["label 5", "5 classes"],
    ),
    # Text
    (
        "a text too short for a window",
        lambda: make("random_windows", np.arange(4), 4, 2),
        ValueError,
        ["(4,)", "at least 5"],
    ),
    (
        "tokens in rows",
        lambda: make("random_windows", np.ones((9, 9)), 4, 2),
        ValueError,
        ["(9, 9)", "one sequence"],
    ),
    # Generation
    ("nothing to begin with", lambda: write([]), ValueError, ["at least one token"]),
    ("beginning out of range", lambda: write([1, 7]), IndexError, ["7", "out of range"]),
    ("beginning of three axes", lambda: write(np.zeros((1, 1, 1), int)), ValueError, ["(1, 1, 1)"]),
    ("fewer than no tokens", lambda: write([1], -1), ValueError, ["max_new_tokens is -1"]),
    ("negative temperature", lambda: write([1], temperature=-0.5), ValueError, ["-0.5", "greedy"]),
    ("temperature NaN", lambda: write([1], temperature=np.nan), ValueError, ["temperature is nan"]),
    ("top_k of 0", lambda: write([1], top_k=0), ValueError, ["top_k is 0", "at least 1"]),
    ("top_k of 1.5", lambda: write([1], top_k=1.5), ValueError, ["top_k is 1.5"]),
    ("top_p of 0", lambda: write([1], top_p=0), ValueError, ["top_p is 0"]),
    ("top_p above 1", lambda: write([1], top_p=1.01), ValueError, ["top_p is 1.01", "at most 1"]),
]
