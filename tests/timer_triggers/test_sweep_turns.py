"""sweep_turns: what was left behind is closed, told and logged, one turn whatever happens to another."""

import pytest

from chat import records
from chat.journal import read_journal
from chat.outcome import end_of_rejection
from chat.records import Claim, Stop
from tests.timer_triggers.left_behind import FIRST, KEY, NOW, SECOND, LeftBehind, Swept, begin, half_an_answer

MINUTE = 60_000


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> LeftBehind:
    return LeftBehind(monkeypatch)


async def test_a_failed_turn_gets_its_end_and_everybody_is_told(left: LeftBehind):
    instances = Swept(FIRST)
    await left.sweep(instances)
    fold = await read_journal(left.store, FIRST)
    assert fold.end is not None
    assert fold.end.error is not None
    assert (fold.text, fold.end.status, fold.end.error["code"], fold.logged) == ("Beca", "failed", "abandoned", True)
    assert [turn["answer"] for turn in instances.told] == ["Beca"]
    assert instances.woken == [(SECOND, FIRST)]
    assert len(left.log.events) == 1


async def test_a_turn_that_is_at_work_again_is_left_alone(left: LeftBehind):
    instances = Swept(FIRST, running=(FIRST,))
    await left.sweep(instances)
    assert (await read_journal(left.store, FIRST)).end is None
    assert instances.told == []


async def test_a_turn_that_cannot_be_swept_does_not_keep_the_others_from_it(left: LeftBehind):
    instances = Swept(FIRST, SECOND)
    instances.refused = {FIRST}
    await left.sweep(instances)
    assert not (await read_journal(left.store, FIRST)).logged
    assert (await read_journal(left.store, SECOND)).logged


async def test_a_source_that_fails_keeps_nobody_from_the_others(left: LeftBehind):
    left.store.marked = {FIRST}
    instances = Swept()

    def away(since: object) -> None:
        raise RuntimeError("The durable endpoint is away.")

    instances.failed_since = away  # type: ignore[assignment, method-assign]
    await left.sweep(instances)
    assert left.store.marked == set()


async def test_a_marker_goes_when_its_record_is_delivered(left: LeftBehind):
    left.store.marked = {FIRST}
    await left.sweep(Swept())
    assert left.store.marked == set()
    assert (await read_journal(left.store, FIRST)).logged


# Begun and never started: what nobody ever looks at is found by the line that counted it.


def begun(left: LeftBehind, turn: str, *records_after: records.Record, ago: int = 10 * MINUTE) -> None:
    left.store.blobs = {turn: records.encode(begin(turn), *records_after)}
    left.store.orders = {}
    left.counted(turn, ago)


async def test_a_turn_that_was_begun_and_never_started_takes_its_place_and_is_started(left: LeftBehind):
    begun(left, FIRST)
    instances = Swept(unknown=(FIRST,))
    await left.sweep(instances)
    assert instances.started == [FIRST]
    assert left.store.orders == {KEY: [FIRST]}
    assert (await read_journal(left.store, FIRST)).end is None, "nobody closes it: its starter may still answer 202"


async def test_a_turn_whose_instance_was_purged_in_mid_answer_is_started_again(left: LeftBehind):
    begun(left, FIRST, Claim("run-1", 1, 1))
    instances = Swept(unknown=(FIRST,))
    await left.sweep(instances)
    assert instances.started == [FIRST]


async def test_a_turn_whose_instance_was_purged_before_it_was_logged_is_logged(left: LeftBehind):
    begun(left, FIRST, Claim("run-1", 1, 1), Stop(2))
    left.store.orders = {KEY: [FIRST]}
    instances = Swept(unknown=(FIRST,))
    await left.sweep(instances)
    fold = await read_journal(left.store, FIRST)
    assert fold.end is not None
    assert (fold.end.status, fold.logged, instances.started) == ("stopped", True, [])


async def test_a_turn_that_was_begun_just_now_is_left_to_its_starter(left: LeftBehind):
    begun(left, FIRST, ago=4 * MINUTE)
    instances = Swept(unknown=(FIRST,))
    await left.sweep(instances)
    assert instances.started == []


async def test_a_turn_that_runs_is_left_alone_however_long(left: LeftBehind):
    begun(left, FIRST, Claim("run-1", 1, 1), ago=600 * MINUTE)
    instances = Swept(running=(FIRST,))
    before = dict(left.store.blobs)
    await left.sweep(instances)
    assert (instances.started, left.store.blobs) == ([], before)


async def test_a_turn_that_was_counted_and_never_begun_is_looked_at_once(left: LeftBehind):
    left.store.blobs = {FIRST: b""}  # created, and then its starter died
    left.counted(FIRST, 10 * MINUTE)
    instances = Swept(unknown=(FIRST,))
    await left.sweep(instances)
    assert instances.started == []
    assert left.unsettled() == {}
    reads = left.store.reads
    await left.sweep(instances)
    assert left.store.reads == reads


async def test_a_turn_that_was_not_let_in_is_neither_started_nor_logged(left: LeftBehind):
    rejected = end_of_rejection(await read_journal(left.store, FIRST), "starter", NOW)
    begun(left, FIRST, rejected)
    instances = Swept(unknown=(FIRST,))
    await left.sweep(instances)
    assert (instances.started, left.log.events, left.unsettled()) == ([], [], {})


async def test_a_turn_that_finds_out_only_now_that_it_had_to_queue_gets_no_instance(left: LeftBehind):
    """Its starter died between `begin` and `admit`."""
    left.store.blobs = {FIRST: half_an_answer(FIRST), SECOND: records.encode(begin(SECOND, policy="reject"))}
    left.store.orders = {KEY: [FIRST]}
    left.counted(SECOND, 10 * MINUTE)
    instances = Swept(running=(FIRST,), unknown=(SECOND,))
    instances.started = [FIRST]
    await left.sweep(instances)
    end = (await read_journal(left.store, SECOND)).end
    assert end is not None
    assert (end.status, instances.started) == ("rejected", [FIRST])
    await left.sweep(instances)
    assert (left.unsettled(), left.log.events) == ({}, [])


async def test_a_look_over_turns_that_are_all_over_costs_one_listing_a_day(left: LeftBehind):
    begun(left, FIRST)
    await left.sweep(Swept(unknown=(FIRST,)))
    left.store.usage_reads = 0
    for _ in range(3):
        await left.sweep(Swept(running=(FIRST,)))
    assert left.store.usage_reads == 0


async def test_a_failed_turn_that_is_settled_is_not_read_again_by_the_sweeps_of_two_days(left: LeftBehind):
    await left.sweep(Swept(FIRST))
    reads = left.store.reads
    await left.sweep(Swept(FIRST))
    assert left.store.reads == reads
