"""Many writes in one commit: all on disk before any is answered, and one that fails takes its batch with it."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from stand_in.blob_storage.errors import ContainerAlreadyExists, InternalError
from stand_in.blob_storage.group_commit import GroupCommit
from stand_in.blob_storage.sqlite_blobs import Revision, SqliteBlobs, open_database

REVISION = Revision(1, 1)


class Tables:
    """A writer with its queue, and a reader that sees what is on disk."""

    def __init__(self, state_dir: Path) -> None:
        self.writing = SqliteBlobs(open_database(state_dir))
        self.committed = SqliteBlobs(open_database(state_dir))
        self.commits = GroupCommit(self.writing)

    def names(self) -> list[str]:
        return [container.name for container in self.committed.list_containers("", 100)]


@pytest.fixture
async def tables(tmp_path: Path) -> AsyncIterator[Tables]:
    tables = Tables(tmp_path)
    yield tables
    await tables.commits.close()
    tables.writing.connection.close()
    tables.committed.connection.close()


def insert(blobs: SqliteBlobs, name: str) -> str:
    if not blobs.insert_container(name, {}, REVISION):
        raise ContainerAlreadyExists
    return name


async def test_a_write_is_visible_to_others_when_it_is_answered(tables: Tables) -> None:
    assert await tables.commits.write(lambda blobs: insert(blobs, "a")) == "a"
    assert tables.names() == ["a"]


async def test_writes_that_wait_together_are_one_commit_and_keep_their_order(tables: Tables) -> None:
    seen: list[list[str]] = []

    def note_and_insert(blobs: SqliteBlobs, name: str) -> str:
        seen.append(tables.names())
        return insert(blobs, name)

    writes = (tables.commits.write(partial(note_and_insert, name=name)) for name in "cab")
    assert await asyncio.gather(*writes) == ["c", "a", "b"]
    assert seen == [[], [], []]  # none was on disk while the others ran
    assert tables.names() == ["a", "b", "c"]


async def test_a_refusal_is_answered_after_the_write_that_caused_it_is_on_disk(tables: Tables) -> None:
    first = asyncio.create_task(tables.commits.write(lambda blobs: insert(blobs, "a")))
    await asyncio.sleep(0)  # it waits for the commit now, and so will the next
    with pytest.raises(ContainerAlreadyExists):
        await tables.commits.write(lambda blobs: insert(blobs, "a"))
    assert tables.names() == ["a"]
    assert await first == "a"


async def test_an_unforeseen_failure_rolls_its_batch_back_and_says_so(tables: Tables) -> None:
    def fail_half_way(blobs: SqliteBlobs) -> None:
        insert(blobs, "half")
        raise RuntimeError("defect")

    neighbour = asyncio.create_task(tables.commits.write(lambda blobs: insert(blobs, "neighbour")))
    with pytest.raises(InternalError, match="rolled back: RuntimeError"):
        await tables.commits.write(fail_half_way)
    with pytest.raises(InternalError):
        await neighbour
    assert tables.names() == []
    assert await tables.commits.write(lambda blobs: insert(blobs, "next")) == "next"


async def test_a_write_whose_client_is_gone_is_stored_all_the_same(tables: Tables) -> None:
    gone = asyncio.create_task(tables.commits.write(lambda blobs: insert(blobs, "gone")))
    await asyncio.sleep(0)
    gone.cancel()
    await tables.commits.write(lambda blobs: insert(blobs, "stays"))
    assert tables.names() == ["gone", "stays"]


async def test_after_closing_nothing_is_taken(tables: Tables) -> None:
    last = asyncio.create_task(tables.commits.write(lambda blobs: insert(blobs, "last")))
    await asyncio.sleep(0)
    await tables.commits.close()
    assert await last == "last"
    with pytest.raises(InternalError):
        await tables.commits.write(lambda blobs: insert(blobs, "late"))


async def test_a_commit_waits_for_the_disk(tables: Tables) -> None:
    """No test can cut the power: what makes a commit outlive that is the setting."""
    connection = tables.writing.connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
