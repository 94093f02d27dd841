"""Values and their bytes: `amqp/types.py`, `encoder.py`, `decoder.py`."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stand_in.event_hubs.amqp.decoder import MAX_DEPTH, decode, skip
from stand_in.event_hubs.amqp.encoder import encode
from stand_in.event_hubs.amqp.errors import DecodeError
from stand_in.event_hubs.amqp.types import (
    Array,
    Byte,
    Char,
    Decimal,
    Described,
    Float,
    Int,
    Long,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)

# Written down from the standard's part 1, section 1.6.
LITERAL = [
    (None, "40"),
    (True, "41"),
    (False, "42"),
    (UByte(7), "5007"),
    (UShort(258), "600102"),
    (UInt(0), "43"),
    (UInt(255), "52ff"),
    (UInt(256), "7000000100"),
    (ULong(0), "44"),
    (ULong(16), "5310"),
    (ULong(2**40), "800000010000000000"),
    (Byte(-1), "51ff"),
    (Short(-2), "61fffe"),
    (Int(-1), "54ff"),
    (Int(128), "7100000080"),
    (Long(-128), "5580"),
    (Long(128), "810000000000000080"),
    (Float(1.5), "723fc00000"),
    (1.5, "823ff8000000000000"),
    (Decimal(b"\x22\x50\x00\x01"), "7422500001"),
    (Char("€"), "73000020ac"),
    (Timestamp(1), "830000000000000001"),
    (uuid.UUID(int=1), "98" + "00" * 15 + "01"),
    (b"\x01\x02", "a0020102"),
    ("é", "a102c3a9"),
    (Symbol("a:b"), "a303613a62"),
    ([], "45"),
    ([UInt(1), None], "c00402" + "5201" + "40"),
    ({"k": True}, "c10502" + "a1016b" + "41"),
    (Described(ULong(0x24), []), "00532445"),
    (Array((Symbol("A"), Symbol("BC"))), "e00d02b3" + "0000000141" + "000000024243"),
    (Array((UInt(1), UInt(2))), "e00a0270" + "0000000100000002"),
]


@pytest.mark.parametrize(("value", "wire"), LITERAL)
def test_a_value_has_the_bytes_that_the_standard_says(value: object, wire: str) -> None:
    assert encode(value).hex() == wire


@pytest.mark.parametrize(("value", "wire"), LITERAL)
def test_the_bytes_of_the_standard_are_the_value_with_its_type(value: object, wire: str) -> None:
    decoded, end = decode(bytes.fromhex(wire))

    assert decoded == value
    assert type(decoded) is type(value)
    assert end == len(wire) // 2


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ("5601", True),
        ("5600", False),
        ("700000002a", UInt(42)),
        ("80000000000000002a", ULong(42)),
        ("710000002a", Int(42)),
        ("b0000000020102", b"\x01\x02"),
        ("b100000001" + "61", "a"),
        ("b300000001" + "61", Symbol("a")),
        ("d00000000500000001" + "43", [UInt(0)]),
        ("d10000000600000002" + "4340", {UInt(0): None}),
        ("f0000000070000000256" + "0100", Array((True, False))),
        ("c0010" + "0", []),
    ],
)
def test_the_longer_forms_are_understood_too(wire: str, value: object) -> None:
    assert decode(bytes.fromhex(wire))[0] == value


def test_what_is_longer_than_255_bytes_takes_the_long_form() -> None:
    assert encode(b"x" * 255)[:2] == b"\xa0\xff"
    assert encode(b"x" * 256)[:5] == b"\xb0\x00\x00\x01\x00"
    assert encode([b"x" * 251])[:2] == b"\xc0\xfe"  # 253 bytes of content, and the count
    assert encode([b"x" * 253])[:1] == b"\xd0"
    assert encode([None] * 300)[0] == 0xD0


def integers(kind: type, bits: int, *, signed: bool) -> st.SearchStrategy[object]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high).map(kind)


ascii_text = st.text(st.characters(max_codepoint=127), max_size=300)
scalars = st.one_of(
    integers(UByte, 8, signed=False),
    integers(UShort, 16, signed=False),
    integers(UInt, 32, signed=False),
    integers(ULong, 64, signed=False),
    integers(Byte, 8, signed=True),
    integers(Short, 16, signed=True),
    integers(Int, 32, signed=True),
    integers(Long, 64, signed=True),
    integers(Timestamp, 64, signed=True),
    st.floats(width=32, allow_nan=False).map(Float),
    st.floats(allow_nan=False),
    st.uuids(),
    st.binary(max_size=300),
    st.text(max_size=300),
    ascii_text.map(Symbol),
)
atoms = st.one_of(
    scalars, st.none(), st.booleans(), st.characters().map(Char), st.sampled_from([4, 8, 16]).map(bytes).map(Decimal)
)
arrays = st.one_of(
    st.just(Array(())),
    *(
        st.lists(elements, min_size=1, max_size=20).map(lambda items: Array(tuple(items)))
        for elements in (integers(ULong, 64, signed=False), st.text(max_size=20), st.uuids(), st.booleans())
    ),
)
values = st.recursive(
    st.one_of(atoms, arrays),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8),
        st.dictionaries(st.one_of(st.text(max_size=20), ascii_text.map(Symbol)), inner, max_size=8),
        st.builds(Described, integers(ULong, 64, signed=False), inner),
    ),
    max_leaves=30,
)


@given(values)
def test_what_was_encoded_decodes_to_the_same(value: object) -> None:
    wire = encode(value)

    assert decode(wire) == (value, len(wire))
    assert encode(decode(wire)[0]) == wire  # the types are the same too


@given(values, st.binary(max_size=5))
def test_skipping_a_value_ends_where_decoding_it_ends(value: object, behind: bytes) -> None:
    wire = encode(value) + behind

    assert skip(wire, 0) == decode(wire)[1] == len(wire) - len(behind)


@given(values, st.data())
def test_a_value_cut_short_is_an_error(value: object, data: st.DataObject) -> None:
    wire = encode(value)
    cut = wire[: data.draw(st.integers(0, len(wire) - 1))]

    with pytest.raises(DecodeError):
        decode(cut)
    with pytest.raises(DecodeError):
        skip(cut, 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_decode_error(wire: bytes) -> None:
    try:
        _, end = decode(wire)
    except DecodeError:
        return
    assert end <= len(wire)


@pytest.mark.parametrize(
    "wire",
    [
        "00" * 5000,
        "0044" * (MAX_DEPTH + 1) + "40",
        "c0ff01" * 3,
        "f0ffffffff7fffffff40",
        "e003ff40",
        "730011ffff"[:8] + "ff",
    ],
)
def test_hostile_bytes_are_an_error(wire: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(wire))


def test_a_type_that_amqp_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="set has no AMQP type"):
        encode({1, 2})
    with pytest.raises(TypeError, match="do not mix"):
        encode(Array(("a", b"b")))
