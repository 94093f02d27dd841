"""kill -9 of the services around the host, one after another and several at once."""

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.chaos.operator import event_hubs_fault, kill
from tests.chaos.promises import check_promises, say, story
from tests.chaos.screen import Visitor
from tests.conftest import NewStack
from tests.running_stack import RunningStack

pytestmark = pytest.mark.chaos
Report = Callable[[str], None]

EMULATORS = ("blob", "signalr", "eventHubs", "model")
SEED = 20270101


async def test_each_emulator_killed_in_mid_answer_leaves_the_answer_whole(killable: RunningStack, report: Report):
    """A turn for each kill, in a conversation of its own."""
    async with Visitor(killable.url) as visitor:
        turns = {}
        for service in EMULATORS:
            text = story(service, 50)
            turn_id = await visitor.ask(say(text, 50))
            await visitor.sees(turn_id, 60)
            assert len(visitor.screens[turn_id].text) < len(text), "the kill would come after the answer"
            await kill(killable, service)
            turns[turn_id] = text
        copies = await check_promises(killable, visitor, turns)
    report(f"records doubled before dedupe: {copies} of {len(turns)}")


async def test_an_event_hub_killed_as_the_answer_ends_gets_its_record_all_the_same(killable: RunningStack):
    async with Visitor(killable.url) as visitor:
        text = story("z", 10)
        turn_id = await visitor.ask(say(text, 100))
        await visitor.sees(turn_id, len(text))
        await kill(killable, "eventHubs")
        await check_promises(killable, visitor, {turn_id: text})


async def test_an_acknowledgement_that_is_lost_doubles_a_record_that_is_one_by_its_id(killable: RunningStack):
    event_hubs_fault(killable, cut_after_store=1)
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask(say("once", 100))
        assert await check_promises(killable, visitor, {turn_id: "once"}) == 1


async def test_a_storm_over_many_conversations_keeps_every_promise(new_stack: NewStack, report: Report):
    """Three visitors, two turns in a row in each of their conversations, two kills of everything in random order."""
    stack = new_stack()
    chance = random.Random(SEED)
    order = [*EMULATORS, "host"] * 2
    chance.shuffle(order)
    async with Visitor(stack.url) as one, Visitor(stack.url) as two, Visitor(stack.url, signalr=False) as three:
        asked: list[tuple[Visitor, dict[str, str | None]]] = [(one, {}), (two, {}), (three, {})]
        for number, (visitor, turns) in enumerate(asked):
            for talk in range(2):
                first, second = story(f"{number}{talk}-", 40), "#length 250 #script mixed #speed 100 #first 0"
                turns[await visitor.ask(say(first, 40), f"talk-{talk}")] = first
                turns[await visitor.ask(second, f"talk-{talk}")] = None
        for service in order:
            await kill(stack, service)
            await asyncio.sleep(chance.uniform(0, 0.5))  # chaos: the next kill, at whatever moment that is
        copies = 0
        for visitor, turns in asked:
            copies += await check_promises(stack, visitor, turns)
    report(f"killed in this order: {', '.join(order)}; records doubled before dedupe: {copies} of 12")
