"""Bytes to values (part 1, section 1.6).

A constructor byte tells the width of what follows by its high digit (figure 1.2), so that `skip` can step over a value
without understanding it.
"""

import struct
import uuid
from collections.abc import Callable
from typing import Final

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

MAX_DEPTH: Final = 64  # nobody nests deeper; without a limit a short frame could exhaust Python's stack


def decode(data: bytes, position: int = 0) -> tuple[object, int]:
    """Return the value that starts at a position, and the position after it. Raises DecodeError."""
    try:
        return _decode(data, position, MAX_DEPTH)
    except (IndexError, struct.error) as error:
        raise DecodeError("the bytes end within a value") from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise DecodeError(f"not a value of its type: {error}") from error


def skip(data: bytes, position: int) -> int:
    """Return the position after the value that starts at a position, without decoding it. Raises DecodeError."""
    try:
        end = _skip(data, position)
    except (IndexError, struct.error) as error:
        raise DecodeError("the bytes end within a value") from error
    if end > len(data):
        raise DecodeError("the bytes end within a value")
    return end


def _skip(data: bytes, position: int) -> int:
    while data[position] == 0x00:  # a described value: step over the descriptor, then over the value
        position = _skip(data, position + 1)
    constructor = data[position]
    position += 1
    width = _FIXED_WIDTHS.get(constructor >> 4)
    if width is not None:
        return position + width
    if constructor >> 4 in (0xA, 0xC, 0xE):
        return position + 1 + data[position]
    if constructor >> 4 in (0xB, 0xD, 0xF):
        return position + 4 + int.from_bytes(_take(data, position, 4), "big")
    raise DecodeError(f"0x{constructor:02x} is no constructor")


_FIXED_WIDTHS: Final = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}


def _take(data: bytes, position: int, length: int) -> bytes:
    raw = data[position : position + length]
    if len(raw) != length:
        raise DecodeError("the bytes end within a value")
    return raw


def _decode(data: bytes, position: int, depth: int) -> tuple[object, int]:
    if depth == 0:
        raise DecodeError(f"values are nested deeper than {MAX_DEPTH}")
    constructor = data[position]
    if constructor == 0x00:
        descriptor, position = _decode(data, position + 1, depth - 1)
        value, position = _decode(data, position, depth - 1)
        return Described(descriptor, value), position
    return _decode_body(constructor, data, position + 1, depth)


def _decode_body(constructor: int, data: bytes, position: int, depth: int) -> tuple[object, int]:
    """Decode a value whose constructor is known; elements of arrays have theirs once, in front of all."""
    fixed = _FIXED_DECODERS.get(constructor)
    if fixed is not None:
        unpack, width, kind = fixed
        return kind(unpack(data, position)[0]), position + width
    if constructor in _CONSTANTS:
        return _CONSTANTS[constructor], position
    if constructor == 0x45:
        return [], position
    group, long_form = constructor & 0x0F, constructor >> 4 in (0xB, 0xD, 0xF)
    width = 4 if long_form else 1
    size = int.from_bytes(_take(data, position, width), "big")
    position += width
    raw = _take(data, position, size)
    if constructor >> 4 in (0xA, 0xB) and group in _VARIABLE_DECODERS:
        return _VARIABLE_DECODERS[group](raw), position + size
    count = int.from_bytes(_take(raw, 0, width), "big")
    if constructor in (0xC0, 0xD0):
        return _decode_items(raw, width, count, depth), position + size
    if constructor in (0xC1, 0xD1):
        return _decode_map(raw, width, count, depth), position + size
    if constructor in (0xE0, 0xF0):
        return _decode_array(raw, width, count, depth), position + size
    raise DecodeError(f"0x{constructor:02x} is no constructor")


def _decode_items(raw: bytes, position: int, count: int, depth: int) -> list[object]:
    items: list[object] = []
    for _ in range(count):
        item, position = _decode(raw, position, depth - 1)
        items.append(item)
    _expect_end(raw, position)
    return items


def _decode_map(raw: bytes, position: int, count: int, depth: int) -> dict[object, object]:
    if count % 2:
        raise DecodeError("a map has a key without a value")
    items = _decode_items(raw, position, count, depth)
    try:
        return dict(zip(items[::2], items[1::2], strict=True))
    except TypeError as error:
        raise DecodeError("a list or a map is no key of a map here") from error


def _decode_array(raw: bytes, position: int, count: int, depth: int) -> Array:
    constructor = raw[position]
    if constructor == 0x00 or constructor >> 4 >= 0xC:
        raise DecodeError("arrays of lists, maps, arrays or described values are not supported")
    if count > len(raw) and constructor >> 4 == 0x4:
        raise DecodeError("an array counts more elements than its size explains")
    position += 1
    items: list[object] = []
    for _ in range(count):
        item, position = _decode_body(constructor, raw, position, depth - 1)
        items.append(item)
    _expect_end(raw, position)
    return Array(tuple(items))


def _expect_end(raw: bytes, position: int) -> None:
    if position != len(raw):
        raise DecodeError("a list, map or array is longer than its elements")


def _decode_uuid(raw: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=raw)


def _decode_char(code: int) -> Char:
    if code > 0x10FFFF:
        raise DecodeError(f"0x{code:08x} is no Unicode character")
    return Char(chr(code))


def _decode_bool(byte: int) -> bool:
    if byte not in (0, 1):
        raise DecodeError(f"0x{byte:02x} is no boolean")
    return bool(byte)


_CONSTANTS: Final[dict[int, object]] = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: ULong(0)}

# constructor: (unpack from a position, width, the Python type)
_FIXED_DECODERS: Final[dict[int, tuple[Callable[..., tuple[object, ...]], int, Callable[..., object]]]] = {
    constructor: (struct.Struct(">" + layout).unpack_from, struct.calcsize(">" + layout), kind)
    for constructor, layout, kind in (
        (0x50, "B", UByte),
        (0x51, "b", Byte),
        (0x52, "B", UInt),
        (0x53, "B", ULong),
        (0x54, "b", Int),
        (0x55, "b", Long),
        (0x56, "B", _decode_bool),
        (0x60, "H", UShort),
        (0x61, "h", Short),
        (0x70, "I", UInt),
        (0x71, "i", Int),
        (0x72, "f", Float),
        (0x73, "I", _decode_char),
        (0x74, "4s", Decimal),
        (0x80, "Q", ULong),
        (0x81, "q", Long),
        (0x82, "d", float),
        (0x83, "q", Timestamp),
        (0x84, "8s", Decimal),
        (0x94, "16s", Decimal),
        (0x98, "16s", _decode_uuid),
    )
}

_VARIABLE_DECODERS: Final[dict[int, Callable[[bytes], object]]] = {
    0x0: bytes,
    0x1: lambda raw: raw.decode("utf-8"),
    0x3: lambda raw: Symbol(raw.decode("ascii")),
}
