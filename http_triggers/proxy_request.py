"""Proxied requests: who calls, and the body within bounds.

SDKs put a key into `api-key` or `Authorization: Bearer`, people and the platform's own tools into `x-functions-key` or
`?code=`. All four are looked at, since an SDK that is given a key in a header of its caller's still sends one of its
own.
"""

import json
import logging
import re
from typing import Any

from azurefunctions.extensions.http.fastapi import Request

from adapters import clients
from chat.errors import MissingSetting
from chat.proxy_keys import ProxyKey
from http_triggers.azure_errors import AzureError

_BEARER = re.compile(r"(?i)bearer +(\S+)\Z")

logger = logging.getLogger(__name__)


def identified(req: Request) -> ProxyKey:
    """The first of the keys that were sent which is one of ours. Raises AzureError 401."""
    bearer = _BEARER.match(req.headers.get("authorization", ""))
    sent = (
        req.headers.get("api-key"),
        bearer and bearer[1],
        req.headers.get("x-functions-key"),
        req.query_params.get("code"),
    )
    try:
        keys = clients.proxy_keys()
        found = next((key for candidate in sent if (key := keys.find(candidate))), None)
    except MissingSetting as error:
        logger.error("%s", error)
        found = None
    if found is None:
        message = (
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key."
        )
        raise AzureError(401, "401", message)
    return found


async def request_body(req: Request) -> bytes:
    """The body of a JSON request. Raises AzureError 413 or 415."""
    content_type = req.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise AzureError(415, "UnsupportedMediaType", "Send JSON, with Content-Type: application/json.")
    largest = clients.settings().proxy_max_body_bytes
    body = bytearray()
    async for piece in req.stream():
        body += piece
        if len(body) > largest:
            raise AzureError(413, "RequestEntityTooLarge", f"The body is too large; {largest} bytes are allowed.")
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises AzureError 400."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        message = "We could not parse the JSON body of your request: it must be a JSON object in UTF-8."
        raise AzureError(400, None, message, kind="invalid_request_error")
    return value
