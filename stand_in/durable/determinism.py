"""Determinism: a recorded decision and the replayed one must be of one kind and name.

Inputs are not compared, and names are compared ignoring case, as the extension does.
"""

from collections.abc import Callable, Mapping
from typing import Any

from stand_in.durable import failure_texts as texts
from stand_in.durable.decisions import CreateSubOrchestration, CreateTimer, Decision, ScheduleTask, SendRequest
from stand_in.durable.history import EventType, HistoryEvent

Fields = Mapping[str, Any]
Text = Callable[[int, Fields], str]


class NonDeterministic(Exception):
    """The history and the replay do not agree about a number."""


def check_recorded(event: HistoryEvent, decision: Decision | None) -> None:
    """Hold a scheduled event against the decision with its number. Raises NonDeterministic."""
    number, fields = event.event_id, event.fields
    expected, missing, described = _RECORDED[event.event_type]
    if decision is None:
        raise NonDeterministic(missing(number, fields))
    if not isinstance(decision, expected):
        raise NonDeterministic(texts.other_kind(described(number, fields), decision.framework_name))
    if isinstance(decision, ScheduleTask | CreateSubOrchestration):
        recorded = fields["Name"]
        if recorded.casefold() != decision.name.casefold():
            kind = "activity" if isinstance(decision, ScheduleTask) else "sub-orchestration"
            raise NonDeterministic(texts.other_name(number, kind, recorded, decision.name))


# Per kind of recorded event: the decision it must meet, the text when there is none, and how it calls itself (a timer's
# text breaks off, as the framework's own does).
_RECORDED: dict[EventType, tuple[type, Text, Text]] = {
    EventType.TASK_SCHEDULED: (
        ScheduleTask,
        lambda number, fields: texts.missing_activity(number, fields["Name"], fields["Version"] or ""),
        lambda number, fields: f"an activity task with sequence number {number} named '{fields['Name']}',",
    ),
    EventType.TIMER_CREATED: (
        CreateTimer,
        lambda number, fields: texts.missing_timer(number),
        lambda number, fields: f"a timer task with sequence number {number} named",
    ),
    EventType.SUB_ORCHESTRATION_CREATED: (
        CreateSubOrchestration,
        lambda number, fields: texts.missing_sub_orchestration(
            number, fields["Name"], fields["Version"], fields["InstanceId"]
        ),
        lambda number, fields: f"a sub-orchestration task with sequence ID {number} named '{fields['Name']}',",
    ),
    EventType.EVENT_SENT: (
        SendRequest,
        lambda number, fields: texts.missing_event(number, fields["Name"], fields["InstanceId"]),
        lambda number, fields: (
            f"a send event task with sequence ID {number} of type 'EventSent' name '{fields['Name']}', "
            f"instance ID '{fields['InstanceId']}',"
        ),
    ),
}
