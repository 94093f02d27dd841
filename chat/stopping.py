"""Stopping: a turn ends because its user asked for it, decided in the journal like every ending.

    stop      appended without a condition: the first `stop` or `end` decides, for ever
    wake      the orchestration leaves whatever it waits for
    end       by the run that writes; by us when no run does, or when the one that should is silent for too long

The order makes it safe to die after any step. Once `stop` is stored no text is added: the writer's next append fails,
within `Pace.look` it looks by itself, and in this process it hears a bell. Whoever comes next (the caller's next try, a
woken run, a reader of the status) finds a `stop` without its `end` and goes on from there. What was shown stays: the
text up to the `stop`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from chat import records
from chat.bells import Bells
from chat.closing_steps import STOP_PATIENCE, Closer, StopStep, stop_step
from chat.errors import StorageUnavailable
from chat.journal import Fold, JournalStore
from chat.journal_writer import Clock, write_end
from chat.outcome import end_of_stop
from chat.records import Begin, Stop
from chat.turn import conversation_key_of

# Seconds beyond the patience with the writer for our own end; storage that is slower than this is as good as away.
ROOM_FOR_THE_END = 3.0
POLL_EVERY = 0.03
STOP_WAITS = (0.1, 0.3, 1.0)  # a person waits: as patient as a starter

logger = logging.getLogger(__name__)


class Orchestrations(Protocol):
    """The durable world, as far as stopping a turn needs it."""

    async def stop(self, turn_id: str) -> None:
        """Tell the turn's orchestration to wait no longer. Getting lost is allowed: timers stand behind its waits."""


class Stopping:
    """Stops turns. `resume` starts a begun turn that nobody started: its record and the turn behind it need that."""

    def __init__(
        self,
        store: JournalStore,
        orchestrations: Orchestrations,
        clock: Clock,
        resume: Callable[[Begin], Awaitable[None]],
        bells: Bells,
    ) -> None:
        self._store = store
        self._orchestrations = orchestrations
        self._clock = clock
        self._resume = resume
        self._bells = bells

    async def stop(self, fold: Fold) -> None:
        """Stop the turn of this journal, and take in what has come of it: its `end`, unless storage is too slow or
        went away after the `stop` was stored. A `stop` that is there already is brought to its end.

        Raises StorageUnavailable when nobody knows whether the `stop` is stored; trying again is safe.
        """
        if not fold.decided:
            await self._append_stop(fold)
            self._bells.ring(_turn_of(fold))
        try:
            async with asyncio.timeout(STOP_PATIENCE + ROOM_FOR_THE_END):
                await self._catch_up(fold)
                await self._finish(fold)
        except (StorageUnavailable, TimeoutError) as error:
            logger.warning(
                "A stop is stored, and its end is still to come: %r", error, extra={"turn_id": _turn_of(fold)}
            )

    async def _finish(self, fold: Fold) -> None:
        begin = fold.begin
        assert begin is not None
        if fold.end is not None:
            return
        # Before the end is written: should we die in between, the woken run finds the `stop` and writes it.
        await self._orchestrations.stop(begin.turn_id)
        if fold.claims == 0:
            await self._resume(begin)
        while (step := stop_step(fold, self._waited(fold))) is StopStep.WAIT:
            await asyncio.sleep(POLL_EVERY)
            await self._catch_up(fold)
        if step is StopStep.WRITE_END:
            await write_end(
                self._store,
                begin.turn_id,
                fold,
                lambda seen: end_of_stop(seen, "stop", self._clock.now()),
                Closer.STOP_ROUTE,
            )

    def _waited(self, fold: Fold) -> float:
        """Seconds since the `stop`, also since one that an earlier request stored."""
        assert fold.stop is not None
        return (self._clock.now() - fold.stop.at) / 1000

    async def _append_stop(self, fold: Fold) -> None:
        turn_id = _turn_of(fold)
        data = records.encode(Stop(self._clock.now()))
        waits = iter(STOP_WAITS)
        while True:
            try:
                await self._store.append(conversation_key_of(turn_id), turn_id, data, None)
                return
            except StorageUnavailable:  # it may be stored: a second one is read over
                wait = next(waits, None)
                if wait is None:
                    raise
                await asyncio.sleep(wait)

    async def _catch_up(self, fold: Fold) -> None:
        turn_id = _turn_of(fold)
        fold.apply_bytes(await self._store.read(conversation_key_of(turn_id), turn_id, fold.position))


def _turn_of(fold: Fold) -> str:
    assert fold.begin is not None
    return fold.begin.turn_id
