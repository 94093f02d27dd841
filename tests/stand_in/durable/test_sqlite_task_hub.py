"""The store by itself: what is committed together, what a failed commit means, and what a reopened file holds."""

import sqlite3
from pathlib import Path

import pytest

from stand_in.durable.entity import EntityRecord
from stand_in.durable.errors import TaskHubFailed
from stand_in.durable.history import event_raised, orchestrator_started
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.sqlite_task_hub import SqliteTaskHub
from stand_in.durable.task_hub import EntityFilter, InstanceFilter
from stand_in.durable.work_items import ActivityTask, Message, Operation

ONE = InstanceRecord("one", "execution", "chain", None, Status.RUNNING, 10, 20, '"input"')


def _count(database: Path, table: str) -> int:
    """As another process sees it: only what is committed."""
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


async def test_changes_without_an_await_between_them_are_stored_together(tmp_path: Path):
    hub = SqliteTaskHub(tmp_path / "hub.db")
    hub.open()

    hub.save_instance(ONE)
    hub.append_history("one", 0, [orchestrator_started("2026-01-01T00:00:00Z")])
    assert _count(tmp_path / "hub.db", "instances") == 0
    await hub.stored()

    assert _count(tmp_path / "hub.db", "instances") == 1
    assert _count(tmp_path / "hub.db", "history") == 1
    hub.close()


async def test_a_reopened_hub_holds_what_was_left_to_do(tmp_path: Path):
    hub = SqliteTaskHub(tmp_path / "hub.db")
    hub.open()
    message = Message(hub.next_sequence(), "one", None, event_raised("2026-01-01T00:00:00Z", "Go", "1"), 5)
    task = ActivityTask(hub.next_sequence(), "one", "execution", 0, "step", "null")
    operation = Operation(hub.next_sequence(), "@counter@k", {"op": "add", "signal": True, "id": "x"})
    hub.save_instance(ONE)
    hub.add_message(message)
    hub.add_task(task)
    hub.add_operation(operation)
    hub.close()

    again = SqliteTaskHub(tmp_path / "hub.db")
    backlog = again.open()

    assert backlog.instances == [(ONE, [])]
    assert (backlog.messages, backlog.tasks, backlog.operations) == ([message], [task], [operation])
    assert again.next_sequence() > operation.sequence
    again.close()


async def test_a_message_that_came_and_went_within_a_commit_is_never_stored(tmp_path: Path):
    hub = SqliteTaskHub(tmp_path / "hub.db")
    hub.open()
    kept, gone = (
        Message(hub.next_sequence(), "one", None, event_raised("2026-01-01T00:00:00Z", name, None), 0)
        for name in ("kept", "gone")
    )
    hub.add_message(kept)
    hub.add_message(gone)
    hub.delete_message(gone.sequence)
    await hub.stored()
    assert _count(tmp_path / "hub.db", "messages") == 1

    hub.delete_message(kept.sequence)
    await hub.stored()

    assert _count(tmp_path / "hub.db", "messages") == 0
    hub.close()


async def test_a_failed_commit_reaches_whoever_waits_and_ends_all_work(tmp_path: Path):
    """Memory is ahead of the store then; going on would acknowledge what a restart does not know."""
    hub = SqliteTaskHub(tmp_path / "hub.db")
    hub.open()
    other = sqlite3.connect(tmp_path / "hub.db")
    other.execute("DROP TABLE tasks")
    other.close()
    told: list[str] = []

    hub.save_instance(ONE)
    hub.add_task(ActivityTask(1, "one", "execution", 0, "step", "null"))
    hub.when_stored(lambda: told.append("stored"))
    with pytest.raises(TaskHubFailed, match="no such table: tasks"):
        await hub.stored()

    assert told == []
    with pytest.raises(TaskHubFailed):
        hub.save_instance(ONE)
    with pytest.raises(TaskHubFailed):
        await hub.stored()
    hub.close()
    assert _count(tmp_path / "hub.db", "instances") == 0


async def test_lists_are_filtered_and_in_the_order_of_ids(tmp_path: Path):
    hub = SqliteTaskHub(tmp_path / "hub.db")
    hub.open()
    for name, status, created in (("b", Status.FAILED, 30), ("a", Status.RUNNING, 20), ("c", Status.FAILED, 10)):
        hub.save_instance(InstanceRecord(name, "e", "chain", None, status, created, created))
    entity = EntityRecord("@counter@k", True, "5", 40, 50)
    hub.save_entity(entity)

    def ids(wanted: InstanceFilter, top: int = 10, start: str = "") -> list[str]:
        return [getattr(r, "instance_id", "") or getattr(r, "entity_id", "") for r in hub.query(wanted, top, start)]

    assert ids(InstanceFilter()) == ["@counter@k", "a", "b", "c"]
    assert ids(InstanceFilter(), top=2, start="a") == ["a", "b"]
    assert ids(InstanceFilter(statuses=("Failed",))) == ["b", "c"]
    assert ids(InstanceFilter(created_from=20, created_to=30)) == ["a", "b"]
    assert ids(InstanceFilter(prefix="@counter")) == ["@counter@k"]
    assert hub.query_entities(EntityFilter("Counter", updated_from=50), 10) == [entity]
    assert hub.query_entities(EntityFilter("other"), 10) == []
    hub.close()


async def test_a_closed_hub_refuses(tmp_path: Path):
    hub = SqliteTaskHub(tmp_path / "hub.db")

    with pytest.raises(TaskHubFailed, match="not open"):
        hub.instance("one")
