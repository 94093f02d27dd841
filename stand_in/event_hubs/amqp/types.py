"""The AMQP 1.0 type system (part 1): which Python type stands for which AMQP type.

Python's own types stand for the AMQP types they fit alone: None, bool, float (double), str (string), bytes (binary),
uuid.UUID, list and dict. Where AMQP has several types for one of Python's, a subclass says which one it is: `UInt(5)`
is an int everywhere in Python and a uint on the wire; `Symbol("a")` is a str. A plain int is sent as a long. So
decoding keeps the type, and what was decoded can be encoded again.
"""

from dataclasses import dataclass


class UByte(int):
    """ubyte"""


class UShort(int):
    """ushort"""


class UInt(int):
    """uint"""


class ULong(int):
    """ulong"""


class Byte(int):
    """byte"""


class Short(int):
    """short"""


class Int(int):
    """int"""


class Long(int):
    """long"""


class Timestamp(int):
    """timestamp: milliseconds since 1970-01-01 UTC"""


class Float(float):
    """float: four bytes wide"""


class Char(str):
    """char: one Unicode character"""

    __slots__ = ()


class Symbol(str):
    """symbol: ASCII"""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Decimal:
    """decimal32, decimal64 or decimal128: carried, not interpreted."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that says what it means."""

    descriptor: object
    value: object


@dataclass(frozen=True, slots=True)
class Array:
    """Values of one type. Elements of arrays of lists, maps, arrays or described values are not supported."""

    items: tuple[object, ...]
