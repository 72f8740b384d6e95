"""The wire: what goes in comes out, and no bytes can make the grader's decoder misbehave."""

import contextlib
import itertools
import math
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tito.isolation import wire
from tito.isolation.errors import StudentError, clean, from_report

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def refuse(value, out):
    """Encode nothing but plain values."""
    raise wire.WireError(f"a {type(value).__name__}")


def encoded(value):
    """The bytes of one value."""
    out = wire.Frame()
    wire.encode(value, out, refuse)
    return bytes(out)[wire.HEADER :]


def decoded(data):
    """The value of some bytes, as the grader decodes them."""
    frame = bytes(wire.HEADER) + data
    reader = wire.Reader(frame, wire.HEADER, lambda number, name: (number, name))
    value = reader.value()
    reader.end()
    return value


def same(a, b):
    """Equal, of exactly the same types, all the way down; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, a.items(), b.items()))
    return a == b


ARRAYS = hnp.arrays(
    st.sampled_from(wire.DTYPES),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
NUMBERS = st.integers() | st.floats() | st.booleans() | st.complex_numbers()
PLAIN = (
    st.none()
    | NUMBERS
    | st.text(st.characters())
    | st.binary()
    | ARRAYS
    | ARRAYS.filter(lambda a: a.size).map(lambda a: a.flat[0])
    | st.sampled_from(wire.DTYPES)
    | st.sampled_from(wire.TYPES)
)
KEYS = st.text() | st.integers(-(1 << 63), (1 << 63) - 1) | st.none() | st.binary()
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner)
        | st.lists(st.integers(), min_size=8)
        | st.lists(st.floats(), min_size=8).map(tuple)
    ),
    max_leaves=12,
)


@given(VALUES)
@QUICK
def test_values_survive(value):
    assert same(decoded(encoded(value)), value)


@pytest.mark.parametrize(
    "value",
    ["\ud800 lone", "", "\x00", 2**63, -(2**63) - 1, 2**8000, float("inf"), -0.0, [[]] * 3],
)
def test_corner_values_survive(value):
    assert same(decoded(encoded(value)), value)


def test_arrays_of_any_layout_arrive_in_order_and_read_only():
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    got = decoded(encoded(array))
    np.testing.assert_array_equal(got, array)
    assert got.dtype == np.float32
    assert not got.flags.writeable


class Lying(float):
    def __eq__(self, other):
        return True

    __hash__ = float.__hash__


class Words(str):
    __slots__ = ()


class Rows(np.ndarray):
    pass


@pytest.mark.parametrize(
    "value",
    [
        Lying(1.0),
        Words("x"),
        np.zeros(3).view(Rows),
        np.array([object()]),
        np.array(["a"]),
        np.zeros(2, dtype=[("x", "f4")]),
        {1, 2},
        object(),
        Lying,
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_is_not_exactly_plain_is_left_to_the_caller(value):
    with pytest.raises(wire.WireError):
        encoded(value)


def nested(depth):
    """A list in a list in a list…"""
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [2 ** (8 * wire.INTEGER_LIMIT), nested(40), {(1, (2.5j,)): 0}, {2**70: 0}],
    ids=["integer", "depth", "key", "large key"],
)
def test_what_is_too_large_or_too_deep_is_refused(value):
    with pytest.raises(wire.WireError):
        encoded(value)


def test_an_array_over_the_limit_is_refused_before_it_is_copied():
    huge = np.broadcast_to(np.float32(0), (1 << 20, 1 << 20))
    with pytest.raises(wire.WireError, match="too large"):
        encoded(huge)


def count(number):
    """A length as it stands on the wire."""
    return struct.pack("<I", number)


BAD = {
    "nothing": b"",
    "unknown tag": b"\xff",
    "half a number": b"i\x01\x02",
    "half a text": b"s" + count(10) + b"abc",
    "not UTF-8": b"s" + count(2) + b"\xff\xfe",
    "text longer than memory": b"s" + count(0xFFFFFFFF),
    "a list of four billion": b"l" + count(0xFFFFFFFF) + b"\0",
    "a packed list over the limit": b"l" + count(wire.ITEM_LIMIT + 1) + b"q",
    "unknown packing": b"l" + count(1) + b"z",
    "too deep": (b"l" + count(1) + b"\0") * 60 + b"N",
    "many small lists": b"l"
    + count(2)
    + b"\0"
    + (b"l" + count(600_000) + b"q" + bytes(8 * 600_000)) * 2,
    "a huge integer": b"I" + count(wire.INTEGER_LIMIT + 1) + bytes(wire.INTEGER_LIMIT + 1),
    "a list as a key": b"d" + count(1) + b"l" + count(0) + b"\0" + b"N",
    "an array as a key": b"d" + count(1) + b"a\x03\x00" + bytes(4) + b"N",
    "a complex key": b"d" + count(1) + b"c" + bytes(16) + b"N",
    "a key twice": b"d" + count(2) + (b"i" + bytes(8) + b"N") * 2,
    "True and 1": b"d" + count(2) + b"TN" + b"i" + struct.pack("<q", 1) + b"N",
    "unknown dtype": b"y\x63",
    "unknown type": b"Y\xf0",
    "an array of 200 axes": b"a\x09\xc8" + bytes(1600),
    "an array of 2^200 bytes": b"a\x09\x04" + b"\xff" * 32,
    "an empty array of impossible shape": b"a\x09\x03" + b"\xff" * 16 + bytes(8),
    "an array that ends early": b"a\x09\x01" + struct.pack("<Q", 3) + bytes(8),
    "a boolean 2": b"n\x00\x02",
    "a boolean array of 7s": b"a\x00\x01" + struct.pack("<Q", 3) + b"\x07" * 3,
    "a slice": b"SNNN",
    "an ellipsis": b"E",
    "a reference": b"r" + b"s" + count(2) + b"m:",
    "a handle with a number for a name": b"h" + bytes(8) + b"N",
    "a value after the end": b"NN",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_malformed_values_are_refused(data):
    with pytest.raises(wire.WireError):
        decoded(data)


def test_tuples_as_keys_are_few():
    keys = {(i, i): None for i in range(wire.TUPLE_KEY_LIMIT + 1)}
    with pytest.raises(wire.WireError, match="keys"):
        decoded(encoded(keys))


@given(st.binary(max_size=200))
@QUICK
def test_random_bytes_are_refused_or_plain(data):
    with contextlib.suppress(wire.WireError):
        decoded(data)


TAGS = bytes(wire._DECODERS)


@given(VALUES, st.data())
@QUICK
def test_damaged_values_are_refused_or_plain(value, data):
    whole = bytearray(encoded([value, value]))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(
            st.sampled_from(TAGS) | st.integers(0, 255)
        )
    with contextlib.suppress(wire.WireError):
        decoded(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def reads(*chunks):
    """A connection that gives these chunks, then ends."""
    rest = list(chunks)

    def read_into(target):
        chunk = rest.pop(0) if rest else b""
        if len(chunk) > len(target):
            rest.insert(0, chunk[len(target) :])
            chunk = chunk[: len(target)]
        target[: len(chunk)] = chunk
        return len(chunk)

    return read_into


def received(*chunks):
    """The frame that these chunks make."""
    return bytes(wire.receive(reads(*chunks), memoryview(bytearray(16))))


def sealed(content):
    """A frame with this content."""
    out = wire.Frame()
    out += content
    return bytes(wire.seal(out))


@pytest.mark.parametrize("content", [b"hello", b"larger than the buffer"])
@pytest.mark.parametrize("cuts", [(), (1,), (3, 5), (4,), (2, 3, 4, 5, 6)])
def test_a_frame_may_arrive_in_pieces(cuts, content):
    whole = sealed(content)
    edges = [0, *cuts, len(whole)]
    chunks = [whole[a:b] for a, b in itertools.pairwise(edges)]
    assert received(*chunks) == whole


@pytest.mark.parametrize("chunks", [(), (b"\x01",), (b"\x05\0\0\0he",), (b"\x05\0\0\0", b"he")])
def test_an_early_end_is_an_end(chunks):
    with pytest.raises(EOFError):
        received(*chunks)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", count(wire.FRAME_LIMIT + 1) + b"x"])
def test_an_oversized_frame_is_refused_before_it_is_read(data):
    with pytest.raises(wire.WireError, match="limit"):
        received(data)


def test_bytes_after_a_frame_are_refused():
    with pytest.raises(wire.WireError, match="follow"):
        received(count(1) + b"a" + count(1) + b"b")


GOOD_REPORT = {"kind": "raised", "message": "m", "mro": ["ValueError"], "frames": [["f", 1, "g"]]}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "passed"},
        {"kind": None},
        {"message": 3},
        {"message": None},
        {"mro": []},
        {"mro": [1]},
        {"mro": "ValueError"},
        {"mro": ["A"] * 100},
        {"frames": [["f", "1", "g"]]},
        {"frames": [["f", 1]]},
        {"frames": [1]},
        {"frames": [["f", 1, "g"]] * 100},
        {"kind": "missing"},
        {"kind": "missing", "module": 1, "name": None, "nearest": []},
        {"kind": "missing", "module": "m", "name": 1, "nearest": []},
        {"kind": "missing", "module": "m", "name": "n", "nearest": [[]]},
    ],
    ids=str,
)
def test_reports_of_another_shape_are_refused(change):
    with pytest.raises((TypeError, ValueError, KeyError)):
        from_report(GOOD_REPORT | change, {})


@given(VALUES)
@QUICK
def test_any_value_as_a_report_is_refused_or_an_error(value):
    with contextlib.suppress(TypeError, ValueError, KeyError):
        assert isinstance(from_report(value, {}), StudentError)


def test_reports_are_joined_with_the_nearest_builtin_exception():
    from tito.isolation.errors import BUILTINS

    for name, builtin in BUILTINS.items():
        report = GOOD_REPORT | {"mro": ["Mine", name, "Exception"], "message": "what they wrote"}
        error = from_report(report, {})
        assert isinstance(error, builtin), name
        assert isinstance(error, StudentError)
        assert str(error) == "what they wrote"
        assert (error.remote_type, error.kind, error.frames[0].line) == ("Mine", "raised", 1)
    crash = from_report(GOOD_REPORT | {"kind": "crash", "mro": ["SystemExit", "ValueError"]}, {})
    assert not isinstance(crash, ValueError | SystemExit)


def test_text_of_students_is_made_safe():
    text = "ok \u00e9\n\x1b[31m\u202e\ud800\x00\t"
    assert clean(text) == "ok \u00e9\n\\x1b[31m\\u202e\\ud800\\x00\\t"
    assert len(clean("x" * 10**6)) <= 4000
