"""How much a request may carry, and how many may run: `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` and host.json's throttles.

A body over the limit is 500 with `Connection: close` (not 413), as observed on the real host. Over
`maxOutstandingRequests` the answer is 429; within it, requests beyond `maxConcurrentRequests` wait.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from stand_in.host.asgi import Message, Receive, Scope, header
from stand_in.host.host_json import HostJson

DEFAULT_BODY_LIMIT = 104_857_600


class TooLarge(Exception):
    """This happened: a request announced a body over the limit."""


class RequestLimits:
    """The limits of one host."""

    def __init__(self, host_json: HostJson, settings: Mapping[str, str]) -> None:
        self._body_limit = int(settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") or DEFAULT_BODY_LIMIT)
        self._outstanding_limit = host_json.max_outstanding_requests
        concurrent = host_json.max_concurrent_requests
        self._running = asyncio.Semaphore(concurrent) if concurrent > 0 else None
        self._outstanding = 0

    def limit_body(self, scope: Scope, receive: Receive) -> Receive:
        """The request's `receive`, cut off at the limit. Raises TooLarge when the announced length is over it."""
        announced = header(scope, b"content-length")
        if announced is not None:
            if announced.isdigit() and int(announced) > self._body_limit:
                raise TooLarge(f"Request body too large. The max request body size is {self._body_limit} bytes.")
            return receive
        if header(scope, b"transfer-encoding") is None:
            return receive
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= self._body_limit else {"type": "http.disconnect"}

        return limited

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[bool]:
        """Hold a place while a request runs; yields False when there is none."""
        if 0 <= self._outstanding_limit <= self._outstanding:
            yield False
            return
        self._outstanding += 1
        try:
            if self._running is None:
                yield True
            else:
                async with self._running:
                    yield True
        finally:
            self._outstanding -= 1
