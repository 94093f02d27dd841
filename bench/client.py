"""A browser without a page: a session, a SignalR connection, turns. What it measures is what a person would see."""

import asyncio
import json
import secrets
import time
from collections import defaultdict
from types import TracebackType
from typing import Any

import aiohttp

RECORD_SEPARATOR = "\x1e"


class ChatClient:
    """One visitor. Use as `async with`."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self.texts: dict[str, str] = defaultdict(str)
        self.first_at: dict[str, float] = {}
        self.ended: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.messages: dict[str, int] = defaultdict(int)

    async def __aenter__(self) -> "ChatClient":
        async with self._session.post(f"{self._base}/api/negotiate") as response:
            response.raise_for_status()
            connection = await response.json()
        url = connection["url"].replace("http", "ws", 1) + "&access_token=" + connection["accessToken"]
        self._socket = await self._session.ws_connect(url)
        await self._socket.send_str(json.dumps({"protocol": "json", "version": 1}) + RECORD_SEPARATOR)
        await self._socket.receive_str()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None
        assert self._socket is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()
        await self._session.close()

    async def start_turn(self, prompt: str) -> tuple[str, float, float]:
        """Post a turn in a conversation of its own: its id, when it was posted, and seconds until the 202."""
        started = time.perf_counter()
        url = f"{self._base}/api/conversations/bench-{secrets.token_hex(8)}/turns"
        async with self._session.post(url, json={"prompt": prompt}) as response:
            body = await response.json()
            if response.status != 202:
                raise RuntimeError(f"{response.status}: {body}")
        return body["turnId"], started, time.perf_counter() - started

    async def status(self, turn_id: str) -> dict[str, Any]:
        async with self._session.get(f"{self._base}/api/turns/{turn_id}") as response:
            status: dict[str, Any] = await response.json()
            return status

    async def _read(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            now = time.perf_counter()
            for text in str(message.data).split(RECORD_SEPARATOR):
                if text:
                    self._take(json.loads(text), now)

    def _take(self, message: dict[str, Any], now: float) -> None:
        if message.get("type") != 1:
            return
        target, arguments = message["target"], message["arguments"]
        turn_id = arguments[-1]["turnId"]
        self.messages[turn_id] += 1
        if target == "token":
            self.first_at.setdefault(turn_id, now)
            self.texts[turn_id] += arguments[0]
        elif target == "turnEnded":
            self.ended[turn_id].set()
