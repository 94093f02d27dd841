"""Work items: what waits to be done, each with the sequence number under which it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stand_in.durable.history import HistoryEvent


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way to an instance. Without an execution id it is for whichever generation runs."""

    sequence: int
    instance_id: str
    execution_id: str | None
    event: HistoryEvent
    due_at: int


@dataclass(frozen=True, slots=True)
class ActivityTask:
    """An activity to be run, for the execution that asked for it under `task_id`."""

    sequence: int
    instance_id: str
    execution_id: str
    task_id: int
    name: str
    input_text: str

    def is_same_as(self, other: "ActivityTask") -> bool:
        """Whether both were asked for by one decision of one execution; sequence numbers are given out again."""
        return (self.instance_id, self.execution_id, self.task_id) == (
            other.instance_id,
            other.execution_id,
            other.task_id,
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """A request to an entity; the message is the request's JSON object."""

    sequence: int
    entity_id: str
    message: Mapping[str, Any]

    @property
    def is_signal(self) -> bool:
        """Whether nobody waits for the answer."""
        return bool(self.message.get("signal"))

    def in_batch(self) -> dict[str, Any]:
        """Its form in the batch that the entity's function gets."""
        return {
            "name": self.message["op"],
            "input": self.message.get("input"),
            "isSignal": self.is_signal,
            "id": self.message["id"],
        }
