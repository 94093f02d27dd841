"""Links (part 2.6): one-way paths for messages between a client and a node, with credit against overrunning.

The names are the server's view: on an `IncomingLink` the client sends, on an `OutgoingLink` we do. A node is told about
deliveries or credit through the handler it gave when the link was attached.

The server never answers with *released* or *modified*, and settles with `settled=true` at once: the SDK waits for ever
or sends a second time otherwise.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from stand_in.event_hubs.amqp.errors import INVALID_FIELD, ProtocolViolation
from stand_in.event_hubs.amqp.performatives import (
    ACCEPTED,
    ROLE_RECEIVER,
    Attach,
    Detach,
    Disposition,
    Flow,
    Transfer,
    error_value,
    rejected,
)

if TYPE_CHECKING:
    from stand_in.event_hubs.amqp.sessions import Session

# Standard and Premium tiers: 1 MB, properties and annotations included. `create_batch` fills up to this.
MAX_MESSAGE_SIZE: Final = 1024 * 1024
# A client that runs out of credit asks for more with a flow of its own, and the SDK's counters in it are off by then;
# so it is topped up at half.
CREDIT: Final = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """A whole message as it arrived. `payload` is what was kept of it; `size` is what was sent."""

    delivery_id: int
    message_format: int
    settled: bool
    payload: bytes
    size: int


class DeliveryHandler(Protocol):
    """The node behind an incoming link."""

    def on_delivery(self, delivery: Delivery) -> None:
        """Take a message; settle it with `accept` or `reject`."""

    def on_detached(self) -> None:
        """The link is gone."""


class CreditHandler(Protocol):
    """The node behind an outgoing link."""

    def on_credit(self) -> None:
        """The client allowed (more) messages."""

    def on_detached(self) -> None:
        """The link is gone."""


class IncomingLink:
    """The client sends, we receive."""

    def __init__(self, session: "Session", attach: Attach) -> None:
        self.session = session
        self.handle = attach.handle
        self.name = attach.name
        self.handler: DeliveryHandler | None = None
        self._first: Transfer | None = None
        self._payload = bytearray()
        self._size = 0
        self._delivery_count = attach.initial_delivery_count or 0
        self._credit = 0

    def grant_credit(self) -> None:
        """Tell the client how many messages it may send."""
        self._credit = CREDIT
        self.session.send_flow(self.handle, self._delivery_count, self._credit)

    def on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Take one frame of a message; hand the message over with its last frame."""
        if self._first is None:
            if transfer.delivery_id is None:
                raise ProtocolViolation(INVALID_FIELD, "the first transfer of a delivery has no delivery-id")
            self._first = transfer
        self._size += len(payload)
        if len(self._payload) <= MAX_MESSAGE_SIZE:  # beyond the limit only the size is of interest
            self._payload += payload
        if transfer.more and not transfer.aborted:
            return
        first, content, size = self._first, bytes(self._payload), self._size
        self._first, self._payload, self._size = None, bytearray(), 0
        self._delivery_count = (self._delivery_count + 1) & 0xFFFFFFFF
        self._credit -= 1
        if not transfer.aborted and self.handler is not None:
            settled = bool(first.settled or transfer.settled)
            self.handler.on_delivery(
                Delivery(first.delivery_id or 0, first.message_format or 0, settled, content, size)
            )
        if self._credit <= CREDIT // 2:
            self.grant_credit()

    def accept(self, delivery: Delivery) -> None:
        """Say that the message is stored."""
        self._settle(delivery, ACCEPTED)

    def reject(self, delivery: Delivery, condition: str, description: str) -> None:
        """Say that the message is not taken, and why."""
        self._settle(delivery, rejected(condition, description))

    def _settle(self, delivery: Delivery, state: object) -> None:
        if not delivery.settled:
            number = delivery.delivery_id
            self.session.send(Disposition(role=ROLE_RECEIVER, first=number, last=number, settled=True, state=state))

    def on_flow(self, flow: Flow) -> None:
        """A sender's flow tells its state; only an echo is to be answered."""
        if flow.echo:
            self.grant_credit()

    def detach(self, condition: str, description: str) -> None:
        """End the link from our side."""
        self.session.detach(self, condition, description)


class OutgoingLink:
    """We send, the client receives."""

    def __init__(self, session: "Session", attach: Attach) -> None:
        self.session = session
        self.handle = attach.handle
        self.name = attach.name
        self.handler: CreditHandler | None = None
        self._delivery_count = 0
        self._credit = 0

    @property
    def credit(self) -> int:
        """How many messages may be sent now: 0 too while earlier ones wait for the session's window."""
        return 0 if self.session.is_blocked else self._credit

    def send(self, message: bytes) -> None:
        """Send a message, settled: a consumer of a log acknowledges nothing, it remembers how far it read."""
        if self._credit <= 0:
            raise RuntimeError("a message was sent without credit")
        self._credit -= 1
        self._delivery_count = (self._delivery_count + 1) & 0xFFFFFFFF
        self.session.send_message(self.handle, message)

    def on_flow(self, flow: Flow) -> None:
        """Take the client's credit (2.6.7): what it has, minus what it cannot have seen yet."""
        if flow.link_credit is not None:
            seen = flow.delivery_count if flow.delivery_count is not None else 0
            in_flight = (self._delivery_count - seen) & 0xFFFFFFFF
            self._credit = max(0, flow.link_credit - in_flight)
        if self.handler is not None:
            self.handler.on_credit()
        if flow.drain and self._credit:
            self._delivery_count = (self._delivery_count + self._credit) & 0xFFFFFFFF
            self._credit = 0
        if flow.drain or flow.echo:
            self.session.send_flow(self.handle, self._delivery_count, self._credit)

    def detach(self, condition: str, description: str) -> None:
        """End the link from our side."""
        self.session.detach(self, condition, description)


Link = IncomingLink | OutgoingLink


def detach_frame(handle: int, condition: str, description: str) -> Detach:
    """The detach that ends a link for a reason."""
    return Detach(handle=handle, closed=True, error=error_value(condition, description))
