"""Watchers: other ways to look at a turn than a page with SignalR. Each keeps a screen of its own through every outage.

A watcher also remembers each outcome that it read: what was final once must stay so.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.chaos.screen import RETRY_SECONDS, Screen
from tests.chat_client import ChatClient

LONG_POLL_SECONDS = 5.0
STATUS_SECONDS = 0.25
FINAL = frozenset({"completed", "stopped", "filtered", "failed"})
# The host is away, or storage is, or an answer was cut off.
OUTAGE = (aiohttp.ClientError, TimeoutError, ValueError, KeyError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended, as somebody read it; `at` is in seconds since 1970."""

    at: float
    status: str
    length: int
    sha256: str

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Outcome":
        return cls(time.time(), told["status"], told["length"], told["sha256"])

    @property
    def what(self) -> tuple[str, int, str]:
        return self.status, self.length, self.sha256


class Watcher:
    """One way to look at one turn; `watch` returns when it has seen the end."""

    name: str

    def __init__(self, client: ChatClient, accepted: Mapping[str, Any]) -> None:
        self.client = client
        self.accepted = accepted
        self.turn_id: str = accepted["turnId"]
        self.screen = Screen()
        self.outcomes: list[Outcome] = []

    async def watch(self) -> None:
        """Look until the end, whatever happens meanwhile."""
        while True:
            with contextlib.suppress(*OUTAGE):
                if await self.look():
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def look(self) -> bool:
        """Ask once; whether the turn is over and nothing is left to be seen."""
        raise NotImplementedError

    def take(self, record: Mapping[str, Any]) -> None:
        """A record of the journal."""
        self.screen.take(record)
        if record["kind"] == "end":
            self.outcomes.append(Outcome.of(record))


class LongPoll(Watcher):
    """Frames over HTTP alone."""

    name = "long poll"

    def __init__(self, client: ChatClient, accepted: Mapping[str, Any]) -> None:
        super().__init__(client, accepted)
        self._position = 0

    async def look(self) -> bool:
        found = await self.client.frames(self.turn_id, self._position, LONG_POLL_SECONDS)
        for record in found["frames"]:
            self.take(record)
        self._position = found["next"]
        return bool(found["ended"])


class StatusPoll(Watcher):
    """The status route alone, with ETags, until the turn is logged."""

    name = "status"

    def __init__(self, client: ChatClient, accepted: Mapping[str, Any]) -> None:
        super().__init__(client, accepted)
        self.status: dict[str, Any] = {}
        self.logged = asyncio.Event()
        self._tag = ""

    async def look(self) -> bool:
        async with self.client.http.get(f"/api/turns/{self.turn_id}", headers={"If-None-Match": self._tag}) as answer:
            answer.raise_for_status()
            if answer.status == 304:
                await asyncio.sleep(STATUS_SECONDS)
                return False
            status, self._tag = await answer.json(), answer.headers["ETag"]
        self.screen.paint(status["generation"], status["text"])
        if status["status"] in FINAL:
            self.outcomes.append(Outcome.of(status))
        self.status = status
        if status["logged"]:
            self.logged.set()
            return True
        await asyncio.sleep(STATUS_SECONDS)
        return False


class Stream(Watcher):
    """Server-sent events, taken up again at the last id that was seen."""

    name = "stream"

    def __init__(self, client: ChatClient, accepted: Mapping[str, Any]) -> None:
        super().__init__(client, accepted)
        self._last_id = ""

    async def look(self) -> bool:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
        async with self.client.http.get(self.accepted["streamUrl"], headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            async for event_id, kind, data in events_of(answer.content):
                self.take({"kind": kind} | json.loads(data))
                self._last_id = event_id or self._last_id
                if kind == "end":
                    return True
        return False


async def events_of(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, str, str]]:
    """(id, event, data) of each whole event in a stream of server-sent events that has data."""
    event_id, kind, data = "", "message", list[str]()
    async for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                event_id = value
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "" if not line.strip():
                if data:
                    yield event_id, kind, "\n".join(data)
                event_id, kind, data = "", "message", []
            case _:
                continue  # a comment, or a field such as retry


def watchers_for(client: ChatClient, accepted: Mapping[str, Any]) -> list[Watcher]:
    """Every way to look at this turn that the app offers."""
    ways: list[type[Watcher]] = [LongPoll, StatusPoll]
    if "streamUrl" in accepted:
        ways.append(Stream)
    return [way(client, accepted) for way in ways]
