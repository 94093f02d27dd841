"""The size of records: never above the limit, shortened in the documented order, and always JSON."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chat.record_size import ROOM_FOR_PROPERTIES, encoded, fits, json_of

LIMIT = 64 * 1024  # a quarter of what the smallest hub takes: the same steps, quicker


def record(**changes: Any) -> dict[str, Any]:
    basis = {
        "type": "completion",
        "content": "short",
        "prompt": [{"role": "user", "content": "why?"}],
        "error": None,
        "tool_calls": None,
        "choices": None,
        "prompt_filter_results": None,
        "call_id": "call-1",
        "status": "completed",
        "truncated": False,
    }
    return basis | changes


def shortened(**changes: Any) -> dict[str, Any]:
    data = encoded(record(**changes), LIMIT)
    assert len(data) <= LIMIT - ROOM_FOR_PROPERTIES
    found: dict[str, Any] = json.loads(data)
    return found


def test_what_fits_stays_as_it_is():
    assert json.loads(encoded(record(), LIMIT)) == record()


def test_media_go_first():
    image = {"type": "image_url", "image_url": {"url": "data:" + "x" * LIMIT}}
    found = shortened(prompt=[{"role": "user", "content": [{"type": "text", "text": "what is this?"}, image]}])
    text, left = found["prompt"][0]["content"]
    assert text == {"type": "text", "text": "what is this?"}
    assert (left["type"], left["omitted_bytes"]) == ("image_url", len(json.dumps(image, separators=(",", ":"))))
    assert (found["content"], found["truncated"]) == ("short", True)


def test_then_the_oldest_messages_and_the_last_one_stays():
    found = shortened(prompt=[{"role": "user", "content": f"{number}" + "x" * 9_000} for number in range(20)])
    assert 1 <= len(found["prompt"]) < 20
    assert found["prompt"][-1]["content"].startswith("19x")
    assert found["content"] == "short"


def test_then_the_question_then_side_answers_then_the_answer():
    question = shortened(prompt=[{"role": "user", "content": "q" * LIMIT}], content="a" * 100)
    assert question["content"] == "a" * 100
    assert set(question["prompt"][0]["content"]) == {"q"}

    sides = shortened(choices=[{"content": "s" * LIMIT}], tool_calls=[{"name": "f", "arguments": "{}"}])
    assert (sides["choices"], sides["tool_calls"]) == (None, [{"name": "f", "arguments": None}])
    assert sides["content"] == "short"

    answer = shortened(content="a" * 2 * LIMIT)
    assert len(answer["content"]) > LIMIT // 2


def test_hashed_messages_keep_their_hashes_as_long_as_anything_does():
    hashed = {"role": "user", "content": None, "sha256": "a" * 64, "length": 5}
    assert shortened(prompt=[hashed], content="a" * 2 * LIMIT)["prompt"] == [hashed]


def test_words_that_nobody_expected_to_be_long_are_cut_last():
    found = shortened(
        error={"code": "c" * LIMIT, "message": "m" * LIMIT, "http_status": 400},
        prompt_filter_results=[{"x": "y" * LIMIT}],
        prompt=[{"role": "r" * LIMIT, "content": "why?"}],
    )
    assert (found["status"], found["call_id"], found["error"]["http_status"]) == ("completed", "call-1", 400)
    assert found["error"]["code"].startswith("c")
    assert found["prompt_filter_results"] == []


def test_what_json_has_no_word_for_is_written_as_nothing():
    found = json.loads(json_of({"nan": float("nan"), "inf": [float("inf"), 1.5], "half": "\ud83d"}))
    assert found == {"nan": None, "inf": [None, 1.5], "half": "\ud83d"}


def test_bottomless_nesting_is_written_as_far_as_it_is_meant():
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    assert json.loads(json_of({"deep": deep, "beside": 1}))["beside"] == 1


TEXTS = st.one_of(
    st.text(max_size=40),
    st.builds(lambda unit, times: unit * times, st.text(min_size=1, max_size=4), st.integers(0, 40_000)),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": TEXTS, "content": st.one_of(TEXTS, st.none(), st.lists(st.builds(lambda text: {"text": text}, TEXTS)))}
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(
    prompt=MESSAGES,
    content=st.one_of(st.none(), TEXTS),
    error=st.one_of(st.none(), st.builds(lambda text: {"code": "c", "message": text, "http_status": 1}, TEXTS)),
    choices=st.one_of(st.none(), st.lists(st.builds(lambda text: {"content": text}, TEXTS), max_size=3)),
    model=TEXTS,
)
def test_a_record_is_never_larger_than_the_hub_takes(**changes: Any):
    whole = record(**changes)
    data = encoded(whole, LIMIT)

    assert fits(data, LIMIT)
    found = json.loads(data)
    assert found["truncated"] == (not fits(json_of(whole), LIMIT))
    assert set(found) == set(whole)
    assert (found["call_id"], found["status"]) == ("call-1", "completed")
