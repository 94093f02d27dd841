"""Timer schedules: NCRONTAB expressions and intervals."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stand_in.host.timer_schedule import Cron, parse_schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ("0 */5 * * * *", "2026-11-24T10:00:00", "2026-11-24T10:05:00"),
        ("0 */5 * * * *", "2026-11-24T10:04:59.999", "2026-11-24T10:05:00"),
        ("*/20 * * * * *", "2026-11-24T10:00:45", "2026-11-24T10:01:00"),
        ("*/5 * * * *", "2026-11-24T10:01:00", "2026-11-24T10:05:00"),
        ("0 0 0 1 1 *", "2026-11-24T10:00:00", "2027-01-01T00:00:00"),
        ("0 30 9 * * Mon-Fri", "2026-11-27T10:00:00", "2026-11-30T09:30:00"),
        ("0 0 0 * * 7", "2026-11-24T00:00:00", "2026-11-29T00:00:00"),
        ("0 0 0 29 Feb *", "2026-11-24T00:00:00", "2028-02-29T00:00:00"),
        ("10-30/10 0 12 * Jan,Dec *", "2026-11-24T00:00:00", "2026-12-01T12:00:10"),
        ("0 0 0 13 * 5", "2026-11-24T00:00:00", "2027-08-13T00:00:00"),  # both the 13th and a Friday
        ("00:00:02", "2026-11-24T10:00:00", "2026-11-24T10:00:02"),
        ("1.00:00:00", "2026-11-24T10:00:00", "2026-11-25T10:00:00"),
    ],
)
def test_the_next_due_time_is_the_first_that_matches(schedule: str, after: str, due: str) -> None:
    assert parse_schedule(schedule).next_after(at(after)) == at(due)


def test_a_day_that_never_comes_is_never_due() -> None:
    assert parse_schedule("0 0 0 31 2 *").next_after(at("2026-11-24T00:00:00")) is None


@pytest.mark.parametrize(
    "text",
    [
        "not cron",
        "",
        "* * * *",
        "60 * * * * *",
        "* * 24 * * *",
        "0 0 0 0 * *",
        "5-1 * * * * *",
        "*/0 * * * * *",
        "00:00:00",
    ],
)
def test_what_is_no_schedule_is_refused_in_the_host_s_words(text: str) -> None:
    with pytest.raises(ValueError, match="was not recognized as a valid cron expression or timespan string"):
        parse_schedule(text)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.sets(st.integers(0, 59), min_size=1, max_size=3),
    st.sets(st.integers(0, 23), min_size=1, max_size=3),
    st.sets(st.integers(0, 6), min_size=1, max_size=3),
)
def test_nothing_due_is_skipped(moment: datetime, minutes: set[int], hours: set[int], weekdays: set[int]) -> None:
    """Between the moment and the due time no minute matches."""
    fields = [",".join(map(str, sorted(values))) for values in (minutes, hours, weekdays)]
    schedule = parse_schedule(f"0 {fields[0]} {fields[1]} * * {fields[2]}")
    assert isinstance(schedule, Cron)

    due = schedule.next_after(moment)

    assert due is not None
    assert due > moment
    step = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while step < due:
        assert not (step.minute in minutes and step.hour in hours and step.isoweekday() % 7 in weekdays)
        step += timedelta(minutes=1)
    assert due.minute in minutes
    assert due.hour in hours
    assert due.isoweekday() % 7 in weekdays
