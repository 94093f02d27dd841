"""What the sweeper delivers and closes, on the whole stack: turns whose orchestration was ended by an operator, and
records that Event Hubs did not take."""

import asyncio
from typing import Any

import pytest

from tests.chaos.operator import event_hubs_fault, instance, kill, markers, sweep, terminate, until
from tests.chaos.promises import PATIENCE, check_promises, say, story
from tests.chaos.screen import Visitor
from tests.running_stack import RunningStack

pytestmark = pytest.mark.chaos


async def swept(stack: RunningStack, visitor: Visitor, turn_id: str) -> dict[str, Any]:
    """Sweep until the turn is logged; its status."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await sweep(stack)
            for _ in range(20):
                status = await visitor.client.status(turn_id)
                if status["logged"]:
                    return status
                await asyncio.sleep(0.1)


async def marked(stack: RunningStack, *turn_ids: str) -> bool:
    """Whether these are the turns that have markers."""
    return await markers(stack) == [f"unlogged/{turn_id}" for turn_id in turn_ids]


async def test_a_terminated_turn_that_nobody_writes_is_closed_told_and_logged(killable: RunningStack):
    """What was on screen stays, the end says why, and the turn behind it goes on."""
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask(say(story("t", 400), 40), "talk")
        behind = await visitor.ask(say("and I?", 40), "talk")
        await visitor.sees(turn_id, 60)
        await terminate(killable, turn_id)
        await kill(killable, "host")  # with it the run that was still streaming
        await asyncio.to_thread(killable.wait_ready)
        status = await swept(killable, visitor, turn_id)
        assert (status["status"], status["error"]["code"]) == ("failed", "abandoned")
        assert story("t", 400).startswith(status["text"])
        assert status["text"].startswith(visitor.screens[turn_id].text)
        await check_promises(
            killable, visitor, {turn_id: status["text"], behind: "and I?"}, endings={turn_id: "failed"}
        )


async def test_a_terminated_turn_whose_run_still_writes_is_told_and_logged_once(killable: RunningStack):
    """The run goes on to its end or learns that the sweeper has written one: whichever was first is what all say."""
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask(say(story("t", 100), 60), "talk")
        await visitor.sees(turn_id, 60)
        await terminate(killable, turn_id)
        status = await swept(killable, visitor, turn_id)
        assert status["status"] in ("completed", "failed")
        await check_promises(killable, visitor, {turn_id: status["text"]}, endings={turn_id: status["status"]})


async def test_a_record_that_was_refused_leaves_a_marker_and_is_delivered_later(killable: RunningStack):
    event_hubs_fault(killable, reject_sends=1000)
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask(say("logged later", 100), "talk")
        await visitor.client.wait_for(turn_id, "answered")
        await visitor.screens[turn_id].ended.wait()
        await terminate(killable, turn_id)  # rather than waiting for its five tries
        await sweep(killable)
        await until(lambda: marked(killable, turn_id), "the turn is marked")
        assert (await visitor.client.status(turn_id))["logged"] is False
        event_hubs_fault(killable)
        await swept(killable, visitor, turn_id)
        await until(lambda: marked(killable), "no turn is marked")
        assert (await instance(killable, turn_id))["runtimeStatus"] == "Terminated"
        await check_promises(killable, visitor, {turn_id: "logged later"})
