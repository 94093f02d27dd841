"""The task hub on SQLite.

One connection, used by the event loop's thread alone. Changes are collected and committed together when the loop has
run what was ready (group commit): under load one commit carries the work of many instances, and an idle engine commits
at once. A commit takes some tens of microseconds, less than it costs to hand it to another thread and back.

The file is in WAL mode with synchronous=NORMAL: a commit is handed to the operating system before anyone hears of it,
so a killed process loses nothing. A power failure may take the last commits, but never leaves half of one. The costly
part, writing the log back into the file, runs on a connection of its own in a thread.
"""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from stand_in import crash_points
from stand_in.durable.entity import EntityRecord
from stand_in.durable.errors import TaskHubFailed, TaskHubTaken
from stand_in.durable.history import HistoryEvent, Parent
from stand_in.durable.hub_statements import SCHEMA, STATEMENTS
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.task_hub import Backlog, EntityFilter, InstanceFilter
from stand_in.durable.work_items import ActivityTask, Message, Operation

logger = logging.getLogger(__name__)

_CHANGES_PER_CHECKPOINT = 20_000
# The log is cut back from the loop's thread only when a busy writer has kept the other thread from ever finishing.
_LARGEST_LOG = 256 * 1024 * 1024
# Sorts behind every character that an id can have.
_BEHIND_ALL = "\U0010ffff"


class SqliteTaskHub:
    """A task hub in one file.

    With an `owner` (a lease's token, see `hub_lease`) each commit looks whether another host has taken the hub.
    """

    def __init__(self, database: Path, owner: str | None = None) -> None:
        self._database = database
        self._owner = owner
        self._connection: sqlite3.Connection | None = None
        self._changes: list[tuple[str, tuple[Any, ...]] | None] = []
        self._unstored_messages: dict[int, int] = {}
        self._changed_instances: set[str] = set()
        self._callbacks: list[Callable[[], None]] = []
        self._stored: asyncio.Future[None] | None = None
        self._scheduled: asyncio.Handle | None = None
        self._failure: TaskHubFailed | None = None
        self._sequence = 0
        self._since_checkpoint = 0
        self._checkpoints = ThreadPoolExecutor(1, thread_name_prefix="task-hub-checkpoint")
        self._checkpoint: Future[None] | None = None

    def open(self) -> Backlog:
        """Open or create the file, and read what was left to do."""
        self._database.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self._database, isolation_level=None, cached_statements=256)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._connection.execute("PRAGMA busy_timeout = 10000")
        self._connection.executescript(SCHEMA)
        self._sequence = self._rows("read_last_sequence")[0][0]
        return Backlog(
            instances=[
                (record, self._read_history(record.instance_id))
                for record in map(_instance, self._rows("read_live_instances"))
            ],
            messages=[
                Message(sequence, instance_id, execution_id, HistoryEvent.from_json(event), due_at)
                for sequence, instance_id, execution_id, due_at, event in self._rows("read_messages")
            ],
            tasks=[ActivityTask(*row) for row in self._rows("read_tasks")],
            operations=[
                Operation(sequence, entity_id, json.loads(message))
                for sequence, entity_id, message in self._rows("read_operations")
            ],
        )

    def close(self) -> None:
        """Store what was changed, and close."""
        connection = self._connection
        if connection is None:
            return
        try:
            self._flush()
        finally:
            self._checkpoints.shutdown()
            if self._failure is None:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.close()
            self._connection = None

    def next_sequence(self) -> int:
        """A number that was not given out before."""
        self._sequence += 1
        return self._sequence

    # -- changes

    def save_instance(self, record: InstanceRecord) -> None:
        """Insert or replace the record; the history is left alone."""
        self._changed_instances.add(record.instance_id)
        parent = None if record.parent is None else json.dumps(record.parent.to_wire())
        self._change(
            "save_instance",
            record.instance_id,
            record.execution_id,
            record.name,
            record.version,
            record.status.value,
            record.created_at,
            record.updated_at,
            record.input,
            record.output,
            record.custom_status,
            parent,
        )

    def delete_instance(self, instance_id: str) -> None:
        """Delete the record and the history."""
        self._changed_instances.add(instance_id)
        self._change("delete_instance", instance_id)
        self.delete_history(instance_id)

    def append_history(self, instance_id: str, position: int, events: Sequence[HistoryEvent]) -> None:
        """Add events from a position on."""
        for offset, event in enumerate(events):
            self._change("append_event", instance_id, position + offset, event.indented)

    def replace_event(self, instance_id: str, position: int, event: HistoryEvent) -> None:
        """Put another event in the place of one."""
        self._change("replace_event", instance_id, position, event.indented)

    def delete_history(self, instance_id: str) -> None:
        """Delete all events of an instance."""
        self._change("delete_history", instance_id)

    def add_message(self, message: Message) -> None:
        """Keep an event until its instance has processed it."""
        self._unstored_messages[message.sequence] = len(self._changes)
        self._change(
            "add_message",
            message.sequence,
            message.instance_id,
            message.execution_id,
            message.due_at,
            message.event.indented,
        )

    def delete_message(self, sequence: int) -> None:
        """The event was processed. One that came and went within a commit is not stored at all."""
        unstored = self._unstored_messages.pop(sequence, None)
        if unstored is None:
            self._change("delete_message", sequence)
        else:
            self._changes[unstored] = None

    def add_task(self, task: ActivityTask) -> None:
        """Keep an activity until it has returned."""
        self._change(
            "add_task", task.sequence, task.instance_id, task.execution_id, task.task_id, task.name, task.input_text
        )

    def delete_task(self, sequence: int) -> None:
        """The activity has returned."""
        self._change("delete_task", sequence)

    def save_entity(self, record: EntityRecord) -> None:
        """Insert or replace an entity."""
        self._change("save_entity", record.entity_id, record.exists, record.state, record.created_at, record.updated_at)

    def delete_entity(self, entity_id: str) -> None:
        """Forget an entity."""
        self._change("delete_entity", entity_id)

    def add_operation(self, operation: Operation) -> None:
        """Keep a request until its entity has done it."""
        message = json.dumps(operation.message, ensure_ascii=False)
        self._change("add_operation", operation.sequence, operation.entity_id, message)

    def delete_operation(self, sequence: int) -> None:
        """The request was done."""
        self._change("delete_operation", sequence)

    def stored(self) -> asyncio.Future[None]:
        """Settled when every change made so far is stored."""
        loop = asyncio.get_running_loop()
        if self._failure is not None or not self._changes:
            future = loop.create_future()
            if self._failure is not None:
                future.set_exception(self._failure)
            else:
                future.set_result(None)
            return future
        if self._stored is None:
            self._stored = loop.create_future()
        return asyncio.shield(self._stored)

    def when_stored(self, callback: Callable[[], None]) -> None:
        """Call back when every change made so far is stored; never, when that fails."""
        if self._changes:
            self._callbacks.append(callback)
        elif self._failure is None:
            callback()

    # -- reads

    def instance(self, instance_id: str) -> InstanceRecord | None:
        """The record of an instance."""
        if instance_id in self._changed_instances:
            self._flush()
        row = next(iter(self._rows("read_instance", (instance_id,))), None)
        return None if row is None else _instance(row)

    def history(self, instance_id: str) -> list[HistoryEvent]:
        """The events of an instance's current execution."""
        self._flush()
        return self._read_history(instance_id)

    def entity(self, entity_id: str) -> EntityRecord | None:
        """The record of an entity."""
        self._flush()
        row = next(iter(self._rows("read_entity", (entity_id,))), None)
        return None if row is None else _entity(row)

    def query(self, wanted: InstanceFilter, top: int, start: str = "") -> list[InstanceRecord | EntityRecord]:
        """Instances and entities in the order of their ids."""
        self._flush()
        rows = self._rows(
            "query_shown",
            {
                "start": start,
                "prefix": wanted.prefix,
                "prefix_end": wanted.prefix + _BEHIND_ALL if wanted.prefix else None,
                "created_from": wanted.created_from,
                "created_to": wanted.created_to,
                "statuses": json.dumps(wanted.statuses) if wanted.statuses else None,
                "top": top,
            },
        )
        return [_shown(row) for row in rows]

    def query_entities(self, wanted: EntityFilter, top: int, start: str = "") -> list[EntityRecord]:
        """Entities in the order of their ids."""
        self._flush()
        prefix = "@" if wanted.name is None else f"@{wanted.name.lower()}@"
        rows = self._rows(
            "query_entities",
            {
                "start": start,
                "prefix": prefix,
                "prefix_end": prefix + _BEHIND_ALL,
                "updated_from": wanted.updated_from,
                "updated_to": wanted.updated_to,
                "top": top,
            },
        )
        return [_entity(row) for row in rows]

    # -- the connection

    def _change(self, statement: str, *values: Any) -> None:
        if self._failure is not None:
            raise self._failure
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._flush)
        self._changes.append((statement, values))

    def _flush(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if not self._changes:
            return
        changes = [change for change in self._changes if change is not None]
        stored, callbacks = self._stored, self._callbacks
        self._changes, self._stored, self._callbacks = [], None, []
        self._unstored_messages.clear()
        self._changed_instances.clear()
        try:
            self._commit(changes)
        except (sqlite3.Error, TaskHubTaken) as error:
            if isinstance(error, TaskHubTaken):
                self._failure = error
                logger.warning("Another host works on the task hub; this one stores nothing more.")
            else:
                self._failure = TaskHubFailed(f"The task hub {self._database} did not take a commit: {error}")
                logger.critical("The task hub did not take a commit; the durable engine stops working.", exc_info=error)
            if stored is not None:
                stored.set_exception(self._failure)
                stored.exception()  # whoever waits gets it through the shield
            return
        if stored is not None and not stored.done():
            stored.set_result(None)
        for callback in callbacks:
            callback()
        self._checkpoint_now_and_then(len(changes))

    def _commit(self, changes: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        connection = self._open_connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._owner is not None and not self._rows("is_owner", (self._owner,)):
                raise TaskHubTaken("Another host works on the task hub.")
            for statement, group in groupby(changes, key=itemgetter(0)):
                connection.executemany(STATEMENTS[statement], [values for _, values in group])
            crash_points.before_commit()
            connection.execute("COMMIT")
            crash_points.after_commit()
        except (sqlite3.Error, TaskHubTaken):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _rows(self, statement: str, values: Any = ()) -> list[Any]:
        return self._open_connection().execute(STATEMENTS[statement], values).fetchall()

    def _read_history(self, instance_id: str) -> list[HistoryEvent]:
        return [HistoryEvent.from_json(event) for (event,) in self._rows("read_history", (instance_id,))]

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise TaskHubFailed("The task hub is not open.")
        return self._connection

    def _checkpoint_now_and_then(self, changes: int) -> None:
        self._since_checkpoint += changes
        if self._since_checkpoint < _CHANGES_PER_CHECKPOINT:
            return
        if self._checkpoint is not None and not self._checkpoint.done():
            return
        self._since_checkpoint = 0
        log = self._database.with_name(self._database.name + "-wal")
        if log.stat().st_size > _LARGEST_LOG:
            self._open_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        else:
            self._checkpoint = self._checkpoints.submit(_write_back, self._database)


def _write_back(database: Path) -> None:
    """Copy what the log holds into the file; writers go on meanwhile."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        connection.close()


def _instance(row: Sequence[Any]) -> InstanceRecord:
    parent = None if row[10] is None else Parent.from_wire(json.loads(row[10]))
    instance_id, execution_id, name, version, status, created_at, updated_at, given, output, custom = row[:10]
    return InstanceRecord(
        instance_id,
        execution_id,
        name,
        version,
        Status(status),
        created_at,
        updated_at,
        given,
        output,
        custom,
        parent,
    )


def _entity(row: Sequence[Any]) -> EntityRecord:
    return EntityRecord(row[0], bool(row[1]), *row[2:])


def _shown(row: Sequence[Any]) -> InstanceRecord | EntityRecord:
    if row[11] is None:
        return _instance(row[:11])
    return EntityRecord(row[0], bool(row[11]), row[7], row[5], row[6])
