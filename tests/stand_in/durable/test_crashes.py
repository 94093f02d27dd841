"""A process that is killed with SIGKILL loses nothing it acknowledged and repeats nothing that it had recorded."""

import asyncio
import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import pytest

from stand_in.durable.engine import DurableEngine
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.options import DurableOptions
from stand_in.durable.task_hub import InstanceFilter
from tests.stand_in.durable.crashing_host import app_that_notes
from tests.stand_in.durable.loaded_app import LoadedApp

INSTANCES = 20
KILLS = 6
ROOT = Path(__file__).parents[3]


async def _start(database: Path, log: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.stand_in.durable.crashing_host",
        str(database),
        str(log),
        str(INSTANCES),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


async def _kill_when_it_has_worked(process: asyncio.subprocess.Process, log: Path, lines: int) -> bool:
    """SIGKILL after so many more lines; False when the process was done before."""
    wanted = len(_lines(log)) + lines
    while len(_lines(log)) < wanted:
        if process.returncode is not None:
            return False
        await asyncio.sleep(0.001)
    process.kill()
    await process.communicate()
    return True


@pytest.mark.chaos
async def test_turns_survive_being_killed_again_and_again(tmp_path: Path):
    """Every accepted turn completes; only what was running when the process died ran once more."""
    database, log = tmp_path / "hub.db", tmp_path / "log"
    kills = 0
    for lines in range(5, 5 + KILLS * 3, 3):
        process = await _start(database, log)
        if not await _kill_when_it_has_worked(process, log, lines):
            break
        kills += 1
    process = await _start(database, log)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert output == b"done\n", errors.decode()
    assert kills >= 4

    engine = DurableEngine(database, LoadedApp(app_that_notes(log)), DurableOptions())
    await engine.start()
    records = await engine.query(InstanceFilter("turn-"), 1_000)
    entity = await engine.read_entity("counter", "all")
    histories = {
        record.instance_id: await engine.history(record.instance_id)
        for record in records
        if isinstance(record, InstanceRecord)
    }
    await engine.stop()

    assert len(records) == 2 * INSTANCES
    for record in records:
        assert isinstance(record, InstanceRecord)
        assert record.status is Status.COMPLETED
    counts = Counter(_lines(log))
    assert all(counts[f"accepted turn-{number:02}"] <= 1 for number in range(INSTANCES))
    for number in range(INSTANCES):
        _assert_recorded_steps_did_not_run_again(_lines(log), f"turn-{number:02}")
    assert entity is not None
    assert entity.state is not None
    # The counter saw every turn once: an operation whose result was not committed left no trace.
    assert sorted(json.loads(entity.state)) == sorted(f"turn-{number:02}" for number in range(INSTANCES))
    for events in histories.values():
        numbers = [event.event_id for event in events if event.event_id >= 0]
        assert len(numbers) == len(set(numbers))
        results = [event.fields["TaskScheduledId"] for event in events if "TaskScheduledId" in event.fields]
        assert len(results) == len(set(results))
    _assert_nothing_is_left(database)


def _assert_recorded_steps_did_not_run_again(lines: list[str], name: str) -> None:
    """A later step began because the results of all earlier ones were stored: from then on those are never run."""
    steps = ["work {} first", "work {} fan ", "fail {}", "work {} child"]
    seen = [min(i for i, line in enumerate(lines) if line.startswith(step.format(name))) for step in steps]
    for step, after in zip(steps, seen[1:], strict=False):
        again = [line for line in lines[after:] if line.startswith(step.format(name))]
        assert again == [], f"{again} ran again after its result was stored"


def _assert_nothing_is_left(database: Path) -> None:
    connection = sqlite3.connect(database)
    try:
        for table in ("messages", "tasks", "operations"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()
