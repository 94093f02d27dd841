"""SignalR at its worst, and at its limit, on the whole stack: what is shown only grows, and comes out whole."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.chaos.promises import check_promises, say, story
from tests.chaos.screen import Visitor
from tests.conftest import NewStack
from tests.running_stack import RunningStack

SEED = 20270101
ALLOWED = 40  # sends per second


@asynccontextmanager
async def signalr_faults(stack: RunningStack, wanted: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientSession]:
    """The emulator behaves like this; gives a session for its control endpoint."""
    async with aiohttp.ClientSession(stack.address("signalr")) as session:
        async with session.put("/_admin/faults", json=wanted) as answer:
            assert answer.status == 200, await answer.text()
        try:
            yield session
        finally:
            async with session.delete("/_admin/faults") as answer:
                assert answer.status == 204


async def counters(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get("/_admin/messages", params={"limit": "0"}) as answer:
        found: dict[str, Any] = (await answer.json())["counters"]
        return found


async def test_twenty_answers_on_the_worst_of_days(stack: RunningStack):
    """Dropped, doubled, reordered, late, refused, cut off: a screen shows beginnings of what is stored, then all."""
    faults = {
        "drop": 0.2,
        "duplicate": 0.2,
        "reorder": 0.3,
        "lateness": 0.3,
        "disconnect": 0.03,
        "refuse": 0.1,
        "refusal": {"status": 503},
        "tokenLifetime": 5,
        "closeExpired": True,
        "seed": SEED,
    }
    async with signalr_faults(stack, faults) as signalr, Visitor(stack.url) as visitor:
        turns: dict[str, str | None] = {}
        for number in range(20):
            text = story(f"n{number}-", 15)
            turns[await visitor.ask(say(text, 40))] = text
        await check_promises(stack, visitor, turns)
        assert (await counters(signalr))["refused"].get("503", 0) > 0


async def test_many_answers_at_once_stay_within_what_signalr_allows(new_stack: NewStack):
    """Not one send is refused, and every message is taken."""
    stack = new_stack(environment={"SIGNALR_SENDS_PER_SECOND": str(ALLOWED)})
    async with signalr_faults(stack, {"sendsPerSecond": ALLOWED}) as signalr, Visitor(stack.url) as visitor:
        texts = [story(f"n{number}-", 60) for number in range(20)]
        ids = await asyncio.gather(*(visitor.ask(say(text, 50)) for text in texts))
        turns: dict[str, str | None] = dict(zip(ids, texts, strict=True))
        await check_promises(stack, visitor, turns)
        found = await counters(signalr)
        assert found["refused"] == {}
        assert found["targets"]["turnEnded"] == len(turns)
        for turn_id in turns:
            assert (await visitor.client.status(turn_id))["deliveryErrors"] == 0
