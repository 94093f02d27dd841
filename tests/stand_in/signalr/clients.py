"""A bare client of the emulator: what the real ones do, visible byte by byte."""

import json as json_module
from typing import Any

import aiohttp
import jwt

from stand_in.signalr.access_tokens import EMULATOR_ACCESS_KEY
from stand_in.signalr.server import SignalRServer

HANDSHAKE = '{"protocol":"json","version":1}\x1e'
VERSION = "api-version=2022-06-01"
# Far beyond any clock that a test sets, so that only tests about expiry meet it.
NEVER = 4_000_000_000


class Clock:
    """Time that a test moves."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.time = start

    def __call__(self) -> float:
        return self.time


class Caller:
    """Talks to one emulator with tokens that it signs itself."""

    def __init__(self, server: SignalRServer, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http
        self.base = f"http://127.0.0.1:{server.port}"

    def token(self, audience: str, key: str = EMULATOR_ACCESS_KEY, **claims: Any) -> str:
        return jwt.encode({"aud": audience, "exp": NEVER} | claims, key, "HS256")

    def client_token(self, user_id: str | None = None, hub: str = "chat", **claims: Any) -> str:
        named = {} if user_id is None else {"asrs.s.uid": user_id}
        return self.token(f"{self.base}/client/?hub={hub}", **named, **claims)

    async def call(self, method: str, path: str, json: Any = None, **options: Any) -> aiohttp.ClientResponse:
        """A REST call with a good token, unless `headers` bring another; answered and read."""
        audience = f"{self.base}{path.partition('?')[0]}"
        headers = {"Authorization": f"Bearer {self.token(audience)}"} | options.pop("headers", {})
        async with self.http.request(method, self.base + path, json=json, headers=headers, **options) as response:
            await response.read()
            return response

    async def send(self, to: str, *arguments: Any, target: str = "token", query: str = "") -> int:
        """Send to `to` ("", "/users/u", ...); returns the status."""
        body = {"target": target, "arguments": arguments}
        return (await self.call("POST", f"/api/hubs/chat{to}/:send?{VERSION}{query}", body)).status

    async def negotiate(self, query: str = "hub=chat&negotiateVersion=1", **options: Any) -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {options.pop('token', None) or self.client_token()}"}
        headers |= options.pop("headers", {})
        url = f"{self.base}/client/negotiate?{query}"
        async with self.http.post(url, headers=headers) as response:
            await response.read()
            return response

    async def open(self, token: str, connection_token: str | None = None) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket before its handshake, opened as browsers do it: the token in the query."""
        query = {"hub": "chat", "access_token": token} | ({} if connection_token is None else {"id": connection_token})
        return await self.http.ws_connect(f"{self.base}/client/", params=query)

    async def connect(self, user_id: str | None = None, **claims: Any) -> "Connected":
        """A client after negotiation and handshake."""
        token = self.client_token(user_id, **claims)
        negotiated = await (await self.negotiate(token=token)).json()
        socket = await self.open(token, negotiated["connectionToken"])
        await socket.send_str(HANDSHAKE)
        client = Connected(socket, negotiated["connectionId"])
        assert await client.record() == {}
        return client

    async def admin(self, method: str, path: str, json: Any = None) -> Any:
        async with self.http.request(method, f"{self.base}/_admin{path}", json=json) as response:
            text = await response.text()
            assert response.status < 300, text
            return await response.json() if text else None


class Connected:
    """A connected client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, connection_id: str) -> None:
        self.socket = socket
        self.connection_id = connection_id
        self._records: list[str] = []

    async def record(self) -> Any:
        """The next record; None when the socket is closed."""
        while not self._records:
            message = await self.socket.receive(timeout=10)
            if message.type is not aiohttp.WSMsgType.TEXT:
                return None
            self._records = message.data.split("\x1e")[:-1]
        return json_module.loads(self._records.pop(0))

    async def arguments(self) -> Any:
        """The arguments of the next record, which must be an invocation."""
        record = await self.record()
        assert record["type"] == 1, record
        return record["arguments"]
