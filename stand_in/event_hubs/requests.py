"""Request and response over links: how `$cbs` and `$management` are asked.

A client attaches a pair of links to the node, sends requests down one and gets the responses from the other. The SDK
gives no reply-to: then the response goes to the link from this node that was attached last.
"""

import logging
from collections import deque
from collections.abc import Callable

from stand_in.event_hubs.amqp.errors import NOT_ALLOWED, DecodeError
from stand_in.event_hubs.amqp.links import Delivery, IncomingLink, OutgoingLink
from stand_in.event_hubs.amqp.messages import Request, Response

logger = logging.getLogger(__name__)


class ResponseNode:
    """Sends responses as the client gives credit."""

    def __init__(self, link: OutgoingLink, node: str, address: str | None, on_detached: Callable[[], object]) -> None:
        self.node = node
        self.address = address
        self._link = link
        self._on_detached = on_detached
        self._waiting: deque[bytes] = deque()

    def respond(self, message: bytes) -> None:
        """Send a response, now or when there is credit."""
        self._waiting.append(message)
        self.on_credit()

    def on_credit(self) -> None:
        """Send what waits."""
        while self._waiting and self._link.credit > 0:
            self._link.send(self._waiting.popleft())

    def on_detached(self) -> None:
        """Nobody listens any more."""
        self._waiting.clear()
        self._on_detached()


class RequestNode:
    """Takes requests and answers them."""

    def __init__(
        self,
        link: IncomingLink,
        answer: Callable[[Request], Response],
        response_nodes: Callable[[], list[ResponseNode]],
    ) -> None:
        self._link = link
        self._answer = answer
        self._response_nodes = response_nodes

    def on_delivery(self, delivery: Delivery) -> None:
        """Answer a request; one that cannot be answered is rejected."""
        try:
            request = Request.from_message(delivery.payload)
        except DecodeError as error:
            self._link.reject(delivery, error.condition, error.description)
            return
        nodes = self._response_nodes()
        named = [node for node in nodes if node.address == request.reply_to] or nodes
        if not named:
            self._link.reject(delivery, NOT_ALLOWED, "There is no link to send the response on.")
            return
        self._link.accept(delivery)
        named[-1].respond(self._answer(request).to_message(request))

    def on_detached(self) -> None:
        """Nothing is held for a requester."""
