"""kill -9 of the host, and of everything at once: the answer goes on where it was."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from stand_in.config import SERVICES
from tests.chaos.operator import kill, until
from tests.chaos.promises import PATIENCE, check_promises, say, story
from tests.chaos.screen import Visitor
from tests.conftest import NewStack
from tests.log_reader import read_records
from tests.running_stack import RunningStack

pytestmark = pytest.mark.chaos
Report = Callable[[str], None]


async def test_a_killed_host_goes_on_with_the_same_text(killable: RunningStack, report: Report):
    text = story("w", 80)
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask(say(text, 150))
        await visitor.sees(turn_id, 200)
        seen = len(visitor.screens[turn_id].text)
        assert seen < len(text), "the kill would come after the answer"
        started = time.perf_counter()

        async def since_the_kill(event: Awaitable[None]) -> float:
            await event
            return time.perf_counter() - started

        await kill(killable, "host")
        ready, next_text = await asyncio.gather(
            since_the_kill(until(lambda: is_ready(killable), "the host is ready")),
            since_the_kill(visitor.sees(turn_id, seen + 1)),
        )
        copies = await check_promises(killable, visitor, {turn_id: text})
        status = await visitor.client.status(turn_id)
    assert (status["attempts"], status["recoveryRung"]) == (2, 3)
    report(f"next new text {next_text:.2f} s after the kill; the new host was ready after {ready:.2f} s")
    report(f"{seen} characters were there; records doubled before dedupe: {copies}")


async def is_ready(stack: RunningStack) -> bool:
    return stack.status().ready


async def test_a_killed_stack_finishes_its_turns_without_anybody_asking(new_stack: NewStack, report: Report):
    stack = new_stack()
    texts = [story(name, 60) for name in "abc"]
    async with Visitor(stack.url) as visitor:
        turns = {await visitor.ask(say(text, 60), f"talk-{number}"): text for number, text in enumerate(texts)}
        queued = await visitor.ask(say("and then?", 60), "talk-0")
        for turn_id in turns:
            await visitor.sees(turn_id, 100)
        await visitor.look_away()
        ports = stack.status().ports
        pids = stack.status().processes.values()
        stack.process.kill()  # first, so that it starts none of them again
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(stack.kill_supervisor)  # waits until everything is gone

        options = [text for service in SERVICES for text in (service.option, str(ports[service.key]))]
        stack = await asyncio.to_thread(lambda: new_stack(options=options))
        turns[queued] = "and then?"
        await read_records(stack.settings, set(turns), PATIENCE)  # from the hub alone: no request reaches the app
        for turn_id in turns:
            visitor.follow(turn_id)
        copies = await check_promises(stack, visitor, turns)
    report(f"records doubled before dedupe: {copies}")


async def test_turns_are_one_each_when_the_host_dies_as_one_is_accepted_and_others_are_on_their_way(
    killable: RunningStack, report: Report
):
    """The host is killed at the first 202. What was accepted completes; a POST that was cut off and is repeated with
    its key gives one turn, however far it had got."""
    async with Visitor(killable.url) as visitor:
        text, client = story("x", 30), visitor.client
        prompt = {"prompt": say(text, 100)}
        first = asyncio.create_task(client.post_turn(prompt, "talk-0", "key-0"))
        posts = [first]
        for number in range(1, 7):
            posts.append(asyncio.create_task(client.post_turn(prompt, f"talk-{number}", f"key-{number}")))
            await asyncio.wait({first}, timeout=0.003)
        status, body = await first
        assert status == 202
        os.kill(killable.pid("host"), signal.SIGKILL)
        answers = await asyncio.gather(*posts, return_exceptions=True)
        turns: dict[str, str | None] = {body["turnId"]: text}
        visitor.follow(body["turnId"])
        for number in range(1, 7):
            turns[await visitor.ask(prompt["prompt"], f"talk-{number}", f"key-{number}")] = text
        assert len(turns) == 7
        await check_promises(killable, visitor, turns)
        for number in range(7):
            _, conversation = await client.get(f"/api/conversations/talk-{number}")
            assert [message["role"] for message in conversation["messages"]] == ["user", "assistant"]
    cut_off = sum(isinstance(answer, BaseException) for answer in answers)
    report(f"POSTs cut off by the kill: {cut_off} of {len(posts)}")
