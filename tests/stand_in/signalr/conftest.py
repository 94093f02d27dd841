"""An emulator whose clock stands still until a test moves it, and a caller for it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from stand_in.signalr.emulator import Emulator
from stand_in.signalr.server import SignalRServer, serve
from tests.stand_in.signalr.clients import Caller, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[SignalRServer]:
    server = await serve(Emulator(now=clock, unix_time=clock), port=0)
    yield server
    await server.stop()
    assert all(not hub.connections for hub in server.emulator.hubs)


@pytest.fixture
async def caller(server: SignalRServer) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        yield Caller(server, http)
