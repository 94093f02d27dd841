"""The emulator with the official JavaScript client, as an app's page uses it: negotiate with the app, then connect."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from stand_in.signalr.client_connection import Timings
from stand_in.signalr.emulator import Emulator
from stand_in.signalr.server import SignalRServer, serve
from tests.stand_in.signalr.clients import Caller

PACKAGE = Path(__file__).parents[3] / "web" / "package.json"
SCRIPT = Path(__file__).with_name("javascript_client.js")


class JavaScriptClient:
    """One node process with one connection."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.events: list[dict[str, Any]] = []

    async def next(self, wanted: str) -> dict[str, Any]:
        """The next event, which must be the wanted one."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        event: dict[str, Any] = json.loads(line)
        assert event["event"] == wanted, event
        return event

    async def token(self) -> Any:
        return (await self.next("token"))["values"]

    async def command(self, name: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n".encode())
        await self._process.stdin.drain()


@pytest.fixture
async def server() -> AsyncIterator[SignalRServer]:
    """An emulator by the real clock: the client has one too."""
    server = await serve(Emulator(timings=Timings(ping=0.3, client_timeout=30)), port=0)
    yield server
    await server.stop()


@pytest.fixture
async def page_api(caller: Caller) -> AsyncIterator[str]:
    """The app's side of negotiation."""

    async def negotiate(request: web.Request) -> web.Response:
        url = f"{caller.base}/client/?hub=chat"
        return web.json_response({"url": url, "accessToken": caller.client_token("u")})

    app = web.Application()
    app.add_routes([web.post("/api/negotiate", negotiate)])
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    await runner.cleanup()


@asynccontextmanager
async def javascript_client(url: str, **options: Any) -> AsyncIterator[JavaScriptClient]:
    installed = PACKAGE.parent / "node_modules" / "@microsoft" / "signalr"
    assert installed.is_dir(), f"{installed} is missing: run `make install`"
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), str(PACKAGE), url, json.dumps(options),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield JavaScriptClient(process)
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("transport", [None, "WebSockets", "ServerSentEvents", "LongPolling"])
async def test_the_client_receives_everything_in_order_over_each_transport(
    caller: Caller, page_api: str, transport: str | None
) -> None:
    async with javascript_client(page_api, transport=transport) as client:
        connected = await client.next("connected")
        [known] = await caller.admin("GET", "/connections")
        assert (known["connectionId"], known["userId"]) == (connected["connectionId"], "u")
        for number in range(50):
            assert await caller.send("/users/u", number, {"text": "日本 👩‍👩‍👧"}) == 202
        received = [await client.token() for _ in range(50)]
        assert received == [[number, {"text": "日本 👩‍👩‍👧"}] for number in range(50)]
        await client.command("stop")
        await client.next("closed")
    async with asyncio.timeout(10):  # the emulator learns of it a moment after the client
        while await caller.admin("GET", "/connections"):  # noqa: ASYNC110  # no event tells when
            await asyncio.sleep(0.01)


async def test_after_a_cut_the_client_comes_back_as_a_new_connection_of_the_same_user(
    caller: Caller, page_api: str
) -> None:
    async with javascript_client(page_api, reconnect=True) as client:
        before = (await client.next("connected"))["connectionId"]
        await caller.call("PUT", "/api/hubs/chat/users/u/groups/g?api-version=2022-06-01")
        await caller.admin("DELETE", f"/connections/{before}")
        await client.next("reconnecting")
        after = (await client.next("reconnected"))["connectionId"]
        assert after != before
        await caller.send("/users/u", "user")
        await caller.send("/groups/g", "user's group")
        await caller.send(f"/connections/{before}", "nobody")
        await caller.send("", "end")
        assert [await client.token() for _ in range(3)] == [["user"], ["user's group"], ["end"]]


async def test_the_servers_pings_keep_a_quiet_client_and_its_own_keep_the_server(caller: Caller, page_api: str) -> None:
    """The client gives up after one second without data; it is quiet here for longer than that."""
    async with javascript_client(page_api, serverTimeout=1000, keepAlive=200) as client:
        await client.next("connected")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await client.next("nothing")
        await caller.send("", "still here")
        assert await client.token() == ["still here"]


async def test_without_the_servers_pings_the_client_gives_up(caller: Caller, page_api: str) -> None:
    async with javascript_client(page_api, serverTimeout=700) as client:
        await client.next("connected")
        await caller.admin("PUT", "/faults", {"stallPings": True})
        assert "Server timeout elapsed" in (await client.next("closed"))["error"]


async def test_a_client_that_asks_for_stateful_reconnect_does_without(caller: Caller, page_api: str) -> None:
    async with javascript_client(page_api, stateful=True) as client:
        await client.next("connected")
        await caller.send("", 1)
        assert await client.token() == [1]


async def test_a_client_that_invokes_hears_why_nobody_answers(page_api: str) -> None:
    async with javascript_client(page_api) as client:
        await client.next("connected")
        await client.command("invoke")
        assert "a serverless client only listens" in (await client.next("invokeFailed"))["error"]


async def test_closing_a_connection_ends_it_at_the_client_with_the_reason(caller: Caller, page_api: str) -> None:
    async with javascript_client(page_api, reconnect=True) as client:
        await client.next("connected")
        path = "/api/hubs/chat/users/u/:closeConnections?api-version=2022-06-01&reason=signed%20out"
        await caller.call("POST", path)
        assert "signed out" in (await client.next("closed"))["error"]


async def test_negotiation_that_fails_is_reported_by_its_status(caller: Caller, page_api: str) -> None:
    await caller.admin("PUT", "/faults", {"negotiations": [{"status": 503, "times": 1}]})
    async with javascript_client(page_api) as client:
        assert "503" in (await client.next("failed"))["error"]
    async with javascript_client(page_api) as client:
        await client.next("connected")


async def test_the_client_survives_a_restart_of_the_emulator(page_api: str, caller: Caller) -> None:
    port = caller.server.port
    async with javascript_client(page_api, reconnect=True) as client:
        await client.next("connected")
        await caller.server.stop()
        await client.next("reconnecting")
        again = await serve(Emulator(), port=port)
        try:
            await client.next("reconnected")
            async with aiohttp.ClientSession() as http:
                await Caller(again, http).send("/users/u", "again")
            assert await client.token() == ["again"]
        finally:
            await again.stop()
