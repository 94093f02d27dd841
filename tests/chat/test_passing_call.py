"""A call on its way: the first ending counts, and its heartbeat tells slow services from callers who take nothing."""

import asyncio
import json
from typing import Any

import pytest

from chat import passing_call
from chat.call_logging import CallJournal, CallLog
from chat.completion_tap import CompletionTap
from chat.passing_call import CLIENT_GONE, LONGEST_STANDSTILL, PassingCall
from chat.proxied_call import Answered, Ending, ProxiedCall
from chat.proxy_keys import LogPolicy
from tests.chat.test_call_logging import CALL, MemoryCalls, MemoryHub
from tests.doubles import ManualClock


class Passing:
    """A call with its store, its hub and its clock."""

    def __init__(self) -> None:
        self.store, self.hub, self.clock = MemoryCalls(), MemoryHub(), ManualClock()
        call = ProxiedCall(CALL, "team", LogPolicy(), "stream_completion", "zero", None, (), self.clock.now())
        self.tap = CompletionTap(self.clock)
        self.log = CallLog(lambda: self.store, lambda: self.hub)
        self.call = PassingCall(call, self.tap, CallJournal(self.store, CALL), self.log, self.clock)
        self.closed = asyncio.Event()
        self.call.on_standstill(self.closed.set)

    @property
    def stored(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store.blobs[CALL][0])
        return found

    async def beats(self, count: int) -> None:
        """Until it was written down so many times more."""
        seen = self.store.blobs[CALL][1]
        async with asyncio.timeout(5):
            # The store is in memory: there is no event to wait for.
            while CALL in self.store.blobs and self.store.blobs[CALL][1] < seen + count:  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def records(self) -> list[dict[str, Any]]:
        await self.log.drained()
        return [json.loads(data) for _, data in self.hub.events]


@pytest.fixture(autouse=True)
def _quick_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_call, "REFRESH_SECONDS", 0.0)


async def test_the_first_ending_counts():
    passing = Passing()
    await passing.call.accept()

    passing.call.end(Ending("completed"))
    passing.call.end(CLIENT_GONE)

    assert [record["status"] for record in await passing.records()] == ["completed"]


async def test_what_was_delivered_is_stored_while_it_goes_on():
    passing = Passing()
    await passing.call.accept()
    passing.call.answered = Answered(200, "Local", "req-1")
    passing.tap.feed(b'data: {"choices":[{"index":0,"delta":{"content":"so far"}}]}\n\n')
    await passing.beats(2)

    assert (passing.stored["status"], passing.stored["content"]) == ("running", "so far")
    assert passing.stored["request_id"] == "req-1"
    passing.call.end(Ending("completed"))
    await passing.log.drained()


async def test_a_caller_who_takes_nothing_for_long_is_gone():
    passing = Passing()
    await passing.call.accept()
    passing.call.offer()
    passing.clock.move(LONGEST_STANDSTILL + 1)

    await asyncio.wait_for(passing.closed.wait(), 5)

    assert [record["status"] for record in await passing.records()] == ["client_gone"]


async def test_a_service_that_says_nothing_for_long_is_waited_for():
    """Models think for minutes: whoever took what was offered is there."""
    passing = Passing()
    await passing.call.accept()
    passing.call.answered = Answered(200)
    passing.call.offer()
    passing.call.taken()
    passing.clock.move(10 * LONGEST_STANDSTILL)
    await passing.beats(3)

    assert not passing.closed.is_set()
    assert passing.stored["status"] == "running"
    passing.call.end(Ending("completed"))
    assert [record["status"] for record in await passing.records()] == ["completed"]


async def test_a_call_that_a_sweeper_closed_goes_on_for_its_caller_without_a_second_record():
    passing = Passing()
    await passing.call.accept()
    await passing.store.put(CALL, b'{"call_id":"call-1","status":"aborted"}', str(passing.store.blobs[CALL][1]))
    for _ in range(20):
        await asyncio.sleep(0)

    passing.call.end(Ending("completed"))

    assert await passing.records() == []
    assert passing.stored["status"] == "aborted"
