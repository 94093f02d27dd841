"""The storage account: its tables, the queue of its writes, and its clock.

Operations read through `committed`, which sees what is on disk and nothing else, and write through `write`.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from stand_in.blob_storage.group_commit import GroupCommit
from stand_in.blob_storage.requests import etag_text, http_date
from stand_in.blob_storage.sqlite_blobs import Revision, SqliteBlobs, open_database

T = TypeVar("T")
Clock = Callable[[], float]  # seconds since 1970


class Account:
    """One account in one folder. Belongs to one event loop."""

    def __init__(self, state_dir: Path, clock: Clock = time.time) -> None:
        self.clock = clock
        writing = SqliteBlobs(open_database(state_dir))
        self.committed = SqliteBlobs(open_database(state_dir))
        self._writing = writing
        self._commits = GroupCommit(writing)
        self._last_etag = writing.find_last_etag()

    async def write(self, operation: Callable[[SqliteBlobs], T]) -> T:
        """Run the operation in the next commit; return what it returned when that is on disk."""
        return await self._commits.write(operation)

    def next_revision(self) -> Revision:
        """For the thing that is being written. Etags rise even if the clock does not."""
        now = int(self.clock() * 1_000_000)
        self._last_etag = max(self._last_etag + 1, now)
        return Revision(self._last_etag, now)

    async def close(self) -> None:
        """Answer what was accepted, then let go of the files."""
        await self._commits.close()
        with closing(self._writing.connection), closing(self.committed.connection):
            self._writing.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def revision_headers(revision: Revision) -> dict[str, str]:
    """How an answer tells what a write left behind."""
    return {"ETag": etag_text(revision.etag), "Last-Modified": http_date(revision.modified)}
