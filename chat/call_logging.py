"""Logging a proxied call: exactly one record of each, whatever becomes of it.

Each call has a small journal, one blob that holds its record as it would be if the worker died now:

    accept      the record says `running`; stored before a byte is passed on
    refresh     the same every few seconds, so that it tells what was delivered, and that somebody is at it
    finish      the record with its last status is stored first, and then sent
    forget      when Event Hubs has it: the call's id goes to the ledger, then its blob goes

So every call that was ever accepted has a blob or a line in the ledger: that is what the log is held against.

Every put after the first is made under the condition that nobody else wrote. So of a worker that only paused and a
sweeper that took the call for dead one decides, the other is told; and what is sent is always what is stored, so a
record that is sent twice is equal to the byte, under the call's id.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chat.errors import ChatError, JournalMissing, JournalMoved, LogUnavailable, MissingSetting, StorageUnavailable
from chat.proxied_call import RUNNING, aborted
from chat.record_size import encoded, fits

REFRESH_SECONDS = 10.0
DEAD_AFTER = 60_000  # ms without a refresh after which the worker of a call is taken for dead
# Tries to store the end of a call: about 30 s in all. Then the sweeper closes it with what was refreshed last.
STORE_WAITS = (0.1, 0.5, 2.0, 8.0, 20.0)
LARGEST_BATCH = 200  # records sent together; the hub's limit of bytes may make more batches of them
LARGEST_BATCH_BYTES = 4 * 1024 * 1024  # of it; one record alone may have a quarter of that
LARGEST_QUEUE_BYTES = 64 * 1024 * 1024  # that wait to be sent; what comes beyond is stored and left to the sweeper
LARGEST_STORED = 1024 * 1024  # what the Standard and Premium tiers of Event Hubs take

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredCall:
    """What is stored of a call: its record as JSON, and the version of the blob. `silent_ms`: how long ago it was
    written when it was read, by the one clock of the store."""

    call_id: str
    data: bytes
    version: str
    silent_ms: int = 0


class CallStore(Protocol):
    """Where calls are stored. Raises StorageUnavailable when nobody knows what was done."""

    async def put(self, call_id: str, data: bytes, version: str | None) -> str:
        """Store it over this version, None for a call that is not stored yet; the new version. Raises JournalMoved
        when another version is there, and perhaps JournalMissing when none is."""

    async def read(self, call_id: str) -> StoredCall:
        """Raises JournalMissing."""

    async def delete(self, call_id: str, version: str) -> None:
        """Delete this version. Raises JournalMoved; that it is gone already is no error."""

    async def note_logged(self, call_ids: Sequence[str]) -> None:
        """Put calls on the ledger: their records are with Event Hubs. Twice is no error."""

    def calls(self) -> AsyncIterator[str]:
        """The ids of all that are stored."""


class CallEventLog(Protocol):
    """Where records go. Raises LogUnavailable when they were not all accepted."""

    @property
    def max_bytes(self) -> int: ...

    async def send_all(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Send records, each with its message id."""


class Overtaken(ChatError):
    """This happened: somebody else, a sweeper, decided about this call."""


def body_of(record: dict[str, Any]) -> bytes:
    """The record as it is stored: no larger than any hub but the smallest takes, so that it is sent as it is."""
    return encoded(record, LARGEST_STORED)


class CallJournal:
    """What is stored of one call, by the worker that passes it on. One put at a time."""

    def __init__(self, store: CallStore, call_id: str) -> None:
        self._store = store
        self._call_id = call_id
        self._version: str | None = None
        self._lock = asyncio.Lock()

    async def accept(self, record: dict[str, Any]) -> None:
        """Store the call. Raises StorageUnavailable: it could not be logged, so it must not be made."""
        async with self._lock:
            self._version = await self._store.put(self._call_id, body_of(record), None)

    async def refresh(self, record: dict[str, Any]) -> None:
        """Store how far it is. Raises Overtaken; what storage did not take is made good by the next one."""
        async with self._lock:
            with contextlib.suppress(StorageUnavailable):
                await self._put(body_of(record))

    async def finish(self, record: dict[str, Any]) -> StoredCall | None:
        """Store the last record; None when storage did not take it, or when somebody else has decided."""
        data = body_of(record)
        async with self._lock:
            for wait in (*STORE_WAITS, None):
                try:
                    version = await self._put(data)
                except Overtaken:
                    logger.warning("A call was taken for dead while it went on.", extra={"call_id": self._call_id})
                    return None
                except StorageUnavailable:
                    if wait is None:
                        logger.warning("The end of a call was not stored.", extra={"call_id": self._call_id})
                        return None
                    await asyncio.sleep(wait)
                else:
                    return StoredCall(self._call_id, data, version)
        return None

    async def _put(self, data: bytes) -> str:
        """Put over our version. A put of ours whose answer was lost is known by its bytes or by its `running`."""
        while True:
            try:
                self._version = await self._store.put(self._call_id, data, self._version)
            except (JournalMoved, JournalMissing):
                there = await self._found()
                if there.data != data and json.loads(there.data)["status"] != RUNNING:
                    raise Overtaken(self._call_id) from None
                self._version = there.version
                if there.data == data:
                    return there.version
            else:
                return self._version

    async def _found(self) -> StoredCall:
        try:
            return await self._store.read(self._call_id)
        except JournalMissing:
            raise Overtaken(self._call_id) from None


class CallLog:
    """Writes down and sends what is finished, in the background of one process: no answer waits for its log."""

    def __init__(self, store: Callable[[], CallStore], event_log: Callable[[], CallEventLog]) -> None:
        self._store = store
        self._event_log = event_log
        self._queue: list[StoredCall] = []
        self._queued_bytes = 0
        self._finishing: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None

    def finish(self, journal: CallJournal, record: dict[str, Any]) -> None:
        """This is the call's last record. If the process dies before it is stored and sent, the sweeper goes on."""
        task = asyncio.create_task(self._finish(journal, record))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def drained(self) -> None:
        """Wait until everything was tried."""
        while self._finishing:
            await asyncio.wait(self._finishing)
        while self._sending is not None and not self._sending.done():
            await asyncio.wait({self._sending})

    async def _finish(self, journal: CallJournal, record: dict[str, Any]) -> None:
        stored = await journal.finish(record)
        if stored is None or self._queued_bytes + len(stored.data) > LARGEST_QUEUE_BYTES:
            return  # the sweeper's
        self._queue.append(stored)
        self._queued_bytes += len(stored.data)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._queue:
            batch = _first_batch(self._queue)
            del self._queue[: len(batch)]
            self._queued_bytes -= _size(batch)
            if not await deliver(self._store(), self._event_log, batch):
                # It is away: whatever waits is stored, and a later sweep finds it.
                self._queue.clear()
                self._queued_bytes = 0


def _first_batch(calls: Sequence[StoredCall]) -> list[StoredCall]:
    """As many as are sent together: so few bytes that they travel within the time that a send is given."""
    batch: list[StoredCall] = []
    for call in calls[:LARGEST_BATCH]:
        if batch and _size(batch) + len(call.data) > LARGEST_BATCH_BYTES:
            break
        batch.append(call)
    return batch


def _size(calls: Sequence[StoredCall]) -> int:
    return sum(len(call.data) for call in calls)


async def deliver(store: CallStore, event_log: Callable[[], CallEventLog], calls: Sequence[StoredCall]) -> bool:
    """Send the records of finished calls, then forget the calls. False when the hub did not take them."""
    try:
        await _send(event_log(), calls)
    except (LogUnavailable, MissingSetting) as error:
        logger.warning("The records of %s calls were not accepted: %s", len(calls), error)
        return False
    try:
        await store.note_logged([call.call_id for call in calls])
        await asyncio.gather(*(store.delete(call.call_id, call.version) for call in calls))
    except (StorageUnavailable, JournalMissing, JournalMoved) as error:
        # What is not forgotten is sent again by the sweeper, equal to the byte.
        logger.warning("Logged calls could not be forgotten yet: %s", error)
    return True


async def _send(log: CallEventLog, calls: Sequence[StoredCall]) -> None:
    """Raises LogUnavailable."""
    largest = log.max_bytes
    try:
        await log.send_all([(call.call_id, _fitting(call.data, largest)) for call in calls])
    except LogUnavailable:
        if log.max_bytes >= largest:
            raise
        # It has told only now that it takes less than hubs usually do.
        await log.send_all([(call.call_id, _fitting(call.data, log.max_bytes)) for call in calls])


def _fitting(data: bytes, largest: int) -> bytes:
    return data if fits(data, largest) else encoded(json.loads(data), largest)


@dataclass(frozen=True, slots=True)
class CallSweeper:
    """Closes and delivers what workers left behind."""

    store: CallStore
    event_log: Callable[[], CallEventLog]

    async def sweep(self) -> int:
        """Deliver all that is finished or dead; how many records were accepted."""
        delivered, found = 0, list[StoredCall]()
        async for call_id in self.store.calls():
            call = await self._finished(call_id)
            if call is not None:
                found.append(call)
            if len(batch := _first_batch(found)) < len(found) or len(found) == LARGEST_BATCH:
                if not await deliver(self.store, self.event_log, batch):
                    return delivered
                delivered += len(batch)
                del found[: len(batch)]
        if found and await deliver(self.store, self.event_log, found):
            delivered += len(found)
        return delivered

    async def _finished(self, call_id: str) -> StoredCall | None:
        """The call with its last record, written now if its worker is dead; None when it is not over, or gone."""
        try:
            call = await self.store.read(call_id)
            record = json.loads(call.data)
            if record["status"] != RUNNING:
                return call
            if call.silent_ms < DEAD_AFTER:
                return None
            data = body_of(aborted(record))
            version = await self.store.put(call_id, data, call.version)
        except (JournalMissing, JournalMoved):
            return None  # its worker was at it in this moment
        except StorageUnavailable as error:
            logger.warning("A call could not be swept: %s", error, extra={"call_id": call_id})
            return None
        except (ValueError, KeyError, TypeError):
            logger.error("What is stored of a call is no record.", extra={"call_id": call_id})
            return None
        return StoredCall(call_id, data, version)
