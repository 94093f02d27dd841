"""The hub against the emulator: who receives, how tokens are made, and what happens on the service's bad days."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import pytest

from adapters.signalr import ENTRA_SCOPE, SignalRConnection, SignalRHub
from chat.errors import DeliveryFailed, MissingSetting
from stand_in.signalr.access_tokens import EMULATOR_ACCESS_KEY, connection_string
from stand_in.signalr.emulator import Emulator
from stand_in.signalr.faults import Faults
from stand_in.signalr.server import SignalRServer, serve

UNBOUND_PORT = 1


@dataclass
class Clock:
    time: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[SignalRServer]:
    server = await serve(Emulator(unix_time=clock), port=0)
    yield server
    await server.stop()


@pytest.fixture
async def hub(server: SignalRServer, clock: Clock) -> AsyncIterator[SignalRHub]:
    hub = SignalRHub(connection(server), clock=clock)
    yield hub
    await hub.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


def connection(server: SignalRServer) -> SignalRConnection:
    return SignalRConnection.from_connection_string(connection_string(server.port))


class Browser:
    """A page that connected with what `negotiate` gave to it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    @classmethod
    async def connect(cls, http: aiohttp.ClientSession, info: dict[str, str]) -> "Browser":
        socket = await http.ws_connect(f"{info['url']}&access_token={info['accessToken']}")
        await socket.send_str('{"protocol":"json","version":1}\x1e')
        assert (await socket.receive_str(timeout=10)) == "{}\x1e"
        return cls(socket)

    async def next(self) -> str:
        return (await self.socket.receive_str(timeout=10)).rstrip("\x1e")


def faults(server: SignalRServer, **wanted: Any) -> None:
    server.emulator.faults = Faults(wanted)


async def test_a_browser_that_negotiated_receives_what_is_sent_to_its_user(
    hub: SignalRHub, http: aiohttp.ClientSession
) -> None:
    mine = await Browser.connect(http, await hub.negotiate("u-1"))
    other = await Browser.connect(http, await hub.negotiate("u-2"))
    await hub.send_to_user("u-1", "token", ["日本", {"seq": 1}])
    await hub.send_to_all("token", ["all"])
    assert await mine.next() == '{"type":1,"target":"token","arguments":["日本",{"seq":1}]}'
    assert await mine.next() == await other.next() == '{"type":1,"target":"token","arguments":["all"]}'


async def test_groups_and_connections_are_reached_too(
    hub: SignalRHub, server: SignalRServer, http: aiohttp.ClientSession
) -> None:
    browser = await Browser.connect(http, await hub.negotiate("u"))
    [open_connection] = server.emulator.hubs["chat"].everyone()
    server.emulator.hubs["chat"].join_group(open_connection, "a group/1")
    await hub.send_to_group("a group/1", "g", [])
    await hub.send_to_connection(open_connection.connection_id, "c", [])
    assert await browser.next() == '{"type":1,"target":"g","arguments":[]}'
    assert await browser.next() == '{"type":1,"target":"c","arguments":[]}'


async def test_a_user_id_may_hold_any_character(hub: SignalRHub, http: aiohttp.ClientSession) -> None:
    user_id = "a/b?c d#%41é:"
    browser = await Browser.connect(http, await hub.negotiate(user_id))
    await hub.send_to_user(user_id, "t", [])
    assert await browser.next() == '{"type":1,"target":"t","arguments":[]}'


async def test_a_client_token_names_hub_user_and_one_hour(server: SignalRServer, clock: Clock) -> None:
    hub = SignalRHub(connection(server), "Chat", clock=clock)
    info = await hub.negotiate("u")
    assert info["url"] == f"http://127.0.0.1:{server.port}/client/?hub=chat"
    claims = jwt.decode(
        info["accessToken"], EMULATOR_ACCESS_KEY, ["HS256"], audience=info["url"], options={"verify_exp": False}
    )
    assert claims["asrs.s.uid"] == claims["nameid"] == "u"
    assert claims["exp"] - clock.time == 3600


async def test_call_tokens_are_reused_and_renewed_before_they_expire(
    server: SignalRServer, hub: SignalRHub, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[dict[str, Any]] = []
    encode = jwt.encode

    def counted(claims: dict[str, Any], *arguments: Any) -> str:
        signed.append(claims)
        return encode(claims, *arguments)

    monkeypatch.setattr(jwt, "encode", counted)
    for _ in range(3):
        await hub.send_to_user("u", "t", [])
    assert len(signed) == 1
    assert signed[0]["aud"] == f"http://127.0.0.1:{server.port}/api/hubs/chat/users/u/:send"
    clock.time += 3600 - 299
    await hub.send_to_user("u", "t", [])
    clock.time += 299
    await hub.send_to_user("u", "t", [])
    assert len(signed) == 2


@pytest.mark.parametrize("status", [0, 408, 500, 502, 503, 504])
async def test_a_passing_failure_is_tried_again_with_the_same_message(
    server: SignalRServer, hub: SignalRHub, http: aiohttp.ClientSession, status: int
) -> None:
    browser = await Browser.connect(http, await hub.negotiate("u"))
    faults(server, sends=[{"status": status, "times": 2}])
    await hub.send_to_user("u", "t", ["once"])
    assert await browser.next() == '{"type":1,"target":"t","arguments":["once"]}'
    assert server.emulator.log.refused[status] == 2
    assert server.emulator.log.accepted == 1


async def test_after_two_retries_delivery_has_failed(server: SignalRServer, hub: SignalRHub) -> None:
    faults(server, sends=[{"status": 503, "times": 9}])
    with pytest.raises(DeliveryFailed, match=r"status 503 \(Fault.Injected\)") as failed:
        await hub.send_to_user("u", "t", [])
    assert failed.value.temporary
    assert not failed.value.refused
    assert server.emulator.log.refused[503] == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_a_refusal_that_will_not_change_is_not_tried_again(
    server: SignalRServer, hub: SignalRHub, status: int
) -> None:
    faults(server, sends=[{"status": status}])
    with pytest.raises(DeliveryFailed, match=f"status {status}") as failed:
        await hub.send_to_user("u", "t", [])
    assert not failed.value.temporary
    assert server.emulator.log.accepted == 0


@pytest.mark.parametrize(("status", "asked"), [(429, None), (429, 1.0), (429, 30.0), (503, 2.0)])
async def test_a_service_that_is_sent_too_much_is_not_argued_with(
    server: SignalRServer, hub: SignalRHub, status: int, asked: float | None
) -> None:
    faults(server, sends=[{"status": status, "retryAfter": asked}])
    with pytest.raises(DeliveryFailed, match=f"status {status}") as failed:
        await hub.send_to_user("u", "t", [])
    assert (failed.value.temporary, failed.value.refused, failed.value.retry_after) == (True, True, asked)
    assert server.emulator.log.refused[status] == 1


async def test_a_service_that_does_not_answer_costs_a_bounded_time(server: SignalRServer, clock: Clock) -> None:
    hub = SignalRHub(connection(server), send_seconds=0.3, clock=clock)
    faults(server, delay=30)
    with pytest.raises(DeliveryFailed, match="TimeoutError"):
        async with asyncio.timeout(10):
            await hub.send_to_user("u", "t", [])
    await hub.close()


async def test_a_service_that_is_not_there_is_a_failed_delivery() -> None:
    hub = SignalRHub(SignalRConnection.from_connection_string(connection_string(UNBOUND_PORT)))
    with pytest.raises(DeliveryFailed, match="the connection failed"):
        await hub.send_to_user("u", "t", [])
    await hub.close()


async def test_a_send_survives_a_restart_of_the_service(server: SignalRServer, hub: SignalRHub, clock: Clock) -> None:
    await hub.send_to_user("u", "t", [])
    port = server.port
    await server.stop()
    again = await serve(Emulator(unix_time=clock), port=port)
    await hub.send_to_user("u", "t", [])
    assert again.emulator.log.accepted == 1
    await again.stop()


async def test_a_message_beyond_one_megabyte_is_not_even_sent(hub: SignalRHub, server: SignalRServer) -> None:
    with pytest.raises(DeliveryFailed, match="larger than the 1 MB"):
        await hub.send_to_user("u", "t", ["x" * 1024 * 1024])
    assert server.emulator.log.accepted == 0


async def test_a_wrong_key_is_reported_without_showing_it(server: SignalRServer, clock: Clock) -> None:
    text = connection_string(server.port).replace(EMULATOR_ACCESS_KEY, EMULATOR_ACCESS_KEY[::-1])
    hub = SignalRHub(SignalRConnection.from_connection_string(text), clock=clock)
    with pytest.raises(DeliveryFailed, match="status 401") as failed:
        await hub.send_to_user("u", "t", [])
    assert EMULATOR_ACCESS_KEY[::-1] not in str(failed.value)
    await hub.close()


async def test_neither_text_nor_token_is_logged(
    server: SignalRServer, hub: SignalRHub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    faults(server, sends=[{"status": 503}])
    await hub.send_to_user("u", "t", ["the secret text"])
    [record] = [record for record in caplog.records if record.name == "adapters.signalr"]
    everything = " ".join(str(value) for record in caplog.records for value in vars(record).values())
    assert record.__dict__["reason"].startswith("status 503")
    assert "the secret text" not in everything
    assert "Bearer" not in everything


async def test_sixty_four_senders_at_once_keep_their_own_order(
    server: SignalRServer, hub: SignalRHub, http: aiohttp.ClientSession
) -> None:
    async def stream(user_id: str) -> list[str]:
        browser = await Browser.connect(http, await hub.negotiate(user_id))
        for number in range(10):
            await hub.send_to_user(user_id, "t", [number])
        records = ""
        while records.count("}") < 10:
            records += await browser.next()
        return [part.split("]")[0] for part in records.split('"arguments":[')[1:]]

    texts = await asyncio.gather(*(stream(f"u-{number}") for number in range(64)))
    assert texts == [[str(number) for number in range(10)]] * 64


def test_a_hub_works_on_one_event_loop_after_another(clock: Clock) -> None:
    async def send() -> int:
        server = await serve(Emulator(unix_time=clock), port=0)
        hub = SignalRHub(connection(server), clock=clock)
        await hub.send_to_user("u", "t", [])
        await hub.close()
        await hub.send_to_user("u", "t", [])
        await hub.close()
        await server.stop()
        return server.emulator.log.accepted

    assert [asyncio.run(send()) for _ in range(2)] == [2, 2]


@dataclass(frozen=True)
class EntraToken:
    token: str


class Identity:
    """A credential whose tokens the emulator takes for Entra's: signed with its key, for Entra's audience."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str) -> EntraToken:
        self.scopes += scopes
        return EntraToken(jwt.encode({"aud": "https://signalr.azure.com", "exp": 4e9}, EMULATOR_ACCESS_KEY, "HS256"))


async def test_with_an_identity_no_key_is_needed(
    server: SignalRServer, http: aiohttp.ClientSession, clock: Clock
) -> None:
    identity = Identity()
    uri = SignalRConnection.from_service_uri(f"http://127.0.0.1:{server.port}/")
    hub = SignalRHub(uri, credential=identity, clock=clock)
    browser = await Browser.connect(http, await hub.negotiate("u v"))
    await hub.send_to_user("u v", "t", [])
    await hub.send_to_user("u v", "t", [])
    assert await browser.next() == '{"type":1,"target":"t","arguments":[]}'
    assert identity.scopes == [ENTRA_SCOPE, ENTRA_SCOPE]  # once for each URL
    await hub.close()


def test_an_identity_without_a_credential_is_a_missing_setting() -> None:
    with pytest.raises(MissingSetting, match="AzureSignalRConnectionString__serviceUri"):
        SignalRHub(SignalRConnection.from_service_uri("https://x.service.signalr.net"))
