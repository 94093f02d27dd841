"""Delivery: frames on their way to the browser, one send in flight.

SignalR may be slow, away, or allow only so many messages; the answer does not wait for it. Messages queue here and are
sent one after another, since awaiting each is what keeps their order. What is still queued is joined: consecutive
frames of a generation become one message, so however long a send has to wait the queue holds little more than the text
itself, and nothing is dropped. A message that may be taken later stays at the head of the queue and goes again with
what came meanwhile. Only what the service will never take is dropped, and what is left when a run parts; both are
counted, and browsers fetch it from the journal.
"""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Protocol

from chat.errors import DeliveryFailed
from chat.frames import utf16_length
from chat.pace import Pace, Urgency, Window
from chat.records import End, Frame, Wait
from chat.send_line import SendLine, Ticket
from chat.turn_view import wire_error, wire_wait

# How long a finished turn waits for its last messages to leave. Whoever is not reached by then asks for them.
PARTING_TIME = 2.0
# The longest text that is joined, in code points: six bytes each in JSON at worst, within the service's 1 MB.
LONGEST_JOINED = 100_000
# Waits after a send that failed for now, in seconds: the service is not asked more often than a page polls.
SHORTEST_BACKOFF, LONGEST_BACKOFF = 0.5, 5.0

logger = logging.getLogger(__name__)


class Browser(Protocol):
    """The way to a user's browsers."""

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        """Raises DeliveryFailed when the service did not take the message."""


@dataclass(frozen=True, slots=True)
class _Event:
    """A message that is not text."""

    target: str
    values: dict[str, Any]
    urgency: Urgency


class Delivery:
    """The messages of one run to one user. Use as `async with`: leaving waits for what is queued, within bounds."""

    def __init__(
        self, browser: Browser, user_id: str, turn_id: str, conversation_id: str, line: SendLine | None = None
    ) -> None:
        self._browser = browser
        self._user_id = user_id
        self._ids = {"turnId": turn_id, "conversationId": conversation_id}
        self._line = line or SendLine()
        self._ticket: Ticket | None = None
        self._queue: deque[Frame | _Event] = deque()
        self._wanted = asyncio.Event()
        self._pressing = asyncio.Event()  # something is queued that does not wait for the window
        self._window = Window(Pace().window)
        self._text_due = 0.0
        self._backoff = 0.0  # the wait after the last failure in a row of them
        self._pause = 0.0  # the wait before the next send
        self._spoke = False  # text of this generation has left
        self._in_flight = 0
        self._parting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.errors = 0

    async def __aenter__(self) -> "Delivery":
        self._task = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._parting.set()
        self._changed()
        try:
            async with asyncio.timeout(PARTING_TIME):
                await self._task
        except TimeoutError:
            self.errors += len(self._queue) + self._in_flight
            logger.warning("SignalR is slow: the last messages of a turn were not sent.", extra=self._extra)

    def started(self, generation: int, attempt: int) -> None:
        self._put(_Event("turnStarted", {"generation": generation, "attempt": attempt}, Urgency.NOTICE))

    def frame(self, frame: Frame) -> None:
        self._put(frame)

    def restarted(self, generation: int, attempt: int) -> None:
        self._put(_Event("turnRestarted", {"generation": generation, "attempt": attempt}, Urgency.ENDING))

    def redacted(self, generation: int, attempt: int, offset: int, length: int) -> None:
        place = {"generation": generation, "attempt": attempt, "offset": offset, "length": length}
        self._put(_Event("turnRedacted", place, Urgency.ENDING))

    def waiting(self, wait: Wait) -> None:
        self._put(_Event("turnWaiting", wire_wait(wait), Urgency.ENDING))

    def ended(self, end: End) -> None:
        outcome = {
            "generation": end.generation,
            "status": end.status,
            "finishReason": end.finish_reason,
            "length": end.length,
            "sha256": end.sha256,
            "error": wire_error(end.error),
        }
        self._put(_Event("turnEnded", outcome, Urgency.ENDING))

    @property
    def _extra(self) -> dict[str, str]:
        return {"turn_id": self._ids["turnId"]}

    def _put(self, message: Frame | _Event) -> None:
        joined = _joined(self._queue[-1], message) if self._queue else None
        if joined is None:
            self._queue.append(message)
        else:
            self._queue[-1] = joined
        self._changed()

    def _changed(self) -> None:
        self._wanted.set()
        urgency = self._urgency()
        if urgency < Urgency.TEXT:
            self._pressing.set()
        if self._ticket is not None:
            self._line.hurry(self._ticket, urgency)

    def _urgency(self) -> Urgency:
        """Of the queue: everything in it waits behind its head."""
        if not self._spoke and any(isinstance(message, Frame) for message in self._queue):
            return Urgency.FIRST_TEXT
        if self._parting.is_set():
            return Urgency.ENDING
        urgencies = (Urgency.TEXT if isinstance(message, Frame) else message.urgency for message in self._queue)
        return min(urgencies, default=Urgency.NOTICE)

    async def _send_all(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._queue:
                await self._gather()
                ticket = self._ticket = self._line.enter(self._urgency())
                try:
                    await ticket.called
                    self._ticket = None
                    await self._send(self._next())
                finally:
                    self._line.leave(ticket)
            if self._parting.is_set():
                return

    async def _gather(self) -> None:
        """Let text gather until its window is over."""
        if self._pause and self._parting.is_set():
            await asyncio.sleep(self._pause)
        else:
            await _wait(self._parting, self._pause)
        self._pressing.clear()
        if self._urgency() is Urgency.TEXT:
            await _wait(self._pressing, self._text_due - asyncio.get_running_loop().time())

    def _next(self) -> Frame | _Event:
        """The head of the queue. A notice that text has caught up with is left out: the text says the same."""
        message = self._queue.popleft()
        if isinstance(message, _Event) and message.urgency is Urgency.NOTICE and self._queue:
            message = self._queue.popleft()
        return message

    async def _send(self, message: Frame | _Event) -> None:
        time = asyncio.get_running_loop().time
        began, self._in_flight = time(), 1
        try:
            await self._browser.send_to_user(self._user_id, *self._on_the_wire(message))
        except DeliveryFailed as failure:
            if not self.errors:  # once a run: the rest is in the count
                logger.warning("SignalR did not take a message: %s", failure, extra=self._extra)
            self._failed(message, failure)
        else:
            self._backoff = self._pause = 0.0
            if isinstance(message, Frame):
                self._spoke = True
                self._text_due = self._window.next_after(began, time())
            elif message.target == "turnRestarted":
                self._spoke = False
        self._in_flight = 0

    def _failed(self, message: Frame | _Event, failure: DeliveryFailed) -> None:
        self.errors += 1
        self._pause = 0.0
        if failure.refused:
            self._line.refused(failure.retry_after)  # everybody pauses
            self._keep(message)
        elif failure.temporary and not (self._parting.is_set() and self._backoff):
            self._keep(message)
            self._pause = self._backoff = min(max(SHORTEST_BACKOFF, 2 * self._backoff), LONGEST_BACKOFF)
        # else it is dropped: never to be taken, or a run parts, which a service that is away does not hold up

    def _keep(self, message: Frame | _Event) -> None:
        """Back to the head of the queue, joined with what came meanwhile."""
        joined = _joined(message, self._queue[0]) if self._queue else None
        if joined is None:
            self._queue.appendleft(message)
        else:
            self._queue[0] = joined

    def _on_the_wire(self, message: Frame | _Event) -> tuple[str, list[Any]]:
        if isinstance(message, _Event):
            return message.target, [self._ids | message.values]
        place = {
            "generation": message.generation,
            "attempt": message.attempt,
            "seq": message.seq,
            "offset": message.offset,
        }
        return "token", [message.text, self._ids | place]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event comes or the time is over, whichever is first."""
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def _joined(first: Frame | _Event, second: Frame | _Event) -> Frame | None:
    """Both as one frame, which has the number of the second; None unless the second goes on where the first ends."""
    if not isinstance(first, Frame) or not isinstance(second, Frame):
        return None
    follows = second.offset == first.offset + utf16_length(first.text)
    if (first.generation, first.attempt) != (second.generation, second.attempt) or not follows:
        return None
    if len(first.text) + len(second.text) > LONGEST_JOINED:
        return None
    return replace(second, offset=first.offset, text=first.text + second.text)
