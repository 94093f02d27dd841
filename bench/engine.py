"""The durable engine: three-activity orchestrations, beside durabletask's in-memory backend, which keeps nothing."""

import asyncio
import logging
import tempfile
import time
from pathlib import Path

import aiohttp

from bench.figures import Figure, show
from tests.running_stack import ROOT, RunningStack

APP = ROOT / "tests" / "apps" / "three_activities"
TURNS = 1_000
AT_ONCE = 50


async def ours(host: str) -> float:
    """Orchestrations per second through the host's management API, every step on disk."""
    base = f"{host}/runtime/webhooks/durabletask"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

        async def start(number: int) -> None:
            url = f"{base}/orchestrators/three_activities/bench-{number}"
            # A JSON text in a JSON string, as the SDK's client sends it; its get_input fails on a bare number.
            async with session.post(url, json=str(number)) as response:
                response.raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(start(number) for number in range(TURNS)))
        query = {"runtimeStatus": "Running,Pending", "top": "1"}
        while True:
            async with session.get(f"{base}/instances", params=query) as response:
                if await response.json() == []:
                    return TURNS / (time.perf_counter() - started)
            await asyncio.sleep(0.05)


def peer() -> float:
    """The same orchestration on durabletask's in-memory backend."""
    from durabletask import client, task, worker
    from durabletask.testing import create_test_backend

    def step(context: task.ActivityContext, number: int) -> int:
        return number + 1

    def three_activities(context: task.OrchestrationContext, number: int):  # type: ignore[no-untyped-def]
        for _ in range(3):
            number = yield context.call_activity(step, input=number)
        return number

    port, quiet = 50_051, logging.NullHandler()
    address = f"localhost:{port}"
    backend = create_test_backend(port=port)
    try:
        with worker.TaskHubGrpcWorker(host_address=address, log_handler=quiet) as running:
            running.add_orchestrator(three_activities)
            running.add_activity(step)
            running.start()  # type: ignore[no-untyped-call]
            hub = client.TaskHubGrpcClient(host_address=address, log_handler=quiet)
            started = time.perf_counter()
            count = TURNS // 4  # it is slower; the rate is what counts
            ids = [hub.schedule_new_orchestration(three_activities, input=number) for number in range(count)]
            for instance_id in ids:
                hub.wait_for_orchestration_completion(instance_id, timeout=120)
            return count / (time.perf_counter() - started)
    finally:
        backend.stop()


def main() -> None:
    """Measure both, print the table."""
    with tempfile.TemporaryDirectory() as folder, RunningStack(APP, Path(folder)) as stack:
        rate = asyncio.run(ours(stack.wait_ready().addresses["host"]))
    figures = [
        Figure(
            "3-activity orchestrations/s", f"{rate:,.0f} on disk", f"{peer():,.0f} in memory (durabletask)", ">= 300"
        )
    ]
    show("Durable engine", figures)


if __name__ == "__main__":
    main()
