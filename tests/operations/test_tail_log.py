"""Tailing: one line a record, a summary by model, copies counted once."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.event_hub_reader import LoggedRecord
from adapters.settings import Settings
from chat.errors import MissingSetting
from operations.tail_log import COLUMNS, line_of, prices_of, tail

WHEN = datetime(2026, 1, 31, tzinfo=UTC)


class Records:
    """A hub that has these."""

    def __init__(self, *records: tuple[str, Any]) -> None:
        self._records = records

    async def records(self, since: datetime | None, *, follow: bool) -> AsyncIterator[LoggedRecord]:
        for message_id, value in self._records:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            yield LoggedRecord(message_id, body, WHEN)


def call(**changes: Any) -> dict[str, Any]:
    basis = {
        "type": "completion",
        "status": "completed",
        "model": "gpt-4o-mini-2024-07-18",
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 500},
        "latency_ms": 100,
        "timestamp": "2026-01-31T12:00:00.123Z",
        "caller": "team-a",
        "region": "Japan East",
    }
    return basis | changes


async def shown(capsys: pytest.CaptureFixture[str], *records: tuple[str, Any], as_json: bool = False) -> list[str]:
    prices = json.dumps({"gpt-4o-mini": {"prompt": 1, "completion": 2}})
    reader: Any = Records(*records)
    await tail(reader, Settings.from_environment({"MODEL_PRICES": prices}), None, follow=False, as_json=as_json)
    return capsys.readouterr().out.splitlines()


async def test_a_record_is_a_line_and_all_of_them_a_summary(capsys: pytest.CaptureFixture[str]):
    failed = call(status="failed", model="unknown", usage=None, time_to_first_chunk_ms=None)
    heading, first, second, summary, *models = await shown(capsys, ("1", call()), ("2", failed), ("1", call()))

    assert heading.split()[0] == "time"
    for cell in (
        "12:00:00.123",
        "completion",
        "completed",
        "team-a",
        "100 ms",
        "1000",
        "500",
        "0.002000",
        "Japan East",
    ):
        assert cell in first
    assert "failed" in second
    assert summary == "2 records (1 copies more): 1 completed, 1 failed"
    assert models[0].startswith(
        "  gpt-4o-mini-2024-07-18: 1, 100 ms on average, 1000 tokens in, 500 out, cost 0.002000"
    )
    assert models[1].startswith("  unknown: 1, ")
    assert "MODEL_PRICES" in models[1]


async def test_json_is_the_record_with_its_id_and_its_cost(capsys: pytest.CaptureFixture[str]):
    (line,) = await shown(capsys, ("1", call()), ("1", call()), as_json=True)
    extra = {"_id": "1", "_enqueued": WHEN.isoformat(), "_cost": pytest.approx(0.002)}
    assert json.loads(line) == call() | extra


@pytest.mark.parametrize("foreign", [b"\xff\x00", b"5", b"{", b"[1]"])
async def test_what_somebody_else_wrote_is_shown_as_what_it_is(capsys: pytest.CaptureFixture[str], foreign: bytes):
    lines = await shown(capsys, ("x", foreign), ("1", call()))
    assert "(not a record)" in lines[1]
    assert "completed" in lines[2]


def test_a_cell_that_is_too_long_ends_in_an_ellipsis():
    cells = ["x" * 50] * len(COLUMNS)
    assert [len(part) for part in line_of(cells).split("  ")] == [width for _, width, _ in COLUMNS]


def test_a_price_table_that_makes_no_sense_names_its_setting():
    with pytest.raises(MissingSetting, match="MODEL_PRICES"):
        prices_of(Settings.from_environment({"MODEL_PRICES": "5"}))
