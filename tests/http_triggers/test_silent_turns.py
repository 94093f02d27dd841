"""Silent turns: who is asked what, how often, and that a reader is answered whatever comes of it."""

from typing import Any, cast

import pytest
from azure.durable_functions import DurableOrchestrationClient

from adapters import clients
from chat import records
from chat.errors import StorageUnavailable
from chat.journal import Fold, read_journal
from chat.records import Begin, Claim, Frame, Record, Stop
from chat.turn import TurnRequest, conversation_key, turn_id
from http_triggers import silent_turns
from http_triggers.silent_turns import Lately, help_along
from tests.doubles import FakeInstances, ManualClock, MemoryJournals

KEY = conversation_key("owner", "talk")
TURN = turn_id(KEY, "key", "")
REQUEST = TurnRequest("Why?", "gpt-x")
BEGIN = Begin(TURN, "talk", "owner", "user", REQUEST.to_dict(), REQUEST.hash, 1_000_000)
CLAIM = Claim("gone", 1, 1_000_000)
CLIENT = cast(DurableOrchestrationClient, None)


class Instances(FakeInstances):
    """Notes looks; `away` makes it fail as the durable client does, with a bare Exception."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[tuple[str, int, int]] = []
        self.stopped: list[str] = []
        self.asked = 0
        self.away = False

    async def exists(self, turn_id: str) -> bool:
        self.asked += 1
        if self.away:
            raise Exception("the engine is away")
        return await super().exists(turn_id)

    async def stop(self, turn_id: str) -> None:
        self.stopped.append(turn_id)

    async def look(self, turn_id: str, claims: int, position: int) -> None:
        self.looks.append((turn_id, claims, position))


class World:
    """A turn's journal, the durable world and the time, in place of the app's own."""

    def __init__(self) -> None:
        self.store, self.instances, self.clock = MemoryJournals(), Instances(), ManualClock(1_000_000)
        self.store.blobs[TURN] = b""
        self.write(BEGIN)

    def write(self, *more: Record) -> None:
        self.store.blobs[TURN] += records.encode(*more)

    async def fold(self) -> Fold:
        return await read_journal(self.store, TURN)

    async def read(self, times: int = 1) -> None:
        """Readers come by."""
        for _ in range(times):
            await help_along(await self.fold(), CLIENT)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    def instances(client: Any) -> Instances:
        return made.instances

    monkeypatch.setattr(clients, "journal", lambda: made.store)
    monkeypatch.setattr(clients, "clock", made.clock)
    monkeypatch.setattr(silent_turns, "DurableInstances", instances)
    monkeypatch.setattr(silent_turns, "_started", Lately())
    monkeypatch.setattr(silent_turns, "_looks", Lately())
    return made


async def test_a_begun_turn_is_started_once_and_gets_its_place(world: World):
    world.clock.move(2_001)
    await world.read(5)
    assert world.instances.started == [TURN]
    assert world.store.orders[KEY] == [TURN]


async def test_a_turn_that_waits_for_an_earlier_one_is_asked_about_now_and_then(world: World):
    world.instances.started.append(TURN)
    world.clock.move(2_001)
    await world.read(50)
    assert world.instances.asked == 1
    world.clock.move(20_000)
    await world.read(50)
    assert (world.instances.asked, world.instances.started) == (2, [TURN])


async def test_a_storm_of_readers_raises_one_look_and_a_lost_one_is_raised_again(world: World):
    world.write(CLAIM)
    world.clock.move(20_001)
    await world.read(200)
    position = (await world.fold()).position
    assert world.instances.looks == [(TURN, 1, position)]
    world.clock.move(20_000)
    await world.read(200)
    assert len(world.instances.looks) == 2
    world.write(Claim("next", 2, world.clock.now()))
    world.clock.move(20_001)
    await world.read(200)
    assert [claims for _, claims, _ in world.instances.looks] == [1, 1, 2]


async def test_a_stop_that_was_left_is_brought_to_its_end_with_what_was_shown(world: World):
    world.write(CLAIM, Frame("gone", 1, 1, 1, 0, "shown", 1_000_000), Stop(1_000_000))
    await world.read()
    assert not (await world.fold()).end
    world.clock.move(3_001)
    await world.read(3)
    fold = await world.fold()
    assert fold.end is not None
    assert (fold.status, fold.text, fold.end.length) == ("stopped", "shown", 5)
    assert world.store.blobs[TURN].count(b'"kind":"end"') == 1
    assert world.instances.stopped == [TURN]


async def test_a_turn_that_was_stopped_before_it_was_started_is_started_too(world: World):
    """Its run tells the conversation and writes the log."""
    world.write(Stop(1_000_000))
    world.clock.move(3_001)
    await world.read(3)
    assert world.instances.started == [TURN]
    assert (await world.fold()).status == "stopped"


async def test_a_reader_is_answered_though_nobody_could_be_helped(world: World):
    world.clock.move(2_001)
    world.instances.away = True
    await world.read(2)
    world.instances.away = False
    await world.read()
    assert world.instances.started == [TURN]


async def test_also_when_storage_is_away(world: World, monkeypatch: pytest.MonkeyPatch):
    async def no_pause(seconds: float) -> None:
        return

    def away(turn: str, data: bytes) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr("asyncio.sleep", no_pause)
    world.clock.move(2_001)
    world.write(Stop(1_000_000))
    world.clock.move(3_001)
    world.store.before_append = away
    await world.read()
    assert (await world.fold()).end is None
