"""Negotiation: how a browser gets to SignalR, as the user that its turns address."""

from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from http_triggers.answers import answer, answers_errors
from http_triggers.caller import check_origin, identify


@answers_errors
async def negotiate(req: Request) -> Response:
    """GET or POST api/negotiate: {"url", "accessToken"}; the token is bound to the caller and lives an hour."""
    settings = clients.settings()
    check_origin(req, settings)
    caller = identify(req, settings, clients.new_id())
    connection = await clients.signalr().negotiate(caller.user)
    return caller.greet(answer(connection), settings)
