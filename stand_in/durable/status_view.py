"""Status views: how the management API shows instances, histories and entities.

A shown history is a projection for people: episodes are left out, a finished task replaces the event that scheduled
it, and results are shown only when asked for.
"""

from collections.abc import Iterable
from typing import Any

from stand_in.durable.entity import EntityRecord
from stand_in.durable.errors import HistoryUnreadable
from stand_in.durable.history import SHOWN_NAMES, EventType, HistoryEvent
from stand_in.durable.instance import InstanceRecord
from stand_in.durable.json_text import value_or_text
from stand_in.durable.names import entity_key, entity_name
from stand_in.durable.timestamps import text, text_in_seconds, ticks

_SCHEDULING = frozenset({EventType.TASK_SCHEDULED, EventType.SUB_ORCHESTRATION_CREATED})
_COMPLETING = frozenset(
    {
        EventType.TASK_COMPLETED,
        EventType.TASK_FAILED,
        EventType.SUB_ORCHESTRATION_COMPLETED,
        EventType.SUB_ORCHESTRATION_FAILED,
    }
)
_EPISODE = frozenset({EventType.ORCHESTRATOR_STARTED, EventType.ORCHESTRATOR_COMPLETED})
_HIDDEN = frozenset({"OrchestrationInstance", "ParentInstance", "Version", "TaskScheduledId", "TimerId"})


def instance_status(
    record: InstanceRecord, *, show_input: bool = True, history: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The status of an orchestration."""
    shown: dict[str, Any] = {"name": record.name}
    if record.version:
        shown["version"] = record.version
    shown |= {
        "instanceId": record.instance_id,
        "runtimeStatus": record.status.value,
        "input": value_or_text(record.input) if show_input else None,
        "customStatus": value_or_text(record.custom_status),
        "output": value_or_text(record.output),
        "createdTime": text_in_seconds(record.created_at),
        "lastUpdatedTime": text_in_seconds(record.updated_at),
    }
    if history is not None:
        shown["historyEvents"] = history
    return shown


def entity_status(record: EntityRecord, *, show_input: bool = True) -> dict[str, Any]:
    """The status of an entity that is asked for as an instance: always running."""
    return {
        "name": record.entity_id,
        "instanceId": record.entity_id,
        "runtimeStatus": "Running",
        "input": record.as_instance_input() if show_input else None,
        "customStatus": {"entityExists": True} if record.exists else {},
        "output": None,
        "createdTime": text_in_seconds(record.created_at),
        "lastUpdatedTime": text_in_seconds(record.updated_at),
    }


def listed_entity(record: EntityRecord, *, with_state: bool) -> dict[str, Any]:
    """One entry of the list of entities."""
    return {
        "entityId": {"name": entity_name(record.entity_id), "key": entity_key(record.entity_id)},
        "lastOperationTime": text(record.updated_at),
        "state": value_or_text(record.state) if with_state else None,
    }


def shown_history(
    history: Iterable[HistoryEvent], *, show_output: bool, show_input: bool = True
) -> list[dict[str, Any]]:
    """The events for people. Raises HistoryUnreadable when one number was scheduled twice."""
    history = list(history)
    scheduled = _scheduled_by_number(history)
    finished = {
        (event.event_type, event.fields["TaskScheduledId"]) for event in history if event.event_type in _COMPLETING
    }
    done = {number for _, number in finished}
    return [
        _shown_event(event, scheduled, show_output=show_output, show_input=show_input)
        for event in history
        if event.event_type not in _EPISODE and not (event.event_type in _SCHEDULING and event.event_id in done)
    ]


def _scheduled_by_number(history: Iterable[HistoryEvent]) -> dict[int, HistoryEvent]:
    scheduled: dict[int, HistoryEvent] = {}
    for event in history:
        if event.event_type in _SCHEDULING:
            if event.event_id in scheduled:
                key = f"{_name(event.event_type)}_{event.event_id}"
                raise HistoryUnreadable(f"An item with the same key has already been added. Key: {key}")
            scheduled[event.event_id] = event
    return scheduled


def _shown_event(
    event: HistoryEvent, scheduled: dict[int, HistoryEvent], *, show_output: bool, show_input: bool
) -> dict[str, Any]:
    shown: dict[str, Any] = {"Data": event.fields["Data"]} if "Data" in event.fields else {}
    shown["EventType"] = _name(event.event_type)
    shown |= {name: value for name, value in event.fields.items() if name not in _HIDDEN and name != "Data"}
    shown["Timestamp"] = event.timestamp
    if event.event_type is EventType.EXECUTION_STARTED:
        shown["FunctionName"] = shown.pop("Name")
        del shown["Tags"]
        if not show_input:
            del shown["Input"]
    if event.event_type in _COMPLETING:
        origin = scheduled.get(event.fields["TaskScheduledId"])
        if origin is not None:
            shown["ScheduledTime"] = text(ticks(origin.timestamp), "+00:00")
            shown["FunctionName"] = origin.fields["Name"]
            if "InstanceId" in origin.fields:
                shown["InstanceId"] = origin.fields["InstanceId"]
            if show_input:
                shown["Input"] = value_or_text(origin.fields["Input"])
    if event.event_type in _SCHEDULING and not show_input:
        shown.pop("Input", None)
    if "Result" in shown:
        if show_output:
            shown["Result"] = value_or_text(shown["Result"])
        else:
            del shown["Result"]
    return shown


def _name(event_type: EventType) -> str:
    return SHOWN_NAMES.get(event_type) or "".join(part.capitalize() for part in event_type.name.split("_"))
