"""Tails: readers of one turn share their reads, and nothing goes on when they have left."""

import asyncio
import gc

import pytest

from chat import records
from chat.errors import JournalMissing
from chat.journal_tails import JournalTails
from chat.records import Alive
from chat.turn import conversation_key, turn_id
from tests.doubles import MemoryJournals

TURN = turn_id(conversation_key("owner", "talk"), "key", "")
LINE = records.encode(Alive("w", 1))


class CountingJournals(MemoryJournals):
    def __init__(self) -> None:
        super().__init__()
        self.blobs[TURN] = LINE
        self.reads: list[int] = []

    async def read(self, conversation_key: str, turn_id: str, start: int = 0) -> bytes:
        self.reads.append(start)
        return await super().read(conversation_key, turn_id, start)


async def others_are_done() -> None:
    """Every other task of this loop has finished."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)


async def test_readers_at_one_position_share_one_read() -> None:
    store = CountingJournals()
    tails = JournalTails(store, 0.0)
    readers = [asyncio.create_task(tails.tail(TURN, 0)) for _ in range(50)]
    assert await asyncio.gather(*readers) == [LINE] * 50
    assert store.reads == [0]
    await asyncio.gather(tails.tail(TURN, len(LINE)), tails.tail(TURN, 0), tails.tail(TURN, len(LINE)))
    assert sorted(store.reads) == [0, 0, len(LINE)]
    assert tails.reading == 0


async def test_what_comes_between_the_question_and_the_read_is_in_the_answer() -> None:
    store = CountingJournals()
    reader = asyncio.create_task(JournalTails(store, 0.0).tail(TURN, 0))
    await asyncio.sleep(0)
    store.blobs[TURN] += LINE
    assert await reader == LINE * 2


async def test_a_reader_that_leaves_takes_nothing_from_the_others() -> None:
    tails = JournalTails(CountingJournals(), 0.0)
    first, second = (asyncio.create_task(tails.tail(TURN, 0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == LINE
    assert first.cancelled()


async def test_when_all_have_left_one_read_more_is_the_last() -> None:
    store = CountingJournals()
    tails = JournalTails(store, 0.0)
    readers = [asyncio.create_task(tails.tail(TURN, 0)) for _ in range(5)]
    await asyncio.sleep(0)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await others_are_done()
    assert (store.reads, tails.reading) == ([0], 0)


async def test_what_keeps_one_read_from_succeeding_is_told_to_all_who_wait_and_the_next_tries_again() -> None:
    store = CountingJournals()
    tails = JournalTails(store, 0.0)
    data = store.blobs.pop(TURN)
    answers = await asyncio.gather(*[tails.tail(TURN, 0) for _ in range(3)], return_exceptions=True)
    assert [type(answer) for answer in answers] == [JournalMissing] * 3
    store.blobs[TURN] = data
    assert await tails.tail(TURN, 0) == LINE


async def test_a_read_that_fails_after_its_readers_have_left_disturbs_nobody() -> None:
    store = CountingJournals()
    tails = JournalTails(store, 0.0)
    del store.blobs[TURN]
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    reader = asyncio.create_task(tails.tail(TURN, 0))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await others_are_done()
    gc.collect()  # a task that is thrown away complains of an exception that nobody saw
    assert (complaints, tails.reading) == ([], 0)
