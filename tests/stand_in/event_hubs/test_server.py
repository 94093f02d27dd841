"""The emulator through the unmodified SDK, synchronous and asynchronous."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub import aio as eventhub_aio
from azure.eventhub.exceptions import AuthenticationError, EventDataSendError

from stand_in.event_hubs.connection_string import SHARED_ACCESS_KEY, connection_string
from stand_in.event_hubs.partition_keys import partition_of
from stand_in.event_hubs.server import start_server
from tests.stand_in.event_hubs.running import (
    DEADLINE,
    SDK_LEFTOVERS,
    EmulatorProcess,
    read_events,
    running_emulator,
    sdk_leftovers,
    until,
)

pytestmark = [pytest.mark.filterwarnings(warning) for warning in SDK_LEFTOVERS]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    with sdk_leftovers():
        yield


def producer(port: int, hub: str = "logs", **options: Any) -> eventhub_aio.EventHubProducerClient:
    return eventhub_aio.EventHubProducerClient.from_connection_string(
        connection_string(port), eventhub_name=hub, retry_total=0, **options
    )


async def send_numbers(port: int, count: int, hub: str = "logs", partition_id: str = "0") -> None:
    async with producer(port, hub) as client:
        for number in range(count):
            await client.send_event(EventData(str(number)), partition_id=partition_id)


async def test_an_event_comes_back_whole(tmp_path: Path) -> None:
    """Body, system properties, application properties, content type: as sent; the annotations are the service's."""
    event = EventData(b'{"a": 1}')
    event.message_id = "turn-1"
    event.correlation_id = "c"
    event.content_type = "application/json"
    event.properties = {"kind": "turn", "number": 7, "big": 2**30, "share": 0.5, "yes": True}
    event.raw_amqp_message.annotations = {"x-opt-sequence-number": 999, "own": "kept"}
    async with running_emulator(tmp_path, now_ms=lambda: 1_700_000_000_123) as server:
        async with producer(server.port) as client:
            await client.send_event(event, partition_key="conversation")
        ((partition, received),) = await read_events(connection_string(server.port, "logs"), 1)

    assert received.body_as_str() == '{"a": 1}'
    assert (received.message_id, received.correlation_id, received.content_type) == ("turn-1", "c", "application/json")
    assert received.properties == {b"kind": b"turn", b"number": 7, b"big": 2**30, b"share": 0.5, b"yes": True}
    assert received.partition_key == b"conversation"
    assert partition == str(partition_of("conversation", 4))
    assert (received.sequence_number, received.offset) == (0, "0")
    assert received.enqueued_time == datetime.fromtimestamp(1_700_000_000.123, UTC)
    assert (received.raw_amqp_message.annotations or {})[b"own"] == b"kept"


async def test_a_batch_goes_to_one_partition_in_order(tmp_path: Path) -> None:
    """One of its events is larger than a frame."""
    bodies = [str(number) * (200_000 if number == 7 else 1) for number in range(150)]
    async with running_emulator(tmp_path) as server:
        async with producer(server.port) as client:
            batch = await client.create_batch(partition_key="k")
            assert batch.max_size_in_bytes == 1024 * 1024
            for body in bodies:
                batch.add(EventData(body))
            await client.send_batch(batch)
        events = await read_events(connection_string(server.port, "logs"), 150)

    assert {partition for partition, _ in events} == {str(partition_of("k", 4))}
    assert [event.body_as_str() for _, event in events] == bodies
    assert {event.partition_key for _, event in events} == {b"k"}
    offsets = [int(event.offset or "") for _, event in events]
    assert offsets == sorted(set(offsets))


async def test_the_buffered_producer_works(tmp_path: Path) -> None:
    sent: list[int] = []

    async def on_success(events: list[EventData], partition_id: str | None) -> None:
        sent.append(len(events))

    async def on_error(events: list[EventData], partition_id: str | None, error: Exception) -> None:
        raise AssertionError(error)

    async with running_emulator(tmp_path, partition_count=2) as server:
        async with producer(
            server.port, buffered_mode=True, on_success=on_success, on_error=on_error, max_wait_time=0.1
        ) as client:
            for number in range(40):
                await client.send_event(EventData(str(number)), partition_key=str(number % 5))
            await client.flush()
        events = await read_events(connection_string(server.port, "logs"), 40)

    assert sum(sent) == 40
    assert sorted(int(event.body_as_str()) for _, event in events) == list(range(40))


async def test_an_event_over_the_limit_is_rejected_as_the_service_does(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server, producer(server.port) as client:
        with pytest.raises(EventDataSendError, match=r"exceeds the limit \(1048576 bytes\)") as refused:
            await client.send_event(EventData(b"x" * 1_100_000))
        await client.send_event(EventData(b"the next one is taken"))

    assert "message-size-exceeded" in str(refused.value.error)


def test_the_synchronous_clients_work(tmp_path: Path) -> None:
    """Single, list and batch; a consumer that calls back for each event."""
    with EmulatorProcess(tmp_path / "state") as emulator:
        text = connection_string(emulator.port, "logs")
        with EventHubProducerClient.from_connection_string(text) as client:
            client.send_event(EventData("0"), partition_id="2")
            client.send_batch([EventData("1"), EventData("2")], partition_id="2")
            batch = client.create_batch(partition_id="2")
            batch.add(EventData("3"))
            client.send_batch(batch)
            properties = client.get_eventhub_properties()
            partition = client.get_partition_properties("2")
        received: list[str] = []
        enough = threading.Event()
        consumer = EventHubConsumerClient.from_connection_string(text, consumer_group="$Default")

        def on_event(_: object, event: EventData) -> None:
            received.append(event.body_as_str())
            if len(received) == 4:
                enough.set()

        reading = threading.Thread(
            target=consumer.receive,
            args=(on_event,),
            kwargs={"partition_id": "2", "starting_position": "-1"},
        )
        reading.start()
        assert enough.wait(DEADLINE)
        consumer.close()
        reading.join(DEADLINE)
        assert emulator.stop() == 0

    assert received == ["0", "1", "2", "3"]
    assert (properties["eventhub_name"], properties["partition_ids"]) == ("logs", ["0", "1", "2", "3"])
    assert partition["last_enqueued_sequence_number"] == 3


async def test_what_is_known_about_hubs_and_partitions(tmp_path: Path) -> None:
    clock = iter(range(1_700_000_000_000, 1_800_000_000_000))
    async with (
        running_emulator(tmp_path, partition_count=2, now_ms=lambda: next(clock)) as server,
        producer(server.port, "Logs") as client,
    ):
        await client.send_batch([EventData("a"), EventData("b")], partition_id="1")
        hub, empty, full = await asyncio.gather(
            client.get_eventhub_properties(), client.get_partition_properties("0"), client.get_partition_properties("1")
        )
    assert hub["eventhub_name"] == "Logs"
    assert hub["partition_ids"] == ["0", "1"]
    assert hub["created_at"].year == 2023
    assert (empty["is_empty"], empty["last_enqueued_sequence_number"], empty["last_enqueued_offset"]) == (
        True,
        -1,
        "-1",
    )
    assert (full["is_empty"], full["beginning_sequence_number"], full["last_enqueued_sequence_number"]) == (False, 0, 1)
    assert int(full["last_enqueued_offset"]) > 0
    assert full["last_enqueued_time_utc"] > hub["created_at"]


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_emulator(tmp_path, partition_count=3) as server:
        await send_numbers(server.port, 5, partition_id="1")
        port = server.port
    async with running_emulator(tmp_path, port=port, partition_count=8) as server, producer(port) as client:
        await client.send_event(EventData("5"), partition_id="1")
        events, hub = await asyncio.gather(
            read_events(connection_string(port, "logs"), 6, partition_id="1"), client.get_eventhub_properties()
        )

    assert [event.sequence_number for _, event in events] == list(range(6))
    assert hub["partition_ids"] == ["0", "1", "2"], "a hub keeps the partitions it was made with"


async def test_a_wrong_key_is_refused_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running_emulator(tmp_path) as server:
        text = connection_string(server.port, "logs").replace(SHARED_ACCESS_KEY, "another")
        client = eventhub_aio.EventHubProducerClient.from_connection_string(text, retry_total=0)
        with pytest.raises(AuthenticationError):
            await client.get_eventhub_properties()
        await client.close()

    assert "was refused: InvalidSignature" in caplog.text


async def test_a_token_of_an_identity_is_taken_as_valid(tmp_path: Path) -> None:
    """`use_tls=False` is how a client with an identity is brought to speak plain TCP."""

    class Credential:
        async def get_token(self, *_: str, **__: object) -> AccessToken:
            return AccessToken("header.payload.signature", 4_000_000_000)

    credential = cast(AsyncTokenCredential, Credential())
    async with running_emulator(tmp_path) as server:
        client = eventhub_aio.EventHubProducerClient(f"localhost:{server.port}", "logs", credential, use_tls=False)
        await client.send_event(EventData("a"))
        hub = await client.get_eventhub_properties()
        await client.close()

    assert hub["eventhub_name"] == "logs"


async def test_an_idle_connection_is_closed_and_the_client_comes_back(tmp_path: Path) -> None:
    """As the service does it after 240 s."""
    async with running_emulator(tmp_path, idle_seconds=0.6) as server, producer(server.port) as client:
        await client.send_event(EventData("a"))
        await until(lambda: server.client_count == 0)
        await client.send_event(EventData("b"))
        assert server.client_count > 0


async def test_a_client_that_wants_to_be_kept_alive_is(tmp_path: Path) -> None:
    """A client with an idle time-out of its own gets empty frames."""
    async with running_emulator(tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(bytes.fromhex("414d5150030100000000001a02010000005341c00d01a309414e4f4e594d4f5553"))
        writer.write(bytes.fromhex("414d5150000100000000001a02000000005310c00d05a10163404343700000012c"))
        with contextlib.suppress(asyncio.IncompleteReadError):
            async with asyncio.timeout(DEADLINE):
                await reader.readuntil(bytes.fromhex("0000000802000000"))
        writer.close()
        await writer.wait_closed()


async def test_a_port_that_is_taken_is_an_os_error(tmp_path: Path) -> None:
    async with running_emulator(tmp_path / "one") as server:
        with pytest.raises(OSError, match="address already in use"):
            await start_server(port=server.port, state_dir=tmp_path / "two")
