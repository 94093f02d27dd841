"""close_turn: write the `end` of a turn that nobody goes on with, and tell those who wait for it."""

from typing import Any

from azure.durable_functions import DurableOrchestrationClient

from activities.ending import announce_end
from activities.surroundings import Surroundings, surroundings
from chat.closing_steps import Closer
from chat.failure_policy import POLICY, FailureClass
from chat.journal import Fold, read_journal
from chat.journal_writer import write_end
from chat.outcome import end_of_giving_up
from chat.records import End


async def close_turn(request: dict, client: DurableOrchestrationClient) -> dict:  # type: ignore[type-arg]
    """The activity: `request` is {"turnId"}; answers as stream_completion does when it is done."""
    return await close(request["turnId"], await surroundings(client))


async def close(turn_id: str, around: Surroundings) -> dict[str, Any]:
    """Write the end that belongs to the journal as it is, whoever else writes meanwhile, and return what it says."""
    fold = await read_journal(around.store, turn_id)

    def end(seen: Fold) -> End:
        code, message = reason(seen)
        return end_of_giving_up(seen, code, message, "close_turn", around.clock.now())

    await write_end(around.store, turn_id, fold, end, Closer.CLOSE_TURN)
    return await announce_end(fold, around)


def reason(fold: Fold) -> tuple[str, str]:
    """Code and words for a turn that is given up: interrupted again and again, or never begun."""
    crashed = POLICY[FailureClass.CRASHED]
    assert crashed.code is not None
    assert crashed.words is not None
    return (crashed.code, crashed.words) if fold.claims else ("given_up", "The answer could not be begun.")
