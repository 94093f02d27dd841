"""Crash points: the n-th commit kills, before it takes effect or after it and before anybody is told."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stand_in import crash_points
from stand_in.crash_points import CrashPoint, CrashPoints
from tests.running_stack import ROOT

KILLED = -9


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that would wait for ever."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def order(folder: Path, **wanted: object) -> None:
    """Put a crash point there, as one file that replaces the last."""
    new = folder / "crash.json.new"
    new.write_text(json.dumps(wanted))
    os.replace(new, folder / "crash.json")


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_nth_commit_kills_once(tmp_path: Path, victim: subprocess.Popen[bytes], when: str):
    order(tmp_path, commit=2, when=when, pids=[victim.pid])
    points = CrashPoints(tmp_path)
    points.before_commit()
    points.after_commit()
    assert victim.poll() is None
    points.before_commit()
    if when == "after":
        assert (tmp_path / "crash.json").exists()
        assert victim.poll() is None
        points.after_commit()
    assert victim.wait(10) == KILLED
    assert (tmp_path / "crash.done").exists()
    assert not (tmp_path / "crash.json").exists()


def test_a_file_without_a_commit_counts(tmp_path: Path):
    points = CrashPoints(tmp_path)
    points.before_commit()
    assert not (tmp_path / "commits").exists()
    order(tmp_path)
    for _ in range(3):
        points.before_commit()
        points.after_commit()
    assert (tmp_path / "commits").read_text() == "3"
    order(tmp_path)
    points.before_commit()
    assert (tmp_path / "commits").read_text() == "1", "another file begins anew"


@pytest.mark.parametrize(
    "wanted", [[], {"commits": 1}, {"commit": "1"}, {"commit": -1}, {"when": "during"}, {"pids": [0]}, {"pids": 7}]
)
def test_what_is_no_crash_point_is_refused_and_kills_nobody(tmp_path: Path, wanted: object):
    with pytest.raises(ValueError, match=r"is|needed"):
        CrashPoint.from_dict(wanted)
    (tmp_path / "crash.json").write_text(json.dumps(wanted))
    points = CrashPoints(tmp_path)
    points.before_commit()
    points.after_commit()
    assert (tmp_path / "crash.json").exists()


def test_nobody_looks_without_the_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(crash_points.VARIABLE, raising=False)
    order(tmp_path, commit=1)
    crash_points.watch(tmp_path)
    crash_points.before_commit()  # otherwise this process would be dead
    crash_points.after_commit()
    assert not (tmp_path / "commits").exists()


# A task hub in a process of its own, which dies at its second commit; the first one stores the first task.
DYING_HUB = """
import asyncio, sys
from pathlib import Path
from stand_in import crash_points
from stand_in.durable.sqlite_task_hub import SqliteTaskHub
from stand_in.durable.work_items import ActivityTask

async def main(folder):
    crash_points.watch(folder)
    hub = SqliteTaskHub(folder / "durable.db")
    hub.open()
    for sequence in (1, 2, 3):
        hub.add_task(ActivityTask(sequence, "instance", "execution", sequence, "name", ""))
        await hub.stored()

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize(("when", "stored"), [("before", 1), ("after", 2)])
async def test_a_killed_task_hub_holds_what_took_effect(tmp_path: Path, when: str, stored: int):
    order(tmp_path, commit=2, when=when)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING_HUB, str(tmp_path), cwd=ROOT, env={**os.environ, crash_points.VARIABLE: "1"}
    )
    assert await process.wait() == KILLED
    with sqlite3.connect(tmp_path / "durable.db") as connection:
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (stored,)
    connection.close()
