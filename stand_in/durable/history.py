"""History events: what happened to one execution of an orchestration, in the form in which its function sees it.

An event is written once and never changed (rewind alone replaces some). Its text goes into every later trigger body,
so it is made once too; only `IsPlayed` differs between the episode in which an event is new and all later ones. The
properties and their order are those of the Durable extension 3.19.0: the SDK reads some by name, and a body that is
alike to the letter makes recordings comparable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

from stand_in.durable.json_text import indented, parse


class EventType(IntEnum):
    """The numbers that stand on the wire."""

    EXECUTION_STARTED = 0
    EXECUTION_COMPLETED = 1
    EXECUTION_FAILED = 2
    EXECUTION_TERMINATED = 3
    TASK_SCHEDULED = 4
    TASK_COMPLETED = 5
    TASK_FAILED = 6
    SUB_ORCHESTRATION_CREATED = 7
    SUB_ORCHESTRATION_COMPLETED = 8
    SUB_ORCHESTRATION_FAILED = 9
    TIMER_CREATED = 10
    TIMER_FIRED = 11
    ORCHESTRATOR_STARTED = 12
    ORCHESTRATOR_COMPLETED = 13
    EVENT_SENT = 14
    EVENT_RAISED = 15
    CONTINUE_AS_NEW = 16
    GENERIC_EVENT = 17
    HISTORY_STATE = 18
    EXECUTION_SUSPENDED = 19
    EXECUTION_RESUMED = 20


# Numbers that exist in the SDK and that the extension never writes into a history.
NEVER_WRITTEN = frozenset({EventType.EXECUTION_FAILED, EventType.CONTINUE_AS_NEW, EventType.HISTORY_STATE})

# The names that a shown history has where they are not the enum's own (management API).
SHOWN_NAMES = {
    EventType.SUB_ORCHESTRATION_CREATED: "SubOrchestrationInstanceCreated",
    EventType.SUB_ORCHESTRATION_COMPLETED: "SubOrchestrationInstanceCompleted",
    EventType.SUB_ORCHESTRATION_FAILED: "SubOrchestrationInstanceFailed",
}

_NO_ID = -1
# Serialised before EventType: members that the extension's event class declares itself come first in these two.
_LEADING = ("OrchestrationInstance", "Data")
_COMMON = ("EventType", "EventId", "IsPlayed", "Timestamp")


@dataclass(frozen=True)
class HistoryEvent:
    """One event. `fields` are the properties of its type, in the order of the wire."""

    event_type: EventType
    timestamp: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    event_id: int = _NO_ID
    played: bool = False

    def as_played(self) -> "HistoryEvent":
        """The same event, once an episode has processed it."""
        if self.played:
            return self
        played = HistoryEvent(self.event_type, self.timestamp, self.fields, self.event_id, played=True)
        played.__dict__["_around_is_played"] = self._around_is_played
        return played

    @property
    def indented(self) -> str:
        """Its text in a trigger body, which is also its stored form."""
        before, after = self._around_is_played
        return before + ("true" if self.played else "false") + after

    @cached_property
    def _around_is_played(self) -> tuple[str, str]:
        lines = [f'      "{name}": {indented(value, 3)}' for name, value in self._own(leading=True)]
        lines.append(f'      "EventType": {int(self.event_type)}')
        lines += [f'      "{name}": {indented(value, 3)}' for name, value in self._own(leading=False)]
        lines.append(f'      "EventId": {self.event_id}')
        return (
            "    {\n" + ",\n".join(lines) + ',\n      "IsPlayed": ',
            f',\n      "Timestamp": "{self.timestamp}"\n    }}',
        )

    def _own(self, *, leading: bool) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in self.fields.items() if (name in _LEADING) is leading]

    @classmethod
    def from_json(cls, text: str) -> "HistoryEvent":
        """The event of a stored text."""
        stored = parse(text)
        fields = {name: value for name, value in stored.items() if name not in _COMMON}
        event_type = EventType(stored["EventType"])
        return cls(event_type, stored["Timestamp"], fields, stored["EventId"], stored["IsPlayed"])


@dataclass(frozen=True, slots=True)
class Parent:
    """The execution that created a sub-orchestration, and the number under which it waits for the result."""

    instance_id: str
    execution_id: str
    name: str
    version: str | None
    task_id: int

    def to_wire(self) -> dict[str, Any]:
        """The ParentInstance of an ExecutionStarted event."""
        return {
            "OrchestrationInstance": {"InstanceId": self.instance_id, "ExecutionId": self.execution_id},
            "Name": self.name,
            "Version": self.version,
            "TaskScheduleId": self.task_id,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Parent":
        """The parent named by an ExecutionStarted event."""
        instance = wire["OrchestrationInstance"]
        return cls(
            instance["InstanceId"], instance["ExecutionId"], wire["Name"], wire["Version"], wire["TaskScheduleId"]
        )


def execution_started(
    timestamp: str,
    *,
    instance_id: str,
    execution_id: str,
    name: str,
    version: str | None,
    input_text: str | None,
    parent: Parent | None = None,
    generation: int | None = None,
    trace_context: Mapping[str, Any] | None = None,
) -> HistoryEvent:
    """The first event of an execution. `generation` is 0 for starts by a client and null for all others."""
    return HistoryEvent(
        EventType.EXECUTION_STARTED,
        timestamp,
        {
            "OrchestrationInstance": {"InstanceId": instance_id, "ExecutionId": execution_id},
            "ParentInstance": parent.to_wire() if parent else None,
            "Name": name,
            "Version": version,
            "Input": input_text,
            "Tags": None,
            "Correlation": None,
            "ParentTraceContext": trace_context,
            "ScheduledStartTime": None,
            "Generation": generation,
            "GenerateNewTrace": False,
        },
    )


def execution_completed(timestamp: str, event_id: int, status: str, result: str | None) -> HistoryEvent:
    """The last event of an execution, whatever its end; no running execution sees it."""
    fields = {"OrchestrationStatus": status, "Result": result, "FailureDetails": None}
    return HistoryEvent(EventType.EXECUTION_COMPLETED, timestamp, fields, event_id)


def execution_terminated(timestamp: str, reason: str | None) -> HistoryEvent:
    """A client wants the execution to end now."""
    return HistoryEvent(EventType.EXECUTION_TERMINATED, timestamp, {"Input": reason})


def execution_suspended(timestamp: str, reason: str | None) -> HistoryEvent:
    """A client wants the execution to hold."""
    return HistoryEvent(EventType.EXECUTION_SUSPENDED, timestamp, {"Reason": reason})


def execution_resumed(timestamp: str, reason: str | None) -> HistoryEvent:
    """A client wants the execution to go on."""
    return HistoryEvent(EventType.EXECUTION_RESUMED, timestamp, {"Reason": reason})


def orchestrator_started(timestamp: str) -> HistoryEvent:
    """An episode began; its time is the orchestrator's time."""
    return HistoryEvent(EventType.ORCHESTRATOR_STARTED, timestamp)


def orchestrator_completed(timestamp: str) -> HistoryEvent:
    """An episode ended."""
    return HistoryEvent(EventType.ORCHESTRATOR_COMPLETED, timestamp)


def task_scheduled(timestamp: str, event_id: int, name: str, input_text: str | None) -> HistoryEvent:
    """An activity was asked for. The input is kept only where host.json says so."""
    fields = {"Name": name, "Version": "", "Input": input_text, "ParentTraceContext": None, "Tags": None}
    return HistoryEvent(EventType.TASK_SCHEDULED, timestamp, fields, event_id)


def task_completed(timestamp: str, task_id: int, result: str | None) -> HistoryEvent:
    """An activity returned."""
    return HistoryEvent(EventType.TASK_COMPLETED, timestamp, {"TaskScheduledId": task_id, "Result": result})


def task_failed(timestamp: str, task_id: int, reason: str, details: str | None) -> HistoryEvent:
    """An activity raised."""
    fields = {"TaskScheduledId": task_id, "Reason": reason, "Details": details, "FailureDetails": None}
    return HistoryEvent(EventType.TASK_FAILED, timestamp, fields)


def sub_orchestration_created(
    timestamp: str, event_id: int, name: str, version: str | None, instance_id: str, input_text: str | None
) -> HistoryEvent:
    """A sub-orchestration was asked for."""
    fields = {
        "Name": name,
        "Version": version,
        "InstanceId": instance_id,
        "Input": input_text,
        "ClientSpanId": None,
        "Tags": None,
    }
    return HistoryEvent(EventType.SUB_ORCHESTRATION_CREATED, timestamp, fields, event_id)


def sub_orchestration_completed(timestamp: str, task_id: int, result: str | None) -> HistoryEvent:
    """A sub-orchestration ended well."""
    fields = {"TaskScheduledId": task_id, "Result": result}
    return HistoryEvent(EventType.SUB_ORCHESTRATION_COMPLETED, timestamp, fields)


def sub_orchestration_failed(timestamp: str, task_id: int, reason: str | None, details: str | None) -> HistoryEvent:
    """A sub-orchestration failed or was terminated."""
    fields = {"TaskScheduledId": task_id, "Reason": reason, "Details": details, "FailureDetails": None}
    return HistoryEvent(EventType.SUB_ORCHESTRATION_FAILED, timestamp, fields)


def timer_created(timestamp: str, event_id: int, fire_at: str) -> HistoryEvent:
    """A timer was asked for."""
    return HistoryEvent(EventType.TIMER_CREATED, timestamp, {"FireAt": fire_at}, event_id)


def timer_fired(timestamp: str, timer_id: int, fire_at: str) -> HistoryEvent:
    """A timer came due. Its Timestamp is that of its creation, as in the extension."""
    return HistoryEvent(EventType.TIMER_FIRED, timestamp, {"TimerId": timer_id, "FireAt": fire_at})


def event_sent(timestamp: str, event_id: int, target: str, name: str, input_text: str) -> HistoryEvent:
    """A request went to an entity."""
    fields = {"InstanceId": target, "Name": name, "Input": input_text}
    return HistoryEvent(EventType.EVENT_SENT, timestamp, fields, event_id)


def event_raised(timestamp: str, name: str, input_text: str | None) -> HistoryEvent:
    """An external event, or an entity's answer, arrived."""
    fields = {"Name": name, "Input": input_text, "ParentTraceContext": None}
    return HistoryEvent(EventType.EVENT_RAISED, timestamp, fields)


def generic_event(timestamp: str, data: str | None, event_id: int = _NO_ID, *, played: bool = False) -> HistoryEvent:
    """A place-holder: what a rewind put in the place of another event, or the rewind's own reason."""
    return HistoryEvent(EventType.GENERIC_EVENT, timestamp, {"Data": data}, event_id, played)
