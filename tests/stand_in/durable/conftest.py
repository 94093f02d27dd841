"""Fixtures: an engine on a fresh database, running a given app."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest

from stand_in.durable.engine import DurableEngine
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.options import DurableOptions
from tests.stand_in.durable.loaded_app import LoadedApp

DEADLINE_SECONDS = 20.0

StartEngine = Callable[..., Awaitable[DurableEngine]]


@pytest.fixture
async def start_engine(tmp_path: Path) -> AsyncIterator[StartEngine]:
    """Start engines; all are stopped at the end. Two with one app object need one loaded app."""
    engines: list[DurableEngine] = []
    loaded: dict[int, LoadedApp] = {}

    async def start(app: df.DFApp, *, database: str = "hub.db", **options: Any) -> DurableEngine:
        if id(app) not in loaded:
            loaded[id(app)] = LoadedApp(app)
        functions = loaded[id(app)]
        engine = DurableEngine(tmp_path / database, functions, DurableOptions(**options))
        await engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.stop(patience=0.2)
    for functions in loaded.values():
        functions.close()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something is so; the deadline only ends a test that would hang."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.005)


async def ended(engine: DurableEngine, instance_id: str) -> InstanceRecord:
    """The record of an instance when it is over."""

    async def is_over() -> bool:
        record = await engine.status(instance_id)
        return isinstance(record, InstanceRecord) and record.status.is_final

    await until(is_over, f"{instance_id} is over")
    record = await engine.status(instance_id)
    assert isinstance(record, InstanceRecord)
    return record


async def reached(engine: DurableEngine, instance_id: str, status: Status) -> None:
    """Wait for a status that is not final."""

    async def has_status() -> bool:
        record = await engine.status(instance_id)
        return isinstance(record, InstanceRecord) and record.status is status

    await until(has_status, f"{instance_id} is {status.value}")
