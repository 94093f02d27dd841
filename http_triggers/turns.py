"""Turns over HTTP: start one, and ask how it stands.

A turn that is not yours does not exist (404). Readers help: see silent_turns.py.
"""

import asyncio
import hashlib
import json

from azure.durable_functions import DurableOrchestrationClient
from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from adapters.durable import DurableInstances
from adapters.settings import Settings
from chat.acceptance import Acceptance
from chat.errors import InvalidInput, JournalMissing
from chat.journal import Fold, read_journal
from chat.records import Begin
from chat.turn import (
    RequestLimits,
    TurnRequest,
    checked_conversation_id,
    checked_idempotency_key,
    conversation_key,
    turn_id,
    turn_request,
)
from chat.turn_view import status_of
from http_triggers.answers import HttpError, answer, answers_errors
from http_triggers.caller import Caller, check_origin, identify
from http_triggers.json_body import json_body
from http_triggers.silent_turns import help_along

# Everything but the prompt, which JSON may write with six bytes a character (\uXXXX).
ROOM_FOR_OTHER_FIELDS = 4 * 1024
# A burst is accepted a few at a time: all at once would all be slow, and those begun first stream sooner this way.
ACCEPTING = asyncio.Semaphore(4)


@answers_errors
async def start_turn(req: Request, client: DurableOrchestrationClient) -> Response:
    """POST api/conversations/{conversation_id}/turns: 202 once the turn is accepted and its orchestration started."""
    settings = clients.settings()
    check_origin(req, settings)
    caller = identify(req, settings, clients.new_id())
    conversation_id = checked_conversation_id(req.path_params["conversation_id"])
    key = checked_idempotency_key(req.headers.get("idempotency-key"))
    body = await json_body(req, body_limit(settings))
    begin = begin_of(caller, conversation_id, key, turn_request(body, request_limits(settings)))
    return caller.greet(await accept(begin, client), settings)


async def accept(begin: Begin, client: DurableOrchestrationClient) -> Response:
    """Accept this turn, or find that it was accepted before; the 202."""
    quota, store = clients.quota(), clients.journal()
    acceptance = Acceptance(store, DurableInstances(client), clients.clock)
    async with ACCEPTING:
        accepted = await acceptance.accept(begin, lambda: quota.admit(begin.user, begin.turn_id))
    turn = accepted.begin.turn_id
    status_url = f"/api/turns/{turn}"
    body = {
        "ok": True,
        "turnId": turn,
        "conversationId": accepted.begin.conversation_id,
        "statusUrl": status_url,
        "framesUrl": f"{status_url}/frames",
        "streamUrl": f"{status_url}/stream",
        "stopUrl": f"{status_url}/stop",
    }
    return answer(body, 202, {"Location": status_url, "Retry-After": "1"})


def begin_of(caller: Caller, conversation_id: str, key: str | None, request: TurnRequest) -> Begin:
    """The record with which this request's turn begins."""
    return Begin(
        turn_id=turn_id(conversation_key(caller.owner, conversation_id), key, clients.new_id()),
        conversation_id=conversation_id,
        owner=caller.owner,
        user=caller.user,
        request=request.to_dict(),
        request_hash=request.hash,
        at=clients.clock.now(),
    )


def request_limits(settings: Settings) -> RequestLimits:
    return RequestLimits(
        deployments=settings.deployments,
        reasoning_deployments=settings.reasoning_deployments,
        max_prompt_bytes=settings.max_prompt_bytes,
        max_tokens=settings.max_tokens,
        default_max_tokens=settings.default_max_tokens,
    )


def body_limit(settings: Settings) -> int:
    return 6 * settings.max_prompt_bytes + ROOM_FOR_OTHER_FIELDS


@answers_errors
async def turn_status(req: Request, client: DurableOrchestrationClient) -> Response:
    """GET api/turns/{turn_id}: 202 while it runs, 200 when it is final."""
    fold = await own_journal(req)
    await help_along(fold, client)
    status = status_of(fold)
    tag = f'"{hashlib.sha256(json.dumps(status).encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = req.headers.get("if-none-match", "")
    if tag in known or known.strip() == "*":
        return Response(status_code=304, headers=headers)
    if fold.end is None:
        headers["Retry-After"] = "1"
    return answer(status, 200 if fold.end else 202, headers)


async def own_journal(req: Request) -> Fold:
    """The journal of the turn in the path. Raises HttpError 404 when there is none, or when it is somebody else's."""
    caller = identify(req, clients.settings(), clients.new_id())
    try:
        fold = await read_journal(clients.journal(), req.path_params["turn_id"])
    except (InvalidInput, JournalMissing):
        fold = None
    if fold is None or fold.begin is None or fold.begin.owner != caller.owner:
        raise HttpError(404, "not_found", "There is no such turn.")
    clients.owners.put(fold.begin.turn_id, fold.begin.owner)
    return fold


async def check_owner(req: Request, turn: str) -> str:
    """Like `own_journal`, without reading a journal whose owner is known: an owner never changes. Returns it."""
    owner = identify(req, clients.settings(), clients.new_id()).owner
    if clients.owners.get(turn) != owner:
        await own_journal(req)
    return owner
