"""Screens, in Python as under Node: the text of the highest generation, whatever order things come in."""

import itertools

from tests.chaos.page_reducer import page_screen
from tests.chaos.screen import Screen, texts_of

# Two frames, a redaction of "cd", one more frame, and a second answer that starts again.
REDACTED = [
    {"kind": "frame", "generation": 1, "offset": 0, "text": "abc"},
    {"kind": "frame", "generation": 1, "offset": 3, "text": "def"},
    {"kind": "redact", "generation": 2, "offset": 2, "length": 2},
    {"kind": "frame", "generation": 2, "offset": 6, "text": "g"},
]
RESTARTED = [
    {"kind": "frame", "generation": 1, "offset": 0, "text": "abc"},
    {"kind": "restart", "generation": 2},
    {"kind": "frame", "generation": 2, "offset": 0, "text": "x"},
    {"kind": "frame", "generation": 2, "offset": 1, "text": "yz"},
]


def test_the_texts_of_a_journal_are_those_of_its_generations():
    assert texts_of(REDACTED) == {1: "abcdef", 2: "ab██efg"}
    assert texts_of(RESTARTED) == {1: "abc", 2: "xyz"}
    assert texts_of([*RESTARTED[:1], {"kind": "stop"}, *RESTARTED[1:]]) == {1: "abc"}


async def test_any_order_ends_in_the_same_text_here_and_on_the_page():
    orders = {
        f"{name} {number}": records
        for name, story in (("ab██efg", REDACTED), ("xyz", RESTARTED))
        for number, records in enumerate(itertools.permutations(story))
    }
    pages = await page_screen(orders)
    for name, records in orders.items():
        screen = Screen()
        for record in (*records, *records):
            screen.take(record)
        assert screen.text == pages[name].text == name.split()[0], records


def test_a_gap_hides_what_is_behind_it():
    screen = Screen()
    screen.frame(1, 3, "def")
    assert screen.text == ""
    screen.frame(1, 0, "abc")
    assert screen.text == "abcdef"
    assert screen.faults({1: "abcdef"}) == []


def test_a_generation_that_nobody_announced_is_not_shown():
    screen = Screen()
    screen.frame(2, 0, "x")
    assert screen.shown == [(1, b"")]
    screen.restart(2)
    assert screen.text == "x"
