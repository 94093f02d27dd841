"""Stops: how soon the model's connection is closed, and whether a stop and whatever it meets have one outcome.

    python -m bench stops --races 1000 --seed 1

Seven of ten races run undisturbed, a few at once; the clock of the model emulator says when each call was closed, and
the same machine's clock when its stop was sent. In the others host, storage, SignalR, Event Hubs and model get SIGKILL
all the while. Afterwards every turn is held against what its stop was told: on screen, in the journal, the status,
the conversation and the record.
"""

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from bench.figures import Figure, percentile, show
from stand_in.config import SERVICES
from tests.chaos.screen import Visitor
from tests.chaos.stop_races import Race, check_races, run_race, seconds_to_close, upstream_calls
from tests.running_stack import ROOT, RunningStack

RACES = 140
AT_ONCE = 4
UNDISTURBED = 0.7  # of all races
# Each service in turn, so that none dies five times in a minute: the supervisor would give it up.
SECONDS_BETWEEN_KILLS = (3.0, 6.0)


async def race(visitors: Sequence[Visitor], numbers: Iterator[int], chance: random.Random) -> list[list[Race]]:
    """Run these races, one after another for each visitor; their stops by visitor."""

    async def visit(visitor: Visitor) -> list[Race]:
        return [stop for number in numbers for stop in await run_race(visitor, number, chance)]

    return await asyncio.gather(*(visit(visitor) for visitor in visitors))


async def kill(stack: RunningStack, chance: random.Random, kills: Counter[str]) -> None:
    """Kill one service after another until cancelled."""
    while True:
        for service in SERVICES:
            await asyncio.sleep(chance.uniform(*SECONDS_BETWEEN_KILLS))
            with contextlib.suppress(KeyError, ProcessLookupError):  # it is being started again
                await asyncio.to_thread(stack.kill, service.key)
                kills[service.key] += 1


async def violations(stack: RunningStack, visitors: Sequence[Visitor], stops: Sequence[Sequence[Race]]) -> int:
    """How many visitors found a turn with more than one outcome, or one that is not the same everywhere."""
    found = 0
    for visitor, mine in zip(visitors, stops, strict=True):
        try:
            await check_races(stack, visitor, mine)
        except (AssertionError, TimeoutError) as error:
            print(f"violation: {error!r}", flush=True)
            found += 1
    return found


async def run(stack: RunningStack, races: int, seed: int) -> list[Figure]:
    """Both parts; the figures."""
    chance, kills, numbers = random.Random(seed), Counter[str](), iter(range(races))
    undisturbed = round(UNDISTURBED * races)
    async with AsyncExitStack() as exits:
        calm = [await exits.enter_async_context(Visitor(stack.url)) for _ in range(AT_ONCE)]
        started = time.perf_counter()
        stops = await race(calm, iter([next(numbers) for _ in range(undisturbed)]), chance)
        closed = seconds_to_close([stop for mine in stops for stop in mine], await upstream_calls(stack))
        broken = await violations(stack, calm, stops)
    async with AsyncExitStack() as exits:
        stormy = [await exits.enter_async_context(Visitor(stack.url)) for _ in range(AT_ONCE)]
        killing = asyncio.create_task(kill(stack, chance, kills))
        try:
            more = await race(stormy, numbers, chance)
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        await asyncio.to_thread(stack.wait_ready)
        broken += await violations(stack, stormy, more)
    outcomes = Counter(stop.told["status"] for mine in (*stops, *more) for stop in mine)
    milliseconds = [1000 * seconds for seconds in closed]
    spread = ", ".join(f"p{round(100 * share)} {percentile(milliseconds, share):.0f}" for share in (0.5, 0.95, 0.99))
    return [
        Figure("races", str(races), f"{outcomes.total()} stops in {time.perf_counter() - started:.0f} s"),
        Figure("outcomes", ", ".join(f"{status} {count}" for status, count in sorted(outcomes.items()))),
        Figure("kill -9", str(kills.total()), ", ".join(f"{service} {count}" for service, count in kills.items())),
        Figure("visitors that found two outcomes, or different ones", str(broken), "", "0"),
        Figure(
            "stop to upstream closed",
            f"{spread}, most {max(milliseconds):.0f} ms",
            f"{len(closed)} calls",
            "p99 <= 250 ms",
        ),
    ]


def main(races: int = RACES, seed: int = 1) -> None:
    """Start a stack, race, print the table."""
    environment = {"TURNS_AT_ONCE": "0", "TURNS_PER_DAY": "0"}
    with tempfile.TemporaryDirectory() as folder, RunningStack(ROOT, Path(folder), environment=environment) as stack:
        stack.wait_ready()
        figures = asyncio.run(run(stack, races, seed))
    show(f"Stops, seed {seed}", figures)


if __name__ == "__main__":
    main()
