"""What the durable client is asked, against the engine behind its own HTTP endpoint."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.durable_functions as df
import pytest
from azure.durable_functions import DurableOrchestrationContext as Context

from adapters.durable import DurableInstances
from stand_in.durable.engine import DurableEngine
from stand_in.durable.options import DurableOptions
from tests.stand_in.durable.conftest import ended
from tests.stand_in.durable.loaded_app import LoadedApp
from tests.stand_in.host.served_engine import ServedEngine, serve

FAILED = 250
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedEngine]:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def chat_turn(context: Context):
        raise ValueError("boom")

    @app.orchestration_trigger(context_name="context")
    def waits(context: Context):
        yield context.wait_for_external_event("Go")

    functions = LoadedApp(app)
    engine = DurableEngine(tmp_path / "hub.db", functions, DurableOptions())
    await engine.start()
    async with serve(engine) as served:
        yield served
    await engine.stop(patience=0.2)
    functions.close()


async def test_every_failed_turn_is_found_however_many_pages_they_fill(served: ServedEngine):
    """The SDK's own query stops at 100 without a word."""
    turns = [f"turn-{number:03}" for number in range(FAILED)]
    for turn in turns:
        await served.engine.start_instance("chat_turn", instance_id=turn)
    await served.engine.start_instance("chat_turn", instance_id="another-app's")
    await served.engine.start_instance("waits", instance_id="turn-that-waits")
    await served.engine.start_instance("waits", instance_id="turn-terminated")
    await served.engine.terminate("turn-terminated", "enough")
    for instance in (*turns, "turn-terminated", "another-app's"):
        await ended(served.engine, instance)

    instances = DurableInstances(served.client())
    found = [turn async for turn in instances.failed_since(YESTERDAY)]
    assert sorted(found) == sorted([*turns, "turn-terminated"])
    later = [turn async for turn in instances.failed_since(datetime.now(UTC) + timedelta(minutes=1))]
    assert later == []


async def test_whether_an_instance_works_is_told_from_whether_there_is_one(served: ServedEngine):
    await served.engine.start_instance("waits", instance_id="turn-waits")
    await served.engine.start_instance("chat_turn", instance_id="turn-failed")
    await ended(served.engine, "turn-failed")
    instances = DurableInstances(served.client())
    found = [await instances.running(turn) for turn in ("turn-waits", "turn-failed", "turn-unknown")]
    assert found == [True, False, None]
