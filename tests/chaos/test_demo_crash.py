"""`make demo-crash`: what it shows is what happened, and its exit code says whether the answer was whole."""

import re
from typing import Any

import pytest

from tests.chaos import demo_crash
from tests.chaos.demo_crash import ANSWER, OURS, PLAIN, Demonstration, Shown, Stage, demonstrate
from tests.running_stack import ROOT, RunningStack

FIGURES = re.compile(r"^(.+?) +(\d+) +(\d+) +(\d+) +(yes|no) +(yes|no)$", re.MULTILINE)


def figures_in(output: str) -> dict[str, tuple[int, ...]]:
    """Characters, lost and too many, by client."""
    return {name: tuple(map(int, numbers)) for name, *numbers in (found[:4] for found in FIGURES.findall(output))}


def lines_with_numbers(output: str) -> set[str]:
    """The shapes of the lines that tell a number."""
    return {re.sub(r" *\d+(\.\d+)*", "#", line) for line in output.splitlines() if re.search(r"\d", line)}


@pytest.mark.chaos
def test_ours_is_whole_and_the_plain_client_shows_text_twice(capsys: pytest.CaptureFixture[str]):
    assert demo_crash.main(["--no-browser"]) == 0
    output = capsys.readouterr().out
    shown = figures_in(output)
    assert shown[OURS] == (len(ANSWER), 0, 0)
    characters, lost, too_many = shown[PLAIN]
    assert (characters, lost) == (len(ANSWER) + too_many, 0)
    assert too_many >= demo_crash.KILL_AT
    told = (ROOT / "README.md").read_text(encoding="utf-8").split("make demo-crash\n")[1].split("```")[2]
    assert figures_in(told)[OURS] == shown[OURS]
    assert lines_with_numbers(told) <= lines_with_numbers(output), "the README shows something else"


@pytest.mark.chaos
@pytest.mark.browser
async def test_the_page_in_a_browser_stays_whole(killable: RunningStack, capsys: pytest.CaptureFixture[str]):
    stage = Stage(lambda text: None, width=100, live=False)
    assert await demonstrate(killable, "headless", stage) == 0
    assert figures_in(capsys.readouterr().out)[OURS] == (len(ANSWER), 0, 0)


@pytest.mark.parametrize(
    ("texts", "lost", "doubled", "whole"),
    [
        (["a lan", "a lantern"], 0, 0, True),
        (["a lan", "a lana lantern"], 0, 5, False),
        (["a lan", "a lan"], 4, 0, False),
        (["a lantern", "a lan", "a lantern"], 0, 0, False),
    ],
)
def test_a_client_is_whole_only_if_nothing_is_lost_doubled_or_taken_back(
    texts: list[str], lost: int, doubled: int, whole: bool
):
    shown = Shown("one")
    for text in texts:
        shown.show(text)
    assert shown.lost_and_doubled("a lantern") == (lost, doubled)
    assert shown.is_whole("a lantern") is whole


@pytest.mark.parametrize(
    "broken", [{}, {"attempts": 1}, {"generation": 2}, {"status": "failed"}, {"text": "A lantern"}]
)
def test_the_promise_is_kept_only_by_an_interrupted_answer_that_is_whole(broken: dict[str, Any]):
    shown: Any = object.__new__(Demonstration)
    shown.ours, shown.killed_after = Shown(OURS), 120
    shown.ours.show(ANSWER)
    status = {"attempts": 2, "generation": 1, "status": "completed", "text": ANSWER} | broken
    assert shown.is_kept(status) is not bool(broken)


def test_two_columns_are_drawn_again_in_place_where_they_fit():
    written: list[str] = []
    stage = Stage(written.append, width=100, live=True)
    ours, plain = Shown(OURS, "one " * 20), Shown(PLAIN, "two " * 40)
    stage.draw(ours, plain)
    first = "".join(written)
    assert first.count("one") == 20
    assert first.count("two") == 40
    assert max(len(line) for line in first.replace("\x1b[2K", "").splitlines()) <= 100
    written.clear()
    stage.draw(ours, plain)
    assert written[0] == f"\x1b[{first.count(chr(10))}A"
    narrow: list[str] = []
    Stage(narrow.append, width=60, live=True).draw(ours, plain)
    assert "\x1b" not in "".join(narrow)
