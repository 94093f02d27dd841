"""Readers help: a turn that nobody goes on with is seen to by whoever reads it, in whichever way.

The silent worker is one that is gone for good: its claim stands in the journal and nothing follows. The engine does not
know of it; the run that it starts is of an earlier attempt, so it follows politely, for 30 s of silence. Whatever
happens sooner is the readers' doing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from adapters.blob_journal import BlobJournal
from chat import records
from chat.records import Stop
from tests.chat_calls import chat_calls
from tests.chat_client import ChatClient
from tests.left_behind import ANSWER, LeftBehind
from tests.running_stack import RunningStack

READS = ("", "/frames", "/frames?wait=5", "/stream")
SOON = 20.0  # seconds on a busy machine; without help it takes 30 s at least


@pytest.fixture
async def visitor(stack: RunningStack) -> AsyncIterator[ChatClient]:
    async with ChatClient(stack.url, signalr=False) as client:
        yield client


@pytest.fixture
async def store(stack: RunningStack) -> AsyncIterator[BlobJournal]:
    journal = BlobJournal.from_connection_string(stack.settings["AzureWebJobsStorage"])
    yield journal
    await journal.close()


async def read(visitor: ChatClient, turn: str, path: str) -> None:
    """One request of a reader, who then goes away."""
    async with visitor.http.get(f"/api/turns/{turn}{path}") as answer:
        assert answer.status in (200, 202), await answer.text()
        if answer.content_type == "text/event-stream":
            await answer.content.readline()
        else:
            await answer.read()


async def runs(stack: RunningStack, turn: str) -> Counter[str]:
    """How often the turn's orchestration has seen each activity finish."""
    history = (await instance(stack, turn))["historyEvents"]
    return Counter(event["FunctionName"] for event in history if event.get("FunctionName"))


async def instance(stack: RunningStack, turn: str) -> dict[str, Any]:
    url = f"{stack.url}/runtime/webhooks/durabletask/instances/{turn}?showHistory=true&showHistoryOutput=true"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", READS)
async def test_a_begun_turn_that_nobody_started_is_started_by_whoever_reads_it(
    visitor: ChatClient, store: BlobJournal, path: str
):
    turn = await LeftBehind(visitor, store, ago=5).write()
    await read(visitor, turn, path)
    done = await visitor.wait_for(turn, "answered", "logged", seconds=SOON)
    assert (done["status"], done["text"], done["attempts"]) == ("completed", ANSWER, 1)


@pytest.mark.parametrize("path", READS)
async def test_a_silent_turn_gets_another_run_from_whoever_reads_it(visitor: ChatClient, store: BlobJournal, path: str):
    """The text that was there stays; the new run swallows it and appends the rest."""
    left = LeftBehind(visitor, store, ago=25)
    turn = await left.write(left.claim(), left.frame(ANSWER[:20]))
    await left.start()
    await read(visitor, turn, path)
    done = await visitor.wait_for(turn, "answered", "logged", seconds=SOON)
    assert (done["status"], done["text"], done["attempts"]) == ("completed", ANSWER, 2)
    assert (done["generation"], done["recoveryRung"]) == (1, 3)


async def test_a_storm_of_readers_starts_one_run(stack: RunningStack, visitor: ChatClient, store: BlobJournal):
    left = LeftBehind(visitor, store, ago=25)
    left.prompt += f"\n#say {ANSWER}"  # asked by no other test
    turn = await left.write(left.claim())
    await left.start()
    url = f"{stack.url}/runtime/webhooks/durabletask/instances/{turn}/raiseEvent/look-1"
    event = {"position": len(await store.read(left.conversation_key, turn))}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(stack.url, cookie_jar=visitor.http.cookie_jar, connector=connector) as http:
        crowd = visitor.http
        visitor.http = http
        # This process remembers that it has looked; others would raise the same event again.
        others = [http.post(url, json=event) for _ in range(20)]
        await asyncio.gather(*[read(visitor, turn, READS[number % 4]) for number in range(200)], *others)
        done = await visitor.wait_for(turn, "logged", seconds=SOON)
        visitor.http = crowd
    assert (done["text"], done["attempts"]) == (ANSWER, 2)
    # One that follows the worker that is gone (and may still be at it), one that was looked for. One too many would be
    # among the finished: it sees that somebody writes.
    assert (await runs(stack, turn))["stream_completion"] <= 2
    assert len(await chat_calls(stack, left.prompt)) == 1


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("started", [True, False])
async def test_a_stopped_turn_without_an_end_gets_it_from_whoever_reads_it(
    visitor: ChatClient, store: BlobJournal, path: str, started: bool
):
    """It ends with what was shown, is told to the conversation and logged; nobody asks the model again."""
    left = LeftBehind(visitor, store, ago=8)
    stop = Stop(left.at + 2000)
    turn = await left.write(*([left.claim(), left.frame(ANSWER[:20]), stop] if started else [stop]))
    if started:
        await left.start()
    await read(visitor, turn, path)
    done = await visitor.wait_for(turn, "logged", seconds=SOON)
    assert (done["status"], done["text"]) == ("stopped", ANSWER[:20] if started else "")
    _, conversation = await visitor.get(f"/api/conversations/{left.conversation}")
    assert [message["status"] for message in conversation["messages"]] == ["stopped", "stopped"]


async def test_a_turn_that_waits_as_announced_is_left_alone(
    stack: RunningStack, visitor: ChatClient, store: BlobJournal
):
    left = LeftBehind(visitor, store, ago=25)
    wait = records.Wait("gone", round(1000 * (time.time() + 600)), "rate_limited", left.at)
    turn = await left.write(left.claim(), wait)
    await left.start()
    await asyncio.gather(*[read(visitor, turn, path) for path in READS])
    status = await visitor.status(turn)
    assert (status["phase"], status["attempts"]) == ("waiting", 1)
    assert (await instance(stack, turn))["customStatus"]["attempt"] == 1
    await store.append(left.conversation_key, turn, records.encode(Stop(round(1000 * time.time()))), None)
    assert (await visitor.wait_for(turn, "logged", seconds=SOON))["status"] == "stopped"
