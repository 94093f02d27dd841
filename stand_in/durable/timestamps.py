"""Times of the task hub: ticks of 100 nanoseconds since 1970, and their texts.

The extension writes times with up to seven digits and drops trailing zeros. A replay compares and hashes those texts,
so an event's text is made once and stored. A `Clock` never gives out a time twice: the order of events is also the
order of their times.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

TICKS_PER_SECOND = 10_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """Strictly increasing times. Tests hand in their own source of nanoseconds."""

    def __init__(self, nanoseconds: Callable[[], int] = time.time_ns) -> None:
        self._nanoseconds = nanoseconds
        self._last = 0

    def now(self) -> int:
        """The time in ticks; may be read any number of times."""
        return self._nanoseconds() // 100

    def next(self) -> int:
        """The time in ticks, later than every one given out before."""
        self._last = max(self.now(), self._last + 1)
        return self._last


class _Second:
    """The text of the second that was asked for last: most times of a run lie in few seconds."""

    number = -1
    text = ""


def text(ticks: int, zone: str = "Z") -> str:
    """`2026-01-02T03:04:05.1234567Z`, without trailing zeros."""
    second, fraction = divmod(ticks, TICKS_PER_SECOND)
    if second != _Second.number:
        _Second.text = (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")
        _Second.number = second
    if not fraction:
        return _Second.text + zone
    return f"{_Second.text}.{fraction:07}".rstrip("0") + zone


def text_in_seconds(ticks: int) -> str:
    """`2026-01-02T03:04:05Z`, as the management API shows creation and last update."""
    return text(ticks - ticks % TICKS_PER_SECOND)


def ticks(moment: str) -> int:
    """The ticks of an ISO text; one without a zone is UTC. Raises ValueError."""
    head, _, tail = moment.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    at = datetime.fromisoformat(head + tail[len(digits) :])
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    since = at - _EPOCH
    return (since.days * 86400 + since.seconds) * TICKS_PER_SECOND + int(digits.ljust(7, "0")[:7])
