"""What the project relies on in Event Hubs: against the emulator, or the hub that CONTRACT_EVENTHUB_CONN_STR names.

That connection string needs an EntityPath, and a key with the rights to send and to listen. Only events of this run are
looked at: what else is in the hub does not matter.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient, PartitionContext
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from adapters.event_hubs import EventHubLog
from stand_in.event_hubs.connection_string import connection_string
from tests.stand_in.event_hubs.running import SDK_LEFTOVERS, running_emulator, sdk_leftovers

pytestmark = [pytest.mark.filterwarnings(warning) for warning in SDK_LEFTOVERS]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    with sdk_leftovers():
        yield


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[str]:
    """The connection string of the hub under contract."""
    real = os.environ.get("CONTRACT_EVENTHUB_CONN_STR")
    if real:
        yield real
        return
    async with running_emulator(tmp_path) as server:
        yield connection_string(server.port, "contract")


async def read_own(hub: str, run: str, expected: int, since: datetime) -> list[tuple[str, EventData]]:
    """The events of this run, in the order of arrival."""
    events: list[tuple[str, EventData]] = []
    enough = asyncio.Event()

    async def on_event_batch(context: PartitionContext, batch: list[EventData]) -> None:
        events.extend((context.partition_id, e) for e in batch if (e.message_id or "").startswith(run))
        if len(events) >= expected:
            enough.set()

    client = EventHubConsumerClient.from_connection_string(hub, consumer_group="$Default")
    reading = asyncio.create_task(client.receive_batch(on_event_batch, starting_position=since, max_wait_time=0.5))
    try:
        await asyncio.wait_for(enough.wait(), 60)
    finally:
        await client.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return events


async def test_records_of_one_key_arrive_once_whole_and_in_order(hub: str) -> None:
    run, since = uuid.uuid4().hex, datetime.now(UTC) - timedelta(minutes=5)
    log = EventHubLog.from_connection_string(hub)
    for number in range(5):
        await log.send(
            b'{"number": %d}' % number, message_id=f"{run}-{number}", partition_key=run, properties={"schema": 1}
        )
    await log.close()

    events = await read_own(hub, run, 5, since)

    assert [event.message_id for _, event in events] == [f"{run}-{number}" for number in range(5)]
    assert [event.body_as_json() for _, event in events] == [{"number": number} for number in range(5)]
    assert {event.content_type for _, event in events} == {"application/json"}
    assert {event.partition_key for _, event in events} == {run.encode()}
    assert {str(event.properties) for _, event in events} == {str({b"schema": 1})}
    assert len({partition for partition, _ in events}) == 1
    numbers = [event.sequence_number or 0 for _, event in events]
    assert numbers == sorted(numbers)


async def test_a_hub_tells_its_partitions(hub: str) -> None:
    async with EventHubProducerClient.from_connection_string(hub) as client:
        properties = await client.get_eventhub_properties()
        partition = await client.get_partition_properties(properties["partition_ids"][0])
        with pytest.raises(EventHubError):
            await client.send_event(EventData(b"x"), partition_id="999")

    assert partition["id"] in properties["partition_ids"]
    assert partition["is_empty"] == (partition["last_enqueued_sequence_number"] < 0)


async def test_the_limit_of_a_record_is_known_and_holds(hub: str) -> None:
    log = EventHubLog.from_connection_string(hub)
    await log.warm_up()
    await log.send(b"x" * (log.max_bytes - 1024), message_id="contract-limit", partition_key="limit")
    await log.close()

    assert log.max_bytes >= 256 * 1024


async def test_a_wrong_key_is_not_let_in(hub: str) -> None:
    fields = dict(field.split("=", 1) for field in hub.rstrip(";").split(";"))
    wrong = ";".join(f"{name}={value}" for name, value in (fields | {"SharedAccessKey": "bm90IHRoZSBrZXk="}).items())

    client = EventHubProducerClient.from_connection_string(wrong, retry_total=0)
    with pytest.raises(AuthenticationError):
        await client.get_eventhub_properties()
    await client.close()
