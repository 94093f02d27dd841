"""Errors in the shape of Azure OpenAI, for callers that speak to the proxy as if it were the service.

{"error": {"code", "message"}}                      from its front end
{"error": {"message", "type", "param", "code"}}     from the model behind it
"""

import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec

from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

from chat.errors import MissingSetting

Parameters = ParamSpec("Parameters")
logger = logging.getLogger(__name__)


class AzureError(Exception):
    """This happened: a proxied request is answered with an error of our own. With `kind` it has the model's shape."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        kind: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {"code": code, "message": message}
        if kind is not None:
            self.body = {"message": message, "type": kind, "param": None, "code": code}


def error_event(code: str, message: str) -> bytes:
    """The error as a stream tells it, when it has begun."""
    return b"data: " + json.dumps({"error": {"code": code, "message": message}}).encode() + b"\n\n"


def answers_azure_errors(
    function: Callable[Concatenate[Request, Parameters], Awaitable[Response]],
) -> Callable[Concatenate[Request, Parameters], Awaitable[Response]]:
    """The function, answering what it raises. What nobody expected is a 500 without a word about our inside."""

    @functools.wraps(function)
    async def answering(req: Request, /, *arguments: Parameters.args, **named: Parameters.kwargs) -> Response:
        try:
            return await function(req, *arguments, **named)
        except AzureError as raised:
            error = raised
        except MissingSetting as missing:
            logger.error("%s", missing)
            error = AzureError(500, "MissingSetting", str(missing))
        except Exception:
            if await req.is_disconnected():  # in the middle of its request
                error = AzureError(499, "ClientClosedRequest", "The caller left.")
            else:
                logger.exception("A proxied request failed for a reason that nobody expected.")
                error = AzureError(500, "InternalServerError", "Something went wrong in the proxy. Try again.")
        await _read_to_end(req)
        return JSONResponse({"error": error.body}, error.status, error.headers)

    return answering


async def _read_to_end(req: Request) -> None:
    """Take what there is left of a request: an answer to a half-read one is lost on its way through the host."""
    try:
        async for _ in req.stream():
            pass
    except Exception as error:  # noqa: BLE001 - it was read, or its caller is gone: neither changes the answer
        logger.debug("Nothing more to read of a request: %s", type(error).__name__)
