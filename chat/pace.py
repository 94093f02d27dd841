"""Pace: how often a stream appends, and how a process shares the sends that SignalR allows it.

Pure: no clock, no waiting. Times are seconds of one clock that the caller reads.

Theory of operation. Text gathers in windows. `Window` is one stream's own: about 100 ms, wider while storage or the
service is slow, at most a second. `SendBudget` is the process's: every stream that has something to send stands in one
line, at most once, and a token bucket lets so many of them go in a second. A stream that went stands at the end again,
so whatever the number of streams each gets the same share, and their windows widen and narrow with the number of those
that have something to say. Who must not wait stands in front: the first text of an answer, then endings.

A service counts in ways that are not ours to know: by the clock's seconds, by the last second, by a bucket. The last
second is the strictest. Hence the bucket's rate and depth together stay below what is allowed, and at no time are more
than `CEILING` of it under way or answered within the last second, first texts included: what would be refused arrives
later than what waits for a moment. A send reaches the service at some time between leaving and its answer, so this
holds for every second of the service's clock, however slow the way.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

# The longest that text waits for company, in seconds, unless fewer sends are allowed than there are streams.
LONGEST_WINDOW = 1.0
# Parts of the allowed sends per second: the steady rate, what may go at once after a pause, and the most in any second.
# The rest is for sends that stand in no line: a broadcast, a worker that is about to be replaced.
STEADY, BURST, CEILING = 0.85, 0.1, 0.95
# After a 429 the rate is halved (not below a sixteenth), and within ten seconds without one it is what it was.
LOWEST_RATE, RECOVERY_PER_SECOND = 1 / 16, 0.1
# A 429 that does not say how long.
PAUSE_AFTER_REFUSAL = 1.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a writer does what; seconds."""

    # 100 ms: about 53 messages for a 500-token answer at 100 tokens/s, and nobody sees the difference to fewer.
    window: float = 0.1
    look: float = 0.15  # with the time that a look takes, a stop is seen within 200 ms
    alive: float = 10.0


class Window:
    """How long one stream lets text gather before its next append, or its next send."""

    def __init__(self, shortest: float) -> None:
        self._shortest = shortest
        self._latency = 0.0

    def next_after(self, began: float, ended: float) -> float:
        """When the next one is due, after one that took this long.

        Twice the latency: half of the time is rest, so under load frames get longer, not more. The latency is smoothed
        over the last four or so: one slow append widens nothing, a slow service does, and it narrows as quickly.
        """
        self._latency += (ended - began - self._latency) / 4
        window = max(self._shortest, min(2 * self._latency, LONGEST_WINDOW))
        return max(began + window, ended + self._shortest / 2)


class Urgency(IntEnum):
    """Who goes first."""

    FIRST_TEXT = 0  # of an answer: does not wait for the budget
    ENDING = 1  # and whatever else changes more than the text's length
    TEXT = 2
    NOTICE = 3  # what the next message says as well


# How long a send lets others pass that came later and are more urgent; seconds. The line is in the order of arrival
# plus patience, so nobody waits for ever.
_PATIENCE = {Urgency.FIRST_TEXT: -math.inf, Urgency.ENDING: 0.0, Urgency.TEXT: LONGEST_WINDOW, Urgency.NOTICE: 2.0}


@dataclass(slots=True, eq=False)
class Place:
    """One send's place in the line."""

    arrived: float
    urgency: Urgency
    waiting: bool = True
    under_way: bool = False


class SendBudget:
    """The sends of one process. `per_second` is what the service allows it; 0 is no limit."""

    def __init__(self, per_second: int, now: float = 0.0) -> None:
        self._allowed = per_second
        self._depth = max(1.0, BURST * per_second)
        self._ceiling = max(1, math.floor(CEILING * per_second))
        self._tokens = self._depth
        self._share = 1.0  # of the rate, after refusals
        self._seen_at = now
        self._paused_until = -math.inf
        self._under_way = 0
        self._answered: deque[float] = deque()  # when the sends of the last second were answered
        self._line: list[tuple[float, int, Place]] = []
        self._count = 0

    def enter(self, urgency: Urgency, now: float) -> Place:
        """Stand in line."""
        place = Place(now, urgency)
        self._push(place)
        return place

    def hurry(self, place: Place, urgency: Urgency) -> None:
        """What waits has become more urgent."""
        if place.waiting and urgency < place.urgency:
            place.urgency = urgency
            self._push(place)

    def leave(self, place: Place, now: float) -> None:
        """The send was answered, or is given up. To be called for each that entered."""
        place.waiting = False
        if place.under_way:
            place.under_way = False
            self._under_way -= 1
            self._answered.append(now)

    def take(self, now: float) -> Place | None:
        """The next send that may go now; it is under way until it leaves."""
        place = self._first()
        if place is None or self._may_go_at(place, now) > now:
            return None
        heapq.heappop(self._line)
        place.waiting, place.under_way = False, True
        self._under_way += 1
        self._tokens -= 1
        return place

    def hand_back(self, place: Place) -> None:
        """Who was just taken is not there any more: nothing is sent, and the next one may go in its stead."""
        place.under_way = False
        self._under_way -= 1
        self._tokens += 1

    def next_at(self, now: float) -> float | None:
        """When `take` may have something; None when nobody waits, or for an answer first."""
        place = self._first()
        at = math.inf if place is None else self._may_go_at(place, now)
        return None if at == math.inf else at

    def refused(self, now: float, retry_after: float | None) -> None:
        """The service said 429: nobody sends for so many seconds, and afterwards fewer do.

        What was in flight beside it is refused for the same reason and counts once.
        """
        if now >= self._paused_until:
            self._refill(now)
            self._share = max(LOWEST_RATE, self._share / 2)
            self._tokens = min(self._tokens, 0.0)
        pause = PAUSE_AFTER_REFUSAL if retry_after is None else retry_after
        self._paused_until = max(self._paused_until, now + pause)

    def _first(self) -> Place | None:
        while self._line:
            key, _, place = self._line[0]
            if place.waiting and self._key(place) == key:
                return place
            heapq.heappop(self._line)  # left, or stands further in front by now
        return None

    def _push(self, place: Place) -> None:
        self._count += 1
        heapq.heappush(self._line, (self._key(place), self._count, place))

    @staticmethod
    def _key(place: Place) -> float:
        return place.arrived + _PATIENCE[place.urgency]

    def _may_go_at(self, place: Place, now: float) -> float:
        while self._answered and self._answered[0] + 1.0 <= now:
            self._answered.popleft()
        at = max(now, self._paused_until)
        if not self._allowed:
            return at
        self._refill(now)
        if self._under_way + len(self._answered) >= self._ceiling:
            at = max(at, self._answered[0] + 1.0 if self._answered else math.inf)
        if place.urgency is not Urgency.FIRST_TEXT and self._tokens < 1 - _ROUNDING:
            at = max(at, now + (1 - self._tokens) / self._rate)
        return at

    @property
    def _rate(self) -> float:
        return STEADY * self._allowed * self._share

    def _refill(self, now: float) -> None:
        passed = now - max(self._seen_at, min(self._paused_until, now))  # a pause earns nothing
        self._seen_at = now
        self._share = min(1.0, self._share + RECOVERY_PER_SECOND * passed)
        self._tokens = min(self._depth, self._tokens + self._rate * passed)
