"""Actions: what an orchestrator asked for, as the SDK reports it after each run.

The SDK replays the function itself and returns *every* action since the execution began, in the order in which they
were scheduled. This module gives those JSON objects names and types; what has no meaning here is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from stand_in.durable.errors import UnsupportedAction
from stand_in.durable.json_text import compact, parse

FAILURE_MARKER = "\n\n$OutOfProcData$:"


class ActionType(IntEnum):
    """The numbers that stand on the wire."""

    CALL_ACTIVITY = 0
    CALL_ACTIVITY_WITH_RETRY = 1
    CALL_SUB_ORCHESTRATOR = 2
    CALL_SUB_ORCHESTRATOR_WITH_RETRY = 3
    CONTINUE_AS_NEW = 4
    CREATE_TIMER = 5
    WAIT_FOR_EXTERNAL_EVENT = 6
    CALL_ENTITY = 7
    CALL_HTTP = 8
    SIGNAL_ENTITY = 9
    SCHEDULED_SIGNAL_ENTITY = 10
    WHEN_ANY = 11
    WHEN_ALL = 12


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How often, and how far apart, a failed call is made again."""

    first_interval_ms: int
    attempts: int
    backoff: float
    longest_interval_ms: int
    timeout_ms: int | None

    # Defaults of the extension: six days for the longest pause, no limit for the whole.
    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "RetryOptions":
        """The options of a `...WithRetry` action."""
        return cls(
            first_interval_ms=int(wire["firstRetryIntervalInMilliseconds"]),
            attempts=int(wire["maxNumberOfAttempts"]),
            backoff=float(wire.get("backoffCoefficient") or 1),
            longest_interval_ms=int(wire.get("maxRetryIntervalInMilliseconds") or 6 * 86_400_000),
            timeout_ms=wire.get("retryTimeoutInMilliseconds"),
        )

    def pause_ms(self, attempt: int) -> float:
        """The pause after the given attempt, counted from 0."""
        return min(self.first_interval_ms * self.backoff**attempt, self.longest_interval_ms)


@dataclass(frozen=True, slots=True)
class OrchestratorResult:
    """What one run of an orchestrator function reported."""

    is_done: bool
    actions: list[Mapping[str, Any]]
    output: str | None
    error: str | None
    custom_status: str | None

    @classmethod
    def from_json(cls, text: str) -> "OrchestratorResult":
        """Read the SDK's state. Older schemas hold one list of actions per `yield`; they are joined."""
        state = parse(text)
        batches = state.get("actions") or []
        actions = batches[0] if len(batches) == 1 else [action for batch in batches for action in batch]
        custom_status = state.get("customStatus")
        return cls(
            is_done=bool(state.get("isDone")),
            actions=actions,
            output=compact(state["output"]) if state.get("output") is not None else None,
            error=state.get("error"),
            custom_status=None if custom_status is None else compact(custom_status),
        )


def action_type(action: Mapping[str, Any]) -> ActionType:
    """The kind of an action. Raises UnsupportedAction."""
    number = action.get("actionType")
    try:
        return ActionType(number)  # type: ignore[arg-type]
    except ValueError:
        raise UnsupportedAction(f"The durable engine does not know the orchestrator action type {number!r}.") from None
