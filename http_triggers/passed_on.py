"""Answers passed on: the service's status, headers and bytes, nothing of ours added to them."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from azurefunctions.extensions.http.fastapi import Response, StreamingResponse

Headers = Iterable[tuple[str, str]]


class PassedOnStream(StreamingResponse):  # type: ignore[misc]  # the extension says nothing of its types
    """A stream that says when it is over, however that came: `left` is called even when the caller was gone before a
    byte was asked for, where a generator's own `finally` would never run."""

    def __init__(self, pieces: AsyncIterator[bytes], left: Callable[[], None], status: int, headers: Headers) -> None:
        super().__init__(pieces, status_code=status)
        self.raw_headers = _raw(headers)
        self._left = left

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


def passed_on_answer(body: bytes, status: int, headers: Headers) -> Response:
    """A whole answer."""
    response = Response(body, status_code=status)
    response.raw_headers += _raw(headers)
    return response


def _raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    """One by one: a name may stand there several times."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
