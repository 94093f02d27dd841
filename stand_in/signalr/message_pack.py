"""The MessagePack form of the hub protocol (HubProtocol.md, "MessagePack (MsgPack) encoding"). No I/O.

A record is an array that starts with its type, preceded by its length as a varint (7 bits a byte, lowest first, at most
5 bytes). As with JSON, records and transport messages are cut independently of each other.
"""

from typing import Any

import msgpack  # type: ignore[import-untyped]

from stand_in.signalr.hub_protocol import (
    MAXIMUM_RECORD_BYTES,
    CancelInvocation,
    Close,
    Completion,
    HubProtocol,
    HubProtocolError,
    Invocation,
    Ping,
    Record,
    StreamItem,
)

_ERROR, _VOID, _RESULT = 1, 2, 3
_LONGEST_PREFIX = 5


def encode_message_pack(record: Record) -> bytes:
    """The record with its length before it."""
    body: bytes = msgpack.packb(_to_array(record), use_bin_type=True)
    return _length_prefix(len(body)) + body


def _to_array(record: Record) -> list[Any]:
    match record:
        case Invocation():
            return [4 if record.streaming else 1, {}, record.invocation_id, record.target, record.arguments, []]
        case StreamItem():
            return [2, {}, record.invocation_id, record.item]
        case Completion(error=str()):
            return [3, {}, record.invocation_id, _ERROR, record.error]
        case Completion(has_result=True):
            return [3, {}, record.invocation_id, _RESULT, record.result]
        case Completion():
            return [3, {}, record.invocation_id, _VOID]
        case CancelInvocation():
            return [5, {}, record.invocation_id]
        case Ping():
            return [6]
        case Close():
            return [7, record.error, record.allow_reconnect]


class MessagePackDecoder:
    """Records from the bytes of the MessagePack protocol, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Record]:
        self._rest += data
        records = []
        while (bounds := _first_record(self._rest)) is not None:
            start, end = bounds
            record = _record_from_array(_unpack(self._rest[start:end]))
            self._rest = self._rest[end:]
            if record is not None:
                records.append(record)
        return records


MESSAGE_PACK = HubProtocol("messagepack", 1, True, encode_message_pack, MessagePackDecoder)


def _length_prefix(length: int) -> bytes:
    prefix = bytearray()
    while length > 0x7F:
        prefix.append(0x80 | length & 0x7F)
        length >>= 7
    prefix.append(length)
    return bytes(prefix)


def _first_record(data: bytes) -> tuple[int, int] | None:
    """Where the first record starts and ends; None while it is incomplete."""
    length = 0
    for index, byte in enumerate(data[:_LONGEST_PREFIX]):
        length |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            if length > MAXIMUM_RECORD_BYTES:
                raise HubProtocolError(f"The maximum message size of {MAXIMUM_RECORD_BYTES}B was exceeded.")
            start = index + 1
            return (start, start + length) if len(data) >= start + length else None
    if len(data) >= _LONGEST_PREFIX:
        raise HubProtocolError("Messages over 2GB in size are not supported.")
    return None


def _unpack(data: bytes) -> list[Any]:
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise HubProtocolError("Reading a MessagePack record failed.") from error
    if not isinstance(value, list) or not value or not isinstance(value[0], int):
        raise HubProtocolError("A MessagePack record is an array that starts with its type.")
    return value


def _record_from_array(fields: list[Any]) -> Record | None:
    match fields:
        case [1 | 4 as kind, _, None | str() as invocation_id, str(target), list(arguments), *_]:
            return Invocation(target, arguments, invocation_id, streaming=kind == 4)
        case [2, _, str(invocation_id), item]:
            return StreamItem(invocation_id, item)
        case [3, _, str(invocation_id), 1, str(error)]:
            return Completion(invocation_id, error=error)
        case [3, _, str(invocation_id), 2]:
            return Completion(invocation_id)
        case [3, _, str(invocation_id), 3, result]:
            return Completion(invocation_id, result=result, has_result=True)
        case [5, _, str(invocation_id)]:
            return CancelInvocation(invocation_id)
        case [6, *_]:
            return Ping()
        case [7, None | str() as error, *more]:
            return Close(error, more[:1] == [True])
        case [int(kind), *_] if not 1 <= kind <= 7:
            return None
        case _:
            raise HubProtocolError(f"The MessagePack record of type {fields[0]} has not the items that belong to it.")
