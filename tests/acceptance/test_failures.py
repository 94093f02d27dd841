"""Failures of the model on the whole stack: what a visitor sees of them, what an operator sees, and how they end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from azure.storage.blob.aio import ContainerClient

from chat.failure_policy import MAX_CLAIMS
from tests.chat_client import ChatClient
from tests.conftest import NewStack
from tests.running_stack import RunningStack

LIMIT = 2  # MODEL_READ_TIMEOUT_SECONDS


@pytest.fixture
async def visitor(stack: RunningStack) -> AsyncIterator[ChatClient]:
    async with ChatClient(stack.url, signalr=False) as client:
        yield client


async def journal(stack: RunningStack, turn_id: str) -> list[dict[str, Any]]:
    """The records of a turn."""
    name = f"turns/{turn_id.split('-')[1]}/{turn_id}"
    async with ContainerClient.from_connection_string(stack.settings["AzureWebJobsStorage"], "journals") as container:
        data = await (await container.download_blob(name)).readall()
    return [json.loads(line) for line in data.splitlines()]


def of_kind(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["kind"] == kind]


async def instance_when(
    stack: RunningStack, turn_id: str, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """What an operator sees of a turn, once it is so."""
    url = f"{stack.url}/runtime/webhooks/durabletask/instances/{turn_id}"
    async with asyncio.timeout(40), aiohttp.ClientSession() as http:
        while True:
            async with http.get(url, params={"showHistory": "true", "showHistoryOutput": "true"}) as answer:
                found: dict[str, Any] = await answer.json()
            if condition(found):
                return found
            await asyncio.sleep(0.02)


async def test_a_rate_limit_is_waited_out_on_a_durable_timer_that_everybody_sees(
    stack: RunningStack, visitor: ChatClient
):
    """Retry-After: 3. The visitor sees until when in status and frames, the operator in custom status and history."""
    turn_id, _, _ = await visitor.start_turn("#say after three seconds\n#first 0\n#fault 429 retry_after=3")
    seen = await instance_when(
        stack, turn_id, lambda found: (found["customStatus"] or {}).get("phase") in ("waiting", "logged")
    )
    assert seen["customStatus"]["phase"] == "waiting"
    waiting = await visitor.status(turn_id)
    done = await visitor.wait_for(turn_id, "logged")
    over = await instance_when(stack, turn_id, lambda found: found["runtimeStatus"] == "Completed")

    assert (done["text"], done["attempts"], done["status"]) == ("after three seconds", 2, "completed")
    records = await journal(stack, turn_id)
    (wait,) = of_kind(records, "wait")
    assert (wait["until"] - wait["at"], wait["code"]) == (3000, "429")
    assert (waiting["phase"], milliseconds(waiting["waitingUntil"])) == ("waiting", wait["until"])
    frames = (await visitor.frames(turn_id))["frames"]
    assert [milliseconds(frame["until"]) for frame in frames if frame["kind"] == "wait"] == [wait["until"]]
    assert [claim["attempt"] for claim in of_kind(records, "claim")] == [1, 2]
    assert of_kind(records, "claim")[1]["at"] >= wait["until"]

    until = milliseconds(seen["customStatus"]["until"])
    (timer,) = (event for event in over["historyEvents"] if event["EventType"] == "TimerFired")
    assert abs(milliseconds(timer["FireAt"]) - until) <= 1
    assert until >= wait["until"]
    assert until - wait["until"] < 2000, "the timer runs from the episode that heard of the wait"


def milliseconds(moment: str) -> int:
    head, _, fraction = moment.rstrip("Z").partition(".")
    return round(datetime.fromisoformat(head + "+00:00").timestamp()) * 1000 + int((fraction + "000")[:3])


async def test_a_service_that_is_always_busy_is_given_up_once(stack: RunningStack, visitor: ChatClient):
    done = await visitor.answer("#fault 429 times=always retry_after_ms=10")
    assert (done["status"], done["error"]["code"], done["error"]["retryable"]) == ("failed", "429", True)
    await visitor.wait_for(done["turnId"], "logged")
    records = await journal(stack, done["turnId"])
    assert [len(of_kind(records, kind)) for kind in ("claim", "wait", "end", "logged")] == [
        MAX_CLAIMS,
        MAX_CLAIMS - 1,
        1,
        1,
    ]


async def test_a_stall_is_noticed_within_the_limit_and_the_answer_goes_on(new_stack: NewStack):
    """The service falls silent for a minute in mid-answer; text goes on within the limit and a second."""
    stack = await asyncio.to_thread(lambda: new_stack(environment={"MODEL_READ_TIMEOUT_SECONDS": str(LIMIT)}))
    async with ChatClient(stack.url, signalr=False) as visitor:
        text = " ".join(f"word{number}" for number in range(60))
        done = await visitor.answer(f"#say {text}\n#speed 100\n#first 0\n#fault stall after=20 seconds=60")
        assert (done["text"], done["attempts"], done["generation"]) == (text, 2, 1)
        records = await journal(stack, done["turnId"])
    frames = of_kind(records, "frame")
    before = [frame for frame in frames if frame["attempt"] == 1][-1]
    after = next(frame for frame in frames if frame["attempt"] == 2)
    assert of_kind(records, "wait")[0]["code"] == "read_timeout"
    assert after["at"] - before["at"] >= 1000 * LIMIT - 200  # a frame is stamped when its first piece arrived
    assert after["at"] - before["at"] <= 1000 * (LIMIT + 1)
