"""Negotiation and WebSockets, seen from a bare client."""

import asyncio
import json

import aiohttp
import pytest

from tests.stand_in.signalr.clients import HANDSHAKE, Caller, Clock, Connected


async def test_negotiation_version_1_gives_a_public_id_and_a_secret_token(caller: Caller) -> None:
    answer = await (await caller.negotiate()).json()
    assert answer["negotiateVersion"] == 1
    assert answer["connectionId"] != answer["connectionToken"]
    assert [transport["transport"] for transport in answer["availableTransports"]] == [
        "WebSockets",
        "ServerSentEvents",
        "LongPolling",
    ]


async def test_negotiation_version_0_gives_one_id_that_opens_the_connection(caller: Caller) -> None:
    token = caller.client_token("u")
    answer = await (await caller.negotiate("hub=chat", token=token)).json()
    assert answer["negotiateVersion"] == 0
    assert "connectionToken" not in answer
    client = Connected(await caller.open(token, answer["connectionId"]), answer["connectionId"])
    await client.socket.send_str(HANDSHAKE)
    assert await client.record() == {}


async def test_stateful_reconnect_is_declined_in_the_way_a_server_without_it_does(caller: Caller) -> None:
    answer = await caller.negotiate("hub=chat&negotiateVersion=1&useStatefulReconnect=true")
    assert "useStatefulReconnect" not in await answer.json()


async def test_a_token_can_name_the_transports_that_it_allows(caller: Caller) -> None:
    answer = await caller.negotiate(token=caller.client_token("u", "chat", **{"asrs.s.htt": 4}))
    assert [each["transport"] for each in (await answer.json())["availableTransports"]] == ["LongPolling"]


async def test_a_websocket_opens_without_negotiation(caller: Caller) -> None:
    socket = await caller.open(caller.client_token("u"))
    await socket.send_str(HANDSHAKE)
    assert await Connected(socket, "").record() == {}
    assert await caller.send("/users/u", "hello") == 202
    assert await Connected(socket, "").arguments() == ["hello"]


@pytest.mark.parametrize(
    "query", ["hub=chat&hub=other&negotiateVersion=1", "negotiateVersion=1", "hub=9&negotiateVersion=1"]
)
async def test_the_query_names_exactly_one_hub(caller: Caller, query: str) -> None:
    assert (await caller.negotiate(query)).status == 400


async def test_what_a_token_must_be(caller: Caller, clock: Clock) -> None:
    endpoint = f"{caller.base}/client/?hub=chat"
    refused = {
        "The signature key was not found": caller.token(endpoint, key="another key, as long as the right one is"),
        "The token is expired": caller.token(endpoint, exp=clock.time - 1),
        "The token is not a JWT signed with HS256": "nonsense",
        "The audience is invalid: it must be the client endpoint with hub=chat": caller.client_token(hub="other"),
    }
    for reason, token in refused.items():
        answer = await caller.negotiate(token=token)
        assert (answer.status, await answer.text()) == (401, reason)
        assert reason in answer.headers["WWW-Authenticate"]
    for audience in ("http://127.0.0.1/client/?hub=chat", "http://localhost:1/client/?hub=CHAT"):
        assert (await caller.negotiate(token=caller.token(audience))).status == 200


async def test_a_token_of_another_service_is_refused(caller: Caller) -> None:
    token = caller.token("https://elsewhere.service.signalr.net/client/?hub=chat")
    assert (await caller.negotiate(token=token)).status == 401


@pytest.mark.parametrize("claim", ["asrs.s.uid", "nameid", "sub"])
async def test_each_documented_claim_names_the_user(caller: Caller, claim: str) -> None:
    client = await caller.connect(**{claim: "u"})
    await caller.send("/users/u", 1)
    assert await client.arguments() == [1]


async def test_an_id_must_be_used_within_five_seconds(caller: Caller, clock: Clock) -> None:
    token = caller.client_token()
    answer = await (await caller.negotiate(token=token)).json()
    clock.time += 5.1
    with pytest.raises(aiohttp.WSServerHandshakeError) as failed:
        await caller.open(token, answer["connectionToken"])
    assert failed.value.status == 404


async def test_an_id_belongs_to_the_user_who_negotiated_it(caller: Caller) -> None:
    answer = await (await caller.negotiate(token=caller.client_token("mine"))).json()
    with pytest.raises(aiohttp.WSServerHandshakeError) as failed:
        await caller.open(caller.client_token("yours"), answer["connectionToken"])
    assert failed.value.status == 404


async def test_a_connection_is_opened_once(caller: Caller) -> None:
    token = caller.client_token()
    answer = await (await caller.negotiate(token=token)).json()
    await caller.open(token, answer["connectionToken"])
    with pytest.raises(aiohttp.WSServerHandshakeError) as failed:
        await caller.open(token, answer["connectionToken"])
    assert failed.value.status == 409


@pytest.mark.parametrize(
    ("handshake", "error"),
    [
        ('{"protocol":"xml","version":1}', "The protocol 'xml' is not supported."),
        ('{"protocol":"json","version":2}', "The server does not support version 2 of the 'json' protocol."),
        ('{"version":1}', "Missing required property 'protocol'. Message is not a handshake request."),
    ],
)
async def test_a_handshake_that_cannot_be_met_is_refused_and_closed(caller: Caller, handshake: str, error: str) -> None:
    client = Connected(await caller.open(caller.client_token()), "")
    await client.socket.send_str(handshake + "\x1e")
    assert await client.record() == {"error": error}
    assert await client.record() is None


async def test_messages_reach_a_client_only_after_its_handshake(caller: Caller) -> None:
    client = Connected(await caller.open(caller.client_token("u")), "")
    await caller.send("/users/u", "too early")
    await client.socket.send_str(HANDSHAKE)
    assert await client.record() == {}
    await caller.send("/users/u", "now")
    assert await client.arguments() == ["now"]


async def test_a_late_handshake_closes_the_connection(caller: Caller, clock: Clock) -> None:
    client = Connected(await caller.open(caller.client_token()), "")
    clock.time += 15.1
    caller.server.heartbeat()
    assert await client.record() == {"error": "Handshake was canceled."}
    assert await client.record() is None


async def test_a_quiet_connection_is_pinged_every_15_seconds(caller: Caller, clock: Clock) -> None:
    client = await caller.connect()
    clock.time += 15
    caller.server.heartbeat()
    assert await client.record() == {"type": 6}
    caller.server.heartbeat()
    await caller.send("", "next")
    assert await client.arguments() == ["next"]


async def test_a_client_that_is_silent_for_30_seconds_is_closed_and_may_reconnect(caller: Caller, clock: Clock) -> None:
    silent, lively = await caller.connect("silent"), await caller.connect("lively")
    clock.time += 29
    await lively.socket.send_str('{"type":6}\x1e{"type":1,"invocationId":"1","target":"t","arguments":[]}\x1e')
    assert (await lively.record())["type"] == 3  # so the ping before it was read
    clock.time += 2
    caller.server.heartbeat()
    assert await silent.record() == {"type": 7, "error": "Client timeout has elapsed.", "allowReconnect": True}
    assert await silent.record() is None
    await caller.send("/users/lively", "still here")
    assert (await lively.record()) == {"type": 1, "target": "token", "arguments": ["still here"]}


async def test_a_token_can_end_the_connection_at_a_time(caller: Caller, clock: Clock) -> None:
    client = await caller.connect("u", **{"asrs.s.coae": "true", "asrs.s.aeo": str(int(clock.time) + 10)})
    clock.time += 10
    caller.server.heartbeat()
    assert await client.record() == {"type": 7, "error": "AuthenticationExpired", "allowReconnect": True}


async def test_a_connection_outlives_its_token(caller: Caller, clock: Clock) -> None:
    client = await caller.connect("u", exp=clock.time + 10)
    clock.time += 11
    caller.server.heartbeat()
    await caller.send("/users/u", "still")
    assert await client.arguments() == ["still"]


async def test_an_invocation_by_a_client_is_answered_with_the_reason_why_nobody_hears_it(caller: Caller) -> None:
    client = await caller.connect()
    await client.socket.send_str('{"type":1,"invocationId":"9","target":"shout","arguments":[]}\x1e')
    answer = await client.record()
    assert (answer["type"], answer["invocationId"]) == (3, "9")
    assert "'shout'" in answer["error"]


async def test_a_client_that_talks_nonsense_is_closed(caller: Caller) -> None:
    client = await caller.connect()
    await client.socket.send_str("nonsense\x1e")
    answer = await client.record()
    assert answer["type"] == 7
    assert "Error reading JSON" in answer["error"]
    assert await client.record() is None


async def test_a_page_of_another_origin_may_call_with_credentials(caller: Caller) -> None:
    origin = {"Origin": "http://page.example"}
    asked = origin | {"Access-Control-Request-Headers": "authorization,x-signalr-user-agent"}
    async with caller.http.options(f"{caller.base}/client/negotiate?hub=chat", headers=asked) as preflight:
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Headers"] == asked["Access-Control-Request-Headers"]
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for answer in (await caller.negotiate(headers=origin), await caller.negotiate(token="bad", headers=origin)):
        assert answer.headers["Access-Control-Allow-Origin"] == "http://page.example"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"


async def test_a_page_of_another_origin_may_not_use_the_admin_api(caller: Caller) -> None:
    url, origin = f"{caller.base}/_admin/messages", {"Origin": "http://page.example"}
    async with caller.http.get(url, headers=origin) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    async with caller.http.options(url, headers=origin) as preflight:
        assert preflight.status == 405


async def test_stopping_says_goodbye_and_invites_back(caller: Caller) -> None:
    client = await caller.connect()
    stopping = asyncio.create_task(caller.server.stop())
    assert await client.record() == {"type": 7, "error": "Service is shutting down.", "allowReconnect": True}
    assert await client.record() is None
    await stopping


async def test_server_sent_events_carry_one_record_each(caller: Caller) -> None:
    token = caller.client_token("u")
    negotiated = await (await caller.negotiate(token=token)).json()
    url = f"{caller.base}/client/?hub=chat&id={negotiated['connectionToken']}"
    headers = {"Authorization": f"Bearer {token}"}
    async with caller.http.get(url, headers=headers | {"Accept": "text/event-stream"}) as events:
        assert await events.content.readuntil(b"\r\n\r\n") == b":\r\n\r\n"
        async with caller.http.post(url, data=HANDSHAKE.encode(), headers=headers) as sent:
            assert sent.status == 200
        assert await events.content.readuntil(b"\r\n\r\n") == b"data: {}\x1e\r\n\r\n"
        await caller.send("/users/u", "a")
        event = await events.content.readuntil(b"\r\n\r\n")
        assert json.loads(event[len(b"data: ") : -5])["arguments"] == ["a"]


async def test_a_newer_poll_replaces_the_one_that_waits(caller: Caller) -> None:
    token = caller.client_token("u")
    negotiated = await (await caller.negotiate(token=token)).json()
    url = f"{caller.base}/client/?hub=chat&id={negotiated['connectionToken']}"
    headers = {"Authorization": f"Bearer {token}"}

    async def poll() -> tuple[int, bytes]:
        async with caller.http.get(url, headers=headers) as answer:
            return answer.status, await answer.read()

    assert await poll() == (200, b"")
    async with caller.http.post(url, data=HANDSHAKE.encode(), headers=headers):
        pass
    assert await poll() == (200, b"{}\x1e")
    older, newer = asyncio.create_task(poll()), asyncio.create_task(poll())
    done, _ = await asyncio.wait([older, newer], timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [(204, b"")]
    await caller.send("/users/u", "kept")
    remaining = newer if older in done else older
    assert b"kept" in (await remaining)[1]
    async with caller.http.delete(url, headers=headers) as left:
        assert left.status == 202
    assert await poll() == (204, b"")


async def test_messagepack_clients_receive_the_same_messages_in_binary(caller: Caller) -> None:
    """`{}` and its separator answer the handshake in any protocol; records follow with their length before them."""
    binary, text = await caller.open(caller.client_token("u")), await caller.connect("u")
    await binary.send_str('{"protocol":"messagepack","version":1}\x1e')
    assert await binary.receive_bytes(timeout=10) == b"{}\x1e"
    await caller.send("/users/u", "a")
    assert await binary.receive_bytes(timeout=10) == b"\x0e\x96\x01\x80\xc0\xa5token\x91\xa1a\x90"
    assert await text.arguments() == ["a"]
    await binary.send_bytes(b"\x03\x92\x07\xc0")  # Close
    assert (await binary.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE


async def test_a_client_that_reads_nothing_is_cut_off_and_nobody_else_waits_for_it(caller: Caller) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", caller.server.port)
    request = (
        f"GET /client/?hub=chat&access_token={caller.client_token('slow')} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    handshake = HANDSHAKE.encode()
    # A masked text frame whose mask is zero leaves the text as it is.
    writer.write(request.encode() + bytes([0x81, 0x80 | len(handshake), 0, 0, 0, 0]) + handshake)
    await reader.readuntil(b"{}\x1e")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    while await caller.admin("GET", "/connections"):
        assert await caller.send("/users/slow", "x" * 900_000) == 202
        sent += 1
        assert sent < 100, "the connection was never cut off"
    writer.transport.abort()


async def test_a_handshake_may_ask_for_an_older_version(caller: Caller) -> None:
    """The Python client signalrcore asks for version 0."""
    client = Connected(await caller.open(caller.client_token()), "")
    await client.socket.send_str('{"protocol":"json","version":0}\x1e')
    assert await client.record() == {}
