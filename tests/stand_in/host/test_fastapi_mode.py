"""HTTP functions of an app that imported the FastAPI extension, through real HTTP."""

import asyncio
import http.client
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.stand_in.host.conftest import HostProcess, NewHost

SETTINGS = {
    "PYTHON_ENABLE_INIT_INDEXING": "1",
    "ON_START_SCHEDULE": "0 0 0 1 1 *",
    "AzureWebJobs.switched_off.Disabled": "true",
    "SECRET_FOR_TESTS": "a setting",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000",
}


@pytest.fixture(scope="module")
def host(new_shared_host: NewHost) -> HostProcess:
    return new_shared_host("fastapi_functions", SETTINGS)


@pytest.fixture
async def http_client(host: HostProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.url) as session:
        yield session


async def test_a_function_sees_the_request_as_behind_the_host_s_proxy(
    host: HostProcess, http_client: aiohttp.ClientSession
) -> None:
    """`host` is the worker's; the public host and nothing the client claims about proxies is in `x-forwarded-*`."""
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example", "Forwarded": "for=1.2.3.4"}
    async with http_client.post("/echo/a/b%2Fc?x=1&x=2", data="hé", headers=headers) as answer:
        seen = await answer.json()

    assert seen["headers"]["x-forwarded-host"] == f"127.0.0.1:{host.port}"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    assert "forwarded" not in seen["headers"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", seen["headers"]["host"])
    assert seen["headers"]["host"] != f"127.0.0.1:{host.port}"
    assert seen["client"] == ["127.0.0.1", 0]
    assert seen["route"] == {"rest": "a/b%2Fc"}
    assert seen["query"] == [["x", "1"], ["x", "2"]]
    assert seen["body"] == "hé"
    assert seen["headers"]["x-ms-invocation-id"] == seen["invocation"] == seen["in thread"]


async def test_the_context_continues_the_caller_s_trace(http_client: aiohttp.ClientSession) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with http_client.get("/echo/x", headers={"traceparent": trace}) as answer:
        seen = await answer.json()

    assert seen["headers"]["traceparent"] == trace
    assert seen["trace"].split("-")[1] == trace.split("-")[1]
    assert seen["trace"] != trace


async def test_plain_functions_run_in_threads(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/in_thread") as answer:
        assert await answer.json() == {"main": False, "same": True}


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("dict", 200, b'{"a":[1,"\xc3\xa9"]}'),
        ("text", 200, b'"plain"'),
        ("number", 200, b"5"),
        ("none", 500, b"Internal Server Error"),
        ("empty", 204, b""),
        ("exception", 500, b"Internal Server Error"),
    ],
)
async def test_returned_values_are_what_fastapi_makes_of_them(
    http_client: aiohttp.ClientSession, kind: str, status: int, body: bytes
) -> None:
    async with http_client.get(f"/returns/{kind}") as answer:
        assert (answer.status, await answer.read()) == (status, body)


async def test_a_piece_leaves_at_once(http_client: aiohttp.ClientSession) -> None:
    """The second piece is only made when the first one has arrived."""
    async with http_client.get("/pieces") as answer:
        assert await asyncio.wait_for(answer.content.readline(), 10) == b"first\n"
        async with http_client.post("/next_piece"):
            pass
        assert await asyncio.wait_for(answer.content.readline(), 10) == b"second\n"


async def test_a_client_that_leaves_cancels_the_generator(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/endless") as answer:
        assert await answer.content.readline() == b"begun\n"
        answer.close()

    assert await eventually(http_client, "/seen/stream") == ["cancelled"]


async def test_an_error_before_the_first_piece_is_an_empty_500(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/breaks/at_once") as answer:
        assert (answer.status, await answer.read()) == (500, b"")


async def test_an_error_after_the_first_piece_cuts_the_answer_off(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/breaks/later") as answer:
        assert await answer.content.readline() == b"one piece\n"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_function_that_takes_too_long_is_cancelled(http_client: aiohttp.ClientSession) -> None:
    """host.json of the app says three seconds."""
    async with http_client.get("/slow", timeout=aiohttp.ClientTimeout(total=20)) as answer:
        assert (answer.status, await answer.read()) == (500, b"")


async def test_a_body_over_the_limit_is_refused_before_the_function(host: HostProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    try:
        connection.putrequest("POST", "/echo/x")
        connection.putheader("Content-Length", "1001")
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection"), answer.read()) == (500, "close", b"")
    finally:
        connection.close()


async def test_methods_that_a_route_does_not_list_are_404(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/start") as answer:
        assert answer.status == 404


async def test_a_disabled_function_is_404(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/switched_off") as answer:
        assert answer.status == 404


async def test_the_headers_of_host_json_are_on_every_answer(http_client: aiohttp.ClientSession) -> None:
    for path in ("/returns/dict", "/nothing", "/admin/host/ping"):
        async with http_client.get(path) as answer:
            assert answer.headers["X-Served-By"] == "host.json"


async def test_an_error_is_logged_with_its_function_but_without_the_request(
    host: HostProcess, http_client: aiohttp.ClientSession
) -> None:
    async with http_client.post("/log", data="a secret body") as answer:
        assert answer.status == 500

    host.wait_for_log("no body in this message")
    assert re.search(r"Exception while executing function: log \(invocation [0-9a-f-]{36}\)", host.log())
    assert "said by the function: a setting" in host.log()
    assert "a secret body" not in host.log()


async def test_the_management_api_and_the_client_see_the_same_orchestration(
    http_client: aiohttp.ClientSession,
) -> None:
    """Through an HTTP function with a client, an orchestrator, activities (one with a client) and an entity."""
    async with http_client.post("/start", json={"name": "漢"}) as answer:
        assert answer.status == 202
        links = await answer.json()
        assert answer.headers["Location"] == links["statusQueryGetUri"]

    status = await finished(http_client, links["statusQueryGetUri"])

    assert status["runtimeStatus"] == "Completed"
    assert status["output"] == {"text": "Hello 漢", "status seen by the activity": "Running"}
    async with http_client.get("/runtime/webhooks/durabletask/entities/counter/greetings") as answer:
        assert await answer.json() >= 1


async def test_an_activity_s_exception_fails_the_orchestration(http_client: aiohttp.ClientSession) -> None:
    async with http_client.post("/start", json={"fail": True}) as answer:
        links = await answer.json()

    status = await finished(http_client, links["statusQueryGetUri"])

    assert status["runtimeStatus"] == "Failed"
    assert "ValueError: an activity failed" in status["output"]


async def test_a_timer_with_a_client_ran_at_the_start(http_client: aiohttp.ClientSession) -> None:
    assert await eventually(http_client, "/seen/timer") == ["past due: False"]


async def test_a_function_started_by_hand_runs_in_the_background(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/seen/timer") as answer:
        before = len(await answer.json())
    async with http_client.post("/admin/functions/on_start", json={}) as answer:
        assert answer.status == 202

    assert len(await eventually(http_client, "/seen/timer", more_than=before)) == before + 1


async def test_the_functions_are_listed_with_their_bindings(http_client: aiohttp.ClientSession) -> None:
    async with http_client.get("/admin/functions") as answer:
        listed = {function["name"]: function for function in await answer.json()}

    assert listed["echo"]["invoke_url_template"].endswith("/echo/{*rest}")
    assert listed["greet"]["config"]["bindings"][0]["type"] == "orchestrationTrigger"
    assert listed["switched_off"]["isDisabled"] is True


def test_the_start_names_every_function_and_its_url(host: HostProcess) -> None:
    assert f"echo: [any method] http://localhost:{host.port}/echo/{{*rest}}" in host.log()
    assert "greet: orchestrationTrigger" in host.log()
    assert "switched_off: [any method]" in host.log()


async def eventually(client: aiohttp.ClientSession, path: str, *, more_than: int = 0) -> list[Any]:
    """Ask until the list that the path answers with has grown."""
    async with asyncio.timeout(20):
        while True:
            async with client.get(path) as answer:
                seen: list[Any] = await answer.json()
            if len(seen) > more_than:
                return seen
            await asyncio.sleep(0.02)


async def finished(client: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Ask for an orchestration's status until it has ended."""
    async with asyncio.timeout(30):
        while True:
            async with client.get(url) as answer:
                status: dict[str, Any] = json.loads(await answer.text())
                if answer.status == 200:
                    return status
            await asyncio.sleep(0.02)
