"""The hub protocol: the records that a client and the service exchange, and their JSON form. No I/O.

Theory of operation (dotnet/aspnetcore, src/SignalR/docs/specs/HubProtocol.md):

* The first record in each direction is the handshake, JSON in every protocol: `{"protocol":"json","version":1}` and
  `{}` or `{"error":"..."}`. Other records may follow it in the same transport message.
* In the JSON protocol each record is a JSON object followed by the byte 0x1E. Transport messages do not matter: one may
  carry several records, and a record may be spread over several, so a decoder keeps the unfinished rest.
* Records of a type that a receiver does not know are skipped, so that the protocol can grow.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

RECORD_SEPARATOR = b"\x1e"
# The limit of a REST body; nothing longer can be sent to a client, and a client may not send more either.
MAXIMUM_RECORD_BYTES = 1024 * 1024


class HubProtocolError(Exception):
    """This happened: a client sent something that is not a record of its protocol. The client may see the message."""


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """What a client asks for before anything else."""

    protocol: str
    version: int


@dataclass(frozen=True, slots=True)
class Invocation:
    """Call `target`; with an id the caller waits for a `Completion`; `streaming` marks type 4."""

    target: str
    arguments: list[Any]
    invocation_id: str | None = None
    streaming: bool = False


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One item of a client's or server's stream."""

    invocation_id: str
    item: Any


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of an invocation: an error, a result, or nothing (`has_result` tells a null result from none)."""

    invocation_id: str
    error: str | None = None
    result: Any = None
    has_result: bool = False


@dataclass(frozen=True, slots=True)
class CancelInvocation:
    """A client no longer wants a stream."""

    invocation_id: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Nothing to say, but still here."""


@dataclass(frozen=True, slots=True)
class Close:
    """The sender ends the connection; with `allow_reconnect` a client that reconnects by itself may do so."""

    error: str | None = None
    allow_reconnect: bool = False


Record = Invocation | StreamItem | Completion | CancelInvocation | Ping | Close


class Decoder(Protocol):
    """Makes records of the bytes of one connection, keeping an unfinished rest."""

    def feed(self, data: bytes) -> list[Record]: ...


@dataclass(frozen=True, slots=True)
class HubProtocol:
    """One encoding of records. `binary` says which kind of WebSocket message carries it."""

    name: str
    version: int
    binary: bool
    encode: Callable[[Record], bytes] = field(repr=False)
    decoder: Callable[[], Decoder] = field(repr=False)


class EncodedOnce:
    """A record on its way to many connections, encoded once for each protocol that one of them speaks."""

    __slots__ = ("_frames", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self._frames: dict[str, bytes] = {}

    def frame(self, protocol: HubProtocol) -> bytes:
        frame = self._frames.get(protocol.name)
        if frame is None:
            frame = self._frames[protocol.name] = protocol.encode(self.record)
        return frame


def split_handshake(data: bytes) -> tuple[HandshakeRequest, bytes] | None:
    """The handshake request at the start of `data` and what follows it; None while it is incomplete."""
    head, separator, rest = data.partition(RECORD_SEPARATOR)
    if not separator:
        _refuse_overlong(data)
        return None
    request = _json_object(head)
    protocol, version = request.get("protocol"), request.get("version")
    if not isinstance(protocol, str):
        raise HubProtocolError("Missing required property 'protocol'. Message is not a handshake request.")
    if not isinstance(version, int):
        raise HubProtocolError("Missing required property 'version'. Message is not a handshake request.")
    return HandshakeRequest(protocol, version), rest


def handshake_response(error: str | None = None) -> bytes:
    """The answer to a handshake request."""
    return _json_bytes({} if error is None else {"error": error})


def encode_json(record: Record) -> bytes:
    """The record as JSON, separator included. UnicodeEncodeError when a text holds half of a surrogate pair."""
    match record:
        case Invocation():
            fields: dict[str, Any] = {"type": 4 if record.streaming else 1}
            if record.invocation_id is not None:
                fields["invocationId"] = record.invocation_id
            return _json_bytes(fields | {"target": record.target, "arguments": record.arguments})
        case StreamItem():
            return _json_bytes({"type": 2, "invocationId": record.invocation_id, "item": record.item})
        case Completion():
            fields = {"type": 3, "invocationId": record.invocation_id}
            if record.error is not None:
                fields["error"] = record.error
            elif record.has_result:
                fields["result"] = record.result
            return _json_bytes(fields)
        case CancelInvocation():
            return _json_bytes({"type": 5, "invocationId": record.invocation_id})
        case Ping():
            return b'{"type":6}\x1e'
        case Close():
            fields = {"type": 7}
            if record.error is not None:
                fields["error"] = record.error
            if record.allow_reconnect:
                fields["allowReconnect"] = True
            return _json_bytes(fields)


class JsonDecoder:
    """Records from the bytes of the JSON protocol, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Record]:
        *wholes, self._rest = (self._rest + data).split(RECORD_SEPARATOR)
        _refuse_overlong(self._rest)
        records = (_record_from_json(whole) for whole in wholes)
        return [record for record in records if record is not None]


JSON = HubProtocol("json", 1, False, encode_json, JsonDecoder)


def _record_from_json(data: bytes) -> Record | None:
    fields = _json_object(data)
    kind = fields.get("type")
    match kind:
        case 1 | 4:
            invocation_id = fields.get("invocationId")
            return Invocation(
                _required(fields, "target", str),
                _required(fields, "arguments", list),
                invocation_id if isinstance(invocation_id, str) else None,
                streaming=kind == 4,
            )
        case 2:
            return StreamItem(_required(fields, "invocationId", str), fields.get("item"))
        case 3:
            invocation_id, error = _required(fields, "invocationId", str), fields.get("error")
            if error is not None and "result" in fields:
                raise HubProtocolError("The 'error' and 'result' properties are mutually exclusive.")
            return Completion(invocation_id, error, fields.get("result"), "result" in fields)
        case 5:
            return CancelInvocation(_required(fields, "invocationId", str))
        case 6:
            return Ping()
        case 7:
            return Close(fields.get("error"), fields.get("allowReconnect") is True)
        case int():
            return None
        case _:
            raise HubProtocolError("Missing required property 'type'.")


def _required(fields: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value = fields.get(name)
    if not isinstance(value, kind):
        raise HubProtocolError(f"Missing required property '{name}'.")
    return value


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise HubProtocolError("Error reading JSON.") from error
    if not isinstance(value, dict):
        raise HubProtocolError("Unexpected JSON Token Type. Expected a JSON Object.")
    return value


def _json_bytes(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + RECORD_SEPARATOR


def _refuse_overlong(rest: bytes) -> None:
    if len(rest) > MAXIMUM_RECORD_BYTES:
        raise HubProtocolError(f"The maximum message size of {MAXIMUM_RECORD_BYTES}B was exceeded.")
