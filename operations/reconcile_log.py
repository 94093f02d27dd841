"""Reconciling: every turn and every proxied call accepted in a time range, held against the records in the hub."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.blob_journal import BlobJournal
from adapters.call_store import BlobCallStore
from adapters.event_hub_reader import EventHubReader
from chat.errors import JournalMissing
from chat.journal import Fold, read_journal
from chat.log_record import message_id
from chat.reconciliation import Reconciliation
from chat.turn import TurnStatus

TURNS = "turns/"
READ_AT_ONCE = 32
SHOWN = 20  # ids of a kind; --json has all
CLOCKS_DIFFER = timedelta(minutes=5)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_CALL = re.compile(r"call-([0-9a-f]{12})-[0-9a-f]+\Z")
_TURN = re.compile(r"turn-.+\.end\Z")  # message_id of a turn


async def reconcile(
    reader: EventHubReader,
    journal: BlobJournal,
    calls: BlobCallStore,
    since: datetime | None,
    until: datetime | None,
    *,
    as_json: bool,
) -> int:
    """Print what is missing or doubled; 0 when nothing is missing and no two copies differ, else 1."""
    since, until = since or BEGINNING, until or datetime.now(UTC)
    found = Reconciliation()
    # In the way that a call goes, from its blob over the ledger to the hub: what moves on meanwhile is met once more,
    # and what counts as logged is in the hub when the hub is read.
    async for call_id in calls.calls():
        if _is_within(call_id, since, until):
            found.expect([call_id])
    async for call_id in calls.logged(since):
        if _is_within(call_id, since, until):
            found.expect_logged([call_id])
    async for fold in _turns(journal):
        if fold.begin is not None:
            _expect_turn(found, fold, since <= _time(fold.begin.at) < until)
    # Clocks differ: a record may seem to have come before its call.
    start = since - CLOCKS_DIFFER if since > BEGINNING else None
    async for logged in reader.records(start, follow=False):
        if _is_within(logged.message_id, since, until) or _TURN.match(logged.message_id):
            found.see(logged.message_id, logged.body)
    print(json.dumps(as_dict(found, since, until)) if as_json else report(found, since, until))
    return 0 if found.sound else 1


def _expect_turn(found: Reconciliation, fold: Fold, is_within: bool) -> None:
    assert fold.begin is not None
    ids = [message_id(fold.begin.turn_id)]
    if not is_within or fold.status is TurnStatus.REJECTED:
        found.leave_out(ids)
    elif fold.logged:
        found.expect_logged(ids)
    else:
        found.expect(ids)


async def _turns(journal: BlobJournal) -> AsyncIterator[Fold]:
    """The journals of all turns, some read at a time."""
    reading: set[asyncio.Task[Fold | None]] = set()
    async for name in journal.names(TURNS):
        reading.add(asyncio.create_task(_read(journal, name.rpartition("/")[2])))
        if len(reading) >= READ_AT_ONCE:
            done, reading = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for fold in [task.result() for task in done]:
                if fold is not None:
                    yield fold
    for task in reading:
        if (fold := await task) is not None:
            yield fold


async def _read(journal: BlobJournal, turn_id: str) -> Fold | None:
    try:
        return await read_journal(journal, turn_id)
    except JournalMissing:
        return None  # created and not begun, or deleted since it was listed


def _is_within(call_id: str, since: datetime, until: datetime) -> bool:
    """Whether this is the id of a call that was accepted in this time, which it tells."""
    call = _CALL.match(call_id)
    return call is not None and since <= _time(int(call[1], 16)) < until


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def as_dict(found: Reconciliation, since: datetime, until: datetime) -> dict[str, Any]:
    """Everything that was found, for programs."""
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "accepted": len(found.accepted),
        "accepted_ids": sorted(found.accepted),
        "records": found.records,
        "missing": found.missing,
        "waiting": found.waiting,
        "different": found.different,
        "copies": found.doubled,
        "unknown": found.unknown,
        "sound": found.sound,
    }


def report(found: Reconciliation, since: datetime, until: datetime) -> str:
    """The same in words."""
    lines = [f"Accepted from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC: {len(found.accepted)}"]
    lines.append(f"Records in the hub, each counted once: {found.records}")
    for ids, words in (
        (found.missing, "missing: accepted, logged by their own account, and not in the hub"),
        (found.different, "different: several records of one id that are not equal"),
        (found.waiting, "waiting: not logged yet; the sweeper sends them"),
        (found.unknown, "unknown: in the hub, and nothing tells of their acceptance in this time"),
        (list(found.doubled), "sent more than once, and equal: readers drop copies by their id"),
    ):
        if ids:
            lines.append(f"{len(ids)} {words}")
            lines += [f"  {record_id}" for record_id in ids[:SHOWN]]
            if len(ids) > SHOWN:
                lines.append(f"  and {len(ids) - SHOWN} more; --json names all")
    lines.append("Sound: nothing is missing, nothing contradicts itself." if found.sound else "NOT SOUND.")
    return "\n".join(lines)
