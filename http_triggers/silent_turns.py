"""Silent turns: readers help those that nobody goes on with. When, is decided in chat/reader_steps.py.

A reader's request is answered whether helping succeeds or not; the next one tries again.
"""

import logging

from azure.durable_functions import DurableOrchestrationClient

from adapters import clients
from adapters.durable import DurableInstances
from chat.acceptance import Acceptance
from chat.closing_steps import Closer
from chat.journal import Fold
from chat.journal_writer import write_end
from chat.outcome import end_of_stop
from chat.reader_steps import Help, help_for

BY = "reader"

logger = logging.getLogger(__name__)


class Remembered:
    """What this process has seen to. Only saves requests: forgetting does no harm."""

    def __init__(self, size: int = 10_000) -> None:
        self._known: set[object] = set()
        self._size = size

    def __contains__(self, what: object) -> bool:
        return what in self._known

    def add(self, what: object) -> None:
        if len(self._known) >= self._size:
            self._known.clear()
        self._known.add(what)

    def discard(self, what: object) -> None:
        self._known.discard(what)


_started = Remembered()  # ids of turns that have an instance
_looks = Remembered()  # (turn id, claims): one look is enough for each claim


async def help_along(fold: Fold, client: DurableOrchestrationClient) -> None:
    """See to this turn if it needs it."""
    needed = help_for(fold, clients.clock.now())
    if needed is Help.NONE or fold.begin is None:
        return
    turn, instances = fold.begin.turn_id, DurableInstances(client)
    try:
        match needed:
            case Help.START:
                await _start(fold, instances)
            case Help.LOOK:
                await _look(fold, instances)
            case Help.END:
                await _end(fold, instances)
    except Exception as error:  # noqa: BLE001 - the durable client raises bare Exception; the reader reads on
        logger.warning("A silent turn could not be helped: %r", error, extra={"turn_id": turn})


async def _start(fold: Fold, instances: DurableInstances) -> None:
    """Start a begun turn that has no instance. One that has waits for an earlier turn, or is about to claim."""
    assert fold.begin is not None
    turn = fold.begin.turn_id
    if turn in _started:
        return
    if not await instances.exists(turn):
        logger.warning("A turn was begun and not started; starting it.", extra={"turn_id": turn})
        await Acceptance(clients.journal(), instances, clients.clock).resume(fold.begin)
    _started.add(turn)


async def _look(fold: Fold, instances: DurableInstances) -> None:
    assert fold.begin is not None
    turn, look = fold.begin.turn_id, (fold.begin.turn_id, fold.claims)
    if look in _looks:
        return
    _looks.add(look)  # before the await: a storm of readers raises one event
    logger.warning("A running turn is silent; its orchestration looks after it.", extra={"turn_id": turn})
    if not await instances.look(turn, fold.claims, fold.position):
        _looks.discard(look)


async def _end(fold: Fold, instances: DurableInstances) -> None:
    """Write the `end` that belongs to the `stop`, and have a run tell everybody who waits for it.

    A turn that was never started is started: its run does both.
    """
    assert fold.begin is not None
    turn = fold.begin.turn_id
    if fold.claims == 0 and turn not in _started:
        await _start(fold, instances)
    logger.warning("A turn was stopped and has no end; writing it.", extra={"turn_id": turn})
    await write_end(
        clients.journal(),
        turn,
        fold,
        lambda seen: end_of_stop(seen, BY, clients.clock.now()),
        Closer.STOP_ROUTE,
    )
    # Not the silent run, which may be dead.
    await instances.look(turn, fold.claims, fold.position)
