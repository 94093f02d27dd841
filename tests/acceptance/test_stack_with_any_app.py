"""The stand-in runs an app that it has never heard of, and connects it to everything."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import NewStack
from tests.running_stack import RunningStack

HelloApp = Callable[[str], Path]


async def run_hello(stack: RunningStack, name: str) -> dict[str, Any]:
    """Start the app's orchestration and wait for its output."""
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{stack.url}/api/hello/{name}") as answer:
            assert answer.status == 202, await answer.text()
            where = answer.headers["Location"]
        async with asyncio.timeout(30):
            while True:
                async with http.get(where) as answer:
                    state: dict[str, Any] = await answer.json()
                    if answer.status == 200:
                        return state
                await asyncio.sleep(0.02)


async def test_an_app_runs_its_orchestrations_and_reaches_every_service(new_stack: NewStack, copied_app: HelloApp):
    stack = new_stack(copied_app("hello_durable"))
    state = await run_hello(stack, "Ada")
    assert state["runtimeStatus"] == "Completed"
    assert state["output"] == {"greetings": ["Hello Ada", "こんにちは Ada"], "count": 1}

    async with aiohttp.ClientSession() as http, http.get(f"{stack.url}/api/services") as answer:
        assert answer.status == 200, await answer.text()
        used = await answer.json()
    assert used["blob"] == "kept"
    assert used["eventHubs"] >= 1
    assert used["model"] == "stop"
    assert used["signalr"] == 202


async def test_state_outlives_killed_services_and_the_stack_itself(new_stack: NewStack, copied_app: HelloApp):
    app = copied_app("hello_durable")
    stack = new_stack(app)
    assert (await run_hello(stack, "Ada"))["output"]["count"] == 1
    for service in ("host", "blob"):
        stack.kill(service)
    stack.wait_ready()
    assert (await run_hello(stack, "Ada"))["output"]["count"] == 2
    assert stack.stop() == 0

    again = new_stack(app, state_dir=stack.state_dir)
    assert (await run_hello(again, "Ada"))["output"]["count"] == 3
