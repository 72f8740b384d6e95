"""Nested values in one file that cannot contain code: a zip of JSON and raw arrays.

`checkpoint.json` holds numbers, texts and the structure, `arrays/0.npy` and so on the numbers of
each array. Nothing is pickled, whatever the file is called. The zip's checksums tell a damaged
file, the first entry a foreign one. Dictionaries are written as lists of pairs, since their keys
may be numbers, which JSON does not know.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

FORMAT, VERSION, MANIFEST = "tinytorch-checkpoint", 1, "checkpoint.json"


def write_state(file: BinaryIO, content: Any) -> None:
    """Write nested values into an open file.

    Args:
        file: Open for writing bytes; it need not be seekable.
        content: None, numbers, texts, arrays, tensors; lists, tuples and dictionaries of them.

    Raises:
        TypeError: If there is anything else in the content; then nothing was written.
    """
    arrays: list[np.ndarray] = []
    manifest = {"format": FORMAT, "version": VERSION, "content": _pack(content, arrays)}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest))
        for i, array in enumerate(arrays):
            with archive.open(zipfile.ZipInfo(f"arrays/{i}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def read_state(path: str | os.PathLike[str]) -> Any:
    """Read back what `write_state` wrote; tensors come back as arrays.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no such file, a damaged one, or of a later version.
    """
    problems = (zipfile.BadZipFile, OSError, ValueError, LookupError, TypeError, EOFError)
    problems += (AttributeError, MemoryError, RuntimeError)  # all of them seen on damaged bytes
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _unpack(_manifest(archive)["content"], lambda i: _array(archive, i))
        except problems as error:
            raise ValueError(
                f"cannot load {os.fspath(path)}: it is not a whole TinyTorch checkpoint ({error}); "
                "use another file, or save it again"
            ) from None


def _manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the structure; refuse what another program wrote."""
    if MANIFEST not in archive.namelist():
        raise ValueError(f"a zip without {MANIFEST}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError("compressed entries, which could be of any size")
    manifest = json.loads(archive.read(MANIFEST))
    if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
        raise ValueError(f"format {manifest['format']} {manifest['version']}, not {VERSION}")
    return manifest


def _array(archive: zipfile.ZipFile, number: int) -> np.ndarray:
    """Read one array; its checksum is verified on the way."""
    return np.load(io.BytesIO(archive.read(f"arrays/{number:d}.npy")), allow_pickle=False)


def _pack(value: Any, arrays: list[np.ndarray]) -> Any:
    """Write a nested value as JSON knows it, its arrays appended to a list."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list):
        return [_pack(item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, arrays) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_pack(k, arrays), _pack(v, arrays)] for k, v in value.items()]}
    array = value.numpy() if hasattr(value, "numpy") else value
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        kind = type(value).__name__
        raise TypeError(f"cannot save a {kind}; give numbers, texts, arrays, lists or dictionaries")
    arrays.append(array)
    return {"array": len(arrays) - 1}


def _unpack(value: Any, array: Callable[[int], np.ndarray]) -> Any:
    """Undo `_pack`."""
    if isinstance(value, list):
        return [_unpack(item, array) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return array(content)
    if kind == "tuple":
        return tuple(_unpack(item, array) for item in content)
    if kind == "dict":
        return {_unpack(k, array): _unpack(v, array) for k, v in content}
    raise ValueError(f"an unknown kind of value, {kind!r}")
