"""The data plane: what the app calls to send messages and to manage connections and groups.

Each operation exists in the dated versions (`/api/hubs/...?api-version=2022-06-01`) and most of them in version 1.0
(`/api/v1/hubs/...`), with paths and success codes of their own: `OPERATIONS` is the map (Azure/azure-signalr,
docs/swagger, V20220601 and v1). 202 for a message says that it was taken, not that somebody received it.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiohttp import web

from stand_in.signalr.client_connection import ClientConnection
from stand_in.signalr.client_endpoint import cut
from stand_in.signalr.emulator import Emulator, bearer_token, host_name, hub_name
from stand_in.signalr.errors import BadRequest, NotFound, NotSupported
from stand_in.signalr.hub import Hub
from stand_in.signalr.rest_messages import Outbox

API_VERSIONS = ("2022-06-01", "2022-11-01", "2023-07-01", "2024-12-01")
MAXIMUM_GROUP_CHARACTERS = 1024
MAXIMUM_PAGE = 200


@dataclass(frozen=True, slots=True)
class Call:
    """One authorised call of an operation on a hub."""

    emulator: Emulator
    outbox: Outbox
    hub: Hub
    request: web.Request

    def named(self, part: str) -> str:
        """A part of the path, percent-decoded."""
        return self.request.match_info[part]

    @property
    def group(self) -> str:
        group = self.named("group")
        if not group.strip() or len(group) > MAXIMUM_GROUP_CHARACTERS:
            raise BadRequest("InvalidArgument", "A group's name has 1 to 1,024 characters.", target="group")
        return group

    @property
    def connection(self) -> ClientConnection:
        connection = self.hub.connections.get(self.named("connection"))
        if connection is None:
            raise NotFound("Error.Connection.NotExisted", "The connection does not exist.", target="connectionId")
        return connection

    def without_excluded(self, connections: Collection[ClientConnection]) -> Collection[ClientConnection]:
        excluded = self.request.query.getall("excluded", None)
        if not excluded:
            return connections
        return [connection for connection in connections if connection.connection_id not in excluded]


Operation = Callable[[Call], Awaitable[web.StreamResponse | None]]


async def send_to_all(call: Call) -> web.StreamResponse | None:
    return await _send(call, "all", "", call.without_excluded(call.hub.everyone()))


async def send_to_user(call: Call) -> web.StreamResponse | None:
    user_id = call.named("user")
    return await _send(call, "user", user_id, call.hub.of_user(user_id))


async def send_to_group(call: Call) -> web.StreamResponse | None:
    return await _send(call, "group", call.group, call.without_excluded(call.hub.of_group(call.group)))


async def send_to_connection(call: Call) -> web.StreamResponse | None:
    connection_id = call.named("connection")
    connection = call.hub.connections.get(connection_id)
    return await _send(call, "connection", connection_id, [] if connection is None else [connection])


async def _send(
    call: Call, scope: str, name: str, receivers: Collection[ClientConnection]
) -> web.StreamResponse | None:
    answered = await call.outbox.send(call.request, call.hub.name, scope, name, receivers)
    return None if answered else cut(call.request)


async def join_group(call: Call) -> None:
    call.hub.join_group(call.connection, call.group)


async def leave_group(call: Call) -> None:
    call.hub.leave_group(call.connection, call.group)


async def leave_all_groups(call: Call) -> None:
    call.hub.leave_all_groups(call.connection)


async def user_joins_group(call: Call) -> None:
    call.hub.user_joins_group(call.named("user"), call.group, _whole_number(call.request, "ttl"))


async def user_leaves_group(call: Call) -> None:
    call.hub.user_leaves_group(call.named("user"), call.group)


async def user_leaves_all_groups(call: Call) -> None:
    call.hub.user_leaves_all_groups(call.named("user"))


async def user_is_in_group(call: Call) -> None:
    if not call.hub.user_is_in_group(call.named("user"), call.group):
        raise NotFound("Info.User.NotInGroup", "The user is not in the group.")


async def connection_exists(call: Call) -> None:
    if call.named("connection") not in call.hub.connections:
        raise NotFound("Warning.Connection.NotExisted", "The connection does not exist.")


async def group_exists(call: Call) -> None:
    if not call.hub.of_group(call.group):
        raise NotFound("Warning.Group.NotExisted", "The group has no connection.")


async def user_exists(call: Call) -> None:
    if not call.hub.of_user(call.named("user")):
        raise NotFound("Warning.User.NotExisted", "The user has no connection.")


async def close_connection(call: Call) -> None:
    connection = call.hub.connections.get(call.named("connection"))
    if connection is not None:
        _close(call, [connection])


async def close_all(call: Call) -> None:
    _close(call, call.without_excluded(call.hub.everyone()))


async def close_group(call: Call) -> None:
    _close(call, call.without_excluded(call.hub.of_group(call.group)))


async def close_user(call: Call) -> None:
    _close(call, call.without_excluded(call.hub.of_user(call.named("user"))))


def _close(call: Call, connections: Collection[ClientConnection]) -> None:
    for connection in connections:
        connection.close(call.request.query.get("reason"))


async def list_group_connections(call: Call) -> web.Response:
    request, members = call.request, list(call.hub.of_group(call.group))
    start = _whole_number(request, "continuationToken") or 0
    end = min(_whole_number(request, "top") or len(members), len(members))
    page_end = min(start + min(_whole_number(request, "maxpagesize") or MAXIMUM_PAGE, MAXIMUM_PAGE), end)
    page = members[start:page_end]
    body = {"value": [{"connectionId": member.connection_id, "userId": member.user_id} for member in page]}
    next_url = str(request.url.update_query(continuationToken=str(page_end))) if page_end < end else None
    return web.json_response(body | {"nextLink": next_url})


async def generate_token(call: Call) -> web.Response:
    request = call.request
    minutes = _whole_number(request, "minutesToExpire")
    if minutes == 0:
        raise BadRequest("InvalidArgument", "minutesToExpire is at least 1.", target="minutesToExpire")
    audience = f"{request.scheme}://{request.host}/client/?hub={call.hub.name}"
    lifetime = 60.0 * (60 if minutes is None else minutes)
    token = call.emulator.tokens.make_client_token(audience, request.query.get("userId"), lifetime)
    return web.json_response({"token": token})


def refused(name: str) -> Operation:
    """An operation of the service that the emulator has not."""

    async def refuse(call: Call) -> None:
        raise NotSupported(name)

    return refuse


_GROUP, _USER, _CONNECTION = "/groups/{group}", "/users/{user}", "/connections/{connection}"
_USER_GROUP, _GROUP_USER = _USER + _GROUP, _GROUP + _USER
_STREAM = _CONNECTION + "/streams/{stream}"

# Method, path below /api/hubs/{hub}, first version, operation, status of success. The most frequent ones come first.
DATED: list[tuple[str, str, str, Operation, int]] = [
    ("POST", _USER + "/:send", "2022-06-01", send_to_user, 202),
    ("POST", _GROUP + "/:send", "2022-06-01", send_to_group, 202),
    ("POST", "/:send", "2022-06-01", send_to_all, 202),
    ("POST", _CONNECTION + "/:send", "2022-06-01", send_to_connection, 202),
    ("PUT", _GROUP + _CONNECTION, "2022-06-01", join_group, 200),
    ("DELETE", _GROUP + _CONNECTION, "2022-06-01", leave_group, 200),
    ("DELETE", _CONNECTION + "/groups", "2022-06-01", leave_all_groups, 200),
    ("PUT", _USER_GROUP, "2022-06-01", user_joins_group, 200),
    ("DELETE", _USER_GROUP, "2022-06-01", user_leaves_group, 204),
    ("DELETE", _USER + "/groups", "2022-06-01", user_leaves_all_groups, 204),
    ("HEAD", _USER_GROUP, "2022-06-01", user_is_in_group, 200),
    ("HEAD", _CONNECTION, "2022-06-01", connection_exists, 200),
    ("HEAD", _GROUP, "2022-06-01", group_exists, 200),
    ("HEAD", _USER, "2022-06-01", user_exists, 200),
    ("DELETE", _CONNECTION, "2022-06-01", close_connection, 200),
    ("POST", "/:closeConnections", "2022-06-01", close_all, 204),
    ("POST", _GROUP + "/:closeConnections", "2022-06-01", close_group, 204),
    ("POST", _USER + "/:closeConnections", "2022-06-01", close_user, 204),
    ("POST", "/:generateToken", "2022-11-01", generate_token, 200),
    ("GET", _GROUP + "/connections", "2024-12-01", list_group_connections, 200),
    ("POST", "/:execute", "2023-07-01", refused(":execute (command lists)"), 501),
    ("POST", _CONNECTION + "/:invoke", "2024-12-01", refused(":invoke (client results)"), 501),
    ("POST", _STREAM + "/:send", "2024-12-01", refused("streams/:send (stream items)"), 501),
    ("POST", _STREAM + "/:complete", "2024-12-01", refused("streams/:complete (stream items)"), 501),
]
# The same below /api/v1/hubs/{hub}. Where GET is answered, HEAD is too.
VERSION_1: list[tuple[str, str, Operation, int]] = [
    ("POST", _USER, send_to_user, 202),
    ("POST", _GROUP, send_to_group, 202),
    ("POST", "", send_to_all, 202),
    ("POST", _CONNECTION, send_to_connection, 202),
    ("PUT", _GROUP + _CONNECTION, join_group, 200),
    ("DELETE", _GROUP + _CONNECTION, leave_group, 200),
    ("PUT", _GROUP_USER, user_joins_group, 202),
    ("DELETE", _GROUP_USER, user_leaves_group, 202),
    ("DELETE", _USER + "/groups", user_leaves_all_groups, 200),
    ("GET", _GROUP_USER, user_is_in_group, 200),
    ("GET", _CONNECTION, connection_exists, 200),
    ("GET", _GROUP, group_exists, 200),
    ("GET", _USER, user_exists, 200),
    ("DELETE", _CONNECTION, close_connection, 202),
]


class RestApi:
    """Authorises calls and finds their operation."""

    def __init__(self, emulator: Emulator, outbox: Outbox) -> None:
        self._emulator = emulator
        self._outbox = outbox

    def routes(self) -> list[web.RouteDef]:
        routes = [
            web.route(method, f"/api/hubs/{{hub}}{path}", self._handler(operation, status, since))
            for method, path, since, operation, status in DATED
        ]
        routes += [
            web.route(method, f"/api/v1/hubs/{{hub}}{path}", self._handler(operation, status, None))
            for method, path, operation, status in VERSION_1
        ]
        for path in ("/api/health", "/api/v1/health"):
            routes.append(web.get(path, health))
        return routes

    def _handler(
        self, operation: Operation, status: int, since: str | None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if since is not None:
                _check_version(request, since)
            self._emulator.tokens.check_call(bearer_token(request), request.raw_path, host_name(request))
            hub = self._emulator.hubs[hub_name(request.match_info["hub"], request.query.get("application"))]
            answer = await operation(Call(self._emulator, self._outbox, hub, request))
            return web.Response(status=status) if answer is None else answer

        return handle


async def health(request: web.Request) -> web.Response:
    """The service is up. Needs no token."""
    return web.Response()


def _check_version(request: web.Request, since: str) -> None:
    version = request.query.get("api-version")
    if version is None:
        raise BadRequest("ApiVersionUnspecified", "An API version is required, but was not specified.")
    if version not in API_VERSIONS or version < since:
        known = ", ".join(known for known in API_VERSIONS if known >= since)
        raise BadRequest(
            "UnsupportedApiVersion",
            f"The emulator does not support this request with API version {version!r}: {known}.",
        )


def _whole_number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal():
        raise BadRequest("InvalidArgument", f"{name!r} is a whole number, not {text!r}.", target=name)
    return int(text)
