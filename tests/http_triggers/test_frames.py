"""Frames: what a reader gets from a journal that others write, and how a stream of them lives and ends."""

import asyncio
import json
from typing import Any, cast

import pytest
from azure.durable_functions import DurableOrchestrationClient

from adapters import clients
from chat import records
from chat.errors import InvalidInput, StorageUnavailable
from chat.journal import Fold
from chat.journal_tails import JournalTails
from chat.records import Alive, Begin, Claim, End, Frame, Logged, Record, Stop
from chat.turn import conversation_key, turn_id
from http_triggers import frames
from http_triggers.frames import FrameReader, event_stream
from tests.doubles import MemoryJournals

TURN = turn_id(conversation_key("owner", "talk"), "key", "")
BEGIN = Begin(TURN, "talk", "owner", "user", {"prompt": "?"}, "hash", 1_000)
CLAIM, ALIVE = Claim("w", 1, 1_000), Alive("w", 2_000)
END = End("w", "completed", 1, "stop", 2, "", 0, None, {}, None, None, 0, 1_000)
CLIENT = cast(DurableOrchestrationClient, None)  # nobody is asked
SOON = 0.01


def frame(offset: int, text: str) -> Frame:
    return Frame("w", 1, 1, offset + 1, offset, text, 1_000)


class Journal(MemoryJournals):
    """One turn's journal, and who looked at it."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs[TURN] = b""
        self.helped: list[Fold] = []
        self.looked: asyncio.Queue[Fold] = asyncio.Queue()
        self.away = 0  # so many reads find no storage
        self.write(BEGIN, CLAIM)

    def write(self, *more: Record) -> int:
        self.blobs[TURN] += records.encode(*more)
        return len(self.blobs[TURN])

    async def read(self, conversation_key: str, turn_id: str, start: int = 0) -> bytes:
        if self.away:
            self.away -= 1
            raise StorageUnavailable("away")
        return await super().read(conversation_key, turn_id, start)

    async def help_along(self, fold: Fold, client: DurableOrchestrationClient) -> None:
        self.helped.append(fold)
        self.looked.put_nowait(fold)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    store = Journal()
    tails = JournalTails(store, 0.0)
    monkeypatch.setattr(clients, "journal", lambda: store)
    monkeypatch.setattr(clients, "journal_tails", lambda: tails)
    monkeypatch.setattr(frames, "help_along", store.help_along)
    return store


async def reader_at(position: int = 0, field: str = "after") -> FrameReader:
    reader = FrameReader(TURN, CLIENT, field)
    await reader.open(str(position))
    return reader


def texts(found: list[Any]) -> list[str]:
    return [each.fields.get("text", each.kind) for each in found]


async def test_a_reader_gets_what_is_there_at_once_and_the_rest_as_it_comes(journal: Journal):
    journal.write(frame(0, "a"))
    reader = await reader_at()
    assert texts(await reader.wait(0)) == ["a"]
    waiting = asyncio.create_task(reader.wait(60))
    journal.write(frame(1, "b"))
    assert texts(await waiting) == ["b"]
    journal.write(END)
    assert texts(await reader.wait(60)) == ["end"]
    assert reader.ended


async def test_every_position_that_was_given_out_is_a_place_to_begin(journal: Journal):
    journal.write(frame(0, "a"), ALIVE, frame(1, "b"), END, Logged(3_000))
    whole = await (await reader_at()).wait(0)
    for index, each in enumerate(whole):
        assert await (await reader_at(each.position)).wait(0) == whole[index + 1 :]


@pytest.mark.parametrize("position", ["", "x", "-1", "1.0", "١", "5", "1000000", "1" * 16, "1\n"])
async def test_any_other_is_refused_in_the_name_of_the_field(journal: Journal, position: str):
    with pytest.raises(InvalidInput) as refused:
        await FrameReader(TURN, CLIENT, "Last-Event-ID").open(position)
    assert refused.value.field == "Last-Event-ID"


async def test_who_finds_nothing_helps_and_who_finds_something_need_not(journal: Journal):
    reader = await reader_at()
    assert await reader.wait(0) == []
    assert [fold.claims for fold in journal.helped] == [1]
    journal.write(frame(0, "a"))
    await (await reader_at()).wait(0)
    assert len(journal.helped) == 1


async def test_who_waits_looks_again_and_again(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frames, "CHECK_EVERY", SOON)
    reader = await reader_at()
    waiting = asyncio.create_task(reader.wait(60))
    for _ in range(3):
        await journal.looked.get()
    journal.write(frame(0, "a"))
    assert texts(await waiting) == ["a"]


async def test_an_end_that_was_read_already_is_the_end(journal: Journal):
    """Also if it came while the reader was looking, and `logged` after it."""
    position = journal.write(frame(0, "ab"), END)
    journal.write(Logged(3_000))
    reader = await reader_at(position)
    assert (await reader.wait(60), reader.ended) == ([], True)


@pytest.mark.parametrize("logged", [False, True])
async def test_who_waits_after_the_end_is_told_at_once(journal: Journal, monkeypatch: pytest.MonkeyPatch, logged: bool):
    """Without reading on first, however often it would be looked at the whole."""
    monkeypatch.setattr(frames, "CHECK_EVERY", 1_000.0)
    monkeypatch.setattr(clients, "journal_tails", lambda: pytest.fail("waited for more"))
    position = journal.write(frame(0, "ab" * frames.READ_BACK), END)
    if logged:
        position = journal.write(Logged(3_000))
    reader = await reader_at(position)
    assert (await reader.wait(60), reader.ended) == ([], True)


async def test_a_text_that_reads_like_an_end_is_none(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    """Of a long record only its last bytes are seen."""
    position = journal.write(frame(0, "x" * frames.READ_BACK + records.encode(END).decode()))
    reader = await reader_at(position)
    waiting = asyncio.create_task(reader.wait(60))
    journal.write(END)
    assert texts(await waiting) == ["end"]
    assert journal.helped == []


async def test_nobody_waits_for_a_client_that_is_gone(journal: Journal):
    async def gone() -> bool:
        return True

    reader = await reader_at()
    assert (await reader.wait(60, gone), reader.ended) == ([], False)


async def test_text_after_a_stop_is_not_shown(journal: Journal):
    journal.write(frame(0, "ab"), Stop(2_000), frame(2, "too late"), END)
    assert texts(await (await reader_at()).wait(0)) == ["ab", "end"]


async def streamed(reader: FrameReader, **more: float) -> list[bytes]:
    return [piece async for piece in event_stream(reader, await reader.wait(0), **more)]


async def test_a_stream_begins_with_what_is_there_and_ends_with_the_end(journal: Journal):
    first = journal.write(frame(0, "a\n😀"))
    last = journal.write(END)
    journal.write(Logged(3_000))
    (piece,) = await streamed(await reader_at())
    head, event, end, rest = piece.decode().split("\n\n")
    assert (head, rest) == ("retry: 1000", "")
    lines = event.split("\n")
    assert lines[:2] == [f"id: {first}", "event: frame"]
    data = json.loads(lines[2].removeprefix("data: "))
    assert data == {"generation": 1, "attempt": 1, "seq": 1, "offset": 0, "text": "a\n😀"}
    assert end.startswith(f"id: {last}\nevent: end\ndata: {{")


async def test_a_stream_says_something_in_silence_and_ends_after_its_time(journal: Journal):
    pieces = await streamed(await reader_at(), heartbeat=SOON, lifetime=10 * SOON)
    assert pieces[0] == b"retry: 1000\n\n"
    assert pieces[-1] == b": come again\n\n"
    assert len(pieces) > 3
    assert set(pieces[1:-1]) == {b": still here\n\n"}


async def test_a_stream_outlives_an_outage_of_storage(journal: Journal):
    reader = await reader_at()
    stream = event_stream(reader, await reader.wait(0), heartbeat=SOON)
    assert await anext(stream) == b"retry: 1000\n\n"
    journal.away = 3
    journal.write(frame(0, "ab"), END)
    pieces = [piece async for piece in stream]
    assert pieces[:-1]
    assert set(pieces[:-1]) == {b": still here\n\n"}
    assert b"event: end" in pieces[-1]


async def test_a_stream_of_a_turn_that_is_purged_ends(journal: Journal):
    reader = await reader_at()
    stream = event_stream(reader, await reader.wait(0))
    await anext(stream)
    del journal.blobs[TURN]
    assert [piece async for piece in stream] == []


async def test_a_stream_whose_client_leaves_reads_no_more(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frames, "CHECK_EVERY", SOON)
    reader = await reader_at()
    stream = await frames._counted("owner", event_stream(reader, []))
    await anext(stream)
    assert frames._streams == {"owner": 1}
    reading = asyncio.ensure_future(anext(stream))
    await journal.looked.get()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert frames._streams == {}
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)
    assert clients.journal_tails().reading == 0
    # And one that leaves between two pieces.
    stream = await frames._counted("owner", event_stream(reader, []))
    await anext(stream)
    await stream.aclose()
    assert frames._streams == {}


async def test_a_stream_counts_before_its_first_byte_and_no_longer_when_it_is_dropped_before(journal: Journal):
    """The client of a stream that was granted may be gone before anybody asks for its first piece."""
    reader = await reader_at()
    dropped = await frames._counted("owner", event_stream(reader, []))
    closed = await frames._counted("owner", event_stream(reader, []))
    assert frames._streams == {"owner": 2}
    await closed.aclose()
    assert frames._streams == {"owner": 1}
    del dropped
    async with asyncio.timeout(5):
        while True:
            if not frames._streams:
                break
            await asyncio.sleep(0)
