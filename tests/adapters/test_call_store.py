"""Where calls are stored, against the blob emulator, and on storage that says what it says only now and then."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob.aio import ContainerClient

from adapters import call_store
from adapters.blob_journal import BlobJournal
from adapters.call_store import BlobCallStore
from chat.errors import JournalMissing, JournalMoved, StorageUnavailable
from stand_in.blob_storage.server import start_server
from tests.adapters.test_blob_journal import connection_string
from tests.doubles import ManualClock

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[BlobJournal]:
    server = await start_server(port=0, state_dir=tmp_path)
    journal = BlobJournal.from_connection_string(connection_string(server.port))
    yield journal
    await journal.close()
    await server.stop()


@pytest.fixture
def store(journal: BlobJournal) -> BlobCallStore:
    return BlobCallStore(journal, "worker-1", ManualClock())


async def test_a_call_is_stored_read_and_put_over_its_version(store: BlobCallStore):
    first = await store.put("call-1", b"one", None)
    second = await store.put("call-1", b"two", first)

    found = await store.read("call-1")
    assert (found.call_id, found.data, found.version) == ("call-1", b"two", second)
    assert 0 <= found.silent_ms < 60_000
    assert [call async for call in store.calls()] == ["call-1"]


async def test_a_put_over_another_version_than_the_one_that_is_there_changes_nothing(store: BlobCallStore):
    first = await store.put("call-1", b"one", None)
    await store.put("call-1", b"two", first)

    for version in (first, None):
        with pytest.raises(JournalMoved):
            await store.put("call-1", b"three", version)
    assert (await store.read("call-1")).data == b"two"


async def test_of_a_worker_and_a_sweeper_who_put_at_once_one_wins(store: BlobCallStore):
    version = await store.put("call-1", b"running", None)
    results = await asyncio.gather(
        *(store.put("call-1", f"{number}".encode(), version) for number in range(10)), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, JournalMoved) for result in results) == 9


async def test_a_call_that_is_gone_is_neither_read_nor_put_over(store: BlobCallStore):
    version = await store.put("call-1", b"one", None)
    await store.delete("call-1", version)
    await store.delete("call-1", version)  # gone already: no error

    with pytest.raises(JournalMissing):
        await store.read("call-1")
    with pytest.raises((JournalMissing, JournalMoved)):
        await store.put("call-1", b"two", version)
    assert [call async for call in store.calls()] == []


async def test_a_newer_version_is_not_deleted(store: BlobCallStore):
    first = await store.put("call-1", b"one", None)
    await store.put("call-1", b"two", first)
    with pytest.raises(JournalMoved):
        await store.delete("call-1", first)


async def test_a_container_that_was_deleted_is_made_again(store: BlobCallStore, journal: BlobJournal):
    """Its calls are lost, the next ones are not."""
    await store.put("call-1", b"one", None)
    port = int(journal.url.split(":")[2].split("/")[0])
    async with ContainerClient.from_connection_string(connection_string(port), "journals") as container:
        await container.delete_container()

    await store.put("call-2", b"two", None)

    assert (await store.read("call-2")).data == b"two"


async def test_the_ledger_tells_what_was_logged_since_a_day(journal: BlobJournal):
    clock = ManualClock()
    today = datetime.fromtimestamp(clock.now() / 1000, UTC)
    one, two = BlobCallStore(journal, "worker-1", clock), BlobCallStore(journal, "worker-2", clock)
    await one.note_logged(["call-1", "call-2"])
    await two.note_logged(["call-3"])
    clock.move(24 * 3_600_000)
    await one.note_logged(["call-4", "call-1"])

    assert sorted([call async for call in one.logged(LONG_AGO)]) == ["call-1", "call-1", "call-2", "call-3", "call-4"]
    assert sorted([call async for call in two.logged(today + timedelta(days=1))]) == ["call-1", "call-4"]
    assert len([name async for name in journal.names("accepted/")]) == 3


async def test_a_ledger_goes_on_in_another_blob_before_it_is_full(
    store: BlobCallStore, journal: BlobJournal, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(call_store, "LARGEST_LEDGER_BLOCKS", 2)
    for number in range(5):
        await store.note_logged([f"call-{number}"])
    assert len([name async for name in journal.names("accepted/")]) == 3
    assert len([call async for call in store.logged(LONG_AGO)]) == 5


async def test_a_ledger_that_somebody_deleted_is_begun_again(store: BlobCallStore, journal: BlobJournal):
    await store.note_logged(["call-1"])
    (name,) = [name async for name in journal.names("accepted/")]
    port = int(journal.url.split(":")[2].split("/")[0])
    async with ContainerClient.from_connection_string(connection_string(port), "journals") as container:
        await container.delete_blob(name)

    await store.note_logged(["call-2"])

    assert [call async for call in store.logged(LONG_AGO)] == ["call-2"]


async def test_storage_that_is_away_is_told_as_such(tmp_path: Path):
    server = await start_server(port=0, state_dir=tmp_path)
    journal = BlobJournal.from_connection_string(connection_string(server.port))
    store = BlobCallStore(journal, "worker-1", ManualClock())
    version = await store.put("call-1", b"one", None)
    await server.stop()
    try:
        for operation in (store.put("call-1", b"two", version), store.read("call-1"), store.note_logged(["call-1"])):
            with pytest.raises(StorageUnavailable):
                await operation
    finally:
        await journal.close()
