"""Faults on demand, and how the SDK takes them."""

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import EventDataSendError

from stand_in.event_hubs.connection_string import connection_string
from stand_in.event_hubs.faults import Faults
from tests.stand_in.event_hubs.raw_client import event, raw_client
from tests.stand_in.event_hubs.running import SDK_LEFTOVERS, running_emulator, sdk_leftovers, until

pytestmark = [pytest.mark.filterwarnings(warning) for warning in SDK_LEFTOVERS]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    with sdk_leftovers():
        yield


def ask_for(state_dir: Path, **faults: object) -> None:
    """Write the file as its module asks for it."""
    written = state_dir / "faults.new"
    written.write_text(json.dumps(faults))
    os.replace(written, state_dir / "faults.json")


def test_the_file_is_taken_when_it_changes_and_counted_down(tmp_path: Path) -> None:
    clock = [100.0]
    faults = Faults(tmp_path / "faults.json", lambda: clock[0])
    faults.look()
    assert not faults.take_rejection()

    ask_for(tmp_path, reject_sends=2, cut_after_store=1, stall_seconds=5)
    faults.look()
    assert [faults.take_rejection() for _ in range(3)] == [True, True, False]
    assert [faults.take_cut() for _ in range(2)] == [True, False]
    assert faults.stall_left() == 5
    clock[0] = 104.0
    faults.look()
    assert faults.stall_left() == 1, "an unchanged file does not start over"
    assert not faults.take_rejection()

    (tmp_path / "faults.json").unlink()
    faults.look()
    assert faults.stall_left() == 0


@pytest.mark.parametrize(
    "text", ['{"drop": 1}', '{"reject_sends": "2"}', '{"reject_sends": true}', '{"stall_seconds": -1}', "[1]", "{"]
)
def test_a_file_that_says_something_else_is_refused_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / "faults.json").write_text(text)
    faults = Faults(tmp_path / "faults.json", lambda: 0.0)
    faults.look()

    assert "faults.json" in caplog.text
    assert not faults.take_rejection()


async def test_one_rejection_is_hidden_by_the_sdk_and_two_are_not(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server:
        client = EventHubProducerClient.from_connection_string(connection_string(server.port, "logs"))
        await client.send_event(EventData("a"), partition_id="0")
        ask_for(tmp_path, reject_sends=1)
        await client.send_event(EventData("b"), partition_id="0")
        ask_for(tmp_path, reject_sends=2)
        with pytest.raises(EventDataSendError, match="server is busy"):
            await client.send_event(EventData("c"), partition_id="0")
        partition = await client.get_partition_properties("0")
        await client.close()

    assert partition["last_enqueued_sequence_number"] == 1, "what was rejected is not stored"


async def test_a_lost_acknowledgement_makes_the_sdk_send_again(tmp_path: Path) -> None:
    """At least once: the event is stored twice, and its sender knows of one."""
    async with running_emulator(tmp_path) as server:
        client = EventHubProducerClient.from_connection_string(connection_string(server.port, "logs"))
        await client.send_event(EventData("a"), partition_id="0")
        ask_for(tmp_path, cut_after_store=1)
        await client.send_event(EventData("b"), partition_id="0")
        partition = await client.get_partition_properties("0")
        await client.close()

    assert partition["last_enqueued_sequence_number"] == 2


async def test_while_the_server_stalls_nobody_is_told_anything_but_all_is_stored(tmp_path: Path) -> None:
    async with running_emulator(tmp_path) as server, raw_client(server.port) as client:
        handle, _ = await client.attach("logs/Partitions/0")
        ask_for(tmp_path, stall_seconds=0.5)
        before = time.monotonic()
        sending = asyncio.create_task(client.send(handle, event(b"x")))
        await until(lambda: stored_events(tmp_path) == 1)
        assert not sending.done()
        await sending
        assert time.monotonic() - before >= 0.45


def stored_events(state_dir: Path) -> int:
    with contextlib.closing(sqlite3.connect(state_dir / "events.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM events").fetchone()[0])
