"""Instances: one running or finished orchestration each, under an id.

A *record* is what is stored and shown. A *live* instance is one that is not over: it is kept in memory with its
history and the messages that wait for it, so that an episode reads nothing from the database.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from stand_in.durable.history import HistoryEvent, Parent
from stand_in.durable.work_items import Message


class Status(Enum):
    """Runtime status; the values are those of the wire."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETED = "Completed"
    FAILED = "Failed"
    TERMINATED = "Terminated"
    CANCELED = "Canceled"
    CONTINUED_AS_NEW = "ContinuedAsNew"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the instance."""
        return self in _FINAL


_FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.TERMINATED, Status.CANCELED})


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """What is stored of an instance besides history and messages. Texts are as the client or the app gave them."""

    instance_id: str
    execution_id: str
    name: str
    version: str | None
    status: Status
    created_at: int
    updated_at: int
    input: str | None = None
    output: str | None = None
    custom_status: str | None = None
    parent: Parent | None = None


@dataclass(slots=True, eq=False)
class LiveInstance:
    """An instance that is not over."""

    record: InstanceRecord
    history: list[HistoryEvent] = field(default_factory=list)
    inbox: deque[Message] = field(default_factory=deque)
    # Sequence numbers of every stored message of this instance, also of those that are not due yet.
    stored_messages: set[int] = field(default_factory=set)
    is_busy: bool = False
    failures: int = 0

    @property
    def instance_id(self) -> str:
        """The id, unique in its task hub."""
        return self.record.instance_id

    @property
    def execution_id(self) -> str:
        """The generation; messages to an earlier one are dropped."""
        return self.record.execution_id
