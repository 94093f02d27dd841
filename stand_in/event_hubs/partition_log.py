"""The log: hubs, their partitions, and the events in them, in SQLite.

Appends gather in one transaction until `commit`, which the server calls before it writes the acknowledgements: many
clients' events cost one commit (group commit), and what a client was told is stored is stored. WAL with
synchronous=NORMAL: that holds against a killed process, not against a power cut.

Nothing is ever deleted: the state folder's life is the retention. So a partition's sequence numbers run from 0 without
gaps. Offsets grow by an event's size, so that code which takes one for the other is found out.
"""

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stand_in import crash_points
from stand_in.event_hubs.events import NewEvent, StoredEvent

_LOCK_SECONDS: Final = 1.0  # for somebody who writes into the file from outside; the server stands still meanwhile
_SQL: Final = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_STATEMENTS: Final = dict(re.findall(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", _SQL, re.MULTILINE | re.DOTALL))


@dataclass(frozen=True, slots=True)
class Hub:
    """An event hub."""

    hub_id: int
    name: str
    partition_count: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class LastEvent:
    """Where a partition ends; an empty one has sequence number and offset -1, as the service says it."""

    sequence_number: int = -1
    offset: int = -1
    enqueued_ms: int = 0


class PartitionLog:
    """The events of one namespace. For one thread."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, isolation_level=None, timeout=_LOCK_SECONDS)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_STATEMENTS["create_tables"])
        self._ends: dict[tuple[int, int], LastEvent] = {}
        self._appended: set[tuple[int, int]] = set()

    def close(self) -> None:
        """Close the file; what was not committed is dropped."""
        self._connection.close()

    def find_hub(self, name: str) -> Hub | None:
        """The hub with this name."""
        row = self._connection.execute(_STATEMENTS["select_hub"], {"name": name}).fetchone()
        return Hub(*row) if row else None

    def create_hub(self, name: str, partition_count: int, created_ms: int) -> Hub:
        """Add a hub; it is stored with the next commit."""
        self._begin()
        values = {"name": name, "partition_count": partition_count, "created_ms": created_ms}
        row = self._connection.execute(_STATEMENTS["insert_hub"], values).fetchone()
        return Hub(row[0], name, partition_count, created_ms)

    def append(self, hub: Hub, partition: int, events: list[NewEvent], now_ms: int) -> None:
        """Add events to a partition; they are stored with the next commit."""
        self._begin()
        last = self.last_event(hub, partition)
        for event in events:
            size = len(event.header) + len(event.annotations) + len(event.tail)
            last = LastEvent(
                last.sequence_number + 1,
                0 if last.sequence_number < 0 else last.offset + size,
                max(now_ms, last.enqueued_ms),  # the order in a partition is the order of its times
            )
            self._insert_event(hub, partition, last, event)
        self._ends[hub.hub_id, partition] = last
        self._appended.add((hub.hub_id, partition))

    def _insert_event(self, hub: Hub, partition: int, place: LastEvent, event: NewEvent) -> None:
        self._connection.execute(
            _STATEMENTS["insert_event"],
            {
                "hub_id": hub.hub_id,
                "partition": partition,
                "sequence_number": place.sequence_number,
                "offset": place.offset,
                "enqueued_ms": place.enqueued_ms,
                "partition_key": event.partition_key,
                "header": event.header,
                "annotations": event.annotations,
                "tail": event.tail,
            },
        )

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> set[tuple[int, int]]:
        """Store what was appended; return which partitions grew, as (hub id, partition)."""
        if self._connection.in_transaction:
            crash_points.before_commit()
            self._connection.execute("COMMIT")
            crash_points.after_commit()
        appended, self._appended = self._appended, set()
        return appended

    def roll_back(self) -> None:
        """Forget what was appended since the last commit."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._ends.clear()
        self._appended.clear()

    def read(self, hub: Hub, partition: int, from_sequence_number: int, most: int) -> list[StoredEvent]:
        """The events from a sequence number on, at most so many."""
        rows = self._connection.execute(
            _STATEMENTS["select_events"],
            {
                "hub_id": hub.hub_id,
                "partition": partition,
                "from_sequence_number": from_sequence_number,
                "most": most,
            },
        )
        return [StoredEvent(row[0], row[1], row[2], NewEvent(*row[3:])) for row in rows]

    def last_event(self, hub: Hub, partition: int) -> LastEvent:
        """Where a partition ends."""
        known = self._ends.get((hub.hub_id, partition))
        if known is None:
            values = {"hub_id": hub.hub_id, "partition": partition}
            row = self._connection.execute(_STATEMENTS["select_last_event"], values).fetchone()
            known = self._ends[hub.hub_id, partition] = LastEvent(*row) if row else LastEvent()
        return known

    def first_from_offset(self, hub: Hub, partition: int, least: int) -> int | None:
        """The sequence number of the first event at this offset or behind it."""
        return self._first("select_first_from_offset", hub, partition, least)

    def first_from_time(self, hub: Hub, partition: int, least: int) -> int | None:
        """The sequence number of the first event that was stored at this time (in ms) or later."""
        return self._first("select_first_from_time", hub, partition, least)

    def _first(self, statement: str, hub: Hub, partition: int, least: int) -> int | None:
        values = {"hub_id": hub.hub_id, "partition": partition, "least": least}
        row = self._connection.execute(_STATEMENTS[statement], values).fetchone()
        return int(row[0]) if row else None
