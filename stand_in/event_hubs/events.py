"""Events: what a client sends becomes what the log keeps, and what a consumer gets.

A message is one event, or (message format 0x80013700) a batch: then each of its data sections holds one message. All
events of a batch go to one partition, together. The annotations `x-opt-...` belong to the service: those of the client
are dropped, but for the partition key.
"""

from dataclasses import dataclass
from typing import Final

from stand_in.event_hubs.amqp.decoder import decode
from stand_in.event_hubs.amqp.encoder import encode
from stand_in.event_hubs.amqp.errors import DecodeError
from stand_in.event_hubs.amqp.messages import (
    DATA,
    DELIVERY_ANNOTATIONS,
    FOOTER,
    HEADER,
    MESSAGE_ANNOTATIONS,
    Section,
    section,
    split_sections,
    symbol_keys,
)
from stand_in.event_hubs.amqp.types import Long, Timestamp

BATCH_FORMAT: Final = 0x80013700

_PARTITION_KEY: Final = "x-opt-partition-key"
_SERVICE_PREFIX: Final = "x-opt-"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event as it was sent: the sections that the service does not write, as they came."""

    partition_key: str | None
    header: bytes
    annotations: bytes  # an encoded map: the client's own annotations
    tail: bytes  # properties, application properties, body, footer


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in its place in a partition."""

    sequence_number: int
    offset: int
    enqueued_ms: int
    event: NewEvent

    def to_message(self, last: "PartitionEnd | None" = None) -> bytes:
        """The message for a consumer; with the partition's end if it asked for runtime metrics."""
        annotations, _ = decode(self.event.annotations)
        annotations = annotations if isinstance(annotations, dict) else {}
        annotations |= symbol_keys(
            {
                "x-opt-sequence-number": Long(self.sequence_number),
                "x-opt-offset": str(self.offset),
                "x-opt-enqueued-time": Timestamp(self.enqueued_ms),
            }
        )
        if self.event.partition_key is not None:
            annotations |= symbol_keys({_PARTITION_KEY: self.event.partition_key})
        return (
            self.event.header
            + (b"" if last is None else section(DELIVERY_ANNOTATIONS, last.to_annotations()))
            + section(MESSAGE_ANNOTATIONS, annotations)
            + self.event.tail
        )


@dataclass(frozen=True, slots=True)
class PartitionEnd:
    """The last event of a partition, as a consumer of runtime metrics is told about it."""

    sequence_number: int
    offset: int
    enqueued_ms: int
    now_ms: int

    def to_annotations(self) -> dict[object, object]:
        """The delivery annotations of `com.microsoft:enable-receiver-runtime-metric`."""
        return symbol_keys(
            {
                "last_enqueued_sequence_number": Long(self.sequence_number),
                "last_enqueued_offset": str(self.offset),
                "last_enqueued_time_utc": Timestamp(self.enqueued_ms),
                "runtime_info_retrieval_time_utc": Timestamp(self.now_ms),
            }
        )


def events_of(message_format: int, payload: bytes) -> tuple[list[NewEvent], str | None]:
    """The events of a message and the key that decides on their partition. Raises DecodeError."""
    if message_format == 0:
        event = _event(payload)
        return [event], event.partition_key
    if message_format != BATCH_FORMAT:
        raise DecodeError(f"message format 0x{message_format:08x} is not supported, only 0 and 0x{BATCH_FORMAT:08x}")
    envelope = split_sections(payload)
    key = _partition_key(_annotations(payload, envelope))
    events = []
    for found in envelope:
        if found.descriptor == DATA:
            content, _ = decode(payload, found.value_start)
            if not isinstance(content, bytes):
                raise DecodeError("a data section holds binary")
            events.append(_event(content, key))
    if not events:
        raise DecodeError("a batch without events")
    return events, key if key is not None else events[0].partition_key


def _event(message: bytes, key_of_batch: str | None = None) -> NewEvent:
    sections = split_sections(message)
    if not any(DATA <= found.descriptor < FOOTER for found in sections):
        raise DecodeError("an event without a body")
    annotations = _annotations(message, sections)
    key = _partition_key(annotations)
    own = {name: value for name, value in annotations.items() if not str(name).startswith(_SERVICE_PREFIX)}
    return NewEvent(
        partition_key=key if key_of_batch is None else key_of_batch,
        header=b"".join(found.raw for found in sections if found.descriptor == HEADER),
        annotations=encode(own),
        tail=b"".join(found.raw for found in sections if found.descriptor > MESSAGE_ANNOTATIONS),
    )


def _annotations(message: bytes, sections: list[Section]) -> dict[object, object]:
    for found in sections:
        if found.descriptor == MESSAGE_ANNOTATIONS:
            value, _ = decode(message, found.value_start)
            if not isinstance(value, dict):
                raise DecodeError("message annotations are a map")
            return value
    return {}


def _partition_key(annotations: dict[object, object]) -> str | None:
    key = annotations.get(_PARTITION_KEY)
    if isinstance(key, bytes):  # the SDK sends the key as it was given: text, or bytes
        return key.decode("utf-8", "replace")
    return key if isinstance(key, str) else None
