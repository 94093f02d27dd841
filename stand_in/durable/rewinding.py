"""Rewind: a failed orchestration goes back to where its last failure was, and tries that again.

Failed activities, the scheduling of them, and the failed end become place-holders in the history, so the replay finds
those numbers free and asks anew. Failed children are rewound too, and then their parents wait for them again. What
this cannot undo, retry timers and work after a caught failure, ends in a non-determinism failure, as on Azure.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from stand_in.durable.errors import InstanceNotFound, WrongStatus
from stand_in.durable.history import EventType, HistoryEvent, generic_event
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.task_hub import TaskHub
from stand_in.durable.timestamps import Clock, text


class Revival(Protocol):
    """The way back into the living."""

    def revive(self, record: InstanceRecord, history: list[HistoryEvent]) -> None: ...

    def send(self, instance_id: str, execution_id: str | None, event: HistoryEvent, due_at: int = 0) -> None: ...


def rewind(instance_id: str, reason: str | None, hub: TaskHub, revival: Revival, clock: Clock) -> None:
    """Rewind an instance and its failed children. Raises InstanceNotFound or WrongStatus; then nothing has changed."""
    record = hub.instance(instance_id)
    if record is None:
        raise InstanceNotFound(f'No orchestration with instance ID "${instance_id}" found.')
    if record.status is not Status.FAILED:
        raise WrongStatus(
            f"This orchestration has status {record.status.value}, "
            'but only orchestrations in the "Failed" state can be rewound.'
        )
    # Read the whole tree first: a read stores what was changed before it, and all of this is one transaction.
    for apply in _steps(record, reason, hub, revival, clock):
        apply()


def _steps(
    record: InstanceRecord, reason: str | None, hub: TaskHub, revival: Revival, clock: Clock
) -> list[Callable[[], None]]:
    history = hub.history(record.instance_id)
    failed_tasks = {event.fields["TaskScheduledId"] for event in history if event.event_type is EventType.TASK_FAILED}
    failed_children = {
        event.fields["TaskScheduledId"] for event in history if event.event_type is EventType.SUB_ORCHESTRATION_FAILED
    }
    steps: list[Callable[[], None]] = []
    for position, event in enumerate(history):
        if _is_undone(event, failed_tasks):
            placeholder = generic_event(event.timestamp, None, event.event_id, played=event.played)
            history[position] = placeholder
            steps.append(_replacing(hub, record.instance_id, position, placeholder))
    revived = replace(record, status=Status.RUNNING, output=None, updated_at=clock.now())
    steps.append(lambda: revival.revive(revived, history))
    children = [
        child
        for event in history
        if event.event_type is EventType.SUB_ORCHESTRATION_CREATED and event.event_id in failed_children
        if (child := hub.instance(event.fields["InstanceId"])) is not None and child.status is Status.FAILED
    ]
    for child in children:
        steps += _steps(child, reason, hub, revival, clock)
    if not children:
        event = generic_event(text(clock.next()), reason)
        steps.append(lambda: revival.send(record.instance_id, record.execution_id, event))
    return steps


def _is_undone(event: HistoryEvent, failed_tasks: set[int]) -> bool:
    if event.event_type is EventType.TASK_SCHEDULED:
        return event.event_id in failed_tasks
    return event.event_type in (
        EventType.TASK_FAILED,
        EventType.SUB_ORCHESTRATION_FAILED,
        EventType.EXECUTION_COMPLETED,
    )


def _replacing(hub: TaskHub, instance_id: str, position: int, event: HistoryEvent) -> Callable[[], None]:
    return lambda: hub.replace_event(instance_id, position, event)
