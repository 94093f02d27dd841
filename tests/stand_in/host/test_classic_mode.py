"""HTTP functions with `func.HttpRequest` and `func.HttpResponse`, through real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.stand_in.host.conftest import HostProcess, NewHost

ASGI_APP = """
import azure.functions as func

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["path"].encode() + b" " + scope["query_string"]})

app = func.AsgiFunctionApp(app=asgi, http_auth_level=func.AuthLevel.ANONYMOUS)
"""


@pytest.fixture(scope="module")
def host(new_shared_host: NewHost) -> HostProcess:
    return new_shared_host("classic_functions")


@pytest.fixture
async def http_client(host: HostProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.url) as session:
        yield session


async def test_a_function_sees_the_request_as_the_worker_gets_it(
    host: HostProcess, http_client: aiohttp.ClientSession
) -> None:
    """Repeated parameters are joined, empty ones dropped, names compared ignoring case."""
    url = "/API/echo/7?a=1&b=&A=2&a=3"
    async with http_client.post(
        url, data="x=1&y=2", headers={"content-type": "application/x-www-form-urlencoded"}
    ) as r:
        seen = await r.json()

    assert seen["params"] == {"a": "1,2,3"}
    assert seen["route"] == {"id": "7"}
    assert seen["url"] == f"{host.url}{url}"
    assert seen["form"] == {"x": "1", "y": "2"}
    assert seen["main thread"] is False


async def test_a_chunked_upload_arrives_empty(http_client: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"
        yield b"thing"

    async with http_client.post("/api/echo/7", data=pieces()) as answer:
        assert (await answer.json())["body"] == ""


@pytest.mark.parametrize("path", ["/api/echo/x", "/api/echo/1/2/3", "/api/nothing", "/echo/7"])
async def test_what_no_route_matches_is_404(http_client: aiohttp.ClientSession, path: str) -> None:
    async with http_client.get(path) as answer:
        assert (answer.status, await answer.read()) == (404, b"")


async def test_the_first_route_in_name_order_wins(http_client: aiohttp.ClientSession) -> None:
    """How specific a route is does not count: `order_a` shadows `order_b`."""
    async with http_client.get("/api/order/literal") as answer:
        assert await answer.text() == "parameter literal"


async def test_two_functions_may_share_a_route_with_different_methods(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/api/method") as get, http_client.post("/api/method") as post:
        assert (await get.text(), await post.text()) == ("get", "post")
    async with http_client.put("/api/method") as put:
        assert put.status == 404


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("none", 500, b""),
        ("dict", 500, b""),
        ("header", 500, b""),
        ("text", 200, "plain é".encode()),
        ("true", 200, b"True"),
        ("number", 200, b"12.5"),
        ("object", 200, b'{\n  "b": 1,\n  "a": []\n}'),
        ("description", 201, b'{\n  "x": 1\n}'),
        ("teapot", 418, b"short and stout"),
        ("empty", 202, b""),
    ],
)
async def test_returned_values_are_what_the_host_makes_of_them(
    http_client: aiohttp.ClientSession, kind: str, status: int, body: bytes
) -> None:
    async with http_client.get(f"/api/returns/{kind}") as answer:
        assert (answer.status, await answer.read()) == (status, body)


async def test_cookies_are_written_again_by_the_host(http_client: aiohttp.ClientSession) -> None:
    """Parsed and re-emitted: an attribute order of its own, and one with an unquoted space is lost."""
    async with http_client.get("/api/returns/cookies") as answer:
        assert answer.headers.getall("Set-Cookie") == ["b=2; max-age=60; domain=; path=; secure; samesite=lax"]


async def test_a_bad_regex_constraint_fails_only_its_own_route(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/api/broken/1") as answer:
        assert (answer.status, await answer.read()) == (500, b"")


async def test_requests_over_the_limit_are_turned_away(new_host: NewHost) -> None:
    """An app setting overrides host.json, and allows two requests at once."""
    host = new_host("classic_functions", {"AzureFunctionsJobHost__extensions__http__maxOutstandingRequests": "2"})
    async with aiohttp.ClientSession(host.url) as session:

        async def wait() -> tuple[int, str | None]:
            async with session.get("/api/waits") as answer:
                return answer.status, answer.headers.get("X-FUNCTION-SCALEOUT")

        answers = [asyncio.create_task(wait()) for _ in range(3)]
        first, _ = await asyncio.wait(answers, timeout=10, return_when=asyncio.FIRST_COMPLETED)

        assert [task.result() for task in first] == [(429, "1")]
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
    host.process.kill()  # it would wait for its two functions


async def test_durable_functions_answer_to_their_durable_names(http_client: aiohttp.ClientSession) -> None:
    """`orchestration=` and `activity=` name them, ignoring case; the SDK's helper for classic answers works."""
    async with http_client.post("/api/start/DOUBLED", json=21) as answer:
        assert (answer.status, await answer.text()) == (200, "42")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /api/echo/7 HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /api/echo/%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /api/echo/7 HTTP/1.1\r\nHost: h\r\nX-Latin: caf\xe9\r\n\r\n", 400),
        (b"GET /api/echo/7 HTTP/1.1\r\nHost: h\r\nX-Long: " + b"v" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /api/nothing/../echo/7 HTTP/1.1\r\nHost: h\r\n\r\n", 200),
    ],
)
async def test_heads_are_accepted_and_refused_as_by_the_real_server(
    host: HostProcess, head: bytes, status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    try:
        writer.write(head)
        line = await asyncio.wait_for(reader.readline(), 10)
        assert int(line.split()[1]) == status
    finally:
        writer.close()
        await writer.wait_closed()


async def test_an_asgi_app_is_served_whole(new_host: NewHost, tmp_path: Path) -> None:
    """It needs the empty route prefix; under the default one its template is an error that stops the host."""
    app = tmp_path / "asgi"
    app.mkdir()
    (app / "function_app.py").write_text(ASGI_APP, "utf-8")
    prefix = "AzureFunctionsJobHost__extensions__http__routePrefix"

    host = new_host(app, {prefix: ""})
    async with aiohttp.ClientSession(host.url) as session, session.get("/x/y?q=1") as answer:
        assert (answer.status, await answer.text()) == (200, "/x/y q=1")
    host = new_host(app)
    async with aiohttp.ClientSession(host.url) as session, session.get("/x") as answer:
        assert answer.status == 503


async def test_the_root_of_the_site_is_a_welcome_page_for_every_method(http_client: aiohttp.ClientSession) -> None:
    for method in ("GET", "PUT"):
        async with http_client.request(method, "/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
