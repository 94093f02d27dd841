"""Entities: a state each, changed by one operation after another."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from stand_in.durable.work_items import Operation


@dataclass(frozen=True, slots=True)
class EntityRecord:
    """What is stored of an entity. `exists` is false after it was deleted, or while it has never had a state."""

    entity_id: str
    exists: bool
    state: str | None
    created_at: int
    updated_at: int

    def as_instance_input(self) -> dict[str, Any]:
        """The `input` that an entity shows when it is asked for as an instance."""
        shown: dict[str, Any] = {"exists": True} if self.exists else {}
        if self.state is not None:
            shown["state"] = self.state
        return shown | {"sorter": {}}


@dataclass(slots=True, eq=False)
class LiveEntity:
    """An entity with operations to do. Its record is read when the first batch begins."""

    entity_id: str
    record: EntityRecord | None = None
    queue: deque[Operation] = field(default_factory=deque)
    is_busy: bool = False
    failures: int = 0
