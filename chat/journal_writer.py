"""The one writer of a journal: conditional appends, and what a failed condition means.

A run of `stream_completion` owns the journal from its `claim` until somebody else's. Each append says where it thinks
the journal ends. When that fails the writer reads what came in between, whole and in order, and learns one of:

    Decided       there is an `end`, or a `stop` that still needs one
    Fenced        another run has claimed the journal
    JournalChanged    others wrote (or an earlier append of ours arrived late): read again from the start
    nothing       our own record is there and nothing after it: it was applied, go on
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from chat import records
from chat.closing_steps import Closer, gives_way
from chat.errors import ChatError, JournalMoved, StorageUnavailable
from chat.journal import Fold, JournalStore
from chat.records import Alive, Claim, End, Record
from chat.turn import conversation_key_of

# An append that timed out is tried again with identical bytes: 0.1 + 0.2 + ... s, about 12 s in all, well inside the
# 30 s after which a follower takes a silent claimant for dead.
UNKNOWN_OUTCOME_WAITS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)

logger = logging.getLogger(__name__)


class Decided(ChatError):
    """This happened: the outcome is fixed; the writer's fold holds the `end`, or the `stop` that needs one."""


class Fenced(ChatError):
    """This happened: another run claimed the journal. This one writes no more."""


class JournalChanged(ChatError):
    """This happened: records that are no claim, stop or end came in between. The journal is to be read again."""


class Tail(Enum):
    """What the records mean that came after a writer's position."""

    NOTHING = auto()
    APPLIED = auto()  # the writer's own, and nothing after them
    DECIDED = auto()
    FENCED = auto()
    CHANGED = auto()


def meaning_of_tail(fold: Fold, writer_id: str, found: Sequence[Record], own: Sequence[Record]) -> Tail:
    """`found` came after the writer's position and is in the fold by now; `own` is what it tried to append."""
    if not found and not own:
        return Tail.NOTHING
    if fold.decided:
        return Tail.DECIDED
    if any(isinstance(record, Claim) and record.writer != writer_id for record in found):
        return Tail.FENCED
    return Tail.APPLIED if own and list(found) == list(own) else Tail.CHANGED


class Clock(Protocol):
    """The time, as an argument."""

    def now(self) -> int:
        """Milliseconds since 1970 UTC; never goes back within a process."""


class JournalWriter:
    """Appends the records of one run, and keeps the fold of everything up to its position."""

    def __init__(self, store: JournalStore, turn_id: str, fold: Fold, writer_id: str, clock: Clock) -> None:
        self._store = store
        self._key = conversation_key_of(turn_id)
        self.turn_id = turn_id
        self.fold = fold
        self.writer_id = writer_id
        self.clock = clock

    async def claim(self, attempt: int) -> None:
        """Become the only writer. Raises JournalChanged when somebody wrote since the journal was read."""
        await self.append(Claim(self.writer_id, attempt, self.clock.now()))

    async def append(self, *new: Record) -> None:
        """Append these records in one piece. Raises Decided, Fenced, JournalChanged, or StorageUnavailable when
        storage stayed away for so long that this run has to give up."""
        data = records.encode(*new)
        waits = iter(UNKNOWN_OUTCOME_WAITS)
        while True:
            try:
                end = await self._store.append(self._key, self.turn_id, data, self.fold.position)
            except JournalMoved:
                if await self._read_tail(data):
                    return
            except StorageUnavailable:
                wait = next(waits, None)
                if wait is None:
                    raise
                logger.warning("Storage did not answer an append; trying again.", extra={"turn_id": self.turn_id})
                await asyncio.sleep(wait)
            else:
                for record in new:
                    self.fold.apply(record, end)
                return

    async def look_at_end(self) -> None:
        """See whether anybody wrote since. Raises Decided, Fenced or JournalChanged if so."""
        await self._read_tail(b"")

    async def alive(self) -> None:
        """Say that this run still works."""
        await self.append(Alive(self.writer_id, self.clock.now()))

    async def _read_tail(self, own: bytes) -> bool:
        """Fold what came after our position. True when `own` is there and nothing after it, False when nothing came."""
        tail = await self._store.read(self._key, self.turn_id, self.fold.position)
        if not tail and not own:
            return False
        tried = [record for record, _ in records.decode(own)]
        meaning = meaning_of_tail(self.fold, self.writer_id, self.fold.apply_bytes(tail), tried)
        match meaning:
            case Tail.DECIDED:
                raise Decided(self.turn_id)
            case Tail.FENCED:
                raise Fenced(self.turn_id)
            case Tail.CHANGED:
                raise JournalChanged(self.turn_id)
        return meaning is Tail.APPLIED


async def write_end(
    store: JournalStore,
    turn_id: str,
    fold: Fold,
    make_end: Callable[[Fold], End],
    closer: Closer,
    before: Sequence[Record] = (),
) -> bool:
    """Write the `end` that belongs to the journal as folded; after a failed condition fold again and say it anew.
    The records `before` it go into the same append: with this `end` or not at all.

    Returns True when the journal has an end (this one or another's), False when the closer gave way to others.
    """
    key = conversation_key_of(turn_id)
    waits = iter(UNKNOWN_OUTCOME_WAITS)
    while fold.end is None:
        new = (*before, make_end(fold))
        try:
            position = await store.append(key, turn_id, records.encode(*new), fold.position)
        except JournalMoved:
            fold.apply_bytes(await store.read(key, turn_id, fold.position))
            if not fold.decided and gives_way(closer):
                return False
        except StorageUnavailable:
            wait = next(waits, None)
            if wait is None:
                raise
            await asyncio.sleep(wait)
        else:
            for record in new:
                fold.apply(record, position)
    return True
