"""Pace: no second with more sends than are allowed, nobody waits for ever, everybody gets the same share."""

import heapq
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.pace import (
    BURST,
    LONGEST_WINDOW,
    LOWEST_RATE,
    PAUSE_AFTER_REFUSAL,
    STEADY,
    Place,
    SendBudget,
    Urgency,
    Window,
)

LATENCIES = st.lists(st.floats(0, 3), min_size=1, max_size=60)
URGENCIES = st.sampled_from(Urgency)


@given(st.floats(0.01, 0.5), LATENCIES)
def test_a_window_is_never_shorter_than_it_should_be_and_never_longer_than_a_second(shortest: float, took: list[float]):
    window, now = Window(shortest), 0.0
    for latency in took:
        due = window.next_after(now, now + latency)
        assert due >= now + shortest
        assert due <= max(now + LONGEST_WINDOW, now + latency + shortest / 2) + 1e-9
        assert due >= now + latency + shortest / 2
        now = due


@given(st.floats(0.02, 0.4), st.lists(st.floats(0, 3), max_size=30))
def test_a_window_widens_while_appends_are_slow_and_narrows_again(slow: float, before: list[float]):
    window, now = Window(0.1), 0.0
    for latency in [*before, *[slow] * 40]:
        due = window.next_after(now, now + latency)
    assert due - now == pytest.approx(max(0.1, min(2 * slow, LONGEST_WINDOW), slow + 0.05), abs=0.01)
    for _ in range(40):
        due = window.next_after(now, now + 0.005)
    assert due - now == pytest.approx(0.1, abs=0.001)


@dataclass
class Departures:
    """A budget, and when which of its sends left."""

    budget: SendBudget
    latency: Callable[[], float] = lambda: 0.0
    arrives: Callable[[], float] = lambda: 0.0  # part of the latency after which the service counts the send
    left: list[tuple[float, Place]] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    under_way: list[tuple[float, int, Place]] = field(default_factory=list)

    def until(self, end: float, now: float) -> None:
        """Let the line move, as answers and a timer set for `next_at` would."""
        while True:
            while self.under_way and self.under_way[0][0] <= now:
                answered, _, gone = heapq.heappop(self.under_way)
                self.budget.leave(gone, answered)
            while (place := self.budget.take(now)) is not None:
                self.left.append((now, place))
                latency = self.latency()
                self.arrived.append(now + latency * self.arrives())
                heapq.heappush(self.under_way, (now + latency, len(self.left), place))
            answer = self.under_way[0][0] if self.under_way else None
            due = self.budget.next_at(now)
            assert due is None or due >= now
            now = min((time for time in (answer, due) if time is not None), default=math.inf)
            if now > end:
                return

    def most_in_a_second(self) -> int:
        """As the service counts."""
        times = sorted(self.arrived)
        return max((bisect_left(times, start + 1) - index for index, start in enumerate(times)), default=0)


BURSTS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.05, 0.4, 1.0]), st.integers(1, 120), URGENCIES), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 150), BURSTS, st.sampled_from([0.0, 0.01, 0.5, 3.0]), st.randoms(use_true_random=False))
def test_no_second_of_the_service_has_more_sends_than_it_allows_and_all_go(
    allowed: int, bursts: list[tuple[float, int, Urgency]], slowest: float, chance: Random
):
    """Whatever comes when, first texts included, however long each is on its way."""
    line = Departures(SendBudget(allowed), lambda: chance.uniform(0, slowest), chance.random)
    now = 0.0
    places = []
    for pause, count, urgency in bursts:
        line.until(now + pause, now)
        now += pause
        places += [line.budget.enter(urgency, now) for _ in range(count)]
    line.until(now + 5 * (1 + len(places)), now)
    assert {id(place) for _, place in line.left} == {id(place) for place in places}
    assert len(line.left) == len(places)
    assert line.most_in_a_second() <= allowed


@given(st.integers(20, 300), st.floats(0, 20), st.integers(1, 10))
def test_first_texts_do_not_wait_even_if_all_that_may_be_sent_has_been(allowed: int, idle: float, firsts: int):
    line = Departures(SendBudget(allowed))
    now = idle
    for _ in range(round(STEADY * allowed)):  # a second of everything that the rate allows
        line.budget.enter(Urgency.TEXT, now)
    line.until(now + 0.4, now)
    now += 0.4
    waiting = len(line.left)
    assert waiting < round(STEADY * allowed)
    places = [line.budget.enter(Urgency.FIRST_TEXT, now) for _ in range(min(firsts, round(BURST * allowed)))]
    line.until(now, now)
    assert [id(place) for _, place in line.left[waiting:]] == [id(place) for place in places]


def test_endings_pass_text_that_came_before_and_nobody_waits_for_ever():
    line = Departures(SendBudget(10))
    texts = [line.budget.enter(Urgency.TEXT, 0.0) for _ in range(8)]
    notice = line.budget.enter(Urgency.NOTICE, 0.0)
    line.until(0.5, 0.0)
    ending = line.budget.enter(Urgency.ENDING, 0.5)
    line.until(0.7, 0.5)
    assert line.left[-1][1] is ending
    now = 0.7
    for _ in range(60):  # from now on there is always somebody with text
        line.budget.enter(Urgency.TEXT, now)
        line.until(now + 0.1, now)
        now += 0.1
    order = [place for _, place in line.left]
    assert all(text in order for text in texts)
    assert notice in order


def stream_waits(allowed: int, streams: int, seconds: float = 6.0) -> dict[int, list[float]]:
    """Streams that always have text again 100 ms after they sent: how long each then waited."""
    line = Departures(SendBudget(allowed))
    waits: dict[int, list[float]] = defaultdict(list)
    of: dict[Place, int] = {}
    ready = [(0.0, stream) for stream in range(streams)]
    now, seen = 0.0, 0
    while now < seconds:
        while ready and ready[0][0] <= now:
            _, stream = ready.pop(0)
            of[line.budget.enter(Urgency.TEXT, now)] = stream
        line.until(now, now)
        for time, place in line.left[seen:]:
            waits[of[place]].append(time - place.arrived)
            ready.append((time + 0.1, of[place]))
        seen = len(line.left)
        at = line.budget.next_at(now)
        now = min([time for time in (at, ready[0][0] if ready else None) if time is not None])
    assert line.most_in_a_second() <= allowed
    return waits


@pytest.mark.parametrize(("allowed", "streams"), [(200, 1), (200, 17), (200, 100), (200, 170), (20, 17), (50, 3)])
def test_text_never_waits_for_longer_than_a_second_while_there_are_sends_for_all(allowed: int, streams: int):
    waits = stream_waits(allowed, streams)
    assert max(wait for each in waits.values() for wait in each) <= LONGEST_WINDOW
    if streams / 0.1 < STEADY * allowed:  # each can have its 100 ms
        assert max(wait for each in waits.values() for wait in each[1:]) <= 0.001


@pytest.mark.parametrize(("allowed", "streams"), [(200, 100), (200, 500), (10, 30)])
def test_everybody_gets_the_same_share(allowed: int, streams: int):
    counts = [len(each) for each in stream_waits(allowed, streams, 12.0).values()]
    assert len(counts) == streams
    assert max(counts) - min(counts) <= 1


def test_windows_narrow_again_when_others_are_through():
    crowd = stream_waits(200, 100)
    assert min(crowd[0][1:]) > 0.3
    assert max(stream_waits(200, 10)[0][1:]) < 0.001


@given(st.integers(1, 300), st.one_of(st.none(), st.floats(0, 60)))
def test_after_a_refusal_nobody_sends_for_as_long_as_was_asked(allowed: int, retry_after: float | None):
    line = Departures(SendBudget(allowed))
    line.budget.refused(0.0, retry_after)
    for urgency in reversed(Urgency):
        line.budget.enter(urgency, 0.0)
    asked = PAUSE_AFTER_REFUSAL if retry_after is None else retry_after
    line.until(1000.0, 0.0)
    assert len(line.left) == len(Urgency)
    assert line.left[0][0] == pytest.approx(asked)
    assert next(place.urgency for _, place in line.left) is Urgency.FIRST_TEXT


def rate_after(budget: SendBudget, start: float) -> int:
    """Sends in the second that begins then, with a line that never empties."""
    line = Departures(budget)
    for _ in range(400):
        budget.enter(Urgency.TEXT, start)
    line.until(start + 1.0, start)
    return len(line.left)


def test_refusals_halve_the_rate_once_for_all_that_was_in_flight_and_it_recovers():
    budget = SendBudget(200)
    for _ in range(5):
        budget.refused(0.0, 1.0)
    assert rate_after(budget, 1.0) == pytest.approx(200 * STEADY * 0.55, abs=4)
    budget = SendBudget(200)
    for second in range(20):
        budget.refused(float(2 * second), 1.9)
    assert rate_after(budget, 39.9) < 200 * STEADY * (LOWEST_RATE + 0.15)
    budget = SendBudget(200)
    budget.refused(0.0, 1.0)
    budget.next_at(20.0)
    assert rate_after(budget, 20.0) >= 200 * STEADY


def test_without_a_limit_everybody_goes_at_once():
    line = Departures(SendBudget(0))
    for _ in range(1000):
        line.budget.enter(Urgency.TEXT, 0.0)
    line.until(0.0, 0.0)
    assert len(line.left) == 1000


def test_who_left_the_line_is_not_called_and_who_hurries_goes_once():
    line = Departures(SendBudget(2))
    line.budget.enter(Urgency.TEXT, 0.0)
    line.until(0.0, 0.0)
    gone, late, hurried = (line.budget.enter(Urgency.TEXT, 0.0) for _ in range(3))
    line.budget.leave(gone, 0.0)
    line.budget.hurry(hurried, Urgency.ENDING)
    line.budget.hurry(hurried, Urgency.NOTICE)
    line.until(10.0, 0.0)
    assert [place for _, place in line.left[1:]] == [hurried, late]
