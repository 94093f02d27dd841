"""Answers passed on: the service's status, headers and bytes, nothing of ours added to them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from azurefunctions.extensions.http.fastapi import Response, StreamingResponse

Headers = Iterable[tuple[str, str]]


class PassedOnStream(StreamingResponse):  # type: ignore[misc]  # the extension says nothing of its types
    """A stream that says when it is over, however that came: `left` is called as soon as the caller is gone.

    The framework's own way is too weak for that. A generator that is never begun, because its caller was gone by then,
    never runs its `finally`; and a stream that stood still when its caller left is not cancelled (starlette 1.10 with
    anyio 4.16): it would be read, and paid for, to its end.
    """

    def __init__(self, pieces: AsyncGenerator[bytes], left: Callable[[], None], status: int, headers: Headers) -> None:
        super().__init__(pieces, status_code=status)
        self.raw_headers = _raw(headers)
        self._pieces = pieces
        self._left = left

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sending = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            self._left()
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._pieces.aclose()


def passed_on_answer(body: bytes, status: int, headers: Headers) -> Response:
    """A whole answer."""
    response = Response(body, status_code=status)
    response.raw_headers += _raw(headers)
    return response


def _raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    """One by one: a name may stand there several times."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
