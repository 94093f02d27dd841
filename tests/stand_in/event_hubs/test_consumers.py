"""Reading through the SDK: where a consumer starts, who may read, and what it is told."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient, PartitionContext
from azure.eventhub.exceptions import ConnectionLostError

from stand_in.event_hubs.connection_string import connection_string
from stand_in.event_hubs.server import EventHubsServer
from tests.stand_in.event_hubs.running import (
    DEADLINE,
    SDK_LEFTOVERS,
    read_events,
    running_emulator,
    sdk_leftovers,
    until,
)

pytestmark = [pytest.mark.filterwarnings(warning) for warning in SDK_LEFTOVERS]

FIRST_MS = 1_700_000_000_000


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    with sdk_leftovers():
        yield


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[EventHubsServer]:
    """One partition with the events 0 to 4, a second apart."""
    clock = [FIRST_MS]
    async with running_emulator(tmp_path, partition_count=1, now_ms=lambda: clock[0]) as server:
        await send(server, *range(5), clock=clock)
        yield server


async def send(server: EventHubsServer, *numbers: int, clock: list[int] | None = None) -> None:
    async with EventHubProducerClient.from_connection_string(connection_string(server.port, "logs")) as client:
        for number in numbers:
            if clock is not None:
                clock[0] = FIRST_MS + 1000 * number
            await client.send_event(EventData(str(number)))


def bodies(events: list[tuple[str, EventData]]) -> list[str]:
    return [event.body_as_str() for _, event in events]


async def test_a_consumer_starts_where_it_says(emulator: EventHubsServer) -> None:
    """From the start, behind or at a sequence number, an offset or a time."""
    text = connection_string(emulator.port, "logs")
    third = (await read_events(text, 5))[2][1]
    assert third.offset is not None
    time = datetime.fromtimestamp(FIRST_MS / 1000 + 2, UTC)
    positions: list[tuple[object, bool, list[str]]] = [
        ("-1", False, ["0", "1", "2", "3", "4"]),
        (2, False, ["3", "4"]),
        (2, True, ["2", "3", "4"]),
        (third.offset, False, ["3", "4"]),
        (third.offset, True, ["2", "3", "4"]),
        (time, False, ["3", "4"]),
        (time, True, ["2", "3", "4"]),
    ]

    read = await asyncio.gather(
        *(
            read_events(text, len(expected), group=f"group{number}", starting_position=position, inclusive=inclusive)
            for number, (position, inclusive, expected) in enumerate(positions)
        )
    )

    assert [bodies(events) for events in read] == [expected for _, _, expected in positions]


async def test_the_latest_position_is_what_comes_from_now_on(emulator: EventHubsServer) -> None:
    reading = asyncio.create_task(read_events(connection_string(emulator.port, "logs"), 1, starting_position="@latest"))
    await until(lambda: emulator.reader_count == 1)
    await send(emulator, 5)

    assert bodies(await reading) == ["5"]


async def test_consumer_groups_read_the_same_events_each(emulator: EventHubsServer) -> None:
    text = connection_string(emulator.port, "logs")

    one, two = await asyncio.gather(read_events(text, 5, group="one"), read_events(text, 5, group="two"))

    assert bodies(one) == bodies(two) == ["0", "1", "2", "3", "4"]
    await until(lambda: emulator.client_count == 0)
    assert emulator.reader_count == 0, "the seats are free again"


async def test_the_end_of_the_partition_is_told_to_who_asks(emulator: EventHubsServer) -> None:
    told = asyncio.get_running_loop().create_future()

    async def on_event(context: PartitionContext, _: EventData | None) -> None:
        if not told.done():
            told.set_result(context.last_enqueued_event_properties)

    client = EventHubConsumerClient.from_connection_string(
        connection_string(emulator.port, "logs"), consumer_group="$Default"
    )
    reading = asyncio.create_task(
        client.receive(on_event, starting_position="-1", track_last_enqueued_event_properties=True)
    )
    properties = await asyncio.wait_for(told, DEADLINE)
    await client.close()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert properties["sequence_number"] == 4
    assert properties["enqueued_time"] == datetime.fromtimestamp(FIRST_MS / 1000 + 4, UTC)


async def test_a_higher_owner_level_takes_the_partition_over(emulator: EventHubsServer) -> None:
    """The one before is told so."""
    text = connection_string(emulator.port, "logs")
    lost = asyncio.get_running_loop().create_future()
    seen = asyncio.Event()

    async def on_event(_: PartitionContext, __: EventData | None) -> None:
        seen.set()

    async def on_error(_: PartitionContext, error: Exception) -> None:
        if not lost.done():
            lost.set_result(error)

    first = EventHubConsumerClient.from_connection_string(text, consumer_group="$Default", retry_total=0)
    holding = asyncio.create_task(
        first.receive(on_event, on_error=on_error, partition_id="0", owner_level=1, starting_position="-1")
    )
    await asyncio.wait_for(seen.wait(), DEADLINE)
    assert bodies(await read_events(text, 5, partition_id="0", owner_level=2)) == ["0", "1", "2", "3", "4"]

    error = await asyncio.wait_for(lost, DEADLINE)
    assert isinstance(error, ConnectionLostError)
    assert "higher or equal epoch of '2'" in str(error)
    await first.close()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
