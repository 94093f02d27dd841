"""Failures of the model: each has a class, a wait when the service names one, and a message that may be shown."""

import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import aiohttp
import httpx2
import openai
import pytest

from adapters.model_failures import (
    TRANSPORT_ERRORS,
    failure_of_broken_stream,
    failure_of_event,
    failure_of_exception,
    read_retry_after,
)
from chat.failure_policy import FailureClass

REQUEST = httpx2.Request("POST", "https://example.invalid/openai/v1/chat/completions")
KEY = "0123456789abcdef"


def status_error(status: int, error: dict[str, Any] | None = None, **headers: str) -> openai.APIStatusError:
    response = httpx2.Response(status, request=REQUEST, headers={"x-request-id": "r1", **headers})
    kind = {400: openai.BadRequestError, 429: openai.RateLimitError}.get(status, openai.APIStatusError)
    return kind("failed", response=response, body=error)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "content_filter", FailureClass.FILTERED),
        (400, "context_length_exceeded", FailureClass.TOO_LONG),
        (400, "unsupported_parameter", FailureClass.INVALID),
        (400, None, FailureClass.INVALID),
        (401, "401", FailureClass.REFUSED),
        (403, "403", FailureClass.REFUSED),
        (404, "DeploymentNotFound", FailureClass.REFUSED),
        (308, None, FailureClass.REFUSED),
        (408, None, FailureClass.TRANSIENT),
        (409, None, FailureClass.TRANSIENT),
        (413, None, FailureClass.INVALID),
        (422, None, FailureClass.INVALID),
        (429, "429", FailureClass.RATE_LIMITED),
        (429, "RateLimitReached", FailureClass.RATE_LIMITED),
        (429, "insufficient_quota", FailureClass.REFUSED),
        (500, "InternalServerError", FailureClass.TRANSIENT),
        (503, None, FailureClass.TRANSIENT),
    ],
)
def test_a_status_has_its_class(status: int, code: str | None, expected: FailureClass):
    failure = failure_of_exception(status_error(status, {"code": code, "message": "why"}), "mini", KEY)

    assert (failure.failure_class, failure.http_status) == (expected, status)
    assert failure.code == (code or str(status))
    assert failure.details["request_id"] == "r1"


# What the SDK can raise while a stream is opened, and from what it is made. The rest belongs to other features.
OTHER_FEATURES = {
    "LengthFinishReasonError": "the .parse() helper",
    "ContentFilterFinishReasonError": "the .parse() helper",
    "WebSocketConnectionClosedError": "realtime",
    "WebSocketQueueFullError": "realtime",
    "SubjectTokenProviderError": "workload identity",
    "OAuthError": "workload identity",
}
RESPONSE = httpx2.Response(400, request=REQUEST)
OUTCOMES: dict[type[Exception], tuple[Exception, FailureClass]] = {
    openai.APIError: (openai.APIError("x", REQUEST, body={"code": "server_error"}), FailureClass.TRANSIENT),
    openai.APIConnectionError: (openai.APIConnectionError(request=REQUEST), FailureClass.TRANSIENT),
    openai.APITimeoutError: (openai.APITimeoutError(REQUEST), FailureClass.TRANSIENT),
    openai.APIResponseValidationError: (openai.APIResponseValidationError(RESPONSE, None), FailureClass.TRANSIENT),
    openai.APIStatusError: (status_error(418), FailureClass.INVALID),
    openai.BadRequestError: (status_error(400), FailureClass.INVALID),
    openai.AuthenticationError: (status_error(401), FailureClass.REFUSED),
    openai.PermissionDeniedError: (status_error(403), FailureClass.REFUSED),
    openai.NotFoundError: (status_error(404), FailureClass.REFUSED),
    openai.ConflictError: (status_error(409), FailureClass.TRANSIENT),
    openai.UnprocessableEntityError: (status_error(422), FailureClass.INVALID),
    openai.RateLimitError: (status_error(429), FailureClass.RATE_LIMITED),
    openai.InternalServerError: (status_error(500), FailureClass.TRANSIENT),
}


def descendants(root: type[Exception]) -> Iterator[type[Exception]]:
    for child in root.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_exception_of_the_sdk_has_an_outcome_or_a_reason_to_have_none():
    public = [each for each in descendants(openai.OpenAIError) if each.__module__ in ("openai", "openai._exceptions")]
    raised = {each.__name__ for each in public if not each.__name__.startswith("_")}

    assert raised == {each.__name__ for each in OUTCOMES} | set(OTHER_FEATURES)
    for error, expected in OUTCOMES.values():
        assert failure_of_exception(error, "mini", None).failure_class is expected


def test_an_error_of_the_client_itself_is_not_repeated():
    assert failure_of_exception(openai.OpenAIError("no key"), "mini", None).failure_class is FailureClass.INVALID


def test_silence_is_told_from_a_connection_that_never_was():
    for cause, expected in (
        (httpx2.ReadTimeout("x"), FailureClass.STALLED),
        (httpx2.ConnectTimeout("x"), FailureClass.TRANSIENT),
        (httpx2.PoolTimeout("x"), FailureClass.TRANSIENT),
    ):
        error = openai.APITimeoutError(REQUEST)
        error.__cause__ = cause
        assert failure_of_exception(error, "mini", None).failure_class is expected
    assert failure_of_exception(httpx2.ReadTimeout("x"), "mini", None).code == "read_timeout"


@pytest.mark.parametrize(
    "error",
    [httpx2.ReadError("x"), httpx2.RemoteProtocolError("x"), aiohttp.ServerDisconnectedError(), ConnectionResetError()],
)
def test_a_broken_connection_is_worth_another_attempt(error: Exception):
    assert isinstance(error, TRANSPORT_ERRORS)
    failure = failure_of_exception(error, "mini", None)

    assert (failure.failure_class, failure.code) == (FailureClass.TRANSIENT, "connection_lost")
    in_mid_answer = failure_of_broken_stream(error, "mini", None)
    assert (in_mid_answer.failure_class, in_mid_answer.code) == (FailureClass.CUT, "connection_lost")


def test_silence_in_mid_answer_stays_silence():
    assert failure_of_broken_stream(httpx2.ReadTimeout("x"), "mini", None).failure_class is FailureClass.STALLED


def test_limits_are_waited_for_only_after_a_429():
    """Every answer tells when its limits are renewed; a 503 that does has nothing to do with them."""
    limits = {"x-ratelimit-reset-tokens": "6m0s"}
    assert failure_of_exception(status_error(503, None, **limits), "mini", None).retry_after is None
    assert failure_of_exception(status_error(429, None, **limits), "mini", None).retry_after == 360


@pytest.mark.parametrize(
    "spelling", [("innererror", "content_filter_result"), ("inner_error", "content_filter_results")]
)
def test_the_filters_results_are_found_in_either_spelling(spelling: tuple[str, str]):
    results = {"hate": {"filtered": True, "severity": "high"}}
    body = {"code": "content_filter", "message": "filtered", spelling[0]: {"code": "x", spelling[1]: results}}

    failure = failure_of_exception(status_error(400, body), "mini", None)

    assert failure.details["content_filter"] == results


def test_a_message_names_what_to_check_and_never_the_key():
    missing = failure_of_exception(status_error(404, {"code": "DeploymentNotFound"}), "mini", KEY)
    refused = failure_of_exception(status_error(401, {"message": f"Incorrect API key: {KEY}"}), "mini", KEY)
    invalid = failure_of_exception(status_error(400, {"message": f"Odd header {KEY}. " + "x" * 900}), "mini", KEY)

    assert "'mini'" in missing.message
    assert "AZURE_OPENAI_KEY" in refused.message
    assert KEY not in refused.message + invalid.message
    assert len(invalid.message) < 400


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "300", "retry-after": "1"}, 0.3),
        ({"retry-after": "86400"}, 86400),
        ({"retry-after": formatdate(1_800_000_030, usegmt=True)}, 30),
        ({"retry-after": "soon", "x-ratelimit-reset-tokens": "1m30.5s"}, 90.5),
        ({"x-ratelimit-reset-tokens": "59"}, 59),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        (
            {
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "7",
            },
            360,
        ),
        ({"retry-after": "-5"}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"x-ratelimit-reset-tokens": "later"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_from_whatever_header_tells_it(headers: dict[str, str], wait: float | None):
    assert read_retry_after(headers, 1_800_000_000) == wait


def test_a_rate_limit_carries_its_wait():
    failure = failure_of_exception(status_error(429, None, **{"retry-after-ms": "1500"}), "mini", None)
    later = failure_of_exception(
        status_error(503, None, **{"retry-after": formatdate(time.time() + 60, usegmt=True)}), "m", None
    )

    assert failure.retry_after == 1.5
    assert later.retry_after is not None
    assert 50 < later.retry_after <= 60


@pytest.mark.parametrize(
    ("event", "expected", "code"),
    [
        ({"error": {"code": "content_filter", "message": "x"}}, FailureClass.FILTERED, "content_filter"),
        ({"error": {"type": "server_error", "code": None}}, FailureClass.TRANSIENT, "server_error"),
        ({"error": {"code": 429}}, FailureClass.RATE_LIMITED, "429"),
        ({"error": "overloaded"}, FailureClass.TRANSIENT, "error_event"),
        (["x"], FailureClass.TRANSIENT, "bad_event"),
    ],
)
def test_an_error_in_the_stream_has_its_class(event: object, expected: FailureClass, code: str):
    failure = failure_of_event(event, None)

    assert (failure.failure_class, failure.code) == (expected, code)
