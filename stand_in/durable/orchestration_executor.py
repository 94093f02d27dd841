"""One episode: the new events of an instance go to its function, and what comes back becomes history and work.

    messages -> trigger body -> function -> replay -> one transaction

The transaction holds everything an episode leaves: events, messages taken and sent, tasks, timers, the record. So a
process that dies in the middle leaves nothing, and the episode runs again on the same messages.
"""

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from stand_in.durable import failure_texts as texts
from stand_in.durable import history as events
from stand_in.durable.actions import OrchestratorResult
from stand_in.durable.app_functions import AppFunctions, FunctionFailed
from stand_in.durable.decisions import (
    CreateSubOrchestration,
    CreateTimer,
    Decision,
    Finish,
    Outcome,
    ScheduleTask,
    SendRequest,
    StartAgain,
)
from stand_in.durable.history import EventType, HistoryEvent, Parent
from stand_in.durable.instance import InstanceRecord, LiveInstance, Status
from stand_in.durable.json_text import indented, parse, quoted, value_or_text
from stand_in.durable.names import is_known
from stand_in.durable.options import DurableOptions
from stand_in.durable.replay import Crash, Execution, Replay
from stand_in.durable.task_hub import TaskHub
from stand_in.durable.timestamps import Clock, text, ticks
from stand_in.durable.versions import is_accepted
from stand_in.durable.work_items import ActivityTask, Message

logger = logging.getLogger(__name__)


class Post(Protocol):
    """The way of an episode's effects to their receivers."""

    instances: dict[str, LiveInstance]

    def add_instance(self, record: InstanceRecord, started: HistoryEvent) -> None: ...

    def discard(self, instance_id: str) -> None: ...

    def send(self, instance_id: str, execution_id: str | None, event: HistoryEvent, due_at: int = 0) -> None: ...

    def request(self, entity_id: str, message: dict[str, Any]) -> None: ...

    def schedule_activity(self, task: ActivityTask) -> None: ...


@dataclass(slots=True)
class _Generation:
    """One execution as an episode sees it; a second one begins within the same episode after continue-as-new."""

    record: InstanceRecord
    history: Sequence[HistoryEvent]
    new_events: list[HistoryEvent]
    is_first_episode: bool
    sent: list[SendRequest] = field(default_factory=list)


class OrchestrationExecutor:
    """Runs episodes."""

    def __init__(
        self, hub: TaskHub, functions: AppFunctions, options: DurableOptions, clock: Clock, post: Post
    ) -> None:
        self._hub = hub
        self._functions = functions
        self._options = options
        self._clock = clock
        self._post = post

    async def run_episode(self, instance: LiveInstance) -> None:
        """Process every message that waits now."""
        taken = list(instance.inbox)
        # A message for an earlier generation may have come while continue-as-new was on its way: it means nothing now.
        messages = [message for message in taken if message.execution_id in (None, instance.execution_id)]
        messages.sort(key=lambda message: message.event.event_type is not _STARTED)
        if not messages:
            self._forget(instance, taken)
            return
        generation = _Generation(
            instance.record,
            instance.history,
            [events.orchestrator_started(self._time()), *(message.event for message in messages)],
            is_first_episode=not instance.history,
        )
        outcome = await self._outcome(generation)
        earlier: list[SendRequest] = []
        while isinstance(outcome.ending, StartAgain):
            earlier += [decision for decision in outcome.decisions if isinstance(decision, SendRequest)]
            generation = self._next_generation(generation, outcome, outcome.ending)
            outcome = await self._outcome(generation)
        if self._post.instances.get(instance.instance_id) is not instance:
            logger.info(
                "An episode came too late: its instance was replaced.", extra={"instance_id": instance.instance_id}
            )
            return
        self._commit(instance, taken, generation, outcome, earlier)

    # -- the function

    async def _outcome(self, generation: _Generation) -> Outcome:
        refusal = self._refusal(generation)
        if refusal is not None:
            return Outcome((), refusal, generation.record.custom_status, suspended=False)
        result = await self._call(generation)
        execution = Execution(
            generation.record.instance_id,
            generation.record.execution_id,
            generation.record.name,
            self._options.default_version,
            self._functions,
            self._clock,
            self._options.max_actions,
        )
        return Replay(execution, result).walk(generation.history, generation.new_events)

    def _refusal(self, generation: _Generation) -> Finish | None:
        """The end of an execution whose function must not be called any more, or never."""
        record = generation.record
        number = 1 + max((event.event_id for event in generation.history), default=-1)
        for event in generation.new_events:
            if event.event_type is EventType.EXECUTION_TERMINATED:
                return Finish(number, Status.TERMINATED.value, event.fields["Input"])
        if not is_accepted(record.version, self._options):
            return Finish(number, Status.FAILED.value, texts.VERSION_MISMATCH)
        if not is_known(record.name, self._functions.orchestrators):
            unknown = texts.unknown_function(record.name, "orchestrator", self._functions.orchestrators)
            return Finish(number, Status.FAILED.value, texts.orchestrator_failed(record.name, unknown))
        return None

    async def _call(self, generation: _Generation) -> OrchestratorResult | Crash:
        given = generation.record.input
        if given is not None and not given.strip():
            # A start with an empty body; the extension cannot make a trigger of it.
            return Crash(f"Exception while executing function: {generation.record.name}")
        try:
            reported = await self._functions.call_orchestrator(generation.record.name, self._body(generation))
        except FunctionFailed as failure:
            state = texts.reported_state(failure.text)
            if state is None:
                return Crash(failure.text)
            result = OrchestratorResult.from_json(state)
            # An output that cannot be serialised: reported as done and in error at once, and not taken apart.
            return Crash(failure.text) if result.is_done else result
        return OrchestratorResult.from_json(reported)

    def _body(self, generation: _Generation) -> str:
        record = generation.record
        history = ",\n".join(event.indented for event in (*generation.history, *generation.new_events))
        parent = None if record.parent is None else record.parent.instance_id
        return (
            f'{{\n  "history": [\n{history}\n  ],\n'
            f'  "input": {indented(value_or_text(record.input), 1)},\n'
            f'  "instanceId": {quoted(record.instance_id)},\n'
            f'  "isReplaying": {"false" if generation.is_first_episode else "true"},\n'
            f'  "parentInstanceId": {quoted(parent)},\n'
            '  "sourceInstanceId": null,\n'
            '  "upperSchemaVersion": 1,\n'
            '  "upperSchemaVersionNew": 3,\n'
            '  "longRunningTimerIntervalDuration": "3.00:00:00",\n'
            '  "maximumShortTimerDuration": "6.00:00:00",\n'
            f'  "defaultHttpAsyncRequestSleepTimeMillseconds": {self._options.http_sleep_ms}\n}}'
        )

    def _next_generation(self, last: _Generation, outcome: Outcome, ending: StartAgain) -> _Generation:
        started_at = self._clock.next()
        record = replace(
            last.record,
            execution_id=uuid.uuid4().hex,
            created_at=started_at,
            input=ending.input_text,
            custom_status=outcome.custom_status,
        )
        started = events.execution_started(
            text(started_at),
            instance_id=record.instance_id,
            execution_id=record.execution_id,
            name=record.name,
            version=record.version,
            input_text=record.input,
            parent=record.parent,
        )
        new_events = [events.orchestrator_started(self._time()), started]
        new_events += [event.as_played() for event in ending.carried]
        new_events.append(events.orchestrator_completed(self._time()))
        return _Generation(record, (), new_events, is_first_episode=True)

    # -- the transaction

    def _commit(
        self,
        instance: LiveInstance,
        taken: Iterable[Message],
        generation: _Generation,
        outcome: Outcome,
        earlier: Iterable[SendRequest],
    ) -> None:
        was_again = generation.record.execution_id != instance.execution_id
        if was_again:
            self._hub.delete_history(instance.instance_id)
            instance.history = []
        self._forget(instance, taken)
        for request in earlier:
            self._request(request)
        record = self._updated_record(generation, outcome, was_again=was_again)
        instance.record = record
        episode = [event if event.event_type is _BEGAN else event.as_played() for event in generation.new_events]
        for decision in outcome.decisions:
            episode.append(self._decide(record, decision))
        if isinstance(outcome.ending, Finish):
            episode.append(_completed(self._time(), outcome.ending))
        if episode[-1].event_type is not EventType.ORCHESTRATOR_COMPLETED:
            # The first episode after continue-as-new has one already; nothing follows it when nothing was decided.
            episode.append(events.orchestrator_completed(self._time()))
        self._hub.append_history(instance.instance_id, len(instance.history), episode)
        instance.history.extend(episode)
        self._hub.save_instance(record)
        if isinstance(outcome.ending, Finish):
            self._post.discard(instance.instance_id)
            self._tell_parent(record, outcome.ending)

    def _forget(self, instance: LiveInstance, taken: Iterable[Message]) -> None:
        for message in taken:
            instance.inbox.popleft()  # they stood first; later ones were appended
            instance.stored_messages.discard(message.sequence)
            self._hub.delete_message(message.sequence)

    def _updated_record(self, generation: _Generation, outcome: Outcome, *, was_again: bool) -> InstanceRecord:
        record, ending = generation.record, outcome.ending
        status = Status.SUSPENDED if outcome.suspended else Status.RUNNING
        output = record.output
        for event in generation.new_events:
            if event.event_type in (EventType.EXECUTION_SUSPENDED, EventType.EXECUTION_RESUMED):
                output = event.fields["Reason"]
        if isinstance(ending, Finish):
            status = Status(ending.status)
            if ending.result is not None or status is not Status.TERMINATED:
                output = ending.result
        custom_status = outcome.custom_status
        if was_again and custom_status is None:
            custom_status = record.custom_status
        return replace(record, status=status, output=output, custom_status=custom_status, updated_at=self._clock.now())

    def _decide(self, record: InstanceRecord, decision: Decision) -> HistoryEvent:
        """Put one decision into effect; its event comes back."""
        now = self._time()
        if isinstance(decision, ScheduleTask):
            kept = f"[{quoted(decision.input_text)}]" if self._options.store_inputs else None
            self._post.schedule_activity(
                ActivityTask(
                    self._hub.next_sequence(),
                    record.instance_id,
                    record.execution_id,
                    decision.task_id,
                    decision.name,
                    decision.input_text,
                )
            )
            return events.task_scheduled(now, decision.task_id, decision.name, kept)
        if isinstance(decision, CreateTimer):
            fired = events.timer_fired(self._time(), decision.task_id, decision.fire_at)
            self._post.send(record.instance_id, record.execution_id, fired, ticks(decision.fire_at))
            return events.timer_created(now, decision.task_id, decision.fire_at)
        if isinstance(decision, CreateSubOrchestration):
            self._start_child(record, decision)
            kept = decision.input_text if self._options.store_inputs else None
            return events.sub_orchestration_created(
                now, decision.task_id, decision.name, decision.version, decision.instance_id, kept
            )
        self._request(decision)
        return events.event_sent(now, decision.task_id, decision.entity_id, "op", decision.message)

    def _request(self, decision: SendRequest) -> None:
        self._post.request(decision.entity_id, parse(decision.message))

    def _start_child(self, record: InstanceRecord, decision: CreateSubOrchestration) -> None:
        at = self._clock.next()
        parent = Parent(record.instance_id, record.execution_id, record.name, record.version, decision.task_id)
        child = InstanceRecord(
            decision.instance_id,
            uuid.uuid4().hex,
            decision.name,
            decision.version,
            Status.PENDING,
            at,
            at,
            decision.input_text,
            parent=parent,
        )
        started = events.execution_started(
            text(at),
            instance_id=child.instance_id,
            execution_id=child.execution_id,
            name=child.name,
            version=child.version,
            input_text=child.input,
            parent=parent,
        )
        self._post.add_instance(child, started)

    def _tell_parent(self, record: InstanceRecord, ending: Finish) -> None:
        parent = record.parent
        if parent is None:
            return
        if ending.status == Status.COMPLETED.value:
            event = events.sub_orchestration_completed(self._time(), parent.task_id, ending.result)
        else:
            event = events.sub_orchestration_failed(self._time(), parent.task_id, ending.result, ending.details)
        self._post.send(parent.instance_id, parent.execution_id, event)

    def _time(self) -> str:
        return text(self._clock.next())


def _completed(timestamp: str, ending: Finish) -> HistoryEvent:
    if ending.result != texts.VERSION_MISMATCH:
        return events.execution_completed(timestamp, ending.task_id, ending.status, ending.result)
    error_type, _, message = ending.result.partition(": ")
    failure: Mapping[str, Any] = {
        "ErrorType": error_type,
        "ErrorMessage": message,
        "StackTrace": None,
        "InnerFailure": None,
        "IsNonRetriable": True,
        "Properties": None,
    }
    fields = {"OrchestrationStatus": ending.status, "Result": None, "FailureDetails": failure}
    return HistoryEvent(EventType.EXECUTION_COMPLETED, timestamp, fields, ending.task_id)


_STARTED = EventType.EXECUTION_STARTED
_BEGAN = EventType.ORCHESTRATOR_STARTED
