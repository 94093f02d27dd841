"""The limit of sends: so many in any second, as a unit of the service allows; one more is 429 with `Retry-After`.

How the service counts is not documented. The strictest reading is taken: the last second, whenever it began. A sender
that keeps to it keeps to every other reading as well.
"""

import math
from collections import deque


class SendLimit:
    """`per_second` sends; 0 is no limit. Times are seconds of a monotonic clock."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._taken: deque[float] = deque()

    def retry_after(self, now: float) -> int | None:
        """None when a send at this time is allowed (it counts); else the whole seconds after which it may be again."""
        if not self._per_second:
            return None
        while self._taken and self._taken[0] + 1.0 <= now:
            self._taken.popleft()
        if len(self._taken) < self._per_second:
            self._taken.append(now)
            return None
        return max(1, math.ceil(self._taken[0] + 1.0 - now))
