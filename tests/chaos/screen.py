"""Screens: what a person would have seen of each turn, and a visitor who keeps looking through every outage.

A screen follows the rule of `docs/wire-protocol.md` for clients: the text of the highest generation, each frame at its
offset, the longest beginning without a gap. It remembers everything it ever showed, so that a test can say afterwards
whether the text only grew and never showed what is not stored. Texts are bytes of UTF-16-LE here: offsets on the wire
count its units.
"""

import asyncio
import contextlib
import json
import secrets
from collections import defaultdict
from types import TracebackType
from typing import Any

import aiohttp

from tests.chat_client import RECORD_SEPARATOR, ChatClient

SILENCE_SECONDS = 0.5  # as long as nothing comes over SignalR, the journal is read this often
RETRY_SECONDS = 0.1


class Screen:
    """One turn's text as it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, bytes]] = [(1, b"")]
        self.contradictions: list[str] = []
        self.grew = asyncio.Event()
        self.ended = asyncio.Event()
        self._held: dict[int, bytes] = {}

    @property
    def generation(self) -> int:
        return self.shown[-1][0]

    @property
    def text(self) -> str:
        return self.shown[-1][1].decode("utf-16-le")

    def frame(self, generation: int, offset: int, text: str) -> None:
        """A frame from wherever it came."""
        if generation < self.generation:
            return
        self.restart(generation)
        piece, start = text.encode("utf-16-le"), 2 * offset
        if len(self._held.get(start, b"")) < len(piece):
            self._held[start] = piece
        for start in sorted(self._held):
            text_now = self.shown[-1][1]
            if start <= len(text_now):
                self._place(text_now, start, self._held.pop(start))

    def restart(self, generation: int) -> None:
        """A generation was announced; an older one is left for good."""
        if generation > self.generation:
            self._held.clear()
            self.shown.append((generation, b""))

    def _place(self, text: bytes, start: int, piece: bytes) -> None:
        overlap = text[start : start + len(piece)]
        if not piece.startswith(overlap):
            self.contradictions.append(f"at {start // 2}: shown {overlap!r}, then told {piece!r}")
        if len(piece) > len(overlap):
            self.shown.append((self.generation, text + piece[len(overlap) :]))
            self.grew.set()

    def check(self, stored: dict[int, str]) -> None:
        """Everything ever shown is a beginning of what is stored, and within a generation it only grew."""
        assert not self.contradictions
        for (before, old), (after, new) in zip(self.shown, self.shown[1:], strict=False):
            assert after > before or (after == before and len(new) > len(old) and new.startswith(old))
        for generation, text in self.shown:
            assert stored.get(generation, "").encode("utf-16-le").startswith(text), "shown before it was stored"


class Visitor:
    """A person with a page: asks until the turn is accepted, connects again, catches up. Use as `async with`."""

    def __init__(self, base: str, *, signalr: bool = True) -> None:
        self.client = ChatClient(base, signalr=False)
        self.screens: dict[str, Screen] = defaultdict(Screen)
        self._signalr = signalr
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Visitor":
        await self.client.__aenter__()
        if self._signalr:
            self._watching.append(asyncio.create_task(self._listen()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.look_away()
        await self.client.__aexit__(kind, error, trace)

    async def ask(self, prompt: str, conversation: str | None = None, key: str | None = None) -> str:
        """Post a turn, again and again with one key until it is accepted; its id. The screen follows it from here."""
        conversation, key = conversation or "talk-" + secrets.token_hex(8), key or secrets.token_hex(8)
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError, ValueError):
                    status, body = await self.client.post_turn({"prompt": prompt}, conversation, key)
                    if status == 202:
                        self.follow(body["turnId"])
                        return str(body["turnId"])
                    assert status in (429, 500, 503), body
                await asyncio.sleep(RETRY_SECONDS)

    def follow(self, turn_id: str) -> None:
        """Catch up from the journal whenever SignalR is silent, until the end."""
        self._watching.append(asyncio.create_task(self._catch_up(turn_id)))

    async def look_away(self) -> None:
        """Close the page: from now on nobody asks for anything."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._watching.clear()

    async def sees(self, turn_id: str, characters: int, seconds: float = 40) -> None:
        """Wait until so much of a turn is on screen."""
        screen = self.screens[turn_id]
        async with asyncio.timeout(seconds):
            while len(screen.text) < characters:
                screen.grew.clear()
                await screen.grew.wait()

    async def stored(self, turn_id: str) -> dict[int, str]:
        """What the journal holds, by generation: its frames, read from the beginning."""
        texts: dict[int, str] = defaultdict(str)
        for frame in (await self.client.frames(turn_id))["frames"]:
            if frame["kind"] == "frame":
                assert frame["offset"] == len(texts[frame["generation"]].encode("utf-16-le")) // 2
                texts[frame["generation"]] += frame["text"]
        return texts

    async def _listen(self) -> None:
        """Be connected to SignalR; whenever it is lost, negotiate and connect again."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, ValueError, KeyError):
                async with self.client.http.post("/api/negotiate") as response:
                    connection = await response.json()
                url = connection["url"].replace("http", "ws", 1) + "&access_token=" + connection["accessToken"]
                async with self.client.http.ws_connect(url) as socket:
                    await socket.send_str(json.dumps({"protocol": "json", "version": 1}) + RECORD_SEPARATOR)
                    async for message in socket:
                        self._hear(str(message.data))
            await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, data: str) -> None:
        for text in data.split(RECORD_SEPARATOR):
            message = json.loads(text) if text else {}
            if message.get("type") != 1:
                continue
            arguments: list[Any] = message["arguments"]
            place = arguments[-1]
            screen = self.screens[place["turnId"]]
            match message["target"]:
                case "token":
                    screen.frame(place["generation"], place["offset"], arguments[0])
                case "turnRestarted":
                    screen.restart(place["generation"])
                case "turnEnded":
                    screen.ended.set()  # the rest, if any is missing, is asked for at once
                    screen.grew.set()

    async def _catch_up(self, turn_id: str) -> None:
        screen, position = self.screens[turn_id], 0
        while True:
            if not screen.ended.is_set():
                screen.grew.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE_SECONDS):
                        await screen.grew.wait()
                    if not screen.ended.is_set():
                        continue
            try:
                found = await self.client.frames(turn_id, position)
                for frame in found["frames"]:
                    if frame["kind"] == "frame":
                        screen.frame(frame["generation"], frame["offset"], frame["text"])
                    elif frame["kind"] == "restart":
                        screen.restart(frame["generation"])
                position = found["next"]
                if found["ended"]:
                    screen.ended.set()
                    return
            except (aiohttp.ClientError, ValueError, KeyError):  # the host is away, or storage is (503)
                await asyncio.sleep(RETRY_SECONDS)
