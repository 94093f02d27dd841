"""Bytes passed through: what of a request and an answer belongs to the call, and how a connection ends."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from adapters.azure_openai import ModelConnection
from adapters.model_passthrough import ModelPassthrough, UpstreamAnswer, UpstreamUnreachable, passed_on

CHAT = "/deployments/zero/chat/completions"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """A model service that keeps what it was sent."""

    def __init__(self, answer: Handler) -> None:
        self._answer = answer
        self.paths: list[str] = []
        self.headers: list[CIMultiDictProxy[str]] = []
        self.bodies: list[bytes] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.raw_path)
        self.headers.append(request.headers)
        self.bodies.append(await request.read())
        self.asked.set()
        try:
            return await self._answer(request)
        except asyncio.CancelledError:
            self.left.set()
            raise


@asynccontextmanager
async def served(answer: Handler, **more: Any) -> AsyncIterator[tuple[Service, ModelPassthrough]]:
    """A service and the way to it; `plain` makes it one that is not Azure's."""
    service = Service(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    base = f"{url}/v1" if more.pop("plain", False) else None
    connection = ModelConnection(endpoint=url, key="the-apps-key", base_url=base)
    passthrough = ModelPassthrough(connection, **more)
    try:
        yield service, passthrough
    finally:
        await passthrough.close()
        await runner.cleanup()


async def well(_request: web.Request) -> web.Response:
    return web.json_response({"ok": True})


def streaming(*pieces: bytes, hang: bool = False) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if hang:
            await asyncio.Event().wait()
        return response

    return answer


async def test_the_callers_headers_go_along_without_its_keys_and_those_of_the_way():
    sent = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("User-Agent", "sdk/1"),
        ("x-ms-client-request-id", "mine"),
        ("OpenAI-Beta", "something"),
        *(
            (name, "SECRET")
            for name in ("api-key", "Authorization", "x-functions-key", "Cookie", "Proxy-Authorization")
        ),
        *((name, "front") for name in ("X-Forwarded-For", "X-Azure-ClientIP", "X-ARR-SSL", "Client-IP", "Via")),
        ("Connection", "close, X-Of-This-Hop"),
        ("X-Of-This-Hop", "front"),
        ("Accept-Encoding", "br"),
        ("X-Name", "Zoë"),
    ]
    async with served(well) as (service, passthrough):
        answer = await passthrough.post(CHAT, [("api-version", "2024-10-21"), ("x", "a b&c/d")], sent, b'{"a": 1.00}')
        assert await answer.body() == b'{"ok": true}'
        answer.close()

    (headers,) = service.headers
    assert headers["api-key"] == "the-apps-key"
    assert headers["x-ms-client-request-id"] == "mine"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert (headers["User-Agent"], headers["OpenAI-Beta"]) == ("sdk/1", "something")
    assert not {"SECRET", "front", "br", "Zoë"} & set(headers.values())
    assert service.bodies == [b'{"a": 1.00}']
    assert service.paths == [f"/openai{CHAT}?api-version=2024-10-21&x=a%20b%26c%2Fd"]


async def test_a_plain_service_is_called_below_its_base_with_its_bearer():
    async with served(well, plain=True) as (service, passthrough):
        for path in ("/v1/chat/completions", "/chat/completions"):
            (await passthrough.post(path, [], [], b"{}")).close()
    assert service.paths == ["/v1/chat/completions"] * 2
    assert {headers["Authorization"] for headers in service.headers} == {"Bearer the-apps-key"}


async def test_an_answers_headers_come_along_as_often_as_they_stand_there():
    async def answer(_request: web.Request) -> web.Response:
        headers = CIMultiDict[str](
            [
                ("x-a", "1"),
                ("x-a", "2"),
                ("retry-after", "7"),
                ("set-cookie", "a=b"),
                ("access-control-allow-origin", "*"),
            ]
        )
        return web.Response(status=429, headers=headers, body=b"wait", content_type="text/plain")

    async with served(answer) as (_, passthrough):
        found = await passthrough.post(CHAT, [], [], b"{}")
        assert (found.status, found.is_stream, await found.body()) == (429, False, b"wait")
        found.close()

    assert [pair for pair in found.headers if pair[0] == "x-a"] == [("x-a", "1"), ("x-a", "2")]
    assert ("retry-after", "7") in [(name.lower(), value) for name, value in found.headers]
    names = {name.lower() for name, _ in found.headers}
    assert not names & {"set-cookie", "date", "server", "content-length", "access-control-allow-origin"}


async def test_an_answer_that_was_compressed_though_nobody_asked_comes_plain():
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"plain"), headers={"Content-Encoding": "gzip"})

    async with served(answer) as (_, passthrough):
        found = await passthrough.post(CHAT, [], [], b"{}")
        assert await found.body() == b"plain"
        found.close()
    assert "content-encoding" not in {name.lower() for name, _ in found.headers}


async def test_a_redirect_is_not_followed_and_not_passed_on():
    """The caller's client would send its key, ours, to wherever it says."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://elsewhere.example/"})

    async with served(answer) as (service, passthrough):
        with pytest.raises(UpstreamUnreachable, match="307"):
            await passthrough.post(CHAT, [], [], b"{}")
    assert len(service.paths) == 1


async def test_closing_a_stream_closes_the_service():
    async with served(streaming(b"data: 1\n\n", hang=True)) as (service, passthrough):
        answer = await passthrough.post(CHAT, [], [], b"{}")
        assert answer.is_stream
        assert await anext(answer.pieces()) == b"data: 1\n\n"
        answer.close()
        await asyncio.wait_for(service.left.wait(), 10)


async def test_giving_up_a_request_that_is_not_answered_closes_the_service():
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with served(answer) as (service, passthrough):
        asking = asyncio.create_task(passthrough.post(CHAT, [], [], b"{}"))
        await asyncio.wait_for(service.asked.wait(), 10)
        asking.cancel()
        await asyncio.wait_for(service.left.wait(), 10)


async def test_a_stream_that_is_cut_is_told_from_one_that_ends():
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        assert request.transport is not None
        request.transport.close()
        return response

    async with served(cut) as (_, passthrough):
        answer = await passthrough.post(CHAT, [], [], b"{}")
        assert await read_until_broken(answer) == b"data: 1\n\n"
        answer.close()
    async with served(streaming(b"data: 1\n\n")) as (_, passthrough):
        answer = await passthrough.post(CHAT, [], [], b"{}")
        assert await answer.body() == b"data: 1\n\n"
        answer.close()


async def read_until_broken(answer: UpstreamAnswer) -> bytes:
    received = bytearray()

    async def read() -> None:
        async for piece in answer.pieces():
            received.extend(piece)

    with pytest.raises(UpstreamUnreachable):
        await read()
    return bytes(received)


async def test_a_service_that_is_silent_is_told_from_one_that_is_not_there():
    async with served(streaming(hang=True), read_seconds=0.05) as (_, passthrough):
        answer = await passthrough.post(CHAT, [], [], b"{}")
        with pytest.raises(UpstreamUnreachable) as silent:
            await answer.body()
        answer.close()
    assert silent.value.timed_out
    nobody = ModelPassthrough(ModelConnection(endpoint="http://127.0.0.1:1", key="k"))
    with pytest.raises(UpstreamUnreachable) as absent:
        await nobody.post(CHAT, [], [], b"{}")
    assert not absent.value.timed_out
    await nobody.close()


class Tokens:
    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def get_token(self, *_scopes: str, **_more: Any) -> Any:
        if self.failure:
            raise self.failure
        return type("Token", (), {"token": "an.entra.token"})()


async def test_an_identity_is_a_bearer_and_one_without_a_token_is_told():
    async with served(well) as (service, keyed):
        endpoint = keyed._connection.endpoint
        for tokens in (Tokens(), Tokens(OSError("no identity here"))):
            credential: Any = tokens
            passthrough = ModelPassthrough(ModelConnection(endpoint=endpoint, credential=credential))
            asking = passthrough.post(CHAT, [], [("Authorization", "Bearer of-the-caller")], b"{}")
            if tokens.failure is None:
                (await asking).close()
            else:
                with pytest.raises(UpstreamUnreachable, match=r"no Entra token \(OSError\)"):
                    await asking
            await passthrough.close()
    assert [headers["Authorization"] for headers in service.headers] == ["Bearer an.entra.token"]


def test_headers_that_are_named_by_connection_are_of_one_hop():
    assert passed_on([("Connection", "keep-alive, x-a"), ("X-A", "1"), ("X-B", "2")]) == [("X-B", "2")]
