"""The recorded orchestrations again, on this engine, with the real SDK: same bodies, same history, same end.

All run at once; each test compares one. What differs on purpose is listed below with its reason.
"""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest

from stand_in.durable.app_functions import FunctionFailed
from stand_in.durable.engine import DurableEngine
from stand_in.durable.errors import HistoryUnreadable
from stand_in.durable.failure_texts import split_worker_text
from stand_in.durable.instance import InstanceRecord
from stand_in.durable.options import DurableOptions
from stand_in.durable.status_view import instance_status, shown_history
from tests.conformance.durable import probe_activities, probe_orchestrators
from tests.conformance.durable.recordings import comparable, comparable_episode, load, names
from tests.stand_in.durable.conftest import ended
from tests.stand_in.durable.loaded_app import LoadedApp

ORCHESTRATIONS = {name: recording for name in names() if "final" in (recording := load(name))}

FAILED_HERE = "the real extension leaves the orchestration hanging without a word; here it fails with the reason"
DIFFERENT = {
    "renamed_function_object": FAILED_HERE,
    "sub-child_at_id": FAILED_HERE,
    "sub-unknown": FAILED_HERE,
    "unknown-activity": FAILED_HERE,
    "unknown-entity": FAILED_HERE,
    "unknown-sub": FAILED_HERE,
    "sub-version": "stays Running here too, as recorded; there is no end to wait for",
    "context": "what func.Context holds is the host's business, not the engine's",
}
BATCHED = "results that arrive together come in as many episodes as the queue of the day made of them"
OTHER_EPISODES = {"fan": BATCHED, "all_one_fails": BATCHED}


class RecordingApp(LoadedApp):
    """Writes down every episode, as the recorded app did."""

    def __init__(self, app: df.DFApp) -> None:
        super().__init__(app)
        self.episodes: dict[str, list[dict[str, str]]] = defaultdict(list)

    async def call_orchestrator(self, name: str, trigger_body: str) -> str:
        episodes = self.episodes[json.loads(trigger_body)["instanceId"]]
        try:
            result = await super().call_orchestrator(name, trigger_body)
        except FunctionFailed as failure:
            episodes.append({"body": trigger_body, "raised": split_worker_text(failure.text)[0]})
            raise
        episodes.append({"body": trigger_body, "result": result})
        return result


def _instance_id(name: str) -> str:
    return f"durable-{name}-<run>"


async def _run_all(database: Path) -> dict[str, dict[str, Any]]:
    app = df.DFApp()
    app.register_functions(probe_activities.bp)
    app.register_functions(probe_orchestrators.bp)
    functions = RecordingApp(app)
    engine = DurableEngine(database, functions, DurableOptions(max_concurrent_activities=100))
    await engine.start()
    wanted = [name for name in ORCHESTRATIONS if name not in DIFFERENT]
    for name in wanted:
        given = ORCHESTRATIONS[name]["input"]
        text = None if given is None else json.dumps(json.dumps(given))
        instance_id = _instance_id(name)
        await engine.start_instance(ORCHESTRATIONS[name]["orchestrator"], instance_id=instance_id, input_text=text)
    ours: dict[str, dict[str, Any]] = {}
    for name in wanted:
        record = await ended(engine, _instance_id(name))
        history = await engine.history(_instance_id(name))
        ours[name] = {"final": _final(record, history), "episodes": functions.episodes[_instance_id(name)]}
    await engine.stop()
    functions.close()
    return ours


def _final(record: InstanceRecord, history: Any) -> dict[str, Any]:
    try:
        return instance_status(record, history=shown_history(history, show_output=True))
    except HistoryUnreadable as error:
        return {"ExceptionMessage": str(error)}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What this engine made of every case."""
    return asyncio.run(_run_all(tmp_path_factory.mktemp("conformance") / "hub.db"))


@pytest.mark.parametrize("name", sorted(ORCHESTRATIONS.keys() - DIFFERENT.keys()))
def test_an_orchestration_ends_as_recorded(ours: dict[str, dict[str, Any]], name: str):
    expected, actual = comparable(ORCHESTRATIONS[name]["final"]), comparable(ours[name]["final"])
    if name in OTHER_EPISODES:
        expected.pop("historyEvents")
        actual.pop("historyEvents")

    assert actual == expected


@pytest.mark.parametrize("name", sorted(ORCHESTRATIONS.keys() - DIFFERENT.keys() - OTHER_EPISODES.keys()))
def test_an_orchestrator_sees_the_recorded_bodies(ours: dict[str, dict[str, Any]], name: str):
    recorded = [episode for run in ORCHESTRATIONS[name]["episodes"] for episode in run]
    if None in recorded:
        return  # cut for its length when it was recorded; the final status above is whole

    assert [comparable_episode(episode) for episode in ours[name]["episodes"]] == [
        comparable_episode(episode) for episode in recorded
    ]


def test_the_accepted_differences_are_cases():
    assert set(DIFFERENT) | set(OTHER_EPISODES) <= set(ORCHESTRATIONS)
