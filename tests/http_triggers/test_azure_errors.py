"""Errors of our own in Azure's shape: what is told, and what is not."""

import json
import logging
from typing import Any

import pytest
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

from chat.errors import MissingSetting
from http_triggers.azure_errors import AzureError, answers_azure_errors, error_event


def request(*messages: dict[str, Any]) -> Request:
    """A request whose body comes in these messages."""
    coming = list(messages or [{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    found = Request({"type": "http", "method": "POST", "headers": [], "query_string": b"", "path": "/"}, receive)
    found.state.coming = coming
    return found


def raising(error: Exception) -> Any:
    @answers_azure_errors
    async def function(req: Request) -> Response:
        raise error

    return function


async def answered(error: Exception, req: Request | None = None) -> tuple[int, dict[str, Any], Any]:
    response = await raising(error)(req or request())
    return response.status_code, json.loads(response.body)["error"], response.headers


async def test_the_front_ends_shape_and_the_models():
    front = AzureError(404, "404", "Resource not found", headers={"Retry-After": "2"})
    status, error, headers = await answered(front)
    assert (status, error) == (404, {"code": "404", "message": "Resource not found"})
    assert headers["retry-after"] == "2"
    assert headers["content-type"] == "application/json"

    _, error, _ = await answered(AzureError(400, None, "no JSON", kind="invalid_request_error"))
    assert error == {"message": "no JSON", "type": "invalid_request_error", "param": None, "code": None}


async def test_what_nobody_expected_says_nothing_of_our_inside(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        status, error, _ = await answered(RuntimeError("secret inside"))
    assert (status, error["code"]) == (500, "InternalServerError")
    assert "secret" not in json.dumps(error)
    assert "nobody expected" in caplog.text


async def test_a_missing_setting_is_named():
    status, error, _ = await answered(MissingSetting("AZURE_OPENAI_ENDPOINT"))
    assert (status, error["code"]) == (500, "MissingSetting")
    assert "AZURE_OPENAI_ENDPOINT" in error["message"]


async def test_a_caller_who_left_within_its_request_is_no_error_of_ours(caplog: pytest.LogCaptureFixture):
    @answers_azure_errors
    async def reading(req: Request) -> Response:
        async for _ in req.stream():
            pass
        raise AssertionError("there is no end")

    gone = {"type": "http.disconnect"}
    response = await reading(request({"type": "http.request", "body": b"half", "more_body": True}, gone, gone))
    assert response.status_code == 499
    assert caplog.text == ""


async def test_a_refused_request_is_read_to_its_end_first():
    """The answer to a half-read one is lost between host and caller."""
    pieces = [{"type": "http.request", "body": b"x", "more_body": number < 4} for number in range(5)]
    req = request(*pieces)
    await answered(AzureError(401, "401", "no key"), req)
    assert req.state.coming == []


async def test_an_answer_is_left_as_it_is():
    @answers_azure_errors
    async def well(req: Request) -> Response:
        return JSONResponse({"ok": True})

    assert (await well(request())).body == b'{"ok":true}'


def test_an_error_within_a_stream_is_an_event():
    assert json.loads(error_event("stream_cut", "so").removeprefix(b"data: ")) == {
        "error": {"code": "stream_cut", "message": "so"}
    }
