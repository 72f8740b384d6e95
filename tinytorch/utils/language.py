"""What surrounds module 13: its sizes, refusals that name what to give instead, the way to 17."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytorch.utils.checks import whole
from tinytorch.utils.sequences import checked_ids


def feature_shape(shape: int | Iterable[int]) -> tuple[int, ...]:
    """Return a shape of at least one axis, each of at least 1."""
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if not sizes:
        raise ValueError("normalized_shape is empty; name at least the last axis")
    return tuple(whole("normalized_shape", size, 1) for size in sizes)


def check_norm(x: Any, shape: tuple[int, ...], weight: Any, bias: Any) -> None:
    """Require that the last axes of x are `shape`, and that scale and shift have it too."""
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"cannot normalise shape {x.shape} along {shape}: its last axes differ; give "
            "normalized_shape the sizes of the last axes of the input"
        )
    for name, part in (("weight", weight), ("bias", bias)):
        if part is not None and part.shape != shape:
            raise ValueError(f"{name} has shape {part.shape}; give it normalized_shape {shape}")


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
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            whole(name, getattr(self, name), 1)
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd {self.n_embd} does not divide into {self.n_head} heads; choose an n_head "
                "that divides it"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; give a number from 0 to below 1")


def checked_sequence(ids: Any, block_size: int) -> Any:
    """Return ids with `.shape` (B, T), or refuse them."""
    ids = ids if hasattr(ids, "shape") else np.asarray(ids)
    if len(ids.shape) != 2 or not ids.shape[1]:
        raise ValueError(f"token ids have shape {ids.shape}; give (batch, tokens), at least one")
    if ids.shape[1] > block_size:
        raise ValueError(
            f"a sequence of {ids.shape[1]} tokens is longer than block_size {block_size}; crop it "
            f"to ids[:, -{block_size}:], or make a larger GPTConfig(block_size=…)"
        )
    return ids


def check_targets(targets: Any, ids: Any) -> None:
    """Require a target for each token."""
    if np.shape(targets) != np.shape(ids):
        shapes = f"{np.shape(targets)}, the ids {np.shape(ids)}"
        raise ValueError(f"targets have shape {shapes}; give one target for each token")


def one_sequence(tokens: Any, block_size: int) -> np.ndarray:
    """Return the tokens (N,) of a text that has room for a window and its targets."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or len(tokens) <= block_size:
        raise ValueError(
            f"cannot cut windows of {block_size} tokens and their targets from shape "
            f"{tokens.shape}; give one sequence of at least {block_size + 1} tokens"
        )
    return tokens


def check_choice(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse knobs that mean nothing."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; give 0 (greedy) or a positive number")
    if top_k is not None:
        whole("top_k", top_k, 1)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; give a probability above 0, at most 1")


def beginning(ids: Any, vocab_size: int, max_new_tokens: int) -> np.ndarray:
    """Return the ids (B, T) or (T,) to write on after, as int64."""
    whole("max_new_tokens", max_new_tokens, 0)
    ids = checked_ids(ids, vocab_size)
    if ids.ndim not in (1, 2) or not ids.shape[-1]:
        raise ValueError(
            f"cannot write on after shape {ids.shape}; give (batch, tokens) or (tokens,), with at "
            "least one token"
        )
    return ids


def reader_of(model: Any, use_cache: bool) -> Any:
    """Return what guesses the next token: the model, or a reader with a memory, by module 17."""
    if not use_cache:
        return model
    try:
        from tinytorch.core.memoization import CachedReader
    except ModuleNotFoundError as error:
        if error.name != "tinytorch.core.memoization":
            raise
        raise NotImplementedError("module 17: CachedReader; build memoization first") from None
    return CachedReader(model)
