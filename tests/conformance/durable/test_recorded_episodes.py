"""Every recorded episode by itself: the body is written to the letter, and the replay decides as the real one did.

What an episode decided stands in the history of the next one, so each pair of episodes is a test of the replay that
needs neither an app nor time: the recorded history and the SDK's recorded answer go in, the recorded events must come
out. Suspensions, rewinds, events and changed programs are among them.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise, takewhile
from typing import Any

import pytest

from stand_in.durable.actions import OrchestratorResult
from stand_in.durable.decisions import (
    CreateSubOrchestration,
    CreateTimer,
    Decision,
    Finish,
    Outcome,
    ScheduleTask,
    StartAgain,
)
from stand_in.durable.failure_texts import reported_state
from stand_in.durable.history import EventType, HistoryEvent
from stand_in.durable.json_text import indented
from stand_in.durable.replay import Crash, Execution, Replay
from stand_in.durable.timestamps import Clock, text, ticks
from tests.conformance.durable.recordings import load, names

_PLACEHOLDER = re.compile(r"<t(\d+):[^>]*>")
_FIRST = ticks("2026-01-01T00:00:00.5Z")
# What stands behind an episode's decisions.
_NEXT = (EventType.ORCHESTRATOR_COMPLETED, EventType.ORCHESTRATOR_STARTED)
UNDECIDED = {
    "extra-retry_race_cancel_retry_first": "how long a retry waits is not in a recording without times",
    "entity-from_orchestration": "an answer finds its call by an id, and this engine makes its ids by another rule",
}


class _EveryName:
    """Functions of any name; the replay only asks whether they exist."""

    orchestrators = activities = entities = ("o_child", "o_steps", "e_counter", "RenamedEntity")

    def __init__(self, recorded: str) -> None:
        self.activities = tuple(re.findall(r'\\*"functionName\\*": \\*"(\w+)', recorded))
        self.orchestrators = self.activities


def _with_times(recorded: str) -> str:
    """Placeholders become times in their recorded order."""
    return _PLACEHOLDER.sub(lambda match: text(_FIRST + int(match[1]) * 10_000_001), recorded)


def _runs() -> Iterator[tuple[str, list[dict[str, str] | None]]]:
    for name in names():
        for number, run in enumerate(load(name)["episodes"]):
            yield f"{name}-{number}", run


def _bodies() -> Iterator[Any]:
    for name, run in _runs():
        for number, episode in enumerate(run):
            if episode is not None:
                yield pytest.param(episode["body"], id=f"{name}-{number}")


def _pairs() -> Iterator[Any]:
    for name, run in _runs():
        for number, (one, other) in enumerate(pairwise(run)):
            if one is not None and other is not None and name.rpartition("-")[0] not in UNDECIDED:
                yield pytest.param(one, other, id=f"{name}-{number}")


@pytest.mark.parametrize("body", list(_bodies()))
def test_a_body_is_written_to_the_letter(body: str):
    recorded = json.loads(body)
    events = [HistoryEvent.from_json(json.dumps(event)) for event in recorded["history"]]
    rest = indented({name: value for name, value in recorded.items() if name != "history"})

    written = '{\n  "history": [\n' + ",\n".join(event.indented for event in events) + "\n  ],\n" + rest[2:]

    assert written == body


@pytest.mark.parametrize(("episode", "following"), list(_pairs()))
def test_the_replay_decides_what_the_next_history_holds(episode: dict[str, str], following: dict[str, str]):
    body, next_body = (json.loads(_with_times(each["body"])) for each in (episode, following))
    history, after = (
        [HistoryEvent.from_json(json.dumps(event)) for event in each["history"]] for each in (body, next_body)
    )
    outcome = _replayed(body, history, episode)

    if history[1].fields["OrchestrationInstance"] != after[1].fields["OrchestrationInstance"]:
        assert isinstance(outcome.ending, StartAgain)
    elif _count_placeholders(after) > _count_placeholders(history):
        assert isinstance(outcome.ending, Finish)  # then it was rewound
        assert outcome.ending.status == "Failed"
    else:
        assert outcome.ending is None
        fresh = takewhile(lambda event: event.event_type not in _NEXT, after[len(history) :])
        assert [_decided(decision) for decision in outcome.decisions] == [_recorded(event) for event in fresh]


def _count_placeholders(history: list[HistoryEvent]) -> int:
    return sum(event.event_type is EventType.GENERIC_EVENT and event.fields["Data"] is None for event in history)


def _replayed(body: dict[str, Any], history: list[HistoryEvent], episode: dict[str, str]) -> Outcome:
    started = history[1].fields
    if "result" in episode:
        result: OrchestratorResult | Crash = OrchestratorResult.from_json(_with_times(episode["result"]))
    else:
        worker_text = f"Result: Failure\nException: {_with_times(episode['raised'])}\nStack: "
        state = reported_state(worker_text)
        result = Crash(worker_text) if state is None else OrchestratorResult.from_json(state)
    execution = Execution(
        body["instanceId"],
        started["OrchestrationInstance"]["ExecutionId"],
        started["Name"],
        None,
        _EveryName(json.dumps(episode)),  # type: ignore[arg-type]
        Clock(),
    )
    return Replay(execution, result).walk(history, [])


def _decided(decision: Decision) -> tuple[Any, ...]:
    if isinstance(decision, ScheduleTask):
        return ("task", decision.task_id, decision.name)
    if isinstance(decision, CreateTimer):
        return ("timer", decision.task_id)
    if isinstance(decision, CreateSubOrchestration):
        return ("child", decision.task_id, decision.name, decision.instance_id)
    message = json.loads(decision.message)
    return ("request", decision.task_id, decision.entity_id, message["op"], message.get("input"), "signal" in message)


def _recorded(event: HistoryEvent) -> tuple[Any, ...]:
    fields = event.fields
    if event.event_type is EventType.TASK_SCHEDULED:
        return ("task", event.event_id, fields["Name"])
    if event.event_type is EventType.TIMER_CREATED:
        return ("timer", event.event_id)
    if event.event_type is EventType.SUB_ORCHESTRATION_CREATED:
        return ("child", event.event_id, fields["Name"], fields["InstanceId"])
    message = json.loads(fields["Input"])
    return ("request", event.event_id, fields["InstanceId"], message["op"], message.get("input"), "signal" in message)
