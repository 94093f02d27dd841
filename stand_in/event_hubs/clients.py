"""Clients: one TCP connection each, from its bytes to the nodes behind its links.

What a client may reach is decided here: `$cbs` for everybody, all else for those whose token names the hub.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Final, Protocol

from stand_in.event_hubs import cbs, management
from stand_in.event_hubs.addresses import path_of, source_address, target_address
from stand_in.event_hubs.amqp.connection import Connection
from stand_in.event_hubs.amqp.errors import CONNECTION_FORCED, LinkRefused
from stand_in.event_hubs.amqp.links import CreditHandler, DeliveryHandler, IncomingLink, OutgoingLink
from stand_in.event_hubs.amqp.messages import Request, Response
from stand_in.event_hubs.amqp.performatives import Attach, address_of
from stand_in.event_hubs.consumers import Consumer
from stand_in.event_hubs.errors import unauthorized
from stand_in.event_hubs.namespaces import Namespace
from stand_in.event_hubs.partition_log import Hub
from stand_in.event_hubs.producers import Producer
from stand_in.event_hubs.requests import RequestNode, ResponseNode

logger = logging.getLogger(__name__)

# With so much in front of the socket no further events are read from the log.
_HIGH_WATER: Final = 256 * 1024


class ClientOwner(Protocol):
    """The server, as a client sees it."""

    def on_output(self, client: "Client") -> None:
        """The client has something to say: call its `flush` when it may."""

    def on_lost(self, client: "Client") -> None:
        """The connection is gone."""

    def on_storage_failure(self) -> None:
        """The log failed; called from an except clause."""


class Client(asyncio.Protocol):
    """A connected client. The server calls `flush` when what was said is stored."""

    def __init__(self, namespace: Namespace, owner: ClientOwner, idle_seconds: float) -> None:
        self._namespace = namespace
        self._owner = owner
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._amqp = Connection("event-hubs-emulator", self, self._output_ready, int(idle_seconds * 1000))
        self._claims = cbs.Claims(namespace.now_ms)
        self._consumers: dict[OutgoingLink, Consumer] = {}
        self._responses: dict[OutgoingLink, ResponseNode] = {}
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._cut = False
        self._heard = self._loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._alive_timer: asyncio.TimerHandle | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._idle_timer = self._loop.call_later(self._idle_seconds, self._check_idle)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._namespace.faults.look()
        try:
            self._amqp.receive(data)
        except sqlite3.Error:
            self.abort()
            self._owner.on_storage_failure()
        if self._alive_timer is None and self._amqp.peer_idle_time_out_ms:
            self._keep_alive()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send_events()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in (self._idle_timer, self._alive_timer):
            if timer is not None:
                timer.cancel()
        self._amqp.abandon()
        self._owner.on_lost(self)

    # the server's side

    @property
    def unsent_bytes(self) -> int:
        """How much waits to be written, here or in front of the socket."""
        in_transport = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._amqp.pending_output + in_transport

    def flush(self) -> None:
        """Write what there is to say."""
        if self._transport is None:
            return
        if self._cut:
            self._transport.abort()
            return
        self._transport.write(self._amqp.take_output())
        if self._amqp.closed:
            self._transport.close()
        else:
            self._send_events()

    def abort(self) -> None:
        """Cut the connection; what was to be said is not."""
        if self._transport is not None:
            self._transport.abort()

    def shut_down(self) -> None:
        """End the connection politely."""
        self._amqp.close(CONNECTION_FORCED, "The server is shutting down.")
        self.flush()

    def _output_ready(self) -> None:
        self._owner.on_output(self)

    def _cut_off(self) -> None:
        self._cut = True
        self._owner.on_output(self)

    def _check_idle(self) -> None:
        left = self._heard + self._idle_seconds - self._loop.time()
        if left <= 0:
            milliseconds = int(self._idle_seconds * 1000)
            self._amqp.close(
                CONNECTION_FORCED,
                f"The connection was inactive for more than the allowed {milliseconds} milliseconds and is closed.",
            )
        else:
            self._idle_timer = self._loop.call_later(left, self._check_idle)

    def _keep_alive(self) -> None:
        self._amqp.keep_alive()
        seconds = (self._amqp.peer_idle_time_out_ms or 0) / 1000
        self._alive_timer = self._loop.call_later(seconds / 2, self._keep_alive)

    # the nodes behind the links (Container)

    def attach_incoming(self, link: IncomingLink, attach: Attach) -> DeliveryHandler:
        try:
            return self._incoming_node(link, attach)
        except LinkRefused as refusal:
            logger.warning("A producer was refused at %s: %s", address_of(attach.target), refusal)
            raise

    def attach_outgoing(self, link: OutgoingLink, attach: Attach) -> CreditHandler:
        try:
            return self._outgoing_node(link, attach)
        except LinkRefused as refusal:
            # Loud, because the SDK's consumers try again for ever without a word to their user.
            logger.warning("A consumer was refused at %s: %s", address_of(attach.source), refusal)
            raise

    def _incoming_node(self, link: IncomingLink, attach: Attach) -> DeliveryHandler:
        address = address_of(attach.target)
        match path_of(address):
            case cbs.NODE:
                return RequestNode(link, self._claims.answer, self._response_nodes(link, cbs.NODE))
            case management.NODE:
                return RequestNode(link, self._manage, self._response_nodes(link, management.NODE))
        target = target_address(address)
        hub = self._hub(target.hub)
        partition = None if target.partition is None else self._namespace.partition(hub, target.partition)
        return Producer(link, self._namespace, hub, partition, self._cut_off)

    def _outgoing_node(self, link: OutgoingLink, attach: Attach) -> CreditHandler:
        address = address_of(attach.source)
        node = path_of(address)
        if node in (cbs.NODE, management.NODE):
            responses = ResponseNode(link, node, address_of(attach.target), lambda: self._responses.pop(link, None))
            self._responses[link] = responses
            return responses
        source = source_address(address)
        hub = self._hub(source.hub)
        partition = self._namespace.partition(hub, source.partition)
        consumer = Consumer(
            link,
            attach,
            self._namespace,
            hub,
            source.group,
            partition,
            self._has_room,
            lambda: self._consumers.pop(link, None),
        )
        self._consumers[link] = consumer
        return consumer

    def _hub(self, name: str) -> Hub:
        if not self._claims.allow(name):
            raise unauthorized(name)
        return self._namespace.hub(name)

    def _manage(self, request: Request) -> Response:
        return management.answer(request, self._namespace.log, self._hub)

    def _response_nodes(self, link: IncomingLink, node: str) -> Callable[[], list[ResponseNode]]:
        """The links on which requests of this link can be answered: those from the same node in the same session."""
        return lambda: [
            responses
            for other, responses in self._responses.items()
            if other.session is link.session and responses.node == node
        ]

    def _has_room(self) -> bool:
        return not self._paused and self._amqp.pending_output < _HIGH_WATER

    def _send_events(self) -> None:
        for consumer in list(self._consumers.values()):
            consumer.send_events()
