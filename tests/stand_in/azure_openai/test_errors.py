"""Errors: what is refused, in the service's words and order, and what the emulator itself refuses by name."""

import io
import time
from typing import Any

import aiohttp
import jwt
import pytest

from tests.model_emulator import ModelEmulator

CLASSIC = "/openai/deployments/zero/chat/completions?api-version=2024-10-21"
V1 = "/openai/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]


def token(**claims: Any) -> str:
    claims = {"aud": "https://cognitiveservices.azure.com", "exp": time.time() + 600} | claims
    return f"Bearer {jwt.encode(claims, 'x' * 32, algorithm='HS256')}"


@pytest.mark.parametrize("path", [CLASSIC, V1])
async def test_a_key_or_a_token_opens_both_families_of_paths(path: str, emulator: ModelEmulator):
    body = {"model": "zero", "messages": HI}
    for headers in ({"api-key": emulator.key}, {"Authorization": f"Bearer {emulator.key}"}, {"Authorization": token()}):
        assert (await emulator.post(path, body, **headers))[0] == 200


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({}, "send api-key"),
        ({"api-key": "wrong"}, "the one key"),
        ({"Authorization": "Basic eDp5"}, "send api-key"),
        ({"Authorization": token(aud="https://storage.azure.com")}, "storage.azure.com"),
        ({"Authorization": token(exp=1)}, "expired"),
        ({"Authorization": "Bearer not.a.token"}, "neither its key nor a token"),
    ],
)
async def test_other_callers_are_refused_with_a_hint(headers: dict[str, str], hint: str, emulator: ModelEmulator):
    for path in (CLASSIC, V1):
        status, body = await emulator.post(path, {"model": "zero", "messages": HI}, **headers)

        assert (status, body["error"]["code"]) == (401, "401")
        assert hint in body["error"]["message"]


async def test_the_plain_path_takes_any_key_but_wants_one(emulator: ModelEmulator):
    body = {"model": "zero", "messages": HI}

    assert (await emulator.post("/v1/chat/completions", body, Authorization="Bearer anything"))[0] == 200
    assert (await emulator.post("/v1/chat/completions", body))[0] == 401


@pytest.mark.parametrize("version", ["", "?api-version=", "?api-version=2019-01-01", "?api-version=v1"])
async def test_a_classic_path_needs_a_published_api_version(version: str, emulator: ModelEmulator):
    path = CLASSIC.partition("?")[0] + version
    status, body = await emulator.post(path, {"messages": HI}, **{"api-key": emulator.key})

    assert (status, body["error"]["code"]) == (404, "404")
    assert body["error"]["message"].startswith("Resource not found")


@pytest.mark.parametrize(
    ("version", "status"), [("", 200), ("?api-version=preview", 200), ("?api-version=2024-10-21", 404)]
)
async def test_a_v1_path_needs_none(version: str, status: int, emulator: ModelEmulator):
    answer = await emulator.post(V1 + version, {"model": "zero", "messages": HI}, **{"api-key": emulator.key})

    assert answer[0] == status


async def test_an_unknown_deployment_is_not_found_on_either_path(emulator: ModelEmulator):
    for path in (CLASSIC.replace("zero", "gpt-99"), V1):
        status, body = await emulator.post(path, {"model": "gpt-99", "messages": HI}, **{"api-key": emulator.key})

        assert (status, body["error"]["code"]) == (404, "DeploymentNotFound")
        assert "gpt-4o-mini" in body["error"]["message"]


USER = {"role": "user", "content": "Hi"}
INVALID: list[tuple[dict[str, Any], str | None, str]] = [
    ({"messages": None}, "messages", "required"),
    ({"messages": []}, "messages", "at least one"),
    ({"messages": ["Hi"]}, "messages[0]", "object"),
    ({"messages": [{"role": "bot", "content": "Hi"}]}, "messages[0].role", "'bot'"),
    ({"messages": [USER, {"role": "user", "content": 5}]}, "messages[1].content", "string"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content", "part"),
    ({"temperature": 3}, "temperature", "0 to 2"),
    ({"top_p": True}, "top_p", "0 to 1"),
    ({"stream": "yes"}, "stream", "boolean"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed when 'stream'"),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options", "include_usage"),
    ({"max_tokens": 0}, "max_tokens", "at least 1"),
    ({"max_tokens": 99_999}, "max_tokens", "at most 32768"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_completion_tokens", "same time"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "up to 4"),
    ({"n": 129}, "n", "1 to 128"),
    ({"tool_choice": "required"}, "tool_choice", "not among the tools"),
    ({"response_format": {"type": "json_object"}}, "response_format", "the word 'json'"),
    ({"response_format": {"type": "yaml"}}, "response_format", "json_schema"),
    ({"reasoning_effort": "low"}, None, "reasoning_effort"),
    ({"colour": "blue"}, None, "Unrecognized request argument supplied: colour"),
    ({"messages": [{"role": "user", "content": "#speed quick"}]}, "messages", "#speed quick"),
]


@pytest.mark.parametrize(("change", "param", "named"), INVALID)
async def test_a_wrong_body_is_refused_by_the_name_of_what_is_wrong(
    change: dict[str, Any], param: str | None, named: str, emulator: ModelEmulator
):
    status, body = await emulator.ask("Hi", **change)

    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", param)
    assert named in body["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"logprobs": True},
        {"function_call": {"name": "weather"}},
        {"data_sources": []},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    ],
)
async def test_what_the_emulator_lacks_is_refused_and_not_pretended(change: dict[str, Any], emulator: ModelEmulator):
    status, body = await emulator.ask("Hi", **change)

    assert (status, body["error"]["code"]) == (400, "not_emulated")
    assert "stand_in/README.md" in body["error"]["message"]


@pytest.mark.parametrize("name", ["max_tokens", "temperature", "top_p", "presence_penalty", "logit_bias", "logprobs"])
async def test_a_reasoning_model_refuses_what_it_does_not_take(name: str, emulator: ModelEmulator):
    status, body = await emulator.ask("#first 0", model="o3-mini", **{name: 1})

    error = body["error"]
    assert (status, error["code"], error["param"]) == (400, "unsupported_parameter", name)
    assert name != "max_tokens" or "max_completion_tokens" in error["message"]


async def test_an_older_api_version_does_not_know_stream_options(emulator: ModelEmulator):
    body = {"messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    path = CLASSIC.replace("2024-10-21", "2024-06-01")

    status, answer = await emulator.post(path, body, **{"api-key": emulator.key})

    assert (status, answer["error"]["message"]) == (400, "Unrecognized request argument supplied: stream_options")


async def test_a_prompt_that_does_not_fit_is_refused(emulator: ModelEmulator):
    status, body = await emulator.ask("long " * 110_000)

    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "context_length_exceeded", "messages")
    assert "128000" in body["error"]["message"]


async def test_a_body_that_is_too_large_or_no_json_is_refused(emulator: ModelEmulator):
    headers = {"api-key": emulator.key}
    async with (
        aiohttp.ClientSession() as session,
        session.post(emulator.url + V1, data=io.BytesIO(b" " * 17_000_000), headers=headers) as response,
    ):
        assert response.status == 413
    for path in (CLASSIC, V1):
        assert (await emulator.post(path, "Hi", **{"api-key": emulator.key}))[0] == 400


@pytest.mark.parametrize(
    "path", ["/openai/v1/responses/compact", "/openai/deployments/zero/images", "/openai/v1/files"]
)
async def test_the_other_apis_are_refused_by_name(path: str, emulator: ModelEmulator):
    status, body = await emulator.post(path, {})

    assert (status, body["error"]["code"]) == (400, "not_emulated")
    assert path in body["error"]["message"]


async def test_other_paths_are_not_found(emulator: ModelEmulator):
    assert (await emulator.get("/openai/elsewhere"))[0] == 404
    assert (await emulator.get(CLASSIC, **{"api-key": emulator.key}))[0] == 404
    assert (await emulator.get("/openai/v1/models"))[0] == 401
