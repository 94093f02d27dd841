"""Producers: a client's sending link. An event is acknowledged once it is in the log.

The acknowledgement is only queued here; the server commits the log before it writes the queue.
"""

import logging
from collections.abc import Callable

from stand_in.event_hubs.amqp.links import Delivery, IncomingLink
from stand_in.event_hubs.errors import SERVER_BUSY, EventRefused
from stand_in.event_hubs.namespaces import Namespace
from stand_in.event_hubs.partition_log import Hub

logger = logging.getLogger(__name__)


class Producer:
    """Takes what arrives on one link."""

    def __init__(
        self, link: IncomingLink, namespace: Namespace, hub: Hub, partition: int | None, cut: Callable[[], None]
    ) -> None:
        self._link = link
        self._namespace = namespace
        self._hub = hub
        self._partition = partition
        self._cut = cut

    def on_delivery(self, delivery: Delivery) -> None:
        """Append it to the log."""
        faults = self._namespace.faults
        if faults.take_rejection():
            self._link.reject(delivery, SERVER_BUSY, "The server is busy: faults.json asks for it.")
            return
        try:
            self._namespace.publish(self._hub, self._partition, delivery)
        except EventRefused as refusal:
            logger.warning("An event for %s was refused: %s", self._hub.name, refusal)
            self._link.reject(delivery, refusal.condition, refusal.description)
            return
        if faults.take_cut():
            self._cut()
        else:
            self._link.accept(delivery)

    def on_detached(self) -> None:
        """Nothing is held for a producer."""
