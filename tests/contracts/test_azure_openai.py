"""The contract with the model API: what the adapter relies on, held against the emulator and against a real service.

The emulator answers by default. A real service is asked when these are set: CONTRACT_OPENAI_ENDPOINT and
CONTRACT_OPENAI_KEY (with CONTRACT_OPENAI_API_VERSION if it is not to be v1), or CONTRACT_OPENAI_BASE_URL for a plain
compatible server; and CONTRACT_OPENAI_DEPLOYMENT, a model that takes `max_tokens`. A run costs about ten short answers.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from adapters.azure_openai import ModelConnection, OpenAIChatModel
from chat.completion import Chunk, CompletionRequest, Message
from chat.errors import ModelFailure
from chat.failure_policy import FailureClass
from tests.model_emulator import running_emulator

READ_TIMEOUT = 60.0


@dataclass(frozen=True)
class Service:
    """What is held to the contract."""

    connection: ModelConnection
    deployment: str

    @property
    def is_azure(self) -> bool:
        return self.connection.base_url is None

    @asynccontextmanager
    async def model(self, **changes: Any) -> AsyncIterator[OpenAIChatModel]:
        model = OpenAIChatModel(replace(self.connection, **changes))
        try:
            yield model
        finally:
            await model.close()

    async def ask(
        self, prompt: str, *, deployment: str | None = None, key: str | None = None, **more: Any
    ) -> list[Chunk]:
        request = CompletionRequest((Message("user", prompt),), deployment or self.deployment, **more)
        async with self.model(**({"key": key} if key else {})) as model, model.stream(request) as stream:
            return [chunk async for chunk in stream]


def real_service() -> Service | None:
    endpoint, base_url = os.environ.get("CONTRACT_OPENAI_ENDPOINT"), os.environ.get("CONTRACT_OPENAI_BASE_URL")
    if not endpoint and not base_url:
        return None
    connection = ModelConnection(
        endpoint=endpoint,
        key=os.environ.get("CONTRACT_OPENAI_KEY"),
        api_version=os.environ.get("CONTRACT_OPENAI_API_VERSION"),
        base_url=base_url,
        read_timeout=READ_TIMEOUT,
    )
    return Service(connection, os.environ["CONTRACT_OPENAI_DEPLOYMENT"])


FORMS = ["configured"] if real_service() else ["v1", "classic", "plain"]


@pytest.fixture(params=FORMS)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    real = real_service()
    if real is not None:
        yield real
        return
    async with running_emulator(tmp_path) as emulator:
        connection = {
            "v1": ModelConnection(emulator.url, emulator.key, read_timeout=READ_TIMEOUT),
            "classic": ModelConnection(emulator.url, emulator.key, "2024-10-21", read_timeout=READ_TIMEOUT),
            "plain": ModelConnection(base_url=f"{emulator.url}/v1", read_timeout=READ_TIMEOUT),
        }[request.param]
        yield Service(connection, "zero")


async def test_an_answer_has_text_an_end_and_its_price(service: Service):
    chunks = await service.ask("Reply with one short sentence.")

    assert "".join(chunk.text for chunk in chunks)
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert next(chunk.response_id for chunk in chunks if chunk.response_id)
    assert next(chunk.model for chunk in chunks if chunk.model)


async def test_azure_tells_who_answered_and_what_its_filter_thought_of_the_prompt(service: Service):
    request = CompletionRequest((Message("user", "Reply with one short sentence."),), service.deployment)
    async with service.model() as model, model.stream(request) as stream:
        chunks = [chunk async for chunk in stream]

    if service.is_azure:
        assert stream.upstream.request_id
        assert stream.upstream.region != "unknown"
        assert chunks[0].prompt_filter
        assert not chunks[0].text
    else:
        assert not any(chunk.prompt_filter for chunk in chunks)


async def test_text_arrives_before_the_answer_is_whole(service: Service):
    chunks = await service.ask("Write a paragraph about lighthouses.")

    assert sum(1 for chunk in chunks if chunk.text) >= 5


async def test_an_answer_is_cut_at_max_tokens(service: Service):
    chunks = await service.ask("Write a paragraph about lighthouses.", max_tokens=5)

    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert usage["completion_tokens"] <= 5


async def test_an_unknown_deployment_is_refused_by_name(service: Service):
    with pytest.raises(ModelFailure) as failed:
        await service.ask("Hi", deployment="no-such-deployment")

    assert (failed.value.failure_class, failed.value.http_status) == (FailureClass.REFUSED, 404)
    assert "no-such-deployment" in failed.value.message


async def test_a_wrong_key_is_refused_and_not_repeated_in_the_message(service: Service):
    wrong = "0123456789abcdef0123456789abcdef"
    if service.is_azure:
        with pytest.raises(ModelFailure) as failed:
            await service.ask("Hi", key=wrong)
        assert (failed.value.failure_class, failed.value.http_status) == (FailureClass.REFUSED, 401)
        assert wrong not in failed.value.message
    elif real_service() is None:  # a local server takes any key
        assert any(chunk.text for chunk in await service.ask("Hi", key=wrong))


async def test_a_parameter_out_of_range_is_invalid(service: Service):
    with pytest.raises(ModelFailure) as failed:
        await service.ask("Hi", temperature=17.0)

    assert (failed.value.failure_class, failed.value.http_status) == (FailureClass.INVALID, 400)


async def test_an_answer_may_be_left_in_the_middle_and_the_next_one_is_whole(service: Service):
    request = CompletionRequest((Message("user", "Write a long story about a lighthouse."),), service.deployment)
    async with service.model() as model:
        async with model.stream(request) as stream:
            async for chunk in stream:
                if chunk.text:
                    break
        async with model.stream(replace(request, max_tokens=8)) as stream:
            chunks = [chunk async for chunk in stream]

    assert chunks[-1].finish_reason or chunks[-1].usage


async def test_the_history_reaches_the_model(service: Service):
    messages = (
        Message("system", "Answer in English."),
        Message("user", "My name is Ada."),
        Message("assistant", "Hello, Ada!"),
        Message("user", "How many messages did I send before this one? Answer with the number 1."),
    )
    async with (
        service.model() as model,
        model.stream(CompletionRequest(messages, service.deployment, temperature=0.0)) as stream,
    ):
        text = "".join([chunk.text async for chunk in stream])

    assert "1" in text
