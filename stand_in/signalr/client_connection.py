"""A client's connection: its handshake, what it sends, and what waits to be sent to it. No sockets.

A transport gives it what arrives (`receive`) and writes what `outgoing` hands out. There is one writer for each
connection, so records arrive in the order in which they were sent. The order of a connection's life:

    opened --handshake--> connected (the hub knows it, messages reach it) --close or abort--> closed

`close` says goodbye with a Close record; `abort` is a cut cable: nothing more is written.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stand_in.signalr.access_tokens import ClientClaims
from stand_in.signalr.faults import Goodbye
from stand_in.signalr.hub_protocol import (
    JSON,
    RECORD_SEPARATOR,
    Close,
    Completion,
    Decoder,
    EncodedOnce,
    HubProtocol,
    HubProtocolError,
    Invocation,
    Ping,
    Record,
    handshake_response,
    split_handshake,
)
from stand_in.signalr.message_pack import MESSAGE_PACK

if TYPE_CHECKING:
    from stand_in.signalr.hub import Hub

PROTOCOLS = {protocol.name: protocol for protocol in (JSON, MESSAGE_PACK)}
# A client that reads nothing may not take the memory: about ten seconds of a busy stream of large messages.
MAXIMUM_OUTBOX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Timings:
    """How long things may take, in seconds; the defaults are the service's (ASP.NET Core's, where it is silent)."""

    ping: float = 15.0
    client_timeout: float = 30.0
    handshake: float = 15.0
    # Between negotiate and connect; documented as about 5 s, afterwards the id is unknown.
    pending: float = 5.0
    long_poll: float = 90.0


class ClientConnection:
    """One client on one hub. `connection_id` is public, `connection_token` is known to the client alone."""

    def __init__(
        self, connection_id: str, connection_token: str, hub: "Hub", claims: ClientClaims, now: Callable[[], float]
    ) -> None:
        self.connection_id = connection_id
        self.connection_token = connection_token
        self.hub = hub
        self.user_id = claims.user_id
        self.expires_at = claims.expires_at
        self.close_at = claims.close_at
        self.handshake_timeout = claims.handshake_timeout
        self.protocol: HubProtocol | None = None
        # Long polling keeps itself alive: no pings, and a client that waits in a poll is not silent.
        self.inherent_keep_alive = False
        self.polling = False
        self.closed = False
        self.aborted = False
        self.on_abort: Callable[[], None] | None = None
        self._now = now
        self.opened_at = self.last_received = self.last_sent = now()
        self._decoder: Decoder | None = None
        self._handshake = b""
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._something = asyncio.Event()

    # -- what the hub sends ------------------------------------------------------------------------------------------

    def send(self, message: EncodedOnce) -> None:
        """Queue a record for a connected client. A client that is too slow for its messages is cut off."""
        if self.closed or self.protocol is None:
            return
        self._enqueue(message.frame(self.protocol))
        if self._outbox_bytes > MAXIMUM_OUTBOX_BYTES:
            self.abort()

    def close(self, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """Say goodbye: what is queued is still written, then a Close record, then the transport ends."""
        if self.closed:
            return
        if self.protocol is not None:
            self._enqueue(self.protocol.encode(Close(error, allow_reconnect)))
        self.end()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self.aborted = True
        self._outbox.clear()
        self.end()
        if self.on_abort is not None:
            self.on_abort()

    def end_with(self, goodbye: Goodbye) -> None:
        """End the connection in one of the ways in which it may end."""
        if goodbye is Goodbye.NONE:
            self.abort()
        else:
            self.close("The connection was closed by a fault.", allow_reconnect=goodbye is Goodbye.RECONNECT)

    def end(self) -> None:
        """The transport is gone, or the client said goodbye: nothing is left to be said."""
        if not self.closed:
            self.closed = True
            self.hub.remove(self)
        self._something.set()

    async def outgoing(self) -> bytes:
        """Whole records to write next, one or several; b"" when the connection is closed and everything was given."""
        while not self._outbox:
            if self.closed:
                return b""
            self._something.clear()
            await self._something.wait()
        data = self._outbox[0] if len(self._outbox) == 1 else b"".join(self._outbox)
        self._outbox.clear()
        self._outbox_bytes = 0
        self.last_sent = self._now()
        return data

    # -- what the client sends ---------------------------------------------------------------------------------------

    def heard(self) -> None:
        """The client showed that it is there."""
        self.last_received = self._now()

    def receive(self, data: bytes) -> None:
        """Bytes from the transport. What is no record of the protocol closes the connection."""
        if self.closed:
            return
        self.heard()
        try:
            if self._decoder is None:
                self._receive_handshake(data)
            else:
                self._receive_records(data)
        except HubProtocolError as error:
            self._refuse(str(error))

    def _receive_handshake(self, data: bytes) -> None:
        self._handshake += data
        split = split_handshake(self._handshake)
        if split is None:
            return
        request, rest = split
        protocol = PROTOCOLS.get(request.protocol)
        if protocol is None:
            raise HubProtocolError(f"The protocol '{request.protocol}' is not supported.")
        # Lower ones are accepted as ASP.NET Core does it; a client exists that asks for 0.
        if request.version > protocol.version:
            raise HubProtocolError(
                f"The server does not support version {request.version} of the '{request.protocol}' protocol."
            )
        self._enqueue(handshake_response())
        self.protocol, self._decoder = protocol, protocol.decoder()
        self.hub.add(self)
        if rest:
            self._receive_records(rest)

    def _receive_records(self, data: bytes) -> None:
        assert self._decoder is not None
        for record in self._decoder.feed(data):
            self._receive_record(record)

    def _receive_record(self, record: Record) -> None:
        match record:
            case Ping():
                pass
            case Close():
                self.end()
            case Invocation(invocation_id=str() as invocation_id):
                # Without upstream endpoints there is nobody to call. The service's documentation differs on whether it
                # ignores this or disconnects; an error to the waiting caller says what is wrong.
                refusal = f"The hub has no upstream for '{record.target}': a serverless client only listens."
                self.send(EncodedOnce(Completion(invocation_id, error=refusal)))
            case _:
                pass  # nobody waits for an answer, and nobody is there to hear it

    def _refuse(self, reason: str) -> None:
        if self.protocol is None:
            self._enqueue(handshake_response(reason))
            self.end()
        else:
            self.close(f"Connection closed with an error. {reason}")

    # -- time --------------------------------------------------------------------------------------------------------

    def heartbeat(self, timings: Timings, unix_time: float, *, pings: bool = True) -> None:
        """What time does to a connection: a late handshake, a silent client, a ping that is due."""
        if self.closed:
            return
        now = self._now()
        if self.protocol is None:
            if now - self.opened_at > (self.handshake_timeout or timings.handshake):
                self._refuse("Handshake was canceled.")
        elif self.close_at is not None and unix_time >= self.close_at:
            self.close("AuthenticationExpired", allow_reconnect=True)
        elif now - self.last_received > timings.client_timeout and not self.polling:
            self.close("Client timeout has elapsed.", allow_reconnect=True)
        elif pings and now - self.last_sent >= timings.ping and not self.inherent_keep_alive:
            self.last_sent = now
            self._enqueue(self.protocol.encode(Ping()))

    def _enqueue(self, data: bytes) -> None:
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        self._something.set()


def split_text_records(data: bytes) -> list[bytes]:
    """The records of a text protocol, each with its separator: a server-sent event carries one."""
    return [record + RECORD_SEPARATOR for record in data.split(RECORD_SEPARATOR) if record]
