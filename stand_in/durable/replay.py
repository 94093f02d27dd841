"""Replay: which of an orchestrator's actions are new, and whether the execution is over.

The SDK has replayed the function and reports every action since the beginning. This module walks those actions and the
history side by side, as the extension does: a history event settles what was asked for under its number, the next
action gets the next number, and what is asked for without being in the history yet is a new decision. Both sides hand
out the same numbers as long as the function is deterministic; where they differ the execution fails with a text that
names the number.

    history event                     meaning for the replay
    ExecutionStarted                  begin to walk the actions, up to the first that waits
    TaskScheduled, TimerCreated, ...  the decision with this number is not new; kind and name must be the same
    TaskCompleted, TimerFired, ...    what waits for this number goes on, at once and depth first
    EventRaised                       to the newest waiter of that name, else kept for the next one
    ExecutionSuspended                all that follows is held back until ExecutionResumed

An execution is over when the function has ended and no activity, sub-orchestration or timer is open.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stand_in.durable import failure_texts as texts
from stand_in.durable.actions import ActionType, OrchestratorResult, RetryOptions, action_type
from stand_in.durable.app_functions import AppFunctions
from stand_in.durable.decisions import (
    Action,
    CreateSubOrchestration,
    CreateTimer,
    Decision,
    Ending,
    Finish,
    Outcome,
    ScheduleTask,
    SendRequest,
    StartAgain,
)
from stand_in.durable.determinism import NonDeterministic, check_recorded
from stand_in.durable.entity_messages import EntityRequests
from stand_in.durable.errors import UnsupportedAction
from stand_in.durable.history import EventType, HistoryEvent
from stand_in.durable.json_text import compact, quoted
from stand_in.durable.names import entity_name, is_known
from stand_in.durable.promise import Promise, Routine, TaskFailure, run, when_all, when_any
from stand_in.durable.timestamps import Clock, text, ticks

HTTP_ACTIVITY = "BuiltIn::HttpActivity"
CUSTOM_STATUS_LIMIT_KB = 16


@dataclass(frozen=True, slots=True)
class Crash:
    """The function failed outside the SDK's care; the worker's text tells how."""

    worker_text: str


@dataclass(slots=True)
class Execution:
    """What a replay has to know about the execution besides its history."""

    instance_id: str
    execution_id: str
    name: str
    default_version: str | None
    functions: AppFunctions
    clock: Clock
    max_actions: int = 100_000
    custom_status_limit: int = CUSTOM_STATUS_LIMIT_KB


@dataclass(slots=True)
class Replay:
    """One walk over the history. Make a new one for each episode."""

    execution: Execution
    result: OrchestratorResult | Crash
    _now: str = ""
    _next_id: int = 0
    _pending: dict[int, Decision] = field(default_factory=dict)
    _open: dict[int, Promise] = field(default_factory=dict)
    _waiters: dict[str, list[Promise]] = field(default_factory=dict)
    _kept: dict[str, deque[str | None]] = field(default_factory=dict)
    _held: deque[HistoryEvent] = field(default_factory=deque)
    _suspended: bool = False
    _again: str | None = None
    _carried: list[HistoryEvent] = field(default_factory=list)
    _function: Promise = field(default_factory=Promise)
    _ending: Ending | None = None
    _custom_status: str | None = None
    _requests: EntityRequests = field(init=False)

    def __post_init__(self) -> None:
        self._requests = EntityRequests(self.execution.instance_id, self.execution.execution_id, self.execution.clock)

    def walk(self, history: Iterable[HistoryEvent], new_events: Iterable[HistoryEvent]) -> Outcome:
        """Process both parts of the history and say what is new."""
        try:
            for events in (history, new_events):
                for event in events:
                    self._process(event)
            if self._ending is None and self._function.settled and not self._open:
                self._end()
        except NonDeterministic as difference:
            if self._ending is None:
                self._ending = Finish(self._take_id(), "Failed", texts.NON_DETERMINISTIC + str(difference))
        if self._suspended:
            # The SDK does not know of suspension and may report what an event did that is held back here.
            # All of it is found again when the execution is resumed.
            return Outcome((), None, self._custom_status, suspended=True)
        decisions = tuple(self._pending[number] for number in sorted(self._pending))
        return Outcome(decisions, self._ending, self._custom_status, suspended=False)

    # -- history events

    def _process(self, event: HistoryEvent) -> None:
        if event.event_type is EventType.ORCHESTRATOR_STARTED:
            self._now = event.timestamp
        elif self._suspended and event.event_type not in (
            EventType.EXECUTION_RESUMED,
            EventType.EXECUTION_TERMINATED,
        ):
            self._held.append(event)
        else:
            _HANDLERS[event.event_type](self, event)

    def _on_execution_started(self, event: HistoryEvent) -> None:
        self._function = run(self._run_function())

    def _on_scheduled(self, event: HistoryEvent) -> None:
        check_recorded(event, self._pending.get(event.event_id))
        del self._pending[event.event_id]

    def _on_completed(self, event: HistoryEvent) -> None:
        promise = self._open.pop(event.fields["TaskScheduledId"], None)
        if promise is not None:
            promise.resolve(event.fields["Result"])

    def _on_failed(self, event: HistoryEvent) -> None:
        promise = self._open.pop(event.fields["TaskScheduledId"], None)
        if promise is not None:
            promise.reject(TaskFailure(event.fields["Reason"], event.fields["Details"]))

    def _on_timer_fired(self, event: HistoryEvent) -> None:
        promise = self._open.pop(event.fields["TimerId"], None)
        if promise is not None:
            promise.resolve()

    def _on_event_raised(self, event: HistoryEvent) -> None:
        if self._again is not None:
            self._carried.append(event)
            return
        name, data = event.fields["Name"], event.fields["Input"]
        waiters = self._waiters.get(name)
        if waiters:
            promise = waiters.pop()
            if not waiters:
                del self._waiters[name]
            promise.resolve(data)
        else:
            self._kept.setdefault(name, deque()).append(data)

    def _on_suspended(self, event: HistoryEvent) -> None:
        self._suspended = True

    def _on_resumed(self, event: HistoryEvent) -> None:
        self._suspended = False
        held, self._held = self._held, deque()
        for each in held:
            self._process(each)

    def _on_terminated(self, event: HistoryEvent) -> None:
        if self._ending is None:
            self._suspended = False
            self._ending = Finish(self._take_id(), "Terminated", event.fields["Input"])

    def _on_nothing(self, event: HistoryEvent) -> None:
        """Of no consequence for the replay."""

    # -- the function

    def _run_function(self) -> Routine:
        if isinstance(self.result, Crash):
            message = texts.orchestrator_crashed(self.execution.name, self.result.worker_text)
            raise TaskFailure(message, f"Message: {self.result.worker_text}")
        result = self.result
        self._set_custom_status(result.custom_status)
        if len(result.actions) > self.execution.max_actions:
            raise self._failure(
                f"Maximum amount of orchestration actions ({self.execution.max_actions:,}) has been exceeded."
            )
        for action in result.actions:
            try:
                yield self._invoke(action)
            except _Refused:
                raise
            except TaskFailure:
                continue  # the SDK has seen it; what it means is in the actions that follow
        if result.error is not None:
            raise self._failure(result.error)
        if not result.is_done:
            yield Promise()
        return result.output

    def _failure(self, error: str) -> TaskFailure:
        message = texts.orchestrator_failed(self.execution.name, error)
        return TaskFailure(message, f"Message: {error}, StackTrace: ")

    def _set_custom_status(self, status: str | None) -> None:
        if status is not None:
            kilobytes = len(status.encode("utf-16-le")) // 1024
            if kilobytes > self.execution.custom_status_limit:
                raise self._failure(texts.custom_status_too_big(kilobytes))
        self._custom_status = status

    def _end(self) -> None:
        failure = self._function.failure
        if failure is not None:
            self._ending = Finish(self._take_id(), "Failed", failure.reason, failure.details)
        elif self._again is not None:
            self._ending = StartAgain(self._take_id(), self._again, tuple(self._carried))
        else:
            self._ending = Finish(self._take_id(), "Completed", self._function.value)

    # -- actions

    def _take_id(self) -> int:
        number = self._next_id
        self._next_id += 1
        return number

    def _ask(self, decision: Decision) -> Promise:
        self._pending[decision.task_id] = decision
        promise = self._open[decision.task_id] = Promise()
        return promise

    def _invoke(self, action: Action) -> Promise:
        try:
            return _ACTIONS[action_type(action)](self, action)
        except UnsupportedAction as refusal:
            raise self._unswallowed(str(refusal)) from None

    def _unswallowed(self, error: str) -> "_Refused":
        failure = self._failure(error)
        return _Refused(failure.reason, failure.details)

    def _call_activity(self, action: Action) -> Promise:
        name = action["functionName"]
        if not is_known(name, self.execution.functions.activities):
            raise self._unswallowed(texts.unknown_function(name, "activity", self.execution.functions.activities))
        return self._ask(ScheduleTask(self._take_id(), name, action["input"]))

    def _call_activity_with_retry(self, action: Action) -> Promise:
        return run(self._retry(RetryOptions.from_wire(action["retryOptions"]), lambda: self._call_activity(action)))

    def _call_sub_orchestrator(self, action: Action) -> Promise:
        name, wanted = action["functionName"], action.get("instanceId")
        known = self.execution.functions.orchestrators
        if not is_known(name, known):
            raise self._unswallowed(texts.unknown_function(name, "orchestrator", known))
        if wanted and wanted.startswith("@"):
            raise self._unswallowed("Orchestration instance ids must not start with '@'.")
        number = self._take_id()
        instance_id = wanted or f"{self.execution.execution_id}:{number}"
        version = action.get("version") or self.execution.default_version
        given = action.get("input")
        input_text = None if given is None else quoted(given)
        return self._ask(CreateSubOrchestration(number, name, version, instance_id, input_text))

    def _call_sub_orchestrator_with_retry(self, action: Action) -> Promise:
        options = RetryOptions.from_wire(action["retryOptions"])
        return run(self._retry(options, lambda: self._call_sub_orchestrator(action)))

    def _retry(self, options: RetryOptions, attempt: Callable[[], Promise]) -> Routine:
        """Each failed attempt is followed by a timer, the last one too: the SDK waits for it."""
        started = ticks(self._now)
        for number in range(options.attempts):
            try:
                return (yield attempt())
            except _Refused:
                raise
            except TaskFailure as failure:
                now = ticks(self._now)
                over_time = options.timeout_ms is not None and now - started >= options.timeout_ms * 10_000
                last = number == options.attempts - 1 or over_time
                pause = 0 if last else round(options.pause_ms(number) * 10_000)
                yield self._ask(CreateTimer(self._take_id(), text(now + pause)))
                if last:
                    raise failure
        return None

    def _continue_as_new(self, action: Action) -> Promise:
        given = action.get("input")
        self._again = "null" if given is None else quoted(given)
        return _settled()

    def _create_timer(self, action: Action) -> Promise:
        timer = CreateTimer(self._take_id(), text(ticks(action["fireAt"])))
        promise = self._ask(timer)
        if action.get("isCanceled"):
            del self._open[timer.task_id]
            promise.reject(TaskFailure("A task was canceled."))
        return promise

    def _wait_for_external_event(self, action: Action) -> Promise:
        return self._wait_for(action["externalEventName"])

    def _wait_for(self, name: str) -> Promise:
        promise = Promise()
        kept = self._kept.get(name)
        if kept:
            promise.resolve(kept.popleft())
            if not kept:
                del self._kept[name]
        else:
            self._waiters.setdefault(name, []).append(promise)
        return promise

    def _call_entity(self, action: Action) -> Promise:
        return self._wait_for(self._send_request(action, signal=False))

    def _signal_entity(self, action: Action) -> Promise:
        self._send_request(action, signal=True)
        return _settled()

    def _send_request(self, action: Action, *, signal: bool) -> str:
        entity_id = action["instanceId"]
        known = self.execution.functions.entities
        name = entity_name(entity_id)
        if not is_known(name, known):
            raise self._unswallowed(texts.unknown_function(name, "entity", known))
        request_id, message = self._requests.message(
            entity_id, action["operation"], action.get("input"), self._now, signal=signal
        )
        number = self._take_id()
        self._pending[number] = SendRequest(number, entity_id, message)
        return request_id

    def _call_http(self, action: Action) -> Promise:
        return self._ask(ScheduleTask(self._take_id(), HTTP_ACTIVITY, compact(action["httpRequest"])))

    def _refuse_scheduled_signal(self, action: Action) -> Promise:
        raise UnsupportedAction("Scheduled entity signals (action type 10) are not supported: the Python SDK has none.")

    def _when_any(self, action: Action) -> Promise:
        return when_any([self._invoke(child) for child in action["compoundActions"]])

    def _when_all(self, action: Action) -> Promise:
        return when_all([self._invoke(child) for child in action["compoundActions"]])


class _Refused(TaskFailure):
    """Not a failure of something that ran: the orchestration itself is wrong, and ends with this."""


def _settled() -> Promise:
    promise = Promise()
    promise.resolve()
    return promise


_HANDLERS: dict[EventType, Callable[[Replay, HistoryEvent], None]] = {
    EventType.EXECUTION_STARTED: Replay._on_execution_started,
    EventType.TASK_SCHEDULED: Replay._on_scheduled,
    EventType.TIMER_CREATED: Replay._on_scheduled,
    EventType.SUB_ORCHESTRATION_CREATED: Replay._on_scheduled,
    EventType.EVENT_SENT: Replay._on_scheduled,
    EventType.TASK_COMPLETED: Replay._on_completed,
    EventType.SUB_ORCHESTRATION_COMPLETED: Replay._on_completed,
    EventType.TASK_FAILED: Replay._on_failed,
    EventType.SUB_ORCHESTRATION_FAILED: Replay._on_failed,
    EventType.TIMER_FIRED: Replay._on_timer_fired,
    EventType.EVENT_RAISED: Replay._on_event_raised,
    EventType.EXECUTION_SUSPENDED: Replay._on_suspended,
    EventType.EXECUTION_RESUMED: Replay._on_resumed,
    EventType.EXECUTION_TERMINATED: Replay._on_terminated,
    EventType.EXECUTION_COMPLETED: Replay._on_nothing,
    EventType.ORCHESTRATOR_COMPLETED: Replay._on_nothing,
    EventType.GENERIC_EVENT: Replay._on_nothing,
}

_ACTIONS: dict[ActionType, Callable[[Replay, Action], Promise]] = {
    ActionType.CALL_ACTIVITY: Replay._call_activity,
    ActionType.CALL_ACTIVITY_WITH_RETRY: Replay._call_activity_with_retry,
    ActionType.CALL_SUB_ORCHESTRATOR: Replay._call_sub_orchestrator,
    ActionType.CALL_SUB_ORCHESTRATOR_WITH_RETRY: Replay._call_sub_orchestrator_with_retry,
    ActionType.CONTINUE_AS_NEW: Replay._continue_as_new,
    ActionType.CREATE_TIMER: Replay._create_timer,
    ActionType.WAIT_FOR_EXTERNAL_EVENT: Replay._wait_for_external_event,
    ActionType.CALL_ENTITY: Replay._call_entity,
    ActionType.CALL_HTTP: Replay._call_http,
    ActionType.SIGNAL_ENTITY: Replay._signal_entity,
    ActionType.SCHEDULED_SIGNAL_ENTITY: Replay._refuse_scheduled_signal,
    ActionType.WHEN_ANY: Replay._when_any,
    ActionType.WHEN_ALL: Replay._when_all,
}
