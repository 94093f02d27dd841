"""Where proxied calls are stored until they are logged, and the ledger of those that were.

    unlogged/calls/<call id>               one small block blob, put whole each time, conditional on its ETag
    accepted/<UTC date>/<worker>-<number>  append blobs of ids, one a line; many lines an append

In the container of the journals, over plain REST: this stands between the model's first byte and the caller.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from adapters.append_blobs import AppendBlobs
from adapters.blob_journal import BlobJournal
from adapters.blob_requests import refusal
from chat.call_logging import StoredCall
from chat.errors import JournalMissing, JournalMoved
from chat.journal_writer import Clock

CALLS = "unlogged/calls/"
LEDGER = "accepted/"
TIMEOUT_S = 10.0
LARGEST_LEDGER_BLOCKS = 40_000  # an append blob takes 50,000 appends


class BlobCallStore:
    """The calls in the container of a journal. `worker_id` names this process in the ledger."""

    def __init__(self, journal: BlobJournal, worker_id: str, clock: Clock) -> None:
        self._journal = journal
        self._requests = journal.requests
        self._appends = AppendBlobs(journal.requests)
        self._worker_id = worker_id
        self._clock = clock
        self._ledger = ""
        self._blocks = 0
        self._number = 0
        self._lock = asyncio.Lock()

    async def put(self, call_id: str, data: bytes, version: str | None) -> str:
        """Store it over this version, None for a new one; the new version. Raises JournalMoved, JournalMissing."""
        await self._journal.prepare()
        status, answer = await self._put(call_id, data, version)
        if status == 404 and answer.get("x-ms-error-code") == "ContainerNotFound":
            await self._journal.prepare(again=True)
            status, answer = await self._put(call_id, data, version)
        if status == 409 and answer.get("x-ms-error-code") == "BlobAlreadyExists":
            raise JournalMoved("The call is stored already.")
        if status != 201:
            raise refusal(status, answer)
        return answer["ETag"]

    async def _put(self, call_id: str, data: bytes, version: str | None) -> tuple[int, Mapping[str, str]]:
        condition = {"If-None-Match": "*"} if version is None else {"If-Match": version}
        headers = {"x-ms-blob-type": "BlockBlob", **condition}
        status, answer, _ = await self._requests.send_once("PUT", CALLS + call_id, {}, headers, data, TIMEOUT_S)
        return status, answer

    async def read(self, call_id: str) -> StoredCall:
        """What is stored of a call. Raises JournalMissing."""
        status, answer, body = await self._requests.send("GET", CALLS + call_id, {}, {}, b"", TIMEOUT_S)
        if status != 200:
            raise refusal(status, answer)
        # Both by the service's clock: a worker's own may be minutes away from that of the one who wrote.
        silent = parsedate_to_datetime(answer["Date"]) - parsedate_to_datetime(answer["Last-Modified"])
        return StoredCall(call_id, body, answer["ETag"], round(1000 * silent.total_seconds()))

    async def delete(self, call_id: str, version: str) -> None:
        """Delete this version; that it is gone already is no error. Raises JournalMoved."""
        headers = {"If-Match": version}
        status, answer, _ = await self._requests.send_once("DELETE", CALLS + call_id, {}, headers, b"", TIMEOUT_S)
        if status not in (202, 404):
            raise refusal(status, answer)

    async def note_logged(self, call_ids: Sequence[str]) -> None:
        """Put calls on the ledger. Twice is no error."""
        lines = "".join(f"{call_id}\n" for call_id in call_ids).encode()
        async with self._lock:
            try:
                await self._appends.append(await self._current_ledger(), lines, None, TIMEOUT_S)
            except JournalMissing:  # somebody deleted it
                self._ledger = ""
                await self._appends.append(await self._current_ledger(), lines, None, TIMEOUT_S)
            self._blocks += 1

    async def calls(self) -> AsyncIterator[str]:
        """The ids of all calls that are stored."""
        async for name in self._journal.names(CALLS):
            yield name.removeprefix(CALLS)

    async def logged(self, since: datetime) -> AsyncIterator[str]:
        """The ids on the ledgers from that day on."""
        async for name in self._journal.names(LEDGER):
            if name.removeprefix(LEDGER)[:10] >= since.astimezone(UTC).date().isoformat():
                try:
                    lines = await self._appends.read(name, 0, TIMEOUT_S)
                except JournalMissing:
                    continue  # deleted since it was listed
                for line in lines.decode().split():
                    yield line

    async def _current_ledger(self) -> str:
        """Today's blob of this worker, made when it is needed first; another one before it is full."""
        day = datetime.fromtimestamp(self._clock.now() / 1000, UTC).date().isoformat()
        if not self._ledger.startswith(LEDGER + day) or self._blocks >= LARGEST_LEDGER_BLOCKS:
            self._number += 1
            name = f"{LEDGER}{day}/{self._worker_id}-{self._number}"
            await self._journal.prepare()
            await self._appends.create(name, TIMEOUT_S)
            self._ledger, self._blocks = name, 0
        return self._ledger
