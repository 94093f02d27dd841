"""What the endpoints of the emulator share: who is connected, which tokens hold, what was sent, which faults hold."""

import time
from collections.abc import Callable

from aiohttp import web

from stand_in.signalr.access_tokens import EMULATOR_ACCESS_KEY, AccessTokens
from stand_in.signalr.client_connection import ClientConnection, Timings
from stand_in.signalr.errors import BadRequest
from stand_in.signalr.faults import Faults
from stand_in.signalr.hub import Hubs
from stand_in.signalr.message_log import MessageLog

MAXIMUM_NAME_CHARACTERS = 128


class Emulator:
    """One SignalR resource. `now` is a monotonic clock, `unix_time` the wall clock that tokens are checked against."""

    def __init__(
        self,
        *,
        access_key: str = EMULATOR_ACCESS_KEY,
        timings: Timings | None = None,
        now: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self.timings = timings or Timings()
        self.now = now
        self.unix_time = unix_time
        self.hubs = Hubs(now)
        self.tokens = AccessTokens(access_key, unix_time)
        self.faults = Faults()
        self.log = MessageLog()
        # Every open connection by its token, those that have not finished their handshake included.
        self.connections: dict[str, ClientConnection] = {}

    def connection(self, connection_id: str) -> ClientConnection | None:
        """An open connection by its public id."""
        for hub in self.hubs:
            if connection_id in hub.connections:
                return hub.connections[connection_id]
        return None


def hub_name(text: str, application: str | None = None) -> str:
    """The hub's name as the service keeps it: lower case, with the application before it."""
    name = f"{application}_{text}" if application else text
    legal = (
        name[:1].isascii() and name[:1].isalpha() and all(c.isascii() and (c.isalnum() or c in "_`,.[]") for c in name)
    )
    if not legal or len(name) > MAXIMUM_NAME_CHARACTERS:
        raise BadRequest("InvalidHubName", f"The hub name {text!r} is not a letter and then letters, digits or '_'.")
    return name.lower()


def bearer_token(request: web.BaseRequest) -> str | None:
    """The access token of a request: from its header, or from its query where a browser cannot send headers."""
    header = request.headers.get("Authorization", "")
    if header[:7].lower() == "bearer ":
        return header[7:]
    return request.query.get("access_token")


def host_name(request: web.BaseRequest) -> str:
    """The host that the caller believes to be talking to, without its port."""
    return request.host.rpartition(":")[0] or request.host
