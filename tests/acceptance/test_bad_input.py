"""Bad input: a clear error with the status that HTTP knows for it, and nothing is started or changed."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from tests.chat_client import ChatClient
from tests.running_stack import RunningStack

TURNS = "/api/conversations/bad/turns"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def visitor(stack: RunningStack) -> AsyncIterator[ChatClient]:
    async with ChatClient(stack.url, signalr=False) as client:
        yield client


async def ask(visitor: ChatClient, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any], Any]:
    async with visitor.http.request(method, path, **more) as answer:
        text = await answer.text()
        return answer.status, json.loads(text)["error"], answer.headers


BODIES = [
    (b"", 400, None),
    (b"{", 400, None),
    (b"[]", 400, None),
    (b'"x"', 400, None),
    (b"\xff\xfe", 400, None),
    (b"[" * 20_000, 400, None),
    (b"{}", 400, "prompt"),
    (b'{"prompt": null}', 400, "prompt"),
    (b'{"prompt": 5}', 400, "prompt"),
    (b'{"prompt": " \\n "}', 400, "prompt"),
    (b'{"prompt": "\\ud800"}', 400, "prompt"),
    (json.dumps({"prompt": "x" * 100 * 1024}).encode(), 413, "prompt"),
    (json.dumps({"prompt": "x" * 1024 * 1024}).encode(), 413, None),
    (b'{"prompt": "x", "colour": 1}', 400, "colour"),
    (b'{"prompt": "x", "parentTurnId": "turn-1"}', 400, "parentTurnId"),
    (b'{"prompt": "x", "deployment": "nobody-has-this"}', 400, "deployment"),
    (b'{"prompt": "x", "deployment": 7}', 400, "deployment"),
    (b'{"prompt": "x", "temperature": "hot"}', 400, "temperature"),
    (b'{"prompt": "x", "temperature": 2.5}', 400, "temperature"),
    (b'{"prompt": "x", "temperature": true}', 400, "temperature"),
    (b'{"prompt": "x", "temperature": NaN}', 400, "temperature"),
    (b'{"prompt": "x", "topP": -1}', 400, "topP"),
    (b'{"prompt": "x", "temperature": 1, "topP": 1}', 400, "topP"),
    (b'{"prompt": "x", "maxTokens": 0}', 400, "maxTokens"),
    (b'{"prompt": "x", "maxTokens": 1.5}', 400, "maxTokens"),
    (b'{"prompt": "x", "isReasoningModel": "yes"}', 400, "isReasoningModel"),
    (b'{"prompt": "x", "policy": "hurry"}', 400, "policy"),
    (b'{"prompt": "x", "policy": []}', 400, "policy"),
]


@pytest.mark.parametrize(("body", "status", "field"), BODIES, ids=[repr(body[:40]) for body, _, _ in BODIES])
async def test_a_body_that_is_wrong_is_refused_and_starts_nothing(
    visitor: ChatClient, body: bytes, status: int, field: str | None
):
    answered, error, _ = await ask(visitor, "POST", TURNS, data=io.BytesIO(body), headers=JSON)
    assert (answered, error.get("field")) == (status, field)
    assert error["message"]
    assert (await visitor.get("/api/conversations/bad"))[0] == 404


async def test_a_body_that_is_not_called_json_is_refused(visitor: ChatClient):
    status, error, _ = await ask(
        visitor, "POST", TURNS, data=b'{"prompt": "x"}', headers={"Content-Type": "text/plain"}
    )
    assert (status, error["field"]) == (415, "Content-Type")


@pytest.mark.parametrize("conversation", ["a%2Fb", "a'b", "a%22b", "a%09b", "%C3%A9", "-a", "a" * 129, "%20"])
async def test_a_conversation_id_that_is_none_is_refused(visitor: ChatClient, conversation: str):
    for method, path in (("POST", f"{conversation}/turns"), ("GET", conversation)):
        # aiohttp would tidy the path up: what is asked for is what stands here.
        url = URL(f"{visitor.base}/api/conversations/{path}", encoded=True)
        async with visitor.http.request(method, url, json={"prompt": "x"} if method == "POST" else None) as answer:
            error = json.loads(await answer.text())["error"]
        assert answer.status == 400
        assert error["field"] == "conversation_id"


@pytest.mark.parametrize(("path", "status"), [("a%00b", 400), ("a%0Ab", 404)])
async def test_what_the_platform_refuses_before_us_starts_nothing(visitor: ChatClient, path: str, status: int):
    """Kestrel answers a NUL with an empty 400, FastAPI's catch-all does not match a line break."""
    url = URL(f"{visitor.base}/api/conversations/{path}/turns", encoded=True)
    async with visitor.http.post(url, json={"prompt": "x"}) as answer:
        assert answer.status == status


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "tab\tkey"])
async def test_an_idempotency_key_that_is_none_is_refused(visitor: ChatClient, key: str):
    headers = JSON | {"Idempotency-Key": key}
    status, error, _ = await ask(visitor, "POST", TURNS, data=b'{"prompt": "x"}', headers=headers)
    assert (status, error["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("turn", ["turn-1", "x", f"turn-{'a' * 32}-{'b' * 32}", "turn-%09", "a%27b"])
async def test_an_unknown_turn_is_not_found(visitor: ChatClient, turn: str):
    for path in (f"/api/turns/{turn}", f"/api/turns/{turn}/frames"):
        status, error, _ = await ask(visitor, "GET", path)
        assert (status, error["code"]) == (404, "not_found")


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=1.5", "wait=x", "wait=-1", "wait=1000", "wait=nan"])
async def test_a_frames_query_that_is_wrong_is_refused(visitor: ChatClient, query: str):
    turn_id, _, _ = await visitor.start_turn("#say x")
    status, error, _ = await ask(visitor, "GET", f"/api/turns/{turn_id}/frames?{query}")
    assert (status, error["field"]) == (400, query.split("=")[0])


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"])
async def test_the_http_extension_shows_no_pages_of_its_own(visitor: ChatClient, path: str):
    """They would load scripts from another site into our origin, where the session's cookie is sent."""
    async with visitor.http.get(path) as answer:
        assert (answer.status, await answer.text()) == (404, "")


async def test_an_unknown_route_is_not_found_and_a_wrong_method_says_what_is_allowed(visitor: ChatClient):
    for path in ("/nothing", "/api", "/api/turns", "/api/turns/a/b/c"):
        status, error, _ = await ask(visitor, "GET", path)
        assert (status, error["code"]) == (404, "not_found")
    for method, path, allowed in (
        ("GET", TURNS, "POST"),
        ("DELETE", "/api/turns/turn-1", "GET"),
        ("GET", "/api/turns/turn-1/stop", "POST"),
        ("PUT", "/api/negotiate", "GET, POST"),
        ("POST", "/", "GET"),
    ):
        status, error, headers = await ask(visitor, method, path)
        assert (status, error["code"], headers["Allow"]) == (405, "method_not_allowed", allowed)


@pytest.mark.parametrize(
    "path", ["../function_app.py", "%2e%2e/function_app.py", "package.json", "node_modules/x.js", ""]
)
async def test_only_what_is_for_browsers_is_served(visitor: ChatClient, path: str):
    async with visitor.http.get(URL(f"{visitor.base}/assets/{path}", encoded=True)) as answer:
        assert answer.status == 404


async def test_a_page_of_another_site_may_not_ask(visitor: ChatClient):
    headers = JSON | {"Origin": "https://evil.example"}
    status, error, _ = await ask(visitor, "POST", TURNS, data=b'{"prompt": "x"}', headers=headers)
    assert (status, error["code"]) == (403, "foreign_origin")
    status, _, _ = await ask(visitor, "POST", "/api/negotiate", headers={"Origin": "https://evil.example"})
    assert status == 403


@pytest.mark.parametrize(
    ("body", "content_type", "status", "field"),
    [
        (b'{"reason": "enough"}', "application/json", 400, "reason"),
        (b"[]", "application/json", 400, ""),
        (b"null", "application/json", 400, ""),
        (b"stop", "application/json", 400, None),
        (b" " * 2000, "application/json", 413, None),
        (b"{}", "text/plain", 415, "Content-Type"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "Content-Type"),
    ],
)
async def test_a_stop_that_says_more_than_stop_is_refused_and_stops_nothing(
    visitor: ChatClient, body: bytes, content_type: str, status: int, field: str | None
):
    turn_id, _, _ = await visitor.start_turn("#length 100\n#speed 100\n#first 0")
    path, headers = f"/api/turns/{turn_id}/stop", {"Content-Type": content_type}
    answered, error, _ = await ask(visitor, "POST", path, data=io.BytesIO(body), headers=headers)
    assert (answered, error.get("field", "")) == (status, field or "")
    done = await visitor.wait_for(turn_id, "answered", "logged")
    assert (done["status"], done["length"]) == ("completed", 100)


@pytest.mark.parametrize("turn", ["turn-1", "x", f"turn-{'a' * 32}-{'b' * 32}", "turn-%09", "a%27b"])
async def test_a_stop_of_an_unknown_turn_is_not_found(visitor: ChatClient, turn: str):
    status, error, _ = await ask(visitor, "POST", f"/api/turns/{turn}/stop")
    assert (status, error["code"]) == (404, "not_found")


async def test_a_stop_by_somebody_else_or_from_another_sites_page_stops_nothing(
    stack: RunningStack, visitor: ChatClient
):
    turn_id, _, _ = await visitor.start_turn("#length 100\n#speed 100\n#first 0")
    path = f"/api/turns/{turn_id}/stop"
    async with ChatClient(stack.url, signalr=False) as stranger:
        assert (await ask(stranger, "POST", path))[0] == 404
    status, error, _ = await ask(visitor, "POST", path, headers={"Origin": "https://evil.example"})
    assert (status, error["code"]) == (403, "foreign_origin")
    done = await visitor.wait_for(turn_id, "answered", "logged")
    assert (done["status"], done["length"]) == ("completed", 100)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "message"),
        (b'{"message": 1}', "message"),
        (b'{"message": "x", "to": "y"}', "to"),
        (b'{"message": "x", "userId": "a", "groupName": "b"}', "userId"),
    ],
)
async def test_a_broadcast_that_is_wrong_is_refused(visitor: ChatClient, body: bytes, field: str):
    status, error, _ = await ask(visitor, "POST", "/api/broadcast", data=body, headers=JSON)
    assert (status, error["field"]) == (400, field)
