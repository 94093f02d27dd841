"""Directives: what a prompt orders is understood, and what is wrong in it is named."""

import math

import pytest

from stand_in.azure_openai.deployments import Speed
from stand_in.azure_openai.directives import parse_directives
from stand_in.azure_openai.errors import InvalidRequest
from stand_in.azure_openai.faults import Fault, FaultCounters


def test_directives_may_stand_in_one_line_and_the_rest_stays_text():
    found = parse_directives("Please #speed 120 #first 0.5 tell me\n#length 300 #script cjk\nabout #python and C#say")

    assert (found.tokens_per_second, found.first_token_seconds) == (120, 0.5)
    assert (found.length, found.script) == (300, "cjk")
    assert found.say is None
    assert "about #python and C#say" in found.rest


def test_what_is_said_goes_to_the_end_of_the_line_with_all_that_looks_like_a_directive():
    assert parse_directives("#speed max #say  a #fault 500 b \nmore").say == "a #fault 500 b "
    assert parse_directives("#speed max #say a").tokens_per_second == math.inf
    assert parse_directives("#say\nfirst\n  second\n").say == "first\n  second\n"
    assert parse_directives("#repeat 3 ab ").say == "ababab"


def test_speed_is_changed_only_where_the_prompt_says_so():
    speed = Speed(60, 0.3, burst_seconds=0.5, async_filter=True)

    assert parse_directives("#first 0").apply_to(speed) == Speed(60, 0.0, 0.5, True)
    assert parse_directives("#speed 10 #burst 0").apply_to(speed) == Speed(10, 0.3, 0.0, True)


def test_faults_add_up_in_order_with_their_values():
    found = parse_directives("#fault 429 times=2 retry_after_ms=300 #fault cut after=5\n#fault filter prompt times=1")

    assert found.faults == (
        Fault("429", times=2, headers=(("retry-after-ms", "300"),)),
        Fault("cut", times=1, after=5),
        Fault("filter prompt", times=1),
    )


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        *((kind, 1) for kind in ("429", "500", "cut", "end", "stall", "hang", "error")),
        *((kind, None) for kind in ("401", "422", "filter", "async-filter", "filter prompt", "context")),
    ],
)
def test_what_passes_by_itself_happens_once_and_what_lies_in_the_request_always(kind: str, times: int | None):
    assert parse_directives(f"#fault {kind}").faults[0].times == times


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("#speed quick", "#speed quick"),
        ("#speed 0", "#speed 0"),
        ("#length many", "#length many"),
        ("#length", "a number of characters"),
        ("#length 99999999", "2000000"),
        ("#script klingon", "latin, cjk, rtl, emoji, mixed"),
        ("#repeat 5", "expected a number and a text"),
        ("#tool", "a name and a JSON object"),
        ("#tool look [1]", "a name and a JSON object"),
        ("#tool look {oops}", "Expecting"),
        ("#split atoms", "only surrogates"),
        ("#fault earthquake", "the kind is one of"),
        ("#fault 429 delay=3", "delay= is not one of"),
        ("#fault cut after=-1", "-1: expected a whole number"),
        ("#first -1", "not negative"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(prompt: str, named: str):
    with pytest.raises(InvalidRequest) as refused:
        parse_directives(prompt)

    assert named in refused.value.message


def test_a_fault_holds_for_its_calls_and_then_the_next_one_has_its_turn():
    counters = FaultCounters()
    first, second = Fault("429", times=2), Fault("cut", times=1)

    happened = [counters.choose("hash", (first, second), "zero") for _ in range(4)]

    assert happened == [first, first, second, None]
    assert counters.choose("other hash", (first, second), "zero") == first
    counters.reset()
    assert counters.choose("hash", (first, second), "zero") == first
