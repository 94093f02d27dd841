"""The hub is away for ten minutes, or an hour, of virtual time: then every record is there, once.

The orchestrator's own logging steps wait on timers and the sweeper comes by its schedule; both are driven by a clock
that jumps from one due time to the next.
"""

import heapq
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.write_log_record import write_log_record
from adapters import clients as app_clients
from chat import records
from chat.errors import LogUnavailable
from chat.journal import read_journal
from chat.outcome import end_of_giving_up
from chat.turn import turn_id
from orchestrators.chat_turn import log
from stand_in.host.timer_schedule import parse_schedule
from tests.doubles import CollectingLog
from tests.timer_triggers.left_behind import KEY, LeftBehind, Swept, half_an_answer

MINUTE = 60_000
SWEEPS = parse_schedule("0 */5 * * * *")


class HubWithOutage(CollectingLog):
    """Takes nothing between two times (milliseconds)."""

    def __init__(self, left: LeftBehind, begins: int, ends: int) -> None:
        super().__init__()
        self._clock, self._begins, self._ends = left.clock, begins, ends
        self.refused = 0

    async def send(self, body: bytes, *, message_id: str, partition_key: str) -> None:
        if self._begins <= self._clock.now() < self._ends:
            self.refused += 1
            raise LogUnavailable("away")
        await super().send(body, message_id=message_id, partition_key=partition_key)


class Orchestration:
    """The context of one turn's orchestration, as far as its last step uses it: activities run, timers are due."""

    def __init__(self, turn: str, now: int) -> None:
        self._steps = log(self, turn)
        self._now = now

    @property
    def current_utc_datetime(self) -> datetime:
        return datetime.fromtimestamp(self._now / 1000, UTC)

    def call_activity(self, name: str, argument: dict[str, Any]) -> tuple[str, Any]:
        assert name == "write_log_record"
        return name, argument

    def create_timer(self, at: datetime) -> tuple[str, Any]:
        return "timer", at

    def set_custom_status(self, status: dict[str, Any]) -> None: ...

    async def run(self, now: int) -> int | None:
        """Go on until the next timer; when that is due, or None when it is over."""
        self._now = now
        answer: Any = None
        try:
            while True:
                kind, argument = self._steps.send(answer)
                if kind == "timer":
                    due: datetime = argument
                    return round(due.timestamp() * 1000)
                answer = await write_log_record(argument)
        except StopIteration:
            return None


@pytest.mark.parametrize("outage", [10 * MINUTE, 60 * MINUTE])
async def test_when_the_hub_is_back_every_record_is_there_once(outage: int, monkeypatch: pytest.MonkeyPatch):
    left = LeftBehind(monkeypatch)
    start = left.clock.now()
    hub = HubWithOutage(left, start + MINUTE, start + MINUTE + outage)
    left.new_process(log=hub)
    monkeypatch.setattr(app_clients, "journal", lambda: left.store)
    monkeypatch.setattr(app_clients, "event_log", lambda: hub)
    monkeypatch.setattr(app_clients, "clock", left.clock)
    monkeypatch.setattr(app_clients, "settings", lambda: type("Settings", (), {"log_prompts": True}))
    turns = [turn_id(KEY, f"turn {number}", "") for number in range(120)]
    left.store.blobs, left.store.orders = {}, {KEY: turns}

    # What is due when: a turn ends every 10 s, the sweeper comes every five minutes.
    due: list[tuple[int, int, Any]] = [(start + 10_000 * n, n, turn) for n, turn in enumerate(turns)]
    heapq.heappush(due, (next_sweep(start), -1, "sweep"))
    instances = Swept()
    over = start + 20 * MINUTE + outage
    while due and due[0][0] <= over:
        at, number, what = heapq.heappop(due)
        left.clock.move(at - left.clock.now())
        if what == "sweep":
            await left.sweep(instances)
            heapq.heappush(due, (next_sweep(at), -1, "sweep"))
            continue
        if isinstance(what, str):
            left.store.blobs[what] = half_an_answer(what)
            fold = await read_journal(left.store, what)
            end = end_of_giving_up(fold, "given_up", "It was enough.", "close_turn", at)
            await left.store.append(KEY, what, records.encode(end), fold.position)
            what = Orchestration(what, at)
        again = await what.run(at)
        if again is not None:
            heapq.heappush(due, (again, number, what))

    assert hub.refused > len(turns) / 3
    assert sorted(message_id for message_id, _, _ in hub.events) == sorted({event[0] for event in hub.events})
    assert len(hub.events) == len(turns)
    assert {key for _, key, _ in hub.events} == {KEY}
    assert all([(await read_journal(left.store, turn)).logged for turn in turns])
    assert left.store.marked == set()


def next_sweep(now: int) -> int:
    moment = SWEEPS.next_after(datetime.fromtimestamp(now / 1000, UTC))
    assert moment is not None
    assert moment - datetime.fromtimestamp(now / 1000, UTC) <= timedelta(minutes=5)
    return round(moment.timestamp() * 1000)
