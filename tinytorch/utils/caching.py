"""Refusals of module 17: each names the value that is wrong and what to give instead."""

from typing import Any

import numpy as np

from tinytorch.utils.checks import whole


def cache_shape(config: Any, batch: Any, capacity: Any) -> tuple[int, int, int, int, int]:
    """Return (layers, batch, heads, capacity, features of a head), or refuse a size."""
    batch, capacity = whole("batch", batch, 1), whole("capacity", capacity, 1)
    if capacity > config.block_size:
        raise ValueError(
            f"a capacity of {capacity} tokens is more than the model can read, block_size "
            f"{config.block_size}; give {config.block_size} or less"
        )
    return config.n_layer, batch, config.n_head, capacity, config.n_embd // config.n_head


def check_room(cache: Any, layer: int, k: Any, v: Any) -> None:
    """Require a layer that exists, keys and values of the cache's sizes, and room for them."""
    layers, batch, heads, capacity, size = cache.keys.shape
    if not 0 <= layer < layers:
        raise IndexError(f"layer {layer} is out of range: the cache has layers 0 to {layers - 1}")
    wanted = (batch, heads, k.shape[2] if len(k.shape) == 4 else "tokens", size)
    for name, part in (("keys", k), ("values", v)):
        if part.shape != wanted:
            raise ValueError(
                f"cannot append {name} of shape {part.shape}; this cache holds {wanted}: (batch, "
                "heads, tokens, features of a head), as many values as keys"
            )
        if part.dtype != cache.keys.dtype:
            raise TypeError(
                f"cannot append {name} of {part.dtype} to a cache of {cache.keys.dtype}; make it "
                "with KVCache(…, dtype=) of the model's parameters"
            )
    length, new = cache.lengths[layer], k.shape[2]
    if length + new > capacity:
        raise ValueError(
            f"no room for {new} more tokens: {length} of {capacity} are taken; crop the cache, or "
            "make one with a larger capacity"
        )


def check_crop(cache: Any, length: Any) -> None:
    """Require a length that the cache has."""
    whole("length", length, 0)
    if length > cache.length:
        raise ValueError(
            f"cannot crop {cache.length} tokens to {length}; give 0 to {cache.length}: what was "
            "never appended cannot be kept"
        )


def check_reading(model: Any, ids: Any, cache: Any) -> np.ndarray:
    """Return new ids (B, T) as an array, if they fit the cache and the places of the model."""
    ids = np.asarray(getattr(ids, "data", ids) if not isinstance(ids, np.ndarray) else ids)
    if ids.ndim != 2 or len(ids) != cache.batch or not ids.shape[1]:
        raise ValueError(
            f"token ids have shape {ids.shape}; give (batch, tokens) of at least one new token for "
            f"each of the {cache.batch} texts in the cache"
        )
    end = cache.length + ids.shape[1]
    if end > min(cache.capacity, model.config.block_size):
        raise ValueError(
            f"cannot read {ids.shape[1]} tokens after {cache.length}: the cache has room for "
            f"{cache.capacity}, the model for block_size {model.config.block_size}; reset the "
            "cache and read the newest tokens again"
        )
    return ids
