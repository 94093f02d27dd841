"""Stopping an answer, on the whole stack: whatever it is at, it ends as stopped and keeps what was shown."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.chaos.operator import until
from tests.chat_calls import chat_calls
from tests.chat_client import ChatClient
from tests.log_reader import read_records
from tests.running_stack import RunningStack

ENDLESS = "#length 4000\n#speed 60\n#first 0"


@pytest.fixture
async def visitor(stack: RunningStack) -> AsyncIterator[ChatClient]:
    async with ChatClient(stack.url) as client:
        yield client


async def left_alone(stack: RunningStack, prompt: str) -> None:
    """The model's one call of this question was left by the app."""

    async def all_are_left() -> bool:
        return all(each["disconnected_at"] for each in await chat_calls(stack, prompt))

    await until(all_are_left, "the app has left the model")
    assert len(await chat_calls(stack, prompt)) == 1


async def shown(visitor: ChatClient, turn_id: str, characters: int) -> None:
    async def is_shown() -> bool:
        return len(visitor.texts[turn_id]) >= characters

    await until(is_shown, f"{characters} characters are shown")


async def check_stopped(stack: RunningStack, visitor: ChatClient, turn_id: str, conversation: str) -> dict[str, Any]:
    """One outcome and one text: on screen, in the journal, the status, the conversation, the record."""
    status = await visitor.wait_for(turn_id, "logged")
    await asyncio.wait_for(visitor.ended[turn_id].wait(), 10)
    assert (status["status"], status["finishReason"], status["error"]) == ("stopped", "stopped", None)
    assert visitor.texts[turn_id] == status["text"]
    frames = (await visitor.frames(turn_id))["frames"]
    assert "".join(frame["text"] for frame in frames if frame["kind"] == "frame") == status["text"]
    assert [frame["status"] for frame in frames if frame["kind"] == "end"] == ["stopped"]
    (record,) = await read_records(stack.settings, {turn_id})
    assert (record["status"], record["content"]) == ("stopped", status["text"])
    _, stored = await visitor.get(f"/api/conversations/{conversation}")
    (answer,) = [m for m in stored["messages"] if m["role"] == "assistant" and m["turnId"] == turn_id]
    assert (answer["status"], answer["content"]) == ("stopped", status["text"])
    return status


async def test_a_streaming_answer_stops_and_keeps_exactly_what_was_shown(stack: RunningStack, visitor: ChatClient):
    prompt = f"{ENDLESS}\nstreaming"
    turn_id, _, _ = await visitor.start_turn(prompt, "stop-streaming")
    await shown(visitor, turn_id, 60)
    code, answer = await visitor.stop(turn_id)
    assert (code, answer["status"], answer["turnId"]) == (200, "stopped", turn_id)
    status = await check_stopped(stack, visitor, turn_id, "stop-streaming")
    assert answer["text"] == status["text"]
    assert 60 <= status["length"] < 4000
    await left_alone(stack, prompt)


async def test_the_next_question_knows_what_was_shown_of_a_stopped_answer(stack: RunningStack, visitor: ChatClient):
    turn_id, _, _ = await visitor.start_turn(ENDLESS, "stop-next")
    await shown(visitor, turn_id, 40)
    text = (await visitor.stop(turn_id))[1]["text"]
    await visitor.answer("#say and now\nstop-next", "stop-next")
    (request,) = await chat_calls(stack, "#say and now\nstop-next")
    assert {"role": "assistant", "content": text} in request["messages"]


async def test_a_model_that_has_not_answered_yet_is_left_at_once(stack: RunningStack, visitor: ChatClient):
    prompt = "#fault hang\nstopped before the first token"
    turn_id, _, _ = await visitor.start_turn(prompt, "stop-hang")

    async def is_asked() -> bool:
        return bool(await chat_calls(stack, prompt))

    await until(is_asked, "the model is asked")
    assert (await visitor.stop(turn_id))[0] == 200
    status = await check_stopped(stack, visitor, turn_id, "stop-hang")
    assert status["text"] == ""
    await left_alone(stack, prompt)


async def test_a_turn_that_waits_out_a_rate_limit_stops_and_does_not_ask_again(
    stack: RunningStack, visitor: ChatClient
):
    prompt = "#say never\n#fault 429 times=always retry_after=30"
    turn_id, _, _ = await visitor.start_turn(prompt, "stop-429")
    await visitor.wait_for(turn_id, "waiting")
    assert (await visitor.stop(turn_id))[0] == 200
    status = await check_stopped(stack, visitor, turn_id, "stop-429")
    assert (status["text"], status["attempts"], status["waitingUntil"]) == ("", 1, None)
    assert len(await chat_calls(stack, prompt)) == 1


async def test_a_turn_stopped_in_the_queue_never_asks_the_model_and_lets_the_next_one_pass(
    stack: RunningStack, visitor: ChatClient
):
    first, _, _ = await visitor.start_turn(f"{ENDLESS}\nfirst", "stop-queue")
    second, _, _ = await visitor.start_turn("#say never asked", "stop-queue")
    third, _, _ = await visitor.start_turn("#say third", "stop-queue")
    code, answer = await visitor.stop(second)
    assert (code, answer["status"], answer["attempts"]) == (200, "stopped", 0)
    await check_stopped(stack, visitor, second, "stop-queue")
    assert (await visitor.status(first))["status"] == (await visitor.status(third))["status"] == "running"
    await visitor.stop(first)
    assert (await visitor.wait_for(third, "logged", seconds=10))["text"] == "third"
    assert await chat_calls(stack, "#say never asked") == []


async def test_a_turn_that_has_ended_is_a_conflict_that_says_how(visitor: ChatClient):
    done = await visitor.answer("#say all of it")
    code, answer = await visitor.stop(done["turnId"])
    assert (code, answer["error"]["code"]) == (409, "turn_ended")
    assert "completed" in answer["error"]["message"]
    assert (answer["turn"]["status"], answer["turn"]["text"]) == ("completed", "all of it")
    after = await visitor.wait_for(done["turnId"], "logged")
    assert (after["status"], after["text"]) == ("completed", "all of it")


async def test_stopping_again_says_the_same(visitor: ChatClient):
    turn_id, _, _ = await visitor.start_turn(ENDLESS)
    await shown(visitor, turn_id, 20)
    answers = await asyncio.gather(*(visitor.stop(turn_id) for _ in range(5)))
    answers.append(await visitor.stop(turn_id))
    assert {code for code, _ in answers} == {200}
    outcomes = {(body["status"], body["text"], body["sha256"], body["endedAt"]) for _, body in answers}
    assert len(outcomes) == 1


async def test_closing_the_tab_is_not_stop(stack: RunningStack):
    """Nobody listens, nobody asks: the answer is written to its end."""
    async with ChatClient(stack.url) as visitor:
        turn_id, _, _ = await visitor.start_turn("#length 300\n#speed 100\n#first 0", "closed")
        await shown(visitor, turn_id, 20)
    (record,) = await read_records(stack.settings, {turn_id})
    assert (record["status"], len(record["content"])) == ("completed", 300)


async def test_the_202_says_where_to_stop(visitor: ChatClient):
    status, body = await visitor.post_turn({"prompt": ENDLESS})
    assert status == 202
    async with visitor.http.post(body["stopUrl"], json={}) as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "stopped")
