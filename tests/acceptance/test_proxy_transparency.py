"""Transparency: what a client sees through the proxy is what it would see of the service, to the byte.

Each call is made twice, once at the model emulator itself and once through the proxy, and everything is compared:
status, headers, bytes and their order; with the official SDK what it returns or raises. `docs/proxy.md` lists what may
differ, and the last tests of this file are those differences, each by its name.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import aiohttp
import openai
import pytest
from pydantic import BaseModel

from tests.acceptance.proxy_doors import API_VERSION, CHAT, JSON, Door, RawAnswer, forget, knock, masked
from tests.running_stack import RunningStack

V1 = "/openai/v1/chat/completions"
RESPONSES = "/openai/v1/responses"
DATED_RESPONSES = "/openai/responses?api-version=2025-04-01-preview"
EMBEDDINGS = f"/openai/deployments/zero/embeddings?api-version={API_VERSION}"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
ANSWER_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
            "required": ["name", "people"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def doors(stack: RunningStack) -> tuple[Door, Door]:
    """The service's own, and the proxy's."""
    model, settings = stack.address("model"), stack.settings
    direct = Door(settings["AZURE_OPENAI_ENDPOINT"].rstrip("/"), settings["AZURE_OPENAI_KEY"], model)
    return direct, Door(stack.url, settings["PROXY_KEYS"], model)


def chat(prompt: str, **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": prompt}], **more}).encode()


async def both(doors: Iterable[Door], path: str, body: bytes, **headers: str) -> tuple[RawAnswer, RawAnswer]:
    answers = []
    for door in doors:
        await forget(door.model_url)
        answers.append(await knock(door, path, body, **headers))
    return answers[0], answers[1]


SAY = "#say Kirschblüten, 桜 and 🌸 in one line"
STREAM = {"stream": True}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
NO_USAGE = {"stream": True, "stream_options": {"include_usage": False}}
TOOL = {"tools": [WEATHER]}
CALLS: dict[str, tuple[str, bytes]] = {
    "whole": (CHAT, chat(SAY)),
    "whole, v1": (V1, chat(SAY, model="zero")),
    "whole, a model in the body too": (CHAT, chat(SAY, model="another")),
    "stream": (CHAT, chat(SAY, **STREAM)),
    "stream, v1": (V1, chat(SAY, model="zero", **STREAM)),
    "stream that asks for usage": (CHAT, chat(SAY, **USAGE)),
    "stream that declines usage": (CHAT, chat(SAY, **NO_USAGE)),
    "stream, options null": (CHAT, chat(SAY, stream=True, stream_options=None)),
    "stream, options empty": (CHAT, chat(SAY, stream=True, stream_options={})),
    "stream of an old version": (CHAT.replace(API_VERSION, "2024-02-01"), chat(SAY, **STREAM)),
    "stream of some length": (CHAT, chat("#length 20000 #script mixed", **STREAM)),
    "surrogates in two deltas": (CHAT, chat("#say 🌸 and 🌊 #split surrogates", **STREAM)),
    "two answers": (CHAT, chat(SAY, n=2)),
    "two answers, stream": (CHAT, chat(SAY, n=2, **STREAM)),
    "a tool": (CHAT, chat('#tool weather {"place": "Osaka"}', **TOOL)),
    "a tool, stream": (CHAT, chat('#tool weather {"place": "Osaka"}', **TOOL, **STREAM)),
    "structured": (CHAT, chat("Say a city", response_format=ANSWER_FORMAT)),
    "structured, stream": (CHAT, chat("Say a city", response_format=ANSWER_FORMAT, **STREAM)),
    "filtered answer": (CHAT, chat("#fault filter after=3 " + SAY)),
    "filtered answer, stream": (CHAT, chat("#fault filter after=3 " + SAY, **STREAM)),
    "asynchronous filter, stream": (CHAT, chat("#fault async-filter after=5 " + SAY, **STREAM)),
    "ends early, stream": (CHAT, chat("#fault end after=3 " + SAY, **STREAM)),
    "error event, stream": (CHAT, chat("#fault error after=3 " + SAY, **STREAM)),
    "embedding": (EMBEDDINGS, json.dumps({"input": ["one", "two"]}).encode()),
    "embedding, base64": (EMBEDDINGS, json.dumps({"input": "one", "encoding_format": "base64"}).encode()),
    "embedding, v1": ("/openai/v1/embeddings", json.dumps({"input": "one", "model": "zero"}).encode()),
    "response": (RESPONSES, json.dumps({"model": "zero", "input": SAY}).encode()),
    "response, stream": (RESPONSES, json.dumps({"model": "zero", "input": SAY, "stream": True}).encode()),
    "response, dated": (DATED_RESPONSES, json.dumps({"model": "zero", "input": SAY}).encode()),
    "prompt filtered": (CHAT, chat("#fault filter prompt")),
    "prompt filtered, stream": (CHAT, chat("#fault filter prompt", **STREAM)),
    "context length": (CHAT, chat("#fault context")),
    "429": (CHAT, chat("#fault 429 times=always retry_after=7 retry_after_ms=6900 reset_tokens=7s")),
    "429, stream": (CHAT, chat("#fault 429 times=always retry_after=7", **STREAM)),
    "401 of the service": (CHAT, chat("#fault 401")),
    "404": (CHAT, chat("#fault 404")),
    "500": (CHAT, chat("#fault 500 times=always")),
    "503": (CHAT, chat("#fault 503 times=always retry_after=3")),
    "unknown deployment": (CHAT.replace("zero", "nobody"), chat(SAY)),
    "unknown model, v1": (V1, chat(SAY, model="nobody")),
    "no model, v1": (V1, chat(SAY)),
    "unknown version": (CHAT.replace(API_VERSION, "2020-01-01"), chat(SAY)),
    "no messages": (CHAT, b"{}"),
    "no messages, stream": (CHAT, b'{"stream":true}'),
    "options that are none": (CHAT, chat(SAY, stream=True, stream_options=5)),
    "usage that is none": (CHAT, chat(SAY, stream=True, stream_options={"include_usage": "yes"})),
    "an unknown field": (CHAT, chat(SAY, colour="red")),
    "spaces and escapes": (CHAT, b'{ "messages" : [\n{"role":"user", "content":"#say \\u685c"} ] , "stream" : true }'),
}


@pytest.mark.parametrize("name", CALLS)
async def test_bytes_status_and_headers_are_the_services(doors: tuple[Door, Door], name: str):
    path, body = CALLS[name]

    direct, proxied = await both(doors, path, body, **{"x-ms-client-request-id": "mine"})

    assert proxied.status == direct.status
    assert proxied.events == direct.events
    assert proxied.headers == direct.headers


async def test_the_cases_are_what_they_say(doors: tuple[Door, Door]):
    """Were all of them the same refusal, comparing would tell nothing."""
    statuses = {name: (await knock(doors[1], *CALLS[name])).status for name in ("whole", "stream", "embedding")}
    assert set(statuses.values()) == {200}
    limited = await knock(doors[1], *CALLS["429"])
    assert (limited.status, limited.headers["retry-after"]) == (429, "7")
    assert limited.headers["retry-after-ms"] == "6900"
    asked = await knock(doors[1], *CALLS["stream that asks for usage"])
    assert b'"usage":null' in asked.body.replace(b" ", b"")
    assert b'"usage"' not in (await knock(doors[1], *CALLS["stream"])).body
    assert b"content_filter_offsets" in (await knock(doors[1], *CALLS["asynchronous filter, stream"])).body


async def test_the_service_is_given_the_callers_bytes(doors: tuple[Door, Door]):
    """Spaces, escapes, order, a name that stands twice: nothing is written anew."""
    body = b'{"messages":[{"content":"#say \\u685c","role":"user"}] ,\t"temperature":1.00,"temperature" : 0.50 }'

    await both(doors, CHAT, body)

    async with aiohttp.ClientSession() as http, http.get(f"{doors[0].model_url}/_admin/requests?bodies=1") as answer:
        (seen,) = (await answer.json())["requests"]
    assert seen["body"].encode() == body
    assert seen["api_version"] == API_VERSION


async def test_a_stream_asks_for_usage_and_is_otherwise_the_callers(doors: tuple[Door, Door]):
    body = chat(SAY, **STREAM)

    await both(doors, CHAT, body)

    async with aiohttp.ClientSession() as http, http.get(f"{doors[0].model_url}/_admin/requests?bodies=1") as answer:
        (seen,) = (await answer.json())["requests"]
    assert seen["body"].encode() == body[:-1] + b',"stream_options":{"include_usage":true}}'


async def test_pieces_arrive_when_they_are_said(doors: tuple[Door, Door]):
    """Not all at the end: the second event is there while the service still speaks."""
    body = chat("#speed 40 #first 0 #repeat 60 word ", **STREAM)
    async with aiohttp.ClientSession() as http:
        headers = JSON | {"api-key": doors[1].key}
        async with http.post(doors[1].url + CHAT, data=body, headers=headers) as answer:
            received = b""
            while received.count(b"data: ") < 4:
                received += await answer.content.readany()
            async with http.get(f"{doors[0].model_url}/_admin/requests") as seen:
                last = (await seen.json())["requests"][-1]
    assert last["ended_at"] is None
    assert b"[DONE]" not in received


# The official SDK: each function is one typical call, and returns what can be compared.
def dumped(value: BaseModel) -> Any:
    return json.loads(masked(json.dumps(value.model_dump(mode="json")).encode()))


def ask(client: openai.OpenAI, prompt: str, **more: Any) -> Any:
    return client.chat.completions.create(model="zero", messages=[{"role": "user", "content": prompt}], **more)


def whole(client: openai.OpenAI) -> Any:
    return dumped(ask(client, SAY))


def streamed(client: openai.OpenAI) -> Any:
    return [dumped(chunk) for chunk in ask(client, SAY, stream=True)]


def streamed_with_usage(client: openai.OpenAI) -> Any:
    return [dumped(chunk) for chunk in ask(client, SAY, **USAGE)]


def two_answers(client: openai.OpenAI) -> Any:
    return [dumped(chunk) for chunk in ask(client, SAY, n=2, stream=True)]


def tool(client: openai.OpenAI) -> Any:
    return dumped(ask(client, '#tool weather {"place": "Osaka"}', tools=[WEATHER]))


def streamed_tool(client: openai.OpenAI) -> Any:
    return [dumped(chunk) for chunk in ask(client, '#tool weather {"place": "Osaka"}', tools=[WEATHER], stream=True)]


class City(BaseModel):
    name: str
    people: int


def parsed(client: openai.OpenAI) -> Any:
    messages: Any = [{"role": "user", "content": "Say a city"}]
    found = client.chat.completions.parse(model="zero", messages=messages, response_format=City)
    assert found.choices[0].message.parsed is not None
    return dumped(found.choices[0].message.parsed)


def embedding(client: openai.OpenAI) -> Any:
    return dumped(client.embeddings.create(model="zero", input=["one", "two"]))


def raw_headers(client: openai.OpenAI) -> Any:
    raw = client.chat.completions.with_raw_response.create(model="zero", messages=[{"role": "user", "content": SAY}])
    names = ("x-ms-region", "x-ratelimit-limit-tokens", "x-ms-deployment-name", "content-type")
    return raw.status_code, [raw.headers.get(name) for name in names], raw.request_id is not None


def unknown_field(client: openai.OpenAI) -> Any:
    return dumped(ask(client, SAY, extra_body={"user_security_context": {"application_name": "x"}}))


def failing(fault: str, **more: Any) -> Callable[[openai.OpenAI], Any]:
    def call(client: openai.OpenAI) -> Any:
        answer = ask(client, fault, **more)
        return list(answer) if more.get("stream") else answer

    call.__name__ = fault
    return call


def retried(client: openai.OpenAI) -> Any:
    return dumped(ask(client.with_options(max_retries=2), "#fault 429 times=2 retry_after_ms=10\n#say at last"))


def too_slow(client: openai.OpenAI) -> Any:
    return ask(client.with_options(timeout=0.3), "#first 5 #say late")


def outcome(call: Callable[[openai.OpenAI], Any], client: openai.OpenAI) -> Any:
    """What the call returns, or all that its exception tells."""
    try:
        return call(client)
    except openai.APIStatusError as error:
        headers = {name: error.response.headers.get(name) for name in ("retry-after", "retry-after-ms")}
        return type(error), error.status_code, error.code, error.param, error.message, error.body, headers
    except openai.APIError as error:
        return type(error), error.message, error.body


SDK_CALLS = [
    whole,
    streamed,
    streamed_with_usage,
    two_answers,
    tool,
    streamed_tool,
    parsed,
    embedding,
    raw_headers,
    unknown_field,
    retried,
    too_slow,
    failing("#fault 400"),
    failing("#fault 401"),
    failing("#fault 404"),
    failing("#fault 429 times=always retry_after=9 retry_after_ms=8700"),
    failing("#fault 500 times=always"),
    failing("#fault 503 times=always", stream=True),
    failing("#fault filter prompt"),
    failing("#fault context"),
    failing("#fault error after=3", stream=True),
]


@pytest.mark.parametrize("call", SDK_CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("kind", ["azure", "plain"])
async def test_the_official_sdk_returns_and_raises_the_same(
    doors: tuple[Door, Door], kind: str, call: Callable[[openai.OpenAI], Any]
):
    def made_at(door: Door) -> Any:
        with getattr(door, kind)() as client:
            return outcome(call, client)

    results = []
    for door in doors:
        await forget(door.model_url)
        results.append(await asyncio.to_thread(made_at, door))

    assert results[1] == results[0]


def response(client: openai.OpenAI) -> Any:
    return dumped(client.responses.create(model="zero", input=SAY))


def streamed_response(client: openai.OpenAI) -> Any:
    return [dumped(event) for event in client.responses.create(model="zero", input=SAY, stream=True)]


@pytest.mark.parametrize("call", [response, streamed_response], ids=lambda call: call.__name__)
@pytest.mark.parametrize(("kind", "options"), [("azure", {"api_version": "2025-04-01-preview"}), ("plain", {})])
async def test_the_official_sdk_gets_the_same_responses(
    doors: tuple[Door, Door], kind: str, options: dict[str, str], call: Callable[[openai.OpenAI], Any]
):
    def made_at(door: Door) -> Any:
        with getattr(door, kind)(**options) as client:
            return call(client)

    direct, proxied = [await asyncio.to_thread(made_at, door) for door in doors]

    assert proxied == direct


async def test_the_asynchronous_sdk_streams_the_same(doors: tuple[Door, Door]):
    async def chunks(door: Door) -> AsyncIterator[Any]:
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=door.url, api_key=door.key, api_version=API_VERSION, max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                model="zero", messages=[{"role": "user", "content": SAY}], stream=True
            )
            async for chunk in stream:
                yield dumped(chunk)

    direct, proxied = [[chunk async for chunk in chunks(door)] for door in doors]

    assert len(direct) > 3
    assert proxied == direct


# What may differ, as docs/proxy.md says.
async def test_a_service_that_breaks_off_is_an_error_event_and_no_done(doors: tuple[Door, Door]):
    """Directly, the connection is reset. Through the proxy what was said is there, then the error says what became of
    the rest; the SDK raises APIError either way."""
    proxied = await knock(doors[1], CHAT, chat("#fault cut after=3 " + SAY, **STREAM))

    assert proxied.status == 200
    assert json.loads(proxied.events[-2].removeprefix(b"data: "))["error"]["code"] == "stream_cut"
    assert b"[DONE]" not in proxied.body
    assert b"Kirsch" in proxied.body


async def test_a_service_that_does_not_answer_is_a_502_and_not_a_lost_connection(doors: tuple[Door, Door]):
    proxied = await knock(doors[1], CHAT, chat("#fault refuse times=always"))
    assert (proxied.status, json.loads(proxied.body)["error"]["code"]) == (502, "BadGateway")

    broken_off = await knock(doors[1], CHAT, chat("#fault cut times=always"))
    assert (broken_off.status, json.loads(broken_off.body)["error"]["code"]) == (502, "BadGateway")
