"""Tails: what comes after a position of a journal, read once for all who follow it in this process.

Readers that have caught up wait for the same bytes. The first one asks storage a moment from now, the others wait for
its answer; then all of them stand at the same new position and do so again. So fifty readers of one turn cost storage
what one does, and nothing runs for a turn that nobody reads.
"""

import asyncio

from chat.journal import JournalStore
from chat.turn import conversation_key_of

# Seconds. What a reader sees is this much late at most; a reader alone costs storage so many reads.
POLL_EVERY = 0.15


class JournalTails:
    """The reads that are under way. Belongs to the event loop in which it is used."""

    def __init__(self, store: JournalStore, poll_every: float = POLL_EVERY) -> None:
        self._store = store
        self._poll_every = poll_every
        self._reads: dict[tuple[str, int], asyncio.Task[bytes]] = {}

    @property
    def reading(self) -> int:
        """How many reads are under way."""
        return len(self._reads)

    async def tail(self, turn_id: str, position: int) -> bytes:
        """What stands after `position` a moment from now; often nothing. Raises what reading raises."""
        read = self._reads.get((turn_id, position))
        if read is None:
            read = asyncio.create_task(self._read(turn_id, position))
            read.add_done_callback(_note_failure)
            self._reads[turn_id, position] = read
        # A reader that leaves must not take the read away from the others.
        return await asyncio.shield(read)

    async def _read(self, turn_id: str, position: int) -> bytes:
        try:
            await asyncio.sleep(self._poll_every)
            return await self._store.read(conversation_key_of(turn_id), turn_id, position)
        finally:
            del self._reads[turn_id, position]


def _note_failure(read: asyncio.Task[bytes]) -> None:
    """Those who wait are told; if all have left, nobody has to be."""
    if not read.cancelled():
        read.exception()
