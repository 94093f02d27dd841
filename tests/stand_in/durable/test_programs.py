"""Random programs: whatever the order of events and the cutting of episodes, the replay and the SDK agree.

An orchestrator interprets a program; its result follows from the program alone. Events come in any order, some before
anyone waits. If the numbers that the replay hands out ever differed from the SDK's, an instance would hang or fail.
"""

import asyncio
import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions import DurableOrchestrationContext as Context
from hypothesis import given, settings
from hypothesis import strategies as st

from stand_in.durable.engine import DurableEngine
from stand_in.durable.instance import Status
from stand_in.durable.options import DurableOptions
from tests.stand_in.durable.conftest import ended
from tests.stand_in.durable.loaded_app import LoadedApp

Step = list[Any]


def interpreter() -> df.DFApp:
    """The app that runs programs."""
    app = df.DFApp()

    def task(context: Context, step: Step) -> Any:
        kind, value = step
        if kind == "call":
            return context.call_activity("echo", value)
        if kind == "retry":
            return context.call_activity_with_retry("fail_at_first", df.RetryOptions(1, 3), value)
        if kind == "timer":
            return context.create_timer(context.current_utc_datetime + timedelta(milliseconds=value))
        if kind == "event":
            return context.wait_for_external_event(value)
        if kind == "child":
            return context.call_sub_orchestrator("program", value)
        return context.call_entity(df.EntityId("echoes", "one"), "echo", value)

    @app.orchestration_trigger(context_name="context")
    def program(context: Context):
        results = []
        for kind, value in context.get_input():
            if kind == "all":
                results.append((yield context.task_all([task(context, step) for step in value])))
            elif kind == "race":
                timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
                work = task(context, value)
                yield context.task_any([work, timer])
                timer.cancel()
                results.append(work.result)
            else:
                results.append((yield task(context, [kind, value])))
        return results

    @app.activity_trigger(input_name="value")
    async def echo(value: Any) -> Any:
        return value

    failed: set[str] = set()

    @app.activity_trigger(input_name="value")
    async def fail_at_first(value: str) -> str:
        if value not in failed:
            failed.add(value)
            raise ValueError(value)
        return value

    @app.entity_trigger(context_name="context")
    def echoes(context: df.DurableEntityContext) -> None:
        context.set_state(1)
        context.set_result(context.get_input())

    return app


def expected(program: list[Step]) -> list[Any]:
    """What a program returns."""
    results: list[Any] = []
    for kind, value in program:
        if kind == "all":
            results.append(expected(value))
        elif kind == "race":
            results.append(expected([value])[0])
        elif kind == "child":
            results.append(expected(value))
        else:
            results.append(None if kind == "timer" else value)
    return results


NUMBERS = st.integers(min_value=0, max_value=1_000_000)
PLAIN = st.one_of(
    st.tuples(st.just("call"), NUMBERS),
    st.tuples(st.just("timer"), st.integers(min_value=-5, max_value=5)),
    st.tuples(st.just("event"), NUMBERS.map("event-{}".format)),
    st.tuples(st.just("entity"), NUMBERS),
)
RETRY = st.tuples(st.just("retry"), NUMBERS.map("retry-{}".format))
RACED = st.one_of(st.tuples(st.just("call"), NUMBERS), st.tuples(st.just("event"), NUMBERS.map("raced-{}".format)))
STEPS = st.one_of(
    PLAIN,
    RETRY,
    st.tuples(st.just("all"), st.lists(st.one_of(PLAIN, RETRY), min_size=1, max_size=4)),
    st.tuples(st.just("race"), RACED),
    st.tuples(st.just("child"), st.lists(st.tuples(st.just("call"), NUMBERS), max_size=3)),
)
PROGRAMS = st.lists(STEPS, min_size=1, max_size=6).map(lambda program: json.loads(json.dumps(program)))


def events_of(program: list[Step]) -> list[str]:
    """Every event that a program waits for, each once: the SDK hands a kept event out again."""
    found: list[str] = []
    for kind, value in program:
        if kind == "event":
            found.append(value)
        elif kind in ("all", "race"):
            found += events_of([value] if kind == "race" else value)
    return found


async def _run(program: list[Step], order: list[str]) -> None:
    functions = LoadedApp(interpreter())
    with tempfile.TemporaryDirectory() as folder:
        engine = DurableEngine(Path(folder) / "hub.db", functions, DurableOptions())
        await engine.start()
        await engine.start_instance("program", instance_id="one", input_text=json.dumps(json.dumps(program)))
        for name in order:
            await asyncio.sleep(0)
            await engine.raise_event("one", name, json.dumps(name))
        record = await ended(engine, "one")
        await engine.stop(patience=1)
    functions.close()
    assert record.status is Status.COMPLETED, record.output
    assert json.loads(record.output or "[]") == expected(program)


# What the SDK says of an event that comes before anyone waits for it.
@pytest.mark.filterwarnings("ignore:Potential duplicate Task completion:UserWarning")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_program_returns_the_same_whatever_the_order_of_its_events(data: st.DataObject):
    program = data.draw(PROGRAMS.filter(lambda steps: len(events_of(steps)) == len(set(events_of(steps)))))
    order = data.draw(st.permutations(events_of(program)))

    asyncio.run(_run(program, list(order)))
