"""Background responses: made whoever listens, read again from any number, cancelled at once, there after kill -9."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from stand_in.azure_openai.access import EMULATOR_KEY
from stand_in.azure_openai.background_responses import BackgroundResponses, LiveResponse
from stand_in.azure_openai.deployments import Speed
from stand_in.azure_openai.errors import ResponseNotFound
from stand_in.azure_openai.faults import Fault
from stand_in.azure_openai.response_events import ResponseEvents
from stand_in.azure_openai.stored_response import StoredResponse
from tests.model_emulator import ModelEmulator
from tests.stand_in.azure_openai.test_admin import emulator_process
from tests.stand_in.azure_openai.test_responses_api import text_of

OPENING_EVENTS = 5  # created, queued, in_progress, output_item.added, content_part.added


async def begin(client: AsyncOpenAI, prompt: str, **more: Any) -> Any:
    asked: dict[str, Any] = {"model": "zero", "input": prompt, "background": True, "stream": True} | more
    return await client.responses.create(**asked)


async def take(stream: Any, count: int) -> list[Any]:
    """The first events of a stream, which is closed then."""
    events = []
    async for event in stream:
        events.append(event)
        if len(events) == count:
            break
    await stream.close()
    return events


async def again(client: AsyncOpenAI, response_id: str, after: int | None = None) -> list[Any]:
    more: dict[str, Any] = {} if after is None else {"starting_after": after}
    stream: Any = await client.responses.retrieve(response_id, stream=True, **more)
    async with stream:
        return [event async for event in stream]


async def status_is(client: AsyncOpenAI, response_id: str, status: str) -> Any:
    async with asyncio.timeout(10):
        # The service is asked over HTTP: there is no event to wait for.
        while (response := await client.responses.retrieve(response_id)).status != status:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return response


async def test_a_client_that_left_reads_on_from_the_number_it_had(v1: AsyncOpenAI, emulator: ModelEmulator):
    first = await take(await begin(v1, "#speed 40\n#length 400"), 12)
    rest = await again(v1, first[0].response.id, first[-1].sequence_number)

    events = first + rest
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert text_of(events) == events[-1].response.output_text
    assert len(text_of(events)) == 400
    created, retrieved = await emulator.requests()
    assert (created["kind"], retrieved["kind"]) == ("responses.create", "responses.retrieve")
    assert created["disconnected_at"] is not None
    assert created["tokens_sent"] < created["tokens_produced"] == events[-1].response.usage.output_tokens
    assert retrieved["response_id"] == created["response_id"]


async def test_the_helper_of_the_client_resumes(v1: AsyncOpenAI):
    first = await take(await begin(v1, "#speed 200\n#length 200"), 12)
    async with v1.responses.stream(response_id=first[0].response.id, starting_after=11) as stream:
        rest = [event async for event in stream]

    assert rest[0].sequence_number == 12
    final: Any = rest[-1]
    assert final.type == "response.completed"
    assert len(final.response.output_text) == 200


async def test_several_readers_get_the_same_events_live_or_later(v1: AsyncOpenAI):
    stream = await begin(v1, "#speed 300\n#length 300")
    created = await anext(aiter(stream))
    live = await asyncio.gather(again(v1, created.response.id), again(v1, created.response.id, 9))
    await stream.close()
    later = await again(v1, created.response.id)

    assert [event.to_dict() for event in live[0]] == [event.to_dict() for event in later]
    assert [event.to_dict() for event in live[1]] == [event.to_dict() for event in later[10:]]


async def test_nothing_is_left_after_the_last_number(v1: AsyncOpenAI):
    stream = await begin(v1, "#say a b")
    async with stream:
        events = [event async for event in stream]

    assert await again(v1, events[0].response.id, events[-1].sequence_number) == []
    assert await again(v1, events[0].response.id, 999) == []
    with pytest.raises(openai.BadRequestError, match="starting_after"):
        await v1.get(f"/responses/{events[0].response.id}?stream=true&starting_after=x", cast_to=object, options={})


async def test_without_a_stream_a_response_is_queued_and_asked_for(v1: AsyncOpenAI):
    slow = await begin(v1, "#first 60\n#say a b", stream=False)
    made = await begin(v1, "#first 0.1\n#say a b", stream=False)

    assert (made.status, made.output, made.usage) == ("queued", [], None)
    assert (await v1.responses.retrieve(slow.id)).status == "in_progress"
    assert (await status_is(v1, made.id, "completed")).output_text == "a b"
    with pytest.raises(openai.BadRequestError, match="stream=true"):
        await v1.responses.retrieve(made.id, stream=True)


async def test_a_cancelled_response_ends_for_its_readers_at_once(v1: AsyncOpenAI, emulator: ModelEmulator):
    stream = await begin(v1, "#speed 100\n#length 90000")
    opening = [await anext(aiter(stream)) for _ in range(OPENING_EVENTS + 3)]
    response_id = opening[0].response.id

    cancelled = await v1.responses.cancel(response_id)
    async with asyncio.timeout(5):
        rest = [event async for event in stream]

    assert (cancelled.status, cancelled.output) == ("cancelled", [])
    assert "response.completed" not in {event.type for event in rest}
    produced = (await emulator.requests())[0]["tokens_produced"]
    replayed = await again(v1, response_id)
    assert len(replayed) == OPENING_EVENTS + produced
    assert text_of(replayed).startswith(text_of(opening + rest))
    assert (await v1.responses.cancel(response_id)).status == "cancelled"
    assert (await emulator.requests())[0]["tokens_produced"] == produced


async def test_cancelling_what_is_over_changes_nothing(v1: AsyncOpenAI):
    made = await begin(v1, "#say a b", stream=False)

    assert (await v1.responses.cancel(made.id)).status == "completed"


async def test_a_deleted_response_is_over_for_everybody(v1: AsyncOpenAI):
    stream = await begin(v1, "#speed 100\n#length 90000")
    created = await anext(aiter(stream))
    await v1.responses.delete(created.response.id)

    async with asyncio.timeout(5):
        rest = [event async for event in stream]
    assert rest[-1].type != "response.completed"
    with pytest.raises(openai.NotFoundError):
        await v1.responses.retrieve(created.response.id)


async def read_until_it_breaks(stream: Any, received: list[Any], error: type[Exception]) -> None:
    async def read() -> None:
        async for event in stream:
            received.append(event)

    with pytest.raises(error):
        await read()


async def test_a_cut_connection_does_not_end_the_response(v1: AsyncOpenAI, emulator: ModelEmulator):
    """Each connection is cut after its own 5 tokens, as long as the fault has calls left."""
    received: list[Any] = []
    stream = await begin(v1, "#fault cut after=5 times=2\n#speed 100\n#length 200")
    await read_until_it_breaks(stream, received, openai.APIConnectionError)
    response_id = received[0].response.id
    stream = await v1.responses.retrieve(response_id, stream=True, starting_after=received[-1].sequence_number)
    await read_until_it_breaks(stream, received, openai.APIConnectionError)
    received += await again(v1, response_id, received[-1].sequence_number)

    assert [event.sequence_number for event in received] == list(range(len(received)))
    assert len(text_of(received)) == 200
    seen = await emulator.requests()
    assert [(each["fault"], each["tokens_sent"]) for each in seen[:2]] == [("cut", 5), ("cut", 5)]
    assert seen[2]["fault"] is None


async def test_a_stall_of_a_connection_is_passed_by_another_one(v1: AsyncOpenAI):
    impatient = v1.with_options(timeout=1)
    received: list[Any] = []
    stream = await begin(impatient, "#fault stall after=3 seconds=60\n#say a b c d e")
    await read_until_it_breaks(stream, received, openai.APITimeoutError)
    rest = await again(v1, received[0].response.id, received[-1].sequence_number)

    assert text_of(received) == "a b c"
    assert text_of(received + rest) == "a b c d e"


async def test_after_a_stall_comes_what_was_made_meanwhile(v1: AsyncOpenAI):
    started = time.monotonic()
    stream = await begin(v1, "#fault stall after=3 seconds=0.3\n#say a b c d e")
    async with stream:
        events = [event async for event in stream]

    assert time.monotonic() - started >= 0.3
    assert text_of(events) == "a b c d e"


async def test_a_freeze_holds_production_itself(v1: AsyncOpenAI):
    first = await take(await begin(v1, "#fault freeze after=3 seconds=1.5\n#say a b c d e"), OPENING_EVENTS + 3)
    response_id = first[0].response.id
    assert (await v1.responses.retrieve(response_id)).status == "in_progress"
    rest = await again(v1, response_id, first[-1].sequence_number)

    assert text_of(first + rest) == "a b c d e"
    response = await v1.responses.retrieve(response_id)
    assert response.completed_at is not None
    assert response.status == "completed"


@pytest.mark.parametrize(("kind", "status"), [("error", "failed"), ("filter", "incomplete")])
async def test_a_response_may_end_badly(kind: str, status: str, v1: AsyncOpenAI):
    stream = await begin(v1, f"#fault {kind} after=2\n#say a b c d e")
    async with stream:
        events = [event async for event in stream]

    response = await v1.responses.retrieve(events[0].response.id)
    assert text_of(events) == "a b"
    assert (events[-1].type, response.status) == (f"response.{status}", status)
    if kind == "error":
        assert (events[-2].type, events[-2].code) == ("error", "server_error")
        assert response.error is not None
        assert response.error.code == "server_error"
    else:
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "content_filter"
        assert response.output_text == "a b"


async def test_a_status_comes_before_anything_is_made(v1: AsyncOpenAI):
    with pytest.raises(openai.RateLimitError):
        await begin(v1, "#fault 429 retry_after=1\n#say a")
    stream = await begin(v1, "#fault 429 retry_after=1\n#say a")
    async with stream:
        assert text_of([event async for event in stream]) == "a"


async def test_a_background_response_outlives_the_emulator(tmp_path: Path):
    """kill -9 in the middle: the same numbers, the same text, at the time at which they would have been."""
    prompt = "#speed 60\n#length 300"
    with emulator_process(tmp_path) as (process, port):
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/openai/v1/", api_key=EMULATOR_KEY) as client:
            first = await take(await begin(client, prompt, model="zero-drift"), 10)
            other = await begin(client, prompt, stream=False)
            await client.responses.cancel(other.id)
        process.kill()
        process.wait(10)
    with emulator_process(tmp_path) as (_, port):
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/openai/v1/", api_key=EMULATOR_KEY) as client:
            response_id = first[0].response.id
            rest = await again(client, response_id, first[-1].sequence_number)
            whole = await client.responses.retrieve(response_id)

            assert (await client.responses.retrieve(other.id)).status == "cancelled"
    events = first + rest
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert text_of(events) == whole.output_text
    assert len(text_of(events)) == 300 + len("(01234567) ")


def test_what_cannot_be_read_is_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    responses = BackgroundResponses(tmp_path, lambda: 200.0)
    responses.keep(LiveResponse(STORED))
    (tmp_path / "resp_2.json").write_text('{"response_id": "resp_2"}')

    again = BackgroundResponses(tmp_path, lambda: 200.0)

    assert again.find("resp_1").stored == STORED
    assert "resp_2.json" in caplog.text
    with pytest.raises(ResponseNotFound):
        again.find("resp_2")


def test_the_oldest_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stand_in.azure_openai.background_responses.KEPT_RESPONSES", 2)
    responses = BackgroundResponses(tmp_path, lambda: 200.0)
    for number in range(4):
        responses.keep(LiveResponse(replace(STORED, response_id=f"resp_{number}")))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["resp_2.json", "resp_3.json"]


STORED = StoredResponse(
    response_id="resp_1",
    created_at=100.0,
    deployment="zero",
    model="zero",
    pieces=tuple("abcdefgh"),
    is_cut_short=False,
    input_tokens=1,
    reasoning_tokens=0,
    speed=Speed(10, 1.0),
    echo={},
    is_background=True,
    is_streamed=True,
    is_kept=True,
    production_fault=Fault("freeze", None, after=4, seconds=2.0),
)


@pytest.mark.parametrize(
    ("now", "produced", "status"),
    [
        (100.9, 0, "in_progress"),
        (101.0, 1, "in_progress"),
        (101.35, 4, "in_progress"),
        (103.35, 4, "in_progress"),
        (103.4, 5, "in_progress"),
        (103.75, 8, "in_progress"),
        (103.81, 8, "completed"),
    ],
)
def test_production_is_a_matter_of_time(now: float, produced: int, status: str):
    assert (STORED.produced(now), STORED.status(now)) == (produced, status)


def test_its_json_form_keeps_all_that_matters():
    again = StoredResponse.from_dict(STORED.to_dict())

    assert again == STORED
    assert [ResponseEvents(again).event(number) for number in range(17)] == [
        ResponseEvents(STORED).event(number) for number in range(17)
    ]
