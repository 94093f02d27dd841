"""close_turn: write the `end` of a turn that nobody goes on with, and tell those who wait for it."""

from azure.durable_functions import DurableOrchestrationClient

from activities.stream_completion import DurableInstances, Instances
from adapters import clients
from chat.conversation_order import TurnOrder
from chat.journal import JournalStore, read_journal
from chat.journal_writer import Clock, write_end
from chat.outcome import end_of_giving_up, told
from chat.turn import conversation_key_of


async def close_turn(turnId: str, client: DurableOrchestrationClient) -> dict:  # type: ignore[type-arg]
    """The activity: answers as stream_completion does when it is done."""
    return await close(turnId, await clients.journal(), DurableInstances(client), clients.clock)


async def close(turn_id: str, store: JournalStore, instances: Instances, clock: Clock) -> dict:  # type: ignore[type-arg]
    """Write the end that belongs to the journal as it is, whoever else writes meanwhile, and return what it says."""
    fold = await read_journal(store, turn_id)
    message = "The answer was interrupted too often."
    await write_end(
        store,
        turn_id,
        fold,
        lambda seen: end_of_giving_up(seen, "given_up", message, "close_turn", clock.now()),
        give_way=lambda seen: False,
    )
    order = TurnOrder(store, await store.read_order(conversation_key_of(turn_id)), turn_id)
    following = await order.next_turn()
    if following is not None:
        await instances.wake(following, turn_id)
    return {"result": "done"} | told(fold, order.place)
