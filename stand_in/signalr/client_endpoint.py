"""The client endpoint, `/client`: negotiation, and the transports that carry a connection.

A client asks `POST /client/negotiate` for an id and connects with it within five seconds, or connects with a WebSocket
straight away, without one. Each request carries the access token that the app gave to the client; the hub in the query
must be the hub in the token's audience. Browsers call this from pages of other origins and with credentials, so every
answer names the page's origin (`*` is not allowed then).
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from stand_in.signalr.access_tokens import ClientClaims
from stand_in.signalr.client_connection import ClientConnection
from stand_in.signalr.emulator import Emulator, bearer_token, host_name, hub_name
from stand_in.signalr.errors import BadRequest, Conflict, InjectedFault, NotFound, TokenRefused
from stand_in.signalr.faults import CUT_THE_CONNECTION
from stand_in.signalr.http_transports import LongPolls, serve_events
from stand_in.signalr.web_socket import serve_web_socket

_TRANSPORTS: list[tuple[int, dict[str, Any]]] = [
    (1, {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}),
    (2, {"transport": "ServerSentEvents", "transferFormats": ["Text"]}),
    (4, {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]}),
]


@dataclass(frozen=True, slots=True)
class Negotiated:
    """An id that was given out and not yet used."""

    connection_id: str
    hub: str
    user_id: str | None
    negotiated_at: float


class ClientEndpoint:
    """Negotiates and opens connections. `new_token` makes ids that cannot be guessed."""

    def __init__(self, emulator: Emulator, new_token: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> None:
        self._emulator = emulator
        self._new_token = new_token
        self._negotiated: dict[str, Negotiated] = {}
        self._polls = LongPolls(emulator.timings.long_poll)

    def routes(self) -> list[web.RouteDef]:
        routes = [web.post("/client/negotiate", self.negotiate)]
        for path in ("/client", "/client/"):
            routes += [
                web.get(path, self.connect, allow_head=False),
                web.post(path, self.receive),
                web.delete(path, self.leave),
            ]
        routes.append(web.options("/client{anything:.*}", self.preflight))
        return routes

    async def negotiate(self, request: web.Request) -> web.StreamResponse:
        refusal = self._emulator.faults.next_negotiation()
        if refusal is not None and refusal.status == CUT_THE_CONNECTION:
            return cut(request)
        if refusal is not None and refusal.status >= 300:
            raise InjectedFault(refusal.status, refusal.retry_after)
        hub, claims = self._authorise(request)
        version = request.query.get("negotiateVersion", "0")
        if not version.isdecimal():
            raise BadRequest("InvalidArgument", f"The negotiateVersion {version!r} is not a number.")
        connection_id = self._new_token()
        token = connection_id if version == "0" else self._new_token()
        self._negotiated[token] = Negotiated(connection_id, hub, claims.user_id, self._emulator.now())
        answer: dict[str, Any] = {"negotiateVersion": min(int(version), 1), "connectionId": connection_id}
        if version != "0":
            answer["connectionToken"] = token
        # No `useStatefulReconnect`, whatever was asked: that is how a server says that it has none.
        answer["availableTransports"] = [transport for bit, transport in _TRANSPORTS if bit & claims.transports]
        return web.json_response(answer)

    async def connect(self, request: web.Request) -> web.StreamResponse:
        hub, claims = self._authorise(request)
        token = request.query.get("id")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await serve_web_socket(request, self._open(token, hub, claims))
        if token is None:
            raise BadRequest("InvalidArgument", "Connection ID required")
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await serve_events(request, self._open(token, hub, claims))
        connection = self._emulator.connections.get(token)
        if connection is None:
            return self._polls.open(self._open(token, hub, claims))
        if not connection.inherent_keep_alive or connection.hub.name != hub:
            raise Conflict("Connection.Conflict", "The connection is open on another transport.")
        return await self._polls.poll(connection)

    async def receive(self, request: web.Request) -> web.Response:
        """Records from a client whose transport is not a WebSocket."""
        connection = self._opened(request)
        connection.receive(await request.read())
        return web.Response(text="")

    async def leave(self, request: web.Request) -> web.Response:
        """A long-polling client stops."""
        self._opened(request).end()
        return web.Response(status=202)

    async def preflight(self, request: web.Request) -> web.Response:
        """What a browser asks before a cross-origin request; `cross_origin` adds the answer's headers."""
        return web.Response(status=204)

    def heartbeat(self) -> None:
        """Forget ids that were never used, and connections that ended; see to the others."""
        emulator = self._emulator
        oldest = emulator.now() - emulator.timings.pending
        self._negotiated = {
            token: negotiated for token, negotiated in self._negotiated.items() if negotiated.negotiated_at >= oldest
        }
        for token, connection in list(emulator.connections.items()):
            if not connection.closed:
                connection.heartbeat(emulator.timings, emulator.unix_time(), pings=not emulator.faults.stall_pings)
            elif emulator.now() - connection.last_received > emulator.timings.client_timeout:
                del emulator.connections[token]

    def _authorise(self, request: web.Request) -> tuple[str, ClientClaims]:
        hubs = request.query.getall("hub", [])
        if len(hubs) != 1:
            raise BadRequest("InvalidArgument", "The query must name one hub: '?hub=<name>'.", target="hub")
        hub = hub_name(hubs[0])
        claims = self._emulator.tokens.check_client(bearer_token(request), hub, host_name(request))
        return hub, self._shortened(claims)

    def _shortened(self, claims: ClientClaims) -> ClientClaims:
        """The claims with the lifetime that a fault gives to tokens."""
        faults, expires_at = self._emulator.faults, claims.expires_at
        if faults.token_lifetime is not None and claims.issued_at is not None:
            expires_at = min(expires_at, claims.issued_at + faults.token_lifetime)
            if expires_at <= self._emulator.unix_time():
                raise TokenRefused("The token is expired")
        if not faults.close_expired:
            return replace(claims, expires_at=expires_at)
        return replace(claims, expires_at=expires_at, close_at=min(expires_at, claims.close_at or expires_at))

    def _open(self, token: str | None, hub: str, claims: ClientClaims) -> ClientConnection:
        if token is None:
            token = self._new_token()
            negotiated = Negotiated(self._new_token(), hub, claims.user_id, self._emulator.now())
        else:
            negotiated = self._take_negotiated(token, hub, claims)
        connection = ClientConnection(
            negotiated.connection_id, token, self._emulator.hubs[hub], claims, self._emulator.now
        )
        self._emulator.connections[token] = connection
        return connection

    def _take_negotiated(self, token: str, hub: str, claims: ClientClaims) -> Negotiated:
        if token in self._emulator.connections:
            raise Conflict("Connection.Conflict", "The connection is open already.")
        negotiated = self._negotiated.pop(token, None)
        if negotiated is None or negotiated.negotiated_at + self._emulator.timings.pending < self._emulator.now():
            raise NotFound(
                "Error.Connection.NotExisted", "No Connection with that ID: negotiate, then connect within 5 s"
            )
        if (negotiated.hub, negotiated.user_id) != (hub, claims.user_id):
            raise NotFound("Error.Connection.NotExisted", "No Connection with that ID on this hub for this user")
        return negotiated

    def _opened(self, request: web.Request) -> ClientConnection:
        hub, claims = self._authorise(request)
        connection = self._emulator.connections.get(request.query.get("id", ""))
        if (
            connection is None
            or connection.closed
            or connection.hub.name != hub
            or connection.user_id != claims.user_id
        ):
            raise NotFound("Error.Connection.NotExisted", "No Connection with that ID")
        return connection


def cut(request: web.Request) -> web.Response:
    """Close the caller's TCP connection instead of answering."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def cross_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page's origin read the answers of the client endpoint, credentials included."""
    origin = request.headers.get("Origin")
    if origin is None or not request.path.startswith("/client"):
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers["Vary"] = "Origin"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
        response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "")
        response.headers["Access-Control-Max-Age"] = "600"
