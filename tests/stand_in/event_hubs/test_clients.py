"""What a client may reach, frame by frame: refusals by name, tokens, batches, partitions."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stand_in.event_hubs.amqp.decoder import decode
from stand_in.event_hubs.amqp.links import CREDIT, MAX_MESSAGE_SIZE
from stand_in.event_hubs.amqp.messages import DATA, MESSAGE_ANNOTATIONS, section, split_sections
from stand_in.event_hubs.amqp.performatives import ACCEPTED, Close
from stand_in.event_hubs.events import BATCH_FORMAT
from stand_in.event_hubs.partition_keys import partition_of
from stand_in.event_hubs.server import EventHubsServer, start_server
from tests.stand_in.event_hubs.raw_client import RawClient, event, raw_client, sas_token
from tests.stand_in.event_hubs.running import running_emulator


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[EventHubsServer]:
    async with running_emulator(tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    ("address", "receive"),
    [
        ("$admin", False),
        ("logs/Queues/0", False),
        ("logs/ConsumerGroups/g", True),
        ("amqps://localhost/logs", True),
        ("", False),
        (".hidden", False),
    ],
)
async def test_an_unknown_node_is_not_found(
    emulator: EventHubsServer, address: str, receive: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is told loudly: the SDK's consumers would try again for ever without a word."""
    async with raw_client(emulator.port) as client:
        _, refused = await client.attach(address, receive=receive)

    assert refused is not None
    assert "amqp:not-found" in str(refused.error)
    assert f"'{address}'" in str(refused.error)
    assert f"A {'consumer' if receive else 'producer'} was refused" in caplog.text


@pytest.mark.parametrize(
    ("address", "receive"), [("logs/Partitions/4", False), ("logs/ConsumerGroups/g/Partitions/9", True)]
)
async def test_an_unknown_partition_is_out_of_range(emulator: EventHubsServer, address: str, receive: bool) -> None:
    async with raw_client(emulator.port) as client:
        _, refused = await client.attach(address, receive=receive)

    assert refused is not None
    assert "com.microsoft:argument-out-of-range" in str(refused.error)


@pytest.mark.parametrize("hub", [None, "another"])
async def test_without_a_token_for_the_hub_there_is_no_way_in(emulator: EventHubsServer, hub: str | None) -> None:
    async with raw_client(emulator.port, hub) as client:
        _, refused = await client.attach("logs")
        known = await client.ask("$management", operation="READ", type="com.microsoft:eventhub", name="logs")

    assert refused is not None
    assert "amqp:unauthorized-access" in str(refused.error)
    assert known["status-code"] == 401


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        (sas_token("sb://localhost/logs", key="wrong"), "InvalidSignature: the token has"),
        (sas_token("sb://localhost/logs", name="Reader"), "there is no key 'Reader'"),
        (sas_token("sb://localhost/logs", se=1_700_000_000), "ExpiredToken"),
        (sas_token("sb://localhost/other"), "InvalidAudience"),
        ("SharedAccessSignature sr=x", "MalformedToken"),
        ("", "The token is missing"),
        (None, "The token is missing"),
    ],
)
async def test_a_token_that_proves_nothing_is_refused(
    emulator: EventHubsServer, token: str | None, complaint: str
) -> None:
    async with raw_client(emulator.port, None) as client:
        reply = await client.ask(
            "$cbs",
            token,
            operation="put-token",
            type="servicebus.windows.net:sastoken",
            name="sb://localhost/logs",
        )
        _, refused = await client.attach("logs")

    assert reply["status-code"] == 401
    assert complaint in str(reply["status-description"])
    assert refused is not None


async def test_a_token_for_the_namespace_opens_every_hub(emulator: EventHubsServer) -> None:
    async with raw_client(emulator.port, "") as client:
        assert (await client.attach("one"))[1] is None
        assert (await client.attach("two"))[1] is None


@pytest.mark.parametrize(
    ("node", "properties", "code", "complaint"),
    [
        ("$cbs", {"operation": "delete-token"}, 501, "'delete-token' is not supported"),
        ("$cbs", {"operation": "put-token", "type": "amqp:swt"}, 400, "'amqp:swt' is not supported"),
        ("$management", {"operation": "CREATE"}, 501, "'CREATE' is not supported"),
        ("$management", {"operation": "READ", "type": "com.microsoft:queue"}, 501, "'com.microsoft:queue' is not"),
        (
            "$management",
            {"operation": "READ", "type": "com.microsoft:partition", "name": "logs", "partition": "4"},
            404,
            "logs/Partitions/4",
        ),
    ],
)
async def test_an_operation_that_there_is_not_is_refused_by_name(
    emulator: EventHubsServer, node: str, properties: dict[str, object], code: int, complaint: str
) -> None:
    async with raw_client(emulator.port) as client:
        reply = await client.ask(node, **properties)

    assert reply["status-code"] == code
    assert complaint in str(reply["status-description"])


@pytest.mark.parametrize(
    ("message", "message_format", "complaint"),
    [
        (b"rubbish", 0, "amqp:decode-error"),
        (b"", 0, "without a body"),
        (section(MESSAGE_ANNOTATIONS, {}), 0, "without a body"),
        (section(DATA, b"x")[:-1], 0, "amqp:decode-error"),
        (event(b"x"), 0x80013701, "message format 0x80013701 is not supported"),
        (section(DATA, b"no message"), BATCH_FORMAT, "amqp:decode-error"),
        (section(MESSAGE_ANNOTATIONS, {}), BATCH_FORMAT, "without events"),
    ],
)
async def test_what_is_no_event_is_rejected_and_the_link_goes_on(
    emulator: EventHubsServer, message: bytes, message_format: int, complaint: str
) -> None:
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs")
        assert complaint in str(await client.send(handle, message, message_format))
        assert await client.send(handle, event(b"good")) == ACCEPTED


async def test_hubs_are_apart_and_their_names_in_any_case(emulator: EventHubsServer) -> None:
    async with raw_client(emulator.port, "") as client:
        for hub in ("one", "two", "ONE", "amqps://localhost/One"):
            handle, _ = await client.attach(f"{hub}/Partitions/0")
            await client.send(handle, event(hub.encode()))
        await client.attach("one/ConsumerGroups/g/Partitions/0", receive=True)
        received = [await client.receive() for _ in range(3)]

    assert [message[-3:].lower() for message in received] == [b"one"] * 3


async def test_without_key_and_partition_all_partitions_take_their_turn(emulator: EventHubsServer) -> None:
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs")
        for number in range(8):
            assert await client.send(handle, event(b"%d" % number)) == ACCEPTED
        counts = [await partition_count(client, str(number)) for number in range(4)]

    assert counts == [2, 2, 2, 2]


async def test_a_key_decides_on_the_partition(emulator: EventHubsServer) -> None:
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs")
        for key in ("a", "b", "c", "d", "e", "a"):
            await client.send(handle, event(b"x", key))
        counts = [await partition_count(client, str(number)) for number in range(4)]

    expected = [partition_of(key, 4) for key in ("a", "b", "c", "d", "e", "a")]
    assert counts == [expected.count(number) for number in range(4)]


async def partition_count(client: RawClient, partition: str) -> int:
    reply = await client.ask(
        "$management", operation="READ", type="com.microsoft:partition", name="logs", partition=partition
    )
    body = reply["body"]
    assert isinstance(body, dict)
    return int(body["last_enqueued_sequence_number"]) + 1


async def test_the_events_of_a_batch_keep_their_own_annotations(emulator: EventHubsServer) -> None:
    """The key of the batch counts, for all of its events; what the client says about offsets does not."""
    forged = section(MESSAGE_ANNOTATIONS, {"x-opt-offset": "77", "x-opt-partition-key": "other", "own": 1})
    batch = section(MESSAGE_ANNOTATIONS, {"x-opt-partition-key": "k"}) + section(DATA, forged + section(DATA, b"one"))
    partition = partition_of("k", 4)
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs")
        assert await client.send(handle, batch, BATCH_FORMAT) == ACCEPTED
        await client.attach(f"logs/ConsumerGroups/$Default/Partitions/{partition}", receive=True)
        message = await client.receive()

    annotations, _ = decode(message, split_sections(message)[0].value_start)
    assert isinstance(annotations, dict)
    assert annotations["x-opt-offset"] == "0"
    assert annotations["x-opt-partition-key"] == "k"
    assert annotations["own"] == 1


async def test_one_link_takes_more_events_than_its_credit(emulator: EventHubsServer) -> None:
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs/Partitions/1")
        for number in range(2 * CREDIT):
            assert await client.send(handle, event(b"%d" % number)) == ACCEPTED
        await client.attach("logs/ConsumerGroups/g/Partitions/1", receive=True)
        received = [await client.receive() for _ in range(1000)]

    assert [message.split(b"\xa0")[-1][1:] for message in received] == [b"%d" % number for number in range(1000)]


async def test_a_consumer_that_does_not_read_does_not_fill_the_memory(emulator: EventHubsServer) -> None:
    """Events are read from the log as the socket takes them; in the end all of them arrive."""
    body = bytes(100_000)
    async with raw_client(emulator.port) as producer, raw_client(emulator.port) as consumer:
        handle, _ = await producer.attach("logs/Partitions/0")
        for _ in range(100):
            assert await producer.send_in_pieces(handle, event(body)) == ACCEPTED
        await consumer.attach("logs/ConsumerGroups/g/Partitions/0", receive=True)
        await producer.send(handle, event(b"the server is still there for others"))
        assert emulator.unsent_bytes < 4_000_000
        assert sum([len(await consumer.receive()) for _ in range(100)]) > 100 * len(body)


async def test_the_limit_is_for_the_whole_message(emulator: EventHubsServer) -> None:
    message = event(bytes(MAX_MESSAGE_SIZE - len(event(b"")) - 3))  # its size takes 4 bytes instead of 1
    assert len(message) == MAX_MESSAGE_SIZE
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs")
        assert await client.send_in_pieces(handle, message) == ACCEPTED
        assert "message-size-exceeded" in str(await client.send_in_pieces(handle, message + b"\x00"))


async def test_empty_frames_keep_a_connection_over_the_idle_time(tmp_path: Path) -> None:
    async with running_emulator(tmp_path, idle_seconds=0.4) as server, raw_client(server.port) as client:
        for _ in range(8):
            client.keep_alive()
            await asyncio.sleep(0.1)  # the time itself is what is tested
        assert server.client_count == 1

        closed, _ = await client.read()
        assert isinstance(closed, Close)
        assert "inactive for more than the allowed 400 milliseconds" in str(closed.error)


async def test_when_the_log_fails_nothing_is_acknowledged_and_the_next_try_works(
    emulator: EventHubsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs/Partitions/0")
        with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite3", isolation_level=None)) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.send(handle, event(b"lost"))
    async with raw_client(emulator.port) as client:
        handle, _ = await client.attach("logs/Partitions/0")
        assert await client.send(handle, event(b"stored")) == ACCEPTED
        assert await partition_count(client, "0") == 1

    assert "The log failed: nothing is acknowledged" in caplog.text


async def test_a_client_is_told_when_the_server_stops(tmp_path: Path) -> None:
    server = await start_server(port=0, state_dir=tmp_path)
    async with raw_client(server.port) as client:
        stopping = asyncio.create_task(server.stop())
        closed, _ = await client.read()
        await stopping

    assert isinstance(closed, Close)
    assert "amqp:connection:forced" in str(closed.error)
