"""The namespace: all hubs of one emulator, who reads them, and how an event gets its place.

Hubs exist from their first use, with as many partitions as the emulator was started with. An event goes to the
partition of its link, else to the one its key hashes to, else to the next one round robin.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from stand_in.event_hubs.addresses import is_hub_name
from stand_in.event_hubs.amqp.errors import DecodeError
from stand_in.event_hubs.amqp.links import MAX_MESSAGE_SIZE, Delivery
from stand_in.event_hubs.consumer_groups import ConsumerGroups
from stand_in.event_hubs.errors import EventRefused, no_such_node, no_such_partition, too_large
from stand_in.event_hubs.events import events_of
from stand_in.event_hubs.faults import Faults
from stand_in.event_hubs.partition_keys import partition_of
from stand_in.event_hubs.partition_log import Hub, PartitionLog

logger = logging.getLogger(__name__)

PARTITION_COUNT: Final = 4  # the service's own default when a hub is made in the portal is 1; 4 shows what order means


class PartitionReader(Protocol):
    """Somebody who wants to know when a partition grew."""

    def on_new_events(self) -> None:
        """There is more to read."""


class Namespace:
    """Hubs, their log and their readers."""

    def __init__(self, log: PartitionLog, faults: Faults, now_ms: Callable[[], int], partition_count: int) -> None:
        self.log = log
        self.faults = faults
        self.now_ms = now_ms
        self.groups = ConsumerGroups()
        self._partition_count = partition_count
        self._hubs: dict[str, Hub] = {}
        self._round_robin: Counter[int] = Counter()
        self._readers: dict[tuple[int, int], set[PartitionReader]] = {}

    def hub(self, name: str) -> Hub:
        """The hub with this name, made now if there is none. Raises LinkRefused for a name that no hub can have."""
        known = self._hubs.get(name.lower())
        if known is not None:
            return known
        if not is_hub_name(name):
            raise no_such_node(name)
        hub = self.log.find_hub(name)
        if hub is None:
            hub = self.log.create_hub(name, self._partition_count, self.now_ms())
            logger.info("Event hub %s was created with %d partitions", name, hub.partition_count)
        self._hubs[name.lower()] = hub
        return hub

    def partition(self, hub: Hub, number: int) -> int:
        """The number, if the hub has such a partition. Raises LinkRefused."""
        if number >= hub.partition_count:
            raise no_such_partition(hub.name, str(number), hub.partition_count)
        return number

    def publish(self, hub: Hub, partition: int | None, delivery: Delivery) -> None:
        """Append what a delivery holds. Raises EventRefused."""
        if delivery.size > MAX_MESSAGE_SIZE:
            raise too_large(delivery.size)
        try:
            events, key = events_of(delivery.message_format, delivery.payload)
        except DecodeError as error:
            raise EventRefused(error.condition, error.description) from error
        if partition is None:
            partition = self._next_partition(hub) if key is None else partition_of(key, hub.partition_count)
        self.log.append(hub, partition, events, self.now_ms())

    def _next_partition(self, hub: Hub) -> int:
        self._round_robin[hub.hub_id] += 1
        return self._round_robin[hub.hub_id] % hub.partition_count

    def subscribe(self, hub: Hub, partition: int, reader: PartitionReader) -> None:
        """Tell a reader whenever the partition grew."""
        self._readers.setdefault((hub.hub_id, partition), set()).add(reader)

    def unsubscribe(self, hub: Hub, partition: int, reader: PartitionReader) -> None:
        """Tell it no longer."""
        self._readers.get((hub.hub_id, partition), set()).discard(reader)

    def commit(self) -> None:
        """Store what was appended, and tell its readers."""
        for grown in self.log.commit():
            for reader in list(self._readers.get(grown, ())):
                reader.on_new_events()

    def roll_back(self) -> None:
        """Forget everything since the last commit, hubs too."""
        self.log.roll_back()
        self._hubs.clear()
