"""The given part of bundles: the closed list of layers, and numbers as bytes and back.

`tinytorch.core.capstone` builds on this: how a network becomes data, what is checked and in which
order is there. Here settings and arrays are turned into plain data, and refused if they are none.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tinytorch.tree import live_state

Fields = list[list[Any]]
LAYERS = {  # type: the module of tinytorch.core that has it, its settings
    "Linear": ("layers", "in_features out_features bias"),
    "Flatten": ("layers", "start_dim end_dim"),
    "Dropout": ("layers", "p"),
    "ReLU": ("activations", ""),
    "LeakyReLU": ("activations", "negative_slope"),
    "Sigmoid": ("activations", ""),
    "Tanh": ("activations", ""),
    "GELU": ("activations", "approximate"),
    "SiLU": ("activations", ""),
    "Softmax": ("activations", "dim"),
    "LogSoftmax": ("activations", "dim"),
    "Conv2d": (
        "spatial",
        "in_channels out_channels kernel_size stride padding dilation groups bias",
    ),
    "BatchNorm2d": ("spatial", "num_features eps momentum"),
    "MaxPool2d": ("spatial", "kernel_size stride padding dilation"),
    "AvgPool2d": ("spatial", "kernel_size stride padding count_include_pad"),
    "AdaptiveAvgPool2d": ("spatial", "output_size"),
    "GlobalAvgPool2d": ("spatial", ""),
    "QuantizedLinear": ("quantization", "in_features out_features bias"),
    "QuantizedConv2d": (
        "quantization",
        "in_channels out_channels kernel_size stride padding dilation groups bias",
    ),
    "Folded": ("quantization", ""),
}
# What reading a file that was made to look right can raise.
PROBLEMS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError,
            RecursionError)  # fmt: skip
DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")
KINDS_OF_SETTING = bool | int | float | str | None
LARGEST_ARRAY = 1 << 40  # elements; a larger product of sizes is nonsense, not a model


@dataclass
class BundleFile:
    """A network with what a user must know of it, and the file it is kept in.

    Attributes:
        name, version: Which model this is.
        input_shape: Of one example, without the batch.
        metadata: Anything JSON can hold: accuracy, data, author.
        checksum: SHA-256 of the file's content, once saved or loaded.
    """

    model: Any
    name: str
    input_shape: tuple[int, ...]
    version: str = "1"
    metadata: dict[str, Any] = field(default_factory=dict)
    checksum: str = ""

    def pack(self) -> bytes:
        """Return the file as bytes."""
        arrays, payload = pack_arrays(live_state(self.model))
        header = {"name": self.name, "version": self.version, "metadata": self.metadata}
        header |= {"input_shape": list(self.input_shape), "arrays": arrays}
        data = seal(header | {"architecture": describe(self.model)}, payload, self.format)
        self.checksum = checksum(data)
        return data

    @classmethod
    def unpack(cls, data: bytes, source: Any = None) -> Any:
        """Undo `pack`; what does not fit together is a ValueError, like a damaged file."""
        header, payload = cls.unseal(data, source)
        try:
            state = unpack_arrays(header["arrays"], payload)
            bundle = cls.of_header(cls.build(header["architecture"]), header)
            tensors = live_state(bundle.model)
            check_state(tensors, state)
        except PROBLEMS as error:
            broken(source, f"its content does not fit together ({error})")
        for name, tensor in tensors.items():
            tensor.data = state[name]  # keeps the dtype of the file: the same bits
        bundle.checksum = checksum(data)
        return bundle

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        data = self.pack()
        import_module("tinytorch.core.training").write_atomically(path, lambda f: f.write(data))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Any:
        """Read a file that `save` wrote; whatever is wrong with its content is a ValueError."""
        return cls.unpack(Path(path).read_bytes(), path)

    @classmethod
    def of_header(cls, model: Any, header: Mapping[str, Any]) -> Any:
        """Make a bundle of a network and the header it came with."""
        if not hasattr(model, "named_modules"):
            raise ValueError("its architecture is no network but a single function")
        name, version, shape = header["name"], header["version"], header["input_shape"]
        if not isinstance(name, str) or not isinstance(version, str):
            raise ValueError(f"its name is {name!r} and its version {version!r}, not texts")
        if not isinstance(shape, list) or any(type(n) is not int or n < 1 for n in shape):
            raise ValueError(f"its input_shape is {shape!r}, not a list of sizes")
        return cls(model, name, tuple(shape), version, header["metadata"])


def checksum(data: bytes) -> str:
    """Return the SHA-256 that the first line of a bundle states."""
    return data[:200].split(b" ", 3)[2].decode()


def layer_class(kind: str) -> type:
    """Return the class of a type in `LAYERS`."""
    return getattr(import_module(f"tinytorch.core.{LAYERS[kind][0]}"), kind)


def broken(source: Any, fact: str, mend: str = "copy or save it again") -> NoReturn:
    """Refuse a file: its name, what is wrong with it, what to do."""
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "these bytes"
    raise ValueError(f"cannot load {name}: {fact}; {mend}")


def plain_setting(value: Any) -> Any:
    """Return a layer's setting as JSON knows it: tuples are lists."""
    if hasattr(value, "numpy"):
        return None
    if isinstance(value, list | tuple):
        return [plain_setting(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, KINDS_OF_SETTING):
        raise TypeError(f"cannot describe {value!r} of type {type(value).__name__} as data")
    return value


def seal(header: Mapping[str, Any], payload: bytes, version: int) -> bytes:
    """Return a whole file: format version, SHA-256, two lengths; header as JSON; payload."""
    text = json.dumps(header, allow_nan=False).encode()
    digest = hashlib.sha256(text + payload).hexdigest()
    first = f"tinytorch-bundle {version} {digest} {len(text)} {len(payload)}\n"
    return first.encode() + text + payload


def first_line(data: bytes, source: Any, version: int) -> tuple[int, str, int, bytes]:
    """Return (format version, SHA-256, bytes of the header, all that follows the first line).

    A version above `version` may have another first line: then only the version is read.
    """
    if not (start := re.match(rb"tinytorch-bundle (\d{1,9})[ \n]", data)):
        mend = "give a file that ModelBundle.save wrote"
        broken(source, f"it begins with {data[:16]!r}, not with a bundle's first line", mend)
    if int(start[1]) > version:
        return int(start[1]), "", 0, b""
    line = re.match(rb"tinytorch-bundle (\d+) ([0-9a-f]{64}) (\d{1,15}) (\d{1,15})\n", data)
    if line is None:
        broken(source, "its first line is damaged")
    content = data[line.end() :]
    wanted = int(line[3]) + int(line[4])
    if len(content) != wanted:
        broken(source, f"{len(content):,} of {wanted:,} bytes follow the first line")
    return int(line[1]), line[2].decode(), int(line[3]), content


def describe(model: Any) -> dict[str, Any]:
    """Write a network down as data: {"type": "Linear", "in_features": 2, …}, or the layers by name.

    A Sequential, or a subclass such as MLP that keeps its `forward`, is described by its layers.

    Raises:
        TypeError: Names the class of a layer that is not, exactly, that of a type in `LAYERS`.
    """
    kind, chain = type(model), import_module("tinytorch.core.layers").Sequential
    if isinstance(model, chain) and kind.forward is chain.forward:
        layers = {name: describe(getattr(model, name)) for name in model._names}
        return {"type": "Sequential", "layers": layers}
    if kind.__name__ not in LAYERS or layer_class(kind.__name__) is not kind:
        raise TypeError(
            f"cannot bundle a {kind.__name__}; make it of Sequential, {', '.join(LAYERS)}"
        )
    return {"type": kind.__name__, **read_settings(model)}


def checked_name(name: str, owner: type) -> str:
    """Return the name of a layer; refuse one that would hide an attribute of its owner."""
    if not re.fullmatch(r"[0-9]+|[A-Za-z][A-Za-z0-9_]*", name) or hasattr(owner, name):
        raise ValueError(f"{name!r} cannot be the name of a layer")
    return name


def read_settings(layer: Any) -> dict[str, Any]:
    """Return a layer's settings by name; a few layers keep theirs together."""
    names = LAYERS[type(layer).__name__][1].split()
    if hasattr(layer, "sizes") and hasattr(layer, "geometry"):
        found = [*layer.sizes, *layer.geometry, layer.bias]
    else:
        kept = getattr(layer, "settings", None)
        found = [kept[name] if kept else getattr(layer, name) for name in names]
    settings = {name: plain_setting(value) for name, value in zip(names, found, strict=True)}
    return settings | ({"bias": layer.bias is not None} if "bias" in settings else {})


def checked_settings(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the layer takes them; refuse unknown, missing and impossible ones."""
    fields = LAYERS[kind][1]
    if set(settings) != set(fields.split()):
        raise ValueError(f"a {kind} has the settings {fields or 'none'}, not {', '.join(settings)}")
    check_size(kind, settings)
    return {name: setting(value) for name, value in settings.items()}


def setting(value: Any) -> Any:
    """Undo `plain_setting`, and refuse what is no setting: objects, lists in lists."""
    if isinstance(value, list) and not any(isinstance(item, list) for item in value):
        return tuple(setting(item) for item in value)
    if not isinstance(value, KINDS_OF_SETTING) or value != value:
        raise ValueError(f"{value!r} is no setting of a layer")
    return value


def check_size(kind: str, settings: Mapping[str, Any]) -> None:
    """Refuse sizes that no model has, before a layer tries to allocate them."""
    numbers = [
        n for value in settings.values() for n in (value if isinstance(value, list) else [value])
    ]
    sizes = [abs(n) for n in numbers if isinstance(n, int) and not isinstance(n, bool) and n]
    if math.prod(sizes) > LARGEST_ARRAY:
        raise ValueError(f"a {kind} with {dict(settings)} is too large")


def pack_arrays(state: Mapping[str, Any]) -> tuple[Fields, bytes]:
    """Return [name, dtype, shape] of each array, and the bytes of all, little-endian, in order."""
    fields, parts = [], []
    for name, value in state.items():
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        if array.dtype.name not in DTYPES:
            raise TypeError(f"cannot bundle {name} of dtype {array.dtype}; use one of {DTYPES}")
        fields.append([name, array.dtype.name, list(array.shape)])
        parts.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return fields, b"".join(parts)


def unpack_arrays(fields: Fields, payload: bytes) -> dict[str, np.ndarray]:
    """Undo `pack_arrays`; refuse fields that do not cover the payload exactly."""
    state, start = {}, 0
    for name, dtype, shape in fields:
        if dtype not in DTYPES or any(not isinstance(n, int) or n < 0 for n in shape):
            raise ValueError(f"array {name!r} has dtype {dtype!r} and shape {shape!r}")
        kind = np.dtype(dtype).newbyteorder("<")
        end = start + math.prod(shape) * kind.itemsize
        if end > len(payload):
            raise ValueError(f"array {name!r} ends at byte {end:,} of {len(payload):,}")
        array = np.frombuffer(payload[start:end], kind).reshape(shape)
        state[name], start = array.astype(dtype), end
    if start != len(payload):
        raise ValueError(f"{len(payload) - start:,} bytes belong to no array")
    return state


def check_state(expected: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> None:
    """Require the arrays of a state to be those that the architecture has."""
    names: Iterable[str] = [*expected, *(n for n in state if n not in expected)]
    for name in names:
        wanted = expected[name].shape if name in expected else "no such array"
        found = state[name].shape if name in state else "no such array"
        if tuple(wanted) != tuple(found):
            raise ValueError(f"{name}: the architecture has {wanted}, the file {found}")
