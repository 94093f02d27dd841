"""Every way to read a turn: each shows the same, from any position, to anybody who may."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from adapters.blob_journal import BlobJournal
from chat import records
from chat.records import Stop
from chat.turn import conversation_key_of
from http_triggers.frames import STREAMS_AT_ONCE
from tests.chat_client import ChatClient
from tests.event_source import Event, events
from tests.running_stack import RunningStack

SLOW = "#length 400\n#speed 150\n#first 0"
READS = ("", "/frames", "/stream")


@pytest.fixture
async def visitor(stack: RunningStack) -> AsyncIterator[ChatClient]:
    async with ChatClient(stack.url, signalr=False) as client:
        yield client


@asynccontextmanager
async def streaming(visitor: ChatClient, turn_id: str, query: str = "", **headers: str) -> AsyncIterator[Any]:
    async with visitor.http.get(f"/api/turns/{turn_id}/stream{query}", headers=headers) as answer:
        yield answer


async def streamed(visitor: ChatClient, turn_id: str, query: str = "", **headers: str) -> list[Event]:
    """Everything that a stream says until it ends."""
    async with streaming(visitor, turn_id, query, **headers) as answer:
        assert answer.status == 200, await answer.text()
        return [event async for event in events(answer)]


def text_of(found: list[Event]) -> str:
    return "".join(event.data["text"] for event in found if event.kind == "frame")


async def test_the_202_says_where_the_stream_is(visitor: ChatClient):
    _, body = await visitor.post_turn({"prompt": "#say x"})
    assert body["streamUrl"] == f"/api/turns/{body['turnId']}/stream"
    async with visitor.http.get(body["streamUrl"]) as answer:
        assert answer.status == 200


async def test_a_stream_brings_the_answer_as_it_grows_and_ends_with_it(visitor: ChatClient):
    turn_id, _, _ = await visitor.start_turn(SLOW)
    async with streaming(visitor, turn_id) as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        found, running = [], False
        async for event in events(answer):
            if event.kind == "frame" and not running:
                running = (await visitor.status(turn_id))["status"] == "running"
            found.append(event)
    assert running, "the first text came only when the answer was over"
    status = await visitor.status(turn_id)
    assert (found[0].kind, found[0].data) == ("retry", 1000)
    assert text_of(found) == status["text"]
    assert (found[-1].kind, found[-1].data["sha256"]) == ("end", status["sha256"])
    assert [event.kind for event in found].count("end") == 1


async def test_a_stream_and_the_frames_say_the_same(visitor: ChatClient):
    done = await visitor.answer("#drift\n#continue bare\n#speed 200\n#first 0\n#length 300\n#fault cut after=40")
    found = [event for event in await streamed(visitor, done["turnId"]) if event.kind not in ("", "retry")]
    page = await visitor.frames(done["turnId"])
    assert [{"kind": event.kind} | event.data for event in found] == page["frames"]
    assert "restart" in {event.kind for event in found}
    assert page["ended"] is True


async def test_a_stream_goes_on_after_the_event_that_was_seen_last(visitor: ChatClient):
    turn_id, _, _ = await visitor.start_turn(SLOW)
    async with streaming(visitor, turn_id) as answer:
        async for event in events(answer):
            if event.kind == "frame":
                first = event
                break
    rest = await streamed(visitor, turn_id, **{"Last-Event-ID": first.id})
    status = await visitor.status(turn_id)
    assert first.data["text"] + text_of(rest) == status["text"]
    # The header is of a later moment than the address that the client asks again for.
    again = await streamed(visitor, turn_id, "?after=0", **{"Last-Event-ID": first.id})
    assert text_of(again) == text_of(rest)
    assert text_of(await streamed(visitor, turn_id, f"?after={first.id}")) == text_of(rest)


async def test_who_has_read_the_end_is_told_to_stay_away(visitor: ChatClient):
    """204 is the standard's way to keep an EventSource from coming again; also once the turn is logged."""
    done = await visitor.answer("#say x")
    end = (await streamed(visitor, done["turnId"]))[-1]
    await visitor.wait_for(done["turnId"], "logged")
    for position in (end.id, str((await visitor.frames(done["turnId"]))["next"])):
        for query, headers in ((f"?after={position}", {}), ("", {"Last-Event-ID": position})):
            async with streaming(visitor, done["turnId"], query, **headers) as answer:
                assert (answer.status, await answer.read()) == (204, b"")


@pytest.mark.parametrize("value", ["x", "-1", "+1", "1.5", "1e3", "0x10", "9" * 16, "999999", "7", " ", "٣", "1,2"])
async def test_a_position_that_was_never_given_out_is_refused(visitor: ChatClient, value: str):
    done = await visitor.answer("#say x")
    before = await visitor.status(done["turnId"])
    url = f"/api/turns/{done['turnId']}"
    for path in ("frames", "stream"):
        async with visitor.http.get(f"{url}/{path}", params={"after": value}) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["code"], error["field"]) == (400, "invalid_input", "after")
    if value.isascii() and value.strip():
        async with visitor.http.get(f"{url}/stream?after=0", headers={"Last-Event-ID": value}) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["field"]) == (400, "Last-Event-ID")
            assert answer.content_type == "application/json"
    assert (await visitor.status(done["turnId"]))["sha256"] == before["sha256"]


@pytest.mark.parametrize("query", ["after=", "after=0&after=0", "wait=", "wait=1&wait=2", "wait=1e1", "wait=inf"])
async def test_a_question_that_is_no_question_is_refused(visitor: ChatClient, query: str):
    done = await visitor.answer("#say x")
    status, body = await visitor.get(f"/api/turns/{done['turnId']}/frames?{query}")
    assert (status, body["error"]["field"]) == (400, query.split("=")[0])


async def test_what_is_not_yours_does_not_exist_for_any_reader(stack: RunningStack, visitor: ChatClient):
    done = await visitor.answer("#say mine")
    async with ChatClient(stack.url, signalr=False) as stranger:
        for path in READS:
            status, body = await stranger.get(f"/api/turns/{done['turnId']}{path}")
            assert (status, body["error"]["code"]) == (404, "not_found")
    for turn in ("turn-1", f"turn-{'a' * 32}-{'b' * 32}", "a%27b"):
        for path in READS:
            assert (await visitor.get(f"/api/turns/{turn}{path}"))[0] == 404


async def test_the_status_alone_shows_how_an_answer_grows(visitor: ChatClient):
    """With If-None-Match, as a polite poller asks: a 304 never hides a change."""
    turn_id, _, _ = await visitor.start_turn("#length 200\n#speed 100\n#first 0\n#fault 429 times=1 retry_after_ms=600")
    seen: list[dict[str, Any]] = []
    tag, unchanged = "", 0
    async with asyncio.timeout(40):
        while not seen or not seen[-1]["logged"]:
            async with visitor.http.get(f"/api/turns/{turn_id}", headers={"If-None-Match": tag}) as answer:
                if answer.status == 304:
                    unchanged += 1
                    assert answer.headers["ETag"] == tag
                    continue
                body = await answer.json()
                assert answer.headers["ETag"] != tag
                assert answer.status == (202 if body["status"] == "running" else 200)
                tag = answer.headers["ETag"]
                seen.append(body)
    assert unchanged
    texts = [body["text"] for body in seen]
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    assert len(set(texts)) > 3
    phases = [body["phase"] for body in seen]
    order = ["queued", "streaming", "waiting", "streaming", "answered", "logged"]
    assert [phase for index, phase in enumerate(phases) if phase != (["", *phases])[index]] in (order, order[1:])
    assert all(bool(body["waitingUntil"]) == (body["phase"] == "waiting") for body in seen)
    async with visitor.http.get(f"/api/turns/{turn_id}", headers={"If-None-Match": f'"other", W/{tag}'}) as answer:
        assert answer.status == 304
    async with visitor.http.get(f"/api/turns/{turn_id}", headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 304


async def test_who_comes_late_sees_all_of_it(visitor: ChatClient):
    done = await visitor.answer(SLOW)
    await visitor.wait_for(done["turnId"], "logged")
    assert text_of(await streamed(visitor, done["turnId"])) == done["text"]
    frames = (await visitor.frames(done["turnId"], wait=5))["frames"]
    assert "".join(frame.get("text", "") for frame in frames) == done["text"]
    assert (await visitor.status(done["turnId"]))["text"] == done["text"]


async def test_many_tabs_and_devices_of_one_visitor_see_the_same(stack: RunningStack, visitor: ChatClient):
    """Devices of one session: other connections with the same cookie."""
    turn_id, _, _ = await visitor.start_turn(SLOW)
    async with ChatClient(stack.url, signalr=False) as other:
        await other.http.close()
        connector = aiohttp.TCPConnector(limit=0)
        other.http = aiohttp.ClientSession(stack.url, cookie_jar=visitor.http.cookie_jar, connector=connector)

        async def poll() -> str:
            after, text, ended = 0, "", False
            while not ended:
                page = await other.frames(turn_id, after, wait=5)
                text += "".join(frame.get("text", "") for frame in page["frames"])
                after, ended = page["next"], page["ended"]
            return text

        async def stream() -> str:
            return text_of(await streamed(other, turn_id))

        texts = await asyncio.gather(*[read() for read in (poll, stream) for _ in range(20)])
    assert set(texts) == {(await visitor.status(turn_id))["text"]}


async def stop(stack: RunningStack, turn_id: str) -> None:
    """Nobody wants to wait for the rest."""
    store = BlobJournal.from_connection_string(stack.settings["AzureWebJobsStorage"])
    stop = records.encode(Stop(round(1000 * time.time())))
    await store.append(conversation_key_of(turn_id), turn_id, stop, None)
    await store.close()


async def test_streams_of_clients_that_left_make_room_for_others(stack: RunningStack):
    """Of many that are opened at once exactly so many get one; a stream that is no longer read ends."""
    async with ChatClient(stack.url, signalr=False) as visitor:
        jar = visitor.http.cookie_jar
        async with aiohttp.ClientSession(stack.url, cookie_jar=jar, connector=aiohttp.TCPConnector(limit=0)) as http:
            turn_id, _, _ = await visitor.start_turn("#say at last\n#first 60")
            for _ in range(3):
                async with asyncio.timeout(20):
                    while True:
                        granted = await open_too_many(http, turn_id)
                        if granted >= STREAMS_AT_ONCE:
                            break
                        await asyncio.sleep(0.05)  # those of the last round are not all over yet
                assert granted == STREAMS_AT_ONCE
        await stop(stack, turn_id)
        assert (await visitor.wait_for(turn_id, "logged"))["status"] == "stopped"


async def open_too_many(http: aiohttp.ClientSession, turn_id: str) -> int:
    """How many of more streams than are allowed were granted; all of them are left again."""
    opened = await asyncio.gather(*[http.get(f"/api/turns/{turn_id}/stream") for _ in range(STREAMS_AT_ONCE + 36)])
    granted = [answer for answer in opened if answer.status == 200]
    await asyncio.gather(*[answer.content.readline() for answer in granted])
    for refused in opened:
        if refused.status != 200:
            error = json.loads(await refused.text())["error"]
            assert (refused.status, error["code"]) == (429, "too_many_streams")
            assert refused.headers["Retry-After"]
        refused.close()
    return len(granted)
