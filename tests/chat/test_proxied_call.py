"""The record of a proxied call: complete for every ending, and without what a key's policy keeps out."""

import json
from typing import Any

import pytest

from chat.completion_tap import CompletionTap, Learned
from chat.proxied_call import (
    ALWAYS,
    Answered,
    Ending,
    ProxiedCall,
    aborted,
    call_record,
    ending_of,
    prompt_messages,
)
from chat.proxy_keys import LogPolicy, LogTexts
from tests.doubles import ManualClock

SECRET = "the sea"  # in prompt and answer
SEED_FIELDS = ["type", "content", "usage", "model", "prompt", "region", "latency_ms", "time_to_first_chunk_ms"]
SEED_FIELDS += ["streaming_duration_ms", "timestamp"]


def call(policy: LogPolicy = LogPolicy(), **changes: Any) -> ProxiedCall:  # noqa: B008 - frozen
    values: dict[str, Any] = {
        "call_id": "call-1",
        "caller": "team-a",
        "policy": policy,
        "kind": "stream_completion",
        "deployment": "gpt-4o-mini",
        "api_version": "2024-10-21",
        "prompt": ({"role": "user", "content": f"Tell me of {SECRET}."},),
        "at": 1_800_000_000_000,
    }
    return ProxiedCall(**(values | changes))


def learned(*said: str, finish: str | None = "stop", wait: int = 0) -> Learned:
    clock = ManualClock()
    tap = CompletionTap(clock)
    clock.move(wait)
    call_of_tool = {"index": 0, "id": "c", "function": {"name": "look", "arguments": json.dumps({"at": SECRET})}}
    for text in said:
        choice = {"index": 0, "delta": {"content": text, "tool_calls": [call_of_tool]}}
        tap.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    tap.feed(
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}).encode() + b"\n\n"
    )
    return tap.learned


def test_a_record_has_the_fields_of_the_first_proxy_and_its_times_add_up():
    record = call_record(
        call(), Answered(200, "Japan East", "req-1"), learned("so", wait=300), Ending("completed"), 1_800_000_001_000
    )

    assert list(record)[: len(SEED_FIELDS)] == SEED_FIELDS
    assert (record["latency_ms"], record["time_to_first_chunk_ms"], record["streaming_duration_ms"]) == (1000, 300, 700)
    assert (record["region"], record["status"], record["content"]) == ("Japan East", "completed", "so")


def test_an_answer_in_one_piece_has_no_times_of_a_stream():
    record = call_record(call(kind="completion"), Answered(200), learned("so"), Ending("completed"), 1_800_000_001_000)

    assert (record["time_to_first_chunk_ms"], record["streaming_duration_ms"]) == (None, None)


@pytest.mark.parametrize("texts", [LogTexts.HASHED, LogTexts.NONE])
def test_what_a_policy_keeps_out_is_nowhere_in_the_record(texts: LogTexts):
    parts = {"role": "user", "content": [{"type": "text", "text": SECRET}]}
    ending = Ending("failed", {"code": "bad", "message": f"cannot say {SECRET}"})
    accepted = call(LogPolicy(texts), prompt=(*call().prompt, parts))

    record = call_record(accepted, Answered(400), learned(f"Of {SECRET}"), ending, 1_800_000_001_000)

    assert SECRET not in json.dumps(record)
    assert record["error"]["code"] == "bad"
    assert record["tool_calls"][0]["name"] == "look"


def test_equal_texts_can_be_told_by_their_hashes():
    accepted = call(LogPolicy(LogTexts.HASHED))

    first, second, other = (
        call_record(accepted, None, learned(text), None, 1_800_000_001_000) for text in ("a", "a", "b")
    )

    assert first["sha256"] == second["sha256"] != other["sha256"]
    assert first["prompt"][0]["sha256"] == second["prompt"][0]["sha256"]


def test_a_key_may_have_some_fields_only():
    accepted = call(LogPolicy(LogTexts.FULL, frozenset({"usage"})))

    record = call_record(accepted, Answered(200), learned("a"), Ending("completed"), 1_800_000_001_000)

    assert set(record) == ALWAYS | {"usage"}
    assert aborted(record) == record | {"status": "aborted"}


def test_two_answers_stand_apart():
    tap = CompletionTap(ManualClock())
    choices = [{"index": n, "message": {"content": text}, "finish_reason": "stop"} for n, text in enumerate("AB")]
    tap.answer(json.dumps({"choices": choices}).encode())

    record = call_record(call(), Answered(200), tap.learned, Ending("completed"), 1_800_000_001_000)

    assert [choice["content"] for choice in record["choices"]] == ["A", "B"]


@pytest.mark.parametrize(
    ("http_status", "error", "finish", "status"),
    [
        (200, None, "stop", "completed"),
        (200, None, "length", "completed"),
        (200, None, "content_filter", "filtered"),
        (200, None, None, "failed"),
        (200, {"code": "500", "message": "overloaded"}, None, "failed"),
        (400, {"code": "content_filter", "message": "no"}, None, "filtered"),
        (400, {"code": "context_length_exceeded", "message": "no"}, None, "failed"),
        (502, None, None, "failed"),
    ],
)
def test_an_answer_that_came_to_its_end_has_a_status(
    http_status: int, error: dict[str, str] | None, finish: str | None, status: str
):
    known = learned("a", finish=finish)
    known.error = error

    assert ending_of(Answered(http_status), known, streamed=True).status == status


@pytest.mark.parametrize(
    ("body", "contents"),
    [
        ({"messages": [{"role": "user", "content": "q"}]}, ["q"]),
        ({"input": "q"}, ["q"]),
        ({"input": ["a", "b"]}, ["a", "b"]),
        ({"input": [{"role": "user", "content": "q"}], "instructions": "Be brief."}, ["Be brief.", "q"]),
        ({}, []),
    ],
)
def test_what_the_model_is_given_is_a_list_of_messages(body: dict[str, Any], contents: list[str]):
    assert [message["content"] for message in prompt_messages(body)] == contents
