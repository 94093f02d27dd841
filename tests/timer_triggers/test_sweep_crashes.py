"""The sweeper is killed between each two steps, meets itself, and finds storage or the hub away: nothing is done twice,
and in the end everything is done."""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat import records
from chat.errors import LogUnavailable, StorageUnavailable
from chat.journal import read_journal
from chat.records import Claim, End, Logged
from tests.doubles import Killed
from tests.timer_triggers.left_behind import FIRST, KEY, SECOND, LeftBehind, Swept, begin, half_an_answer

Interruption = Callable[[str], Awaitable[None]]
REASONS = ("failed", "marked", "begun")


class Interrupted:
    """A neighbour whose every call passes through `interruption` before and after."""

    def __init__(self, neighbour: Any, interruption: Interruption) -> None:
        self._neighbour = neighbour
        self._interruption = interruption

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._neighbour, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            await self._interruption(f"before {name}")
            result = await found(*arguments, **named)
            await self._interruption(f"after {name}")
            return result

        return call


@pytest.fixture(params=REASONS)
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[LeftBehind, Swept]:
    """FIRST was left behind for a reason, SECOND waits behind it."""
    left = LeftBehind(monkeypatch)
    left.store.blobs[SECOND] = records.encode(begin(SECOND))
    left.counted(FIRST, 600_000)
    match request.param:
        case "failed":
            return left, Swept(FIRST)
        case "marked":
            left.store.marked = {FIRST}
            return left, Swept()
        case _:
            left.store.blobs[FIRST] = records.encode(begin(FIRST))
            return left, Swept(unknown=(FIRST,))


async def interrupted_sweep(left: LeftBehind, instances: Swept, interruption: Interruption) -> None:
    left.new_process(Interrupted(left.store, interruption), Interrupted(left.log, interruption))
    await left.sweep(Interrupted(instances, interruption))


async def check_done(left: LeftBehind, instances: Swept) -> None:
    """One end, told, logged, one record after deduplication, unmarked; or started, once."""
    found = [record for record, _ in records.decode(left.store.blobs[FIRST])]
    if FIRST in instances.started:
        assert instances.started == [FIRST]
        assert not [record for record in found if isinstance(record, End)]
        return
    assert sum(isinstance(record, End) for record in found) == 1
    assert any(isinstance(record, Logged) for record in found)
    assert {turn["turnId"]: turn["status"] for turn in instances.told} == {FIRST: "failed"}
    assert all(turn == instances.told[0] for turn in instances.told)
    assert set(instances.woken) == {(SECOND, FIRST)}
    assert len(set(left.log.events)) == 1, "copies are equal, under one id"
    assert left.store.marked == set()
    assert left.unsettled() == {}


async def steps_of(left: LeftBehind, instances: Swept) -> int:
    count = 0

    async def counted(step: str) -> None:
        nonlocal count
        count += 1

    await interrupted_sweep(left, instances, counted)
    return count


@pytest.mark.parametrize("ending", [Killed, StorageUnavailable])
async def test_a_sweep_that_breaks_off_after_any_step_is_finished_by_the_next(
    scene: tuple[LeftBehind, Swept], ending: type[BaseException], monkeypatch: pytest.MonkeyPatch
):
    left, instances = scene
    before = dict(left.store.blobs), dict(left.store.usage), set(left.store.marked)
    total = await steps_of(left, instances)
    await check_done(left, instances)
    assert total >= 10
    for last in range(total):
        left.store.blobs, left.store.usage, left.store.marked = dict(before[0]), dict(before[1]), set(before[2])
        left.log.events.clear()
        for noted in (instances.started, instances.told, instances.woken):
            noted.clear()
        steps = 0

        async def interruption(step: str, last: int = last) -> None:
            nonlocal steps
            steps += 1
            if steps == last + 1:
                raise ending(step)

        try:
            await interrupted_sweep(left, instances, interruption)
        except (Killed, BaseExceptionGroup, StorageUnavailable):
            assert steps >= last  # that was the end of this process
        left.new_process()
        await left.sweep(instances)
        await check_done(left, instances)


@pytest.mark.parametrize("seed", range(40))
async def test_sweepers_that_meet_do_what_one_would_have_done(scene: tuple[LeftBehind, Swept], seed: int):
    left, instances = scene
    chance = random.Random(seed)

    async def dawdle(step: str) -> None:
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)

    left.new_process(Interrupted(left.store, dawdle), Interrupted(left.log, dawdle))
    slow = Interrupted(instances, dawdle)
    await asyncio.gather(*(left.sweep(slow) for _ in range(3)))
    if FIRST in instances.started:  # starting twice is harmless: whoever is second is told that it runs
        instances.started[:] = [FIRST]
    await check_done(left, instances)


@pytest.mark.parametrize("seed", range(40))
async def test_a_run_that_still_writes_and_the_sweeper_give_the_turn_one_end(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    """Terminated in mid-answer: its activity goes on. Whoever is first with the `end` is what all say."""
    left, instances = LeftBehind(monkeypatch), Swept(FIRST)
    left.store.blobs[SECOND] = records.encode(begin(SECOND))
    left.counted(FIRST, 600_000)
    chance = random.Random(seed)

    async def dawdle(step: str) -> None:
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)

    async def write_on() -> None:
        """Another claim: the simplest that a run may append in between."""
        for number in range(2, 5):
            await dawdle("")
            fold = await read_journal(left.store, FIRST)
            if fold.end is None and fold.position == len(left.store.blobs[FIRST]):
                await left.store.append(KEY, FIRST, records.encode(Claim(f"run-{number}", number, 1)), fold.position)

    left.new_process(Interrupted(left.store, dawdle), Interrupted(left.log, dawdle))
    await asyncio.gather(left.sweep(Interrupted(instances, dawdle)), write_on())
    left.new_process()
    await left.sweep(instances)
    await check_done(left, instances)


async def test_a_hub_that_is_away_leaves_a_marker_and_the_next_sweep_delivers(monkeypatch: pytest.MonkeyPatch):
    left = LeftBehind(monkeypatch)
    left.store.blobs = {FIRST: half_an_answer(FIRST)}
    left.store.orders = {KEY: [FIRST]}
    left.log.refusals = [LogUnavailable("away")]
    await left.sweep(Swept(FIRST))
    assert (left.store.marked, left.log.events) == ({FIRST}, [])
    assert (await read_journal(left.store, FIRST)).end is not None, "everybody is told all the same"
    await left.sweep(Swept())
    assert (left.store.marked, len(left.log.events)) == (set(), 1)
