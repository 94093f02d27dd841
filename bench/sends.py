"""Sends: a hundred answers at once under SignalR's limit of 200 sends a second, beside a sender of single frames.

The emulator is a process of its own and refuses as a unit would (`sendsPerSecond`). Ours are `chat.delivery` and
`adapters.signalr`, fed with a frame each 100 ms as the relay does; the naive sender posts each token when it comes.
Staleness is the time from a piece of text being stored to its arrival on a connection.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from adapters.signalr import SignalRHub
from adapters.signalr_connection import SignalRConnection
from bench.figures import Figure, percentile, show
from chat.delivery import Delivery
from chat.errors import DeliveryFailed
from chat.records import End, Frame
from chat.send_line import SendLine
from stand_in.signalr.access_tokens import connection_string

STREAMS = 100
SENDS_PER_SECOND = 200
TOKENS_PER_SECOND = 75
SECONDS = 8.0  # of each answer
BEGIN_WITHIN = 2.0  # they do not begin at the same instant: that would measure this machine's sockets
WINDOW = 0.1  # of the relay
TOKEN = "word "
RECORD_SEPARATOR = "\x1e"


@dataclass
class Reader:
    """A page of one user: what arrived when. `said` is what the other side knows: (when, text's length by then)."""

    said: list[tuple[float, int]] = field(default_factory=list)
    staleness: list[float] = field(default_factory=list)
    first: float | None = None
    length: int = 0
    messages: int = 0
    begins_after: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, message: dict[str, Any], now: float) -> None:
        self.messages += 1
        if message["target"] == "turnEnded":
            self.ended.set()
            return
        if message["target"] != "token":
            return
        text, place = message["arguments"]
        if place["offset"] > self.length:
            return  # something is missing: a page would ask for it now
        lengths = [length for _, length in self.said]
        for said_at, _ in self.said[
            bisect_right(lengths, self.length) : bisect_right(lengths, place["offset"] + len(text))
        ]:
            self.staleness.append(now - said_at)
        if self.first is None and self.staleness:
            self.first = self.staleness[0]
        self.length = max(self.length, place["offset"] + len(text))


class Sender(Protocol):
    """One way of sending an answer."""

    async def answer(self, hub: SignalRHub, user: str, reader: Reader) -> int:
        """Send it; returns how many sends failed."""


class Ours:
    """A delivery for each answer, one line for all."""

    window = WINDOW

    def __init__(self) -> None:
        self._line = SendLine(SENDS_PER_SECOND)

    async def answer(self, hub: SignalRHub, user: str, reader: Reader) -> int:
        async with Delivery(hub, user, user, "talk", self._line) as delivery:
            delivery.started(1, 1)
            async for seq, offset, text in spoken(reader, WINDOW):
                delivery.frame(Frame("w", 1, 1, seq, offset, text, 0))
            length = reader.said[-1][1]
            delivery.ended(End("w", "completed", 1, "stop", length, "", None, None, {}, None, None, 0, 0))
        return delivery.errors


class Naive:
    """A message for each token, one after another, dropped when it is refused."""

    async def answer(self, hub: SignalRHub, user: str, reader: Reader) -> int:
        failed = 0
        async for seq, offset, text in spoken(reader, 1 / TOKENS_PER_SECOND):
            place = {"turnId": user, "generation": 1, "attempt": 1, "seq": seq, "offset": offset}
            failed += not await sent(hub, user, "token", [text, place])
        failed += not await sent(hub, user, "turnEnded", [{"turnId": user}])
        reader.ended.set()  # it may have been refused
        return failed


async def sent(hub: SignalRHub, user: str, target: str, arguments: list[Any]) -> bool:
    try:
        await hub.send_to_user(user, target, arguments)
    except DeliveryFailed:
        return False
    return True


async def spoken(reader: Reader, window: float):  # type: ignore[no-untyped-def]  # an async generator of frames
    """The model's tokens in frames of one window: (number, offset, text). Who is late gets more at once."""
    time_of = time.perf_counter
    await asyncio.sleep(reader.begins_after)
    started, seq, count, total = time_of(), 0, 0, round(SECONDS * TOKENS_PER_SECOND)
    while count < total:
        due = min(total, 1 + int((time_of() - started) * TOKENS_PER_SECOND))
        if due > count:
            seq += 1
            reader.said.append((time_of(), due * len(TOKEN)))
            yield seq, count * len(TOKEN), TOKEN * (due - count)
            count = due
        await asyncio.sleep(window)


async def read(session: aiohttp.ClientSession, info: dict[str, str], reader: Reader, ready: asyncio.Event) -> None:
    async with session.ws_connect(f"{info['url']}&access_token={info['accessToken']}") as socket:
        await socket.send_str(json.dumps({"protocol": "json", "version": 1}) + RECORD_SEPARATOR)
        await socket.receive_str()
        ready.set()
        async for message in socket:
            now = time.perf_counter()
            for record in filter(None, str(message.data).split(RECORD_SEPARATOR)):
                parsed = json.loads(record)
                if parsed.get("type") == 1:
                    reader.take(parsed, now)


@dataclass(frozen=True)
class Outcome:
    """What one way of sending came to."""

    refused: int
    failed: int
    firsts: list[float]
    staleness: list[float]
    messages: float
    whole: int


async def measure(port: int, sender: Sender) -> Outcome:
    base = f"http://127.0.0.1:{port}/_admin"
    hub = SignalRHub(SignalRConnection.from_connection_string(connection_string(port)))
    begins = [BEGIN_WITHIN * number / STREAMS for number in range(STREAMS)]
    readers = {f"user-{number}": Reader(begins_after=begins[number]) for number in range(STREAMS)}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await session.put(f"{base}/faults", json={"sendsPerSecond": SENDS_PER_SECOND})
        await session.delete(f"{base}/messages")
        tasks = []
        for user, reader in readers.items():
            ready = asyncio.Event()
            tasks.append(asyncio.create_task(read(session, await hub.negotiate(user), reader, ready)))
            await ready.wait()
        failed = await asyncio.gather(*(sender.answer(hub, user, reader) for user, reader in readers.items()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*(reader.ended.wait() for reader in readers.values()))
        async with session.get(f"{base}/messages", params={"limit": "0"}) as response:
            refused = (await response.json())["counters"]["refused"].get("429", 0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await hub.close()
    firsts = [reader.first for reader in readers.values() if reader.first is not None]
    staleness = [stale for reader in readers.values() for stale in reader.staleness]
    whole = sum(reader.length == reader.said[-1][1] for reader in readers.values())
    messages = sum(reader.messages for reader in readers.values()) / STREAMS
    return Outcome(refused, sum(failed), firsts, staleness, messages, whole)


def figures(ours: Outcome, naive: Outcome) -> list[Figure]:
    def times(values: list[float]) -> str:
        return f"p50 {1000 * percentile(values, 0.5):.0f} ms, p99 {1000 * percentile(values, 0.99):.0f} ms"

    return [
        Figure("rejected sends", str(ours.refused), str(naive.refused), "0"),
        Figure("answers whole by SignalR alone", f"{ours.whole} of {STREAMS}", f"{naive.whole} of {STREAMS}", "all"),
        Figure("first text, stored to arrived", times(ours.firsts), times(naive.firsts), "not delayed"),
        Figure("staleness, stored to arrived", times(ours.staleness), times(naive.staleness), "<= 1 s"),
        Figure("messages per answer", f"{ours.messages:.0f}", f"{naive.messages:.0f} arrived"),
    ]


@contextlib.contextmanager
def emulator() -> Iterator[int]:
    """The emulator in a process of its own; its port."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stand_in.signalr", "--state-dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            yield int(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def main() -> None:
    """Measure both, print the table."""
    with emulator() as port:
        ours, naive = asyncio.run(measure(port, Ours())), asyncio.run(measure(port, Naive()))
    title = f"Sends: {STREAMS} answers at once, {TOKENS_PER_SECOND} tokens/s each, {SENDS_PER_SECOND} sends/s allowed"
    show(title, figures(ours, naive))


if __name__ == "__main__":
    main()
