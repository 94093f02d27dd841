"""The paced sender: writes the events of one answer to its connection, each when its time has come.

A task that sleeps and writes for every token costs several times the write itself. So an answer is one timer callback
that writes what is due straight to the transport, in HTTP chunks of its own, and sets the next timer; the handler
waits for one future. A reader that is slower than the answer stops it at a small buffer.
"""

import asyncio
import math
from collections.abc import Iterator
from typing import NamedTuple

from stand_in.azure_openai.deployments import Speed

LARGEST_BUFFER = 64 * 1024
RETRY_WHEN_FULL_SECONDS = 0.01
UNPACED_WRITES_AT_ONCE = 32  # then the event loop gets its turn


class Event(NamedTuple):
    """Bytes to write, and how many tokens of the answer have been said before them: that decides when."""

    data: bytes
    tokens_before: int


class PacedSender:
    """Sends one sequence of events."""

    def __init__(self, transport: asyncio.Transport, speed: Speed, *, started: float) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._origin = started + speed.first_token_seconds
        self._interval = 0.0 if math.isinf(speed.tokens_per_second) else 1 / speed.tokens_per_second
        self._burst = speed.burst_seconds
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._events: Iterator[Event] = iter(())
        self._next: Event | None = None
        self._finished: asyncio.Future[None] | None = None

    def delay(self, seconds: float) -> None:
        """Everything that is still to come comes later by this much."""
        self._origin += seconds

    async def send(self, events: Iterator[Event]) -> None:
        """Return when the last of them was written. Cancelled when the client goes."""
        self._events = events
        self._finished = self._loop.create_future()
        self._next = next(events, None)
        self._write_due()
        try:
            await self._finished
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def stop(self) -> None:
        """Nothing more is written, from now on; `send` returns."""
        if self._timer is not None:
            self._timer.cancel()
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def _due(self, event: Event) -> float:
        elapsed = event.tokens_before * self._interval
        if self._burst:
            elapsed = math.ceil(elapsed / self._burst) * self._burst
        return self._origin + elapsed

    def _write_due(self) -> None:
        try:
            self._write_until(self._loop.time())
        except Exception as error:  # noqa: BLE001  (a callback has nobody to raise to: the handler gets it)
            assert self._finished is not None
            if not self._finished.done():
                self._finished.set_exception(error)

    def _write_until(self, now: float) -> None:
        assert self._finished is not None
        written = 0
        while (event := self._next) is not None:
            due = self._due(event)
            if due > now:
                self._timer = self._loop.call_at(due, self._write_due)
                return
            if self._transport.is_closing():
                return  # the handler is being cancelled
            if self._transport.get_write_buffer_size() > LARGEST_BUFFER:
                self._timer = self._loop.call_later(RETRY_WHEN_FULL_SECONDS, self._write_due)
                return
            if written == UNPACED_WRITES_AT_ONCE:
                self._timer = self._loop.call_soon(self._write_due)
                return
            self._transport.write(b"%x\r\n%b\r\n" % (len(event.data), event.data))
            written += 1
            self._next = next(self._events, None)
        if not self._finished.done():
            self._finished.set_result(None)
