"""Silent turns: readers help those that nobody goes on with. When, is decided in chat/reader_steps.py.

A reader's request is answered whether helping succeeds or not; the next one tries again.
"""

import asyncio
import logging

from azure.durable_functions import DurableOrchestrationClient

from adapters import clients
from adapters.durable import DurableInstances
from chat.acceptance import Acceptance
from chat.journal import Fold
from chat.reader_steps import Help, help_for
from chat.stopping import Stopping

# ms after which it is tried again: an event may get lost on its way to the orchestration, which takes each only once.
AGAIN_AFTER = 20_000
PATIENCE = 5.0  # seconds that a reader is kept waiting for it; every step may be left in the middle

logger = logging.getLogger(__name__)


class Lately:
    """What this process has seen to, and when (ms). It only saves requests: forgetting does no harm."""

    def __init__(self, size: int = 10_000) -> None:
        self._done: dict[object, int] = {}
        self._size = size

    def has(self, what: object, now: int) -> bool:
        """Whether it was seen to lately."""
        return now - self._done.get(what, -AGAIN_AFTER) < AGAIN_AFTER

    def note(self, what: object, now: int) -> None:
        if len(self._done) >= self._size:
            self._done.clear()
        self._done[what] = now


_started = Lately()  # ids of turns that have an instance
_looks = Lately()  # (turn id, claims): one look is enough for each claim


async def help_along(fold: Fold, client: DurableOrchestrationClient) -> None:
    """See to this turn if it needs it."""
    needed = help_for(fold, clients.clock.now())
    if needed is Help.NONE or fold.begin is None:
        return
    turn, instances = fold.begin.turn_id, DurableInstances(client)
    try:
        async with asyncio.timeout(PATIENCE):
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
    turn, now = fold.begin.turn_id, clients.clock.now()
    if _started.has(turn, now):
        return
    if not await instances.exists(turn):
        logger.warning("A turn was begun and not started; starting it.", extra={"turn_id": turn})
        await Acceptance(clients.journal(), instances, clients.clock).resume(fold.begin)
    _started.note(turn, now)


async def _look(fold: Fold, instances: DurableInstances) -> None:
    assert fold.begin is not None
    turn, look, now = fold.begin.turn_id, (fold.begin.turn_id, fold.claims), clients.clock.now()
    if _looks.has(look, now):
        return
    _looks.note(look, now)  # before the await: a storm of readers raises one event
    logger.warning("A running turn is silent; its orchestration looks after it.", extra={"turn_id": turn})
    await instances.look(turn, fold.claims, fold.position)


async def _end(fold: Fold, instances: DurableInstances) -> None:
    """Do what the stop route left undone: the `end`, and an orchestration that tells everybody who waits for it."""
    assert fold.begin is not None
    logger.warning("A turn was stopped and has no end; writing it.", extra={"turn_id": fold.begin.turn_id})
    resume = Acceptance(clients.journal(), instances, clients.clock).resume
    await Stopping(clients.journal(), instances, clients.clock, resume, clients.bells).stop(fold)
