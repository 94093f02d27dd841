"""Screens: what a person would have seen of each turn, and a visitor who keeps looking through every outage.

A screen follows the rule of `docs/wire-protocol.md` for clients: the text of the highest generation, each frame at its
offset, the longest beginning without a gap, redacted spans covered. It remembers everything it ever showed, so that a
test can say afterwards whether the text only grew and never showed what is not stored. Texts are bytes of UTF-16-LE
here: offsets on the wire count its units.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp

from tests.chat_client import RECORD_SEPARATOR, ChatClient

SILENCE_SECONDS = 0.5  # as long as nothing comes over SignalR, the journal is read this often
RETRY_SECONDS = 0.1
COVER = "█".encode("utf-16-le")
# What SignalR's targets are in the journal's words.
KINDS = {"token": "frame", "turnRestarted": "restart", "turnRedacted": "redact", "turnEnded": "end"}


@dataclass(frozen=True, slots=True)
class Cover:
    """A redaction; offset and length in bytes of UTF-16-LE."""

    generation: int
    offset: int
    length: int

    def over(self, text: bytes, start: int = 0) -> bytes:
        """The text, which begins at `start`, with the span covered."""
        first = min(max(self.offset - start, 0), len(text))
        last = max(min(self.offset + self.length - start, len(text)), first)
        return text[:first] + COVER * ((last - first) // 2) + text[last:]


class Screen:
    """One turn's text as it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, bytes]] = [(1, b"")]
        self.shown_at: list[float] = [time.time()]  # seconds since 1970, one for each of `shown`
        self.contradictions: list[str] = []
        self.grew = asyncio.Event()
        self.ended = asyncio.Event()
        self._root = 1  # the generation of the last restart: nothing older counts
        self._held: list[tuple[int, int, bytes]] = []  # generation, offset, text
        self._covers: list[Cover] = []
        self._held_covers: list[Cover] = []

    @property
    def generation(self) -> int:
        return self.shown[-1][0]

    @property
    def text(self) -> str:
        return self.shown[-1][1].decode("utf-16-le")

    def take(self, record: Mapping[str, Any]) -> None:
        """A record of the journal as the wire has it, from wherever it came."""
        match record["kind"]:
            case "frame":
                self.frame(record["generation"], record["offset"], record["text"])
            case "restart":
                self.restart(record["generation"])
            case "redact":
                self.redact(record["generation"], record["offset"], record["length"])

    def frame(self, generation: int, offset: int, text: str) -> None:
        """Text at this place of its generation; held until that was announced and the text reaches it."""
        if generation >= self._root:
            self._held.append((generation, 2 * offset, text.encode("utf-16-le")))
            self._settle()

    def restart(self, generation: int) -> None:
        """A generation was announced; an older one is left for good."""
        if generation > self._root:
            self._root = generation
            self._covers.clear()
            self._held_covers = [cover for cover in self._held_covers if cover.generation > generation]
            self._held = [held for held in self._held if held[0] >= generation]
            self._show(generation, b"")
            self._settle()

    def redact(self, generation: int, offset: int, length: int) -> None:
        """A generation in which a span of the text so far is covered."""
        cover = Cover(generation, 2 * offset, 2 * length)
        if generation > self.generation and cover not in self._held_covers:
            self._held_covers.append(cover)
            self._settle()

    def paint(self, generation: int, text: str) -> None:
        """The whole text as it is now, told at once."""
        if (generation, text.encode("utf-16-le")) != self.shown[-1]:
            self._show(generation, text.encode("utf-16-le"))

    def _settle(self) -> None:
        """Place and cover whatever has become possible."""
        while True:
            cover = next((each for each in self._held_covers if each.generation == self.generation + 1), None)
            if cover is not None:
                self._held_covers.remove(cover)
                self._covers.append(cover)
                self._show(cover.generation, cover.over(self.shown[-1][1]))
            reachable = (
                held for held in self._held if held[0] <= self.generation and held[1] <= len(self.shown[-1][1])
            )
            piece = next(reachable, None)
            if piece is not None:
                self._held.remove(piece)
                self._place(*piece)
            if cover is None and piece is None:
                return

    def _place(self, generation: int, start: int, piece: bytes) -> None:
        text = self.shown[-1][1]
        for cover in self._covers:
            if cover.generation > generation:
                piece = cover.over(piece, start)
        overlap = text[start : start + len(piece)]
        if not piece.startswith(overlap):
            self.contradictions.append(f"at {start // 2}: shown {overlap!r}, then told {piece!r}")
        if len(piece) > len(overlap):
            self._show(self.generation, text + piece[len(overlap) :])

    def _show(self, generation: int, text: bytes) -> None:
        self.shown.append((generation, text))
        self.shown_at.append(time.time())
        self.grew.set()

    def check(self, stored: Mapping[int, str]) -> None:
        """Everything ever shown is a beginning of what is stored, and within a generation it only grew."""
        assert self.faults(stored) == []

    def faults(self, stored: Mapping[int, str]) -> list[str]:
        """What was shown and should not have been; `stored` are the journal's texts by generation."""
        found = list(self.contradictions)
        for (before, old), (after, new) in zip(self.shown, self.shown[1:], strict=False):
            if after < before or (after == before and not (len(new) > len(old) and new.startswith(old))):
                found.append(f"the text did not grow: {_quoted(before, old)}, then {_quoted(after, new)}")
        for generation, text in self.shown:
            if not stored.get(generation, "").encode("utf-16-le").startswith(text):
                found.append(f"shown and not stored: {_quoted(generation, text)}")
        return found


def _quoted(generation: int, text: bytes) -> str:
    return f"generation {generation}, {len(text) // 2} units, ...{text[-60:].decode('utf-16-le', 'replace')!r}"


def texts_of(records: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """The text of each generation at its longest, from records in the journal's order, up to what decides."""
    texts: dict[int, bytes] = defaultdict(bytes)
    generation = 1
    for record in records:
        match record["kind"]:
            case "frame":
                generation = record["generation"]
                assert 2 * record["offset"] == len(texts[generation]), "a frame does not follow the text before it"
                texts[generation] += record["text"].encode("utf-16-le")
            case "restart":
                generation = record["generation"]
                texts[generation] = b""
            case "redact":
                before, generation = generation, record["generation"]
                texts[generation] = Cover(generation, 2 * record["offset"], 2 * record["length"]).over(texts[before])
            case "stop" | "end":
                break
    return {number: text.decode("utf-16-le") for number, text in texts.items()}


class Visitor:
    """A person with a page: asks until the turn is accepted, connects again, catches up. Use as `async with`."""

    def __init__(self, base: str, *, signalr: bool = True) -> None:
        self.client = ChatClient(base, signalr=False)
        self.screens: dict[str, Screen] = defaultdict(Screen)
        self.heard: dict[str, list[dict[str, Any]]] = defaultdict(list)  # every record, in the order of its arrival
        self.accepted: dict[str, dict[str, Any]] = {}  # the 202 of each turn
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

    async def ask(
        self, prompt: str, conversation: str | None = None, key: str | None = None, *, deployment: str | None = None
    ) -> str:
        """Post a turn, again and again with one key until it is accepted; its id. The screen follows it from here."""
        conversation, key = conversation or "talk-" + secrets.token_hex(8), key or secrets.token_hex(8)
        body = {"prompt": prompt} | ({"deployment": deployment} if deployment else {})
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError, ValueError):
                    status, answer = await self.client.post_turn(body, conversation, key)
                    if status == 202:
                        self.accepted[answer["turnId"]] = answer
                        self.follow(answer["turnId"])
                        return str(answer["turnId"])
                    assert status in (429, 500, 503), answer
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
        return texts_of((await self.client.frames(turn_id))["frames"])

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
            kind, arguments = KINDS.get(message["target"]), message["arguments"]
            if kind is not None:
                self._take({"kind": kind} | arguments[-1] | ({"text": arguments[0]} if kind == "frame" else {}))

    def _take(self, record: dict[str, Any]) -> None:
        turn_id = record["turnId"]
        self.heard[turn_id].append(record)
        screen = self.screens[turn_id]
        screen.take(record)
        if record["kind"] == "end":
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
                for record in found["frames"]:
                    self.heard[turn_id].append(record)
                    screen.take(record)
                position = found["next"]
                if found["ended"]:
                    screen.ended.set()
                    return
            except (aiohttp.ClientError, ValueError, KeyError):  # the host is away, or storage is (503)
                await asyncio.sleep(RETRY_SECONDS)
