"""kill -9 of the host, and of everything at once: the answer goes on where it was."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable

import aiohttp
import pytest

from stand_in.config import SERVICES
from tests.chaos.promises import PATIENCE, check_promises, check_records, say, story
from tests.chaos.screen import Visitor
from tests.conftest import NewStack
from tests.log_reader import read_records
from tests.running_stack import RunningStack

pytestmark = pytest.mark.chaos
Report = Callable[[str], None]


async def kill(stack: RunningStack, service: str) -> None:
    await asyncio.to_thread(stack.kill, service)


async def test_a_killed_host_goes_on_with_the_same_text(new_stack: NewStack, report: Report):
    stack = new_stack()
    text = story("w", 160)
    async with Visitor(stack.url) as visitor:
        turn_id = await visitor.ask(say(text, 60))
        await visitor.sees(turn_id, 200)
        seen = len(visitor.screens[turn_id].text)
        assert seen < len(text) / 2, "the kill would come too late to be in mid-answer"
        killed = time.perf_counter()
        await kill(stack, "host")
        await visitor.sees(turn_id, seen + 1)
        report(f"next new text {time.perf_counter() - killed:.2f} s after the kill")
        copies = await check_promises(stack, visitor, {turn_id: text})
        status = await visitor.client.status(turn_id)
    assert (status["attempts"], status["recoveryRung"]) == (2, 3)
    report(f"records doubled before dedupe: {copies}")


async def test_a_killed_stack_finishes_its_turns_without_anybody_asking(new_stack: NewStack, report: Report):
    stack = new_stack()
    texts = [story(name, 120) for name in "abc"]
    async with Visitor(stack.url) as visitor:
        turns = {await visitor.ask(say(text, 60), f"talk-{number}"): text for number, text in enumerate(texts)}
        queued = await visitor.ask(say("and then?", 60), "talk-0")
        for turn_id in turns:
            await visitor.sees(turn_id, 100)
        await visitor.look_away()
        ports = stack.status().ports
        await asyncio.to_thread(stack.kill_supervisor)

        options = [text for service in SERVICES for text in (service.option, str(ports[service.key]))]
        stack = await asyncio.to_thread(lambda: new_stack(options=options))
        turns[queued] = "and then?"
        await read_records(stack.settings, set(turns), PATIENCE)  # from the hub alone: no request reaches the app
        for turn_id in turns:
            visitor.follow(turn_id)
        copies = await check_promises(stack, visitor, turns)
    report(f"records doubled before dedupe: {copies}")


async def test_a_host_killed_right_after_its_202_completes_the_turn(new_stack: NewStack):
    stack = new_stack()
    async with Visitor(stack.url) as visitor:
        text = story("x", 60)
        turn_id = await visitor.ask(say(text, 100))
        await kill(stack, "host")
        await check_promises(stack, visitor, {turn_id: text})


async def test_a_post_cut_off_by_the_hosts_death_and_repeated_with_its_key_is_one_turn(
    new_stack: NewStack, report: Report
):
    """The kill comes at several moments of the POST; wherever it hits, the same key means the same turn."""
    stack = new_stack()
    async with Visitor(stack.url) as visitor:
        text, turns = story("y", 30), {}
        cut_off = 0
        for delay in (0.0, 0.008, 0.02):
            key, conversation = secrets.token_hex(8), f"talk-{delay}"
            post = asyncio.create_task(visitor.client.post_turn({"prompt": say(text, 200)}, conversation, key))
            await asyncio.sleep(delay)
            await kill(stack, "host")
            with contextlib.suppress(aiohttp.ClientError, ValueError):
                await post
            cut_off += post.exception() is not None
            answers = set()
            while len(answers) < 1:
                with contextlib.suppress(aiohttp.ClientError, ValueError):
                    status, body = await visitor.client.post_turn({"prompt": say(text, 200)}, conversation, key)
                    if status == 202:
                        answers.add(body["turnId"])
                await asyncio.sleep(0.1)
            (turn_id,) = answers
            visitor.follow(turn_id)
            turns[turn_id] = text
        await check_promises(stack, visitor, turns)
        assert len(turns) == 3
        for delay in (0.0, 0.008, 0.02):
            _, conversation = await visitor.client.get(f"/api/conversations/talk-{delay}")
            assert [message["role"] for message in conversation["messages"]] == ["user", "assistant"]
    report(f"POSTs cut off by the kill: {cut_off} of 3")
