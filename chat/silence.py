"""Silence: when a model that was asked counts as stalled.

A service may keep a connection busy without answering: comments of the event stream (`: keep-alive`), chunks with
nothing in them, the head of an answer and then nothing. The transport's own read timeout sees bytes and is content.
So silence is counted from the last *sign of life*, and these are signs of life:

    text, a refusal, a finish_reason, a tool call, usage, filter results    anything that the answer is made of
    a piece of reasoning (`reasoning_content`, a summary)                   a reasoning model thinks where we can see it
    the head of the answer: the response's headers, the first chunk         once; it says that we were let in

Comments, pings, chunks with an empty delta and repeated heads are none. A reasoning model that thinks in secret sends
nothing at all, which is why it is given more time.
"""

import asyncio
from types import TracebackType
from typing import Self

from chat.errors import ModelFailure
from chat.failure_policy import FailureClass


class SilenceWatch:
    """Ends what is awaited inside it when nothing was heard for `limit` seconds: the `async with` raises ModelFailure.

    A sign of life costs one look at the clock. The alarm is not moved for each, but looks for itself when it goes off
    whether it was too early.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._is_enough = False
        self._timeout = asyncio.timeout(None)
        self._alarm: asyncio.TimerHandle | None = None

    def heard(self) -> None:
        """There was a sign of life."""
        self._heard_at = self._loop.time()

    def enough(self) -> None:
        """What is still to come may be missing: from now on silence ends the waiting, and is no failure."""
        self._is_enough = True

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._alarm is not None:
            self._alarm.cancel()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as silence:
            if self._is_enough:
                return True
            message = f"The model service fell silent for {self._limit:g} s."
            raise ModelFailure(FailureClass.STALLED, "read_timeout", message) from silence
        return False

    def _look(self) -> None:
        due = self._heard_at + self._limit
        if self._loop.time() < due:
            self._alarm = self._loop.call_at(due, self._look)
        else:
            self._alarm = None
            self._timeout.reschedule(due)
