"""sweep_turns: deliver and close what was left behind.

Two kinds of turns are left behind: those whose record Event Hubs did not accept (a marker under `unlogged/`), and those
whose orchestration failed or was terminated before it had told everybody. For each: write the `end` if there is none,
tell the conversation and whoever waits behind, send the record, append `logged`, delete the marker, in this order.
Every step is idempotent, so a sweeper that dies, or two at once, do no harm.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import azure.functions as func
from azure.durable_functions import DurableOrchestrationClient

from adapters import clients
from adapters.durable import DurableInstances
from chat.closing_steps import Closer
from chat.conversation_order import TurnOrder
from chat.errors import JournalMissing
from chat.journal import Fold, read_journal
from chat.journal_writer import write_end
from chat.outcome import end_of_giving_up, told
from chat.sweep_steps import Progress, Step, next_step
from chat.turn import conversation_key_of
from chat.turn_logging import TurnLogging

# Older ones have been swept by then, or have a marker.
LOOK_BACK = timedelta(days=2)

logger = logging.getLogger(__name__)


async def sweep_turns(timer: func.TimerRequest, client: DurableOrchestrationClient) -> None:
    """The timer function."""
    instances = DurableInstances(client)
    async for turn_id in _left_behind(instances):
        try:
            await sweep(turn_id, instances)
        except Exception as error:  # noqa: BLE001 - whatever keeps this one must not keep the others from it
            logger.warning("A turn could not be swept: %r", error, extra={"turn_id": turn_id})


async def _left_behind(instances: DurableInstances) -> AsyncIterator[str]:
    store, seen = clients.journal(), set()
    async for turn_id in store.markers():
        seen.add(turn_id)
        yield turn_id
    async for turn_id in instances.failed_since(datetime.now(UTC) - LOOK_BACK):
        if turn_id not in seen:
            yield turn_id


async def sweep(turn_id: str, instances: DurableInstances) -> None:
    """Do for one turn what its orchestration did not. A turn whose instance is at work again is left alone."""
    store = clients.journal()
    try:
        fold = await read_journal(store, turn_id)
    except JournalMissing:
        await store.delete_marker(turn_id)
        return
    progress = Progress()
    while True:
        match next_step(fold, progress):
            case Step.LOOK:
                progress = replace(progress, running=await instances.running(turn_id))
            case Step.CLOSE:
                progress = replace(progress, closed=await _close(fold, turn_id))
            case Step.TELL:
                await _tell(fold, turn_id, instances)
                progress = replace(progress, told=True)
            case Step.DELIVER:
                progress = replace(progress, delivered=await _logging().deliver(turn_id, last_try=True))
            case Step.UNMARK:
                await store.delete_marker(turn_id)
                return
            case Step.LEAVE:
                return


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


def _logging() -> TurnLogging:
    with_prompts = clients.settings().log_prompts
    return TurnLogging(clients.journal, clients.event_log, clients.clock, with_prompts=with_prompts)
