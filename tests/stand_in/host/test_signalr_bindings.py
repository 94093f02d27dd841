"""The SignalR bindings, against the SignalR emulator."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import jwt
import pytest

from stand_in.host.bindings.signalr import parse_connection_string
from stand_in.host.errors import BindingFailed
from stand_in.signalr.access_tokens import EMULATOR_ACCESS_KEY
from stand_in.signalr.server import SignalRServer, start_server
from tests.stand_in.host.conftest import HostProcess, NewHost

END = "\x1e"


@pytest.fixture
async def signalr(tmp_path: Path) -> AsyncIterator[SignalRServer]:
    server = await start_server(port=0, state_dir=tmp_path)
    yield server
    await server.stop()


@pytest.fixture
async def host(new_host: NewHost, signalr: SignalRServer) -> HostProcess:
    connection = f"Endpoint=http://localhost;Port={signalr.port};AccessKey={EMULATOR_ACCESS_KEY};Version=1.0;"
    settings = {
        "PYTHON_ENABLE_INIT_INDEXING": "1",
        "ON_START_SCHEDULE": "0 0 0 1 1 *",
        "AzureSignalRConnectionString": connection,
    }
    return new_host("fastapi_functions", settings)


async def connect(session: aiohttp.ClientSession, host: HostProcess, user: str) -> aiohttp.ClientWebSocketResponse:
    """Negotiate through the app, then connect as a client does."""
    async with session.post(f"{host.url}/negotiate", headers={"x-user": user}) as answer:
        info = await answer.json()
    socket = await session.ws_connect(f"{info['url']}&access_token={quote(info['accessToken'])}")
    await socket.send_str(json.dumps({"protocol": "json", "version": 1}) + END)
    assert await socket.receive_str(timeout=10) == "{}" + END
    return socket


async def next_message(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    while True:
        for frame in (await socket.receive_str(timeout=10)).split(END):
            message: dict[str, Any] = json.loads(frame) if frame else {}
            if message.get("type") == 1:
                return message


async def test_a_client_connects_with_the_info_and_gets_what_a_function_sends(host: HostProcess) -> None:
    """To a user, then to everyone, from one array, in its order."""
    messages = [
        {"target": "t", "arguments": ["for ann"], "userId": "ann"},
        {"target": "t", "arguments": ["for nobody"], "userId": "bob"},
        {"target": "t", "arguments": [{"for": "all"}]},
    ]
    async with aiohttp.ClientSession() as session:
        socket = await connect(session, host, "ann")
        async with session.post(f"{host.url}/send?hub=chat", json=messages) as answer:
            assert (answer.status, await answer.text()) == (200, "sent")

        assert (await next_message(socket))["arguments"] == ["for ann"]
        assert (await next_message(socket))["arguments"] == [{"for": "all"}]
        await socket.close()


async def test_a_group_action_makes_a_member(host: HostProcess) -> None:
    items = [
        {"action": "add", "userId": "ann", "groupName": "g"},
        {"target": "t", "arguments": ["for the group"], "groupName": "g"},
    ]
    async with aiohttp.ClientSession() as session:
        socket = await connect(session, host, "ann")
        async with session.post(f"{host.url}/send?hub=chat", json=items):
            pass

        assert (await next_message(socket))["arguments"] == ["for the group"]
        await socket.close()


async def test_the_token_carries_user_and_audience(host: HostProcess, signalr: SignalRServer) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{host.url}/negotiate", headers={"x-user": "ann"}) as r,
    ):
        info = await r.json()

    claims = jwt.decode(
        info["accessToken"], EMULATOR_ACCESS_KEY, algorithms=["HS256"], audience="http://localhost/client/?hub=chat"
    )
    assert claims["asrs.s.uid"] == "ann"
    assert claims["exp"] - claims["iat"] == 3600
    assert info["url"] == f"http://localhost:{signalr.port}/client/?hub=chat"


async def test_a_missing_header_of_an_expression_fails_the_call(host: HostProcess) -> None:
    async with aiohttp.ClientSession(host.url) as session, session.post("/negotiate") as answer:
        assert answer.status == 500

    host.wait_for_log("No value for 'headers.x-user'")


async def test_an_output_that_cannot_be_delivered_leaves_a_streaming_answer_alone(host: HostProcess) -> None:
    """The answer has been sent by then, as on the real host; the log tells."""
    async with aiohttp.ClientSession(host.url) as session, session.post("/send?hub=chat", data="no JSON") as answer:
        assert answer.status == 200

    host.wait_for_log("it is not JSON")


async def test_nothing_is_sent_after_an_exception(host: HostProcess) -> None:
    async with aiohttp.ClientSession() as session:
        socket = await connect(session, host, "ann")
        message = {"target": "t", "arguments": ["never"]}
        async with session.post(f"{host.url}/send?hub=chat&raise=1", json=message) as answer:
            assert answer.status == 500
        async with session.post(f"{host.url}/send?hub=chat", json={"target": "t", "arguments": ["after"]}):
            pass

        assert (await next_message(socket))["arguments"] == ["after"]
        await socket.close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("AccessKey=k;Version=1.0;", "no endpoint"),
        ("Endpoint=http://localhost;Version=1.0;", "no accesskey"),
        ("Endpoint=http://localhost;AuthType=azure;", "AuthType"),
        ("Endpoint=http://a;Endpoint=http://b;AccessKey=k;", "each key once"),
    ],
)
def test_an_unusable_connection_string_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(BindingFailed, match=problem):
        parse_connection_string(text)
