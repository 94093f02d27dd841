"""`@app.retry`: how often a failed call is tried again, and how long to wait before.

The host honours it for timers; other triggers have retries of their own, or none, and the policy is warned about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from stand_in.host.host_json import parse_timespan

_NEVER_LONGER = timedelta(days=24)  # about what .NET's int.MaxValue milliseconds are


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`count` -1 means for ever. The wait doubles from `minimum` to `maximum`; both are equal for a fixed delay."""

    count: int
    minimum: timedelta
    maximum: timedelta

    def wait_before(self, retry: int) -> timedelta | None:
        """The wait before the given retry (from 1), or None when there is none left."""
        if 0 <= self.count < retry:
            return None
        return min(self.minimum * (1 << min(retry - 1, 30)), self.maximum)


def read_policy(settings: Mapping[str, Any] | None) -> RetryPolicy | None:
    """The policy of a function's settings. Raises ValueError for a time that is none."""
    if not settings:
        return None
    count = int(settings["max_retry_count"])
    if str(settings.get("strategy")).lower() == "fixed_delay":
        delay = _time(settings.get("delay_interval"), timedelta(0))
        return RetryPolicy(count, delay, delay)
    minimum = _time(settings.get("minimum_interval"), timedelta(0))
    return RetryPolicy(count, minimum, _time(settings.get("maximum_interval"), _NEVER_LONGER))


def _time(text: Any, default: timedelta) -> timedelta:
    if not text:
        return default
    span = parse_timespan(str(text))
    if span is None:
        raise ValueError(f"'{text}' of a retry policy is not a time (hh:mm:ss)")
    return span
