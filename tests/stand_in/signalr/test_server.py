"""The emulator as a process of its own."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from stand_in.signalr.access_tokens import EMULATOR_ACCESS_KEY, connection_string
from stand_in.signalr.server import start_server


async def test_the_process_says_where_it_listens_and_stops_when_asked(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stand_in.signalr", "--state-dir", str(tmp_path / "state"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            started = json.loads(await process.stdout.readline())
        assert (started["service"], started["pid"]) == ("signalr", process.pid)
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{started['port']}/api/health") as answer,
        ):
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    server = await start_server(port=0, state_dir=tmp_path)
    with pytest.raises(OSError, match="address already in use"):
        await start_server(port=server.port, state_dir=tmp_path)
    await server.stop()


def test_the_connection_string_has_the_form_of_the_official_emulator() -> None:
    assert connection_string(8888) == (
        f"Endpoint=http://127.0.0.1;Port=8888;AccessKey={EMULATOR_ACCESS_KEY};Version=1.0;"
    )
