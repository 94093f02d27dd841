"""JSON bodies: read within bounds, and refused with a word about what is wrong."""

import json
from typing import Any

from azurefunctions.extensions.http.fastapi import Request

from http_triggers.answers import HttpError


async def json_body(req: Request, largest: int) -> Any:
    """The parsed body of a request of at most `largest` bytes. Raises HttpError 400, 413 or 415.

    The host answers an over-long body with a 500 of its own, and only above 30 or 100 MB.
    """
    content_type = req.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise HttpError(
            415, "unsupported_media_type", "Send JSON, with Content-Type: application/json.", "Content-Type"
        )
    body = bytearray()
    async for piece in req.stream():
        # Read to the end all the same: an answer to a half-read request is lost on its way through the host.
        if len(body) <= largest:
            body += piece
    if len(body) > largest:
        raise HttpError(413, "too_large", f"The body is too large; {largest} bytes are allowed.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HttpError(400, "invalid_json", "The body is not JSON (UTF-8).") from None
