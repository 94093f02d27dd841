"""What was acknowledged is stored, whatever happens to the process."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

from stand_in.event_hubs.connection_string import connection_string
from tests.stand_in.event_hubs.running import SDK_LEFTOVERS, EmulatorProcess, read_events, sdk_leftovers, until

pytestmark = [pytest.mark.chaos, *(pytest.mark.filterwarnings(warning) for warning in SDK_LEFTOVERS)]

SENDERS = 3
KILLS = 2


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    with sdk_leftovers():
        yield


async def send_until(stop: asyncio.Event, port: int, sender: int, acknowledged: list[str]) -> None:
    """Send numbered events; remember those that the hub accepted."""
    client = EventHubProducerClient.from_connection_string(connection_string(port, "logs"), retry_total=0)
    number = 0
    while not stop.is_set():
        name = f"{sender}-{number}"
        number += 1
        try:
            await client.send_event(EventData(name), partition_key=f"sender{sender}")
        except EventHubError:
            await asyncio.sleep(0.05)  # it is down: what became of this one is not known
            continue
        acknowledged.append(name)
    await client.close()


async def test_nothing_acknowledged_is_lost_when_the_emulator_is_killed(tmp_path: Path) -> None:
    """Killed with SIGKILL under load, and started again on the same port and state."""
    with EmulatorProcess(tmp_path / "state") as emulator:
        acknowledged: list[str] = []
        stop = asyncio.Event()
        senders = [
            asyncio.create_task(send_until(stop, emulator.port, sender, acknowledged)) for sender in range(SENDERS)
        ]
        for _ in range(KILLS):
            before = len(acknowledged)
            await until(lambda: len(acknowledged) > before + 150)  # noqa: B023  # awaited within the round
            emulator.stop(signal.SIGKILL)
            emulator.start()
        stop.set()
        await asyncio.gather(*senders)
        async with EventHubProducerClient.from_connection_string(connection_string(emulator.port, "logs")) as client:
            partitions = await asyncio.gather(*(client.get_partition_properties(number) for number in "0123"))
        stored = sum(partition["last_enqueued_sequence_number"] + 1 for partition in partitions)
        events = await read_events(connection_string(emulator.port, "logs"), stored)

    names = [event.body_as_str() for _, event in events]
    assert len(acknowledged) > 150 * KILLS
    assert set(acknowledged) - set(names) == set()
    for partition in "0123":
        numbers = [event.sequence_number for where, event in events if where == partition]
        assert numbers == list(range(len(numbers))), "sequence numbers have no gaps"
