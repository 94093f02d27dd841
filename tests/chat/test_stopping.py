"""Stopping: the `stop` decides, whoever dies after any step of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from chat import records
from chat.bells import Bells
from chat.closing_steps import STOP_PATIENCE, Closer
from chat.errors import StorageUnavailable
from chat.journal import read_journal
from chat.journal_writer import write_end
from chat.outcome import end_of_stop
from chat.records import Begin, Claim, End, Frame, Record, Stop, Wait
from chat.stopping import Stopping
from tests.chat.test_journal import BEGIN as OTHER_BEGIN
from tests.chat.test_journal import end
from tests.doubles import Killed, ManualClock, MemoryJournals

TURN = "turn-" + "a" * 32 + "-" + "b" * 32
BEGIN = replace(OTHER_BEGIN, turn_id=TURN)
WRITING = (BEGIN, Claim("me", 1, 2), Frame("me", 1, 1, 1, 0, "shown", 3))


class Orchestrations:
    """Notes what it is told, and how the journal stood then."""

    def __init__(self, store: MemoryJournals) -> None:
        self._store = store
        self.stopped: list[bytes] = []
        self.resumed: list[Begin] = []
        self.when_stopped: Callable[[], None] = lambda: None

    async def stop(self, turn_id: str) -> None:
        self.stopped.append(self._store.blobs[turn_id])
        self.when_stopped()

    async def resume(self, begin: Begin) -> None:
        self.resumed.append(begin)


class World:
    """A turn whose journal holds these records."""

    def __init__(self, *found: Record) -> None:
        self.store, self.clock = MemoryJournals(), ManualClock()
        self.store.blobs[TURN] = records.encode(*found)
        self.orchestrations = Orchestrations(self.store)
        self.bells = Bells()
        self._stopping = Stopping(self.store, self.orchestrations, self.clock, self.orchestrations.resume, self.bells)
        # A run that writes is one that stays silent, unless a test says otherwise.
        self.orchestrations.when_stopped = lambda: self.clock.move(round(1000 * STOP_PATIENCE))

    def append(self, *more: Record) -> None:
        self.store.blobs[TURN] += records.encode(*more)

    async def stop(self) -> End | None:
        """Stop as a request does; the end that it answers with."""
        fold = await read_journal(self.store, TURN)
        await self._stopping.stop(fold)
        return fold.end

    def kinds(self) -> list[str]:
        return [record.kind for record, _ in records.decode(self.store.blobs[TURN])]


async def test_a_turn_that_nobody_writes_is_ended_at_once_with_the_text_that_was_shown():
    world = World(*WRITING, Wait("me", 99, "rate_limited", 4))
    found = await world.stop()
    assert found is not None
    assert (found.status, found.length, found.by) == ("stopped", 5, "stop")
    assert world.kinds()[-2:] == ["stop", "end"]


async def test_the_orchestration_is_woken_between_the_stop_and_the_end():
    """Before the `stop` it would find nothing to do; after the end a death in between would leave it asleep."""
    world = World(*WRITING, Wait("me", 99, "rate_limited", 4))
    await world.stop()
    (seen,) = world.orchestrations.stopped
    assert [record.kind for record, _ in records.decode(seen)][-1] == "stop"


async def test_a_run_in_this_process_is_told_when_the_stop_is_stored_and_not_before():
    world, heard = World(*WRITING), list[list[str]]()
    with world.bells.hung(TURN, lambda: heard.append(world.kinds())), world.bells.hung("another", heard.clear):
        await world.stop()
    assert [kinds[-1] for kinds in heard] == ["stop"]
    world.bells.ring(TURN)  # nobody listens any more
    assert len(heard) == 1


async def test_a_begun_turn_without_a_run_is_started_so_that_it_is_told_and_logged():
    world = World(BEGIN)
    found = await world.stop()
    assert found is not None
    assert found.status == "stopped"
    assert world.orchestrations.resumed == [BEGIN]


async def test_a_run_that_writes_is_left_to_write_the_end():
    world = World(*WRITING)
    by_writer: list[End] = []

    async def write() -> None:
        fold = await read_journal(world.store, TURN)
        await write_end(world.store, TURN, fold, lambda seen: end_of_stop(seen, "me", world.clock.now()), Closer.RUN)
        by_writer.append(fold.end)  # type: ignore[arg-type]

    tasks: list[asyncio.Task[None]] = []
    world.orchestrations.when_stopped = lambda: tasks.append(asyncio.create_task(write()))
    assert await world.stop() == by_writer[0]
    assert by_writer[0].by == "me"
    assert world.kinds().count("end") == 1
    assert world.orchestrations.resumed == []


async def test_a_run_that_is_silent_is_waited_for_no_longer_than_the_patience():
    world = World(*WRITING)
    asked_at = world.clock.now()
    found = await world.stop()
    assert found is not None
    assert (found.by, found.length, found.at - asked_at) == ("stop", 5, 1000 * STOP_PATIENCE)


async def test_a_frame_that_came_before_the_stop_counts_and_one_after_it_does_not():
    world = World(*WRITING)
    world.store.before_append = lambda turn, data: (
        world.append(Frame("me", 1, 1, 2, 5, " too", 4)) if b'"stop"' in data and b'"end"' not in data else None
    )

    def write_on() -> None:
        world.append(Frame("me", 1, 1, 3, 9, " never", 5))
        world.clock.move(round(1000 * STOP_PATIENCE))

    world.orchestrations.when_stopped = write_on
    found = await world.stop()
    assert found is not None
    assert found.length == len("shown too")
    fold = await read_journal(world.store, TURN)
    assert (fold.text, fold.sha256) == ("shown too", found.sha256)


@pytest.mark.parametrize("status", ["completed", "failed", "filtered"])
async def test_an_end_that_was_there_first_is_what_counts(status: str):
    done = end(status=status)
    world = World(*WRITING, done)
    assert await world.stop() == done
    assert world.kinds().count("stop") == 0


async def test_an_end_that_comes_as_the_stop_is_stored_is_what_counts():
    done = end()
    world = World(*WRITING)
    first = iter([True])
    world.store.before_append = lambda turn, data: world.append(done) if next(first, False) else None
    assert await world.stop() == done
    assert world.kinds()[-2:] == ["end", "stop"]


async def test_a_second_stop_brings_the_first_to_its_end_and_adds_none():
    world = World(*WRITING, Stop(4))
    found = await world.stop()
    assert found is not None
    assert found.status == "stopped"
    assert world.kinds().count("stop") == 1
    assert await world.stop() == found


async def test_a_stop_that_storage_does_not_take_changes_nothing_and_is_said_to_have_failed():
    world = World(*WRITING)

    def refuse(turn: str, data: bytes) -> None:
        raise StorageUnavailable("away")

    world.store.before_append = refuse
    with pytest.raises(StorageUnavailable):
        await world.stop()
    assert world.kinds() == [record.kind for record in WRITING]
    assert world.orchestrations.stopped == []


async def test_a_stop_whose_answer_was_lost_is_one_stop():
    world = World(*WRITING)
    first = iter([True])

    def lose_the_answer(turn: str, data: bytes) -> None:
        if next(first, False):
            raise StorageUnavailable("timeout")

    world.store.after_append = lose_the_answer
    found = await world.stop()
    assert found is not None
    assert found.status == "stopped"


async def test_a_stop_that_is_stored_is_taken_though_storage_goes_away_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
):
    """It has no end yet, and that is what is answered; the next try finds it."""
    monkeypatch.setattr("chat.stopping.STOP_PATIENCE", 0)
    monkeypatch.setattr("chat.stopping.ROOM_FOR_THE_END", 0.05)
    world = World(*WRITING, Wait("me", 99, "rate_limited", 4))
    away = [False]

    def sometimes(turn: str, data: bytes) -> None:
        if away[0]:
            raise StorageUnavailable("away")

    world.store.before_append = sometimes
    world.orchestrations.when_stopped = lambda: away.__setitem__(0, True)
    assert await world.stop() is None
    assert world.kinds()[-1] == "stop"
    away[0] = False
    world.orchestrations.when_stopped = lambda: None
    found = await world.stop()
    assert found is not None
    assert found.status == "stopped"


@pytest.mark.parametrize("dies_at", ["before stop", "after stop", "as it wakes", "before end", "after end"])
async def test_a_death_at_any_step_leaves_a_turn_that_the_next_try_stops(dies_at: str):
    """Until the `stop` is stored the turn goes on; from then on there is one outcome, whoever writes it down."""
    world = World(*WRITING, Wait("me", 99, "rate_limited", 4))

    def die(at: str) -> Callable[[str, bytes], None]:
        def hook(turn: str, data: bytes) -> None:
            kind = next(records.decode(data))[0].kind
            if dies_at == f"{at} {kind}":
                raise Killed

        return hook

    def wake() -> None:
        if dies_at == "as it wakes":
            raise Killed

    world.store.before_append, world.store.after_append = die("before"), die("after")
    world.orchestrations.when_stopped = wake
    with pytest.raises(Killed):
        await world.stop()
    assert ("stop" in world.kinds()) is (dies_at != "before stop")
    dies_at = ""
    found = await world.stop()
    assert found is not None
    assert (found.status, found.length) == ("stopped", 5)
    assert (world.kinds().count("stop"), world.kinds().count("end")) == (1, 1)
