"""Turns over HTTP: start one, ask how it stands, read its frames.

A turn that is not yours does not exist (404). Readers help: whoever finds a running turn silent for long raises a
`look`, and a begun turn without an instance is started by whoever finds it.
"""

import asyncio
import hashlib
import json
import logging

from azure.durable_functions import DurableOrchestrationClient
from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from adapters.durable import DurableInstances
from adapters.settings import Settings
from chat.acceptance import Acceptance
from chat.errors import InvalidInput, JournalMissing
from chat.journal import Fold, JournalStore, read_journal
from chat.reader_steps import Help, help_for
from chat.records import Begin
from chat.turn import (
    RequestLimits,
    TurnRequest,
    checked_conversation_id,
    checked_idempotency_key,
    conversation_key,
    conversation_key_of,
    turn_id,
    turn_request,
)
from chat.turn_view import frames_since, status_of
from http_triggers.answers import HttpError, answer, answers_errors
from http_triggers.caller import Caller, check_origin, identify
from http_triggers.json_body import json_body

# Everything but the prompt, which JSON may write with six bytes a character (\uXXXX).
ROOM_FOR_OTHER_FIELDS = 4 * 1024
LONGEST_WAIT = 25.0  # seconds of a long poll; proxies on the way give up after 30 or more
POLL_EVERY = 0.15
CHECK_EVERY = 2.0  # a long poll that finds nothing looks at the whole journal so often
# A burst is accepted a few at a time: all at once would all be slow, and those begun first stream sooner this way.
ACCEPTING = asyncio.Semaphore(4)

logger = logging.getLogger(__name__)


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
    if tag in req.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if fold.end is None:
        headers["Retry-After"] = "1"
    return answer(status, 200 if fold.end else 202, headers)


@answers_errors
async def turn_frames(req: Request, client: DurableOrchestrationClient) -> Response:
    """GET api/turns/{turn_id}/frames?after=N&wait=S: the frames since a position; waits for some if there are none."""
    turn, after, wait = req.path_params["turn_id"], _after(req), _wait(req)
    await check_owner(req, turn)
    store, key = clients.journal(), conversation_key_of(turn)
    time = asyncio.get_running_loop().time
    deadline, next_check = time() + wait, time() + CHECK_EVERY
    data, ended = await _since(store, key, turn, after), False
    while not (found := frames_since(data, after)).frames and not ended:
        if time() >= min(deadline, next_check):
            # Nothing since: because it is over and the caller has read to the end, or because nobody writes.
            fold = await read_journal(store, turn)
            ended = fold.end is not None and fold.position == found.next
            await help_along(fold, client)
            next_check = time() + CHECK_EVERY
        if ended or time() >= deadline or await req.is_disconnected():
            break
        await asyncio.sleep(min(POLL_EVERY, max(0.0, deadline - time())))
        data += await store.read(key, turn, after + len(data))
    return answer({"frames": found.frames, "next": found.next, "ended": found.over or ended})


async def _since(store: JournalStore, key: str, turn: str, after: int) -> bytes:
    """The journal from this position on. Raises InvalidInput when it is not the end of a record."""
    if after == 0:
        return await store.read(key, turn)
    data = await store.read(key, turn, after - 1)
    if not data.startswith(b"\n"):
        raise InvalidInput("after", "after must be a position that `next` gave for this turn.")
    return data[1:]


def _after(req: Request) -> int:
    text = req.query_params.get("after", "0") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise InvalidInput("after", "after must be a position that `next` gave for this turn.")
    return int(text)


def _wait(req: Request) -> float:
    text = req.query_params.get("wait", "0") or "0"
    try:
        wait = float(text)
    except ValueError:
        wait = -1
    if not 0 <= wait <= LONGEST_WAIT:
        raise InvalidInput("wait", f"wait must be a number of seconds from 0 to {LONGEST_WAIT:g}.")
    return wait


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


async def check_owner(req: Request, turn: str) -> None:
    """Like `own_journal`, without reading a journal whose owner is known: an owner never changes."""
    known = clients.owners.get(turn)
    if known is None or identify(req, clients.settings(), clients.new_id()).owner != known:
        await own_journal(req)


async def help_along(fold: Fold, client: DurableOrchestrationClient) -> None:
    """Start a begun turn that nobody started; tell a silent one's orchestration to look after it."""
    needed = help_for(fold, clients.clock.now())
    if needed is Help.NONE or fold.begin is None:
        return
    instances, turn = DurableInstances(client), fold.begin.turn_id
    if needed is Help.START and not await instances.exists(turn):
        logger.warning("A turn was begun and not started; starting it.", extra={"turn_id": turn})
        await Acceptance(clients.journal(), instances, clients.clock).resume(fold.begin)
    elif needed is Help.LOOK and clients.first_look(turn, fold.claims):
        logger.warning("A running turn is silent; its orchestration looks after it.", extra={"turn_id": turn})
        await instances.look(turn, fold.claims, fold.position)
