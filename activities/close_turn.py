"""close_turn: write the `end` of a turn that nobody goes on with, and tell those who wait for it."""

from typing import Any

from azure.durable_functions import DurableOrchestrationClient

from activities.ending import announce_end
from activities.surroundings import Surroundings, surroundings
from chat.closing_steps import Closer
from chat.journal import read_journal
from chat.journal_writer import write_end
from chat.outcome import end_of_giving_up


async def close_turn(request: dict, client: DurableOrchestrationClient) -> dict:  # type: ignore[type-arg]
    """The activity: `request` is {"turnId"}; answers as stream_completion does when it is done."""
    return await close(request["turnId"], await surroundings(client))


async def close(turn_id: str, around: Surroundings) -> dict[str, Any]:
    """Write the end that belongs to the journal as it is, whoever else writes meanwhile, and return what it says."""
    fold = await read_journal(around.store, turn_id)
    message = "The answer was interrupted too often."
    await write_end(
        around.store,
        turn_id,
        fold,
        lambda seen: end_of_giving_up(seen, "given_up", message, "close_turn", around.clock.now()),
        Closer.CLOSE_TURN,
    )
    return await announce_end(fold, around)
