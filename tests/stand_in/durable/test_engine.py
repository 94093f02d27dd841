"""The engine through its own door, with functions that the real SDK runs."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions import DurableOrchestrationContext as Context

from stand_in.durable.errors import InstanceExists, InstanceFinished, InstanceNotFound, WrongStatus
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.task_hub import InstanceFilter
from tests.stand_in.durable.conftest import StartEngine, ended, reached, until


def sample_app() -> df.DFApp:
    """Orchestrators that each show one thing."""
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def chain(context: Context):
        context.set_custom_status({"step": 1})
        first = yield context.call_activity("greet", context.get_input())
        second = yield context.call_activity("greet_in_thread", "漢🚀")
        return [first, second, context.instance_id]

    @app.activity_trigger(input_name="name")
    async def greet(name: Any) -> str:
        return f"Hello {name}"

    @app.activity_trigger(input_name="name")
    def greet_in_thread(name: str) -> str:
        return f"Hi {name}"

    @app.activity_trigger(input_name="text")
    async def fail(text: str) -> None:
        raise ValueError(text)

    @app.orchestration_trigger(context_name="context")
    def fan(context: Context):
        results = yield context.task_all([context.call_activity("greet", n) for n in range(8)])
        return results

    @app.orchestration_trigger(context_name="context")
    def catches(context: Context):
        try:
            yield context.call_activity("fail", "no such thing")
        except Exception as error:  # noqa: BLE001 - what the SDK raises
            return str(error)

    @app.orchestration_trigger(context_name="context")
    def fails(context: Context):
        yield context.call_activity("fail", "no such thing")

    @app.orchestration_trigger(context_name="context")
    def retries(context: Context):
        try:
            yield context.call_activity_with_retry("fail", df.RetryOptions(1, 3), "again")
        except Exception:  # noqa: BLE001 - what the SDK raises
            return "gave up"

    @app.orchestration_trigger(context_name="context")
    def race(context: Context):
        timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=context.get_input()))
        event = context.wait_for_external_event("Go")
        winner = yield context.task_any([event, timer])
        if winner == event:
            timer.cancel()
            return {"event": event.result}
        return "timer"

    @app.orchestration_trigger(context_name="context")
    def parent(context: Context):
        result = yield context.call_sub_orchestrator("chain", "child")
        return result

    @app.orchestration_trigger(context_name="context")
    def again(context: Context):
        count = context.get_input()
        yield context.call_activity("greet", count)
        if count < 3:
            context.continue_as_new(count + 1)
            return None
        return count

    @app.orchestration_trigger(context_name="context")
    def counts(context: Context):
        counter = df.EntityId("counter", context.get_input())
        context.signal_entity(counter, "add", 2)
        total = yield context.call_entity(counter, "add", 3)
        return total

    @app.entity_trigger(context_name="context")
    def counter(context: df.DurableEntityContext) -> None:
        state = context.get_state(lambda: 0)
        if context.operation_name == "add":
            state += context.get_input()
            context.set_state(state)
        elif context.operation_name == "delete":
            context.destruct_on_exit()
        context.set_result(state)

    return app


async def test_a_chain_of_activities_returns_their_results(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("chain", instance_id="one", input_text=json.dumps(json.dumps("Tokyo")))

    record = await ended(engine, "one")
    assert record.status is Status.COMPLETED
    assert record.output is not None
    assert json.loads(record.output) == ["Hello Tokyo", "Hi 漢🚀", "one"]
    assert record.custom_status == '{"step":1}'


async def test_names_are_found_in_any_case(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("FAN", instance_id="one")

    record = await ended(engine, "one")
    assert record.output == json.dumps([f"Hello {n}" for n in range(8)], separators=(",", ":"))


async def test_a_failed_activity_shows_reason_and_details_to_the_orchestrator(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("catches", instance_id="caught")
    await engine.start_instance("fails", instance_id="uncaught")

    caught = json.loads((await ended(engine, "caught")).output or "")
    reason, details = caught.split(" \n ", 1)
    assert reason == "Activity function 'fail' failed: ValueError: no such thing"
    assert json.loads(details)["InnerException"]["RemoteMessage"] == "ValueError: no such thing"
    uncaught = await ended(engine, "uncaught")
    assert uncaught.status is Status.FAILED
    assert (uncaught.output or "").startswith(f"Orchestrator function 'fails' failed: {reason}")


async def test_retries_are_paused_and_end(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("retries", instance_id="one")

    assert (await ended(engine, "one")).output == '"gave up"'


async def test_a_timer_and_an_event_race(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("race", instance_id="timer", input_text='"0.05"')
    await engine.start_instance("race", instance_id="event", input_text='"600"')
    await reached(engine, "event", Status.RUNNING)
    await engine.raise_event("event", "Go", '{"ok":true}')

    assert (await ended(engine, "timer")).output == '"timer"'
    assert (await ended(engine, "event")).output == '{"event":{"ok":true}}'


async def test_a_parent_gets_its_childs_result(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("parent", instance_id="one")

    assert json.loads((await ended(engine, "one")).output or "")[0] == "Hello child"


async def test_continue_as_new_keeps_the_id_and_drops_the_history(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("again", instance_id="one", input_text='"1"')

    assert (await ended(engine, "one")).output == "3"
    assert len(await engine.history("one")) == 9


async def test_an_entity_counts_calls_and_signals(start_engine: StartEngine):
    engine = await start_engine(sample_app())

    await engine.start_instance("counts", instance_id="one", input_text='"\\"key\\""')

    assert (await ended(engine, "one")).output == "5"
    await engine.signal_entity("Counter", "key", "add", '"4"')

    async def is_nine() -> bool:
        entity = await engine.read_entity("counter", "key")
        return entity is not None and entity.state == "9"

    await until(is_nine, "the signal counted")


async def test_an_unknown_activity_fails_the_orchestration_by_name(start_engine: StartEngine):
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def asks(context: Context):
        yield context.call_activity("nobody", 1)

    engine = await start_engine(app)
    await engine.start_instance("asks", instance_id="one")

    record = await ended(engine, "one")
    assert record.status is Status.FAILED
    assert "The function 'nobody' doesn't exist" in (record.output or "")


async def test_a_running_id_cannot_be_started_again_and_a_finished_one_can(start_engine: StartEngine):
    engine = await start_engine(sample_app())
    await engine.start_instance("race", instance_id="one", input_text='"600"')

    with pytest.raises(InstanceExists, match="already exists"):
        await engine.start_instance("race", instance_id="one", input_text='"600"')
    await engine.terminate("one", "enough")

    record = await ended(engine, "one")
    assert (record.status, record.output) == (Status.TERMINATED, "enough")
    await engine.start_instance("again", instance_id="one", input_text='"3"')
    assert (await ended(engine, "one")).output == "3"


async def test_a_suspended_instance_holds_until_it_is_resumed(start_engine: StartEngine):
    engine = await start_engine(sample_app())
    await engine.start_instance("race", instance_id="one", input_text='"600"')
    await reached(engine, "one", Status.RUNNING)

    await engine.suspend("one", "hold on")
    await reached(engine, "one", Status.SUSPENDED)
    with pytest.raises(WrongStatus, match="Suspended state"):
        await engine.suspend("one", None)
    await engine.raise_event("one", "Go", "1")
    await engine.resume("one", "go on")

    assert (await ended(engine, "one")).output == '{"event":1}'


async def test_verbs_refuse_what_is_not_there_or_over(start_engine: StartEngine):
    engine = await start_engine(sample_app())
    await engine.start_instance("again", instance_id="one", input_text='"3"')
    await ended(engine, "one")

    with pytest.raises(InstanceNotFound):
        await engine.raise_event("nobody", "Go", None)
    with pytest.raises(InstanceFinished):
        await engine.terminate("one", None)
    with pytest.raises(WrongStatus, match='only orchestrations in the "Failed" state'):
        await engine.rewind("one", None)
    assert await engine.purge("one")
    assert not await engine.purge("one")
    assert await engine.status("one") is None


async def test_queries_come_in_pages_in_the_order_of_ids(start_engine: StartEngine):
    engine = await start_engine(sample_app())
    for number in range(5):
        await engine.start_instance("again", instance_id=f"page-{number}", input_text='"3"')
    for number in range(5):
        await ended(engine, f"page-{number}")

    first = await engine.query(InstanceFilter("page-", statuses=("Completed",)), 2)
    rest = await engine.query(InstanceFilter("page-"), 10, "page-2")

    assert [record.instance_id for record in first if isinstance(record, InstanceRecord)] == ["page-0", "page-1"]
    assert [record.instance_id for record in rest if isinstance(record, InstanceRecord)] == [
        "page-2",
        "page-3",
        "page-4",
    ]
    assert await engine.purge_many(InstanceFilter("page-")) == 5


async def test_async_activities_run_at_once_up_to_the_limit(start_engine: StartEngine):
    app = df.DFApp()
    running, most, release = 0, 0, asyncio.Event()

    @app.orchestration_trigger(context_name="context")
    def fan(context: Context):
        yield context.task_all([context.call_activity("work", n) for n in range(6)])

    @app.activity_trigger(input_name="number")
    async def work(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            release.set()
        await release.wait()
        running -= 1

    engine = await start_engine(app, max_concurrent_activities=4)
    await engine.start_instance("fan", instance_id="one")

    assert (await ended(engine, "one")).status is Status.COMPLETED
    assert most == 4
