"""The test's view of the emulator, `/_admin`: what was sent, who is connected, and faults on demand.

| request | meaning |
|---|---|
| `GET /_admin/messages?after=&limit=&hub=&scope=&name=&target=` | `{"counters", "messages"}`, oldest first |
| `DELETE /_admin/messages` | forget them and set the counters to zero |
| `GET /_admin/connections` | `[{"connectionId", "hub", "userId", "protocol"}]` |
| `DELETE /_admin/connections/{id}` | cut that connection's TCP connection, without a goodbye |
| `DELETE /_admin/connections/{id}?goodbye=reconnect` | close it so that the client may come again; `final`: may not |
| `GET`, `PUT`, `DELETE /_admin/faults` | the faults in force (see `faults.py`) |

There is no token: the emulator listens on the loopback interface only, and without CORS headers a page of another
origin can neither read the answers nor send a PUT or DELETE.
"""

import json

from aiohttp import web

from stand_in.signalr.emulator import Emulator
from stand_in.signalr.errors import BadRequest, NotFound
from stand_in.signalr.faults import Faults, Goodbye

_FILTERS = ("hub", "scope", "name", "target")


class AdminApi:
    """Reads and changes the emulator from outside."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_admin/messages", self.messages),
            web.delete("/_admin/messages", self.forget_messages),
            web.get("/_admin/connections", self.connections),
            web.delete("/_admin/connections/{id}", self.cut_connection),
            web.get("/_admin/faults", self.faults),
            web.put("/_admin/faults", self.set_faults),
            web.delete("/_admin/faults", self.clear_faults),
        ]

    async def messages(self, request: web.Request) -> web.Response:
        log, query = self._emulator.log, request.query
        wanted = {name: query[name] for name in _FILTERS if name in query}
        bounds = {name: int(query[name]) for name in ("after", "limit") if query.get(name, "").isdecimal()}
        found = log.messages(**bounds, **wanted)  # type: ignore[arg-type]  # the two kinds have disjoint names
        return web.json_response({"counters": log.counters(), "messages": found})

    async def forget_messages(self, request: web.Request) -> web.Response:
        self._emulator.log.clear()
        return web.Response(status=204)

    async def connections(self, request: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "connectionId": connection.connection_id,
                    "hub": hub.name,
                    "userId": connection.user_id,
                    "protocol": connection.protocol.name if connection.protocol is not None else None,
                }
                for hub in self._emulator.hubs
                for connection in hub.connections.values()
            ]
        )

    async def cut_connection(self, request: web.Request) -> web.Response:
        connection = self._emulator.connection(request.match_info["id"])
        if connection is None:
            raise NotFound("Error.Connection.NotExisted", "The connection does not exist.")
        goodbye = request.query.get("goodbye", Goodbye.NONE)
        if goodbye not in list(Goodbye):
            raise BadRequest("InvalidArgument", f"'goodbye' is one of {[*Goodbye]}.", target="goodbye")
        connection.end_with(Goodbye(goodbye))
        return web.Response(status=204)

    async def faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._emulator.faults.wanted)

    async def set_faults(self, request: web.Request) -> web.Response:
        try:
            wanted = json.loads(await request.read())
        except ValueError as error:
            raise BadRequest("InvalidJson", f"The body is not JSON: {error}") from error
        if not isinstance(wanted, dict):
            raise BadRequest("InvalidArgument", "The body is a JSON object, see stand_in/signalr/faults.py.")
        self._emulator.faults = Faults(wanted)
        return web.json_response(wanted)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._emulator.faults = Faults()
        return web.Response(status=204)
