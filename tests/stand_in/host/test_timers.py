"""Timers, with a clock that tests move."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stand_in.host.function import Binding, Function, Signature
from stand_in.host.timer_schedule import parse_schedule
from stand_in.host.timers import Timer, Timers

START = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self._now = START
        self._moved = asyncio.Event()
        self.sleeper_came = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, moment: datetime) -> None:
        while self._now < moment:
            self._moved.clear()
            self.sleeper_came.set()
            await self._moved.wait()

    async def move(self, seconds: float) -> None:
        """Move, and return when the timer waits again."""
        self._now += timedelta(seconds=seconds)
        self.sleeper_came.clear()
        self._moved.set()
        await asyncio.wait_for(self.sleeper_came.wait(), 5)


class Calls:
    """Records what timers were called with."""

    def __init__(self) -> None:
        self.triggers: list[dict[str, Any]] = []
        self.fails = False

    async def __call__(self, function: Function, trigger: str) -> None:
        self.triggers.append(json.loads(trigger))
        if self.fails:
            raise ValueError("the function failed")


def timer(schedule: str, **properties: Any) -> Timer:
    binding = Binding("t", "timerTrigger", "in", {"schedule": schedule, **properties})
    function = Function(
        "tick", lambda t: None, ".", False, (binding,), Signature({"t": "timerTrigger"}, {}, None, False)
    )
    return Timer(function, parse_schedule(schedule))


@asynccontextmanager
async def running(one: Timer, folder: Path, calls: Calls, clock: ManualClock) -> AsyncIterator[Timers]:
    timers = Timers([one], folder, calls, clock)
    timers.start()
    try:
        await asyncio.wait_for(clock.sleeper_came.wait(), 5)
        yield timers
    finally:
        await timers.stop()


async def test_a_timer_fires_whenever_it_is_due(tmp_path: Path) -> None:
    calls, clock = Calls(), ManualClock()
    async with running(timer("0 */5 * * * *"), tmp_path, calls, clock):
        await clock.move(299)
        assert calls.triggers == []
        await clock.move(1)
        await clock.move(300)

    assert len(calls.triggers) == 2
    assert calls.triggers[1]["IsPastDue"] is False
    assert calls.triggers[1]["ScheduleStatus"]["Last"] == "2026-11-24T10:05:00+00:00"
    assert calls.triggers[1]["ScheduleStatus"]["Next"] == "2026-11-24T10:10:00+00:00"


async def test_a_run_missed_while_the_host_was_down_is_made_up_for(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(timer("0 0 * * * *"), tmp_path, Calls(), clock):
        pass
    later = ManualClock()
    later._now = START + timedelta(hours=2, minutes=30)
    calls = Calls()

    async with running(timer("0 0 * * * *"), tmp_path, calls, later):
        pass

    assert [trigger["IsPastDue"] for trigger in calls.triggers] == [True]


async def test_a_timer_without_a_monitor_forgets_what_it_missed(tmp_path: Path) -> None:
    for now in (START, START + timedelta(hours=3)):
        clock, calls = ManualClock(), Calls()
        clock._now = now
        async with running(timer("0 0 * * * *", useMonitor=False), tmp_path, calls, clock):
            pass
        assert calls.triggers == []


async def test_a_timer_that_fires_more_than_once_a_minute_has_no_schedule_status(tmp_path: Path) -> None:
    calls, clock = Calls(), ManualClock()
    async with running(timer("*/20 * * * * *"), tmp_path, calls, clock):
        await clock.move(20)

    assert calls.triggers == [{"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}]


async def test_run_on_startup_runs_at_every_start(tmp_path: Path) -> None:
    calls = Calls()
    for _ in range(2):
        async with running(timer("0 0 0 1 1 *", runOnStartup=True), tmp_path, calls, ManualClock()):
            pass

    assert [trigger["IsPastDue"] for trigger in calls.triggers] == [False, False]


async def test_a_failed_run_does_not_end_the_timer(tmp_path: Path) -> None:
    calls, clock = Calls(), ManualClock()
    calls.fails = True
    async with running(timer("00:01:00"), tmp_path, calls, clock):
        await clock.move(60)
        await clock.move(60)

    assert len(calls.triggers) == 2
