"""The task hub: what the engine needs from its store, on one page.

Two rules carry the whole of durability:
1. Changes that are made without an `await` between them are stored in one transaction, in their order.
2. What leaves the engine (an activity's start, an answer to a client) waits until the changes before it are stored.
Memory may be ahead of the store within those rules: what follows from a change is always stored after it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stand_in.durable.entity import EntityRecord
from stand_in.durable.history import HistoryEvent
from stand_in.durable.instance import InstanceRecord
from stand_in.durable.work_items import ActivityTask, Message, Operation


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was not over when the hub was opened."""

    instances: Sequence[tuple[InstanceRecord, list[HistoryEvent]]]
    messages: Sequence[Message]
    tasks: Sequence[ActivityTask]
    operations: Sequence[Operation]


@dataclass(frozen=True, slots=True)
class InstanceFilter:
    """Which instances a query wants. Times are ticks; no statuses means all."""

    prefix: str = ""
    created_from: int | None = None
    created_to: int | None = None
    statuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EntityFilter:
    """Which entities a query wants. Without a name it wants all."""

    name: str | None = None
    updated_from: int | None = None
    updated_to: int | None = None


class TaskHub(Protocol):
    """The store of one app."""

    def open(self) -> Backlog:
        """Open or create the store, and read what was left to do."""

    def close(self) -> None:
        """Store what was changed, and close."""

    def next_sequence(self) -> int:
        """A number for a message, a task or an operation; numbers rise over restarts too."""

    # Changes, see rule 1.

    def save_instance(self, record: InstanceRecord) -> None: ...

    def delete_instance(self, instance_id: str) -> None:
        """The record and the history."""

    def append_history(self, instance_id: str, position: int, events: Sequence[HistoryEvent]) -> None: ...

    def replace_event(self, instance_id: str, position: int, event: HistoryEvent) -> None: ...

    def delete_history(self, instance_id: str) -> None: ...

    def add_message(self, message: Message) -> None: ...

    def delete_message(self, sequence: int) -> None: ...

    def add_task(self, task: ActivityTask) -> None: ...

    def delete_task(self, sequence: int) -> None: ...

    def save_entity(self, record: EntityRecord) -> None: ...

    def delete_entity(self, entity_id: str) -> None: ...

    def add_operation(self, operation: Operation) -> None: ...

    def delete_operation(self, sequence: int) -> None: ...

    def stored(self) -> asyncio.Future[None]:
        """Settled when every change made so far is stored. Fails with TaskHubFailed."""

    def when_stored(self, callback: Callable[[], None]) -> None:
        """Call back then."""

    # Reads; they see every change made so far, stored.

    def instance(self, instance_id: str) -> InstanceRecord | None: ...

    def history(self, instance_id: str) -> list[HistoryEvent]: ...

    def entity(self, entity_id: str) -> EntityRecord | None: ...

    def query(self, wanted: InstanceFilter, top: int, start: str = "") -> list[InstanceRecord | EntityRecord]:
        """Instances and entities in the order of their ids, from the id `start` on."""

    def query_entities(self, wanted: EntityFilter, top: int, start: str = "") -> list[EntityRecord]: ...
