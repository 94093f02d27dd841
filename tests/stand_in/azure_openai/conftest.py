"""An emulator for each test, and the official clients that are pointed at it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from tests.model_emulator import ModelEmulator, running_emulator


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[ModelEmulator]:
    async with running_emulator(tmp_path) as emulator:
        yield emulator


@pytest.fixture
async def classic(emulator: ModelEmulator) -> AsyncIterator[AsyncAzureOpenAI]:
    async with AsyncAzureOpenAI(
        azure_endpoint=emulator.url, api_key=emulator.key, api_version="2024-10-21", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def v1(emulator: ModelEmulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{emulator.url}/openai/v1/", api_key=emulator.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def plain(emulator: ModelEmulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{emulator.url}/v1", api_key="anything", max_retries=0) as client:
        yield client
