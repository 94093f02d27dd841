"""A hundred answers at once within 200 sends a second, in virtual time: what the budget promises, and no waiting."""

import asyncio
import itertools
from bisect import bisect_left
from collections import defaultdict
from random import Random
from typing import Any

import pytest

from chat.delivery import Delivery
from chat.errors import DeliveryFailed
from chat.frames import utf16_length
from chat.pace import LONGEST_WINDOW
from chat.records import End, Frame
from chat.send_line import SendLine
from tests.doubles import RecordingBrowser
from tests.virtual_time import run_in_virtual_time

ALLOWED = 200
LATENCY = 0.02  # seconds, at most


class Service:
    """Takes so many messages in any second of its own clock, each after some time on the way."""

    def __init__(self, chance: Random, allowed: int, failures: float = 0.0) -> None:
        self._chance, self._allowed, self._failures = chance, allowed, failures
        self.refused = 0
        self.arrivals: list[float] = []
        self.texts: dict[str, str] = defaultdict(str)
        self.arrived: dict[str, list[tuple[float, int]]] = defaultdict(list)  # when, and the text's length then
        self.ended: set[str] = set()

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._chance.uniform(0, LATENCY))
        if len(self.arrivals) - bisect_left(self.arrivals, loop.time() - 1.0) >= self._allowed:
            self.refused += 1
            raise DeliveryFailed("429", refused=True, retry_after=1.0)
        self.arrivals.append(loop.time())
        if self._chance.random() < self._failures:
            raise DeliveryFailed("503", temporary=True)
        self._take(user_id, target, arguments, loop.time())
        await asyncio.sleep(self._chance.uniform(0, LATENCY))

    def _take(self, user_id: str, target: str, arguments: list[Any], now: float) -> None:
        if target == "turnEnded":
            self.ended.add(user_id)
        elif target == "token":
            text, offset = self.texts[user_id], arguments[-1]["offset"]
            assert offset == utf16_length(text), "out of order, or something is missing"
            self.texts[user_id] += arguments[0]
            self.arrived[user_id].append((now, len(self.texts[user_id])))


class Speaker:
    """One answer: a frame each 100 ms, from some time on; knows when which text was said."""

    def __init__(self, service: Service, line: SendLine, user_id: str) -> None:
        self.service, self.line, self.user_id = service, line, user_id
        self.said: list[tuple[float, int]] = []
        self.text = ""
        self.errors = 0

    async def speak(self, after: float, frames: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(after)
        async with Delivery(self.service, self.user_id, "turn", "talk", self.line) as delivery:
            delivery.started(1, 1)
            for seq in range(1, frames + 1):
                text, offset = f"word{seq} ", len(self.text)
                self.text += text
                self.said.append((loop.time(), len(self.text)))
                delivery.frame(Frame("w", 1, 1, seq, offset, text, 0))
                await asyncio.sleep(0.1)
            delivery.ended(End("w", "completed", 1, "stop", 0, "", None, None, {}, None, None, 0, 0))
        self.errors = delivery.errors

    @property
    def staleness(self) -> list[float]:
        """For each frame the time from being said to its arrival."""
        arrived = iter(self.service.arrived[self.user_id])
        now, length = next(arrived)
        waits = []
        for said_at, until in self.said:
            while length < until:
                now, length = next(arrived)
            waits.append(now - said_at)
        return waits


def scene(
    seed: int, streams: int, begin_within: float, frames: int = 60, **service: Any
) -> tuple[Service, list[Speaker]]:
    chance = Random(seed)
    taking = Service(chance, **({"allowed": ALLOWED} | service))

    async def story() -> list[Speaker]:
        line = SendLine(ALLOWED)
        speakers = [Speaker(taking, line, f"user-{number}") for number in range(streams)]
        await asyncio.gather(*(speaker.speak(chance.uniform(0, begin_within), frames) for speaker in speakers))
        return speakers

    return taking, run_in_virtual_time(story())


@pytest.mark.parametrize("begin_within", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_answers_are_sent_whole_and_no_send_is_refused(seed: int, begin_within: float):
    """However they begin; all of their ends come together, too."""
    service, speakers = scene(seed, 100, begin_within)
    assert service.refused == 0
    for speaker in speakers:
        assert service.texts[speaker.user_id] == speaker.text
        assert speaker.user_id in service.ended
        assert speaker.errors == 0
        first, *others = speaker.staleness
        assert first <= 2 * LATENCY, "the first text waits for nobody, at most for a notice that is on its way"
        assert max(others) <= LONGEST_WINDOW + 2 * LATENCY


def test_few_answers_have_their_hundred_milliseconds():
    service, speakers = scene(4, 8, 1.0)
    for speaker in speakers:
        assert max(speaker.staleness) <= 0.1 + 2 * LATENCY
        assert len(service.arrived[speaker.user_id]) >= 50


def test_windows_widen_for_all_alike_and_narrow_when_others_are_through():
    service = Service(Random(5), ALLOWED)

    async def story() -> list[Speaker]:
        line = SendLine(ALLOWED)
        long = Speaker(service, line, "long")
        crowd = [Speaker(service, line, f"user-{number}") for number in range(99)]
        await asyncio.gather(long.speak(0, 200), *(speaker.speak(5, 60) for speaker in crowd))
        return crowd

    crowd = run_in_virtual_time(story())
    times = [time for time, _ in service.arrived["long"]]
    gaps = {begin: [b - a for a, b in itertools.pairwise(times) if begin < a < begin + 4] for begin in (0, 6, 15)}
    assert max(gaps[0]) < 0.2
    assert max(gaps[15]) < 0.2
    assert 0.3 < sum(gaps[6]) / len(gaps[6]) < 0.8
    counts = [len(service.arrived[speaker.user_id]) for speaker in crowd]
    assert max(counts) - min(counts) <= 2
    assert service.refused == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_service_that_allows_less_than_the_setting_says_gets_everything_all_the_same(seed: int):
    """Refusals make the windows wider; nothing is lost by them, but what is left when a run parts."""
    service, speakers = scene(seed, 60, 2.0, frames=150, allowed=100)
    assert service.refused > 0
    assert service.refused < len(service.arrivals) / 10
    for speaker in speakers:
        assert speaker.text.startswith(service.texts[speaker.user_id])
        assert len(service.texts[speaker.user_id]) >= len(speaker.text) - 600
        whole = service.texts[speaker.user_id] == speaker.text and speaker.user_id in service.ended
        assert whole or speaker.errors > 0


@pytest.mark.parametrize("seed", range(5))
def test_sends_that_fail_now_and_then_lose_nothing(seed: int):
    service, speakers = scene(seed, 30, 2.0, frames=40, failures=0.1)
    for speaker in speakers:
        assert speaker.text.startswith(service.texts[speaker.user_id])
    whole = [speaker for speaker in speakers if service.texts[speaker.user_id] == speaker.text]
    assert len(whole) >= 28, "only two failures in a row at the very end are beyond repair"


async def elapsed_when_leaving(failures: int, speaking: float) -> tuple[float, Delivery, RecordingBrowser]:
    """How long a run's leaving takes that has spoken for so long to a service that fails so often."""
    browser, loop = RecordingBrowser(failures, temporary=True), asyncio.get_running_loop()
    async with Delivery(browser, "user", "turn", "talk") as delivery:
        for seq in range(1, 1 + round(speaking / 0.1)):
            delivery.frame(Frame("w", 1, 1, seq, 5 * (seq - 1), "word ", 0))
            await asyncio.sleep(0.1)
        delivery.ended(End("w", "completed", 1, "stop", 0, "", None, None, {}, None, None, 0, 0))
        left_at = loop.time()
    return loop.time() - left_at, delivery, browser


def test_a_service_that_has_been_away_does_not_hold_up_a_run_that_parts():
    took, delivery, browser = run_in_virtual_time(elapsed_when_leaving(10**6, speaking=20.0))
    assert took < 0.1
    assert browser.sent == []
    assert delivery.errors < 12, "the waits between the tries grow"


def test_a_service_that_stumbles_at_the_end_is_waited_for():
    took, delivery, browser = run_in_virtual_time(elapsed_when_leaving(1, speaking=0.0))
    assert 0.3 < took < 1.0
    assert [target for _, target, _ in browser.sent] == ["turnEnded"]
    assert delivery.errors == 1
