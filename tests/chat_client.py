"""A browser without a page: a session, a SignalR connection, turns. What it sees is what a person would."""

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
    """One visitor. `async with` connects it to SignalR, too, unless it is to be a plain HTTP client."""

    def __init__(self, base: str, *, signalr: bool = True) -> None:
        self.base = base
        self.http = aiohttp.ClientSession(base, cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._signalr = signalr
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self.texts: dict[str, str] = defaultdict(str)
        self.first_at: dict[str, float] = {}
        self.ended: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.messages: dict[str, int] = defaultdict(int)

    async def __aenter__(self) -> "ChatClient":
        async with self.http.post("/api/negotiate") as response:
            response.raise_for_status()
            connection = await response.json()
        if self._signalr:
            url = connection["url"].replace("http", "ws", 1) + "&access_token=" + connection["accessToken"]
            self._socket = await self.http.ws_connect(url)
            await self._socket.send_str(json.dumps({"protocol": "json", "version": 1}) + RECORD_SEPARATOR)
            await self._socket.receive_str()
            self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()
        await self.http.close()

    async def post_turn(
        self, body: Any, conversation: str | None = None, key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Post a turn, by default in a conversation of its own: status and body of the answer."""
        url = f"/api/conversations/{conversation or 'talk-' + secrets.token_hex(8)}/turns"
        headers = {"Idempotency-Key": key} if key else {}
        async with self.http.post(url, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def start_turn(self, prompt: str, conversation: str | None = None) -> tuple[str, float, float]:
        """Post a turn that must be accepted: its id, when it was posted, and seconds until the 202."""
        started = time.perf_counter()
        status, body = await self.post_turn({"prompt": prompt}, conversation)
        if status != 202:
            raise AssertionError(f"{status}: {body}")
        return body["turnId"], started, time.perf_counter() - started

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self.http.get(path) as response:
            return response.status, await response.json()

    async def status(self, turn_id: str) -> dict[str, Any]:
        return (await self.get(f"/api/turns/{turn_id}"))[1]

    async def stop(self, turn_id: str) -> tuple[int, dict[str, Any]]:
        async with self.http.post(f"/api/turns/{turn_id}/stop") as response:
            return response.status, await response.json()

    async def wait_for(self, turn_id: str, *phases: str, seconds: float = 40) -> dict[str, Any]:
        """The turn's status once it is in one of these phases, also over restarts of the host."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    status = await self.status(turn_id)
                except (aiohttp.ClientError, ValueError):
                    status = {}
                if status.get("phase") in phases:
                    return status
                await asyncio.sleep(0.05)

    async def answer(self, prompt: str, conversation: str | None = None) -> dict[str, Any]:
        """Ask and wait for the whole answer: the turn's final status."""
        turn_id, _, _ = await self.start_turn(prompt, conversation)
        return await self.wait_for(turn_id, "answered", "logged")

    async def frames(self, turn_id: str, after: int = 0, wait: float = 0) -> dict[str, Any]:
        return (await self.get(f"/api/turns/{turn_id}/frames?after={after}&wait={wait}"))[1]

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
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
