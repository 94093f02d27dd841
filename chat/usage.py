"""Usage: a user's turns on one day (UTC), as the lines of an append blob say.

    +<turn id> <milliseconds>    counted, just before the turn is begun
    -<turn id>                   the turn has ended, or was never begun

Lines about one turn count once, so telling twice changes nothing. Every turn has its `+` before its `begin`: the lines
are also the index in which a begun turn is found that nobody ever looks at.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

DAY = 24 * 60 * 60 * 1000


@dataclass(slots=True)
class Usage:
    """What the lines up to `position` come to."""

    position: int = 0
    started: dict[str, int] = field(default_factory=dict)  # turn id -> when
    ended: set[str] = field(default_factory=set)

    @property
    def running(self) -> dict[str, int]:
        """The turns without a `-`, and when they were counted."""
        return {turn_id: at for turn_id, at in self.started.items() if turn_id not in self.ended}

    def apply(self, data: bytes) -> None:
        """Take in the lines that follow the position."""
        self.position += len(data)
        for line in data.decode().splitlines():
            turn_id, _, at = line[1:].partition(" ")
            if line[0] == "+":
                self.started.setdefault(turn_id, int(at))
            else:
                self.ended.add(turn_id)


class UsageIndex(Protocol):
    """Where the lines are kept, by day."""

    def usages(self, day: int) -> AsyncIterator[tuple[str, int]]:
        """Each user with lines on that day, and how many bytes they have."""

    async def read_usage(self, user: str, day: int, start: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """A turn that has a `+` and no `-`."""

    turn_id: str
    user: str
    at: int


class BegunTurns:
    """Finds the turns of the last days that were counted and whose end was not. Remembers what it has read: as long as
    nothing is written, a look costs one listing a day."""

    def __init__(self, index: UsageIndex) -> None:
        self._index = index
        self._known: dict[tuple[str, int], Usage] = {}

    async def without_end(self, since: int, until: int) -> AsyncIterator[Counted]:
        """Those that were counted between these times (milliseconds)."""
        days = range(since // DAY, until // DAY + 1)
        self._known = {place: usage for place, usage in self._known.items() if place[1] in days}
        for day in days:
            async for user, size in self._index.usages(day):
                usage = self._known.setdefault((user, day), Usage())
                if size > usage.position:
                    usage.apply(await self._index.read_usage(user, day, usage.position))
                running = usage.running
                # What has ended needs no place in memory.
                usage.started, usage.ended = running, set()
                for turn_id, at in running.items():
                    if since <= at < until:
                        yield Counted(turn_id, user, at)
