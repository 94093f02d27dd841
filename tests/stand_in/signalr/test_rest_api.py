"""The data plane: who receives what, and each answer's status."""

import json
from io import BytesIO
from typing import Any

import pytest
from yarl import URL

from stand_in.signalr.rest_api import DATED, VERSION_1
from tests.stand_in.signalr.clients import VERSION, Caller, Clock, Connected


async def heard(caller: Caller, *clients: Connected) -> list[list[Any]]:
    """What each client has received so far: a marker to everybody shows where that ends."""
    await caller.send("", "marker", target="marker")
    everything = []
    for client in clients:
        received = []
        while (record := await client.record())["target"] != "marker":
            received.append(record["arguments"][0])
        everything.append(received)
    return everything


async def test_a_message_to_a_user_reaches_all_connections_of_that_user_and_nobody_else(caller: Caller) -> None:
    first, second, other = [await caller.connect(user) for user in ("u", "u", "other")]
    assert await caller.send("/users/u", "private") == 202
    assert await heard(caller, first, second, other) == [["private"], ["private"], []]


async def test_a_user_id_of_any_characters_is_percent_encoded(caller: Caller) -> None:
    client = await caller.connect("a/b c@ü")
    path = f"/api/hubs/chat/users/a%2Fb%20c%40%C3%BC/:send?{VERSION}"
    token = caller.token(f"{caller.base}{path.partition('?')[0]}")
    url = URL(caller.base + path, encoded=True)
    async with caller.http.post(
        url, json={"target": "t", "arguments": [1]}, headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        assert answer.status == 202
    assert await client.arguments() == [1]


async def test_a_message_to_all_or_to_a_group_leaves_out_who_is_excluded(caller: Caller) -> None:
    first, second = await caller.connect("1"), await caller.connect("2")
    for client in (first, second):
        assert (await caller.call("PUT", member("g", client))).status == 200
    await caller.send("", "all", query=f"&excluded={first.connection_id}&excluded=unknown")
    await caller.send("/groups/g", "group", query=f"&excluded={second.connection_id}")
    assert await heard(caller, first, second) == [["group"], ["all"]]


async def test_a_message_to_a_connection_reaches_that_one(caller: Caller) -> None:
    first, second = await caller.connect("u"), await caller.connect("u")
    await caller.send(f"/connections/{second.connection_id}", "one")
    assert await heard(caller, first, second) == [[], ["one"]]


@pytest.mark.parametrize("to", ["/users/nobody", "/groups/none", "/connections/none", ""])
async def test_a_message_that_nobody_receives_is_accepted_all_the_same(caller: Caller, to: str) -> None:
    assert await caller.send(to, 1) == 202


async def test_hubs_are_separate_and_their_names_have_no_case(caller: Caller) -> None:
    client = await caller.connect("u")
    body = {"target": "t", "arguments": ["upper"]}
    await caller.call("POST", f"/api/hubs/other/users/u/:send?{VERSION}", {"target": "t", "arguments": ["other"]})
    await caller.call("POST", f"/api/hubs/CHAT/users/u/:send?{VERSION}", body)
    assert await heard(caller, client) == [["upper"]]


async def test_messages_to_one_connection_arrive_in_the_order_in_which_they_were_accepted(caller: Caller) -> None:
    client = await caller.connect("u")
    for number in range(200):
        await caller.send("/users/u", number)
    assert await heard(caller, client) == [list(range(200))]


async def test_text_of_every_script_arrives_unchanged(caller: Caller) -> None:
    client = await caller.connect("u")
    text = "日本語 👩‍👩‍👧 \u2028 \x1e \x00 é"
    await caller.send("/users/u", text)
    message = await client.socket.receive(timeout=10)
    # The separator inside a text must have been escaped, or the record would end there.
    assert message.data.count("\x1e") == 1
    assert json.loads(message.data[:-1])["arguments"] == [text]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"Target":"t","Arguments":[1]}', 202),
        (b'{"target":"t"}', 202),
        (b'{"arguments":[1]}', 400),
        (b'{"target":"","arguments":[1]}', 400),
        (b'{"target":"t","arguments":{}}', 400),
        (b'{"target":"t","arguments":["\\ud83c"]}', 400),
        (b'{"target":"t","arguments":[NaN]}', 400),
        (b"[]", 400),
        (b"{", 400),
        (b'{"target":"t","arguments":["' + b"x" * 1024 * 1024 + b'"]}', 413),
    ],
)
async def test_a_body_is_checked(caller: Caller, body: bytes, status: int) -> None:
    path = f"/api/hubs/chat/users/u/:send?{VERSION}"
    answer = await caller.call("POST", path, data=BytesIO(body), headers={"Content-Type": "application/json"})
    assert answer.status == status
    if status >= 400:
        error = await answer.json()
        assert set(error) == {"code", "message", "target", "details", "inner"}
        assert answer.headers["x-ms-error-code"] == error["code"]


async def test_a_body_that_is_not_json_is_refused_by_its_name(caller: Caller) -> None:
    path = f"/api/hubs/chat/:send?{VERSION}"
    answer = await caller.call("POST", path, data=b"\x80", headers={"Content-Type": "application/octet-stream"})
    assert answer.status == 415
    assert "application/octet-stream" in (await answer.json())["message"]


@pytest.mark.parametrize(
    ("audience", "status"),
    [
        ("http://127.0.0.1:{port}/api/hubs/chat/users/u/:send", 202),
        ("http://127.0.0.1/api/hubs/chat/users/u/:send", 202),
        ("http://localhost:{port}/api/hubs/chat/users/u/:send?api-version=2022-06-01", 202),
        ("https://signalr.azure.com", 202),
        ("http://127.0.0.1:{port}/api/hubs/chat/users/v/:send", 401),
        ("http://elsewhere/api/hubs/chat/users/u/:send", 401),
        ("http://127.0.0.1:{port}/client/?hub=chat", 401),
    ],
)
async def test_a_call_needs_a_token_for_its_own_url(caller: Caller, audience: str, status: int) -> None:
    token = caller.token(audience.format(port=caller.server.port))
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/api/hubs/chat/users/u/:send?{VERSION}"
    for _ in range(2):  # a token that was checked before is treated no differently
        answer = await caller.call("POST", path, {"target": "t", "arguments": []}, headers=headers)
        assert answer.status == status


async def test_a_remembered_token_still_expires(caller: Caller, clock: Clock) -> None:
    path = f"/api/hubs/chat/:send?{VERSION}"
    token = caller.token(f"{caller.base}/api/hubs/chat/:send", exp=clock.time + 10)
    headers = {"Authorization": f"Bearer {token}"}
    body = {"target": "t", "arguments": []}
    assert (await caller.call("POST", path, body, headers=headers)).status == 202
    clock.time += 10
    assert (await caller.call("POST", path, body, headers=headers)).status == 401


async def test_a_call_without_a_token_or_with_a_wrong_signature_is_refused(caller: Caller) -> None:
    path = f"/api/hubs/chat/:send?{VERSION}"
    forged = caller.token(f"{caller.base}/api/hubs/chat/:send", key="another key, as long as the right one is")
    for authorization in ("", "Bearer ", f"Bearer {forged}"):
        answer = await caller.call("POST", path, {"target": "t"}, headers={"Authorization": authorization})
        assert answer.status == 401


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "ApiVersionUnspecified"), ("?api-version=2020-01-01", "UnsupportedApiVersion")],
)
async def test_the_dated_paths_need_a_version_that_is_known(caller: Caller, query: str, code: str) -> None:
    answer = await caller.call("POST", f"/api/hubs/chat/:send{query}", {"target": "t"})
    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, code)


async def test_an_operation_is_unknown_to_the_versions_before_it(caller: Caller) -> None:
    answer = await caller.call("POST", f"/api/hubs/chat/:generateToken?{VERSION}")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "UnsupportedApiVersion")


def member(group: str, client: Connected) -> str:
    return f"/api/hubs/chat/groups/{group}/connections/{client.connection_id}?{VERSION}"


async def test_membership_of_a_connection_ends_when_it_leaves_or_closes(caller: Caller) -> None:
    first, second = await caller.connect("1"), await caller.connect("2")
    for client in (first, second):
        await caller.call("PUT", member("g", client))
    assert (await caller.call("DELETE", member("g", first))).status == 200
    await caller.send("/groups/g", "rest")
    assert await heard(caller, first, second) == [[], ["rest"]]
    url = f"/api/hubs/chat/connections/{second.connection_id}/groups?{VERSION}"
    assert (await caller.call("DELETE", url)).status == 200
    answer = await caller.call("HEAD", f"/api/hubs/chat/groups/g?{VERSION}")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (404, "Warning.Group.NotExisted")


async def test_a_connection_that_does_not_exist_joins_nothing(caller: Caller) -> None:
    answer = await caller.call("PUT", f"/api/hubs/chat/groups/g/connections/none?{VERSION}")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (404, "Error.Connection.NotExisted")


async def test_a_user_group_holds_for_connections_that_open_later_until_it_lapses(caller: Caller, clock: Clock) -> None:
    path = f"/api/hubs/chat/users/u/groups/g?{VERSION}"
    assert (await caller.call("PUT", path + "&ttl=60")).status == 200
    assert (await caller.call("HEAD", path)).status == 200
    client = await caller.connect("u")
    await caller.send("/groups/g", "within")
    clock.time += 20
    await client.socket.send_str('{"type":6}\x1e')
    clock.time += 41
    await caller.send("/groups/g", "after")
    assert await heard(caller, client) == [["within"]]
    assert (await caller.call("HEAD", path)).status == 404


async def test_with_a_ttl_of_zero_only_the_connections_of_the_moment_join(caller: Caller) -> None:
    now = await caller.connect("u")
    await caller.call("PUT", f"/api/hubs/chat/users/u/groups/g?{VERSION}&ttl=0")
    later = await caller.connect("u")
    await caller.send("/groups/g", "m")
    assert await heard(caller, now, later) == [["m"], []]


async def test_of_the_user_groups_without_ttl_the_latest_hundred_are_kept(caller: Caller) -> None:
    for number in range(101):
        await caller.call("PUT", f"/api/hubs/chat/users/u/groups/g{number}?{VERSION}")
    for number, status in ((0, 404), (1, 200), (100, 200)):
        answer = await caller.call("HEAD", f"/api/hubs/chat/users/u/groups/g{number}?{VERSION}")
        assert answer.status == status


async def test_a_user_leaves_one_group_or_all(caller: Caller) -> None:
    client = await caller.connect("u")
    for group in ("a", "b", "c"):
        await caller.call("PUT", f"/api/hubs/chat/users/u/groups/{group}?{VERSION}")
    assert (await caller.call("DELETE", f"/api/hubs/chat/users/u/groups/a?{VERSION}")).status == 204
    await caller.send("/groups/a", "a")
    await caller.send("/groups/b", "b")
    assert (await caller.call("DELETE", f"/api/hubs/chat/users/u/groups?{VERSION}")).status == 204
    await caller.send("/groups/c", "c")
    assert await heard(caller, client) == [["b"]]


async def test_existence_of_users_and_connections(caller: Caller) -> None:
    client = await caller.connect("u")
    for path, status in (
        ("users/u", 200),
        ("users/v", 404),
        (f"connections/{client.connection_id}", 200),
        ("connections/none", 404),
    ):
        assert (await caller.call("HEAD", f"/api/hubs/chat/{path}?{VERSION}")).status == status


async def test_connections_are_closed_one_by_one_by_user_or_altogether(caller: Caller) -> None:
    clients = [await caller.connect(user) for user in ("1", "2", "3", "4")]
    one = f"/api/hubs/chat/connections/{clients[0].connection_id}?{VERSION}&reason=enough"
    assert (await caller.call("DELETE", one)).status == 200
    assert await clients[0].record() == {"type": 7, "error": "enough"}
    assert (await caller.call("POST", f"/api/hubs/chat/users/2/:closeConnections?{VERSION}")).status == 204
    assert await clients[1].record() == {"type": 7}
    rest = f"/api/hubs/chat/:closeConnections?{VERSION}&excluded={clients[3].connection_id}"
    assert (await caller.call("POST", rest)).status == 204
    assert await clients[2].record() == {"type": 7}
    assert await heard(caller, clients[3]) == [[]]


async def test_a_generated_token_opens_a_connection_of_its_user(caller: Caller) -> None:
    path = "/api/hubs/chat/:generateToken?api-version=2022-11-01&userId=u&minutesToExpire=5"
    token = (await (await caller.call("POST", path)).json())["token"]
    assert (await caller.negotiate(token=token)).status == 200


async def test_the_members_of_a_group_are_listed_in_pages(caller: Caller) -> None:
    clients = [await caller.connect(user) for user in ("1", "2", "3")]
    for client in clients:
        await caller.call("PUT", member("g", client))
    path = "/api/hubs/chat/groups/g/connections?api-version=2024-12-01&maxpagesize=2"
    page = await (await caller.call("GET", path)).json()
    following = page["nextLink"].removeprefix(caller.base)
    last = await (await caller.call("GET", following)).json()
    assert [each["userId"] for each in page["value"] + last["value"]] == ["1", "2", "3"]
    assert last["nextLink"] is None


async def test_version_1_has_paths_and_statuses_of_its_own(caller: Caller) -> None:
    client = await caller.connect("u")
    root, body = "/api/v1/hubs/chat", {"target": "t", "arguments": ["v1"]}
    for method, path, status in (
        ("POST", "/users/u", 202),
        ("POST", "", 202),
        ("PUT", "/groups/g/users/u", 202),
        ("POST", "/groups/g", 202),
        ("GET", "/groups/g/users/u", 200),
        ("DELETE", "/groups/g/users/u", 202),
        ("HEAD", "/groups/g/users/u", 404),
        ("DELETE", f"/connections/{client.connection_id}", 202),
    ):
        answer = await caller.call(method, root + path, body if method == "POST" else None)
        assert (method, path, answer.status) == (method, path, status)
    assert [await client.arguments() for _ in range(3)] == [["v1"]] * 3
    assert await client.record() == {"type": 7}


@pytest.mark.parametrize("path", ["/:execute", "/connections/c/:invoke", "/connections/c/streams/s/:send"])
async def test_what_the_emulator_has_not_is_refused_by_name(caller: Caller, path: str) -> None:
    answer = await caller.call("POST", f"/api/hubs/chat{path}?api-version=2024-12-01")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (501, "Operation.NotSupported")
    assert path.rpartition("/")[2] in (await answer.json())["message"]


def test_every_operation_of_version_1_exists_in_the_dated_versions() -> None:
    assert {row[2] for row in VERSION_1} <= {row[3] for row in DATED}


async def test_health_needs_no_token(caller: Caller) -> None:
    for path in ("/api/health", "/api/v1/health"):
        async with caller.http.head(caller.base + path) as answer:
            assert answer.status == 200


async def test_an_unknown_path_is_not_found(caller: Caller) -> None:
    answer = await caller.call("POST", "/api/nothing")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (404, "NotFound")
