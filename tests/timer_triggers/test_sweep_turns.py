"""sweep_turns: what was left behind is closed, told and logged, one turn whatever happens to another."""

from collections.abc import AsyncIterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from chat import records
from chat.journal import read_journal
from chat.quota import Quota
from chat.records import Begin, Claim, Frame
from chat.turn import TurnRequest, conversation_key, turn_id
from tests.doubles import CollectingLog, FakeInstances, ManualClock, MemoryJournals
from timer_triggers import sweep_turns

KEY = conversation_key("owner", "talk")
FIRST, SECOND = turn_id(KEY, "first", ""), turn_id(KEY, "second", "")


class Swept(FakeInstances):
    """Instances of which some have failed; telling the conversation of a turn in `refused` raises."""

    def __init__(self, *failed: str, running: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._failed, self._running = failed, running
        self.refused: set[str] = set()
        self.told: list[dict[str, Any]] = []

    async def failed_since(self, since: datetime) -> AsyncIterator[str]:
        for turn in self._failed:
            yield turn

    async def running(self, turn: str) -> bool:
        return turn in self._running

    async def tell_conversation(self, key: str, turn: dict[str, Any]) -> None:
        if turn["turnId"] in self.refused:
            raise RuntimeError("The durable client raises whatever it likes.")
        self.told.append(turn)


class Journals(MemoryJournals):
    async def markers(self) -> AsyncIterator[str]:
        for turn in sorted(self.marked):
            yield turn


def half_an_answer(turn: str) -> bytes:
    request = TurnRequest("Why?", "gpt-x")
    begin = Begin(turn, "talk", "owner", "user-1", request.to_dict(), request.hash, 1_800_000_000_000)
    return records.encode(begin, Claim("run-1", 1, 1), Frame("run-1", 1, 1, 1, 0, "Beca", 1))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Journals:
    """Two turns of a conversation in mid-answer, and an Event Hub that takes everything."""
    journals, log, clock = Journals(), CollectingLog(), ManualClock()
    journals.blobs = {FIRST: half_an_answer(FIRST), SECOND: half_an_answer(SECOND)}
    journals.orders = {KEY: [FIRST, SECOND]}
    clients = SimpleNamespace(
        journal=lambda: journals,
        event_log=lambda: log,
        quota=lambda: Quota(journals, clock, 8, 0),
        clock=clock,
        settings=lambda: SimpleNamespace(log_prompts=True),
    )
    monkeypatch.setattr(sweep_turns, "clients", clients)
    monkeypatch.setattr(journals, "log", log, raising=False)
    return journals


async def sweep(monkeypatch: pytest.MonkeyPatch, instances: Swept) -> None:
    monkeypatch.setattr(sweep_turns, "DurableInstances", lambda client: instances)
    await sweep_turns.sweep_turns(None, None)  # type: ignore[arg-type]


async def test_a_failed_turn_gets_its_end_and_everybody_is_told(store: Journals, monkeypatch: pytest.MonkeyPatch):
    instances = Swept(FIRST)
    await sweep(monkeypatch, instances)
    fold = await read_journal(store, FIRST)
    assert fold.end is not None
    assert fold.end.error is not None
    assert (fold.text, fold.end.status, fold.end.error["code"], fold.logged) == ("Beca", "failed", "abandoned", True)
    assert [turn["answer"] for turn in instances.told] == ["Beca"]
    assert instances.woken == [(SECOND, FIRST)]
    assert len(store.log.events) == 1  # type: ignore[attr-defined]


async def test_a_turn_that_is_at_work_again_is_left_alone(store: Journals, monkeypatch: pytest.MonkeyPatch):
    instances = Swept(FIRST, running=(FIRST,))
    await sweep(monkeypatch, instances)
    assert (await read_journal(store, FIRST)).end is None
    assert instances.told == []


async def test_a_turn_that_cannot_be_swept_does_not_keep_the_others_from_it(
    store: Journals, monkeypatch: pytest.MonkeyPatch
):
    instances = Swept(FIRST, SECOND)
    instances.refused = {FIRST}
    await sweep(monkeypatch, instances)
    assert not (await read_journal(store, FIRST)).logged
    assert (await read_journal(store, SECOND)).logged


async def test_a_marker_goes_when_its_record_is_delivered(store: Journals, monkeypatch: pytest.MonkeyPatch):
    store.marked = {FIRST}
    await sweep(monkeypatch, Swept())
    assert store.marked == set()
    assert (await read_journal(store, FIRST)).logged
