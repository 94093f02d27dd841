"""Failures of the model API, told apart: which exception, status or event means what to a turn.

Messages say what to check and may be shown to people: they hold no key, though a service may quote it, and no prompt.
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx2
import openai

from chat.errors import ModelFailure
from chat.failure_policy import FailureClass

# What a transport raises. The SDK's aiohttp transport translates most of aiohttp's errors to httpx2's, not all.
TRANSPORT_ERRORS: tuple[type[Exception], ...] = (httpx2.RequestError, httpx2.StreamError, aiohttp.ClientError, OSError)
REQUEST_ERRORS: tuple[type[Exception], ...] = (openai.OpenAIError, *TRANSPORT_ERRORS)
LONGEST_MESSAGE = 300
# Codes that decide, whatever the status. The quota of an account does not come back by waiting.
CLASSES_BY_CODE = {
    "content_filter": FailureClass.FILTERED,
    "ResponsibleAIPolicyViolation": FailureClass.FILTERED,
    "context_length_exceeded": FailureClass.TOO_LONG,
    "insufficient_quota": FailureClass.REFUSED,
    "rate_limit_exceeded": FailureClass.RATE_LIMITED,
    "RateLimitReached": FailureClass.RATE_LIMITED,
    "429": FailureClass.RATE_LIMITED,
}
ADVICE_BY_STATUS = {
    401: "The model service does not accept our key or identity: check AZURE_OPENAI_KEY, or the identity's role.",
    403: "The model service forbids the call: check the resource's network rules and the identity's role.",
    404: "The model service does not know the deployment {deployment!r}, the endpoint or the api-version: check them.",
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def failure_of_exception(error: Exception, deployment: str, key: str | None) -> ModelFailure:
    """The meaning of what the SDK or its transport raised."""
    if isinstance(error, openai.APIStatusError):
        return _failure_of_status(error, deployment, key)
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(cause, httpx2.ReadTimeout):
        return ModelFailure(FailureClass.STALLED, "read_timeout", "The model service fell silent.")
    if isinstance(error, (openai.APIConnectionError, *TRANSPORT_ERRORS)):
        return ModelFailure(
            FailureClass.TRANSIENT, "connection_lost", f"No connection to the model service: {_root(error)}."
        )
    if isinstance(error, openai.APIResponseValidationError):
        return ModelFailure(
            FailureClass.TRANSIENT, "bad_response", "The model service sent something that is no answer."
        )
    if isinstance(error, openai.APIError):
        return _failure_of_error_object(error.body if isinstance(error.body, dict) else {}, key)
    # Left are errors of the SDK about the request or the client: repeating it would not help.
    return ModelFailure(
        FailureClass.INVALID, "invalid_request", f"The model client refused the request: {type(error).__name__}."
    )


def failure_of_broken_stream(error: Exception, deployment: str, key: str | None) -> ModelFailure:
    """The meaning of what a transport raised in the middle of an answer."""
    failure = failure_of_exception(error, deployment, key)
    if failure.failure_class is not FailureClass.TRANSIENT:
        return failure
    return ModelFailure(FailureClass.CUT, failure.code, f"The model service's answer broke off: {_root(error)}.")


def failure_of_event(event: object, key: str | None) -> ModelFailure:
    """An event of the stream that reports an error, or is no JSON object at all."""
    error = event.get("error") if isinstance(event, dict) else None
    if isinstance(error, dict):
        return _failure_of_error_object(error, key)
    if error:
        return _failure_of_error_object({"message": str(error)}, key)
    return ModelFailure(
        FailureClass.TRANSIENT, "bad_event", "The model service sent an event that is not a JSON object."
    )


def failure_of_short_stream() -> ModelFailure:
    message = "The model service ended the stream before the answer was whole."
    return ModelFailure(FailureClass.CUT, "stream_ended_early", message)


def failure_of_response_type(content_type: str) -> ModelFailure | None:
    """A 200 that is a page or a document: there is something else at this address. None when it may be a stream."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("text/html", "application/json"):
        return None
    message = f"The endpoint answered {kind} instead of a stream: check the model's address."
    return ModelFailure(FailureClass.REFUSED, "not_a_stream", message, http_status=200)


def failure_of_token(error: Exception) -> ModelFailure:
    """No token for the identity. Often the identity endpoint is busy, so it is worth another attempt."""
    message = f"No Entra token for the model service ({type(error).__name__}): check the managed identity."
    return ModelFailure(FailureClass.TRANSIENT, "no_token", message)


def _failure_of_status(error: openai.APIStatusError, deployment: str, key: str | None) -> ModelFailure:
    status, code = error.status_code, error.code or str(error.status_code)
    failure_class = CLASSES_BY_CODE.get(code) or _class_of_status(status)
    body = error.body if isinstance(error.body, dict) else {}
    if failure_class is FailureClass.REFUSED and status in ADVICE_BY_STATUS:
        message = ADVICE_BY_STATUS[status].format(deployment=deployment)
    elif failure_class is FailureClass.FILTERED:
        message = "The content filter of the model service refused the prompt."
    elif failure_class in (FailureClass.INVALID, FailureClass.TOO_LONG, FailureClass.REFUSED):
        message = _shown(body.get("message") or f"The model service answered {status}.", key)
    else:
        message = f"The model service answered {status} ({code})."
    return ModelFailure(
        failure_class,
        code,
        message,
        http_status=status,
        retry_after=read_retry_after(error.response.headers, time.time(), with_limits=status == 429),
        details=_details(body) | ({"request_id": error.request_id} if error.request_id else {}),
    )


def _class_of_status(status: int) -> FailureClass:
    if status == 429:
        return FailureClass.RATE_LIMITED
    if status in (408, 409) or status >= 500:
        return FailureClass.TRANSIENT
    # A redirect that leads nowhere is an address that is wrong, like a 404.
    return FailureClass.REFUSED if status in (401, 403, 404) or status < 400 else FailureClass.INVALID


def _failure_of_error_object(error: Mapping[str, Any], key: str | None) -> ModelFailure:
    code = str(error.get("code") or error.get("type") or "error_event")
    failure_class = CLASSES_BY_CODE.get(code, FailureClass.TRANSIENT)
    message = f"The model service broke off: {_shown(error.get('message') or code, key)}"
    return ModelFailure(failure_class, code, message, details=_details(error))


def _details(error: Mapping[str, Any]) -> dict[str, object]:
    """The filter's results, in either spelling the service uses."""
    inner = error.get("innererror") or error.get("inner_error")
    if not isinstance(inner, dict):
        return {}
    results = inner.get("content_filter_result") or inner.get("content_filter_results")
    return {"content_filter": results} if results else {}


def _shown(message: object, key: str | None) -> str:
    text = str(message)
    if key:
        text = text.replace(key, "***")
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}…"


def _root(error: BaseException) -> str:
    """The name of the first cause. The SDK's transport calls a refused connection a ConnectTimeout on the way up."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def read_retry_after(headers: Mapping[str, str], now: float, *, with_limits: bool = True) -> float | None:
    """How long the service asks to wait, in seconds: the exact header first, None when it says nothing usable.

    `with_limits`: when its limits are renewed counts, too. Every answer tells that; only a 429 means to wait for it.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    after = headers.get("retry-after")
    seconds = _number(after)
    if seconds is not None:
        return seconds
    if after:
        try:
            return max(0.0, parsedate_to_datetime(after).timestamp() - now)
        except ValueError:
            pass  # not a date either: look at the limits
    if not with_limits:
        return None
    resets = {name: _duration(headers.get(f"x-ratelimit-reset-{name}")) for name in ("tokens", "requests")}
    known = {name: wait for name, wait in resets.items() if wait is not None}
    exhausted = [wait for name, wait in known.items() if headers.get(f"x-ratelimit-remaining-{name}") == "0"]
    return max(exhausted) if exhausted else min(known.values(), default=None)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _duration(text: str | None) -> float | None:
    """`6m0s`, `20ms`, or a bare number of seconds."""
    if not text:
        return None
    if _DURATION.sub("", text) == "":
        return sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in _DURATION.findall(text))
    return _number(text)
