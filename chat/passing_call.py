"""A call on its way through the proxy: from its acceptance to its one record.

Whatever ends it (the service, the caller, an error of ours) calls `end`, and the first one counts. While it goes on a
heartbeat stores how far it is, so that a sweeper can tell a slow call from a dead worker's; the same heartbeat ends a
call whose caller does not take what it is offered. A service that is silent for long is no such case: models think.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from chat.call_logging import REFRESH_SECONDS, CallJournal, CallLog, Overtaken
from chat.completion_tap import CompletionTap
from chat.journal_writer import Clock
from chat.proxied_call import Answered, Ending, ProxiedCall, call_record

# A caller that does not take a piece for so long is gone, or as good as gone: its stream must not be held for it.
LONGEST_STANDSTILL = 120_000  # ms
CLIENT_GONE = Ending("client_gone", {"code": "client_gone", "message": "The caller left before the answer was whole."})
NOT_STORED = Ending("failed", {"code": "storage_unavailable", "message": "The call could not be written down."})

logger = logging.getLogger(__name__)


class PassingCall:
    """One accepted call."""

    def __init__(self, call: ProxiedCall, tap: CompletionTap, journal: CallJournal, log: CallLog, clock: Clock) -> None:
        self.call = call
        self.tap = tap
        self.answered: Answered | None = None
        self._journal = journal
        self._log = log
        self._clock = clock
        self._offered_at: int | None = None
        self._on_standstill: Callable[[], None] = lambda: None
        self._heartbeat: asyncio.Task[None] | None = None
        self._over = False

    async def accept(self) -> None:
        """Store that it was accepted. Raises StorageUnavailable: it could not be logged, so it must not be made."""
        await self._journal.accept(self._record(None))
        if not self._over:
            self._heartbeat = asyncio.create_task(self._beat())

    def offer(self) -> None:
        """From now on it is for the caller to take something."""
        self._offered_at = self._clock.now()

    def taken(self) -> None:
        """The caller took it."""
        self._offered_at = None

    def on_standstill(self, close: Callable[[], None]) -> None:
        """What is to be closed when the caller takes nothing any more."""
        self._on_standstill = close

    def end(self, ending: Ending) -> None:
        """It is over. Only the first ending counts; the record is written down and sent in the background."""
        if self._over:
            return
        self._over = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._log.finish(self._journal, self._record(ending))

    def _record(self, ending: Ending | None) -> dict[str, Any]:
        return call_record(self.call, self.answered, self.tap.learned, ending, self._clock.now())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            if self._offered_at is not None and self._clock.now() - self._offered_at > LONGEST_STANDSTILL:
                logger.warning("A caller takes nothing any more.", extra={"call_id": self.call.call_id})
                self.end(CLIENT_GONE)
                self._on_standstill()
                return
            # A sweeper that took this call for dead has closed its record; the caller gets the rest all the same.
            with contextlib.suppress(Overtaken):
                await self._journal.refresh(self._record(None))
