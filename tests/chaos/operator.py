"""An operator: looks at the engine and at storage through the platform's own doors, and starts the sweeper by hand."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from azure.storage.blob.aio import ContainerClient

from tests.running_stack import RunningStack

OPEN = "Running,Pending,Suspended,ContinuedAsNew"


async def open_turns(stack: RunningStack) -> list[str]:
    """The turns that the engine has not finished."""
    url = f"{stack.url}/runtime/webhooks/durabletask/instances"
    found, token = [], ""
    async with aiohttp.ClientSession() as http:
        while True:
            headers = {"x-ms-continuation-token": token} if token else {}
            async with http.get(url, params={"runtimeStatus": OPEN, "top": "100"}, headers=headers) as answer:
                answer.raise_for_status()
                found += [instance["instanceId"] for instance in await answer.json()]
                token = answer.headers.get("x-ms-continuation-token", "")
            if not token:
                return [instance_id for instance_id in found if instance_id.startswith("turn-")]


async def until(holds: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    """Wait until this holds."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await holds():
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


async def instance(stack: RunningStack, turn_id: str) -> dict[str, Any]:
    url = f"{stack.url}/runtime/webhooks/durabletask/instances/{turn_id}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.json()  # type: ignore[no-any-return]


async def terminate(stack: RunningStack, turn_id: str) -> None:
    """End a turn's orchestration as an operator can: from now on nothing of it is done."""
    url = f"{stack.url}/runtime/webhooks/durabletask/instances/{turn_id}/terminate?reason=chaos"
    async with aiohttp.ClientSession() as http, http.post(url) as answer:
        assert answer.status == 202, await answer.text()

    async def is_terminated() -> bool:
        return bool((await instance(stack, turn_id))["runtimeStatus"] == "Terminated")

    await until(is_terminated, f"{turn_id} is terminated")


async def markers(stack: RunningStack) -> list[str]:
    """The turns whose records are still to be delivered."""
    connection = stack.settings["AzureWebJobsStorage"]
    async with ContainerClient.from_connection_string(connection, "journals") as container:
        return [name async for name in container.list_blob_names(name_starts_with="unlogged/")]


async def sweep(stack: RunningStack) -> None:
    """Start the sweeper now, rather than at the next five minutes. Returns when it was started."""
    url = f"{stack.url}/admin/functions/sweep_turns"
    async with aiohttp.ClientSession() as http, http.post(url, json={"input": ""}) as answer:
        assert answer.status == 202, await answer.text()


async def kill(stack: RunningStack, service: str) -> None:
    """Kill a service of a stack, and return when another process has taken its place."""
    former = await asyncio.to_thread(stack.kill, service)

    async def is_replaced() -> bool:
        return stack.status().processes.get(service, former) != former

    await until(is_replaced, f"{service} is started again")


def event_hubs_fault(stack: RunningStack, **faults: float) -> None:
    """From now on Event Hubs misbehaves like this; without arguments no more."""
    path = stack.state_dir / "eventHubs" / "faults.json"
    path.with_suffix(".new").write_text(json.dumps(faults))
    os.replace(path.with_suffix(".new"), path)
