"""Consumer groups: who reads a partition, and who has to give way.

Readers with an epoch (the SDK's `owner_level`) own their partition in their group: one of a higher or equal epoch takes
it over, and readers without an epoch are turned away or out. Without epochs up to five readers share a partition.
Groups are not declared: any name is one, like hubs on first use.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from stand_in.event_hubs.errors import epoch_held, stolen, too_many_readers

MAX_READERS: Final = 5


@dataclass(frozen=True, slots=True)
class Seat:
    """What readers compete for: one partition in one consumer group."""

    hub_id: int
    group: str
    partition: int


class Reader(Protocol):
    """Somebody on a seat."""

    @property
    def epoch(self) -> int | None:
        """The owner level, None for a reader that shares."""

    def evict(self, condition: str, description: str) -> None:
        """Lose the seat, for a reason. The reader leaves the groups by itself."""


class ConsumerGroups:
    """Who sits where."""

    def __init__(self) -> None:
        self._readers: dict[Seat, list[Reader]] = {}

    @property
    def reader_count(self) -> int:
        """How many seats are taken."""
        return sum(len(seated) for seated in self._readers.values())

    def join(self, seat: Seat, reader: Reader) -> None:
        """Take a seat, turning out whoever has to go. Raises LinkRefused."""
        seated = self._readers.get(seat, [])
        held = max((other.epoch for other in seated if other.epoch is not None), default=None)
        if reader.epoch is None:
            if held is not None:
                raise epoch_held(held)
            if len(seated) >= MAX_READERS:
                raise too_many_readers(MAX_READERS)
        else:
            if held is not None and held > reader.epoch:
                raise epoch_held(held)
            for other in list(seated):
                other.evict(*stolen(reader.epoch))
        self._readers.setdefault(seat, []).append(reader)

    def leave(self, seat: Seat, reader: Reader) -> None:
        """Give the seat back."""
        seated = self._readers.get(seat, [])
        if reader in seated:
            seated.remove(reader)
        if not seated:
            self._readers.pop(seat, None)
