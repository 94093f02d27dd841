"""Nothing is left behind, on the whole stack: whatever becomes of a turn's orchestration, the turn is brought to its
end, told, logged once, and the next turn of its conversation runs."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from adapters.blob_journal import BlobJournal
from chat import records
from chat.journal import read_journal
from chat.records import Begin
from chat.turn import TurnRequest, conversation_key_of
from chat.turn import turn_id as new_turn_id
from chat.usage import DAY
from tests.chaos.operator import event_hubs_fault, instance, kill, markers, sweep, terminate, until
from tests.chaos.promises import PATIENCE, check_promises, say, story
from tests.chaos.screen import Visitor
from tests.conftest import NewStack
from tests.running_stack import ROOT, RunningStack

pytestmark = pytest.mark.chaos


async def swept(stack: RunningStack, visitor: Visitor, *turn_ids: str) -> None:
    """Sweep again and again until these turns are logged."""
    async with asyncio.timeout(PATIENCE):
        for turn_id in turn_ids:
            while not (await visitor.client.status(turn_id)).get("logged"):
                await sweep(stack)
                for _ in range(20):
                    if (await visitor.client.status(turn_id)).get("logged"):
                        break
                    await asyncio.sleep(0.1)


@asynccontextmanager
async def storage(stack: RunningStack) -> AsyncIterator[BlobJournal]:
    journal = BlobJournal.from_connection_string(stack.settings["AzureWebJobsStorage"])
    try:
        yield journal
    finally:
        await journal.close()


async def purge(stack: RunningStack, turn_id: str) -> None:
    """Let the engine forget a finished instance, as an operator can."""
    url = f"{stack.url}/runtime/webhooks/durabletask/instances/{turn_id}"
    async with aiohttp.ClientSession() as http, http.delete(url) as answer:
        assert answer.status == 200, await answer.text()


async def test_a_turn_that_is_terminated_while_it_queues_lets_the_next_one_run(killable: RunningStack):
    async with Visitor(killable.url) as visitor:
        first = await visitor.ask(say(story("q", 60), 30), "talk")
        second = await visitor.ask(say("never asked", 40), "talk")
        third = await visitor.ask(say("and I?", 40), "talk")
        await visitor.sees(first, 30)
        await visitor.client.wait_for(second, "queued")
        await terminate(killable, second)
        await swept(killable, visitor, second, first, third)
        status = await visitor.client.status(second)
        assert (status["status"], status["error"]["code"], status["attempts"]) == ("failed", "abandoned", 0)
        turns = {first: story("q", 60), second: "", third: "and I?"}
        for turn_id, text in turns.items():
            assert (await visitor.client.status(turn_id))["text"] == text
        await until(lambda: is_unmarked(killable), "no turn is marked")


async def is_unmarked(stack: RunningStack) -> bool:
    return await markers(stack) == []


async def test_a_turn_that_is_terminated_while_it_waits_out_a_rate_limit_ends_at_once(killable: RunningStack):
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask("#say never\n#first 0\n#fault 429 times=always retry_after=300", "talk")
        behind = await visitor.ask(say("and I?", 40), "talk")
        await visitor.client.wait_for(turn_id, "waiting")
        await terminate(killable, turn_id)
        await swept(killable, visitor, turn_id)
        status = await visitor.client.status(turn_id)
        assert (status["status"], status["error"]["code"], status["waitingUntil"]) == ("failed", "abandoned", None)
        await check_promises(killable, visitor, {turn_id: "", behind: "and I?"}, endings={turn_id: "failed"})


async def test_a_run_whose_orchestration_was_terminated_sees_the_outcome_and_closes_its_call(killable: RunningStack):
    """It is silent, so the sweeper's `end` comes first; the run learns of it within a look."""
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask("#length 400\n#speed 100\n#first 0\n#fault stall after=20 seconds=50", "talk")
        behind = await visitor.ask(say("and I?", 40), "talk")
        await visitor.sees(turn_id, 30)
        await terminate(killable, turn_id)
        await swept(killable, visitor, turn_id)
        status = await visitor.client.status(turn_id)
        assert (status["status"], status["error"]["code"]) == ("failed", "abandoned")
        await until(lambda: no_call_is_open(killable), "the model's connection is closed")
        await check_promises(
            killable, visitor, {turn_id: status["text"], behind: "and I?"}, endings={turn_id: "failed"}
        )


async def no_call_is_open(stack: RunningStack) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{stack.address('model')}/_admin/requests") as answer:
        return bool((await answer.json())["open"] == 0)


async def test_a_turn_that_was_begun_and_never_started_is_found_though_nobody_looks(killable: RunningStack):
    """Its starter died right after `begin`: neither a place in the conversation nor an instance, and no reader."""
    async with Visitor(killable.url) as visitor, storage(killable) as journal:
        sibling = await visitor.ask(say("here", 40), "talk")
        await visitor.client.wait_for(sibling, "logged")
        begin = (await read_journal(journal, sibling)).begin
        assert begin is not None
        begin = begun_by_a_starter_that_died(begin, say("I was never started", 40))
        key = conversation_key_of(begin.turn_id)
        await journal.append_usage(begin.user, begin.at // DAY, f"+{begin.turn_id} {begin.at}\n".encode(), None)
        await journal.create(key, begin.turn_id)
        await journal.append(key, begin.turn_id, records.encode(begin), 0)

        async def is_logged() -> bool:
            return (await read_journal(journal, begin.turn_id)).logged

        await sweep(killable)
        await until(is_logged, "the turn was answered and logged", PATIENCE)
        visitor.follow(begin.turn_id)
        status = await visitor.client.status(begin.turn_id)
        assert (status["status"], status["text"]) == ("completed", "I was never started")
        assert await journal.read_order(key) == [sibling, begin.turn_id]


def begun_by_a_starter_that_died(sibling: Begin, prompt: str) -> Begin:
    request = replace(TurnRequest.from_dict(sibling.request), prompt=prompt)
    turn = new_turn_id(conversation_key_of(sibling.turn_id), os.urandom(8).hex(), "")
    ten_minutes_ago = sibling.at - 10 * 60_000
    return replace(sibling, turn_id=turn, request=request.to_dict(), request_hash=request.hash, at=ten_minutes_ago)


async def test_a_turn_whose_instance_was_purged_while_the_hub_was_away_is_logged(killable: RunningStack):
    event_hubs_fault(killable, reject_sends=1000)
    try:
        async with Visitor(killable.url) as visitor:
            turn_id = await visitor.ask(say("purged", 100), "talk")
            await until(lambda: is_marked(killable, turn_id), "the first refusal left a marker")
            await terminate(killable, turn_id)
            await purge(killable, turn_id)
            event_hubs_fault(killable)
            await swept(killable, visitor, turn_id)
            await check_promises(killable, visitor, {turn_id: "purged"})
    finally:
        event_hubs_fault(killable)


async def is_marked(stack: RunningStack, turn_id: str) -> bool:
    return f"unlogged/{turn_id}" in await markers(stack)


async def test_storage_that_is_away_during_a_sweep_leaves_the_turn_to_the_next(killable: RunningStack):
    async with Visitor(killable.url) as visitor:
        turn_id = await visitor.ask("#length 400\n#speed 100\n#first 0\n#fault stall after=20 seconds=50", "talk")
        await visitor.sees(turn_id, 30)
        await terminate(killable, turn_id)
        sweeping = asyncio.create_task(sweep(killable))
        await kill(killable, "blob")
        await sweeping
        await asyncio.to_thread(killable.wait_ready)
        await swept(killable, visitor, turn_id)
        text = (await visitor.client.status(turn_id))["text"]
        await check_promises(killable, visitor, {turn_id: text}, endings={turn_id: "failed"})


async def test_a_turn_whose_orchestrator_was_changed_by_a_deployment_is_brought_to_its_end(new_stack: NewStack):
    """The new code decides otherwise than the history says: the instance fails, the turn must not be lost with it."""
    stack = await asyncio.to_thread(new_stack)
    async with Visitor(stack.url) as visitor:
        turn_id = await visitor.ask(say(story("d", 90), 30), "talk")
        behind = await visitor.ask(say("and I?", 40), "talk")
        await visitor.sees(turn_id, 60)
        deploy_another_orchestrator(stack)
        await kill(stack, "host")
        await asyncio.to_thread(stack.wait_ready)

        async def has_failed() -> bool:
            found = await instance(stack, turn_id)
            return found["runtimeStatus"] == "Failed" and "Non-Deterministic" in str(found["output"])

        await until(has_failed, "the instance has failed", PATIENCE)
        await swept(stack, visitor, turn_id, behind)
        status = await visitor.client.status(turn_id)
        assert status["status"] in ("failed", "completed")
        assert story("d", 90).startswith(status["text"])
        assert status["text"].startswith(visitor.screens[turn_id].text)
        assert (await visitor.client.status(behind))["status"] in ("completed", "failed")


def deploy_another_orchestrator(stack: RunningStack) -> None:
    """Put a changed orchestrator in the place of the link to the project's own."""
    folder = stack.app / "orchestrators"
    folder.unlink()
    folder.mkdir()
    for path in (ROOT / "orchestrators").glob("*.py"):
        code = path.read_text("utf-8")
        if path.name == "chat_turn.py":
            head = "    turn_id: str = context.get_input()\n"
            assert head in code
            code = code.replace(head, head + '    yield context.call_activity("close_turn", {"turnId": turn_id})\n')
        (folder / path.name).write_text(code, "utf-8")
