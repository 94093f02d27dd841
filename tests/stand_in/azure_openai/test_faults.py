"""Faults through the official client: each goes wrong in the way that the client knows from the service."""

import time
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI

from tests.model_emulator import ModelEmulator
from tests.stand_in.azure_openai.test_chat_completions import asking, collect, text_of

STATUS_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    408: openai.APIStatusError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}


@pytest.mark.parametrize("status", STATUS_ERRORS)
async def test_a_status_is_raised_as_the_clients_own_exception(status: int, classic: AsyncAzureOpenAI):
    with pytest.raises(STATUS_ERRORS[status]) as raised:
        await collect(classic, **asking(f"#fault {status}"))

    assert raised.value.status_code == status
    assert raised.value.code
    assert raised.value.request_id


async def test_a_retry_with_the_same_messages_succeeds_after_so_many_times(
    classic: AsyncAzureOpenAI, emulator: ModelEmulator
):
    patient = classic.with_options(max_retries=3)
    started = time.monotonic()

    answer = await patient.chat.completions.create(**asking("#fault 429 times=2 retry_after_ms=100\nHi"))

    assert "local model emulator" in str(answer.choices[0].message.content)
    assert [request["status"] for request in await emulator.requests()] == [429, 429, 200]
    assert time.monotonic() - started >= 0.2


async def test_the_wait_is_told_in_the_headers(classic: AsyncAzureOpenAI):
    with pytest.raises(openai.RateLimitError) as raised:
        await collect(classic, **asking("#fault 429 retry_after=7 reset_tokens=6m0s"))

    assert raised.value.response.headers["retry-after"] == "7"
    assert raised.value.response.headers["x-ratelimit-reset-tokens"] == "6m0s"


async def test_a_filtered_prompt_tells_what_was_found(classic: AsyncAzureOpenAI):
    with pytest.raises(openai.BadRequestError) as raised:
        await collect(classic, **asking("#fault filter prompt"))

    body: Any = raised.value.body
    assert (raised.value.code, raised.value.param, raised.value.type, body["status"]) == (
        "content_filter",
        "prompt",
        None,
        400,
    )
    assert body["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert body["innererror"]["content_filter_result"]["violence"] == {"filtered": True, "severity": "medium"}


async def test_an_answer_is_filtered_after_so_many_tokens(classic: AsyncAzureOpenAI):
    chunks = await collect(classic, **asking("#fault filter after=2\nHi"))

    assert text_of(chunks) == "Hello!"
    assert chunks[-1].choices[0].finish_reason == "content_filter"


async def test_the_asynchronous_filter_ends_an_answer_by_a_late_annotation(classic: AsyncAzureOpenAI):
    chunks = await collect(classic, **asking("#fault async-filter after=2\nHi"))

    assert text_of(chunks) == "Hello!"
    last = chunks[-1].choices[0]
    assert (last.finish_reason, last.delta) == ("content_filter", None)
    assert last.content_filter_offsets["end_offset"] == 6


@pytest.mark.parametrize("kind", ["cut", "end", "error"])
async def test_a_stream_can_break_in_three_ways_after_some_tokens(
    kind: str, classic: AsyncAzureOpenAI, emulator: ModelEmulator
):
    received: list[str] = []

    async def ask() -> None:
        stream = await classic.chat.completions.create(stream=True, **asking(f"#fault {kind} after=3\nHi"))
        async with stream:
            async for chunk in stream:
                received.append(text_of([chunk]))

    if kind == "end":
        await ask()  # the client sees nothing wrong: that is the trap
    else:
        with pytest.raises(openai.APIConnectionError if kind == "cut" else openai.APIError) as raised:
            await ask()
        assert kind == "cut" or raised.value.code == "server_error"
    assert "".join(received) == "Hello! I"
    seen = await emulator.last_request_when(lambda request: request["ended_at"] is not None)
    assert (seen["fault"], seen["tokens_sent"], seen["finish_reason"], seen["disconnected_at"]) == (kind, 3, None, None)
    assert text_of(await collect(classic, **asking(f"#fault {kind} after=3\nHi"))).startswith("Hello! I am")


async def test_a_stall_is_silence_for_its_time_and_then_the_rest(classic: AsyncAzureOpenAI):
    prompt = asking("#fault stall after=3 seconds=0.5\nHi")
    impatient = classic.with_options(timeout=0.15)

    with pytest.raises(openai.APITimeoutError):
        await collect(impatient, **asking("#fault stall after=3 seconds=30\nHi"))
    started = time.monotonic()
    chunks = await collect(classic, **prompt)

    assert time.monotonic() - started >= 0.5
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_hang_is_no_answer_at_all(classic: AsyncAzureOpenAI, emulator: ModelEmulator):
    with pytest.raises(openai.APITimeoutError):
        await collect(classic.with_options(timeout=0.15), **asking("#fault hang"))

    seen = await emulator.last_request_when(lambda request: request["disconnected_at"] is not None)
    assert (seen["status"], seen["fault"]) == (None, "hang")


@pytest.mark.parametrize(
    ("kind", "outcome"), [("cut", None), ("end", None), ("error", 500), ("filter", 200), ("stall", 200)]
)
async def test_the_same_faults_befall_answers_that_are_not_streamed(
    kind: str, outcome: int | None, classic: AsyncAzureOpenAI
):
    prompt = asking(f"#fault {kind} after=2 seconds=0.05\nHi")
    if outcome is None:
        with pytest.raises(openai.APIConnectionError):
            await classic.chat.completions.create(**prompt)
    elif outcome == 500:
        with pytest.raises(openai.InternalServerError):
            await classic.chat.completions.create(**prompt)
    else:
        answer = await classic.chat.completions.create(**prompt)
        expected = "content_filter" if kind == "filter" else "stop"
        assert answer.choices[0].finish_reason == expected


async def test_faults_are_counted_anew_after_a_reset(classic: AsyncAzureOpenAI, emulator: ModelEmulator):
    prompt = asking("#fault 503\nHi")
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await classic.chat.completions.create(**prompt)
        await classic.chat.completions.create(**prompt)
        await emulator.post("/_admin/reset", {})
