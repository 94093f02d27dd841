"""Acceptance: who wins position 0 defines the turn, and whoever comes finishes what a dead starter left."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import records
from chat.acceptance import Acceptance, KeyReused, TurnRejected
from chat.errors import InvalidInput
from chat.journal import read_journal
from chat.records import Begin, Claim, End
from chat.turn import QueuePolicy, TurnRequest, conversation_key, conversation_key_of, turn_id
from tests.doubles import FakeInstances, Killed, ManualClock, MemoryJournals

KEY = conversation_key("owner", "talk")


def begin(key: str = "k", prompt: str = "Why?", policy: QueuePolicy = QueuePolicy.QUEUE) -> Begin:
    request = TurnRequest(prompt, "gpt-x", policy=policy)
    return Begin(turn_id(KEY, key, ""), "talk", "owner", "user-1", request.to_dict(), request.hash, 1)


async def admitted() -> None:
    return None


async def refused() -> None:
    raise InvalidInput("x", "no")


def accepting(store: MemoryJournals, instances: FakeInstances) -> Acceptance:
    return Acceptance(store, instances, ManualClock())


async def test_a_turn_is_begun_placed_and_started() -> None:
    store, instances, first = MemoryJournals(), FakeInstances(), begin()
    accepted = await accepting(store, instances).accept(first, admitted)
    assert accepted.new
    assert (await read_journal(store, first.turn_id)).begin == first
    assert store.orders == {KEY: [first.turn_id]}
    assert instances.started == [first.turn_id]


async def test_a_hundred_posts_with_one_key_are_one_turn() -> None:
    store, instances = MemoryJournals(), FakeInstances()
    acceptance = accepting(store, instances)
    results = await asyncio.gather(*(acceptance.accept(begin(), admitted) for _ in range(100)))
    assert {accepted.begin.turn_id for accepted in results} == {begin().turn_id}
    assert sum(accepted.new for accepted in results) == 1
    assert await store.read_order(KEY) == [begin().turn_id]
    assert len(list(records.decode(store.blobs[begin().turn_id]))) == 1


async def test_one_key_for_two_requests_is_refused_and_changes_nothing() -> None:
    store, instances = MemoryJournals(), FakeInstances()
    await accepting(store, instances).accept(begin(), admitted)
    before = dict(store.blobs)
    with pytest.raises(KeyReused):
        await accepting(store, instances).accept(begin(prompt="Who?"), admitted)
    assert store.blobs == before


async def test_what_the_admission_refuses_is_not_begun() -> None:
    store, instances = MemoryJournals(), FakeInstances()
    with pytest.raises(InvalidInput):
        await accepting(store, instances).accept(begin(), refused)
    assert not any(store.blobs.values())
    assert (store.orders, instances.started) == ({}, [])


async def test_a_turn_that_exists_is_found_again_also_by_who_may_have_no_more() -> None:
    store, instances = MemoryJournals(), FakeInstances()
    first = await accepting(store, instances).accept(begin(), admitted)
    again = await accepting(store, instances).accept(begin(), refused)
    assert (again.begin, again.new) == (first.begin, False)


@settings(deadline=None)
@given(st.integers(0, 5), st.integers(0, 5))
def test_whoever_comes_finishes_what_a_dead_starter_left(first_death: int, second_death: int) -> None:
    async def story() -> None:
        store, instances = MemoryJournals(), FakeInstances()
        for death in (first_death, second_death):
            await _accept_and_die(store, instances, death)
        accepted = await accepting(store, instances).accept(begin(), admitted)
        assert (await read_journal(store, accepted.begin.turn_id)).begin is not None
        assert await store.read_order(KEY) == [begin().turn_id]
        assert begin().turn_id in instances.started

    asyncio.run(story())


async def _accept_and_die(store: MemoryJournals, instances: FakeInstances, steps: int) -> None:
    """A starter whose process is killed at its n-th step."""

    class Dying:
        def __init__(self, target: Any) -> None:
            self._target = target

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._target, name)

            async def step(*arguments: Any) -> Any:
                nonlocal steps
                steps -= 1
                if steps < 0:
                    raise Killed
                return await method(*arguments)

            return step

    task = asyncio.ensure_future(Acceptance(Dying(store), Dying(instances), ManualClock()).accept(begin(), admitted))
    await asyncio.wait([task])
    assert task.exception() is None or isinstance(task.exception(), Killed)


async def test_under_reject_a_turn_behind_a_running_one_is_a_conflict_for_ever() -> None:
    store, instances = MemoryJournals(), FakeInstances()
    first = (await accepting(store, instances).accept(begin("1"), admitted)).begin
    second = begin("2", policy=QueuePolicy.REJECT)
    with pytest.raises(TurnRejected):
        await accepting(store, instances).accept(second, admitted)
    store.blobs[first.turn_id] += records.encode(Claim("w", 1, 2), _end())
    with pytest.raises(TurnRejected):
        await accepting(store, instances).accept(second, admitted)
    assert second.turn_id not in instances.started


async def test_under_reject_a_turn_with_nothing_before_it_is_admitted() -> None:
    store, instances = MemoryJournals(), FakeInstances()
    accepted = await accepting(store, instances).accept(begin(policy=QueuePolicy.REJECT), admitted)
    assert (await read_journal(store, accepted.begin.turn_id)).admitted
    assert instances.started == [accepted.begin.turn_id]


def _end() -> End:
    timings: dict[str, int | None] = {
        "queueMs": 0,
        "timeToFirstChunkMs": None,
        "streamingDurationMs": None,
        "latencyMs": 0,
    }
    return End("w", "completed", 1, "stop", 0, "", None, None, timings, None, None, 0, 3)


def test_ids_carry_their_owner() -> None:
    mine, yours = conversation_key("me", "talk"), conversation_key("you", "talk")
    assert mine != yours
    assert conversation_key_of(turn_id(mine, "k", "")) == mine
    assert turn_id(mine, "k", "") != turn_id(yours, "k", "")
    assert conversation_key("a", "bc") != conversation_key("ab", "c")
