"""Decisions: what one episode newly asks for, each under the number that its history event will carry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stand_in.durable.history import HistoryEvent


@dataclass(frozen=True, slots=True)
class ScheduleTask:
    """Run an activity. `input_text` is the JSON text that its trigger gets."""

    task_id: int
    name: str
    input_text: str

    # The name of the class in the extension's framework: it stands in texts about non-determinism.
    framework_name = "ScheduleTaskOrchestratorAction"


@dataclass(frozen=True, slots=True)
class CreateTimer:
    """Wake the orchestration at a time."""

    task_id: int
    fire_at: str

    framework_name = "CreateTimerOrchestratorAction"


@dataclass(frozen=True, slots=True)
class CreateSubOrchestration:
    """Start another orchestration and wait for its end."""

    task_id: int
    name: str
    version: str | None
    instance_id: str
    input_text: str | None

    framework_name = "CreateSubOrchestrationAction"


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Send an operation to an entity. `message` is the request's JSON text."""

    task_id: int
    entity_id: str
    message: str

    framework_name = "SendEventOrchestratorAction"


@dataclass(frozen=True, slots=True)
class Finish:
    """End the execution."""

    task_id: int
    status: str
    result: str | None
    details: str | None = None

    framework_name = "OrchestrationCompleteOrchestratorAction"


@dataclass(frozen=True, slots=True)
class StartAgain:
    """End the execution and begin a new one with the same id (continue-as-new)."""

    task_id: int
    input_text: str | None
    carried: tuple[HistoryEvent, ...]

    framework_name = "OrchestrationCompleteOrchestratorAction"


Decision = ScheduleTask | CreateTimer | CreateSubOrchestration | SendRequest
Ending = Finish | StartAgain


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an episode: new decisions in the order of their numbers, and the execution's end, if it ended."""

    decisions: tuple[Decision, ...]
    ending: Ending | None
    custom_status: str | None
    suspended: bool


Action = Mapping[str, Any]
