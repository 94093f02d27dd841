"""Performatives (parts 2.7 and 5.3): the bodies of frames, as values.

Each is a described list. **All fields are always written, the trailing nulls too**, and a list is never written as
list0: the azure-eventhub SDK takes fields by their position without looking at the list's length (its `_decode.py`,
`_connection.py`), so a shorter list, which the standard allows, breaks it.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Self, get_type_hints

from stand_in.event_hubs.amqp.decoder import decode
from stand_in.event_hubs.amqp.encoder import encode_into, encode_list
from stand_in.event_hubs.amqp.errors import DecodeError
from stand_in.event_hubs.amqp.types import Described, Symbol, UByte, UInt, ULong, UShort


@dataclass(frozen=True, slots=True, kw_only=True)
class Performative:
    """What all performatives share: a descriptor, and fields in the standard's order, with their types on the wire."""

    DESCRIPTOR: ClassVar[int]

    @classmethod
    def from_fields(cls, values: list[object]) -> Self:
        """Build it from a decoded list, which may be shorter than the fields (the rest is null)."""
        kinds = _kinds(cls)
        if len(values) > len(kinds):
            raise DecodeError(f"{cls.__name__} has {len(kinds)} fields, not {len(values)}")
        given = {}
        for (name, kind, is_required), value in zip(kinds, values, strict=False):
            if value is None:
                if is_required:
                    raise DecodeError(f"{cls.__name__}.{name} may not be null")
                continue
            given[name] = _as_kind(cls, name, kind, value)
        missing = [name for name, _, is_required in kinds[len(values) :] if is_required]
        if missing:
            raise DecodeError(f"{cls.__name__} lacks {', '.join(missing)}")
        return cls(**given)

    def to_bytes(self) -> bytes:
        """Return the described list with every field."""
        out = bytearray(b"\x00")
        encode_into(out, ULong(self.DESCRIPTOR))
        encode_list(out, [_for_wire(kind, getattr(self, name)) for name, kind, _ in _kinds(type(self))])
        return bytes(out)


def _kinds(cls: type) -> tuple[tuple[str, type, bool], ...]:
    """Name, type on the wire and "may not be null" of each field; fields without `Annotated` take any value."""
    kinds = _KINDS.get(cls)
    if kinds is None:
        hints = get_type_hints(cls, include_extras=True)
        kinds = _KINDS[cls] = tuple(
            (field.name, getattr(hints[field.name], "__metadata__", (object,))[0], field.default is dataclasses.MISSING)
            for field in dataclasses.fields(cls)
        )
    return kinds


_KINDS: Final[dict[type, tuple[tuple[str, type, bool], ...]]] = {}


def _as_kind(cls: type, name: str, kind: type, value: object) -> object:
    if kind is object or isinstance(value, kind):
        return value
    if kind is not bool and issubclass(kind, int) and type(value) is not bool and isinstance(value, int) and value >= 0:
        return value  # a ushort where a uint is due, say: harmless, and seen from clients
    raise DecodeError(f"{cls.__name__}.{name} is a {kind.__name__}, not a {type(value).__name__}")


def _for_wire(kind: type, value: object) -> object:
    if value is None or kind is object or type(value) is kind:
        return value
    return kind(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Performative):
    DESCRIPTOR: ClassVar[int] = 0x10
    container_id: Annotated[str, str]
    hostname: Annotated[str | None, str] = None
    max_frame_size: Annotated[int, UInt] = 0xFFFFFFFF
    channel_max: Annotated[int, UShort] = 0xFFFF
    idle_time_out: Annotated[int | None, UInt] = None
    outgoing_locales: object = None
    incoming_locales: object = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin(Performative):
    DESCRIPTOR: ClassVar[int] = 0x11
    remote_channel: Annotated[int | None, UShort] = None
    next_outgoing_id: Annotated[int, UInt]
    incoming_window: Annotated[int, UInt]
    outgoing_window: Annotated[int, UInt]
    handle_max: Annotated[int, UInt] = 0xFFFFFFFF
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach(Performative):
    DESCRIPTOR: ClassVar[int] = 0x12
    name: Annotated[str, str]
    handle: Annotated[int, UInt]
    role: Annotated[bool, bool]
    snd_settle_mode: Annotated[int | None, UByte] = None
    rcv_settle_mode: Annotated[int | None, UByte] = None
    source: Annotated[Described | None, Described] = None
    target: Annotated[Described | None, Described] = None
    unsettled: object = None
    incomplete_unsettled: Annotated[bool | None, bool] = None
    initial_delivery_count: Annotated[int | None, UInt] = None
    max_message_size: Annotated[int | None, ULong] = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: Annotated[dict[object, object] | None, dict] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Performative):
    DESCRIPTOR: ClassVar[int] = 0x13
    next_incoming_id: Annotated[int | None, UInt] = None
    incoming_window: Annotated[int, UInt]
    next_outgoing_id: Annotated[int, UInt]
    outgoing_window: Annotated[int, UInt]
    handle: Annotated[int | None, UInt] = None
    delivery_count: Annotated[int | None, UInt] = None
    link_credit: Annotated[int | None, UInt] = None
    available: Annotated[int | None, UInt] = None
    drain: Annotated[bool | None, bool] = None
    echo: Annotated[bool | None, bool] = None
    properties: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Performative):
    DESCRIPTOR: ClassVar[int] = 0x14
    handle: Annotated[int, UInt]
    delivery_id: Annotated[int | None, UInt] = None
    delivery_tag: Annotated[bytes | None, bytes] = None
    message_format: Annotated[int | None, UInt] = None
    settled: Annotated[bool | None, bool] = None
    more: Annotated[bool | None, bool] = None
    rcv_settle_mode: Annotated[int | None, UByte] = None
    state: object = None
    resume: Annotated[bool | None, bool] = None
    aborted: Annotated[bool | None, bool] = None
    batchable: Annotated[bool | None, bool] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition(Performative):
    DESCRIPTOR: ClassVar[int] = 0x15
    role: Annotated[bool, bool]
    first: Annotated[int, UInt]
    last: Annotated[int | None, UInt] = None
    settled: Annotated[bool | None, bool] = None
    state: object = None
    batchable: Annotated[bool | None, bool] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detach(Performative):
    DESCRIPTOR: ClassVar[int] = 0x16
    handle: Annotated[int, UInt]
    closed: Annotated[bool | None, bool] = None
    error: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Performative):
    DESCRIPTOR: ClassVar[int] = 0x17
    error: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Performative):
    DESCRIPTOR: ClassVar[int] = 0x18
    error: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslMechanisms(Performative):
    DESCRIPTOR: ClassVar[int] = 0x40
    sasl_server_mechanisms: object


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslInit(Performative):
    DESCRIPTOR: ClassVar[int] = 0x41
    mechanism: Annotated[str, Symbol]
    initial_response: Annotated[bytes | None, bytes] = None
    hostname: Annotated[str | None, str] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslOutcome(Performative):
    DESCRIPTOR: ClassVar[int] = 0x44
    code: Annotated[int, UByte]
    additional_data: Annotated[bytes | None, bytes] = None


AMQP_PERFORMATIVES: Final[dict[int, type[Performative]]] = {
    kind.DESCRIPTOR: kind for kind in (Open, Begin, Attach, Flow, Transfer, Disposition, Detach, End, Close)
}
SASL_PERFORMATIVES: Final[dict[int, type[Performative]]] = {
    kind.DESCRIPTOR: kind for kind in (SaslMechanisms, SaslInit, SaslOutcome)
}

ROLE_SENDER: Final = False
ROLE_RECEIVER: Final = True

ACCEPTED: Final = Described(ULong(0x24), [])


def error_value(condition: str, description: str) -> Described:
    """An error (2.8.14). All three fields: the SDK hangs for ever on a rejection whose error has fewer."""
    return Described(ULong(0x1D), [Symbol(condition), description, {}])


def rejected(condition: str, description: str) -> Described:
    """The outcome that refuses a delivery. (Released and modified are never sent: the SDK hangs on them.)"""
    return Described(ULong(0x25), [error_value(condition, description)])


def address_of(terminus: Described | None) -> str | None:
    """The address of a source or a target, which is its first field."""
    if terminus is None or not isinstance(terminus.value, list) or not terminus.value:
        return None
    address = terminus.value[0]
    return address if isinstance(address, str) else None


def decode_performative(body: bytes, known: dict[int, type[Performative]]) -> tuple[Performative, bytes]:
    """Split the body of a frame into its performative and the payload behind it."""
    value, end = decode(body)
    if not isinstance(value, Described) or not isinstance(value.value, list):
        raise DecodeError("a frame starts with a described list")
    kind = known.get(value.descriptor) if isinstance(value.descriptor, int) else None
    if kind is None:
        raise DecodeError(f"{value.descriptor!r} is no performative here")
    return kind.from_fields(value.value), body[end:]
