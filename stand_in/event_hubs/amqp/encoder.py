"""Values to bytes (part 1, section 1.6), each in its shortest form."""

import struct
import uuid
from collections.abc import Callable
from typing import Final

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


def encode(value: object) -> bytes:
    """Return the bytes of a value, constructor included."""
    out = bytearray()
    encode_into(out, value)
    return bytes(out)


def encode_into(out: bytearray, value: object) -> None:
    """Append the bytes of a value, constructor included."""
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise TypeError(f"{type(value).__name__} has no AMQP type; use one of this module")
    encoder(out, value)


def encode_list(out: bytearray, items: list[object]) -> None:
    """Append a list with size and count even when it is empty, since performatives may not be a list0 (see there)."""
    body = bytearray()
    for item in items:
        encode_into(body, item)
    _append_compound(out, 0xC0, body, len(items))


def _append_compound(out: bytearray, small: int, body: bytearray, count: int) -> None:
    """Append a list (0xC0), map (0xC1) or array (0xE0) in its short form if it fits, else in its long one (+ 0x10)."""
    if len(body) < 255 and count < 256:
        out += bytes((small, len(body) + 1, count))
    else:
        out += struct.pack(">BII", small + 0x10, len(body) + 4, count)
    out += body


def _encode_any_list(out: bytearray, value: list[object]) -> None:
    if value:
        encode_list(out, value)
    else:
        out.append(0x45)


def _encode_map(out: bytearray, value: dict[object, object]) -> None:
    body = bytearray()
    for key, item in value.items():
        encode_into(body, key)
        encode_into(body, item)
    _append_compound(out, 0xC1, body, 2 * len(value))


def _encode_array(out: bytearray, value: Array) -> None:
    if not value.items:
        _append_compound(out, 0xE0, bytearray(b"\x40"), 0)  # some constructor has to stand there: null's
        return
    kind = type(value.items[0])
    element = _ARRAY_ELEMENTS.get(kind)
    if element is None:
        raise TypeError(f"an array of {kind.__name__} is not supported")
    constructor, write = element
    body = bytearray((constructor,))
    for item in value.items:
        if type(item) is not kind:
            raise TypeError(f"an array holds one type: {kind.__name__} and {type(item).__name__} do not mix")
        body += write(item)
    _append_compound(out, 0xE0, body, len(value.items))


def _encode_described(out: bytearray, value: Described) -> None:
    out.append(0x00)
    encode_into(out, value.descriptor)
    encode_into(out, value.value)


def _variable(small: int, text_to_bytes: Callable[[object], bytes]) -> Callable[[bytearray, object], None]:
    """An encoder for binary (0xA0), string (0xA1) and symbol (0xA3); the long form is 0x10 further."""

    def encode_variable(out: bytearray, value: object) -> None:
        raw = text_to_bytes(value)
        if len(raw) < 256:
            out += bytes((small, len(raw)))
        else:
            out += struct.pack(">BI", small + 0x10, len(raw))
        out += raw

    return encode_variable


def _fixed(constructor: int, layout: str) -> Callable[[bytearray, object], None]:
    packer = struct.Struct(">B" + layout)

    def encode_fixed(out: bytearray, value: object) -> None:
        out += packer.pack(constructor, value)

    return encode_fixed


def _compact(zero: int | None, small: int, large: int, layout: str, low: int, high: int) -> Callable[..., None]:
    """An encoder for the integers that have a short form, and a zero form when unsigned."""
    packer = struct.Struct(">B" + layout)

    def encode_compact(out: bytearray, value: int) -> None:
        if value == 0 and zero is not None:
            out.append(zero)
        elif low <= value <= high:
            out += bytes((small, value & 0xFF))
        else:
            out += packer.pack(large, value)

    return encode_compact


def _utf8(value: object) -> bytes:
    return str(value).encode("utf-8")


def _ascii(value: object) -> bytes:
    return str(value).encode("ascii")


def _binary(value: object) -> bytes:
    return bytes(value)  # type: ignore[call-overload, no-any-return]  # reached for bytes only


def _encode_bool(out: bytearray, value: object) -> None:
    out.append(0x41 if value else 0x42)


def _encode_decimal(out: bytearray, value: Decimal) -> None:
    out.append({4: 0x74, 8: 0x84, 16: 0x94}[len(value.raw)])
    out += value.raw


def _encode_char(out: bytearray, value: object) -> None:
    out += struct.pack(">BI", 0x73, ord(str(value)))


def _encode_uuid(out: bytearray, value: uuid.UUID) -> None:
    out.append(0x98)
    out += value.bytes


_encode_long = _compact(None, 0x55, 0x81, "q", -128, 127)

_ENCODERS: Final[dict[type, Callable[[bytearray, object], None]]] = {
    type(None): lambda out, _: out.append(0x40),
    bool: _encode_bool,
    UByte: _fixed(0x50, "B"),
    UShort: _fixed(0x60, "H"),
    UInt: _compact(0x43, 0x52, 0x70, "I", 0, 255),
    ULong: _compact(0x44, 0x53, 0x80, "Q", 0, 255),
    Byte: _fixed(0x51, "b"),
    Short: _fixed(0x61, "h"),
    Int: _compact(None, 0x54, 0x71, "i", -128, 127),
    Long: _encode_long,
    int: _encode_long,
    Float: _fixed(0x72, "f"),
    float: _fixed(0x82, "d"),
    Timestamp: _fixed(0x83, "q"),
    Decimal: _encode_decimal,  # type: ignore[dict-item]  # each encoder is reached through its own type alone
    Char: _encode_char,
    uuid.UUID: _encode_uuid,  # type: ignore[dict-item]
    bytes: _variable(0xA0, _binary),
    str: _variable(0xA1, _utf8),
    Symbol: _variable(0xA3, _ascii),
    list: _encode_any_list,  # type: ignore[dict-item]
    dict: _encode_map,  # type: ignore[dict-item]
    Array: _encode_array,  # type: ignore[dict-item]
    Described: _encode_described,  # type: ignore[dict-item]
}


def _long_form(to_bytes: Callable[[object], bytes]) -> Callable[[object], bytes]:
    def write(item: object) -> bytes:
        raw = to_bytes(item)
        return struct.pack(">I", len(raw)) + raw

    return write


def _packed(layout: str) -> Callable[[object], bytes]:
    packer = struct.Struct(">" + layout)
    return lambda item: packer.pack(item)


# Elements share one constructor, so each type is written in the form that fits every value of it.
_ARRAY_ELEMENTS: Final[dict[type, tuple[int, Callable[[object], bytes]]]] = {
    bool: (0x56, _packed("?")),
    UByte: (0x50, _packed("B")),
    UShort: (0x60, _packed("H")),
    UInt: (0x70, _packed("I")),
    ULong: (0x80, _packed("Q")),
    Byte: (0x51, _packed("b")),
    Short: (0x61, _packed("h")),
    Int: (0x71, _packed("i")),
    Long: (0x81, _packed("q")),
    int: (0x81, _packed("q")),
    Float: (0x72, _packed("f")),
    float: (0x82, _packed("d")),
    Timestamp: (0x83, _packed("q")),
    uuid.UUID: (0x98, lambda item: item.bytes if isinstance(item, uuid.UUID) else b""),
    bytes: (0xB0, _long_form(_binary)),
    str: (0xB1, _long_form(_utf8)),
    Symbol: (0xB3, _long_form(_ascii)),
}
