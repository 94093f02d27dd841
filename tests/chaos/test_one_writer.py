"""One writer: a host that was stopped and continued while another had taken its work writes nothing more, follows the
journal, and returns the outcome that the other one wrote; its late result is delivered."""

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from azure.storage.blob.aio import ContainerClient

from tests.chaos.operator import until
from tests.chaos.promises import check_promises, say, story
from tests.chaos.screen import Visitor
from tests.conftest import NewStack
from tests.running_stack import RunningStack
from tests.second_host import SecondHost

pytestmark = pytest.mark.chaos

LATE = "--deliver-late-results"
LOCK_SECONDS = 2
LOCK = "AzureFunctionsJobHost__extensions__durableTask__storageProvider__workItemQueueVisibilityTimeout"


@pytest.fixture
def hosts(new_stack: NewStack) -> Iterator[tuple[RunningStack, SecondHost]]:
    """A stack whose host works, and a second one that stands by; both deliver late results."""
    stack = new_stack(environment={LOCK: f"00:00:{LOCK_SECONDS:02}"}, options=("--free-ports", LATE))
    with SecondHost(stack, LATE) as second:
        yield stack, second


async def journal(stack: RunningStack, turn_id: str) -> list[dict[str, Any]]:
    name = f"turns/{turn_id.split('-')[1]}/{turn_id}"
    async with ContainerClient.from_connection_string(stack.settings["AzureWebJobsStorage"], "journals") as container:
        data = await (await container.download_blob(name)).readall()
    return [json.loads(line) for line in data.splitlines()]


def check_one_writer(records: list[dict[str, Any]]) -> None:
    """After a claim nobody but the claimant writes; there is one `end`."""
    writer = None
    for record in records:
        if record["kind"] == "claim":
            writer = record["writer"]
        elif "writer" in record:
            assert record["writer"] == writer, f"{record['kind']} of a run that had lost its claim"
    assert sum(record["kind"] == "end" for record in records) == 1


async def open_calls(stack: RunningStack) -> int:
    """Calls of the model that have not ended."""
    async with aiohttp.ClientSession() as http, http.get(f"{stack.address('model')}/_admin/requests") as answer:
        return int((await answer.json())["open"])


async def all_closed(stack: RunningStack) -> bool:
    return await open_calls(stack) == 0


async def test_a_resurrected_host_writes_nothing_more_and_returns_what_the_other_wrote(
    hosts: tuple[RunningStack, SecondHost],
):
    stack, second = hosts
    text, paused = story("p", 150), stack.pid("host")
    async with Visitor(second.url) as visitor:
        turn_id = await visitor.ask(say(text, 60))  # passed on to the host that works
        await visitor.sees(turn_id, 200)
        os.kill(paused, signal.SIGSTOP)
        seen = len(visitor.screens[turn_id].text)
        await visitor.sees(turn_id, seen + 100, seconds=40)  # the other one took over, and streams
        os.kill(paused, signal.SIGCONT)

        async def has_handed_over() -> bool:
            return "A late result of stream_completion was handed over" in stack.log("host")

        # Whichever run returns first ends the activity: both say what the journal says.
        await until(has_handed_over, "the resurrected run has returned", 60)
        assert "Another host works on the task hub" in stack.log("host")
        await check_promises(stack, visitor, {turn_id: text})
        status = await visitor.client.status(turn_id)
        records = await journal(stack, turn_id)
    assert (status["attempts"], status["generation"]) == (2, 1)
    check_one_writer(records)
    await until(lambda: all_closed(stack), "no call of the model is open")
    assert stack.pid("host") == paused


@pytest.mark.parametrize("seed", [1])
async def test_hosts_that_are_stopped_and_continued_at_random_give_every_turn_one_text(
    hosts: tuple[RunningStack, SecondHost], seed: int
):
    stack, second = hosts
    chance = random.Random(seed)
    async with Visitor(second.url) as visitor:
        turns: dict[str, str | None] = {}
        for number in range(4):
            text = story(f"s{number}-", 60)
            turns[await visitor.ask(say(text, 40), f"talk-{number % 3}")] = text
        for _ in range(3):
            pid = chance.choice([stack.pid("host"), second.process.pid])
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0, 2.5 * LOCK_SECONDS))
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(chance.uniform(0, 1))
        await check_promises(stack, visitor, turns)
        for turn_id in turns:
            check_one_writer(await journal(stack, turn_id))
    await until(lambda: all_closed(stack), "no call of the model is open")
