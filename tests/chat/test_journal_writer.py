"""The writer: a failed condition means exactly one thing."""

from collections.abc import Callable

import pytest

from chat import records
from chat.closing_steps import Closer
from chat.errors import StorageUnavailable
from chat.journal import read_journal
from chat.journal_writer import Decided, Fenced, JournalChanged, JournalWriter, write_end
from chat.outcome import end_of_giving_up
from chat.records import Alive, Claim, Frame, Record, Stop
from tests.chat.test_journal import BEGIN, end
from tests.doubles import ManualClock, MemoryJournals

TURN = "turn-" + "a" * 32 + "-" + "b" * 32
FRAME = Frame("me", 1, 1, 1, 0, "a", 2)


async def writing(store: MemoryJournals) -> JournalWriter:
    store.blobs[TURN] = records.encode(BEGIN)
    writer = JournalWriter(store, TURN, await read_journal(store, TURN), "me", ManualClock())
    await writer.claim(1)
    return writer


@pytest.mark.parametrize(
    ("others", "meaning"),
    [
        ((Claim("other", 2, 3),), Fenced),
        ((Stop(3),), Decided),
        ((end(),), Decided),
        ((Claim("other", 2, 3), end()), Decided),
        ((Alive("me", 3),), JournalChanged),  # a late append of ours
    ],
)
@pytest.mark.parametrize("act", [lambda writer: writer.append(FRAME), lambda writer: writer.look_at_end()])
async def test_what_others_wrote_says_what_the_writer_is(
    others: tuple[Record, ...], meaning: type[Exception], act: Callable[[JournalWriter], object]
):
    store = MemoryJournals()
    writer = await writing(store)
    store.blobs[TURN] += records.encode(*others)
    with pytest.raises(meaning):
        await act(writer)  # type: ignore[misc]
    assert records.encode(FRAME) not in store.blobs[TURN]


async def test_an_append_that_was_applied_though_nobody_said_so_is_found_and_not_repeated():
    store = MemoryJournals()
    writer = await writing(store)
    lost = iter([True])

    def lose_the_answer(turn: str, data: bytes) -> None:
        if next(lost, False):
            raise StorageUnavailable("timeout")

    store.after_append = lose_the_answer
    await writer.append(FRAME)
    await writer.append(Frame("me", 1, 1, 2, 1, "b", 3))
    fold = await read_journal(store, TURN)
    assert (fold.text, fold.claims, writer.fold.position) == ("ab", 1, len(store.blobs[TURN]))


async def test_an_applied_append_with_a_stop_behind_it_is_a_decision():
    store = MemoryJournals()
    writer = await writing(store)
    lost = iter([True])

    def stop_behind_it(turn: str, data: bytes) -> None:
        if next(lost, False):
            store.blobs[TURN] += records.encode(Stop(4))
            raise StorageUnavailable("timeout")

    store.after_append = stop_behind_it
    with pytest.raises(Decided):
        await writer.append(FRAME)
    assert writer.fold.text == "a"


async def test_an_end_is_made_anew_from_what_others_wrote_meanwhile():
    store = MemoryJournals()
    writer = await writing(store)
    once = iter([True])

    def write_in_between(turn: str, data: bytes) -> None:
        if b'"kind":"end"' in data and next(once, False):
            store.blobs[TURN] += records.encode(FRAME)

    store.before_append = write_in_between
    stale = await read_journal(store, TURN)
    ended = await write_end(
        store, TURN, stale, lambda seen: end_of_giving_up(seen, "x", "y", "me", 9), Closer.CLOSE_TURN
    )
    fold = await read_journal(store, TURN)
    assert ended
    assert fold.end is not None
    assert (fold.end.length, fold.end.sha256, fold.text) == (1, fold.sha256, "a")
    assert writer.turn_id == TURN


async def test_an_end_gives_way_to_those_who_write_when_it_is_told_to():
    store = MemoryJournals()
    await writing(store)
    stale = await read_journal(store, TURN)
    store.blobs[TURN] += records.encode(Claim("other", 2, 3))
    assert not await write_end(store, TURN, stale, lambda seen: end(), Closer.SWEEPER)
    assert (await read_journal(store, TURN)).end is None


async def test_lines_of_a_newer_version_do_not_stop_a_writer():
    """Their kind is unknown here, but the journal ends behind them."""
    store = MemoryJournals()
    store.blobs[TURN] = records.encode(BEGIN) + b'{"kind":"newer","at":3}\n'
    writer = JournalWriter(store, TURN, await read_journal(store, TURN), "me", ManualClock())
    await writer.claim(1)
    assert writer.fold.claims == 1


async def test_a_run_takes_no_claim_of_another_for_its_own():
    store = MemoryJournals()
    store.blobs[TURN] = records.encode(BEGIN)
    mine = JournalWriter(store, TURN, await read_journal(store, TURN), "mine", ManualClock())
    yours = JournalWriter(store, TURN, await read_journal(store, TURN), "yours", ManualClock())
    await yours.claim(1)
    with pytest.raises(Fenced):
        await mine.claim(1)
