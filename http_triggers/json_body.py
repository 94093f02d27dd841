"""JSON bodies: read within bounds, and refused with a word about what is wrong."""

import json
from typing import Any

from azurefunctions.extensions.http.fastapi import Request

from chat.errors import InvalidInput
from http_triggers.answers import HttpError

LARGEST_EMPTY = 1024  # bytes within which a body is read to say what in it is not wanted


async def json_body(req: Request, largest: int) -> Any:
    """The parsed body of a request of at most `largest` bytes. Raises HttpError 400, 413 or 415.

    The host answers an over-long body with a 500 of its own, and only above 30 or 100 MB.
    """
    _check_type(req)
    return _parsed(await _read(req, largest))


async def check_nothing_asked(req: Request) -> None:
    """The body of a request that has nothing to say: none (whatever it is called), or `{}`.

    Raises HttpError 400, 413 or 415, and InvalidInput naming the field that was sent.
    """
    body = await _read(req, LARGEST_EMPTY)
    if not body:
        return
    _check_type(req)
    fields = _parsed(body)
    if not isinstance(fields, dict):
        raise InvalidInput("", "Send no body, or {}: this request has no fields.")
    for name in fields:
        raise InvalidInput(name, f"{name} is not a field of this request, which has none: send no body, or {{}}.")


def _check_type(req: Request) -> None:
    content_type = req.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise HttpError(
            415, "unsupported_media_type", "Send JSON, with Content-Type: application/json.", "Content-Type"
        )


async def _read(req: Request, largest: int) -> bytes:
    body = bytearray()
    async for piece in req.stream():
        # Read to the end all the same: an answer to a half-read request is lost on its way through the host.
        if len(body) <= largest:
            body += piece
    if len(body) > largest:
        raise HttpError(413, "too_large", f"The body is too large; {largest} bytes are allowed.")
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HttpError(400, "invalid_json", "The body is not JSON (UTF-8).") from None
