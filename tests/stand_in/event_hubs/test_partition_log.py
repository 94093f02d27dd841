"""The log on its own: order, commits, and what is left after a roll-back."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from stand_in.event_hubs.events import NewEvent
from stand_in.event_hubs.partition_log import Hub, LastEvent, PartitionLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PartitionLog]:
    opened = PartitionLog(tmp_path / "events.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def hub(log: PartitionLog) -> Hub:
    created = log.create_hub("logs", 2, 1000)
    log.commit()
    return created


def event(body: bytes) -> NewEvent:
    return NewEvent(None, b"", b"\xc1\x01\x00", body)


def test_sequence_numbers_count_in_each_partition(log: PartitionLog, hub: Hub) -> None:
    log.append(hub, 0, [event(b"a"), event(b"b")], 1000)
    log.append(hub, 1, [event(b"c")], 1000)
    log.append(hub, 0, [event(b"d")], 1001)

    assert log.commit() == {(hub.hub_id, 0), (hub.hub_id, 1)}
    assert [(e.sequence_number, e.event.tail) for e in log.read(hub, 0, 0, 10)] == [(0, b"a"), (1, b"b"), (2, b"d")]
    assert [(e.sequence_number, e.event.tail) for e in log.read(hub, 0, 1, 1)] == [(1, b"b")]
    assert [e.sequence_number for e in log.read(hub, 1, 0, 10)] == [0]


def test_what_was_not_committed_is_not_there_for_others(log: PartitionLog, hub: Hub, tmp_path: Path) -> None:
    log.append(hub, 0, [event(b"a")], 1000)
    other = PartitionLog(tmp_path / "events.sqlite3")

    assert other.read(hub, 0, 0, 10) == []
    log.commit()
    assert len(other.read(hub, 0, 0, 10)) == 1
    other.close()


def test_after_a_roll_back_the_numbers_go_on_where_they_were(log: PartitionLog, hub: Hub) -> None:
    log.append(hub, 0, [event(b"a")], 1000)
    log.commit()
    log.append(hub, 0, [event(b"lost")], 1000)
    log.roll_back()
    log.append(hub, 0, [event(b"b")], 1000)
    log.commit()

    assert [(e.sequence_number, e.event.tail) for e in log.read(hub, 0, 0, 10)] == [(0, b"a"), (1, b"b")]


def test_a_batch_that_fails_half_way_leaves_nothing_after_the_roll_back(log: PartitionLog, hub: Hub) -> None:
    broken = NewEvent(None, b"", b"", None)  # type: ignore[arg-type]  # the database does not take it

    with pytest.raises((sqlite3.Error, TypeError)):
        log.append(hub, 0, [event(b"a"), broken], 1000)
    log.roll_back()

    assert log.last_event(hub, 0) == LastEvent()


def test_times_never_go_back_in_a_partition(log: PartitionLog, hub: Hub) -> None:
    """A clock that was set back would break starting positions by time."""
    for now in (1000, 900, 1100):
        log.append(hub, 0, [event(b"a")], now)

    assert [e.enqueued_ms for e in log.read(hub, 0, 0, 10)] == [1000, 1000, 1100]


def test_a_place_is_found_by_offset_and_by_time(log: PartitionLog, hub: Hub) -> None:
    for number in range(4):
        log.append(hub, 0, [event(b"x" * 97)], 1000 + number)

    assert [e.offset for e in log.read(hub, 0, 0, 10)] == [0, 100, 200, 300]
    assert log.first_from_offset(hub, 0, 101) == 2
    assert log.first_from_offset(hub, 0, 301) is None
    assert log.first_from_time(hub, 0, 1003) == 3
    assert log.first_from_time(hub, 1, 0) is None


def test_a_reopened_log_goes_on(log: PartitionLog, hub: Hub, tmp_path: Path) -> None:
    log.append(hub, 0, [event(b"x" * 97), event(b"y" * 97)], 1000)
    log.commit()
    reopened = PartitionLog(tmp_path / "events.sqlite3")

    assert reopened.find_hub("LOGS") == hub
    assert reopened.find_hub("none") is None
    assert reopened.last_event(hub, 0) == LastEvent(1, 100, 1000)
    reopened.close()
