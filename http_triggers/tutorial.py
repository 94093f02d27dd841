"""The first tutorial's two routes, for its pages: `broadcast` and `chat_stream`.

What it does is kept, what it got wrong is not: nobody can inject text into other people's pages (broadcast needs a
key), the answer goes to the caller alone, and the 202 comes before the first token instead of after the last.
"""

import hashlib

from azure.durable_functions import DurableOrchestrationClient
from azurefunctions.extensions.http.fastapi import PlainTextResponse, Request, Response

from adapters import clients
from chat.errors import DeliveryFailed, InvalidInput
from chat.turn import checked_idempotency_key, turn_request
from http_triggers.answers import HttpError, answers_errors
from http_triggers.caller import check_origin, identify
from http_triggers.json_body import json_body
from http_triggers.turns import accept, begin_of, body_limit, request_limits

INTRODUCTION = "Introduce yourself in one short sentence."
ADDRESSES = ("userId", "groupName", "connectionId")


@answers_errors
async def chat_stream(req: Request, client: DurableOrchestrationClient) -> Response:
    """POST api/chat_stream {"prompt"}: a turn in a conversation of its own; without a prompt, an introduction."""
    settings = clients.settings()
    check_origin(req, settings)
    caller = identify(req, settings, clients.new_id())
    key = checked_idempotency_key(req.headers.get("idempotency-key"))
    body = await json_body(req, body_limit(settings))
    if isinstance(body, dict) and not body.get("prompt"):
        body = body | {"prompt": INTRODUCTION}
    request = turn_request(body, request_limits(settings))
    # The tutorial's page knows no conversations: each question is one, found again by its Idempotency-Key.
    name = hashlib.sha256(key.encode()).hexdigest()[:32] if key else clients.new_id()
    conversation_id = f"tutorial-{name}"
    return caller.greet(await accept(begin_of(caller, conversation_id, key, request), client), settings)


@answers_errors
async def broadcast(req: Request) -> Response:
    """POST api/broadcast {"message", "userId"? | "groupName"? | "connectionId"?}: diagnosis, with a function key."""
    body = await json_body(req, body_limit(clients.settings()))
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        raise InvalidInput("message", 'Send an object such as {"message": "hello"}; message must be a text.')
    for name in body:
        if name != "message" and name not in ADDRESSES:
            raise InvalidInput(str(name), f"Unknown field {name!r}; known are message, {', '.join(ADDRESSES)}.")
    given = [name for name in ADDRESSES if body.get(name) is not None]
    if len(given) > 1 or any(not isinstance(body[name], str) or not body[name] for name in given):
        raise InvalidInput(given[0], f"Send at most one of {', '.join(ADDRESSES)}, as a text.")
    if body["message"]:
        await _send(given[0] if given else None, body)
    return PlainTextResponse("OK")


async def _send(address: str | None, body: dict[str, str]) -> None:
    hub, arguments = clients.signalr(), [body["message"]]
    try:
        match address:
            case "userId":
                await hub.send_to_user(body["userId"], "token", arguments)
            case "groupName":
                await hub.send_to_group(body["groupName"], "token", arguments)
            case "connectionId":
                await hub.send_to_connection(body["connectionId"], "token", arguments)
            case _:
                await hub.send_to_all("token", arguments)
    except DeliveryFailed as failure:
        raise HttpError(502, "delivery_failed", f"SignalR did not take the message: {failure}") from failure
