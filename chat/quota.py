"""Quotas: how many turns a user may have at once and in a day (UTC).

What counts are the lines of chat/usage.py. A `+` is appended under the condition that nobody wrote since the count, so
a hundred requests at once get no further than one after another. Lines are written also where there is no limit: by
them the sweeper finds turns that were begun and never started.

A starter may die between the count and the turn's `begin`. Before somebody is refused, turns that count as running for
a while are looked up in their journals.
"""

from collections import OrderedDict
from typing import Protocol

from chat.errors import ChatError, JournalMissing, JournalMoved
from chat.journal import JournalStore, read_journal
from chat.journal_writer import Clock
from chat.usage import DAY, Usage

# A turn takes seconds; whoever has too many at once may try again soon.
RETRY_AFTER = 5
# Long enough for any starter to have written `begin`, or to have given up.
DOUBTFUL_AFTER = 60_000
REMEMBERED_USERS = 10_000


class UsageStore(JournalStore, Protocol):
    """Where the lines are kept. A blob that is not there reads as empty, and its first append makes it."""

    async def append_usage(self, user: str, day: int, data: bytes, position: int | None) -> int: ...

    async def read_usage(self, user: str, day: int, start: int) -> bytes: ...


class LimitReached(ChatError):
    """This happened: the user has too many turns at once or today (HTTP 429). `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Quota:
    """Admits turns within the limits; 0 means no limit. Remembers what it has read, so a count costs one append."""

    def __init__(self, store: UsageStore, clock: Clock, at_once: int, per_day: int) -> None:
        self._store = store
        self._clock = clock
        self._at_once = at_once
        self._per_day = per_day
        self._known: OrderedDict[tuple[str, int], Usage] = OrderedDict()

    async def admit(self, user: str, turn_id: str) -> None:
        """Count a turn that is about to begin. Raises LimitReached when it is one too many."""
        day = self._clock.now() // DAY
        usage = self._usage(user, day)
        current = False
        while turn_id not in usage.started:
            reached = self._limit_reached(usage, day)
            if reached is None and await self._counted(user, day, usage, turn_id):
                return
            if reached is not None and current and not await self._found_ended(user, usage):
                raise reached
            start = usage.position
            data = await self._store.read_usage(user, day, start)
            if usage.position == start:  # another request may have read it meanwhile
                usage.apply(data)
            current = True

    async def _counted(self, user: str, day: int, usage: Usage, turn_id: str) -> bool:
        """Append the turn's line. False when others wrote since the count, which is then to be made again."""
        line = f"+{turn_id} {self._clock.now()}\n".encode()
        try:
            end = await self._store.append_usage(user, day, line, usage.position)
        except JournalMoved:
            return False
        if end == usage.position + len(line):
            usage.apply(line)
        return True

    async def _found_ended(self, user: str, usage: Usage) -> bool:
        """Whether turns that count as running were found to be over, or never begun. They are noted as ended."""
        found = False
        for turn_id, at in usage.running.items():
            if self._clock.now() - at > DOUBTFUL_AFTER and await self._is_over(turn_id):
                await self.turn_ended(user, at, turn_id)
                found = True
        return found

    async def _is_over(self, turn_id: str) -> bool:
        try:
            return (await read_journal(self._store, turn_id)).end is not None
        except JournalMissing:
            return True

    async def turn_ended(self, user: str, begun_at: int, turn_id: str) -> None:
        """The turn no longer counts as one at once."""
        await self._store.append_usage(user, begun_at // DAY, f"-{turn_id}\n".encode(), None)

    def _limit_reached(self, usage: Usage, day: int) -> LimitReached | None:
        if self._per_day and len(usage.started) >= self._per_day:
            until_midnight = ((day + 1) * DAY - self._clock.now()) // 1000 + 1
            return LimitReached(f"{self._per_day} turns a day are allowed; the day ends at 00:00 UTC.", until_midnight)
        if self._at_once and len(usage.running) >= self._at_once:
            return LimitReached(f"{self._at_once} turns at once are allowed; wait for one to end.", RETRY_AFTER)
        return None

    def _usage(self, user: str, day: int) -> Usage:
        usage = self._known.setdefault((user, day), Usage())
        self._known.move_to_end((user, day))
        if len(self._known) > REMEMBERED_USERS:
            self._known.popitem(last=False)
        return usage
