"""The wire format between the grader and the graded: values to bytes and back.

A frame is a length (four bytes, little-endian) and that many bytes. What stands in it is a row
of values, each a tag (one byte) and its content. Nothing on the wire can execute anything:
there are numbers, texts, arrays, exact lists, tuples and dicts, and names of objects that stay
where they are. Both sides encode strictly: a subclass is never taken for its base.

The grader decodes with a `Reader`, which trusts nothing: sizes, counts and depths are checked
before memory is spent, and whatever is wrong becomes a `WireError`. This file is loaded by both
processes; it imports NumPy and the standard library only.
"""

import math
import struct
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

FRAME_LIMIT = 64 << 20  # bytes of one frame
ITEM_LIMIT = 1_000_000  # values in one frame, packed numbers included
DEPTH_LIMIT = 32  # lists in lists
INTEGER_LIMIT = 1024  # bytes of one integer; Python writes it out without complaint
RANK_LIMIT = 32  # axes of one array
TUPLE_KEY_LIMIT = 10_000  # dict keys that are tuples: their hash can be made to collide
PACK_FROM = 8  # a list of numbers at least this long is sent as one block
ALIGNMENT = 16  # arrays begin at a multiple of so many bytes, so that they are used in place
HEADER = 4  # bytes of a frame's length
BUFFER = 64 * 1024  # bytes of the buffer for small frames

DTYPES = tuple(np.dtype(code) for code in "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split())
TYPES: tuple[type, ...] = (
    *(bool, int, float, complex, str, bytes, list, tuple, dict, set, object, type(None)),
    *(dtype.type for dtype in DTYPES),
    *(np.generic, np.number, np.integer, np.floating, np.ndarray),
)


class Frame(bytearray):
    """A frame in the making: its bytes, and a count of what its reader will count."""

    __slots__ = ("items", "tuple_keys")

    def __init__(self) -> None:
        super().__init__(HEADER)  # room for the length
        self.items = 0
        self.tuple_keys = 0


Other = Callable[[Any, Frame], None]


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
NOT_PACKED = 0


# Encoding: one function a type, found by exact type.


def _encode_none(value: None, out: Frame, other: Other, depth: int) -> None:
    out.append(NONE)


def _encode_bool(value: bool, out: Frame, other: Other, depth: int) -> None:
    out.append(TRUE if value else FALSE)


def _encode_int(value: int, out: Frame, other: Other, depth: int) -> None:
    if _I64_MIN <= value <= _I64_MAX:
        out += _TAG_I64.pack(INT, value)
        return
    size = value.bit_length() // 8 + 1
    if size > INTEGER_LIMIT:
        raise WireError(f"an integer of {size} bytes is too large to cross")
    out += _TAG_U32.pack(BIG, size)
    out += value.to_bytes(size, "little", signed=True)


def _encode_float(value: float, out: Frame, other: Other, depth: int) -> None:
    out += _TAG_F64.pack(FLOAT, value)


def _encode_complex(value: complex, out: Frame, other: Other, depth: int) -> None:
    out.append(COMPLEX)
    out += _C128.pack(value.real, value.imag)


def _encode_str(value: str, out: Frame, other: Other, depth: int) -> None:
    data = value.encode("utf-8", "surrogatepass")
    _room(out, len(data))
    out += _TAG_U32.pack(STR, len(data))
    out += data


def _encode_bytes(value: bytes, out: Frame, other: Other, depth: int) -> None:
    _room(out, len(value))
    out += _TAG_U32.pack(BYTES, len(value))
    out += value


def _room(out: Frame, size: int) -> None:
    """Refuse what would make the frame too large, before it is copied."""
    if len(out) + size > FRAME_LIMIT:
        raise WireError(f"a value of {size >> 20} MiB is too large to cross")


def _counted(out: Frame, items: tuple) -> int:
    """The number of items, if the frame may hold so many more."""
    out.items += len(items)
    if out.items > ITEM_LIMIT:
        raise WireError(f"more than {ITEM_LIMIT} values are too many to cross")
    return len(items)


def _packed(items: tuple) -> bytes | None:
    """The packing and the block for a row of plain numbers, or None when it is no such row."""
    kinds = set(map(type, items))
    if kinds == {float}:
        return struct.pack(f"<B{len(items)}d", PACKED_FLOATS, *items)
    if kinds == {int}:
        try:
            return struct.pack(f"<B{len(items)}q", PACKED_INTS, *items)
        except struct.error:  # an integer of more than 64 bits
            return None
    return None


def _encode_items(items: tuple, out: Frame, other: Other, depth: int) -> None:
    if depth >= DEPTH_LIMIT:
        raise WireError(f"a value nested more than {DEPTH_LIMIT} deep cannot cross")
    _room(out, len(items))
    for item in items:
        _encode(item, out, other, depth + 1)


def _encode_row(tag: int) -> Callable[[Any, Frame, Other, int], None]:
    def encode_row(value: list | tuple, out: Frame, other: Other, depth: int) -> None:
        items = tuple(value)
        out += _TAG_U32.pack(tag, _counted(out, items))
        if len(items) >= PACK_FROM and (block := _packed(items)):
            _room(out, len(block))
            out += block
            return
        out.append(NOT_PACKED)
        _encode_items(items, out, other, depth)

    return encode_row


def _encode_dict(value: dict, out: Frame, other: Other, depth: int) -> None:
    items = tuple(value.items())
    out += _TAG_U32.pack(DICT, _counted(out, items))
    for key, _ in items:
        if not _plain_key(key):
            raise WireError(f"a dict with a key of type {type(key).__name__} cannot cross")
        out.tuple_keys += type(key) is tuple
    if out.tuple_keys > TUPLE_KEY_LIMIT:
        raise WireError(f"more than {TUPLE_KEY_LIMIT} tuples as keys are too many to cross")
    _encode_items(tuple(chain.from_iterable(items)), out, other, depth)


def _encode_array(value: np.ndarray, out: Frame, other: Other, depth: int) -> None:
    code = _CODES.get(value.dtype)
    if code is None:
        swapped = value.dtype.newbyteorder("=")
        if swapped not in _CODES:
            other(value, out)
            return
        code, value = _CODES[swapped], value.astype(swapped)
    _room(out, value.nbytes)
    out += bytes((ARRAY, code, value.ndim))
    out += struct.pack(f"<{value.ndim}Q", *value.shape)
    out += bytes(-len(out) % ALIGNMENT)
    if value.nbytes > 4096 and value.flags.c_contiguous:
        out += value.data.cast("B")  # one copy less than below
    else:
        out += value.tobytes()


def _encode_scalar(value: np.generic, out: Frame, other: Other, depth: int) -> None:
    out += bytes((SCALAR, _SCALARS[type(value)]))
    out += value.tobytes()


def _encode_slice(value: slice, out: Frame, other: Other, depth: int) -> None:
    out.append(SLICE)
    for part in (value.start, value.stop, value.step):
        _encode(part, out, other, depth + 1)


_ENCODERS: dict[type, Callable[[Any, Frame, Other, int], None]] = {
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


def _encode(value: Any, out: Frame, other: Other, depth: int) -> None:
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        encoder(value, out, other, depth)
    elif isinstance(value, np.dtype) and value in _CODES:
        out += bytes((DTYPE, _CODES[value]))
    elif isinstance(value, type) and value in _TYPE_CODES:
        out += bytes((TYPE, _TYPE_CODES[value]))
    else:
        other(value, out)


def encode(value: Any, out: Frame, other: Other) -> None:
    """Append a value to a frame; `other` is asked to encode what is not plain.

    Raises:
        WireError: If the value is too large, too deep, or has a key that cannot cross.
    """
    _encode(value, out, other, 0)


def encode_request_extra(value: Any, out: Frame, other: Other) -> bool:
    """Append what only a request may hold: a slice or an ellipsis. False if it is neither."""
    if type(value) is slice:
        _encode_slice(value, out, other, 0)
    elif value is Ellipsis:
        out.append(ELLIPSIS)
    else:
        return False
    return True


def encode_handle(number: int, name: str, out: Frame) -> None:
    """Append the name of an object that stays with the worker."""
    out.append(HANDLE)
    out += _U64.pack(number)
    _encode_str(name, out, _refuse, 0)


def encode_reference(name: str, out: Frame) -> None:
    """Append a name that the worker looks up when it reads it, such as `tinytorch.nn:Linear`."""
    out.append(REFERENCE)
    _encode_str(name, out, _refuse, 0)


def _refuse(value: Any, out: Frame) -> None:
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
        data: The frame, its length included.
        at: Where in it to begin.
        handle: Makes the object for a handle from its number and type name.
        reference: Looks up a reference. None on the grader's side, where neither references
            nor slices may stand, and where arrays are read-only.
    """

    __slots__ = ("at", "data", "handle", "items", "reference", "tuple_keys")

    def __init__(
        self,
        data: bytes | memoryview,
        at: int,
        handle: Callable[[int, str], Any],
        reference: Callable[[str], Any] | None = None,
    ):
        self.data = data
        self.at = at
        self.handle = handle
        self.reference = reference
        self.items = 0
        self.tuple_keys = 0

    def value(self) -> Any:
        """The next value."""
        try:
            return _value(self, 0)
        except (struct.error, IndexError):
            raise WireError("a message ends in the middle of a value") from None

    def values(self) -> list[Any]:
        """All values up to the end of the frame."""
        values = []
        while self.at < len(self.data):
            values.append(self.value())
        return values

    def end(self) -> None:
        """Require that nothing is left."""
        if self.at != len(self.data):
            raise WireError("a message goes on after its end")


def _value(reader: Reader, depth: int) -> Any:
    at = reader.at
    decoder = _DECODERS.get(reader.data[at])
    if decoder is None:
        raise WireError(f"unknown tag {reader.data[at]:#04x}")
    reader.at = at + 1
    return decoder(reader, depth)


def _step(reader: Reader, size: int) -> int:
    """Move over the next bytes and return where they begin; they must be there."""
    at = reader.at
    reader.at = at + size
    if reader.at > len(reader.data):
        raise WireError("a message ends in the middle of a value")
    return at


def _take(reader: Reader, size: int) -> bytes | memoryview:
    at = _step(reader, size)
    return reader.data[at : at + size]


def _byte(reader: Reader) -> int:
    return reader.data[_step(reader, 1)]


def _unsigned(reader: Reader) -> int:
    return _U32.unpack_from(reader.data, _step(reader, 4))[0]


def _count(reader: Reader) -> int:
    """The number of values to come; refused when the limits do not allow them."""
    number = _unsigned(reader)
    reader.items += number
    if reader.items > ITEM_LIMIT:
        raise WireError(f"a message holds more than {ITEM_LIMIT} values")
    return number


def _deeper(depth: int) -> int:
    if depth >= DEPTH_LIMIT:
        raise WireError(f"values nested more than {DEPTH_LIMIT} deep")
    return depth + 1


def _decode_int(reader: Reader, depth: int) -> int:
    return _I64.unpack_from(reader.data, _step(reader, 8))[0]


def _decode_big(reader: Reader, depth: int) -> int:
    size = _unsigned(reader)
    if size > INTEGER_LIMIT:
        raise WireError(f"an integer of {size} bytes")
    return int.from_bytes(_take(reader, size), "little", signed=True)


def _decode_float(reader: Reader, depth: int) -> float:
    return _F64.unpack_from(reader.data, _step(reader, 8))[0]


def _decode_complex(reader: Reader, depth: int) -> complex:
    return complex(*_C128.unpack_from(reader.data, _step(reader, 16)))


def _decode_str(reader: Reader, depth: int) -> str:
    try:
        return str(_take(reader, _unsigned(reader)), "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise WireError(f"a string that is not UTF-8: {error.reason}") from None


def _decode_bytes(reader: Reader, depth: int) -> bytes:
    return bytes(_take(reader, _unsigned(reader)))


def _items(reader: Reader, depth: int) -> tuple | list:
    number = _count(reader)
    packing = _byte(reader)
    if packing == NOT_PACKED:
        inner = _deeper(depth)
        return [_value(reader, inner) for _ in range(number)]
    if packing not in (PACKED_INTS, PACKED_FLOATS):
        raise WireError(f"unknown packing {packing:#04x}")
    kind = "d" if packing == PACKED_FLOATS else "q"
    return struct.unpack_from(f"<{number}{kind}", reader.data, _step(reader, 8 * number))


def _decode_list(reader: Reader, depth: int) -> list:
    return list(_items(reader, depth))


def _decode_tuple(reader: Reader, depth: int) -> tuple:
    return tuple(_items(reader, depth))


def _decode_dict(reader: Reader, depth: int) -> dict:
    number = _count(reader)
    inner = _deeper(depth)
    result = {}
    for _ in range(number):
        key = _value(reader, inner)
        if not _plain_key(key):
            raise WireError(f"a dict key of type {type(key).__name__}")
        if type(key) is tuple:
            reader.tuple_keys += 1
            if reader.tuple_keys > TUPLE_KEY_LIMIT:
                raise WireError(f"more than {TUPLE_KEY_LIMIT} dict keys are tuples")
        result[key] = _value(reader, inner)
    if len(result) != number:
        raise WireError("a dict with a key twice")
    return result


def _dtype(reader: Reader) -> np.dtype:
    code = _byte(reader)
    if code >= len(DTYPES):
        raise WireError(f"unknown dtype {code}")
    return DTYPES[code]


def _block(reader: Reader, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The next bytes as an array, without a copy."""
    count = math.prod(shape)
    at = _step(reader, count * dtype.itemsize)
    if count == 0:
        return np.empty(shape, dtype)
    array = np.frombuffer(reader.data, dtype, count, at).reshape(shape)
    if dtype == np.bool_ and array.view(np.uint8).max() > 1:
        raise WireError("a boolean that is neither 0 nor 1")  # NumPy would misbehave
    return array


def _decode_array(reader: Reader, depth: int) -> np.ndarray:
    dtype = _dtype(reader)
    rank = _byte(reader)
    if rank > RANK_LIMIT:
        raise WireError(f"an array of {rank} axes")
    shape = struct.unpack_from(f"<{rank}Q", reader.data, _step(reader, 8 * rank))
    _step(reader, -reader.at % ALIGNMENT)
    try:
        array = _block(reader, dtype, shape)
    except (ValueError, OverflowError) as error:
        raise WireError(f"an array of shape {shape}: {error}") from None
    if reader.reference is None:
        array.flags.writeable = False  # else a test could take it for the student's own
        return array
    return array.copy()  # to the student it is an array like any other: writable, its own


def _decode_scalar(reader: Reader, depth: int) -> np.generic:
    return _block(reader, _dtype(reader), (1,))[0]


def _decode_dtype(reader: Reader, depth: int) -> np.dtype:
    return _dtype(reader)


def _decode_type(reader: Reader, depth: int) -> type:
    code = _byte(reader)
    if code >= len(TYPES):
        raise WireError(f"unknown type {code}")
    return TYPES[code]


def _text(reader: Reader) -> str:
    value = _value(reader, 0)
    if type(value) is not str:
        raise WireError("a string was expected")
    return value


def _decode_handle(reader: Reader, depth: int) -> Any:
    number = _U64.unpack_from(reader.data, _step(reader, 8))[0]
    return reader.handle(number, _text(reader))


def _decode_reference(reader: Reader, depth: int) -> Any:
    if reader.reference is None:
        raise WireError("a reference where only values may stand")
    return reader.reference(_text(reader))


def _decode_slice(reader: Reader, depth: int) -> slice:
    if reader.reference is None:
        raise WireError("a slice where only values may stand")
    inner = _deeper(depth)
    return slice(*(_value(reader, inner) for _ in range(3)))


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


def seal(out: Frame) -> Frame:
    """Write the length of a finished frame into its first bytes."""
    size = len(out) - HEADER
    if size > FRAME_LIMIT:
        raise WireError(f"a message of more than {FRAME_LIMIT >> 20} MiB cannot cross")
    _U32.pack_into(out, 0, size)
    return out


# A request: its length, a random number that only its answer may carry, the operation, and how
# many handles the grader has dropped; then their numbers and the operands.
# An answer: its length, the request's number, 0 for a result or 1 for an error; then the value.
REQUEST = struct.Struct("<I8sBI")
REPLY = struct.Struct("<I8sB")


def request(identity: bytes, code: int, dropped: list[int], operands: tuple, other: Other) -> Frame:
    """A sealed request."""
    out = Frame()
    out += REQUEST.pack(0, identity, code, len(dropped))[HEADER:]
    if dropped:
        out += struct.pack(f"<{len(dropped)}Q", *dropped)
    for operand in operands:
        _encode(operand, out, other, 0)
    return seal(out)


def read_request(reader: Reader) -> tuple[bytes, int, tuple[int, ...]]:
    """The identity, the operation and the dropped handles; the operands are left to read."""
    _, identity, code, count = REQUEST.unpack_from(reader.data)
    at = _step(reader, 8 * count)
    return identity, code, struct.unpack_from(f"<{count}Q", reader.data, at) if count else ()


def reply(identity: bytes, status: int, value: Any, other: Other) -> Frame:
    """A sealed answer."""
    out = Frame()
    out += REPLY.pack(0, identity, status)[HEADER:]
    _encode(value, out, other, 0)
    return seal(out)


def read_reply(
    data: bytes | memoryview, identity: bytes, handle: Callable[[int, str], Any]
) -> tuple[bool, Any]:
    """Whether the answer to a request reports an error, and its value.

    Raises:
        WireError: If it is no such answer.
    """
    if len(data) < REPLY.size:
        raise WireError("an answer that is too short")
    _, given, status = REPLY.unpack_from(data)
    if given != identity:
        raise WireError("an answer to something that was not asked")
    if status > 1:
        raise WireError("neither a result nor an error")
    reader = Reader(data, REPLY.size, handle)
    value = reader.value()
    reader.end()
    return status == 1, value


def receive(
    read_into: Callable[[memoryview], int | None], buffer: memoryview
) -> bytes | memoryview:
    """Read one frame, and require that nothing follows it: each side waits for the other.

    Args:
        read_into: Fills the beginning of what it is given and returns how many bytes came,
            0 at the end.
        buffer: Where small frames are put together.

    Returns:
        The frame, its length included.

    Raises:
        EOFError: If the other side closed before the frame was complete.
        WireError: If the length is too large, or bytes follow the frame.
    """
    have = _fill(read_into, buffer, 0, HEADER)
    size = HEADER + _U32.unpack_from(buffer)[0]
    if size > HEADER + FRAME_LIMIT:
        raise WireError(f"a message of {size - HEADER} bytes is over the limit of {FRAME_LIMIT}")
    if size > len(buffer):
        whole = memoryview(bytearray(size))
        whole[:have] = buffer[:have]
        _fill(read_into, whole, have, size)
        return whole
    have = _fill(read_into, buffer, have, size)
    if have > size:
        raise WireError("bytes follow a message: an answer that nobody asked for")
    return bytes(buffer[:size])


def _fill(
    read_into: Callable[[memoryview], int | None], target: memoryview, have: int, wanted: int
) -> int:
    """Read until at least `wanted` bytes are there; returns how many are."""
    while have < wanted:
        count = read_into(target[have:])
        if not count:
            raise EOFError("the other side closed" + (" in the middle of a message" * (have > 0)))
        have += count
    return have
