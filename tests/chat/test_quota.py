"""Quotas: a hundred requests at once get no further than one after another."""

import asyncio

import pytest

from chat import records
from chat.quota import DOUBTFUL_AFTER, LimitReached, Quota
from chat.turn import conversation_key, turn_id
from chat.usage import DAY
from tests.chat.test_journal import BEGIN
from tests.doubles import ManualClock, MemoryJournals

KEY = conversation_key("owner", "talk")


def quotas(count: int, at_once: int, per_day: int) -> tuple[list[Quota], MemoryJournals, ManualClock]:
    store, clock = MemoryJournals(), ManualClock()
    return [Quota(store, clock, at_once, per_day) for _ in range(count)], store, clock


@pytest.mark.parametrize("processes", [1, 3])
async def test_requests_at_once_do_not_get_past_the_limit(processes: int) -> None:
    """Also when they arrive at different processes, which know nothing of each other but what is stored."""
    all_quotas, _, _ = quotas(processes, at_once=5, per_day=0)
    tries = [all_quotas[n % processes].admit("user", f"turn-{n}") for n in range(40)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(result is None for result in results) == 5
    assert all(result is None or isinstance(result, LimitReached) for result in results)


async def test_a_turn_that_ended_makes_room() -> None:
    (quota, other), _, clock = quotas(2, at_once=1, per_day=0)
    await quota.admit("user", "a")
    with pytest.raises(LimitReached) as reached:
        await quota.admit("user", "b")
    assert reached.value.retry_after > 0
    await other.turn_ended("user", clock.now(), "a")
    await quota.admit("user", "b")


async def test_a_turn_that_was_counted_and_never_begun_does_not_count_for_ever():
    """Its starter died in between: the next one that would be refused for it looks it up."""
    (quota,), store, clock = quotas(1, at_once=2, per_day=0)
    ids = [turn_id(KEY, str(number), "") for number in range(4)]
    store.blobs[ids[0]] = records.encode(BEGIN)  # this one runs
    await quota.admit("user", ids[0])
    await quota.admit("user", ids[1])
    with pytest.raises(LimitReached):
        await quota.admit("user", ids[2])
    clock.move(DOUBTFUL_AFTER + 1)
    await quota.admit("user", ids[2])
    clock.move(DOUBTFUL_AFTER + 1)
    store.blobs[ids[2]] = records.encode(BEGIN)
    with pytest.raises(LimitReached):
        await quota.admit("user", ids[3])


async def test_the_same_turn_counts_once() -> None:
    (quota,), _, _ = quotas(1, at_once=1, per_day=1)
    for _ in range(3):
        await quota.admit("user", "a")


async def test_a_day_ends_at_midnight_utc() -> None:
    (quota,), _, clock = quotas(1, at_once=0, per_day=2)
    await quota.admit("user", "a")
    await quota.admit("user", "b")
    with pytest.raises(LimitReached) as reached:
        await quota.admit("user", "c")
    clock.move(reached.value.retry_after * 1000)
    assert clock.now() % DAY < 2000
    await quota.admit("user", "c")


async def test_users_do_not_count_for_each_other() -> None:
    (quota,), _, _ = quotas(1, at_once=1, per_day=1)
    await quota.admit("one", "a")
    await quota.admit("two", "b")
