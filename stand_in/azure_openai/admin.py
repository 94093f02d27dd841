"""The emulator's own door, for tests and demonstrations: `/_admin`.

| call | does |
|---|---|
| `GET /_admin/requests` | the calls, how many are open or were left by their client; `?after=N`, `?bodies=1` |
| `GET /_admin/speed` | the speed of each deployment |
| `POST /_admin/speed` | change members of one `deployment`'s speed, or of all speeds |
| `POST /_admin/reset` | forget the calls, the fault counters and the changed speeds |
"""

import json
from typing import Any

from aiohttp import web

from stand_in.azure_openai.deployments import Deployments
from stand_in.azure_openai.errors import InvalidRequest, ModelApiError
from stand_in.azure_openai.faults import FaultCounters
from stand_in.azure_openai.rate_limits import RateLimits
from stand_in.azure_openai.request_log import RequestLog


class Admin:
    """Handlers of `/_admin`."""

    def __init__(self, deployments: Deployments, counters: FaultCounters, limits: RateLimits, log: RequestLog) -> None:
        self._deployments = deployments
        self._counters = counters
        self._limits = limits
        self._log = log

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/_admin/requests", self.list_requests)
        router.add_get("/_admin/speed", self.show_speed)
        router.add_post("/_admin/speed", self.change_speed)
        router.add_post("/_admin/reset", self.reset)

    async def list_requests(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return InvalidRequest("after is the number of a request.", "after").to_response({})
        return web.json_response(self._log.to_dict(with_bodies=request.query.get("bodies") == "1", after=int(after)))

    async def show_speed(self, request: web.Request) -> web.Response:
        return web.json_response({each.name: each.speed.to_dict() for each in self._deployments.all()})

    async def change_speed(self, request: web.Request) -> web.Response:
        try:
            self._change_speed(await request.read())
        except ModelApiError as error:
            return error.to_response({})
        return await self.show_speed(request)

    def _change_speed(self, body: bytes) -> None:
        values = _read_object(body)
        name = values.pop("deployment", None)
        if name is not None and self._deployments.find(name) is None:
            raise InvalidRequest(f"{name!r} is not one of {', '.join(self._deployments.names())}.", "deployment")
        try:
            self._deployments.change_speed(values, name)
        except ValueError as error:
            raise InvalidRequest(f"{error}.") from error

    async def reset(self, request: web.Request) -> web.Response:
        self._log.reset()
        self._counters.reset()
        self._limits.reset()
        self._deployments.reset()
        return web.json_response({})


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidRequest("The body is a JSON object.")
    return values
