"""Conversations over HTTP: read one, in pages of turns from the newest back."""

import asyncio
from typing import Any

from azure.durable_functions import DurableOrchestrationClient
from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from adapters.durable import DurableInstances
from chat.conversation import title_of
from chat.conversation_order import TurnOrder
from chat.errors import InvalidInput
from chat.journal import Fold
from chat.turn import TurnStatus, checked_conversation_id, conversation_key
from chat.turn_view import iso
from http_triggers.answers import HttpError, answer, answers_errors
from http_triggers.caller import identify

TURNS_IN_A_PAGE = 20
LARGEST_PAGE = 100


@answers_errors
async def read_conversation(req: Request, client: DurableOrchestrationClient) -> Response:
    """GET api/conversations/{conversation_id}?limit=&before=: the newest turns; `next` goes into `before`."""
    caller = identify(req, clients.settings(), clients.new_id())
    conversation_id = checked_conversation_id(req.path_params["conversation_id"])
    limit, before = _number(req, "limit", TURNS_IN_A_PAGE, LARGEST_PAGE), _number(req, "before", None, None)
    key, store = conversation_key(caller.owner, conversation_id), clients.journal()
    turn_ids = await store.read_order(key)
    if not turn_ids:
        raise HttpError(404, "not_found", "There is no such conversation.")
    last = len(turn_ids) if before is None else min(before, len(turn_ids))
    first = max(0, last - (limit or TURNS_IN_A_PAGE))
    order = TurnOrder(store, turn_ids, turn_ids[-1])
    folds = [fold for fold in await asyncio.gather(*map(order.journal, turn_ids[first:last])) if fold]
    known = await DurableInstances(client).conversation(key)
    return answer(
        {
            "conversationId": conversation_id,
            "title": known.title or (title_of(folds[0].begin.request["prompt"]) if folds and folds[0].begin else ""),
            "createdAt": iso(known.created_at or min((fold.begin.at for fold in folds if fold.begin), default=0)),
            "updatedAt": iso(max([known.updated_at, *(fold.last_at for fold in folds)])),
            "messages": [message for fold in folds for message in messages_of(fold)],
            "next": first if first > 0 else None,
        }
    )


def messages_of(fold: Fold) -> list[dict[str, Any]]:
    """The question, and the answer once the turn is over. Rejected turns were never part of the talk."""
    begin, end = fold.begin, fold.end
    if begin is None or fold.status is TurnStatus.REJECTED:
        return []
    ids = {"turnId": begin.turn_id, "status": fold.status.value}
    messages = [{"role": "user", "content": begin.request["prompt"]} | ids]
    if end is not None and (fold.text or fold.status is not TurnStatus.FAILED):
        messages.append({"role": "assistant", "content": fold.text} | ids)
    return messages


def _number(req: Request, name: str, default: int | None, largest: int | None) -> int | None:
    text = req.query_params.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9) or (largest and not 1 <= int(text) <= largest):
        what = f"a whole number from 1 to {largest}" if largest else "a position that `next` gave"
        raise InvalidInput(name, f"{name} must be {what}.")
    return int(text)
