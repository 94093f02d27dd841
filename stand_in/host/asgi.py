"""The few shapes of ASGI that the host's HTTP modules share: types, whole answers, and reading a request's head."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]


async def respond(send: Send, status: int, body: bytes = b"", headers: RawHeaders | None = None) -> None:
    """Send a whole answer, with its Content-Length where the status allows a body."""
    sent = list(headers or [])
    if status not in (204, 304) and not any(name.lower() == b"content-length" for name, _ in sent):
        sent.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def query_value(scope: Scope, name: str) -> str | None:
    """The last value of a query parameter, its name compared ignoring case."""
    found = None
    for key, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if key.lower() == name:
            found = value
    return found


def given_key(scope: Scope) -> str | None:
    """The key that came with a request: the header wins over the query."""
    return header(scope, b"x-functions-key") or query_value(scope, "code")


def raw_path(scope: Scope) -> str:
    """The path as sent, percent-encoded."""
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw else str(scope["path"])


async def read_body(receive: Receive) -> bytes:
    """The whole request body; what came before a disconnect is dropped with ConnectionError."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left while its request body was read")
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)
