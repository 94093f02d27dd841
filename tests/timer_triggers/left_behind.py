"""Two turns of a conversation that were left behind in mid-answer, and everything around a sweep, in memory."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from chat import records
from chat.quota import Quota
from chat.records import Begin, Claim, Frame
from chat.turn import QueuePolicy, TurnRequest, conversation_key, turn_id
from chat.usage import DAY, BegunTurns, Usage
from tests.doubles import CollectingLog, FakeInstances, ManualClock, MemoryJournals
from timer_triggers import sweep_turns

KEY = conversation_key("owner", "talk")
FIRST, SECOND = turn_id(KEY, "first", ""), turn_id(KEY, "second", "")
USER = "user-1"
NOW = ManualClock().now()


class Swept(FakeInstances):
    """Instances of which some have failed; telling the conversation of a turn in `refused` raises."""

    def __init__(self, *failed: str, running: tuple[str, ...] = (), unknown: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.failed, self._running, self._unknown = list(failed), running, unknown
        self.refused: set[str] = set()
        self.told: list[dict[str, Any]] = []

    async def failed_since(self, since: datetime) -> AsyncIterator[str]:
        for turn in self.failed:
            yield turn

    async def running(self, turn: str) -> bool | None:
        if turn in self.started:
            return True
        return None if turn in self._unknown else turn in self._running

    async def tell_conversation(self, key: str, turn: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        if turn["turnId"] in self.refused:
            raise RuntimeError("The durable client raises whatever it likes.")
        self.told.append(turn)


class Journals(MemoryJournals):
    """Journals that can be listed, and count how often they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.usage_reads = 0

    async def markers(self) -> AsyncIterator[str]:
        for turn in sorted(self.marked):
            yield turn

    async def usages(self, day: int) -> AsyncIterator[tuple[str, int]]:
        for (user, its_day), data in sorted(self.usage.items()):
            if its_day == day:
                yield user, len(data)

    async def read(self, conversation_key: str, turn_id: str, start: int = 0) -> bytes:
        self.reads += 1
        return await super().read(conversation_key, turn_id, start)

    async def read_usage(self, user: str, day: int, start: int) -> bytes:
        self.usage_reads += 1
        return await super().read_usage(user, day, start)


def begin(turn: str, policy: str = "queue") -> Begin:
    request = TurnRequest("Why?", "gpt-x", policy=QueuePolicy(policy))
    return Begin(turn, "talk", "owner", USER, request.to_dict(), request.hash, NOW)


def half_an_answer(turn: str) -> bytes:
    return records.encode(begin(turn), Claim("run-1", 1, 1), Frame("run-1", 1, 1, 1, 0, "Beca", 1))


class LeftBehind:
    """What is stored, an Event Hub that takes everything, and a sweep over it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.log, self.clock = Journals(), CollectingLog(), ManualClock()
        self.store.blobs = {FIRST: half_an_answer(FIRST), SECOND: half_an_answer(SECOND)}
        self.store.orders = {KEY: [FIRST, SECOND]}
        self._monkeypatch = monkeypatch
        self.new_process()

    def new_process(self, store: Any = None, log: Any = None) -> None:
        """Forget what a process remembers; sweeps go through these from now on."""
        store, log, settled = store or self.store, log or self.log, set[str]()
        begun = BegunTurns(store)
        clients = SimpleNamespace(
            journal=lambda: store,
            event_log=lambda: log,
            quota=lambda: Quota(store, self.clock, 8, 0),
            begun_turns=lambda: begun,
            clock=self.clock,
            settings=lambda: SimpleNamespace(log_prompts=True),
            is_settled=settled.__contains__,
            settled=settled.add,
        )
        self._monkeypatch.setattr(sweep_turns, "clients", clients)

    async def sweep(self, instances: Any) -> None:
        self._monkeypatch.setattr(sweep_turns, "DurableInstances", lambda client: instances)
        await sweep_turns.sweep_turns(None, None)  # type: ignore[arg-type]

    def counted(self, turn: str, ago: int) -> None:
        """The line that was written before the turn was begun, so many milliseconds ago."""
        at = self.clock.now() - ago
        place = USER, at // DAY
        self.store.usage[place] = self.store.usage.get(place, b"") + f"+{turn} {at}\n".encode()

    def unsettled(self) -> dict[str, int]:
        """The turns that were counted and whose end is not noted."""
        found: dict[str, int] = {}
        for data in self.store.usage.values():
            usage = Usage()
            usage.apply(data)
            found |= usage.running
        return found
