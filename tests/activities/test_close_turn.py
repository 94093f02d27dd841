"""close_turn: a turn that is given up gets one end, which says why, and whoever waits behind it goes on."""

import asyncio

from activities.close_turn import close
from chat import records
from chat.journal import read_journal
from chat.records import Claim, End, Frame, Stop
from tests.activities.test_stream_completion import SECOND, TURN, around, begin, journals
from tests.doubles import MemoryJournals, ScriptedModel


def ends(store: MemoryJournals, turn: str = TURN) -> list[End]:
    return [record for record, _ in records.decode(store.blobs[turn]) if isinstance(record, End)]


async def test_a_turn_that_is_given_up_while_it_waits_ends_and_the_next_one_is_woken():
    """It waited for one that never ended; the one behind it waits for both no more than it has to."""
    store = journals(begin(), begin(SECOND))
    surroundings = around(store, ScriptedModel())
    result = await close(TURN, surroundings)
    (end,) = ends(store)
    assert end.error is not None
    assert (end.status, end.error["code"], end.error["retryable"]) == ("failed", "given_up", True)
    assert result["result"] == "done"
    assert surroundings.instances.woken == [(SECOND, TURN)]  # type: ignore[attr-defined]


async def test_a_turn_that_was_interrupted_too_often_keeps_what_was_shown():
    store = journals()
    store.blobs[TURN] += records.encode(Claim("dead", 1, 1), Frame("dead", 1, 1, 1, 0, "Beca", 1))
    result = await close(TURN, around(store, ScriptedModel()))
    (end,) = ends(store)
    assert end.error is not None
    assert (end.error["code"], end.length) == ("attempts_exhausted", 4)
    assert (result["turn"]["answer"], result["summary"]["status"]) == ("Beca", "failed")


async def test_what_the_journal_says_already_is_what_is_returned():
    store = journals()
    first = await close(TURN, around(store, ScriptedModel()))
    assert await close(TURN, around(store, ScriptedModel())) == first
    assert len(ends(store)) == 1


async def test_a_stop_that_is_there_decides():
    store = journals()
    store.blobs[TURN] += records.encode(Claim("dead", 1, 1), Stop(2))
    result = await close(TURN, around(store, ScriptedModel()))
    assert (result["summary"]["status"], result["summary"]["error"]) == ("stopped", None)


async def test_a_run_that_still_writes_does_not_keep_it_from_closing():
    """Nobody starts another run, so it insists: its figures are made anew after each record in between."""
    store = journals()
    store.blobs[TURN] += records.encode(Claim("old", 1, 1))
    frames = iter(
        records.encode(Frame("old", 1, 1, number, 4 * (number - 1), f"is {number} ", 1)) for number in range(1, 4)
    )

    def write_first(turn: str, data: bytes) -> None:
        store.blobs[turn] += next(frames, b"")

    store.before_append = write_first
    await close(TURN, around(store, ScriptedModel()))
    fold = await read_journal(store, TURN)
    assert fold.end is not None
    assert (fold.text, fold.end.length) == ("is 1 is 2 is 3 ", 15)
    assert fold.sha256 == fold.end.sha256


async def test_two_that_close_at_once_say_the_same():
    store = journals()
    results = await asyncio.gather(*(close(TURN, around(store, ScriptedModel())) for _ in range(3)))
    assert results[0] == results[1] == results[2]
    assert len(ends(store)) == 1
    assert store.usage[("user-1", begin().at // (24 * 60 * 60 * 1000))].startswith(f"-{TURN}\n".encode())
