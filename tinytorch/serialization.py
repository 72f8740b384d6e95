"""Save and load nested values with tensors: `torch.save` and `torch.load` without pickle.

A file written here cannot run anything when it is read. PyTorch's own files are not read.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.utils.statefile import read_state, write_state


def save(obj: Any, f: str | os.PathLike[str]) -> None:
    """Write a state (dicts, lists, tuples, numbers, texts, arrays, tensors) whole or not at all.

    Raises:
        TypeError: If it holds anything else.
    """
    path = Path(f)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "xb") as file:
            write_state(file, obj)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(f: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote; arrays come back as tensors.

    Raises:
        ValueError: If the file is damaged or another program's.
    """
    return _as_tensors(read_state(f))


def _as_tensors(value: Any) -> Any:
    """Turn the arrays inside a nested value into tensors."""
    if isinstance(value, dict):
        return {key: _as_tensors(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_tensors(item) for item in value)
    if isinstance(value, np.ndarray):
        from tinytorch.core.tensor import Tensor

        return Tensor(value)
    return value
