"""Timer functions: each is called when its schedule says so, one call at a time.

What the last and the next due time are is stored per function, so that a run missed while the host was down is made up
for at the start, with `past_due` set. As on Azure this *monitor* is off for schedules more frequent than a minute and
for functions with `useMonitor` false. `runOnStartup` calls the function at every start.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from stand_in.host.function import Function
from stand_in.host.timer_schedule import Schedule

logger = logging.getLogger(__name__)

CallTimer = Callable[[Function, str], Awaitable[None]]


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> datetime: ...

    async def sleep_until(self, moment: datetime) -> None: ...


class SystemClock:
    """The real clock. Long waits are taken in pieces, so that a changed system time is noticed."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until(self, moment: datetime) -> None:
        while (left := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - time gives no events
            await asyncio.sleep(min(left, 60))


@dataclass(frozen=True, slots=True)
class TimerStatus:
    """What is stored of a timer."""

    last: datetime | None
    next: datetime

    def to_dict(self) -> dict[str, Any]:
        return {
            "Last": (self.last or datetime(1, 1, 1, tzinfo=UTC)).isoformat(),
            "Next": self.next.isoformat(),
            "LastUpdated": (self.last or self.next).isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Timer:
    """One timer function with its parsed schedule."""

    function: Function
    schedule: Schedule

    def is_monitored(self, now: datetime) -> bool:
        declared = self.function.trigger.get("useMonitor")
        if declared is not None and not declared:
            return False
        first = self.schedule.next_after(now)
        second = self.schedule.next_after(first) if first is not None else None
        return first is not None and (second is None or second - first >= timedelta(minutes=1))


class Timers:
    """Runs all timers of an app until it is stopped."""

    def __init__(self, timers: list[Timer], state_dir: Path, call: CallTimer, clock: Clock | None = None) -> None:
        self._timers = timers
        self._state_dir = state_dir
        self._call = call
        self._clock: Clock = clock or SystemClock()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._state_dir.mkdir(parents=True, exist_ok=True)
        self._tasks = [
            asyncio.create_task(self._run(timer), name=f"timer {timer.function.name}") for timer in self._timers
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _run(self, timer: Timer) -> None:
        now = self._clock.now()
        monitored = timer.is_monitored(now)
        status = self._read(timer) if monitored else None
        if status is not None and status.next <= now:
            await self._fire(timer, status, is_past_due=True)
            status = self._advance(timer, monitored)
        elif timer.function.trigger.get("runOnStartup"):
            await self._fire(timer, status, is_past_due=False)
            status = self._advance(timer, monitored)
        due = status.next if status is not None else timer.schedule.next_after(now)
        while due is not None:
            await self._clock.sleep_until(due)
            await self._fire(timer, status, is_past_due=False)
            advanced = self._advance(timer, monitored)
            due = timer.schedule.next_after(max(due, self._clock.now()))
            status = advanced

    async def _fire(self, timer: Timer, status: TimerStatus | None, *, is_past_due: bool) -> None:
        try:
            await self._call(timer.function, trigger_text(status, is_past_due=is_past_due))
        except Exception as error:  # noqa: BLE001 - a failed run is logged; the next one comes all the same
            logger.error("Timer function %s failed: %s", timer.function.name, str(error).splitlines()[0])

    def _advance(self, timer: Timer, monitored: bool) -> TimerStatus | None:
        now = self._clock.now()
        due = timer.schedule.next_after(now)
        if not monitored or due is None:
            return None
        status = TimerStatus(now, due)
        path = self._path(timer)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(status.to_dict()), "utf-8")
        os.replace(temporary, path)
        return status

    def _read(self, timer: Timer) -> TimerStatus | None:
        """The stored status; at the very first start one is stored, so that the first missed run counts too."""
        path = self._path(timer)
        if path.exists():
            document = json.loads(path.read_text("utf-8"))
            return TimerStatus(datetime.fromisoformat(document["Last"]), datetime.fromisoformat(document["Next"]))
        due = timer.schedule.next_after(self._clock.now())
        if due is None:
            return None
        status = TimerStatus(None, due)
        path.write_text(json.dumps(status.to_dict()), "utf-8")
        return status

    def _path(self, timer: Timer) -> Path:
        return self._state_dir / f"{timer.function.name}.json"


def trigger_text(status: TimerStatus | None, *, is_past_due: bool = False) -> str:
    """The trigger's JSON, as `func.TimerRequest` is made from it."""
    return json.dumps(
        {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": status.to_dict() if status is not None else None,
            "IsPastDue": is_past_due,
        },
        separators=(",", ":"),
    )
