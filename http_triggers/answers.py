"""Answers: responses and errors as JSON, and the one place where the domain's errors become HTTP statuses.

    {"error": {"code", "message", "field"?}}

The message says what was wrong and what would have been right.
"""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

from azurefunctions.extensions.http.fastapi import JSONResponse, Response

from chat.acceptance import KeyReused, TurnRejected
from chat.errors import InvalidInput, JournalMissing, MissingSetting, StorageUnavailable
from chat.quota import LimitReached
from chat.turn import PromptTooLarge

Parameters = ParamSpec("Parameters")
logger = logging.getLogger(__name__)


class HttpError(Exception):
    """This happened: a request is answered with an error, which is all there is to say."""

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.headers = headers or {}


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    """A JSON answer that nobody may keep: every one of ours belongs to one user at one moment."""
    return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"} | (headers or {}))


def error_answer(error: HttpError) -> JSONResponse:
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.field:
        body["field"] = error.field
    return answer({"error": body}, error.status, error.headers)


def answers_errors(
    function: Callable[Parameters, Awaitable[Response]],
) -> Callable[Parameters, Awaitable[Response]]:
    """The function, answering what it raises. What nobody expected is a 500 without a word about our inside."""

    @functools.wraps(function)
    async def answering(*arguments: Parameters.args, **named: Parameters.kwargs) -> Response:
        try:
            return await function(*arguments, **named)
        except HttpError as error:
            return error_answer(error)
        except Exception as error:
            known = as_http_error(error)
            if known is None:
                logger.exception("A request failed for a reason that nobody expected.")
                known = HttpError(500, "internal_error", "Something went wrong here. Try again.")
            return error_answer(known)

    return answering


def as_http_error(error: Exception) -> HttpError | None:
    """The HTTP error that a domain error is, None for one that is not the domain's."""
    match error:
        case PromptTooLarge():
            return HttpError(413, "too_large", error.message, error.field)
        case InvalidInput():
            return HttpError(400, "invalid_input", error.message, error.field)
        case JournalMissing():
            return HttpError(404, "not_found", "There is no such turn.")
        case KeyReused():
            message = "This Idempotency-Key was used for another request; use a new key for a new request."
            return HttpError(409, "idempotency_key_reused", message, "Idempotency-Key")
        case TurnRejected():
            message = 'An earlier turn of this conversation is running; wait for its end, or send "policy": "queue".'
            return HttpError(409, "turn_running", message, "policy")
        case LimitReached():
            return HttpError(429, "too_many_turns", error.message, headers={"Retry-After": str(error.retry_after)})
        case MissingSetting():
            logger.error("%s", error)
            return HttpError(500, "missing_setting", str(error))
        case StorageUnavailable():
            logger.warning("Storage did not answer a request: %s", error)
            message = "Storage did not answer in time. Nothing is lost; try again with the same Idempotency-Key."
            return HttpError(503, "storage_unavailable", message, headers={"Retry-After": "2"})
    return None
