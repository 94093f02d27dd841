"""Consumers: a client's receiving link on one partition, fed from the log as credit and room allow."""

from collections.abc import Callable
from typing import Final

from stand_in.event_hubs.amqp.links import OutgoingLink
from stand_in.event_hubs.amqp.performatives import Attach
from stand_in.event_hubs.amqp.types import Array
from stand_in.event_hubs.consumer_groups import Seat
from stand_in.event_hubs.events import PartitionEnd
from stand_in.event_hubs.namespaces import Namespace
from stand_in.event_hubs.partition_log import Hub
from stand_in.event_hubs.start_positions import filter_of, first_sequence_number

_EPOCH: Final = "com.microsoft:epoch"
_RUNTIME_METRIC: Final = "com.microsoft:enable-receiver-runtime-metric"
# Events are read in small steps: each may have a megabyte, and the room is looked at between steps.
_STEP: Final = 16


class Consumer:
    """Sends one partition's events down one link."""

    def __init__(
        self,
        link: OutgoingLink,
        attach: Attach,
        namespace: Namespace,
        hub: Hub,
        group: str,
        partition: int,
        has_room: Callable[[], bool],
        on_detached: Callable[[], object],
    ) -> None:
        """Take a seat in the consumer group. Raises LinkRefused."""
        self._link = link
        self._namespace = namespace
        self._hub = hub
        self._partition = partition
        self._has_room = has_room
        self._on_detached = on_detached
        self._seat = Seat(hub.hub_id, group, partition)
        self.epoch = _epoch_of(attach)
        self._tells_end = _has_capability(attach.desired_capabilities, _RUNTIME_METRIC)
        self._next = first_sequence_number(namespace.log, hub, partition, filter_of(attach))
        namespace.groups.join(self._seat, self)
        namespace.subscribe(hub, partition, self)

    def on_credit(self) -> None:
        """Send what the client allows."""
        self.send_events()

    def on_new_events(self) -> None:
        """Send what came."""
        self.send_events()

    def send_events(self) -> None:
        """Send events until there are none left, or no credit, or no room in front of the socket."""
        log = self._namespace.log
        while self._link.credit > 0 and self._has_room():
            events = log.read(self._hub, self._partition, self._next, min(_STEP, self._link.credit))
            if not events:
                return
            end = self._partition_end() if self._tells_end else None
            for stored in events:
                if self._link.credit <= 0:
                    return  # the session's window closed within this step
                self._next = stored.sequence_number + 1
                self._link.send(stored.to_message(end))

    def _partition_end(self) -> PartitionEnd:
        last = self._namespace.log.last_event(self._hub, self._partition)
        return PartitionEnd(last.sequence_number, last.offset, last.enqueued_ms, self._namespace.now_ms())

    def evict(self, condition: str, description: str) -> None:
        """Give way to another reader."""
        self._link.detach(condition, description)

    def on_detached(self) -> None:
        """Give the seat back."""
        self._namespace.unsubscribe(self._hub, self._partition, self)
        self._namespace.groups.leave(self._seat, self)
        self._on_detached()


def _epoch_of(attach: Attach) -> int | None:
    epoch = (attach.properties or {}).get(_EPOCH)
    return int(epoch) if isinstance(epoch, int) else None


def _has_capability(capabilities: object, name: str) -> bool:
    if isinstance(capabilities, Array):
        return name in capabilities.items
    if isinstance(capabilities, list):
        return name in capabilities
    return capabilities == name
