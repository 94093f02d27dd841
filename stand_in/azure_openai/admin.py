"""The emulator's own door, for tests and demonstrations: `/_admin`.

| call | does |
|---|---|
| `GET /_admin/requests` | the calls, how many are open or were left by their client; `?after=N`, `?bodies=1` |
| `GET /_admin/speed` | the speed of each deployment |
| `POST /_admin/speed` | change members of one `deployment`'s speed, or of all speeds |
| `GET /_admin/connections` | the open connections, and which calls are being answered on them |
| `GET`, `PUT`, `DELETE /_admin/faults` | what goes wrong whatever is asked: see `outside_faults.py` |
| `POST /_admin/reset` | forget the calls, the faults and their counters, the changed speeds; not the stored responses |
"""

import json
from typing import Any

from aiohttp import web

from stand_in.azure_openai.errors import InvalidRequest, ModelApiError
from stand_in.azure_openai.model_call import ModelService
from stand_in.azure_openai.outside_faults import parse_outside_fault


class Admin:
    """Handlers of `/_admin`."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/_admin/requests", self.list_requests)
        router.add_get("/_admin/connections", self.list_connections)
        router.add_get("/_admin/speed", self.show_speed)
        router.add_post("/_admin/speed", self.change_speed)
        router.add_get("/_admin/faults", self.show_faults)
        router.add_put("/_admin/faults", self.set_faults)
        router.add_delete("/_admin/faults", self.clear_faults)
        router.add_post("/_admin/reset", self.reset)

    async def list_requests(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return InvalidRequest("after is the number of a request.", "after").to_response({})
        return web.json_response(
            self._service.log.to_dict(with_bodies=request.query.get("bodies") == "1", after=int(after))
        )

    async def show_speed(self, request: web.Request) -> web.Response:
        return web.json_response({each.name: each.speed.to_dict() for each in self._service.deployments.all()})

    async def change_speed(self, request: web.Request) -> web.Response:
        try:
            self._change_speed(await request.read())
        except ModelApiError as error:
            return error.to_response({})
        return await self.show_speed(request)

    def _change_speed(self, body: bytes) -> None:
        values = _read_object(body)
        name = values.pop("deployment", None)
        if name is not None and self._service.deployments.find(name) is None:
            raise InvalidRequest(
                f"{name!r} is not one of {', '.join(self._service.deployments.names())}.", "deployment"
            )
        try:
            self._service.deployments.change_speed(values, name)
        except ValueError as error:
            raise InvalidRequest(f"{error}.") from error

    async def list_connections(self, request: web.Request) -> web.Response:
        """Every open connection but this one, and the calls that are being answered on it."""
        by_peer: dict[str | None, list[dict[str, Any]]] = {}
        for record in self._service.log.open_requests():
            call = {"number": record.number, "kind": record.kind, "deployment": record.deployment}
            by_peer.setdefault(record.peer, []).append(call)
        server = request.protocol._manager  # the list of connections has no public way to it from a request
        assert server is not None
        peers = [
            f"{peer[0]}:{peer[1]}"
            for connection in server.connections
            if connection is not request.protocol
            and connection.transport is not None
            and (peer := connection.transport.get_extra_info("peername"))
        ]
        connections = [{"peer": peer, "requests": by_peer.get(peer, [])} for peer in peers]
        return web.json_response({"open": len(peers), "connections": connections})

    async def show_faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self._service.outside_faults.to_dict())

    async def set_faults(self, request: web.Request) -> web.Response:
        try:
            self._set_faults(await request.read())
        except ModelApiError as error:
            return error.to_response({})
        return await self.show_faults(request)

    def _set_faults(self, body: bytes) -> None:
        values = _read_object(body)
        rules, seed = values.get("faults"), values.get("seed", 0)
        if not isinstance(rules, list) or set(values) - {"faults", "seed"}:
            raise InvalidRequest('The body is {"faults": [...], "seed": N}.', "faults")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InvalidRequest(f"seed: {seed!r} is not a whole number.", "seed")
        try:
            parsed = [parse_outside_fault(rule, self._service.deployments.names()) for rule in rules]
        except ValueError as error:
            raise InvalidRequest(f"{error}.", "faults") from error
        self._service.outside_faults.replace(parsed, seed)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._service.outside_faults.clear()
        return await self.show_faults(request)

    async def reset(self, _request: web.Request) -> web.Response:
        service = self._service
        service.log.reset()
        service.counters.reset()
        service.outside_faults.clear()
        service.limits.reset()
        service.deployments.reset()
        return web.json_response({})


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidRequest("The body is a JSON object.")
    return values
