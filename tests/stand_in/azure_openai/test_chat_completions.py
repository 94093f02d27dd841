"""Chat completions through the official client: what an app sees of an answer that goes well."""

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from openai import APIConnectionError, AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from stand_in.azure_openai.server import start_server
from tests.model_emulator import ModelEmulator


def asking(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "zero", "messages": [{"role": "user", "content": prompt}], **more}


async def collect(client: AsyncOpenAI, **arguments: Any) -> list[Any]:
    stream = await client.chat.completions.create(stream=True, **arguments)
    async with stream:
        return [chunk async for chunk in stream]


def text_of(chunks: list[Any]) -> str:
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    return "".join(choice.delta.content or "" for choice in choices if choice.delta)


async def test_a_streamed_answer_has_the_order_of_chunks_that_azure_sends(classic: AsyncAzureOpenAI):
    chunks = await collect(classic, **asking("#say Hello, 東京!", stream_options={"include_usage": True}))

    first, role, *texts, finish, usage = chunks
    assert first.choices == []
    assert first.id == ""
    assert first.prompt_filter_results[0]["content_filter_results"]["jailbreak"] == {
        "filtered": False,
        "detected": False,
    }
    assert (role.choices[0].delta.role, role.choices[0].delta.content) == ("assistant", "")
    assert text_of(texts) == "Hello, 東京!"
    assert len(texts) == 6
    assert all(chunk.choices[0].content_filter_results["violence"]["severity"] == "safe" for chunk in texts)
    assert finish.choices[0].finish_reason == "stop"
    assert finish.choices[0].delta.content is None
    assert usage.choices == []
    assert usage.usage.completion_tokens == 6
    assert usage.usage.total_tokens == usage.usage.prompt_tokens + 6
    assert {chunk.id for chunk in chunks[1:]} == {role.id}
    assert role.model == "gpt-4o-mini-2024-07-18"


async def test_usage_comes_only_when_asked_for(classic: AsyncAzureOpenAI):
    chunks = await collect(classic, **asking("#say Hi"))

    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_an_answer_that_is_not_streamed_says_the_same(classic: AsyncAzureOpenAI):
    whole = await classic.chat.completions.create(**asking("demo"))
    streamed = await collect(classic, **asking("demo"))

    assert whole.choices[0].message.content == text_of(streamed)
    assert whole.object == "chat.completion"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == sum(1 for chunk in streamed if text_of([chunk]))


async def test_the_v1_path_takes_the_deployment_from_the_body(v1: AsyncOpenAI, emulator: ModelEmulator):
    assert text_of(await collect(v1, **asking("#say Hi"))) == "Hi"

    seen = (await emulator.requests())[-1]
    assert (seen["path"], seen["deployment"], seen["api_version"]) == ("/openai/v1/chat/completions", "zero", None)


async def test_the_plain_path_sends_what_other_servers_send(plain: AsyncOpenAI):
    response = await plain.chat.completions.with_raw_response.create(stream=True, **asking("#say Hi"))
    chunks = [chunk async for chunk in response.parse()]

    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == "Hi"
    assert not any("content_filter_results" in (chunk.choices[0].model_extra or {}) for chunk in chunks)
    assert "x-ms-region" not in response.headers


async def test_the_synchronous_clients_work_too(emulator: ModelEmulator):
    def ask() -> list[str | None]:
        with (
            AzureOpenAI(azure_endpoint=emulator.url, api_key=emulator.key, api_version="2024-06-01") as classic,
            OpenAI(base_url=f"{emulator.url}/openai/v1/", api_key=emulator.key) as v1,
        ):
            clients: list[OpenAI] = [classic, v1]
            return [
                client.chat.completions.create(**asking("#say Hi")).choices[0].message.content for client in clients
            ]

    assert await asyncio.to_thread(ask) == ["Hi", "Hi"]


async def test_headers_tell_who_answered(classic: AsyncAzureOpenAI):
    response = await classic.chat.completions.with_raw_response.create(
        stream=True, extra_headers={"x-ms-client-request-id": "mine"}, **asking("#say Hi")
    )
    async with response.parse() as stream:
        async for _ in stream:
            pass

    headers = response.headers
    assert headers["apim-request-id"] == headers["x-request-id"] == response.request_id
    assert headers["x-ms-client-request-id"] == "mine"
    assert (headers["x-ms-region"], headers["x-ms-deployment-name"]) == ("Local", "zero")
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache, must-revalidate"
    assert int(headers["x-ratelimit-remaining-tokens"]) < int(headers["x-ratelimit-limit-tokens"])
    assert "content-length" not in headers


async def test_the_answer_ends_at_max_tokens_and_at_stop(classic: AsyncAzureOpenAI):
    short = await classic.chat.completions.create(**asking("#say a b c d e", max_tokens=3))
    stopped = await classic.chat.completions.create(**asking("#say a b c d e", stop=["d", " c"]))

    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("a b c", "length")
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("a b", "stop")


async def test_a_reasoning_model_pays_for_its_thoughts(classic: AsyncAzureOpenAI):
    arguments: dict[str, Any] = {
        "model": "o3-mini",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "#first 0 #speed max\n#say a b c"},
        ],
    }

    thought = await classic.chat.completions.create(**arguments, reasoning_effort="low", max_completion_tokens=66)

    assert thought.usage is not None
    assert thought.usage.completion_tokens_details is not None
    assert thought.usage.completion_tokens_details.reasoning_tokens == 64
    assert (thought.choices[0].message.content, thought.choices[0].finish_reason) == ("a b", "length")


async def test_content_may_be_a_list_of_text_parts(classic: AsyncAzureOpenAI):
    parts = [{"type": "text", "text": "#say "}, {"type": "text", "text": "Hi"}]
    answer = await classic.chat.completions.create(model="zero", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item,misc]

    assert answer.choices[0].message.content == "Hi"


async def test_an_answer_keeps_the_pace_that_was_ordered(classic: AsyncAzureOpenAI):
    started = time.monotonic()
    stream = await classic.chat.completions.create(stream=True, **asking("#first 0.2 #speed 50\n#repeat 20 a "))
    headers_at = time.monotonic() - started
    arrivals = []
    async with stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                arrivals.append(time.monotonic() - started)

    # 20 words are 20 or 40 tokens of text at 50 a second; a busy machine may be late, never early.
    assert headers_at < arrivals[0]
    assert arrivals[0] >= 0.2
    assert arrivals[-1] >= 0.2 + (len(arrivals) - 1) / 50 - 0.001
    assert len(set(arrivals)) == len(arrivals)


async def test_a_burst_holds_text_back_and_releases_it_together(classic: AsyncAzureOpenAI):
    stream = await classic.chat.completions.create(stream=True, **asking("#speed 100 #burst 0.2\n#repeat 30 ab"))
    arrivals: list[float] = []
    async with stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                arrivals.append(time.monotonic())

    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert max(gaps) > 0.1
    assert sorted(gaps)[len(gaps) // 2] < 0.05


async def test_a_client_that_leaves_is_noticed_at_once(classic: AsyncAzureOpenAI, emulator: ModelEmulator):
    stream = await classic.chat.completions.create(stream=True, **asking("#speed 20 #length 4000"))
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    left_at = time.time()
    await stream.close()

    seen = await emulator.last_request_when(lambda request: request["disconnected_at"] is not None)
    assert seen["disconnected_at"] - left_at < 2
    assert seen["ended_at"] is None
    assert seen["finish_reason"] is None
    assert 1 <= seen["tokens_sent"] < 100


async def test_a_client_that_leaves_after_the_end_did_not_leave_early(
    classic: AsyncAzureOpenAI, emulator: ModelEmulator
):
    await collect(classic, **asking("#say Hi"))
    await classic.close()

    seen = await emulator.last_request_when(lambda request: request["ended_at"] is not None)
    assert (seen["disconnected_at"], seen["finish_reason"], seen["tokens_sent"]) == (None, "stop", 1)


async def test_a_server_that_stops_breaks_its_streams_off_and_does_not_wait(tmp_path: Path):
    server = await start_server(port=0, state_dir=tmp_path)
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="x", max_retries=0) as client:
        stream = await client.chat.completions.create(stream=True, **asking("#speed 20 #length 4000"))
        started = time.monotonic()
        await server.stop()
        with pytest.raises(APIConnectionError):
            async for _ in stream:
                pass

    assert time.monotonic() - started < 3


async def test_sixty_four_answers_at_once_all_come_whole(classic: AsyncAzureOpenAI):
    prompt = asking("#length 240 #speed 100 #first 0")
    expected = (await classic.chat.completions.create(**prompt)).choices[0].message.content

    answers = await asyncio.gather(*(collect(classic, **prompt) for _ in range(64)))

    assert {text_of(chunks) for chunks in answers} == {expected}


async def test_a_reader_that_is_slow_gets_everything(emulator: ModelEmulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port, limit=4096)
    body = json.dumps(asking("#length 30000", stream=True)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await emulator.last_request_when(lambda request: request["tokens_sent"] > 0)
    received = b""
    while b"[DONE]" not in received[-40:]:
        received += await reader.read(4096)
    writer.close()
    await writer.wait_closed()

    assert received.count(b'"content":') > 5000


@pytest.mark.parametrize("deployment", ["gpt-4o-mini", "gpt-4o", "o3-mini", "fast", "zero", "slow"])
async def test_the_deployments_are_listed(
    deployment: str, v1: AsyncOpenAI, classic: AsyncAzureOpenAI, plain: AsyncOpenAI
):
    for client in (v1, classic, plain):
        assert deployment in [model.id async for model in client.models.list()]
