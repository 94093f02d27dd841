"""The emulator, running for a test: in this process, or as one of its own that can be killed.

The azure-eventhub SDK leaves the transport of a connection that the other side cut to the garbage collector, which then
warns about it. `sdk_leftovers` collects it where the warning is expected, so that everybody else's still are errors.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from stand_in.event_hubs.server import EventHubsServer, start_server

# For `pytestmark`, beside the use of `sdk_leftovers`: the collector may come along earlier.
SDK_LEFTOVERS = (
    "ignore:unclosed transport:ResourceWarning",
    "ignore:unclosed <socket.socket:ResourceWarning",
    "ignore:unclosed <StreamWriter:ResourceWarning",
    "ignore:loop is closed:ResourceWarning",
)
DEADLINE = 20.0


@contextlib.contextmanager
def sdk_leftovers() -> Iterator[None]:
    """Collect what the SDK left behind, without its warnings."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@contextlib.asynccontextmanager
async def running_emulator(
    state_dir: Path,
    *,
    port: int = 0,
    partition_count: int = 4,
    idle_seconds: float = 240.0,
    now_ms: Callable[[], int] | None = None,
) -> AsyncIterator[EventHubsServer]:
    """The emulator on this event loop."""
    clock = {} if now_ms is None else {"now_ms": now_ms}
    server = await start_server(
        port=port, state_dir=state_dir, partition_count=partition_count, idle_seconds=idle_seconds, **clock
    )
    try:
        yield server
    finally:
        await server.stop()


class EmulatorProcess:
    """The emulator as a process, on the same port and state in each of its lives."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it; return when it accepts connections."""
        command = [sys.executable, "-m", "stand_in.event_hubs", "--port", str(self.port)]
        with (self._state_dir.parent / "emulator.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--state-dir", str(self._state_dir)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        assert (ready["service"], ready["pid"]) == ("event_hubs", self._process.pid)
        self.port = ready["port"]

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal; return its exit code."""
        assert self._process is not None
        self.send_signal(number)
        code = self._process.wait(DEADLINE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def __enter__(self) -> "EmulatorProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.send_signal(signal.SIGCONT)
            self.stop(signal.SIGKILL)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the other side decides."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.02)


async def read_events(
    connection_string: str,
    expected: int,
    *,
    group: str = "$Default",
    partition_id: str | None = None,
    starting_position: Any = "-1",
    inclusive: bool = False,
    **options: Any,
) -> list[tuple[str, EventData]]:
    """Read until so many events came, as (partition id, event)."""
    events: list[tuple[str, EventData]] = []
    enough = asyncio.Event()

    async def on_event_batch(context: PartitionContext, batch: list[EventData]) -> None:
        events.extend((context.partition_id, event) for event in batch)
        if len(events) >= expected:
            enough.set()

    client = EventHubConsumerClient.from_connection_string(connection_string, consumer_group=group)
    reading = asyncio.create_task(
        client.receive_batch(
            on_event_batch,
            partition_id=partition_id,
            starting_position=starting_position,
            starting_position_inclusive=inclusive,
            max_wait_time=0.1,
            **options,
        )
    )
    try:
        await asyncio.wait_for(enough.wait(), DEADLINE)
    finally:
        await client.close()
        reading.cancel()  # it would sleep until its next round of load balancing, 30 s
        await asyncio.gather(reading, return_exceptions=True)
    return events
