"""Server-sent events: the very bytes."""

import asyncio
import json
from typing import Any

from stand_in.azure_openai.server_sent_events import ChunkWriter
from tests.model_emulator import ModelEmulator

SAFE = (
    b'{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},'
    b'"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}'
)
ENVELOPE = (
    b'"created":1700000000,"id":"chatcmpl-1","model":"gpt-4o-mini-2024-07-18","object":"chat.completion.chunk",'
    b'"system_fingerprint":"fp_standin0"'
)


def writer(**changes: Any) -> ChunkWriter:
    settings = {"include_usage": False, "is_azure": True, "async_filter": False} | changes
    return ChunkWriter(completion_id="chatcmpl-1", created=1700000000, model="gpt-4o-mini-2024-07-18", **settings)


def test_a_text_chunk_has_the_members_and_the_order_of_azures():
    assert writer().text('say "東京"\n') == (
        b'data: {"choices":[{"content_filter_results":'
        + SAFE
        + b',"delta":{"content":"say \\"'
        + "東京".encode()
        + b'\\"\\n"},'
        b'"finish_reason":null,"index":0,"logprobs":null}],' + ENVELOPE + b"}\n\n"
    )


def test_usage_is_null_in_every_chunk_when_it_was_asked_for():
    asked = writer(include_usage=True)
    for event in (asked.prompt_filter(), asked.role(), asked.text("a"), asked.finish("stop"), asked.annotation(0, 1)):
        assert json.loads(event.removeprefix(b"data: "))["usage"] is None


def test_half_of_a_surrogate_pair_is_an_escape():
    assert b'{"content":"\\ud83d"}' in writer().text("\ud83d")
    assert b'{"content":"\xf0\x9f\x9a\x80"}' in writer().text("🚀")


def test_an_annotation_of_the_asynchronous_filter_has_no_delta_and_no_id():
    event = json.loads(writer(async_filter=True).annotation(44, 198).removeprefix(b"data: "))

    assert (event["id"], event["created"], event["model"]) == ("", 0, "")
    assert "delta" not in event["choices"][0]
    assert event["choices"][0]["content_filter_offsets"] == {"check_offset": 198, "start_offset": 44, "end_offset": 198}


async def raw_answers(emulator: ModelEmulator, *prompts: str) -> list[bytes]:
    """The bytes of several streamed answers over one connection, up to the end of each chunked body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
    answers = []
    for prompt in prompts:
        body = json.dumps({"stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
        writer.write(
            b"POST /openai/deployments/zero/chat/completions?api-version=2024-10-21 HTTP/1.1\r\nHost: x\r\n"
            b"api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (emulator.key.encode(), len(body), body)
        )
        answers.append(await reader.readuntil(b"\r\n0\r\n\r\n"))
    writer.close()
    await writer.wait_closed()
    return answers


async def test_each_event_is_an_http_chunk_and_the_body_ends_right_after_done(emulator: ModelEmulator):
    first, second = await raw_answers(emulator, "#say one two", "#say three")

    head, _, body = first.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body.endswith(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    events = []
    while body != b"0\r\n\r\n":
        size, _, body = body.partition(b"\r\n")
        events.append(body[: int(size, 16)])
        assert body[int(size, 16) :].startswith(b"\r\n")
        body = body[int(size, 16) + 2 :]
    assert len(events) == 6  # prompt filter, role, "one", " two", finish, [DONE]
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events)
    assert b'"content":"thr' in second


async def test_the_asynchronous_filter_annotates_late_and_between(emulator: ModelEmulator):
    await emulator.post("/_admin/speed", {"deployment": "zero", "async_filter": True})
    (answer,) = await raw_answers(emulator, "#length 450")

    events = [json.loads(line[6:]) for line in answer.split(b"\n") if line.startswith(b"data: {")]
    choices = [event["choices"][0] for event in events if event["choices"]]
    offsets = [choice["content_filter_offsets"] for choice in choices if "content_filter_offsets" in choice]
    finish = next(index for index, choice in enumerate(choices) if choice["finish_reason"] == "stop")
    assert [each["start_offset"] for each in offsets] == [0, *(each["end_offset"] for each in offsets[:-1])]
    assert offsets[-1]["end_offset"] == 450
    assert len(offsets) == 3
    assert "content_filter_offsets" in choices[finish + 1]  # one more after the stop chunk
    assert not any("content_filter_results" in choice for choice in choices if "delta" in choice)


async def test_a_split_emoji_arrives_in_two_deltas(emulator: ModelEmulator):
    (answer,) = await raw_answers(emulator, "#split surrogates\n#say a🚀")

    assert b'"content":"\\ud83d"' in answer
    assert b'"content":"\\ude80"' in answer


async def test_streaming_over_http_1_0_is_refused_by_name(emulator: ModelEmulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
    body = b'{"model":"zero","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    writer.write(
        b"POST /v1/chat/completions HTTP/1.0\r\nAuthorization: Bearer x\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert b"400 Bad Request" in answer
    assert b"HTTP/1.0" in answer.partition(b"\r\n\r\n")[2]
