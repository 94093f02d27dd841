"""Exactly one deciding record of each call, whatever becomes of its worker, of storage, and of the hub."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import call_logging
from chat.call_logging import (
    DEAD_AFTER,
    CallJournal,
    CallLog,
    CallSweeper,
    Overtaken,
    StoredCall,
    body_of,
    deliver,
)
from chat.errors import JournalMissing, JournalMoved, LogUnavailable, MissingSetting, StorageUnavailable
from chat.record_size import ROOM_FOR_PROPERTIES

CALL = "call-1"


def record(status: str = "running", **more: Any) -> dict[str, Any]:
    return {"call_id": CALL, "status": status, **more}


class MemoryCalls:
    """The calls in memory. `troubles` says what happens to the next puts: "lost" (nothing is stored), "unheard" (it is
    stored, the answer is lost), "fine"."""

    def __init__(self, *troubles: str) -> None:
        self.blobs: dict[str, tuple[bytes, int]] = {}
        self.ledger: list[str] = []
        self.troubles = list(troubles)
        self.silent_ms = 0
        self.away = False
        self._version = 0

    async def put(self, call_id: str, data: bytes, version: str | None) -> str:
        await asyncio.sleep(0)
        trouble = self.troubles.pop(0) if self.troubles else "fine"
        if self.away or trouble == "lost":
            raise StorageUnavailable("put")
        there = self.blobs.get(call_id)
        if version is not None and there is None:
            raise JournalMissing(call_id)
        if (str(there[1]) if there else None) != version:
            raise JournalMoved(call_id)
        self._version += 1
        self.blobs[call_id] = (data, self._version)
        if trouble == "unheard":
            raise StorageUnavailable("answer")
        return str(self._version)

    async def read(self, call_id: str) -> StoredCall:
        await asyncio.sleep(0)
        if self.away:
            raise StorageUnavailable("read")
        if call_id not in self.blobs:
            raise JournalMissing(call_id)
        data, version = self.blobs[call_id]
        return StoredCall(call_id, data, str(version), self.silent_ms)

    async def delete(self, call_id: str, version: str) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise StorageUnavailable("delete")
        if call_id in self.blobs and str(self.blobs[call_id][1]) != version:
            raise JournalMoved(call_id)
        self.blobs.pop(call_id, None)

    async def note_logged(self, call_ids: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise StorageUnavailable("ledger")
        self.ledger += call_ids

    async def calls(self) -> AsyncIterator[str]:
        for call_id in list(self.blobs):
            yield call_id


class MemoryHub:
    """A hub that refuses as often as it is told to; `told` is what it says it takes once it was reached."""

    def __init__(self, refusals: int = 0, told: int | None = None) -> None:
        self.events: list[tuple[str, bytes]] = []
        self.batches: list[int] = []
        self.refusals = refusals
        self.max_bytes = 1024 * 1024
        self._told = told

    async def send_all(self, records: Sequence[tuple[str, bytes]]) -> None:
        await asyncio.sleep(0)
        if self._told is not None:
            self.max_bytes = self._told
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("away")
        if any(len(data) > self.max_bytes for _, data in records):
            raise LogUnavailable("too large")
        self.events += records
        self.batches.append(len(records))


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_logging, "STORE_WAITS", (0.0, 0.0))


async def accepted(store: MemoryCalls) -> CallJournal:
    journal = CallJournal(store, CALL)
    await journal.accept(record())
    return journal


async def test_a_call_that_ends_is_sent_noted_and_forgotten():
    store, hub = MemoryCalls(), MemoryHub()
    log = CallLog(lambda: store, lambda: hub)

    log.finish(await accepted(store), record("completed"))
    await log.drained()

    assert hub.events == [(CALL, body_of(record("completed")))]
    assert (store.ledger, store.blobs) == ([CALL], {})


async def test_what_is_accepted_is_stored_as_running_at_once():
    store = MemoryCalls()
    await accepted(store)
    assert json.loads(store.blobs[CALL][0])["status"] == "running"


async def test_a_call_that_cannot_be_stored_is_not_accepted():
    with pytest.raises(StorageUnavailable):
        await CallJournal(MemoryCalls("lost"), CALL).accept(record())


@pytest.mark.parametrize("trouble", ["lost", "unheard"])
async def test_the_end_of_a_call_whose_acceptance_failed_is_stored_when_storage_is_back(trouble: str):
    """It may have been stored all the same, and its service may have begun to work."""
    store, hub = MemoryCalls(trouble), MemoryHub()
    journal, log = CallJournal(store, CALL), CallLog(lambda: store, lambda: hub)
    with pytest.raises(StorageUnavailable):
        await journal.accept(record())

    log.finish(journal, record("failed"))
    await log.drained()

    assert hub.events == [(CALL, body_of(record("failed")))]
    assert store.blobs == {}


@pytest.mark.parametrize("troubles", [("unheard",), ("lost",), ("lost", "unheard"), ("unheard", "unheard")])
async def test_an_end_whose_answer_was_lost_is_recognised(troubles: tuple[str, ...]):
    store = MemoryCalls()
    journal = await accepted(store)
    store.troubles = list(troubles)

    stored = await journal.finish(record("completed"))

    assert stored is not None
    assert store.blobs[CALL] == (body_of(record("completed")), int(stored.version))


async def test_a_refresh_that_was_lost_is_made_good_by_the_next_one():
    store = MemoryCalls()
    journal = await accepted(store)
    store.troubles = ["unheard"]
    await journal.refresh(record(content="so"))
    await journal.refresh(record(content="so far"))
    assert json.loads(store.blobs[CALL][0])["content"] == "so far"


async def test_storage_that_stays_away_leaves_the_end_to_the_sweeper():
    store, hub = MemoryCalls(), MemoryHub()
    journal = await accepted(store)
    store.away = True
    log = CallLog(lambda: store, lambda: hub)

    log.finish(journal, record("completed"))
    await log.drained()
    store.away, store.silent_ms = False, DEAD_AFTER
    assert await CallSweeper(store, lambda: hub).sweep() == 1

    assert json.loads(hub.events[0][1])["status"] == "aborted"


async def test_a_worker_that_paused_and_was_taken_for_dead_does_not_decide_again():
    store, hub = MemoryCalls(), MemoryHub()
    journal = await accepted(store)
    store.silent_ms = DEAD_AFTER
    await CallSweeper(store, lambda: hub).sweep()

    with pytest.raises(Overtaken):
        await journal.refresh(record(content="more"))
    assert await journal.finish(record("completed")) is None
    assert [json.loads(data)["status"] for _, data in hub.events] == ["aborted"]


@pytest.mark.parametrize(("silent", "swept"), [(DEAD_AFTER - 1, 0), (DEAD_AFTER, 1)])
async def test_a_running_call_is_left_alone_until_it_was_silent_for_a_minute(silent: int, swept: int):
    store = MemoryCalls()
    await accepted(store)
    store.silent_ms = silent
    assert await CallSweeper(store, MemoryHub).sweep() == swept


async def test_a_hub_that_is_away_leaves_every_record_to_the_sweeper():
    store, hub = MemoryCalls(), MemoryHub(refusals=1)
    log = CallLog(lambda: store, lambda: hub)
    log.finish(await accepted(store), record("completed"))
    await log.drained()
    assert (hub.events, store.ledger) == ([], [])

    assert await CallSweeper(store, lambda: hub).sweep() == 1

    assert hub.events == [(CALL, body_of(record("completed")))]
    assert (store.ledger, store.blobs) == ([CALL], {})


async def test_a_hub_that_is_not_configured_loses_nothing():
    def none() -> MemoryHub:
        raise MissingSetting("AZURE_EVENTHUB_CONN_STR")

    store = MemoryCalls()
    log = CallLog(lambda: store, none)
    log.finish(await accepted(store), record("completed"))
    await log.drained()
    assert json.loads(store.blobs[CALL][0])["status"] == "completed"


async def test_what_cannot_be_forgotten_is_sent_again_equal_to_the_byte():
    store, hub = MemoryCalls(), MemoryHub()
    stored = await (await accepted(store)).finish(record("completed", content="é"))
    assert stored is not None
    store.away = True
    assert await deliver(store, lambda: hub, [stored])
    store.away = False

    await CallSweeper(store, lambda: hub).sweep()

    assert len(hub.events) == 2
    assert len(set(hub.events)) == 1


async def test_records_travel_in_batches_that_arrive_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(call_logging, "LARGEST_BATCH_BYTES", 10_000)
    store, hub = MemoryCalls(), MemoryHub()
    for number in range(30):
        await store.put(f"call-{number}", body_of(record("completed", content="x" * 3_000)), None)

    assert await CallSweeper(store, lambda: hub).sweep() == 30

    assert max(hub.batches) == 3
    assert len(store.ledger) == 30


async def test_what_waits_is_bounded_and_the_rest_is_the_sweepers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(call_logging, "LARGEST_QUEUE_BYTES", 10_000)
    store, hub = MemoryCalls(), MemoryHub()
    log = CallLog(lambda: store, lambda: hub)
    for number in range(20):
        journal = CallJournal(store, f"call-{number}")
        await journal.accept(record())
        log.finish(journal, record("completed", content="x" * 3_000))
    await log.drained()
    sent_at_once = len(hub.events)

    await CallSweeper(store, lambda: hub).sweep()

    assert 0 < sent_at_once < 20
    assert {name for name, _ in hub.events} == {f"call-{number}" for number in range(20)}


async def test_a_hub_that_takes_less_than_usual_gets_shorter_records():
    """It says so when it was reached first."""
    store, hub = MemoryCalls(), MemoryHub(told=256 * 1024)
    log = CallLog(lambda: store, lambda: hub)
    log.finish(await accepted(store), record("completed", content="x" * 500_000, truncated=False))
    await log.drained()

    ((_, data),) = hub.events
    assert len(data) <= 256 * 1024 - ROOM_FOR_PROPERTIES
    assert json.loads(data)["truncated"]
    assert store.blobs == {}


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"{}", b"5"])
async def test_a_blob_that_is_no_record_does_not_keep_the_others_from_being_swept(garbage: bytes):
    store, hub = MemoryCalls(), MemoryHub()
    await store.put("call-0", garbage, None)
    await store.put("call-1", body_of(record("completed")), None)
    assert await CallSweeper(store, lambda: hub).sweep() == 1
    assert list(store.blobs) == ["call-0"]


STEPS = st.lists(
    st.sampled_from(["refresh", "finish", "sweep", "dead", "lost", "unheard", "hub away", "yield"]), max_size=14
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_worker_and_sweeper_never_both_decide(steps: list[str]):
    """In any order, with any answer lost: all copies that the hub has are equal, and in the end there is one."""

    async def run() -> None:
        store, hub = MemoryCalls(), MemoryHub()
        log, sweeper = CallLog(lambda: store, lambda: hub), CallSweeper(store, lambda: hub)
        journal = await accepted(store)
        running: list[asyncio.Task[Any]] = []
        refreshing: list[asyncio.Task[Any]] = []
        is_over = False
        for number, step in enumerate(steps):
            match step:
                case "refresh" | "finish" if is_over:
                    pass  # `PassingCall` sees to that
                case "refresh":
                    refreshing.append(asyncio.create_task(journal.refresh(record(content=str(number)))))
                case "finish":
                    is_over = True
                    for task in refreshing:
                        task.cancel()
                    log.finish(journal, record("completed", content="all"))
                case "sweep":
                    running.append(asyncio.create_task(sweeper.sweep()))
                case "dead":
                    store.silent_ms = DEAD_AFTER - store.silent_ms
                case "hub away":
                    hub.refusals += 1
                case "yield":
                    await asyncio.sleep(0)
                case trouble:
                    store.troubles.append(trouble)
        await asyncio.gather(*running, *refreshing, return_exceptions=True)
        await log.drained()
        store.troubles, hub.refusals, store.silent_ms = [], 0, DEAD_AFTER
        await sweeper.sweep()
        await sweeper.sweep()
        assert store.blobs == {}
        assert {name for name, _ in hub.events} == {CALL} == set(store.ledger)
        assert len({data for _, data in hub.events}) == 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(call_logging, "STORE_WAITS", (0.0, 0.0))
        asyncio.run(run())
