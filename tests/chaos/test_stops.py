"""Stops against completion, against whatever else a turn is at, and against kills: one outcome each, kept for ever.

The long version is `python -m bench stops`.
"""

import asyncio
import os
import random
import signal
import statistics
from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.operator import until
from tests.chaos.screen import Visitor
from tests.chaos.stop_races import PHASES, Race, check_races, run_race, seconds_to_close, upstream_calls
from tests.running_stack import RunningStack

pytestmark = pytest.mark.chaos
Report = Callable[[str], None]

SEED = 20270102
ROUNDS = 4


async def test_a_stop_and_a_turn_have_one_outcome_whatever_comes_first(killable: RunningStack, report: Report):
    chance, races = random.Random(SEED), list[Race]()
    async with Visitor(killable.url) as visitor:
        for round_ in range(ROUNDS):
            numbers = range(round_ * len(PHASES), (round_ + 1) * len(PHASES))
            for found in await asyncio.gather(*(run_race(visitor, number, chance) for number in numbers)):
                races += found
        await check_races(killable, visitor, races)
    closed = seconds_to_close(races, await upstream_calls(killable))
    outcomes = Counter(race.told["status"] for race in races)
    report(f"{len(races)} races: {dict(outcomes)}")
    report(f"stop to upstream closed, {len(closed)} calls: p50 {1000 * statistics.median(closed):.0f} ms")
    assert outcomes["stopped"] >= len(races) / 2


@pytest.mark.parametrize("victim", ["host", "blob", "model", "signalr"])
async def test_a_stop_survives_a_kill_at_any_moment(killable: RunningStack, report: Report, victim: str):
    """The victim dies amid the stops: before some are stored, between that and their effect, or after it."""
    chance = random.Random(f"{SEED} {victim}")
    async with Visitor(killable.url) as visitor:
        numbers = range(len(PHASES))
        racing = asyncio.gather(*(run_race(visitor, number, chance, victim) for number in numbers))
        former = killable.pid(victim)
        await asyncio.sleep(chance.uniform(0.25, 0.5))  # chaos: into the midst of the stops
        os.kill(former, signal.SIGKILL)
        races = [race for found in await racing for race in found]

        async def is_replaced() -> bool:
            return killable.status().ready and killable.pid(victim) != former

        await until(is_replaced, f"{victim} is started again")
        await check_races(killable, visitor, races)
    report(f"{victim} killed: {dict(Counter(race.told['status'] for race in races))}")
