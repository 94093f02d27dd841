"""Group commit: many writes, one fsync, and no acknowledgement before it.

Writes are functions that run their statements on the writer's connection and return what the client is told, or raise
a BlobStorageError. The loop runs all that are waiting inside one transaction; a thread of its own commits it, so that
the next requests are read meanwhile; then everybody is answered at once. A refused write waits for the commit too: what
it saw may be its neighbour's write, and an answer must not tell of what a crash can still undo.

The statements run on the loop, not on the thread: each of them releases the interpreter's lock, and a thread that asks
for it back from a busy loop waits for up to its switch interval, for every statement anew.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from stand_in import crash_points
from stand_in.blob_storage.errors import BlobStorageError, InternalError
from stand_in.blob_storage.sqlite_blobs import SqliteBlobs

logger = logging.getLogger(__name__)
T = TypeVar("T")
Outcome = tuple[Any, BaseException | None]


class GroupCommit:
    """The writer's connection and the queue in front of it. Belongs to one event loop."""

    def __init__(self, blobs: SqliteBlobs) -> None:
        self._blobs = blobs
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="blob-commit")
        self._waiting: list[tuple[Callable[[SqliteBlobs], Any], asyncio.Future[Any]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def write(self, operation: Callable[[SqliteBlobs], T]) -> T:
        """Run the operation; return, or raise, what it did once that is on disk."""
        if self._closed:
            raise InternalError("The emulator is stopping.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._drain())
        return await future

    async def close(self) -> None:
        """Finish what is waiting; refuse what comes after."""
        self._closed = True
        if self._worker is not None:
            await self._worker
        self._thread.shutdown()

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            outcomes = await self._commit([operation for operation, _ in batch])
            for (_, future), (result, error) in zip(batch, outcomes, strict=True):
                if future.done():  # its client is gone
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
        self._worker = None

    async def _commit(self, operations: list[Callable[[SqliteBlobs], Any]]) -> list[Outcome]:
        connection = self._blobs.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            changes = connection.total_changes
            outcomes = [self._run(operation) for operation in operations]
            changed = connection.total_changes > changes
            if changed:
                crash_points.before_commit()
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.commit)
            if changed:
                crash_points.after_commit()
        except Exception as error:
            # One write of the batch, or the disk, failed in a way that nobody foresaw: none of them happened.
            logger.exception("A batch of writes was rolled back.")
            if connection.in_transaction:
                connection.rollback()
            reason = f"The write was rolled back: {type(error).__name__}."
            return [(None, InternalError(reason)) for _ in operations]
        return outcomes

    def _run(self, operation: Callable[[SqliteBlobs], Any]) -> Outcome:
        """A refusal is an outcome: operations decide before they write, so there is nothing to take back."""
        try:
            return operation(self._blobs), None
        except BlobStorageError as refusal:
            return None, refusal
