"""Timer schedules: a six-field CRON expression (second, minute, hour, day, month, day of week) or an interval.

NCRONTAB's rules: fields are `*`, numbers, names (`Jan`, `Mon`), ranges, lists, and steps (`*/5`, `10-30/5`); five
fields mean that the seconds are 0; day and day of week must *both* match; 0 and 7 are Sunday. An interval (`hh:mm:ss`)
counts from the last run. All times are UTC, as on Azure by default.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from stand_in.host.host_json import parse_timespan

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HORIZON = timedelta(days=366 * 8)  # a leap day that is also a given day of the week comes within 40 years; 8 is enough


class Schedule(Protocol):
    """When a timer is due."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first due time after `moment`, or None when there is none any more."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Due every so often, counted from the last run."""

    length: timedelta

    def next_after(self, moment: datetime) -> datetime | None:
        return moment + self.length


@dataclass(frozen=True, slots=True)
class Cron:
    """Due whenever all six fields match. Each field is the set of its values."""

    text: str
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def next_after(self, moment: datetime) -> datetime | None:
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        while day - moment < _HORIZON:
            if self._matches_day(day):
                found = self._first_time(day, start)
                if found is not None:
                    return found
            day += timedelta(days=1)
        return None

    def _matches_day(self, day: datetime) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _first_time(self, day: datetime, start: datetime) -> datetime | None:
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                last_of_minute = day.replace(hour=hour, minute=minute, second=59)
                if last_of_minute < start:
                    continue
                for second in sorted(self.seconds):
                    candidate = day.replace(hour=hour, minute=minute, second=second)
                    if candidate >= start:
                        return candidate
        return None


def parse_schedule(text: str) -> Schedule:
    """Read a schedule. Raises ValueError with the host's words for anything else."""
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) == 6:
        return _cron(text, fields)
    span = parse_timespan(text)
    if span is None or span <= timedelta(0):
        raise _not_recognized(text)
    return Interval(span)


def _not_recognized(text: str) -> ValueError:
    return ValueError(
        f"The schedule expression '{text}' was not recognized as a valid cron expression or timespan string."
    )


def _cron(text: str, fields: list[str]) -> Cron:
    try:
        weekdays = _field(fields[5], 0, 7, _DAYS, 0)
        return Cron(
            text,
            _field(fields[0], 0, 59),
            _field(fields[1], 0, 59),
            _field(fields[2], 0, 23),
            _field(fields[3], 1, 31),
            _field(fields[4], 1, 12, _MONTHS, 1),
            frozenset(day % 7 for day in weekdays),
        )
    except ValueError as error:
        raise _not_recognized(text) from error


def _field(text: str, low: int, high: int, names: tuple[str, ...] = (), first: int = 0) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        span, _, step_text = item.partition("/")
        step = int(step_text) if step_text else 1
        if step < 1:
            raise ValueError(item)
        if span == "*":
            start, end = low, high
        else:
            start_text, dash, end_text = span.partition("-")
            start = _number(start_text, names, first)
            end = _number(end_text, names, first) if dash else (high if step_text else start)
        if not low <= start <= end <= high:
            raise ValueError(item)
        values.update(range(start, end + 1, step))
    return frozenset(values)


def _number(text: str, names: tuple[str, ...], first: int) -> int:
    lowered = text.strip().lower()
    if lowered[:3] in names and lowered.isalpha():
        return names.index(lowered[:3]) + first
    if not lowered.isdigit():
        raise ValueError(text)
    return int(lowered)
