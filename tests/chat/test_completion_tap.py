"""What the proxy learns of an answer, and that the caller sees the bytes of the call it made."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chat.completion_tap import CompletionTap
from tests.doubles import ManualClock

DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def chunk(text: str | None = None, *, index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "gpt-4o-mini-2024-07-18", "choices": [choice], **more}


def tap(*, hide_usage: bool = False) -> CompletionTap:
    return CompletionTap(ManualClock(), hide_usage=hide_usage)


def fed(reader: CompletionTap, stream: bytes, cuts: list[int] | None = None) -> bytes:
    """What comes out when the stream comes in pieces cut at these places."""
    places = [0, *sorted({cut % (len(stream) + 1) for cut in cuts or []}), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    return b"".join(reader.feed(piece) for piece in pieces) + reader.finish()


texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(['"usage":null', "\n\n", "[DONE]", "{"])
cuts = st.lists(st.integers(0, 5_000), max_size=12)


@given(st.lists(texts, max_size=6), cuts, st.sampled_from([b"\n\n", b"\r\n\r\n"]))
def test_who_did_not_ask_for_usage_sees_the_bytes_of_an_answer_without(said: list[str], places: list[int], end: bytes):
    chunks = [chunk(text) for text in said] + [chunk(finish="stop")]
    filters = {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    usage = {"completion_tokens": 3, "prompt_tokens": 2, "total_tokens": 5}
    direct = [event(value) for value in (filters, *chunks)] + [DONE]
    asked = [event(value | {"usage": None}) for value in (filters, *chunks)]
    asked += [event({"id": "chatcmpl-1", "choices": [], "usage": usage}), DONE]
    reader = tap(hide_usage=True)

    seen = fed(reader, b"".join(asked).replace(b"\n\n", end), places)

    assert seen == b"".join(direct).replace(b"\n\n", end)
    assert reader.learned.usage == usage
    assert reader.learned.choice(0).text == ("".join(said) or None)
    assert reader.learned.choice(0).finish_reason == "stop"
    assert reader.learned.whole


@given(st.lists(st.binary(max_size=30), max_size=8), cuts)
def test_whatever_comes_goes_on_as_it_came(pieces: list[bytes], places: list[int]):
    stream = b"".join(pieces)
    for hide_usage in (False, True):
        assert fed(tap(hide_usage=hide_usage), stream, places) == stream


names = st.sampled_from(
    ["choices", "delta", "message", "content", "tool_calls", "function", "name", "arguments", "index", "usage", "type"]
) | st.sampled_from(["error", "response", "output", "status", "id", "item", "object"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "response.completed", "error"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4))
def test_a_shape_that_no_service_documents_breaks_nothing(values: list[Any]):
    stream = b"".join(event(value) for value in values)
    assert fed(tap(), stream) == stream


def test_two_answers_are_kept_apart():
    reader = tap()

    fed(reader, event(chunk("A")) + event(chunk("x", index=1)) + event(chunk("B")) + event(chunk("y", index=1)))

    assert {index: choice.text for index, choice in reader.learned.choices.items()} == {0: "AB", 1: "xy"}


def test_calls_of_tools_are_put_together_from_their_fragments():
    def call(index: int, **parts: Any) -> bytes:
        return event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, **parts}]}}]})

    reader = tap()

    fed(
        reader,
        call(0, id="call_a", type="function", function={"name": "weather", "arguments": ""})
        + call(1, id="call_b", type="function", function={"name": "time", "arguments": ""})
        + call(0, function={"arguments": '{"city":'})
        + call(1, function={"arguments": "{}"})
        + call(0, function={"arguments": '"Bern"}'}),
    )

    assert reader.learned.choice(0).calls == [
        {"id": "call_a", "type": "function", "name": "weather", "arguments": '{"city":"Bern"}'},
        {"id": "call_b", "type": "function", "name": "time", "arguments": "{}"},
    ]


def test_the_first_content_is_text_and_not_the_chunk_of_a_filter():
    clock = ManualClock()
    reader = CompletionTap(clock)
    reader.feed(event({"choices": [], "prompt_filter_results": []}) + event(chunk("")))
    clock.move(1_000)
    first = clock.now()
    reader.feed(event(chunk("late")))
    clock.move(10)

    reader.feed(event({"choices": [{"index": 0, "content_filter_offsets": {"check_offset": 4}}]}))

    assert reader.learned.first_content_at == reader.learned.last_content_at == first


def test_what_a_filter_says_after_the_end_counts_more_than_the_end():
    reader = tap()

    fed(reader, event(chunk("a")) + event(chunk(finish="stop")) + event(chunk(finish="content_filter")) + DONE)

    assert reader.learned.choice(0).finish_reason == "content_filter"


def test_an_error_in_the_stream_is_kept_and_is_no_end():
    reader = tap()

    fed(reader, event(chunk("a")) + event({"error": {"code": "500", "message": "overloaded"}}))

    assert reader.learned.error == {"code": "500", "message": "overloaded"}
    assert not reader.learned.whole


def test_a_stream_of_responses_is_read_too():
    reader = tap()
    response = {"object": "response", "id": "resp_1", "model": "gpt-4o-mini", "status": "in_progress"}
    usage = {"input_tokens": 3, "output_tokens": 2}

    fed(
        reader,
        event({"type": "response.created", "response": response})
        + event({"type": "response.output_text.delta", "delta": "Kon"})
        + event({"type": "response.output_text.delta", "delta": "nichi"})
        + event({"type": "response.completed", "response": response | {"status": "completed", "usage": usage}}),
    )

    learned = reader.learned
    assert (learned.response_id, learned.usage, learned.whole) == ("resp_1", usage, True)
    assert (learned.choice(0).text, learned.choice(0).finish_reason) == ("Konnichi", "stop")


def test_an_answer_that_is_no_stream_is_read_at_once():
    reader = tap()
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
    usage = {"total_tokens": 4}

    reader.answer(
        json.dumps(
            {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": usage}
        ).encode()
    )

    learned = reader.learned
    assert (learned.usage, learned.whole, learned.choice(0).text) == (usage, True, None)
    assert learned.choice(0).calls == [{"id": "c", "type": "function", "name": "f", "arguments": ""}]
