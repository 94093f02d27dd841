"""Acceptance: from here on a turn exists and will have an end.

    create    the empty blob, If-None-Match: *
    begin     at position 0: who wins defines the turn, who loses reads what it is
    order     the turn's place in its conversation
    admit     only under `reject`: did it have to queue? decided by a record at position 1
    start     the orchestration, when no instance is seen

Whoever loses position 0 to the same request goes on with the same steps: the winner may have died after any of them.
Only when all are done the caller is told 202.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from chat import records
from chat.acceptance_steps import Progress, Step, admission, next_step, verdict
from chat.conversation_order import TurnOrder
from chat.errors import ChatError, JournalMoved, StorageUnavailable
from chat.journal import Fold, JournalStore, folded, read_journal
from chat.journal_writer import Clock
from chat.records import Begin
from chat.turn import conversation_key_of

Result = TypeVar("Result")
# A person waits for the 202: a starter gives up sooner than a writer.
STARTER_WAITS = (0.1, 0.3, 1.0)


class KeyReused(ChatError):
    """This happened: the Idempotency-Key stands for another request already (HTTP 409)."""


class TurnRejected(ChatError):
    """This happened: an earlier turn runs, and this one asked not to queue (HTTP 409)."""


class Starter(Protocol):
    """The durable world, as far as accepting a turn needs it."""

    async def exists(self, turn_id: str) -> bool:
        """Whether an instance of this id is known, in whatever status."""

    async def start(self, turn_id: str) -> None:
        """Start chat_turn; an instance that runs already means success."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A turn that exists; `new` is False when this request had been accepted before."""

    begin: Begin
    new: bool


async def _refusal(admission: Callable[[], Awaitable[None]]) -> ChatError | None:
    """Why the admission refuses, None when it does not."""
    try:
        await admission()
    except ChatError as error:
        return error
    return None


class Acceptance:
    """Accepts turns. `admission` is awaited before a turn is begun and may refuse it by raising; a turn that exists
    already is not refused."""

    def __init__(self, store: JournalStore, starter: Starter, clock: Clock) -> None:
        self._store = store
        self._starter = starter
        self._clock = clock

    async def accept(self, begin: Begin, admission: Callable[[], Awaitable[None]]) -> Accepted:
        """Raises KeyReused, TurnRejected, StorageUnavailable, and what the admission raises."""
        # Side by side: blobs without a record are nothing, should the admission refuse.
        key = conversation_key_of(begin.turn_id)
        first, refusal, _ = await asyncio.gather(
            self._existing(begin.turn_id), _refusal(admission), self._patiently(lambda: self._store.prepare_order(key))
        )
        new = False
        if first is None:
            if refusal is not None:
                raise refusal
            first, new = await self._begin(begin)
        return await self._finish(begin.request_hash, first, new=new)

    async def resume(self, begin: Begin) -> None:
        """Go on with what the starter of this turn left undone: a begun turn is started by whoever finds it."""
        await self._finish(begin.request_hash, begin, new=False)

    async def _existing(self, turn_id: str) -> Begin | None:
        """Create the journal, or read the `begin` of the one that is there (None when it is still empty)."""
        key = conversation_key_of(turn_id)
        if await self._patiently(lambda: self._store.create(key, turn_id)):
            return None
        return folded(records.decode(await self._store.read(key, turn_id))).begin

    async def _begin(self, begin: Begin) -> tuple[Begin, bool]:
        key = conversation_key_of(begin.turn_id)
        try:
            await self._patiently(lambda: self._store.append(key, begin.turn_id, records.encode(begin), 0))
        except JournalMoved:
            first = (await read_journal(self._store, begin.turn_id)).begin
            assert first is not None
            return first, False  # somebody else's, or an append of ours that had seemed to fail
        return begin, True

    async def _finish(self, asked: str, begin: Begin, *, new: bool) -> Accepted:
        """Every step after `begin`, for a request with this hash."""
        turn_id, progress = begin.turn_id, Progress(begin)
        while True:
            match next_step(asked, progress):
                case Step.REFUSE_KEY:
                    raise KeyReused(turn_id)
                case Step.PLACE:
                    await self._place(turn_id, new=new)
                    progress = replace(progress, placed=True)
                case Step.ADMIT:
                    progress = replace(progress, admitted=await self._admit(turn_id))
                case Step.REJECT:
                    raise TurnRejected(turn_id)
                case Step.START:
                    # The winner of position 0 need not look: a second execution of a turn is harmless.
                    if new or not await self._starter.exists(turn_id):
                        await self._starter.start(turn_id)
                    progress = replace(progress, started=True)
                case Step.ACCEPTED:
                    return Accepted(begin, new)

    async def _place(self, turn_id: str, *, new: bool) -> None:
        key = conversation_key_of(turn_id)
        if new or turn_id not in await self._store.read_order(key):
            await self._patiently(lambda: self._store.append_order(key, turn_id))

    async def _admit(self, turn_id: str) -> bool:
        """Under `reject`: append `admit`, or the `end` that says no; whatever is there already counts."""
        fold = await read_journal(self._store, turn_id)
        while (admitted := admission(fold)) is None:
            fold = await self._decide(turn_id, fold)
        return admitted

    async def _decide(self, turn_id: str, fold: Fold) -> Fold:
        key = conversation_key_of(turn_id)
        order = TurnOrder(self._store, await self._store.read_order(key), turn_id)
        blocking = await order.blocking_turn()
        if blocking is not None and not await self._starter.exists(blocking):
            await self._starter.start(blocking)
        said = verdict(fold, blocking, self._clock.now())
        try:
            data = records.encode(said)
            await self._patiently(lambda: self._store.append(key, turn_id, data, fold.position))
        except JournalMoved:
            return await read_journal(self._store, turn_id)
        fold.apply(said, fold.position + len(data))
        return fold

    async def _patiently(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat a step whose outcome is unknown: each gives the same when it is applied twice."""
        for wait in STARTER_WAITS:
            try:
                return await step()
            except StorageUnavailable:
                await asyncio.sleep(wait)
        return await step()
