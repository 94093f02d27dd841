"""Times: their texts, their order, and the quick reader that the SDK is given."""

from datetime import UTC, datetime

from dateutil.parser import parse
from hypothesis import given
from hypothesis import strategies as st

from stand_in.durable.sdk_timestamps import quick_parser
from stand_in.durable.timestamps import Clock, text, text_in_seconds, ticks

TICKS = st.integers(min_value=0, max_value=ticks("2999-12-31T23:59:59Z"))


def test_trailing_zeros_are_dropped():
    at = ticks("2026-01-02T03:04:05.1200000Z")

    assert text(at) == "2026-01-02T03:04:05.12Z"
    assert text(at, "+00:00") == "2026-01-02T03:04:05.12+00:00"
    assert text_in_seconds(at) == "2026-01-02T03:04:05Z"
    assert text(ticks("2026-01-02T03:04:05Z")) == "2026-01-02T03:04:05Z"


def test_other_zones_are_read():
    assert ticks("2026-01-02T03:04:05.5+09:00") == ticks("2026-01-01T18:04:05.5Z")
    assert ticks("2026-01-02T03:04:05") == ticks("2026-01-02T03:04:05Z")


@given(TICKS)
def test_a_time_survives_its_text(at: int):
    assert ticks(text(at)) == at


@given(TICKS)
def test_the_quick_reader_gives_what_the_sdks_own_parser_gives(at: int):
    slow, quick = parse(text(at)), quick_parser(parse)(text(at))

    assert quick == slow
    assert type(quick.tzinfo) is type(slow.tzinfo)
    assert str(quick) == str(slow)


def test_other_texts_go_to_the_sdks_own_parser():
    assert quick_parser(parse)("2 January 2026 03:04 UTC") == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def test_a_clock_never_gives_a_time_twice():
    clock = Clock(lambda: 1_000)

    assert [clock.next() for _ in range(3)] == [10, 11, 12]
    assert clock.now() == 10
