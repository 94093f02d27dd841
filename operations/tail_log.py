"""Tailing the log: one line a record, with what it took and what it cost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapters.event_hub_reader import EventHubReader, LoggedRecord
from adapters.settings import Settings
from chat.errors import MissingSetting
from chat.model_prices import ModelPrices, tokens_of

REMEMBERED = 100_000  # ids of records that were shown: a copy comes soon, or never
# Heading, width, and whether it stands at the right.
COLUMNS = (
    ("time", 12, False),
    ("type", 17, False),
    ("status", 11, False),
    ("model", 24, False),
    ("caller", 12, False),
    ("latency", 8, True),
    ("first", 7, True),
    ("in", 7, True),
    ("out", 6, True),
    ("cost", 9, True),
    ("region", 14, False),
)


@dataclass(slots=True)
class ModelTotals:
    """What the calls of one model came to."""

    records: int = 0
    given: int = 0
    written: int = 0
    cost: float = 0.0
    unpriced: int = 0
    latency_ms: int = 0

    def add(self, record: Mapping[str, Any], cost: float | None) -> None:
        given, written, _ = tokens_of(record.get("usage"))
        latency = record.get("latency_ms")
        self.records += 1
        self.given += given
        self.written += written
        self.cost += cost or 0.0
        self.unpriced += cost is None
        self.latency_ms += latency if isinstance(latency, int) else 0


@dataclass(slots=True)
class Totals:
    """What a summary says."""

    records: int = 0
    copies: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    by_model: dict[str, ModelTotals] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any], cost: float | None) -> None:
        status = str(record.get("status"))
        self.records += 1
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.by_model.setdefault(str(record.get("model")), ModelTotals()).add(record, cost)


async def tail(
    reader: EventHubReader, settings: Settings, since: datetime | None, *, follow: bool, as_json: bool
) -> None:
    """Print records as they come, or without `follow` those that are there, by the time at which the hub took them. A
    copy of one that was printed is counted, not printed again."""
    prices, totals, seen = prices_of(settings), Totals(), dict[str, None]()
    if not as_json:
        print(line_of([heading for heading, _, _ in COLUMNS]))
    async for logged in reader.records(since, follow=follow):
        if logged.message_id in seen:
            totals.copies += 1
            continue
        seen[logged.message_id] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        record = record_of(logged)
        cost = prices.cost(str(record.get("model")), record.get("usage"))
        totals.add(record, cost)
        if as_json:
            extra = {"_id": logged.message_id, "_enqueued": logged.enqueued_at.isoformat(), "_cost": cost}
            print(json.dumps(record | extra, ensure_ascii=False), flush=True)
        else:
            print(line_of(row_of(record, cost)), flush=True)
    if not as_json:
        print(summary_of(totals))


def prices_of(settings: Settings) -> ModelPrices:
    """The price table. Raises MissingSetting when it cannot be understood."""
    try:
        return ModelPrices(settings.model_prices)
    except ValueError as error:
        raise MissingSetting("MODEL_PRICES", str(error)) from None


def record_of(logged: LoggedRecord) -> dict[str, Any]:
    """The record in an event; what is none (somebody else writes into this hub) is shown as what it is."""
    try:
        record = json.loads(logged.body)
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {"type": "(not a record)", "status": "?"}


def row_of(record: Mapping[str, Any], cost: float | None) -> list[str]:
    """The cells of a record; what it does not tell stays empty."""
    given, written, _ = tokens_of(record.get("usage"))
    return [
        str(record.get("timestamp", ""))[11:23],
        str(record.get("type", "")),
        str(record.get("status", "")),
        str(record.get("model", "")),
        str(record.get("caller") or record.get("conversation_id") or ""),
        _milliseconds(record.get("latency_ms")),
        _milliseconds(record.get("time_to_first_chunk_ms")),
        str(given) if record.get("usage") else "",
        str(written) if record.get("usage") else "",
        "" if cost is None else f"{cost:.6f}",
        str(record.get("region", "")),
    ]


def line_of(cells: list[str]) -> str:
    """The cells in columns; a cell that is too long ends in an ellipsis."""
    parts = []
    for cell, (_, width, right) in zip(cells, COLUMNS, strict=True):
        shown = cell if len(cell) <= width else cell[: width - 1] + "…"
        parts.append(shown.rjust(width) if right else shown.ljust(width))
    return "  ".join(parts).rstrip()


def summary_of(totals: Totals) -> str:
    """What all of it came to, model by model."""
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(totals.by_status.items()))
    copies = f" ({totals.copies} copies more)" if totals.copies else ""
    lines = [f"{totals.records} records{copies}: {statuses or 'none'}"]
    for model, of in sorted(totals.by_model.items()):
        unpriced = f", {of.unpriced} of them without usage or a price in MODEL_PRICES" if of.unpriced else ""
        lines.append(
            f"  {model}: {of.records}, {of.latency_ms // of.records} ms on average, "
            f"{of.given} tokens in, {of.written} out, cost {of.cost:.6f}{unpriced}"
        )
    return "\n".join(lines)


def _milliseconds(value: Any) -> str:
    return f"{value} ms" if isinstance(value, int) else ""
