"""Messages (part 3.2): a row of sections, each a described value.

The log keeps an event's sections as the bytes in which they came, but for the annotations: those are the service's to
write. So only what the service reads is decoded.
"""

from dataclasses import dataclass, field
from typing import Final

from stand_in.event_hubs.amqp.decoder import decode, skip
from stand_in.event_hubs.amqp.encoder import encode_into
from stand_in.event_hubs.amqp.errors import DecodeError
from stand_in.event_hubs.amqp.types import Described, Symbol, ULong

HEADER: Final = 0x70
DELIVERY_ANNOTATIONS: Final = 0x71
MESSAGE_ANNOTATIONS: Final = 0x72
PROPERTIES: Final = 0x73
APPLICATION_PROPERTIES: Final = 0x74
DATA: Final = 0x75
SEQUENCE: Final = 0x76
VALUE: Final = 0x77
FOOTER: Final = 0x78

# Where message-id, reply-to and correlation-id are in the properties (3.2.4).
_MESSAGE_ID: Final = 0
_REPLY_TO: Final = 4
_CORRELATION_ID: Final = 5
_PROPERTY_COUNT: Final = 13


@dataclass(frozen=True, slots=True)
class Section:
    """One section and its bytes; `value_start` is where its value begins in the message."""

    descriptor: int
    raw: bytes
    value_start: int


def split_sections(message: bytes) -> list[Section]:
    """Cut a message into its sections, decoding none. Raises DecodeError."""
    sections = []
    position = 0
    while position < len(message):
        if message[position] != 0x00:
            raise DecodeError("a section of a message is a described value")
        descriptor, value_start = decode(message, position + 1)
        end = skip(message, value_start)
        if not isinstance(descriptor, int) or not HEADER <= descriptor <= FOOTER:
            raise DecodeError(f"{descriptor!r} is no section of a message")
        sections.append(Section(descriptor, message[position:end], value_start))
        position = end
    return sections


def section(descriptor: int, value: object) -> bytes:
    """Return the bytes of a section."""
    out = bytearray()
    encode_into(out, Described(ULong(descriptor), value))
    return bytes(out)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks of `$cbs` or `$management`."""

    message_id: object
    reply_to: str | None
    properties: dict[object, object]
    body: object

    @classmethod
    def from_message(cls, message: bytes) -> "Request":
        """Decode a request. Raises DecodeError."""
        values = {found.descriptor: decode(message, found.value_start)[0] for found in split_sections(message)}
        properties = values.get(PROPERTIES)
        fields = properties if isinstance(properties, list) else []
        fields = [*fields, *[None] * (_PROPERTY_COUNT - len(fields))]
        named = values.get(APPLICATION_PROPERTIES)
        reply_to = fields[_REPLY_TO]
        return cls(
            message_id=fields[_MESSAGE_ID],
            reply_to=reply_to if isinstance(reply_to, str) else None,
            properties=named if isinstance(named, dict) else {},
            body=values.get(VALUE),
        )

    def text(self, name: str) -> str:
        """A property as text; "" when it is absent or something else."""
        value = self.properties.get(name)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Response:
    """What `$cbs` or `$management` answers."""

    properties: dict[str, object]
    body: dict[str, object] = field(default_factory=dict)

    def to_message(self, request: Request) -> bytes:
        """Return the message that answers a request: its message-id comes back as correlation-id, of the same type."""
        properties: list[object] = [None] * _PROPERTY_COUNT
        properties[_CORRELATION_ID] = request.message_id
        return (
            section(PROPERTIES, properties)
            + section(APPLICATION_PROPERTIES, dict(self.properties))
            + section(VALUE, dict(self.body))
        )


def symbol_keys(values: dict[str, object]) -> dict[object, object]:
    """The same map with symbols as keys, as annotations have them."""
    return {Symbol(name): value for name, value in values.items()}
