"""Delivery: frames on their way to the browser, one send in flight.

SignalR may be slow or away; the answer does not wait for it. Messages queue here and are sent one after another, since
awaiting each is what keeps their order. When the queue is full the oldest is dropped and counted: browsers fetch what
they miss from the journal.
"""

import asyncio
import logging
from collections import deque
from typing import Any, Protocol

from chat.errors import DeliveryFailed
from chat.records import End, Frame, Wait
from chat.turn_view import wire_error, wire_wait

QUEUE_LENGTH = 64
# How long a finished turn waits for its last messages to leave. Whoever is not reached by then asks for them.
PARTING_TIME = 2.0

logger = logging.getLogger(__name__)


class Browser(Protocol):
    """The way to a user's browsers."""

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        """Raises DeliveryFailed when the service did not take the message."""


class Delivery:
    """The messages of one run to one user. Use as `async with`: leaving waits for what is queued, within bounds."""

    def __init__(self, browser: Browser, user_id: str, turn_id: str, conversation_id: str) -> None:
        self._browser = browser
        self._user_id = user_id
        self._ids = {"turnId": turn_id, "conversationId": conversation_id}
        self._queue: deque[tuple[str, list[Any]]] = deque(maxlen=QUEUE_LENGTH)
        self._wanted = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.errors = 0

    async def __aenter__(self) -> "Delivery":
        self._task = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._closing = True
        self._wanted.set()
        try:
            async with asyncio.timeout(PARTING_TIME):
                await self._task
        except TimeoutError:
            self.errors += len(self._queue) + 1
            logger.warning("SignalR is slow: the last messages of a turn were not sent.", extra=self._extra)

    def started(self, generation: int, attempt: int) -> None:
        self._put("turnStarted", [self._ids | {"generation": generation, "attempt": attempt}])

    def frame(self, frame: Frame) -> None:
        place = {
            "generation": frame.generation,
            "attempt": frame.attempt,
            "seq": frame.seq,
            "offset": frame.offset,
        }
        self._put("token", [frame.text, self._ids | place])

    def restarted(self, generation: int, attempt: int) -> None:
        self._put("turnRestarted", [self._ids | {"generation": generation, "attempt": attempt}])

    def redacted(self, generation: int, attempt: int, offset: int, length: int) -> None:
        place = {"generation": generation, "attempt": attempt, "offset": offset, "length": length}
        self._put("turnRedacted", [self._ids | place])

    def waiting(self, wait: Wait) -> None:
        self._put("turnWaiting", [self._ids | wire_wait(wait)])

    def ended(self, end: End) -> None:
        outcome = {
            "generation": end.generation,
            "status": end.status,
            "finishReason": end.finish_reason,
            "length": end.length,
            "sha256": end.sha256,
            "error": wire_error(end.error),
        }
        self._put("turnEnded", [self._ids | outcome])

    @property
    def _extra(self) -> dict[str, str]:
        return {"turn_id": self._ids["turnId"]}

    def _put(self, target: str, arguments: list[Any]) -> None:
        if len(self._queue) == QUEUE_LENGTH:
            self.errors += 1  # the deque drops its oldest
        self._queue.append((target, arguments))
        self._wanted.set()

    async def _send_all(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._queue:
                await self._send(*self._queue.popleft())
            if self._closing:
                return

    async def _send(self, target: str, arguments: list[Any]) -> None:
        try:
            await self._browser.send_to_user(self._user_id, target, arguments)
        except DeliveryFailed as failure:
            if not self.errors:  # once a run: the rest is in the count
                logger.warning("SignalR did not take a message: %s", failure, extra=self._extra)
            self.errors += 1
