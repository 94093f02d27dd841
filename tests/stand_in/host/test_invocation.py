"""One call of a function: keywords, threads, out bindings, what is returned, retries."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from stand_in.host import conversion
from stand_in.host.binding_values import BindingValues
from stand_in.host.errors import InvocationFailed, InvocationTimedOut
from stand_in.host.function import Binding, Function, Signature
from stand_in.host.function_calls import FunctionCalls
from stand_in.host.invocation import Context, Invocations, Out, current_invocation, new_context
from stand_in.host.log_levels import LogLevels
from stand_in.host.retry_policy import read_policy
from stand_in.host.timers import trigger_text


def function(call: Any, *, returns: str | None = None, outputs: dict[str, str] | None = None, **more: Any) -> Function:
    names = call.__code__.co_varnames[: call.__code__.co_argcount]
    inputs = {name: "generic" for name in names if name not in (outputs or {}) and name != "context"}
    return Function(
        name="the_function",
        call=call,
        directory="/app",
        is_async=asyncio.iscoroutinefunction(call),
        bindings=(Binding("t", "timerTrigger", "in"),),
        signature=Signature(inputs, outputs or {}, returns, "context" in names),
        **more,
    )


@pytest.fixture
def invocations() -> Any:
    invocations = Invocations(timeout=timedelta(seconds=10), threads=4)
    yield invocations
    invocations.close()


async def test_out_values_come_with_the_result(invocations: Invocations) -> None:
    def call(a: str, out: Out, unset: Out) -> str:
        out.set({"n": 1})
        out.set({"n": 2})
        return a.upper()

    outcome = await invocations.run(
        one := function(call, returns="activityTrigger", outputs={"out": "signalR", "unset": "signalR"}),
        {"a": "x"},
        new_context(one),
    )

    assert outcome.value == "X"
    assert {name: (data.type, data.value) for name, data in outcome.outputs.items()} == {"out": ("dict", {"n": 2})}


async def test_a_result_without_a_return_binding_is_a_failure(invocations: Invocations) -> None:
    one = function(lambda: 5)

    with pytest.raises(InvocationFailed, match="without a \\$return binding returned a non-None value"):
        await invocations.run(one, {}, new_context(one))


async def test_a_failure_reports_the_function_s_frames_only(invocations: Invocations) -> None:
    def call() -> None:
        raise ValueError("first\nsecond")

    one = function(call)
    with pytest.raises(InvocationFailed) as failed:
        await invocations.run(one, {}, new_context(one))

    assert failed.value.text.startswith("Result: Failure\nException: ValueError: first\nsecond\nStack:   File ")
    assert "stand_in/host" not in failed.value.text.partition("Stack:")[2].replace("tests/stand_in/host", "")


async def test_a_thread_knows_its_invocation(invocations: Invocations) -> None:
    seen: list[Any] = []

    def call(context: Context) -> None:
        seen.extend([context.thread_local_storage.invocation_id, current_invocation.get()])

    one = function(call)
    context = new_context(one)
    await invocations.run(one, {}, context)

    assert seen == [context.invocation_id, context]


async def test_a_plain_function_that_takes_too_long_fails_too() -> None:
    invocations, released = Invocations(timeout=timedelta(milliseconds=50), threads=1), asyncio.Event()
    loop = asyncio.get_running_loop()

    def call() -> None:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(10)

    one = function(call)
    with pytest.raises(InvocationTimedOut, match=r"exceeded by function 'Functions\.the_function'"):
        await invocations.run(one, {}, new_context(one))
    released.set()
    invocations.close()


async def test_the_function_s_own_time_out_is_no_function_time_out(invocations: Invocations) -> None:
    async def call() -> None:
        raise TimeoutError("its own")

    one = function(call)
    with pytest.raises(InvocationFailed, match="TimeoutError: its own") as failed:
        await invocations.run(one, {}, new_context(one))
    assert not isinstance(failed.value, InvocationTimedOut)


async def test_a_timer_is_tried_again_as_its_policy_says(invocations: Invocations) -> None:
    retries: list[int] = []
    waits: list[float] = []

    def call(t: str, context: Context) -> None:
        retries.append(context.retry_context.retry_count)
        if len(retries) < 4:
            raise ValueError("not yet")

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    policy = {
        "strategy": "exponential_backoff",
        "max_retry_count": "5",
        "minimum_interval": "00:00:02",
        "maximum_interval": "00:00:05",
    }
    await FunctionCalls(invocations, BindingValues({}, {}), sleep).call_timer(
        function(call, retry=policy), trigger_text(None)
    )

    assert retries == [0, 1, 2, 3]
    assert waits == [2.0, 4.0, 5.0]


async def test_a_timer_gives_up_after_its_last_retry(invocations: Invocations) -> None:
    async def sleep(seconds: float) -> None: ...

    def call(t: str) -> None:
        raise ValueError("never")

    policy = {"strategy": "fixed_delay", "max_retry_count": "2", "delay_interval": "00:00:01"}
    with pytest.raises(InvocationFailed):
        await FunctionCalls(invocations, BindingValues({}, {}), sleep).call_timer(
            function(call, retry=policy), trigger_text(None)
        )


def test_a_policy_with_a_wrong_time_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a time"):
        read_policy({"strategy": "fixed_delay", "max_retry_count": "2", "delay_interval": "soon"})


# The SDK says so once a process, whenever an activity's input is read as the worker reads it.
@pytest.mark.filterwarnings("ignore:azure.functions df_loads was called without expected_type:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "given", "seen"),
    [
        ("activityTrigger", '{"a": 1}', {"a": 1}),
        ("activityTrigger", "no JSON", "no JSON"),
        ("activityTrigger", "null", None),
        ("generic", '{"a": 1}', '{"a": 1}'),
        ("unknownBinding", "text", "text"),
    ],
)
def test_text_is_converted_by_the_binding_s_rules(kind: str, given: str, seen: object) -> None:
    assert conversion.decode(kind, conversion.datum(given, "string")) == seen


def test_what_cannot_be_sent_names_binding_and_type() -> None:
    with pytest.raises(TypeError, match='unsupported type "signalR" for Python type "object"'):
        conversion.encode("signalR", object())


@pytest.mark.parametrize(
    ("logger", "level", "is_shown"),
    [
        ("stand_in.host.server", logging.INFO, False),
        ("stand_in.durable.engine", logging.INFO, True),
        ("app.module", logging.INFO, True),
        ("app.module", logging.DEBUG, False),
    ],
)
def test_log_levels_of_host_json_decide_what_is_shown(logger: str, level: int, is_shown: bool) -> None:
    levels = LogLevels({"default": "Warning", "Function": "Information", "DurableTask": "Debug"})

    assert levels.filter(logging.LogRecord(logger, level, "", 0, "", (), None)) is is_shown
