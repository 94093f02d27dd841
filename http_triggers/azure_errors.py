"""Errors in the shape of Azure OpenAI, for callers that speak to the proxy as if it were the service.

{"error": {"code", "message"}}                      from its front end
{"error": {"message", "type", "param", "code"}}     from the model behind it
"""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

from azurefunctions.extensions.http.fastapi import JSONResponse, Response

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


def answers_azure_errors(
    function: Callable[Parameters, Awaitable[Response]],
) -> Callable[Parameters, Awaitable[Response]]:
    """The function, answering what it raises. What nobody expected is a 500 without a word about our inside."""

    @functools.wraps(function)
    async def answering(*arguments: Parameters.args, **named: Parameters.kwargs) -> Response:
        try:
            return await function(*arguments, **named)
        except AzureError as raised:
            error = raised
        except MissingSetting as missing:
            logger.error("%s", missing)
            error = AzureError(500, "MissingSetting", str(missing))
        except Exception:
            logger.exception("A proxied request failed for a reason that nobody expected.")
            error = AzureError(500, "InternalServerError", "Something went wrong in the proxy. Try again.")
        return JSONResponse({"error": error.body}, error.status, error.headers)

    return answering
