"""What is left when an engine stops is taken up at once by the next one; and what a stop and a lost lock mean."""

import asyncio
import json
import time
from datetime import timedelta
from pathlib import Path

import azure.durable_functions as df
import pytest
from azure.durable_functions import DurableOrchestrationContext as Context

from stand_in.durable.engine import DurableEngine
from stand_in.durable.errors import EngineStopped
from stand_in.durable.history import EventType
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.options import DurableOptions
from stand_in.durable.task_hub import InstanceFilter
from stand_in.durable.timestamps import Clock
from tests.stand_in.durable.conftest import StartEngine, ended, reached, until
from tests.stand_in.durable.loaded_app import LoadedApp


class Runs:
    """What an activity did, and what lets it go on."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.go_on = asyncio.Event()
        self.results = iter(range(1, 100))


def app_with(runs: Runs) -> df.DFApp:
    """One orchestrator that waits for one activity; each run of it has a result of its own."""
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def one_step(context: Context):
        result = yield context.call_activity("step", None)
        return result

    @app.activity_trigger(input_name="nothing")
    async def step(nothing: None) -> int:
        result = next(runs.results)
        runs.begun.append(result)
        await runs.go_on.wait()
        return result

    @app.orchestration_trigger(context_name="context")
    def waits(context: Context):
        timer = context.create_timer(context.current_utc_datetime + timedelta(milliseconds=300))
        event = context.wait_for_external_event("Go")
        winner = yield context.task_any([timer, event])
        if winner == event:
            timer.cancel()
        return "timer" if winner == timer else event.result

    return app


async def _begun(runs: Runs, count: int) -> None:
    async def enough() -> bool:
        return len(runs.begun) >= count

    await until(enough, f"{count} runs began")


async def test_an_open_activity_runs_again_after_a_restart_and_finished_work_does_not(start_engine: StartEngine):
    runs = Runs()
    app = app_with(runs)
    first = await start_engine(app)
    await first.start_instance("one_step", instance_id="one")
    await _begun(runs, 1)
    await first.stop(patience=0)

    runs.go_on.set()
    second = await start_engine(app)

    assert (await ended(second, "one")).output == "2"
    await second.stop(patience=1)
    third = await start_engine(app)
    assert (await ended(third, "one")).output == "2"
    assert runs.begun == [1, 2]


async def test_timers_and_events_outlive_a_restart(start_engine: StartEngine):
    app = app_with(Runs())
    first = await start_engine(app)
    await first.start_instance("waits", instance_id="timer")
    await first.start_instance("waits", instance_id="event")
    await reached(first, "event", Status.RUNNING)
    await first.raise_event("event", "Go", '"here"')
    await first.stop(patience=0)

    second = await start_engine(app)

    assert (await ended(second, "event")).output == '"here"'
    assert (await ended(second, "timer")).output == '"timer"'


async def test_a_polite_stop_lets_a_running_activity_end_and_keeps_its_result(start_engine: StartEngine):
    runs = Runs()
    app = app_with(runs)
    first = await start_engine(app)
    await first.start_instance("one_step", instance_id="one")
    await _begun(runs, 1)

    stopping = asyncio.create_task(first.stop(patience=10))
    await asyncio.sleep(0)
    runs.go_on.set()
    await stopping
    with pytest.raises(EngineStopped):
        await first.start_instance("one_step")

    second = await start_engine(app)
    assert (await ended(second, "one")).output == "1"
    assert runs.begun == [1]


async def test_the_result_of_a_run_that_lost_its_lock_is_dropped(start_engine: StartEngine):
    runs = Runs()
    engine = await start_engine(app_with(runs))
    await engine.start_instance("one_step", instance_id="one")
    await _begun(runs, 1)

    assert engine.redeliver_activities("one") == 1
    await _begun(runs, 2)
    runs.go_on.set()

    assert (await ended(engine, "one")).output == "2"


async def test_with_the_option_the_first_result_ends_the_activity_whoever_sent_it(start_engine: StartEngine):
    """As Azure Storage does: the run that lost its lock is first here, because it has waited longer."""
    runs = Runs()
    engine = await start_engine(app_with(runs), deliver_late_results=True)
    await engine.start_instance("one_step", instance_id="one")
    await _begun(runs, 1)

    engine.redeliver_activities("one")
    await _begun(runs, 2)
    runs.go_on.set()

    assert (await ended(engine, "one")).output == "1"


async def test_the_result_of_a_terminated_instances_activity_is_dropped(start_engine: StartEngine):
    runs = Runs()
    engine = await start_engine(app_with(runs))
    await engine.start_instance("one_step", instance_id="one")
    await _begun(runs, 1)
    await engine.terminate("one", "enough")
    await ended(engine, "one")

    await engine.start_instance("one_step", instance_id="one")
    await _begun(runs, 2)
    runs.go_on.set()

    assert (await ended(engine, "one")).output == "2"


async def test_an_instance_of_a_later_version_waits_for_a_worker_that_may_run_it(start_engine: StartEngine):
    runs = Runs()
    runs.go_on.set()
    app = app_with(runs)
    old = await start_engine(app, default_version="1.0")
    await old.start_instance("one_step", instance_id="later", version="2.0")
    await old.start_instance("one_step", instance_id="stopped", version="2.0")
    await old.terminate("stopped", "not needed")
    await ended(old, "stopped")
    record = await old.status("later")
    assert isinstance(record, InstanceRecord)
    assert record.status is Status.PENDING
    await old.stop(patience=1)

    new = await start_engine(app, default_version="2.0")

    assert (await ended(new, "later")).version == "2.0"
    assert len(await new.query(InstanceFilter(), 10)) == 2


# A cancelled timer lets the replay run ahead of the event, so continue-as-new carries it over; the SDK remarks that.
@pytest.mark.filterwarnings("ignore:Potential duplicate Task completion:UserWarning")
async def test_a_timer_of_an_earlier_generation_means_nothing_to_the_next(tmp_path: Path):
    """It has the number of the new generation's timer, and comes while continue-as-new is on its way."""
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def again(context: Context):
        first = context.get_input() == "first"
        timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
        event = context.wait_for_external_event("Go" if first else "End")
        winner = yield context.task_any([timer, event])
        if winner == event:
            timer.cancel()
        if first:
            context.continue_as_new("second")
            return None
        return "event" if winner == event else "timer"

    hours_later = 0

    class Held(LoadedApp):
        """Lets the first generation's timer come due during the episode that ends it."""

        async def call_orchestrator(self, name: str, trigger_body: str) -> str:
            nonlocal hours_later
            result = await super().call_orchestrator(name, trigger_body)
            if '"Name": "Go"' in trigger_body and not hours_later:
                hours_later = 2
                engine._running._fire()
                inbox = engine._running.instances["one"].inbox
                assert [message.event.event_type for message in inbox][-1] is EventType.TIMER_FIRED
            return result

    functions = Held(app)
    clock = Clock(lambda: time.time_ns() + hours_later * 3_600_000_000_000)
    engine = DurableEngine(tmp_path / "hub.db", functions, DurableOptions(), clock=clock)
    await engine.start()
    await engine.start_instance("again", instance_id="one", input_text=json.dumps(json.dumps("first")))
    await reached(engine, "one", Status.RUNNING)
    await engine.raise_event("one", "Go", "1")

    async def is_second_generation() -> bool:
        record = await engine.status("one")
        return isinstance(record, InstanceRecord) and record.input is not None and "second" in record.input

    await until(is_second_generation, "the second generation waits")
    await engine.raise_event("one", "End", "2")

    assert (await ended(engine, "one")).output == '"event"'
    await engine.stop()
    functions.close()
