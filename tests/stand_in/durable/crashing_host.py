"""A process that runs an engine until every instance is over; a test kills it now and then and starts it again.

    python -m tests.stand_in.durable.crashing_host DATABASE LOG INSTANCES

Every step that reaches outside is appended to LOG as one line, so that the test can count what ran twice.
"""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import azure.durable_functions as df
from azure.durable_functions import DurableOrchestrationContext as Context

from stand_in.durable.engine import DurableEngine
from stand_in.durable.instance import InstanceRecord
from stand_in.durable.options import DurableOptions
from stand_in.durable.task_hub import InstanceFilter
from tests.stand_in.durable.conftest import until
from tests.stand_in.durable.loaded_app import LoadedApp


def app_that_notes(log: Path) -> df.DFApp:
    """Every turn: a chain, a fan-out, a retry, a timer, a child, and a counter that must not count twice."""
    app = df.DFApp()

    def note(text: str) -> int:
        """Append a line at once; how many equal ones there are now."""
        with log.open("a") as file:
            file.write(text + "\n")
        return log.read_text().splitlines().count(text)

    @app.orchestration_trigger(context_name="context")
    def turn(context: Context):
        name = context.instance_id
        first = yield context.call_activity("work", f"{name} first")
        fan = yield context.task_all([context.call_activity("work", f"{name} fan {n}") for n in range(3)])
        flaky = yield context.call_activity_with_retry("fail_once", df.RetryOptions(1, 3), name)
        yield context.create_timer(context.current_utc_datetime + timedelta(milliseconds=20))
        child = yield context.call_sub_orchestrator("child", name, f"{name}-child")
        total = yield context.call_entity(df.EntityId("counter", "all"), "add", name)
        return [first, fan, flaky, child, total > 0]

    @app.orchestration_trigger(context_name="context")
    def child(context: Context):
        result = yield context.call_activity("work", f"{context.get_input()} child")
        return result

    @app.activity_trigger(input_name="what")
    async def work(what: str) -> str:
        note(f"work {what}")
        await asyncio.sleep(0.005)
        return what

    @app.activity_trigger(input_name="what")
    async def fail_once(what: str) -> str:
        if note(f"fail {what}") == 1:
            raise ValueError("the first time")
        return what

    @app.entity_trigger(context_name="context")
    def counter(context: df.DurableEntityContext) -> None:
        seen = context.get_state(list)
        seen.append(context.get_input())
        context.set_state(seen)
        context.set_result(len(seen))

    return app


async def run(database: Path, log: Path, instances: int) -> None:
    """Start what was not started, and wait for all."""
    engine = DurableEngine(database, LoadedApp(app_that_notes(log)), DurableOptions())
    await engine.start()
    for number in range(instances):
        if await engine.status(f"turn-{number:02}") is None:
            await engine.start_instance("turn", instance_id=f"turn-{number:02}")
            with log.open("a") as file:
                file.write(f"accepted turn-{number:02}\n")

    async def is_over() -> bool:
        records = await engine.query(InstanceFilter("turn-"), 1_000)
        return all(isinstance(record, InstanceRecord) and record.status.is_final for record in records)

    await until(is_over, "every turn is over")
    await engine.stop()
    sys.stdout.write("done\n")


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
    sys.stdout.flush()
    os._exit(0)
