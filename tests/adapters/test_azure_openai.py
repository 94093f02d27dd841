"""The model adapter: what the emulator and hand-made servers send becomes chunks or one failure."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.azure_openai import TOKEN_SCOPE, ModelConnection, OpenAIChatModel
from chat.completion import Chunk, CompletionRequest, Message
from chat.errors import MissingSetting, ModelFailure
from chat.failure_policy import FailureClass
from tests.model_emulator import ModelEmulator, running_emulator


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[ModelEmulator]:
    async with running_emulator(tmp_path) as emulator:
        yield emulator


@asynccontextmanager
async def connected(connection: ModelConnection) -> AsyncIterator[OpenAIChatModel]:
    model = OpenAIChatModel(connection)
    try:
        yield model
    finally:
        await model.close()


@pytest.fixture
async def model(emulator: ModelEmulator) -> AsyncIterator[OpenAIChatModel]:
    async with connected(ModelConnection(endpoint=emulator.url, key=emulator.key)) as model:
        yield model


def asking(prompt: str, deployment: str = "zero", **more: Any) -> CompletionRequest:
    return CompletionRequest((Message("user", prompt),), deployment, **more)


async def answer(model: OpenAIChatModel, request: CompletionRequest) -> list[Chunk]:
    async with model.stream(request) as stream:
        return [chunk async for chunk in stream]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def failure_of(model: OpenAIChatModel, request: CompletionRequest) -> ModelFailure:
    with pytest.raises(ModelFailure) as failed:
        await answer(model, request)
    return failed.value


async def last_body(emulator: ModelEmulator) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((await emulator.requests(bodies=True))[-1]["body"])
    return body


async def test_an_answer_arrives_whole_with_who_gave_it(model: OpenAIChatModel, emulator: ModelEmulator):
    async with model.stream(asking("#say Hello, 東京 🚀")) as stream:
        upstream = stream.upstream
        chunks = [chunk async for chunk in stream]

    seen = (await emulator.requests())[-1]
    assert text_of(chunks) == "Hello, 東京 🚀"
    assert (upstream.deployment, upstream.region, upstream.api_version) == ("zero", "Local", "v1")
    assert upstream.request_id == seen["request_id"]
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert chunks[0].prompt_filter is not None
    assert chunks[1].response_id is not None
    assert (chunks[1].response_id or "").startswith("chatcmpl-")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage["total_tokens"] > 0
    assert all(chunk != Chunk() for chunk in chunks)
    assert not any(chunk.content_filter for chunk in chunks)


@pytest.mark.parametrize("form", ["v1", "classic", "old", "plain"])
async def test_each_form_of_connection_calls_its_path(form: str, emulator: ModelEmulator):
    connection, path, version = {
        "v1": (ModelConnection(emulator.url, emulator.key, "v1"), "/openai/v1/chat/completions", "v1"),
        "classic": (
            ModelConnection(emulator.url + "/", emulator.key, "2024-10-21"),
            "/openai/deployments/zero/chat/completions",
            "2024-10-21",
        ),
        "old": (
            ModelConnection(emulator.url, emulator.key, "2024-06-01"),
            "/openai/deployments/zero/chat/completions",
            "2024-06-01",
        ),
        "plain": (
            ModelConnection("https://unused.invalid", base_url=f"{emulator.url}/v1"),
            "/v1/chat/completions",
            None,
        ),
    }[form]
    async with connected(connection) as model, model.stream(asking("#say Hi")) as stream:
        chunks = [chunk async for chunk in stream]

    assert text_of(chunks) == "Hi"
    assert stream.upstream.api_version == version
    assert stream.upstream.region == ("unknown" if form == "plain" else "Local")
    assert (await emulator.requests())[-1]["path"] == path
    assert ("stream_options" in await last_body(emulator)) == (form != "old")
    assert any(chunk.usage for chunk in chunks) == (form != "old")


async def test_only_what_was_set_is_sent(model: OpenAIChatModel, emulator: ModelEmulator):
    await answer(model, asking("#say Hi"))
    bare = await last_body(emulator)
    await answer(model, asking("#say Hi", temperature=0.0, top_p=0.9, max_tokens=5))
    full = await last_body(emulator)

    assert set(bare) == {"messages", "model", "stream", "stream_options"}
    assert (full["temperature"], full["top_p"], full["max_tokens"]) == (0.0, 0.9, 5)


async def test_half_an_emoji_in_a_prompt_does_not_keep_it_from_being_sent(
    model: OpenAIChatModel, emulator: ModelEmulator
):
    await answer(model, asking("pair \ud83d\ude80, half \ud83d"))

    assert (await last_body(emulator))["messages"][0]["content"] == "pair 🚀, half \ufffd"


async def test_a_reasoning_model_gets_its_own_parameters(model: OpenAIChatModel, emulator: ModelEmulator):
    request = asking(
        "#first 0 #speed max\n#say Hi", "o3-mini", temperature=1, top_p=1, max_tokens=900, is_reasoning_model=True
    )

    assert text_of(await answer(model, request)) == "Hi"
    body = await last_body(emulator)
    assert body["max_completion_tokens"] == 900
    assert not {"max_tokens", "temperature", "top_p"} & set(body)


class Credential:
    """Hands out a token, or raises."""

    def __init__(self, token: str | Exception) -> None:
        self._token = token
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str) -> "Credential":
        self.scopes += scopes
        return self

    @property
    def token(self) -> str:
        if isinstance(self._token, Exception):
            raise self._token
        return self._token


@pytest.mark.parametrize("api_version", [None, "2024-10-21"])
async def test_an_identity_is_asked_for_a_token_for_each_call(api_version: str | None, emulator: ModelEmulator):
    credential = Credential(emulator.key)
    async with connected(ModelConnection(emulator.url, None, api_version, credential=credential)) as model:
        for _ in range(2):
            assert text_of(await answer(model, asking("#say Hi"))) == "Hi"

    assert credential.scopes == [TOKEN_SCOPE, TOKEN_SCOPE]


@pytest.mark.parametrize("api_version", [None, "2024-10-21"])
async def test_an_identity_without_a_token_is_a_failure_by_name(api_version: str | None, emulator: ModelEmulator):
    credential = Credential(RuntimeError("no identity endpoint"))
    async with connected(ModelConnection(emulator.url, None, api_version, credential=credential)) as model:
        failure = await failure_of(model, asking("Hi"))

    assert (failure.failure_class, failure.code) == (FailureClass.TRANSIENT, "no_token")
    assert "managed identity" in failure.message


def test_a_connection_without_address_or_key_names_the_setting_and_shows_no_key():
    with pytest.raises(MissingSetting) as no_address:
        ModelConnection(key="k")
    with pytest.raises(MissingSetting) as no_key:
        ModelConnection(endpoint="https://x.invalid")

    assert (no_address.value.name, no_key.value.name) == ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_KEY")
    assert "sesame" not in repr(ModelConnection(endpoint="https://x.invalid", key="sesame"))


@pytest.mark.parametrize(
    ("prompt", "failure_class", "code", "status"),
    [
        ("#fault 429 retry_after_ms=300", FailureClass.RATE_LIMITED, "429", 429),
        ("#fault 408", FailureClass.TRANSIENT, "Timeout", 408),
        ("#fault 500", FailureClass.TRANSIENT, "InternalServerError", 500),
        ("#fault 503", FailureClass.TRANSIENT, "ServiceUnavailable", 503),
        ("#fault 401", FailureClass.REFUSED, "PermissionDenied", 401),
        ("#fault 403", FailureClass.REFUSED, "403", 403),
        ("#fault 404", FailureClass.REFUSED, "DeploymentNotFound", 404),
        ("#fault 422", FailureClass.INVALID, "unprocessable", 422),
        ("#fault filter prompt", FailureClass.FILTERED, "content_filter", 400),
        ("#fault context", FailureClass.TOO_LONG, "context_length_exceeded", 400),
        ("#fault cut after=2", FailureClass.CUT, "connection_lost", None),
        ("#fault end after=2", FailureClass.CUT, "stream_ended_early", None),
        ("#fault error after=2", FailureClass.TRANSIENT, "server_error", None),
    ],
)
async def test_each_fault_of_the_service_is_one_failure_and_one_request(
    prompt: str,
    failure_class: FailureClass,
    code: str,
    status: int | None,
    model: OpenAIChatModel,
    emulator: ModelEmulator,
):
    failure = await failure_of(model, asking(prompt))

    assert (failure.failure_class, failure.code, failure.http_status) == (failure_class, code, status)
    assert failure.retry_after == (0.3 if status == 429 else None)
    assert ("content_filter" in failure.details) == (failure_class is FailureClass.FILTERED)
    assert len(await emulator.requests()) == 1


@pytest.mark.parametrize(
    ("kind", "failure_class"),
    [
        ("cut", FailureClass.CUT),
        ("end", FailureClass.CUT),
        ("error", FailureClass.TRANSIENT),
        ("stall", FailureClass.STALLED),
    ],
)
async def test_what_came_before_a_break_was_delivered(kind: str, failure_class: FailureClass, emulator: ModelEmulator):
    received: list[Chunk] = []

    async def ask(model: OpenAIChatModel) -> None:
        async with model.stream(asking(f"#fault {kind} after=3\nHi")) as stream:
            async for chunk in stream:
                received.append(chunk)

    async with connected(ModelConnection(emulator.url, emulator.key, read_timeout=0.3)) as model:
        with pytest.raises(ModelFailure) as failed:
            await ask(model)

    assert text_of(received) == "Hello! I"
    assert failed.value.failure_class is failure_class


async def test_a_silent_service_is_stalled_and_a_reasoning_model_may_be_silent_for_longer(emulator: ModelEmulator):
    connection = ModelConnection(emulator.url, emulator.key, read_timeout=0.2, reasoning_read_timeout=20)
    async with connected(connection) as model:
        failure = await failure_of(model, asking("#fault hang"))
        patient = await answer(model, asking("#first 0.6\n#say Hi", "o3-mini", is_reasoning_model=True))

    assert (failure.failure_class, failure.code) == (FailureClass.STALLED, "read_timeout")
    assert text_of(patient) == "Hi"


async def test_a_service_that_is_not_there_is_transient():
    async with connected(ModelConnection("http://127.0.0.1:9", "k")) as model:
        failure = await failure_of(model, asking("Hi"))

    assert (failure.failure_class, failure.code) == (FailureClass.TRANSIENT, "connection_lost")
    assert failure.message == "No connection to the model service: ConnectionRefusedError."


@pytest.mark.parametrize("fault", ["filter", "async-filter"])
async def test_a_filtered_answer_is_a_finish_reason_and_not_a_failure(fault: str, model: OpenAIChatModel):
    chunks = await answer(model, asking(f"#fault {fault} after=3\nHi"))

    last = next(chunk for chunk in chunks if chunk.finish_reason)
    assert text_of(chunks) == "Hello! I"
    assert last.finish_reason == "content_filter"
    assert last.content_filter == {"violence": {"filtered": True, "severity": "medium"}}
    expected = {"check_offset": 8, "start_offset": 0, "end_offset": 8} if fault == "async-filter" else None
    assert last.content_filter_offsets == expected


async def test_annotations_that_find_nothing_are_passed_over(model: OpenAIChatModel, emulator: ModelEmulator):
    await emulator.post("/_admin/speed", {"async_filter": True})

    chunks = await answer(model, asking("#length 900"))

    assert len(text_of(chunks)) == 900
    assert not any(chunk.content_filter or chunk.content_filter_offsets for chunk in chunks)


async def test_half_an_emoji_is_passed_on_as_it_is(model: OpenAIChatModel):
    chunks = await answer(model, asking("#split surrogates\n#say a🚀"))

    assert [chunk.text for chunk in chunks if chunk.text] == ["a", "\ud83d", "\ude80"]


async def test_leaving_the_context_closes_the_stream_upstream_at_once(model: OpenAIChatModel, emulator: ModelEmulator):
    async with model.stream(asking("#speed 20 #length 4000")) as stream:
        async for chunk in stream:
            if chunk.text:
                break

    seen = await emulator.last_request_when(lambda request: request["disconnected_at"] is not None)
    assert seen["tokens_sent"] < 100


async def test_cancelling_closes_the_stream_upstream_at_once(model: OpenAIChatModel, emulator: ModelEmulator):
    started = asyncio.Event()

    async def run() -> None:
        async with model.stream(asking("#speed 20 #length 4000")) as stream:
            async for chunk in stream:
                if chunk.text:
                    started.set()

    task = asyncio.create_task(run())
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await emulator.last_request_when(lambda request: request["disconnected_at"] is not None)


async def test_a_connection_is_used_again_for_the_next_answer(model: OpenAIChatModel, emulator: ModelEmulator):
    for prompt in ("#say one", "#say two", "#fault 500", "#say three"):
        if prompt.startswith("#fault"):
            await failure_of(model, asking(prompt))
        else:
            await answer(model, asking(prompt))

    assert len({request["peer"] for request in await emulator.requests()}) == 1


async def test_many_answers_at_once_are_kept_apart(model: OpenAIChatModel):
    prompts = [f"#speed 200 #first 0\n#repeat 20 {number}-" for number in range(40)]

    answers = await asyncio.gather(*(answer(model, asking(prompt)) for prompt in prompts))

    assert [text_of(chunks) for chunks in answers] == [f"{number}-" * 20 for number in range(40)]


Serve = Callable[[bytes], Awaitable[OpenAIChatModel]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A model behind which a server sends these very bytes to every call, then closes."""
    servers: list[asyncio.Server] = []
    models: list[OpenAIChatModel] = []

    async def start(response: bytes) -> OpenAIChatModel:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(response)
            writer.close()
            await writer.wait_closed()

        servers.append(await asyncio.start_server(respond, "127.0.0.1", 0))
        port = servers[-1].sockets[0].getsockname()[1]
        models.append(OpenAIChatModel(ModelConnection(base_url=f"http://127.0.0.1:{port}/v1")))
        return models[-1]

    yield start
    for model in models:
        await model.close()
    for server in servers:
        server.close()
        await server.wait_closed()


OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HI = b'data: {"id":"c1","choices":[{"delta":{"content":"Hi"}}]}\n\n'
STOP = b'data: {"id":"c1","choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


@pytest.mark.parametrize(
    "body",
    [
        HI + STOP + b"data: [DONE]\n\n",
        HI + STOP,  # no [DONE]: a finish_reason is enough
        HI + STOP.rstrip(b"\n"),
        (HI + STOP).replace(b"\n", b"\r\n"),
        b": keep-alive\n\n" + HI + b'data: {"choices":null}\n\ndata: {"choices":[{"delta":null}]}\n\n' + STOP,
        HI + b'data: {"choices":[{"delta":{"content":null}}]}\n\nevent: x\nid: 7\n\n' + STOP,
    ],
)
async def test_the_streams_of_other_servers_are_read_too(body: bytes, serve: Serve):
    assert text_of(await answer(await serve(OK_HEAD + body), asking("Hi"))) == "Hi"


@pytest.mark.parametrize(
    ("response", "failure_class", "code"),
    [
        (OK_HEAD + HI, FailureClass.CUT, "stream_ended_early"),
        (OK_HEAD + HI + b"data: [DONE]\n\n", FailureClass.CUT, "stream_ended_early"),
        (OK_HEAD, FailureClass.CUT, "stream_ended_early"),
        (OK_HEAD + b"data: {oops}\n\n", FailureClass.TRANSIENT, "bad_event"),
        (OK_HEAD + HI + b'data: {"error":{"code":"content_filter"}}\n\n', FailureClass.FILTERED, "content_filter"),
        (b"garbage\r\n\r\n", FailureClass.TRANSIENT, "connection_lost"),
        (b"", FailureClass.TRANSIENT, "connection_lost"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", FailureClass.TRANSIENT, "502"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            FailureClass.REFUSED,
            "not_a_stream",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:", FailureClass.CUT, "connection_lost"),
    ],
)
async def test_what_is_no_whole_answer_is_a_failure(
    response: bytes, failure_class: FailureClass, code: str, serve: Serve
):
    failure = await failure_of(await serve(response), asking("Hi"))

    assert (failure.failure_class, failure.code) == (failure_class, code)


async def test_a_break_after_a_whole_answer_is_no_failure(serve: Serve, caplog: pytest.LogCaptureFixture):
    chunk = HI + STOP
    broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n5\r\n" % (len(chunk), chunk)

    with caplog.at_level(logging.WARNING, "adapters.azure_openai"):
        assert text_of(await answer(await serve(broken), asking("Hi"))) == "Hi"

    assert "after its answer was whole" in caplog.text


async def test_filters_that_found_something_or_did_not_run_are_told(serve: Serve):
    results = {
        "hate": {"filtered": False, "severity": "safe"},
        "protected_material_text": {"filtered": False, "detected": True},
        "error": {"code": "content_filter_error", "message": "The contents are not filtered"},
    }
    event = {"choices": [{"delta": {"content": "Hi"}, "content_filter_results": results}]}
    model = await serve(OK_HEAD + b"data: " + json.dumps(event).encode() + b"\n\n" + STOP)

    first = (await answer(model, asking("Hi")))[0]

    assert first.content_filter == {name: results[name] for name in ("protected_material_text", "error")}


async def test_neither_key_nor_prompt_is_logged(emulator: ModelEmulator, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "adapters"):
        async with connected(ModelConnection(emulator.url, emulator.key)) as model:
            await answer(model, asking("#say open sesame"))
            await failure_of(model, asking("#fault 500 sesame"))

    own = [record.getMessage() for record in caplog.records if record.name.startswith("adapters")]
    assert "sesame" not in "".join(own)
    assert emulator.key not in "".join(own)
