"""Turns over HTTP, on the whole stack: what a person asks, gets, and finds again."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.chat_calls import chat_calls
from tests.chat_client import ChatClient
from tests.log_reader import read_records
from tests.running_stack import ROOT, RunningStack

SCHEMA = json.loads((ROOT / "docs" / "log-record.schema.json").read_text())
MIXED = "👩‍👩‍👧‍👦 漢字かな مرحبا بالعالم 🇯🇵👍🏽 naïve café 𝒳"


@pytest.fixture
async def visitor(stack: RunningStack) -> AsyncIterator[ChatClient]:
    async with ChatClient(stack.url) as client:
        yield client


async def test_an_answer_is_the_same_on_screen_in_the_status_the_conversation_and_the_log(
    stack: RunningStack, visitor: ChatClient
):
    turn_id, _, _ = await visitor.start_turn(f"#say {MIXED}\n#split surrogates", "talk")
    status = await visitor.wait_for(turn_id, "logged")
    await asyncio.wait_for(visitor.ended[turn_id].wait(), 10)
    assert status["text"] == visitor.texts[turn_id] == MIXED
    assert status["length"] == len(MIXED.encode("utf-16-le")) // 2
    assert status["sha256"] == hashlib.sha256(MIXED.encode()).hexdigest()
    _, conversation = await visitor.get("/api/conversations/talk")
    assert [message["content"] for message in conversation["messages"]] == [f"#say {MIXED}\n#split surrogates", MIXED]
    (record,) = await read_records(stack.settings, {turn_id})
    assert record["content"] == MIXED
    assert set(record) - {"_id"} == set(SCHEMA["required"]) == set(SCHEMA["properties"])
    assert record["_id"] == f"{turn_id}.end"
    assert record["latency_ms"] == record["time_to_first_chunk_ms"] + record["streaming_duration_ms"]
    assert record["region"] != "unknown"
    assert record["request_id"]
    assert record["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("script", ["cjk", "rtl", "emoji", "mixed"])
async def test_a_long_answer_in_any_script_arrives_whole(stack: RunningStack, visitor: ChatClient, script: str):
    prompt = f"#length 12000\n#script {script}\n#speed max\n#first 0"
    turn_id, _, _ = await visitor.start_turn(prompt)
    status = await visitor.wait_for(turn_id, "logged")
    await asyncio.wait_for(visitor.ended[turn_id].wait(), 10)
    assert visitor.texts[turn_id] == status["text"]
    assert len(status["text"]) == 12000
    (record,) = await read_records(stack.settings, {turn_id})
    assert record["content"] == status["text"]


async def test_an_answer_of_100_kib_is_identical_everywhere(stack: RunningStack, visitor: ChatClient):
    turn_id, _, _ = await visitor.start_turn("#length 102400\n#speed max\n#first 0")
    status = await visitor.wait_for(turn_id, "logged")
    await asyncio.wait_for(visitor.ended[turn_id].wait(), 10)
    assert len(status["text"]) == 102400
    assert visitor.texts[turn_id] == status["text"]
    frames = (await visitor.frames(turn_id))["frames"]
    assert "".join(frame["text"] for frame in frames if frame["kind"] == "frame") == status["text"]
    (record,) = await read_records(stack.settings, {turn_id})
    assert record["content"] == status["text"]


async def test_a_hundred_posts_with_one_key_are_one_turn_and_one_model_call(stack: RunningStack, visitor: ChatClient):
    prompt = f"#say once\n#first 0\n#speed max {asyncio.get_running_loop().time()}"
    posts = [visitor.post_turn({"prompt": prompt}, "keys", key="the-key") for _ in range(100)]
    answers = await asyncio.gather(*posts)
    assert {status for status, _ in answers} == {202}
    (turn_id,) = {body["turnId"] for _, body in answers}
    await visitor.wait_for(turn_id, "logged")
    assert len(await read_records(stack.settings, {turn_id})) == 1
    _, conversation = await visitor.get("/api/conversations/keys")
    assert len(conversation["messages"]) == 2
    assert len(await chat_calls(stack, prompt)) == 1


async def test_one_key_for_another_request_is_a_conflict(visitor: ChatClient):
    assert (await visitor.post_turn({"prompt": "#say one"}, "reuse", key="k"))[0] == 202
    status, body = await visitor.post_turn({"prompt": "#say two"}, "reuse", key="k")
    assert (status, body["error"]["code"], body["error"]["field"]) == (409, "idempotency_key_reused", "Idempotency-Key")


async def test_the_second_turn_of_a_conversation_waits_for_the_first_and_knows_it(visitor: ChatClient):
    first, _, _ = await visitor.start_turn("#say slow\n#first 1", "order")
    second, _, _ = await visitor.start_turn("What did you see before?", "order")
    waiting = await visitor.status(second)
    assert (waiting["status"], waiting["phase"]) == ("running", "queued")
    done = await visitor.wait_for(second, "answered", "logged")
    earlier = await visitor.status(first)
    assert earlier["endedAt"] <= done["endedAt"]
    _, conversation = await visitor.get("/api/conversations/order")
    assert [message["turnId"] for message in conversation["messages"]] == [first, first, second, second]
    assert "2" in done["text"]  # the local model says how many messages it has seen


async def test_under_reject_a_second_turn_is_a_conflict_while_the_first_runs(visitor: ChatClient):
    first, _, _ = await visitor.start_turn("#say slow\n#first 1", "reject")
    status, body = await visitor.post_turn({"prompt": "#say now", "policy": "reject"}, "reject")
    assert (status, body["error"]["code"]) == (409, "turn_running")
    await visitor.wait_for(first, "answered", "logged")
    status, _ = await visitor.post_turn({"prompt": "#say now", "policy": "reject"}, "reject")
    assert status == 202


async def test_what_is_not_yours_does_not_exist(stack: RunningStack, visitor: ChatClient):
    turn_id, _, _ = await visitor.start_turn("#say secret", "mine")
    await visitor.wait_for(turn_id, "answered", "logged")
    async with ChatClient(stack.url) as stranger:
        for path in (f"/api/turns/{turn_id}", f"/api/turns/{turn_id}/frames", "/api/conversations/mine"):
            status, body = await stranger.get(path)
            assert (status, body["error"]["code"]) == (404, "not_found")
        assert stranger.messages == {}


async def test_a_rate_limited_turn_waits_as_it_is_told_and_then_completes(visitor: ChatClient):
    turn_id, _, _ = await visitor.start_turn("#say at last\n#fault 429 times=1 retry_after_ms=700")
    waiting = await visitor.wait_for(turn_id, "waiting", "answered", "logged")
    assert waiting["phase"] == "waiting"
    assert waiting["waitingUntil"]
    done = await visitor.wait_for(turn_id, "answered", "logged")
    assert (done["text"], done["attempts"], done["status"]) == ("at last", 2, "completed")
    kinds = [frame["kind"] for frame in (await visitor.frames(turn_id))["frames"]]
    assert "wait" in kinds


@pytest.mark.parametrize(
    "fault", ["500 times=1", "cut after=5 times=1", "end after=5 times=1", "error after=5 times=1"]
)
async def test_what_breaks_once_is_made_good_without_a_lost_or_doubled_character(visitor: ChatClient, fault: str):
    done = await visitor.answer(f"#length 200\n#speed 200\n#first 0\n#fault {fault}")
    assert (done["status"], done["length"], done["generation"]) == ("completed", 200, 1)
    assert done["attempts"] == 2


async def test_a_filtered_answer_says_so_and_keeps_what_was_shown(visitor: ChatClient):
    done = await visitor.answer("#length 400\n#speed max\n#first 0\n#fault filter after=10")
    assert (done["status"], done["error"]["code"]) == ("filtered", "content_filter")
    assert done["text"]


async def test_a_filtered_prompt_says_so(visitor: ChatClient):
    done = await visitor.answer("#fault filter prompt")
    assert (done["status"], done["error"]["code"], done["text"]) == ("filtered", "content_filter", "")
    assert done["error"]["message"]


async def test_a_model_that_differs_each_time_is_asked_to_continue(visitor: ChatClient):
    done = await visitor.answer("#length 300\n#speed 300\n#first 0\n#drift\n#fault cut after=20 times=1")
    assert (done["status"], done["generation"], done["recoveryRung"]) == ("completed", 1, 4)


async def test_a_status_that_did_not_change_is_not_sent_again(visitor: ChatClient):
    done = await visitor.answer("#say x")
    await visitor.wait_for(done["turnId"], "logged")
    async with visitor.http.get(f"/api/turns/{done['turnId']}") as answer:
        tag = answer.headers["ETag"]
    async with visitor.http.get(f"/api/turns/{done['turnId']}", headers={"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_frames_since_a_position_are_those_that_came_after(visitor: ChatClient):
    done = await visitor.answer("#length 300\n#speed 200\n#first 0")
    whole = await visitor.frames(done["turnId"])
    assert whole["ended"] is True
    rest = await visitor.frames(done["turnId"], whole["next"])
    assert (rest["frames"], rest["ended"]) == ([], True)
    status, body = await visitor.get(f"/api/turns/{done['turnId']}/frames?after={whole['next'] - 1}")
    assert (status, body["error"]["field"]) == (400, "after")
    status, _ = await visitor.get(f"/api/turns/{done['turnId']}/frames?after=999999")
    assert status == 400


async def test_prompts_and_secrets_are_in_no_log(stack: RunningStack, visitor: ChatClient):
    """Also not of a turn that fails, by whatever it fails."""
    marker = "unmistakable-7361"
    for prompt in (f"#say {marker}", f"{marker}\n#fault 401", f"#fault no-such-{marker}", f"#fault context {marker}"):
        done = await visitor.answer(prompt)
        await visitor.wait_for(done["turnId"], "logged")
        await instance_over(stack, done["turnId"])
    secret = stack.settings["SESSION_SECRET"]
    for path in Path(stack.state_dir, "logs").iterdir():
        text = path.read_text(errors="replace")
        assert marker not in text, path
        assert secret not in text, path


async def instance_over(stack: RunningStack, turn_id: str) -> None:
    """The turn's orchestration has finished, too: what it had to say is in the log."""
    url = f"{stack.url}/runtime/webhooks/durabletask/instances/{turn_id}"
    async with asyncio.timeout(20), aiohttp.ClientSession() as http:
        while True:
            async with http.get(url) as answer:
                if (await answer.json())["runtimeStatus"] in ("Completed", "Failed"):
                    return
            await asyncio.sleep(0.05)
