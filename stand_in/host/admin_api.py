"""`/admin`: what the host tells about itself and its functions, and how one is started by hand.

`GET /admin/host/status`, `GET|POST /admin/host/ping`, `GET /admin/functions[/{name}[/status]]`, the keys of `key_api`,
and `POST /admin/functions/{name}` with `{"input": "<text>"}` which starts
a function in the background (202). The rest of the real surface (drain, restart, state, vfs) is refused with 404.
"""

import asyncio
import json
import logging
import os
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from stand_in.host.admin_answers import JsonAnswer, Route, missing
from stand_in.host.function import Function
from stand_in.host.function_index import FunctionIndex
from stand_in.host.host_json import HostJson
from stand_in.host.key_api import KeyApi
from stand_in.host.keys import Keys
from stand_in.host.route_table import full_route

logger = logging.getLogger(__name__)

VERSION = "4.1037.0"  # of the host whose behaviour is reproduced
StartByHand = Callable[[Function, str], Awaitable[None]]


@dataclass(slots=True)
class AdminApi:
    """Reads and manual starts. `errors` is what put the host into state Error."""

    app_dir: Path
    host_id: str
    index: FunctionIndex
    host_json: HostJson
    keys: Keys
    start_by_hand: StartByHand
    errors: tuple[str, ...] = ()
    script_name: str = "function_app.py"
    _started: float = field(default_factory=time.monotonic)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def router(self) -> Router:
        return Router(
            [
                Route("/admin/host/status", self._status, methods=["GET"]),
                Route("/admin/host/ping", self._ping, methods=["GET", "POST"]),
                Route("/admin/functions", self._list, methods=["GET"]),
                Route("/admin/functions/{name}", self._one, methods=["GET"]),
                Route("/admin/functions/{name}", self._invoke, methods=["POST"]),
                Route("/admin/functions/{name}/status", self._function_status, methods=["GET"]),
                *KeyApi(self.keys, self.index).routes(),
            ],
            redirect_slashes=False,
        )

    async def _status(self, request: Request) -> Response:
        document: dict[str, Any] = {
            "id": self.host_id,
            "state": "Error" if self.errors else "Running",
            "version": f"{VERSION}.0",
            "versionDetails": VERSION,
            "platformVersion": "",
            "instanceId": "",
            "computerName": "",
        }
        if self.errors:
            document["errors"] = list(self.errors)
        document["processUptime"] = int((time.monotonic() - self._started) * 1000)
        document["functionAppContentEditingState"] = "Unknown"
        bundle = self.host_json.document.get("extensionBundle")
        if isinstance(bundle, dict) and not self.errors:
            document["extensionBundle"] = {"id": bundle.get("id"), "version": "4.35.0"}
        return JsonAnswer(document)

    async def _ping(self, request: Request) -> Response:
        return Response(headers={"Cache-Control": "no-store,no-cache", "Pragma": "no-cache"})

    async def _list(self, request: Request) -> Response:
        return JsonAnswer([self._describe(function, request) for function in self.index.functions])

    async def _one(self, request: Request) -> Response:
        function = self._named(request)
        return missing() if function is None else JsonAnswer(self._describe(function, request))

    async def _function_status(self, request: Request) -> Response:
        function = self._named(request)
        if function is None:
            return missing()
        return JsonAnswer({"errors": list(function.errors)} if function.errors else {})

    def _named(self, request: Request) -> Function | None:
        return self.index.find(request.path_params["name"])

    def _describe(self, function: Function, request: Request) -> dict[str, Any]:
        base = str(request.base_url).rstrip("/")
        is_http = function.trigger.type == "httpTrigger"
        template = f"{base}/{full_route(function, self.host_json.route_prefix).lstrip('/')}" if is_http else None
        return {
            "name": function.name,
            "script_root_path_href": None,
            "script_href": f"{base}/admin/vfs{self.app_dir}/{self.script_name}",
            "config_href": None,
            "test_data_href": None,
            "href": f"{base}/admin/functions/{function.name}",
            "invoke_url_template": template,
            "language": "python",
            "config": {
                "name": function.name,
                "entryPoint": function.name,
                "scriptFile": self.script_name,
                "language": "python",
                "functionDirectory": str(self.app_dir),
                "bindings": [dict(binding.properties) for binding in function.bindings],
            },
            "files": None,
            "test_data": None,
            "isDisabled": function.is_disabled,
            "isDirect": False,
            "isProxy": False,
        }

    async def _invoke(self, request: Request) -> Response:
        function = self._named(request)
        if function is None or function.errors:
            return missing()
        if "json" not in request.headers.get("content-type", ""):
            return Response(status_code=415)
        try:
            document = json.loads(await request.body())
        except ValueError:
            return Response(status_code=400)
        if not isinstance(document, dict):
            return Response(status_code=400)
        given = document.get("input")
        task = asyncio.create_task(self._run(function, "" if given is None else str(given)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return Response(status_code=202)

    async def _run(self, function: Function, given: str) -> None:
        try:
            await self.start_by_hand(function, given)
        except Exception as error:  # noqa: BLE001 - nobody waits for this call: its failure can only be logged
            logger.error("Function %s, started by hand, failed: %s", function.name, error)


def host_id() -> str:
    """A name for this host, stable on this machine."""
    return f"{os.uname().nodename.lower()[:20]}-{zlib.crc32(os.uname().nodename.encode())}"
