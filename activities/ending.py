"""Endings: what happens once a turn's journal has its `end`, whoever wrote it.

The browsers are told, the turn that may wait behind it is woken, and the user may have another. Also in a run that
finds the end written already: the one that wrote it may have died before it told anybody.
"""

from typing import Any

from activities.surroundings import Surroundings
from chat.conversation_order import TurnOrder
from chat.delivery import Delivery
from chat.journal import Fold
from chat.outcome import told
from chat.turn import conversation_key_of


async def announce_end(fold: Fold, around: Surroundings) -> dict[str, Any]:
    """Tell everybody who waits; returns what the orchestration carries on."""
    begin, end = fold.begin, fold.end
    assert begin is not None
    assert end is not None
    async with Delivery(around.browser, begin.user, begin.turn_id, begin.conversation_id, around.line) as delivery:
        delivery.ended(end)
        # Read now: a turn may have been accepted while this one ran.
        turn_ids = await around.store.read_order(conversation_key_of(begin.turn_id))
        order = TurnOrder(around.store, turn_ids, begin.turn_id)
        following = await order.next_turn()
        if following is not None:
            await around.instances.wake(following, begin.turn_id)
        await around.quota.turn_ended(begin.user, begin.at, begin.turn_id)
    return {"result": "done"} | told(fold, order.place)
