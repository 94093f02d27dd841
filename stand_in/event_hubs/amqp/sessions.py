"""Sessions (part 2.5): links share one, and it counts transfer frames in both directions.

Both sides use the same number for a channel and for a link's handle: ours answers theirs.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from stand_in.event_hubs.amqp.errors import (
    HANDLE_IN_USE,
    UNATTACHED_HANDLE,
    LinkRefused,
    ProtocolViolation,
)
from stand_in.event_hubs.amqp.links import (
    MAX_MESSAGE_SIZE,
    CreditHandler,
    DeliveryHandler,
    IncomingLink,
    Link,
    OutgoingLink,
    detach_frame,
)
from stand_in.event_hubs.amqp.performatives import (
    ROLE_RECEIVER,
    ROLE_SENDER,
    Attach,
    Begin,
    Detach,
    Disposition,
    End,
    Flow,
    Performative,
    Transfer,
)

WINDOW: Final = 5000  # as the service announces it
HANDLE_MAX: Final = 255
# Encoded transfer without its payload, with the frame's header: at most this many bytes of a frame.
_TRANSFER_OVERHEAD: Final = 64


class Container(Protocol):
    """Where nodes live: decides what a link leads to. Both methods raise LinkRefused."""

    def attach_incoming(self, link: IncomingLink, attach: Attach) -> DeliveryHandler:
        """The node that takes what the client sends to `attach.target`."""

    def attach_outgoing(self, link: OutgoingLink, attach: Attach) -> CreditHandler:
        """The node that sends what the client reads from `attach.source`."""


class Session:
    """One channel of a connection."""

    def __init__(
        self,
        channel: int,
        begin: Begin,
        container: Container,
        send_frame: Callable[[int, Performative, bytes], None],
        max_frame_size: int,
    ) -> None:
        self.channel = channel
        self._container = container
        self._send_frame = send_frame
        self._max_payload = max_frame_size - _TRANSFER_OVERHEAD
        self._links: dict[int, Link] = {}
        self._detaching: set[int] = set()  # handles that we detached and the client has not yet
        self._next_incoming_id = begin.next_outgoing_id
        self._next_outgoing_id = 0
        self._next_delivery_id = 0
        self._remote_window = begin.incoming_window
        self._waiting: deque[tuple[Transfer, bytes]] = deque()  # frames that the client's window does not allow yet
        self.send(
            Begin(
                remote_channel=channel,
                next_outgoing_id=0,
                incoming_window=WINDOW,
                outgoing_window=WINDOW,
                handle_max=HANDLE_MAX,
            )
        )

    @property
    def is_blocked(self) -> bool:
        """Whether the client's window is used up."""
        return bool(self._waiting) or self._remote_window <= 0

    def send(self, performative: Performative) -> None:
        """Send a frame of this session."""
        self._send_frame(self.channel, performative, b"")

    def send_flow(self, handle: int, delivery_count: int, link_credit: int) -> None:
        """Tell the session's and a link's state; this also gives the client a fresh window."""
        self.send(
            Flow(
                next_incoming_id=self._next_incoming_id,
                incoming_window=WINDOW,
                next_outgoing_id=self._next_outgoing_id,
                outgoing_window=WINDOW,
                handle=handle,
                delivery_count=delivery_count,
                link_credit=link_credit,
            )
        )

    def send_message(self, handle: int, message: bytes) -> None:
        """Send a message in as many frames as it needs."""
        number = self._next_delivery_id
        self._next_delivery_id = (number + 1) & 0xFFFFFFFF
        tag = number.to_bytes(4, "big")
        for start in range(0, max(len(message), 1), self._max_payload):
            piece = message[start : start + self._max_payload]
            more = start + self._max_payload < len(message)
            first = start == 0
            transfer = Transfer(
                handle=handle,
                delivery_id=number if first else None,
                delivery_tag=tag if first else None,
                message_format=0 if first else None,
                settled=True,
                more=more,
            )
            self._waiting.append((transfer, piece))
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and self._remote_window > 0:
            transfer, payload = self._waiting.popleft()
            self._remote_window -= 1
            self._next_outgoing_id = (self._next_outgoing_id + 1) & 0xFFFFFFFF
            self._send_frame(self.channel, transfer, payload)

    def receive(self, performative: Performative, payload: bytes) -> None:
        """Take a frame of this session."""
        match performative:
            case Transfer():
                self._on_transfer(performative, payload)
            case Flow():
                self._on_flow(performative)
            case Attach():
                self._on_attach(performative)
            case Detach():
                self._on_detach(performative)
            case Disposition():
                pass  # what we send is settled already; the SDK settles it once more
            case _:
                raise AssertionError(f"{type(performative).__name__} is no frame of a session")

    def _on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        self._next_incoming_id = (self._next_incoming_id + 1) & 0xFFFFFFFF
        link = self._links.get(transfer.handle)
        if isinstance(link, IncomingLink):
            link.on_transfer(transfer, payload)
        elif transfer.handle not in self._detaching:
            raise ProtocolViolation(UNATTACHED_HANDLE, f"handle {transfer.handle} is not attached as a sender")

    def _on_flow(self, flow: Flow) -> None:
        seen = flow.next_incoming_id if flow.next_incoming_id is not None else 0
        in_flight = (self._next_outgoing_id - seen) & 0xFFFFFFFF
        self._remote_window = flow.incoming_window - in_flight
        was_blocked = bool(self._waiting)
        self._send_waiting()
        if flow.handle is not None:
            link = self._links.get(flow.handle)
            if link is not None:
                link.on_flow(flow)
            elif flow.handle not in self._detaching:
                raise ProtocolViolation(UNATTACHED_HANDLE, f"handle {flow.handle} is not attached")
        if was_blocked:
            self._tell_outgoing_links()

    def _tell_outgoing_links(self) -> None:
        for link in list(self._links.values()):
            if isinstance(link, OutgoingLink) and link.handler is not None:
                link.handler.on_credit()

    def _on_attach(self, attach: Attach) -> None:
        if attach.handle in self._links:
            raise ProtocolViolation(HANDLE_IN_USE, f"handle {attach.handle} is attached already")
        if attach.handle > HANDLE_MAX:
            raise ProtocolViolation(HANDLE_IN_USE, f"handle {attach.handle} is over {HANDLE_MAX}")
        self._detaching.discard(attach.handle)
        try:
            if attach.role == ROLE_SENDER:
                self._attach_incoming(attach)
            else:
                self._attach_outgoing(attach)
        except LinkRefused as refusal:
            # 2.6.3: a refused link is attached without a terminus, then detached with the reason.
            self.send(self._answer(attach, refused=True))
            self.send(detach_frame(attach.handle, refusal.condition, refusal.description))
            self._detaching.add(attach.handle)

    def _attach_incoming(self, attach: Attach) -> None:
        link = IncomingLink(self, attach)
        link.handler = self._container.attach_incoming(link, attach)
        self._links[attach.handle] = link
        self.send(self._answer(attach))
        link.grant_credit()

    def _attach_outgoing(self, attach: Attach) -> None:
        link = OutgoingLink(self, attach)
        link.handler = self._container.attach_outgoing(link, attach)
        self._links[attach.handle] = link
        self.send(self._answer(attach))

    def _answer(self, attach: Attach, *, refused: bool = False) -> Attach:
        we_send = attach.role == ROLE_RECEIVER
        return Attach(
            name=attach.name,
            handle=attach.handle,
            role=not attach.role,
            snd_settle_mode=attach.snd_settle_mode,
            rcv_settle_mode=attach.rcv_settle_mode,
            source=None if refused else attach.source,
            target=None if refused else attach.target,
            initial_delivery_count=0 if we_send else None,
            max_message_size=MAX_MESSAGE_SIZE,
            properties=None,
        )

    def _on_detach(self, detach: Detach) -> None:
        if detach.handle in self._detaching:
            self._detaching.discard(detach.handle)
            return
        link = self._links.pop(detach.handle, None)
        if link is None:
            raise ProtocolViolation(UNATTACHED_HANDLE, f"handle {detach.handle} is not attached")
        self.send(Detach(handle=detach.handle, closed=detach.closed))
        if link.handler is not None:
            link.handler.on_detached()

    def detach(self, link: Link, condition: str, description: str) -> None:
        """End a link from our side."""
        if self._links.get(link.handle) is not link:
            return
        del self._links[link.handle]
        self._detaching.add(link.handle)
        self.send(detach_frame(link.handle, condition, description))
        if link.handler is not None:
            link.handler.on_detached()

    def end(self, *, answer: bool) -> None:
        """The session is over: its links are gone."""
        links, self._links = self._links, {}
        self._waiting.clear()
        if answer:
            self.send(End())
        for link in links.values():
            if link.handler is not None:
                link.handler.on_detached()
