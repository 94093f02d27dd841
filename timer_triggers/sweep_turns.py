"""sweep_turns: deliver and close what was left behind.

Three kinds of turns are left behind:

    failed      their orchestration failed or was terminated before it had told everybody
    begun       they were counted and have no noted end: never started, or their instance was purged (chat/usage.py)
    marked      Event Hubs did not accept their record (a marker under `unlogged/`)

For each, in this order: write the `end` if there is none, tell the conversation and whoever waits behind, send the
record, append `logged`, delete the marker. A begun turn without an instance is started instead: nobody closes it.
Every step is idempotent, so a sweeper that dies, or two at once, do no harm.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import azure.functions as func
from azure.durable_functions import DurableOrchestrationClient

from adapters import clients
from adapters.durable import DurableInstances
from chat.acceptance import Acceptance, TurnRejected
from chat.closing_steps import Closer
from chat.conversation_order import TurnOrder
from chat.errors import JournalMissing
from chat.journal import Fold, read_journal
from chat.journal_writer import write_end
from chat.outcome import end_of_giving_up, told
from chat.sweep_steps import Progress, Step, next_step
from chat.turn import conversation_key_of
from chat.turn_logging import TurnLogging
from chat.usage import Counted

# Older ones have been swept by then, or have a marker.
LOOK_BACK = timedelta(days=2)
# A turn that was begun so long ago has lost its starter, which gives up within a minute.
BEGUN_BEFORE = timedelta(minutes=5)
# Turns at work at once: an Event Hub that is away keeps each of them for as long as a send may take.
AT_ONCE = 8

logger = logging.getLogger(__name__)


async def sweep_turns(timer: func.TimerRequest, client: DurableOrchestrationClient) -> None:
    """The timer function."""
    instances, slots = DurableInstances(client), asyncio.Semaphore(AT_ONCE)

    async def care(turn_id: str, counted: Counted | None) -> None:
        try:
            await sweep(turn_id, instances, counted)
        except Exception as error:  # noqa: BLE001 - whatever keeps this one must not keep the others from it
            logger.warning("A turn could not be swept: %r", error, extra={"turn_id": turn_id})
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        async for turn_id, counted in _left_behind(instances):
            await slots.acquire()
            group.create_task(care(turn_id, counted))


async def _left_behind(instances: DurableInstances) -> AsyncIterator[tuple[str, Counted | None]]:
    """Each turn once, those that others may wait for first. A source that fails keeps nobody from the others."""
    now, seen = clients.clock.now(), set()
    for source in (_failed(instances, now), _begun(now), _marked()):
        try:
            async for turn_id, counted in source:
                if turn_id not in seen:
                    seen.add(turn_id)
                    yield turn_id, counted
        except Exception as error:  # noqa: BLE001 - the durable client and storage fail each in its own way
            logger.warning("The sweep could not look everywhere: %r", error)


async def _failed(instances: DurableInstances, now: int) -> AsyncIterator[tuple[str, Counted | None]]:
    async for turn_id in instances.failed_since(datetime.fromtimestamp(now / 1000, UTC) - LOOK_BACK):
        if not clients.is_settled(turn_id):
            yield turn_id, None


async def _begun(now: int) -> AsyncIterator[tuple[str, Counted | None]]:
    look_back, before = (round(span.total_seconds() * 1000) for span in (LOOK_BACK, BEGUN_BEFORE))
    async for counted in clients.begun_turns().without_end(now - look_back, now - before):
        yield counted.turn_id, counted


async def _marked() -> AsyncIterator[tuple[str, Counted | None]]:
    async for turn_id in clients.journal().markers():
        yield turn_id, None


async def sweep(turn_id: str, instances: DurableInstances, counted: Counted | None = None) -> None:
    """Do for one turn what its orchestration did not. A turn whose instance is at work again is left alone."""
    store = clients.journal()
    try:
        fold = await read_journal(store, turn_id)
    except JournalMissing:
        await _settle(turn_id, counted)
        return
    progress = Progress()
    while True:
        match next_step(fold, progress):
            case Step.LOOK:
                running = await instances.running(turn_id)
                progress = replace(progress, running=bool(running), known=running is not None)
            case Step.START:
                await _start(fold, instances)
                return
            case Step.CLOSE:
                progress = replace(progress, closed=await _close(fold, turn_id))
            case Step.TELL:
                await _tell(fold, turn_id, instances)
                progress = replace(progress, told=True)
            case Step.DELIVER:
                progress = replace(progress, delivered=await _logging().deliver(turn_id, again=False))
            case Step.UNMARK:
                await _settle(turn_id, counted)
                return
            case Step.LEAVE:
                return


async def _start(fold: Fold, instances: DurableInstances) -> None:
    """Go on where the turn's starter stopped. A turn that finds out now that it had to queue has its `end` by that."""
    assert fold.begin is not None
    logger.warning("A turn was begun and not started; starting it.", extra={"turn_id": fold.begin.turn_id})
    with contextlib.suppress(TurnRejected):
        await Acceptance(clients.journal(), instances, clients.clock).resume(fold.begin)


async def _close(fold: Fold, turn_id: str) -> bool:
    """Whether the journal has an end now; False when somebody wrote in between."""
    message = "The turn was interrupted and nobody went on with it."
    return await write_end(
        clients.journal(),
        turn_id,
        fold,
        lambda seen: end_of_giving_up(seen, "abandoned", message, "sweep_turns", clients.clock.now()),
        Closer.SWEEPER,
    )


async def _tell(fold: Fold, turn_id: str, instances: DurableInstances) -> None:
    """The conversation, whoever waits behind, and the user's quota."""
    assert fold.begin is not None
    store, key = clients.journal(), conversation_key_of(turn_id)
    order = TurnOrder(store, await store.read_order(key), turn_id)
    await instances.tell_conversation(key, told(fold, order.place)["turn"])
    following = await order.next_turn()
    if following is not None:
        await instances.wake(following, turn_id)
    await clients.quota().turn_ended(fold.begin.user, fold.begin.at, turn_id)


async def _settle(turn_id: str, counted: Counted | None) -> None:
    """Nothing is left to do: neither a marker nor a line without its other half leads here again."""
    await clients.journal().delete_marker(turn_id)
    if counted is not None:
        await clients.quota().turn_ended(counted.user, counted.at, turn_id)
    clients.settled(turn_id)


def _logging() -> TurnLogging:
    with_prompts = clients.settings().log_prompts
    return TurnLogging(clients.journal, clients.event_log, clients.clock, with_prompts=with_prompts)
