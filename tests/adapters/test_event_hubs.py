"""The way to Event Hubs, against the emulator: what is sent, what is refused, and what happens in trouble."""

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.eventhub.aio import EventHubProducerClient

from adapters.event_hubs import EventHubLog
from chat.errors import LogUnavailable, MissingSetting
from stand_in.event_hubs.connection_string import connection_string
from tests.stand_in.event_hubs.running import (
    SDK_LEFTOVERS,
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


def ask_for(state_dir: Path, **faults: float) -> None:
    written = state_dir / "faults.new"
    written.write_text(json.dumps(faults))
    os.replace(written, state_dir / "faults.json")


async def stored_events(port: int) -> int:
    async with EventHubProducerClient.from_connection_string(connection_string(port, "logs")) as client:
        partitions = await asyncio.gather(*(client.get_partition_properties(number) for number in "0123"))
    return sum(partition["last_enqueued_sequence_number"] + 1 for partition in partitions)


async def test_a_record_arrives_with_its_id_key_and_properties(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        await log.send(b'{"a": 1}', message_id="turn-1", partition_key="c-1", properties={"kind": "turn", "schema": 1})
        await log.close()
        ((_, event),) = await read_events(connection_string(server.port, "logs"), 1)

    assert event.body_as_str() == '{"a": 1}'
    assert (event.message_id, event.content_type, event.partition_key) == ("turn-1", "application/json", b"c-1")
    assert event.properties == {b"kind": b"turn", b"schema": 1}


async def test_records_sent_at_once_all_arrive_through_one_connection(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        await log.warm_up()
        await asyncio.gather(
            *(log.send(b"x" * 1000, message_id=f"m{number}", partition_key=f"c{number}") for number in range(100))
        )
        assert server.client_count == 1
        await log.close()
        assert await stored_events(server.port) == 100
    assert log.max_bytes == 1024 * 1024


async def test_a_record_over_the_limit_is_named_with_its_size_and_the_limit(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        with pytest.raises(LogUnavailable, match=r"turn-9 has 1048576 bytes.* over the hub's limit of 1048576"):
            await log.send(b"x" * 1_048_576, message_id="turn-9", partition_key="c")
        await log.send(b"x" * (log.max_bytes - 1024), message_id="turn-9", partition_key="c")
        assert server.client_count == 1, "nothing was wrong with the connection"
        await log.close()


async def test_the_name_comes_from_its_setting_else_from_the_connection_string(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        by_path = EventHubLog.from_connection_string(connection_string(server.port, "by-path"))
        by_name = EventHubLog.from_connection_string(connection_string(server.port, "by-path"), "by-name")
        await asyncio.gather(*(log.send(b"x", message_id="m", partition_key="c") for log in (by_path, by_name)))
        await asyncio.gather(by_path.close(), by_name.close())
        read = await asyncio.gather(
            *(read_events(connection_string(server.port, hub), 1) for hub in ("by-path", "by-name"))
        )

    assert [len(events) for events in read] == [1, 1]


async def test_an_identity_sends_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Azure, but for TLS, which the emulator does not speak."""

    class Credential:
        async def get_token(self, *_: str, **__: object) -> AccessToken:
            return AccessToken("header.payload.signature", 4_000_000_000)

    monkeypatch.setattr("adapters.event_hubs.EventHubProducerClient", partial(EventHubProducerClient, use_tls=False))
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_identity(f"localhost:{server.port}", "logs", cast(AsyncTokenCredential, Credential()))
        await log.send(b"x", message_id="m", partition_key="c")
        await log.close()
        assert await stored_events(server.port) == 1


@pytest.mark.parametrize(
    ("text", "name", "setting"),
    [
        (connection_string(5672), None, "AZURE_EVENTHUB_NAME"),
        (connection_string(5672), "", "AZURE_EVENTHUB_NAME"),
        ("", "logs", "AZURE_EVENTHUB_CONN_STR"),
        ("Endpoint=sb://x", "logs", "AZURE_EVENTHUB_CONN_STR"),
        ("rubbish", None, "AZURE_EVENTHUB_CONN_STR"),
    ],
)
def test_a_missing_or_unusable_setting_is_named(text: str, name: str | None, setting: str) -> None:
    with pytest.raises(MissingSetting) as missing:
        EventHubLog.from_connection_string(text, name)
    assert missing.value.name == setting


async def test_a_rejected_record_is_an_error_and_the_next_one_goes_through(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        await log.warm_up()
        ask_for(tmp_path, reject_sends=2)  # the SDK hides one by trying again
        with pytest.raises(LogUnavailable, match="EventDataSendError"):
            await log.send(b"x", message_id="m", partition_key="c")
        await log.send(b"x", message_id="m", partition_key="c")
        await log.close()
        await until(lambda: server.client_count == 0)
        assert await stored_events(server.port) == 1


async def test_trouble_of_one_record_does_not_fail_those_beside_it(tmp_path: Path) -> None:
    """The client is replaced, but closed only when the last send through it is over."""
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        await log.warm_up()
        ask_for(tmp_path, reject_sends=21)  # the first try of each, and the second try of one
        results = await asyncio.gather(
            *(log.send(b"x", message_id=f"m{number}", partition_key="c") for number in range(20)),
            return_exceptions=True,
        )
        await log.close()
        await until(lambda: server.client_count == 0)

    assert [type(result) for result in results].count(LogUnavailable) == 1
    assert results.count(None) == 19


async def test_a_hub_that_falls_silent_costs_the_time_limit_and_no_more(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"), send_seconds=1.5)
        await log.warm_up()
        ask_for(tmp_path, stall_seconds=2)
        before = time.monotonic()
        results = await asyncio.gather(
            *(log.send(b"x", message_id=f"m{number}", partition_key="c") for number in range(5)),
            return_exceptions=True,
        )
        assert time.monotonic() - before < 3
        assert {str(result) for result in results} == {"Event Hubs did not answer within 1.5 s."}
        await until(lambda: server.client_count == 0)  # the stall is over when the old connection is closed
        await log.send(b"x", message_id="m", partition_key="c")
        await log.close()


async def test_a_peer_that_accepts_and_says_nothing_costs_the_time_limit_too() -> None:
    """Where the SDK alone would hang for ever: it reads the first header without a limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = EventHubLog.from_connection_string(connection_string(silent.getsockname()[1], "logs"), send_seconds=0.5)
        before = time.monotonic()
        with pytest.raises(LogUnavailable, match=r"did not answer within 0.5 s"):
            await log.warm_up()
        await log.close()
        assert time.monotonic() - before < 5


async def test_a_hub_that_is_away_is_an_error_and_coming_back_is_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No secret in the message, no noise of the SDK in the log."""
    caplog.set_level(logging.INFO)
    async with running_emulator(tmp_path) as server:
        port = server.port
        log = EventHubLog.from_connection_string(connection_string(port, "logs"))
        await log.send(b"x", message_id="m1", partition_key="c")
    with pytest.raises(LogUnavailable, match="ConnectError") as failed:
        await log.send(b"the body", message_id="m2", partition_key="c")
    async with running_emulator(tmp_path, port=port) as server:
        await log.send(b"x", message_id="m2", partition_key="c")
        await log.close()
        assert await stored_events(port) == 2

    assert "SAS_KEY_VALUE" not in str(failed.value)
    assert "the body" not in caplog.text
    assert [record for record in caplog.records if record.name.startswith("azure.eventhub")] == []


async def test_a_cancelled_send_does_not_harm_the_next(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        await log.warm_up()
        ask_for(tmp_path, stall_seconds=0.3)
        sending = asyncio.create_task(log.send(b"x", message_id="m", partition_key="c"))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await log.send(b"x", message_id="m", partition_key="c")
        await log.close()
        assert log.max_bytes > 0


async def test_many_records_travel_in_as_many_batches_as_they_need(tmp_path: Path) -> None:
    records = [(f"call-{number}", bytes([65 + number]) * 400_000) for number in range(6)]
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        await log.send_all(records)
        await log.close()
        found = await read_events(connection_string(server.port, "logs"), 6)

    assert {(event.message_id, event.body_as_str().encode()) for _, event in found} == set(records)


async def test_a_record_over_the_limit_among_others_is_told_by_its_id(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        with pytest.raises(LogUnavailable, match="call-2"):
            await log.send_all([("call-1", b"small"), ("call-2", b"x" * 2_000_000)])
        await log.send_all([("call-3", b"small")])
        await log.close()
        found = await read_events(connection_string(server.port, "logs"), 2)

    assert {event.message_id for _, event in found} == {"call-1", "call-3"}
