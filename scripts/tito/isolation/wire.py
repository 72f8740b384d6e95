"""The wire format between the grader and the graded: values to bytes and back.

A frame is a length (four bytes, little-endian) and that many bytes. What stands in it is a row
of values, each a tag (one byte) and its content. Nothing on the wire can execute anything:
there are numbers, texts, arrays, exact lists, tuples and dicts, and names of objects that stay
where they are. Both sides encode strictly: a subclass is never taken for its base.

The grader decodes with `decode`, which trusts nothing: sizes, counts and depths are checked
before memory is spent, and whatever is wrong becomes a `WireError`. This file is loaded by both
processes; it imports NumPy and the standard library only.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

FRAME_LIMIT = 64 << 20  # bytes of one frame
ITEM_LIMIT = 1_000_000  # values in one frame, packed numbers included
DEPTH_LIMIT = 32  # lists in lists
INTEGER_LIMIT = 1024  # bytes of one integer; Python writes it out without complaint
RANK_LIMIT = 32  # axes of one array
TUPLE_KEY_LIMIT = 10_000  # dict keys that are tuples: their hash can be made to collide
PACK_FROM = 8  # a list of numbers at least this long is sent as one block

DTYPES = tuple(np.dtype(code) for code in "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split())
TYPES: tuple[type, ...] = (
    *(bool, int, float, complex, str, bytes, list, tuple, dict, set, object, type(None)),
    *(dtype.type for dtype in DTYPES),
    *(np.generic, np.number, np.integer, np.floating, np.ndarray),
)

Other = Callable[[Any, bytearray], None]


class WireError(ValueError):
    """Bytes that are not a message, or a value that cannot become one."""


_CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
_SCALARS = {dtype.type: code for code, dtype in enumerate(DTYPES)}
_SCALARS |= {np.dtype(char).type: _CODES[np.dtype(char)] for char in "bBhHiIlLqQ"}
_TYPE_CODES = {kind: code for code, kind in enumerate(TYPES)}
_U32 = struct.Struct("<I")
_I64 = struct.Struct("<q")
_U64 = struct.Struct("<Q")
_F64 = struct.Struct("<d")
_C128 = struct.Struct("<dd")
_TAG_I64 = struct.Struct("<Bq")
_TAG_U32 = struct.Struct("<BI")
_TAG_F64 = struct.Struct("<Bd")
_I64_MIN, _I64_MAX = -(1 << 63), (1 << 63) - 1

NONE, TRUE, FALSE, INT, BIG, FLOAT, COMPLEX, STR, BYTES, LIST, TUPLE, DICT = b"NTFiIfcsbltd"
PACKED_INTS, PACKED_FLOATS, ARRAY, SCALAR, DTYPE, TYPE = b"qpanyY"
HANDLE, REFERENCE, SLICE, ELLIPSIS = b"hrSE"


# Encoding: one function a type, found by exact type.


def _encode_none(value: None, out: bytearray, other: Other, depth: int) -> None:
    out.append(NONE)


def _encode_bool(value: bool, out: bytearray, other: Other, depth: int) -> None:
    out.append(TRUE if value else FALSE)


def _encode_int(value: int, out: bytearray, other: Other, depth: int) -> None:
    if _I64_MIN <= value <= _I64_MAX:
        out += _TAG_I64.pack(INT, value)
        return
    size = value.bit_length() // 8 + 1
    if size > INTEGER_LIMIT:
        raise WireError(f"an integer of {size} bytes is too large to cross")
    out += _TAG_U32.pack(BIG, size)
    out += value.to_bytes(size, "little", signed=True)


def _encode_float(value: float, out: bytearray, other: Other, depth: int) -> None:
    out += _TAG_F64.pack(FLOAT, value)


def _encode_complex(value: complex, out: bytearray, other: Other, depth: int) -> None:
    out.append(COMPLEX)
    out += _C128.pack(value.real, value.imag)


def _encode_str(value: str, out: bytearray, other: Other, depth: int) -> None:
    data = value.encode("utf-8", "surrogatepass")
    out += _TAG_U32.pack(STR, len(data))
    out += data


def _encode_bytes(value: bytes, out: bytearray, other: Other, depth: int) -> None:
    out += _TAG_U32.pack(BYTES, len(value))
    out += value


def _packed(items: tuple) -> tuple[int, bytes] | None:
    """The tag and the block for a row of plain numbers, or None when it is no such row."""
    kinds = set(map(type, items))
    if kinds == {float}:
        return PACKED_FLOATS, struct.pack(f"<{len(items)}d", *items)
    if kinds == {int}:
        try:
            return PACKED_INTS, struct.pack(f"<{len(items)}q", *items)
        except struct.error:
            return None
    return None


def _encode_row(tag: int) -> Callable[[Any, bytearray, Other, int], None]:
    def encode_row(value: list | tuple, out: bytearray, other: Other, depth: int) -> None:
        items = tuple(value)
        out += _TAG_U32.pack(tag, len(items))
        if len(items) >= PACK_FROM and (block := _packed(items)):
            out.append(block[0])
            out += block[1]
            return
        out.append(0)
        for item in items:
            _encode(item, out, other, depth + 1)

    return encode_row


def _encode_dict(value: dict, out: bytearray, other: Other, depth: int) -> None:
    items = tuple(value.items())
    out += _TAG_U32.pack(DICT, len(items))
    for key, item in items:
        if not _plain_key(key):
            raise WireError(f"a dict with a key of type {type(key).__name__} cannot cross")
        _encode(key, out, other, depth + 1)
        _encode(item, out, other, depth + 1)


def _encode_array(value: np.ndarray, out: bytearray, other: Other, depth: int) -> None:
    code = _CODES.get(value.dtype)
    if code is None:
        swapped = value.dtype.newbyteorder("=")
        if swapped not in _CODES:
            other(value, out)
            return
        code, value = _CODES[swapped], value.astype(swapped)
    if value.nbytes > FRAME_LIMIT:
        raise WireError(f"an array of {value.nbytes >> 20} MiB is too large to cross")
    out += bytes((ARRAY, code, value.ndim))
    out += struct.pack(f"<{value.ndim}Q", *value.shape)
    out += value.tobytes()


def _encode_scalar(value: np.generic, out: bytearray, other: Other, depth: int) -> None:
    out += bytes((SCALAR, _SCALARS[type(value)]))
    out += value.tobytes()


def _encode_slice(value: slice, out: bytearray, other: Other, depth: int) -> None:
    out.append(SLICE)
    for part in (value.start, value.stop, value.step):
        _encode(part, out, other, depth + 1)


_ENCODERS: dict[type, Callable[[Any, bytearray, Other, int], None]] = {
    type(None): _encode_none,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    complex: _encode_complex,
    str: _encode_str,
    bytes: _encode_bytes,
    list: _encode_row(LIST),
    tuple: _encode_row(TUPLE),
    dict: _encode_dict,
    np.ndarray: _encode_array,
    **dict.fromkeys(_SCALARS, _encode_scalar),
}


def _encode(value: Any, out: bytearray, other: Other, depth: int) -> None:
    encoder = _ENCODERS.get(type(value))
    if depth > DEPTH_LIMIT:
        raise WireError(f"a value nested more than {DEPTH_LIMIT} deep cannot cross")
    if encoder is not None:
        encoder(value, out, other, depth)
    elif isinstance(value, np.dtype) and value in _CODES:
        out += bytes((DTYPE, _CODES[value]))
    elif isinstance(value, type) and value in _TYPE_CODES:
        out += bytes((TYPE, _TYPE_CODES[value]))
    else:
        other(value, out)
    if len(out) > FRAME_LIMIT:
        raise WireError(f"a message of more than {FRAME_LIMIT >> 20} MiB cannot cross")


def encode(value: Any, out: bytearray, other: Other) -> None:
    """Append a value to a frame; `other` is asked to encode what is not plain.

    Raises:
        WireError: If the value is too large, too deep, or has a key that cannot cross.
    """
    _encode(value, out, other, 0)


def encode_request_extra(value: Any, out: bytearray, other: Other) -> bool:
    """Append what only a request may hold: a slice or an ellipsis. False if it is neither."""
    if type(value) is slice:
        _encode_slice(value, out, other, 0)
    elif value is Ellipsis:
        out.append(ELLIPSIS)
    else:
        return False
    return True


def encode_handle(number: int, name: str, out: bytearray) -> None:
    """Append the name of an object that stays with the worker."""
    out.append(HANDLE)
    out += _U64.pack(number)
    _encode_str(name, out, _refuse, 0)


def encode_reference(module: str, names: tuple[str, ...], out: bytearray) -> None:
    """Append a name that the worker looks up when it reads it: a module, then attributes."""
    out.append(REFERENCE)
    _encode_str(module, out, _refuse, 0)
    _encode_row(TUPLE)(names, out, _refuse, 0)


def _refuse(value: Any, out: bytearray) -> None:
    raise WireError(f"a value of type {type(value).__name__} cannot cross")


# Decoding: a reader walks over one frame; it never reads past the end.


def _plain_key(key: Any) -> bool:
    """Whether a dict key is of a kind whose hashes cannot be made to collide at will."""
    kind = type(key)
    if kind is int:
        return _I64_MIN <= key <= _I64_MAX
    if kind is tuple:
        return len(key) <= RANK_LIMIT and all(map(_plain_key, key))
    return kind in (str, bytes, float, bool, type(None))


class Reader:
    """Decode the values of one frame, one after the other.

    Args:
        data: The frame without its length.
        handle: Makes the object for a handle from its number and type name.
        reference: Looks up a reference. None on the grader's side, where neither references
            nor slices may stand, and where arrays are read-only.
        start: Where in `data` to begin.
    """

    __slots__ = ("at", "data", "handle", "items", "reference", "tuple_keys")

    def __init__(
        self,
        data: bytes,
        handle: Callable[[int, str], Any],
        reference: Callable[[str, tuple[str, ...]], Any] | None = None,
        start: int = 0,
    ):
        self.data = data
        self.at = start
        self.handle = handle
        self.reference = reference
        self.items = 0
        self.tuple_keys = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        at = self.at
        end = at + size
        if end > len(self.data):
            raise WireError("a message ends in the middle of a value")
        self.at = end
        return self.data[at:end]

    def unsigned(self) -> int:
        """The next four bytes as a number."""
        return _U32.unpack(self.take(4))[0]

    def count(self, number: int) -> int:
        """Account for `number` more values; refuse what the limits do not allow."""
        self.items += number
        if self.items > ITEM_LIMIT:
            raise WireError(f"a message holds more than {ITEM_LIMIT} values")
        return number

    def value(self, depth: int = 0) -> Any:
        """The next value."""
        if self.at >= len(self.data):
            raise WireError("a message ends where a value should begin")
        decoder = _DECODERS.get(self.data[self.at])
        if decoder is None:
            raise WireError(f"unknown tag {self.data[self.at]:#04x}")
        if depth > DEPTH_LIMIT:
            raise WireError(f"values nested more than {DEPTH_LIMIT} deep")
        self.at += 1
        return decoder(self, depth)

    def text(self) -> str:
        """The next value, which must be a string."""
        value = self.value()
        if type(value) is not str:
            raise WireError("a string was expected")
        return value

    def end(self) -> None:
        """Require that nothing is left."""
        if self.at != len(self.data):
            raise WireError("a message goes on after its end")


def _decode_int(reader: Reader, depth: int) -> int:
    return _I64.unpack(reader.take(8))[0]


def _decode_big(reader: Reader, depth: int) -> int:
    size = reader.unsigned()
    if size > INTEGER_LIMIT:
        raise WireError(f"an integer of {size} bytes")
    return int.from_bytes(reader.take(size), "little", signed=True)


def _decode_float(reader: Reader, depth: int) -> float:
    return _F64.unpack(reader.take(8))[0]


def _decode_complex(reader: Reader, depth: int) -> complex:
    return complex(*_C128.unpack(reader.take(16)))


def _decode_str(reader: Reader, depth: int) -> str:
    try:
        return reader.take(reader.unsigned()).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise WireError(f"a string that is not UTF-8: {error.reason}") from None


def _decode_bytes(reader: Reader, depth: int) -> bytes:
    return reader.take(reader.unsigned())


def _decode_list(reader: Reader, depth: int) -> list:
    number = reader.count(reader.unsigned())
    packing = reader.take(1)[0]
    if packing == PACKED_FLOATS:
        return list(struct.unpack(f"<{number}d", reader.take(8 * number)))
    if packing == PACKED_INTS:
        return list(struct.unpack(f"<{number}q", reader.take(8 * number)))
    if packing:
        raise WireError(f"unknown packing {packing:#04x}")
    return [reader.value(depth + 1) for _ in range(number)]


def _decode_tuple(reader: Reader, depth: int) -> tuple:
    return tuple(_decode_list(reader, depth))


def _decode_dict(reader: Reader, depth: int) -> dict:
    number = reader.count(reader.unsigned())
    result = {}
    for _ in range(number):
        key = reader.value(depth + 1)
        if not _plain_key(key):
            raise WireError(f"a dict key of type {type(key).__name__}")
        if type(key) is tuple:
            reader.tuple_keys += 1
            if reader.tuple_keys > TUPLE_KEY_LIMIT:
                raise WireError(f"more than {TUPLE_KEY_LIMIT} dict keys are tuples")
        result[key] = reader.value(depth + 1)
    if len(result) != number:
        raise WireError("a dict with a key twice")
    return result


def _dtype(reader: Reader) -> np.dtype:
    code = reader.take(1)[0]
    if code >= len(DTYPES):
        raise WireError(f"unknown dtype {code}")
    return DTYPES[code]


def _booleans_only(dtype: np.dtype, data: bytes) -> None:
    """A bool of another byte than 0 and 1 would not behave as one in NumPy."""
    if dtype == np.bool_ and data.translate(None, b"\x00\x01"):
        raise WireError("a boolean that is neither 0 nor 1")


def _decode_array(reader: Reader, depth: int) -> np.ndarray:
    dtype = _dtype(reader)
    rank = reader.take(1)[0]
    if rank > RANK_LIMIT:
        raise WireError(f"an array of {rank} axes")
    shape = struct.unpack(f"<{rank}Q", reader.take(8 * rank))
    size = dtype.itemsize
    for length in shape:
        size *= length
    data = reader.take(size)
    _booleans_only(dtype, data)
    # what the grader gets it cannot write to by mistake, thinking it were the student's own
    block = data if reader.reference is None else bytearray(data)
    try:
        return np.frombuffer(block, dtype).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise WireError(f"an array of shape {shape}: {error}") from None


def _decode_scalar(reader: Reader, depth: int) -> np.generic:
    dtype = _dtype(reader)
    data = reader.take(dtype.itemsize)
    _booleans_only(dtype, data)
    return np.frombuffer(data, dtype)[0]


def _decode_dtype(reader: Reader, depth: int) -> np.dtype:
    return _dtype(reader)


def _decode_type(reader: Reader, depth: int) -> type:
    code = reader.take(1)[0]
    if code >= len(TYPES):
        raise WireError(f"unknown type {code}")
    return TYPES[code]


def _decode_handle(reader: Reader, depth: int) -> Any:
    number = _U64.unpack(reader.take(8))[0]
    return reader.handle(number, reader.text())


def _decode_reference(reader: Reader, depth: int) -> Any:
    if reader.reference is None:
        raise WireError("a reference where only values may stand")
    return reader.reference(reader.text(), reader.value(depth + 1))


def _decode_slice(reader: Reader, depth: int) -> slice:
    if reader.reference is None:
        raise WireError("a slice where only values may stand")
    return slice(*(reader.value(depth + 1) for _ in range(3)))


def _decode_ellipsis(reader: Reader, depth: int) -> Any:
    if reader.reference is None:
        raise WireError("an ellipsis where only values may stand")
    return Ellipsis


_DECODERS: dict[int, Callable[[Reader, int], Any]] = {
    NONE: lambda reader, depth: None,
    TRUE: lambda reader, depth: True,
    FALSE: lambda reader, depth: False,
    INT: _decode_int,
    BIG: _decode_big,
    FLOAT: _decode_float,
    COMPLEX: _decode_complex,
    STR: _decode_str,
    BYTES: _decode_bytes,
    LIST: _decode_list,
    TUPLE: _decode_tuple,
    DICT: _decode_dict,
    ARRAY: _decode_array,
    SCALAR: _decode_scalar,
    DTYPE: _decode_dtype,
    TYPE: _decode_type,
    HANDLE: _decode_handle,
    REFERENCE: _decode_reference,
    SLICE: _decode_slice,
    ELLIPSIS: _decode_ellipsis,
}


# Frames.


def frame() -> bytearray:
    """Begin a frame: room for its length."""
    return bytearray(4)


def seal(out: bytearray) -> bytearray:
    """Write the length of a finished frame into its first bytes."""
    size = len(out) - 4
    if size > FRAME_LIMIT:
        raise WireError(f"a message of more than {FRAME_LIMIT >> 20} MiB cannot cross")
    _U32.pack_into(out, 0, size)
    return out


def receive(read: Callable[[int], bytes]) -> bytes:
    """Read one frame, and require that nothing follows it: each side waits for the other.

    Args:
        read: Returns at most so many bytes, at least one, or b"" at the end.

    Raises:
        EOFError: If the other side closed before the frame was complete.
        WireError: If the length is too large, or bytes follow the frame.
    """
    data = read(65536)
    while 0 < len(data) < 4:
        more = read(65536)
        if not more:
            break
        data += more
    if len(data) < 4:
        raise EOFError("the other side closed")
    size = 4 + _U32.unpack_from(data)[0]
    if size - 4 > FRAME_LIMIT:
        raise WireError(f"a message of {size - 4} bytes is over the limit of {FRAME_LIMIT}")
    if len(data) < size:
        whole = bytearray(data)
        while len(whole) < size:
            data = read(min(size - len(whole), 1 << 20))
            if not data:
                raise EOFError("the other side closed in the middle of a message")
            whole += data
        data = bytes(whole)
    if len(data) > size:
        raise WireError("bytes follow a message: an answer that nobody asked for")
    return data[4:]
