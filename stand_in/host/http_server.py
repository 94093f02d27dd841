"""The host's HTTP front: one ASGI app that finds who answers a request.

Order, as in the real host: cross-origin preflights, `/admin`, `/runtime/webhooks`, then the functions in route order;
for a function, the route is matched first (404), then the key is checked (401), then whether it is disabled (404). A
host in state Error answers 503 to everything but `/admin`.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.routing import Match, Router

from stand_in.host.asgi import Message, RawHeaders, Receive, Scope, Send, given_key, header, raw_path, respond
from stand_in.host.cors import Cors
from stand_in.host.function import Function
from stand_in.host.host_json import HostJson
from stand_in.host.keys import Keys
from stand_in.host.request_limits import RequestLimits, TooLarge
from stand_in.host.request_path import decode_path
from stand_in.host.route_table import RouteTable

logger = logging.getLogger(__name__)

HEAD_LIMIT = 32 * 1024  # Kestrel's limit for all headers together

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

WELCOME = b"""<!DOCTYPE html>
<html><head><title>Your function app is up and running.</title></head>
<body><h1>Your function app is up and running.</h1>
<p>This is the stand-in for the Azure Functions host.</p></body></html>
"""


class HttpFunctions(Protocol):
    """Answers a request with the function that was found for it."""

    async def serve(
        self, function: Function, values: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None: ...


@dataclass(slots=True)
class HttpHost:
    """The ASGI app. `routes` is None while the host is in state Error."""

    host_json: HostJson
    cors: Cors
    keys: Keys
    limits: RequestLimits
    routes: RouteTable | None
    functions: HttpFunctions | None
    admin: Router
    webhooks: Mapping[str, AsgiApp]
    keys_are_enforced: bool = False
    has_homepage: bool = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the host serves HTTP only, not {scope['type']}")
        if self.host_json.custom_headers:
            send = _with_custom_headers(send, self.host_json.custom_headers)
        if self.cors.origins:
            headers = dict(scope["headers"])
            if scope["method"] == "OPTIONS":
                preflight = self.cors.preflight(headers)
                if preflight is not None:
                    await respond(send, 204, headers=preflight)
                    return
            send = _with_cors(send, self.cors.answer(headers.get(b"origin")))
        await self._dispatch(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = _refuse_head(scope)
        path = decode_path(raw_path(scope))
        if refused is not None or path is None:
            await respond(send, refused or 400, headers=[(b"connection", b"close")])
            return
        scope = {**scope, "path": path}
        lowered = path.lower()
        if lowered.startswith("/admin/") and self._is_admin(scope):
            await self._admin(scope, receive, send)
        elif self.routes is None:
            await _say_not_running(send)
        elif lowered.startswith("/runtime/webhooks/"):
            await self._webhook(path, scope, receive, send)
        else:
            await self._function(path, scope, receive, send)

    async def _function(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.routes is not None
        try:
            found = self.routes.find(scope["method"], path)
        except re.error as error:  # the real host starts with it, too, and fails when it is first used
            logger.error("A regex constraint of a route cannot be used: %s", error)
            await respond(send, 500)
            return
        if found is None:
            if path == "/":
                await self._homepage(send)
            else:
                await respond(send, 404)
            return
        function, values = found
        if not self._may_call(function, scope):
            await respond(send, 401)
        elif function.is_disabled and not (self.keys_are_enforced and self.keys.is_master(given_key(scope))):
            await respond(send, 404)
        else:
            await self._call(function, values, scope, receive, send)

    async def _call(
        self, function: Function, values: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        assert self.functions is not None
        try:
            receive = self.limits.limit_body(scope, receive)
        except TooLarge as error:
            logger.error("Function %s: %s", function.name, error)
            await respond(send, 500, headers=[(b"connection", b"close")])
            return
        async with self.limits.slot() as admitted:
            if admitted:
                await self.functions.serve(function, values, scope, receive, send)
            else:
                await respond(send, 429, headers=[(b"x-function-scaleout", b"1")])

    def _may_call(self, function: Function, scope: Scope) -> bool:
        level = str(function.trigger.get("authLevel", "function")).lower()
        if not self.keys_are_enforced or level == "anonymous":
            return True
        key = given_key(scope)
        return self.keys.is_master(key) if level == "admin" else self.keys.opens_function(key, function.name)

    async def _admin(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = raw_path(scope).lower() == "/admin/host/ping"
        refused = None if is_open or not self.keys_are_enforced else self._refuse_without_master(scope)
        if refused is not None:
            await respond(send, refused, headers=_challenge(refused))
            return
        await self.admin(scope, receive, send)

    def _is_admin(self, scope: Scope) -> bool:
        """Does `/admin` have this path? What it does not have goes on to the functions."""
        return any(route.matches(scope)[0] is Match.FULL for route in self.admin.routes)

    def _refuse_without_master(self, scope: Scope) -> int | None:
        """None for the master key in its header; 403 for a key that is too weak or in the query, 401 for none."""
        if self.keys.is_master(header(scope, b"x-functions-key")):
            return None
        return 403 if self.keys.knows(given_key(scope)) else 401

    async def _webhook(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        extension, _, _ = path[len("/runtime/webhooks/") :].partition("/")
        app = self.webhooks.get(extension.lower())
        key = given_key(scope)
        if scope["method"] not in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            await respond(send, 404)
        elif self.keys_are_enforced and not self.keys.opens_webhook(key, extension):
            status = 403 if self.keys.knows(key) else 401
            await respond(send, status, headers=_challenge(status))
        elif app is None:
            await respond(send, 404)
        else:
            await app(scope, receive, send)

    async def _homepage(self, send: Send) -> None:
        if self.has_homepage:
            await respond(send, 200, WELCOME, [(b"content-type", b"text/html")])
        else:
            await respond(send, 204)


async def _say_not_running(send: Send) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b"Function host is not running."})


def _refuse_head(scope: Scope) -> int | None:
    """The status with which the server itself refuses a request's head: None for a good one."""
    size = 0
    has_host = scope["http_version"] == "1.0"
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
        has_host = has_host or name == b"host"
        if not value.isascii():
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                return 400
    if size > HEAD_LIMIT:
        return 431
    return None if has_host else 400


def _challenge(status: int) -> RawHeaders:
    return [(b"www-authenticate", b"Bearer")] if status == 401 else []


def _with_cors(send: Send, added: RawHeaders) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(b"access-control-allow-")]
            message = {**message, "headers": [*(kept if added else message["headers"]), *added]}
        await send(message)

    return wrapped


def _with_custom_headers(send: Send, custom: tuple[tuple[str, str], ...]) -> Send:
    added = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in custom]
    names = {name for name, _ in added}

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].lower() not in names]
            message = {**message, "headers": [*kept, *added]}
        await send(message)

    return wrapped
