"""Reading the log: everything from a time on, to what is there now, and not a record less."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters import event_hub_reader
from adapters.event_hub_reader import EventHubReader, LoggedRecord
from adapters.event_hubs import EventHubLog
from chat.errors import LogUnavailable, MissingSetting
from stand_in.event_hubs.connection_string import connection_string
from tests.stand_in.event_hubs.running import SDK_LEFTOVERS, running_emulator, sdk_leftovers

pytestmark = [pytest.mark.filterwarnings(warning) for warning in SDK_LEFTOVERS]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    with sdk_leftovers():
        yield


async def read(port: int, since: datetime | None = None) -> list[LoggedRecord]:
    async with EventHubReader.from_connection_string(connection_string(port, "logs"), "logs") as reader:
        return [record async for record in reader.records(since, follow=False)]


async def send(port: int, *names: str) -> None:
    log = EventHubLog.from_connection_string(connection_string(port, "logs"))
    for name in names:
        await log.send(f"body of {name}".encode(), message_id=name, partition_key=name)
    await log.close()


async def test_every_partition_is_read_to_its_end_and_no_further(tmp_path: Path):
    names = [f"call-{number}" for number in range(50)]
    async with running_emulator(tmp_path) as server:
        assert await read(server.port) == []
        await send(server.port, *names)
        found = await read(server.port)
    assert sorted(record.message_id for record in found) == sorted(names)
    assert {record.body for record in found} == {f"body of {name}".encode() for name in names}


@pytest.mark.parametrize("backlog", [2_000, 1])
async def test_what_is_there_comes_by_time_whatever_its_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backlog: int
):
    """Also when no more than one record of a partition is read ahead."""
    monkeypatch.setattr(event_hub_reader, "LARGEST_BACKLOG", backlog)
    now = [int(time.time() * 1000)]
    names = [f"call-{number}" for number in range(30)]
    async with running_emulator(tmp_path, now_ms=lambda: now[0]) as server:
        log = EventHubLog.from_connection_string(connection_string(server.port, "logs"))
        for name in names:
            now[0] += 1_000
            await log.send(name.encode(), message_id=name, partition_key=name)
        await log.close()
        assert [record.message_id for record in await read(server.port)] == names


async def test_reading_begins_where_it_is_told_to(tmp_path: Path):
    now = [int(time.time() * 1000)]  # the SDK's tokens are of this hour
    async with running_emulator(tmp_path, now_ms=lambda: now[0]) as server:
        await send(server.port, "early")
        between = datetime.fromtimestamp(now[0] / 1000, UTC) + timedelta(seconds=30)
        now[0] += 60_000
        await send(server.port, "late")
        assert [record.message_id for record in await read(server.port, between)] == ["late"]
        assert await read(server.port, between + timedelta(minutes=1)) == []


async def test_following_goes_on_to_what_comes_later(tmp_path: Path):
    async with running_emulator(tmp_path) as server:
        await send(server.port, "first")
        async with EventHubReader.from_connection_string(connection_string(server.port, "logs"), "logs") as reader:
            records = reader.records(None, follow=True)
            assert (await asyncio.wait_for(anext(records), 20)).message_id == "first"
            await send(server.port, "second")
            assert (await asyncio.wait_for(anext(records), 20)).message_id == "second"
            await records.aclose()  # type: ignore[attr-defined]


async def test_a_hub_that_is_not_there_is_told_as_such():
    with pytest.raises(LogUnavailable):
        await asyncio.wait_for(read(1), 60)


def test_a_connection_string_that_is_none_names_its_setting():
    with pytest.raises(MissingSetting, match="AZURE_EVENTHUB_CONN_STR"):
        EventHubReader.from_connection_string("nonsense", None)
