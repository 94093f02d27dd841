"""Background responses through the adapter: read, read on from any event, cancelled, lost."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.azure_openai import ModelConnection, OpenAIChatModel
from adapters.response_events import SMALLEST_LIMIT, ResponseEvents
from chat.completion import Chunk
from chat.errors import ModelFailure, ResponseLost
from chat.failure_policy import FailureClass
from tests.adapters.test_azure_openai import answer, asking, connected, failure_of, text_of
from tests.model_emulator import ModelEmulator, running_emulator

TEXT = "Hello, 東京 🚀, and 👩‍💻 good night"


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[ModelEmulator]:
    async with running_emulator(tmp_path) as emulator:
        yield emulator


@pytest.fixture
async def model(emulator: ModelEmulator) -> AsyncIterator[OpenAIChatModel]:
    async with connected(ModelConnection(endpoint=emulator.url, key=emulator.key)) as model:
        yield model


async def read_on(model: OpenAIChatModel, response_id: str, after: int | None) -> list[Chunk]:
    async with model.reattach(asking("", background=True), response_id, after) as stream:
        return [chunk async for chunk in stream]


async def body_of(emulator: ModelEmulator) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await emulator.requests(bodies=True))[-1]["body"])
    return found


async def test_a_background_response_is_asked_for_and_numbered(model: OpenAIChatModel, emulator: ModelEmulator) -> None:
    chunks = await answer(model, asking(f"#say {TEXT}", background=True, max_tokens=500, temperature=0.5))
    assert text_of(chunks) == TEXT
    assert str(chunks[0].response_id).startswith("resp_")
    numbers = [chunk.sequence for chunk in chunks]
    assert numbers == sorted(numbers, key=lambda number: number or 0)
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert chunks[-1].usage is not None
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(chunks[-1].usage)
    body = await body_of(emulator)
    assert (body["background"], body["stream"], body["store"]) == (True, True, True)
    assert (body["max_output_tokens"], body["temperature"]) == (500, 0.5)


async def test_a_response_can_be_read_on_from_any_event(model: OpenAIChatModel) -> None:
    chunks = await answer(model, asking(f"#split surrogates #say {TEXT}", background=True))
    response_id = str(chunks[0].response_id)
    for place, chunk in enumerate(chunks[:-1]):
        assert text_of(await read_on(model, response_id, chunk.sequence)) == text_of(chunks[place + 1 :])
    assert await read_on(model, response_id, None) == chunks


async def test_leaving_the_stream_leaves_the_response_running(model: OpenAIChatModel) -> None:
    async with model.stream(asking("#length 200\n#speed 100\n#first 0", "fast", background=True)) as stream:
        async for chunk in stream:
            if chunk.response_id:
                response_id = chunk.response_id
            if chunk.text:
                break
    rest = await read_on(model, response_id, chunk.sequence)
    assert len(chunk.text + text_of(rest)) == 200


async def test_a_response_that_is_not_there_is_lost(model: OpenAIChatModel) -> None:
    with pytest.raises(ResponseLost) as lost:
        await read_on(model, "resp_00000000000000000000000000000000", 3)
    assert lost.value.http_status == 404


async def test_a_cancelled_response_is_lost_and_may_be_cancelled_again(model: OpenAIChatModel) -> None:
    async with model.stream(asking("#length 2000\n#speed 20\n#first 0", "fast", background=True)) as stream:
        async for chunk in stream:
            if chunk.response_id:
                response_id = chunk.response_id
            if chunk.text:
                break
        await model.cancel("fast", response_id)
    await model.cancel("fast", response_id)
    with pytest.raises(ResponseLost):
        await read_on(model, response_id, None)


async def test_a_response_that_cannot_be_cancelled_says_why(model: OpenAIChatModel) -> None:
    with pytest.raises(ModelFailure) as failed:
        await model.cancel("fast", "resp_00000000000000000000000000000000")
    assert failed.value.http_status == 404


async def test_a_limit_cuts_the_answer_short(model: OpenAIChatModel, emulator: ModelEmulator) -> None:
    chunks = await answer(model, asking("#length 400", background=True, max_tokens=5))
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]
    assert (await body_of(emulator))["max_output_tokens"] == SMALLEST_LIMIT


@pytest.mark.parametrize("form", ["v1", "classic", "plain"])
async def test_each_form_of_connection_calls_its_path(form: str, emulator: ModelEmulator) -> None:
    connection, path = {
        "v1": (ModelConnection(emulator.url, emulator.key), "/openai/v1/responses"),
        "classic": (ModelConnection(emulator.url, emulator.key, "2025-04-01-preview"), "/openai/responses"),
        "plain": (ModelConnection(base_url=f"{emulator.url}/v1"), "/v1/responses"),
    }[form]
    async with connected(connection) as model:
        chunks = await answer(model, asking("#say Hi", background=True))
        assert text_of(chunks) == "Hi"
        assert text_of(await read_on(model, str(chunks[0].response_id), None)) == "Hi"
    assert [call["path"].partition("/resp_")[0] for call in await emulator.requests()] == [path, path]


async def test_a_deployment_of_the_second_resource_is_called_by_its_name_there(emulator: ModelEmulator) -> None:
    connection = ModelConnection(emulator.url, emulator.key, prefix="fallback/")
    async with connected(connection) as model:
        for background in (True, False):
            async with model.stream(asking("#say Hi", "fallback/zero", background=background)) as stream:
                assert text_of([chunk async for chunk in stream]) == "Hi"
            assert stream.upstream.deployment == "fallback/zero"
            assert (await body_of(emulator))["model"] == "zero"


async def test_refusals_before_the_stream_are_told_apart_as_ever(model: OpenAIChatModel) -> None:
    failure = await failure_of(model, asking("#fault 429 retry_after_ms=300", background=True))
    assert (failure.failure_class, failure.retry_after) == (FailureClass.RATE_LIMITED, 0.3)
    assert not isinstance(failure, ResponseLost)


@pytest.mark.parametrize(
    ("event", "failure_class", "code"),
    [
        (
            {"response": {"error": {"code": "server_error", "message": "Sorry."}}},
            FailureClass.TRANSIENT,
            "server_error",
        ),
        (
            {"response": {"error": {"code": "rate_limit_exceeded", "message": "Later."}}},
            FailureClass.RATE_LIMITED,
            "rate_limit_exceeded",
        ),
        ({"response": {"error": None}}, FailureClass.TRANSIENT, "response_failed"),
        ({}, FailureClass.TRANSIENT, "response_failed"),
    ],
)
def test_a_failed_response_is_lost_for_its_reason(
    event: dict[str, Any], failure_class: FailureClass, code: str
) -> None:
    with pytest.raises(ResponseLost) as lost:
        ResponseEvents("key").read({"type": "response.failed"} | event)
    assert (lost.value.failure_class, lost.value.code) == (failure_class, code)


def test_an_error_event_is_a_failure_that_hides_the_key() -> None:
    event = {"type": "error", "code": "server_error", "message": "Bad sesame.", "param": None, "sequence_number": 3}
    with pytest.raises(ModelFailure, match=r"Bad \*\*\*\.") as failed:
        ResponseEvents("sesame").read(event)
    assert failed.value.code == "server_error"
    assert not isinstance(failed.value, ResponseLost)
    with pytest.raises(ResponseLost):  # whoever reads it again finds it again
        ResponseEvents("sesame", is_reattached=True).read(event)


def test_a_filtered_answer_and_a_refusal_are_answers() -> None:
    events = ResponseEvents("key")
    refusal = events.read({"type": "response.refusal.delta", "delta": "I will not.", "sequence_number": 4})
    incomplete = {"response": {"incomplete_details": {"reason": "content_filter"}}, "sequence_number": 5}
    ended = events.read({"type": "response.incomplete"} | incomplete)
    assert refusal == Chunk(text="I will not.", sequence=4)
    assert ended is not None
    assert ended.finish_reason == "content_filter"


@pytest.mark.parametrize("kind", ["response.in_progress", "response.output_item.added", "response.output_text.done"])
def test_what_adds_nothing_to_the_answer_is_passed_over(kind: str) -> None:
    assert ResponseEvents("key").read({"type": kind, "sequence_number": 2, "text": "again"}) is None
