"""The emulator's tables: one function per statement of `statements.sql`, and the rows as values.

Two connections look at one file. The writer's sees what it wrote but did not commit yet, the reader's what is on disk:
with WAL and synchronous=FULL a commit becomes visible to readers when its fsync has returned, never before.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from stand_in.blob_storage.errors import BlobNotFound, ContainerNotFound

FILE_NAME = "blobs.sqlite"
FOLDER = Path(__file__).parent


def _named_statements(text: str) -> dict[str, str]:
    """`-- name: x` begins the statement x."""
    statements = {}
    for part in text.split("-- name: ")[1:]:
        name, _, statement = part.partition("\n")
        statements[name.strip()] = statement
    return statements


SQL = _named_statements((FOLDER / "statements.sql").read_text("utf-8"))


def open_database(state_dir: Path) -> sqlite3.Connection:
    """A connection in autocommit mode: whoever wants a transaction begins one."""
    # The committer's thread is not the loop's; they take turns (see group_commit.py).
    connection = sqlite3.connect(state_dir / FILE_NAME, isolation_level=None, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, not NORMAL: NORMAL leaves the last commits in the page cache until the next checkpoint.
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript((FOLDER / "schema.sql").read_text("utf-8"))
    return connection


@dataclass(frozen=True, slots=True)
class Revision:
    """What every write leaves on the thing it wrote: a new etag, and when."""

    etag: int
    modified: int  # microseconds since 1970


@dataclass(frozen=True, slots=True)
class Container:
    """A row of `containers`."""

    id: int
    name: str
    etag: int
    modified: int
    metadata_json: str

    @property
    def metadata(self) -> dict[str, str]:
        metadata: dict[str, str] = json.loads(self.metadata_json)
        return metadata


@dataclass(frozen=True, slots=True)
class Blob:
    """A row of `blobs`."""

    container_id: int
    id: int
    name: str
    blob_type: str
    size: int
    block_count: int
    etag: int
    created: int
    modified: int
    http_headers_json: str
    metadata_json: str

    @property
    def metadata(self) -> dict[str, str]:
        metadata: dict[str, str] = json.loads(self.metadata_json)
        return metadata

    @property
    def http_headers(self) -> dict[str, str]:
        http_headers: dict[str, str] = json.loads(self.http_headers_json)
        return http_headers


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A blob about to be stored: what a Blob has, without what storing it decides."""

    name: str
    blob_type: str
    size: int
    block_count: int
    http_headers: dict[str, str]
    metadata: dict[str, str]


class SqliteBlobs:
    """The statements, on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def _execute(self, statement: str, /, **values: Any) -> sqlite3.Cursor:
        return self.connection.execute(SQL[statement], values)

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """Let several reads see one state, whatever is committed meanwhile. Not to be held over an await."""
        self.connection.execute("BEGIN")
        try:
            yield self
        finally:
            self.connection.execute("COMMIT")

    # containers
    def insert_container(self, name: str, metadata: dict[str, str], revision: Revision) -> bool:
        """False when the name is taken."""
        cursor = self._execute(
            "insert_container",
            name=name,
            etag=revision.etag,
            modified=revision.modified,
            metadata=json.dumps(metadata),
        )
        return cursor.rowcount == 1

    def find_container(self, name: str) -> Container:
        row = self._execute("find_container", name=name).fetchone()
        if row is None:
            raise ContainerNotFound
        return Container(*row)

    def list_containers(self, first: str, limit: int) -> list[Container]:
        return [Container(*row) for row in self._execute("list_containers", first=first, limit=limit)]

    def update_container_metadata(self, container: Container, metadata: dict[str, str], revision: Revision) -> None:
        self._execute(
            "update_container_metadata",
            id=container.id,
            metadata=json.dumps(metadata),
            etag=revision.etag,
            modified=revision.modified,
        )

    def delete_container(self, container: Container) -> None:
        """With everything in it."""
        self._execute("delete_pieces_of_container", container_id=container.id)
        self._execute("delete_blobs_of_container", container_id=container.id)
        self._execute("delete_staged_blocks_of_container", container_id=container.id)
        self._execute("delete_container", id=container.id)

    # blobs
    def look_for_blob(self, container: str, name: str) -> tuple[int, Blob | None]:
        """The container's id, and the blob if there is one. Raises ContainerNotFound."""
        row = self._execute("find_blob", container=container, blob=name).fetchone()
        if row is None:
            raise ContainerNotFound
        return row[0], None if row[1] is None else Blob(*row)

    def find_blob(self, container: str, name: str) -> Blob:
        """Raises ContainerNotFound or BlobNotFound."""
        blob = self.look_for_blob(container, name)[1]
        if blob is None:
            raise BlobNotFound
        return blob

    def list_blobs(self, container_id: int, first: str, limit: int) -> list[Blob]:
        rows = self._execute("list_blobs", container_id=container_id, first=first, limit=limit)
        return [Blob(*row) for row in rows]

    def insert_blob(self, container_id: int, blob: NewBlob, revision: Revision) -> int:
        """The new blob's id. A blob of that name must have been deleted before."""
        cursor = self._execute(
            "insert_blob",
            container_id=container_id,
            name=blob.name,
            blob_type=blob.blob_type,
            size=blob.size,
            block_count=blob.block_count,
            etag=revision.etag,
            created=revision.modified,
            modified=revision.modified,
            http_headers=json.dumps(blob.http_headers),
            metadata=json.dumps(blob.metadata),
        )
        if cursor.lastrowid is None:
            raise sqlite3.DatabaseError("an insert left no row id")
        return cursor.lastrowid

    def update_blob_end(self, blob: Blob, size: int, block_count: int, revision: Revision) -> None:
        self._execute(
            "update_blob_end",
            id=blob.id,
            size=size,
            block_count=block_count,
            etag=revision.etag,
            modified=revision.modified,
        )

    def update_blob_description(
        self, blob: Blob, http_headers: dict[str, str], metadata: dict[str, str], revision: Revision
    ) -> None:
        self._execute(
            "update_blob_description",
            id=blob.id,
            http_headers=json.dumps(http_headers),
            metadata=json.dumps(metadata),
            etag=revision.etag,
            modified=revision.modified,
        )

    def delete_blob(self, blob: Blob) -> None:
        """With its bytes."""
        self.delete_pieces(blob)
        self.delete_blob_row(blob)

    def delete_blob_row(self, blob: Blob) -> None:
        self._execute("delete_blob", id=blob.id)

    def delete_pieces(self, blob: Blob) -> None:
        self._execute("delete_pieces", blob_id=blob.id)

    # bytes
    def insert_piece(self, blob_id: int, start: int, data: bytes, block_id: str | None = None) -> None:
        self._execute("insert_piece", blob_id=blob_id, start=start, block_id=block_id, data=data)

    def read_bytes(self, blob: Blob, first: int, end: int) -> bytes:
        """The bytes from `first` up to, not including, `end`; both inside the blob."""
        if first >= end:
            return b""
        pieces: Iterable[tuple[int, bytes]] = self._execute("read_pieces", blob_id=blob.id, first=first, end=end)
        parts = [data[max(first - start, 0) : end - start] for start, data in pieces]
        return b"".join(parts)

    # blocks
    def list_committed_blocks(self, blob: Blob) -> Sequence[tuple[str, int, int]]:
        """(block id, size, start) in order."""
        return self._execute("list_committed_blocks", blob_id=blob.id).fetchall()

    def copy_committed_block(self, blob_id: int, start: int, from_blob: Blob, from_start: int) -> None:
        self._execute(
            "copy_committed_block",
            blob_id=blob_id,
            start=start,
            from_blob_id=from_blob.id,
            from_start=from_start,
        )

    def stage_block(self, container_id: int, blob_name: str, block_id: str, data: bytes) -> None:
        self._execute("stage_block", container_id=container_id, blob_name=blob_name, block_id=block_id, data=data)

    def list_staged_blocks(self, container_id: int, blob_name: str) -> Sequence[tuple[str, int]]:
        """(block id, size)."""
        return self._execute("list_staged_blocks", container_id=container_id, blob_name=blob_name).fetchall()

    def commit_staged_block(self, blob_id: int, start: int, container_id: int, blob_name: str, block_id: str) -> None:
        self._execute(
            "commit_staged_block",
            blob_id=blob_id,
            start=start,
            container_id=container_id,
            blob_name=blob_name,
            block_id=block_id,
        )

    def delete_staged_blocks(self, container_id: int, blob_name: str) -> None:
        self._execute("delete_staged_blocks", container_id=container_id, blob_name=blob_name)

    def find_last_etag(self) -> int:
        last: int = self._execute("find_last_etag").fetchone()[0]
        return last
