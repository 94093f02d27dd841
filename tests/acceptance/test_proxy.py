"""The proxy as its callers and its operator meet it: keys, refusals, records of every ending, people who leave."""

import asyncio
import json
import re
import socket
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jsonschema
import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient

from tests.proxy_callers import CHAT, KEYS, LARGEST_BODY, ProxyCallers, callers_of, chat, running_proxy
from tests.running_stack import ROOT, RunningStack

SCHEMA = json.loads((ROOT / "docs" / "call-record.schema.json").read_text())
AZURE_401 = "Access denied due to invalid subscription key"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_proxy(tmp_path_factory.mktemp("proxy")) as stack:
        yield stack


@pytest.fixture
async def callers(proxy: RunningStack) -> AsyncIterator[ProxyCallers]:
    async with callers_of(proxy) as found:
        await found.forget_upstream()
        yield found


PLACES = {
    "api-key": ({"api-key": KEYS["full"]}, CHAT),
    "Bearer": ({"Authorization": f"Bearer {KEYS['full']}"}, CHAT),
    "x-functions-key": ({"x-functions-key": KEYS["full"]}, CHAT),
    "code": ({}, f"{CHAT}&code={KEYS['full']}"),
    "one of several": ({"api-key": "what-the-sdk-had-to-be-given", "x-functions-key": KEYS["full"]}, CHAT),
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_key_is_found_in_each_of_its_places(callers: ProxyCallers, place: str):
    headers, path = PLACES[place]

    status, _, body = await callers.call(chat("#say here"), path, key=None, **headers)

    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "here")
    (seen,) = await callers.upstream()
    assert seen["access"] == "key"  # the app's: the emulator knows one


@pytest.mark.parametrize(
    "headers",
    [{}, {"api-key": "nobodys-key-0123456789"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}],
    ids=["none", "wrong", "Basic", "Bearer of nothing"],
)
@pytest.mark.parametrize("path", [CHAT, "/openai/v1/responses", "/openai/anything"])
async def test_without_a_key_of_ours_the_answer_is_azures_401(
    callers: ProxyCallers, headers: dict[str, str], path: str
):
    status, _, body = await callers.call(chat("#say x"), path, key=None, **headers)

    assert status == 401
    error = json.loads(body)["error"]
    assert error["code"] == "401"
    assert error["message"].startswith(AZURE_401)
    assert await callers.upstream() == []


async def test_a_large_body_without_a_key_gets_its_401_all_the_same(callers: ProxyCallers):
    """An answer to a request that was not read to its end gets lost between host and caller."""
    status, _, _ = await callers.call(b'{"messages": "' + b"x" * 5_000_000 + b'"}', key=None)
    assert status == 401


def v1(path: str = "chat/completions") -> str:
    return f"/openai/v1/{path}"


SOME = json.dumps(chat("#say x")).encode()
NAMES = ("a%2Fb", "a/b", "..", "%2e%2e", "..%2Fv1", "a..b", ".a", "a%5Cb", "%C3%A9", "a%20b", "a%3Fb", "a%25", "a" * 65)
REFUSED: dict[str, tuple[str, str, bytes, dict[str, str], int, str | None]] = {
    # path, method, body, headers, status, code
    "no api-version": (CHAT.split("?")[0], "POST", SOME, {}, 404, "404"),
    "api-version empty": (CHAT.split("=")[0] + "=", "POST", SOME, {}, 404, "404"),
    "responses without version": ("/openai/responses", "POST", SOME, {}, 404, "404"),
    "broken JSON": (CHAT, "POST", b'{"messages": [', {}, 400, None),
    "no object": (CHAT, "POST", b"[]", {}, 400, None),
    "empty": (CHAT, "POST", b"", {}, 400, None),
    "not UTF-8": (CHAT, "POST", b'{"a": "\xff"}', {}, 400, None),
    "UTF-16": (CHAT, "POST", '{"messages": []}'.encode("utf-16"), {}, 400, None),
    "bottomless": (CHAT, "POST", b'{"a":' * 100_000, {}, 400, None),
    "broken JSON, v1": (v1(), "POST", b"{", {}, 400, None),
    "too large": (CHAT, "POST", b'{"a": "' + b"x" * LARGEST_BODY + b'"}', {}, 413, "RequestEntityTooLarge"),
    "not JSON": (CHAT, "POST", SOME, {"Content-Type": "text/plain"}, 415, "UnsupportedMediaType"),
    "a form": (
        CHAT,
        "POST",
        b"a=b",
        {"Content-Type": "application/x-www-form-urlencoded"},
        415,
        "UnsupportedMediaType",
    ),
    "unknown path": ("/openai/deployments/zero/completions?api-version=2024-10-21", "POST", SOME, {}, 404, "404"),
    "unknown path, v1": (v1("images/generations"), "POST", SOME, {}, 404, "404"),
    "the root": ("/openai", "POST", SOME, {}, 404, "404"),
    "GET": (CHAT, "GET", b"", {}, 404, "404"),
    "DELETE": (CHAT, "DELETE", SOME, {}, 404, "404"),
    "another response's path": (v1("responses/resp_1/cancel"), "POST", b"{}", {}, 404, "404"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_wrong_is_refused_in_azures_shape_and_reaches_no_service(callers: ProxyCallers, name: str):
    path, method, body, headers, status, code = REFUSED[name]

    answered, _, said = await callers.call(body, path, method=method, **headers)

    error = json.loads(said)["error"]
    assert (answered, error["code"]) == (status, code)
    assert error["message"]
    assert await callers.upstream() == []


@pytest.mark.parametrize("deployment", NAMES)
async def test_a_deployment_name_never_becomes_another_path(callers: ProxyCallers, deployment: str):
    for path in (CHAT, CHAT.replace("chat/completions", "embeddings")):
        answered, _, said = await callers.call(SOME, path.replace("zero", deployment))

        assert answered == 404
        assert json.loads(said)["error"]["code"] in ("404", "DeploymentNotFound")
    assert await callers.upstream() == []


async def test_a_nul_is_refused_by_the_platform(callers: ProxyCallers):
    answered, _, _ = await callers.call(SOME, CHAT.replace("zero", "a%00b"))
    assert answered == 400
    assert await callers.upstream() == []


async def test_head_and_options_reach_no_service(callers: ProxyCallers):
    for method in ("HEAD", "OPTIONS"):
        status, _, _ = await callers.call(b"", method=method)
        assert 400 <= status < 500 or (method == "OPTIONS" and status == 204)
    assert await callers.upstream() == []


async def test_every_call_upstream_has_a_record_and_nothing_else_has_one(callers: ProxyCallers):
    """Refused by us: no record. Asked upstream, whatever came of it: one."""
    before = await callers.all_logged()
    for _, (path, method, body, headers, _, _) in sorted(REFUSED.items()):
        await callers.call(body, path, method=method, **headers)
    refused_by_the_service = (b"{}", json.dumps(chat("#fault 400")).encode(), b'{"messages": 5, "n": NaN, "m": 1e999}')
    for body in (SOME, *refused_by_the_service):
        await callers.call(body)
    await callers.call(SOME, CHAT.replace("zero", "nobody-has-this"))

    after = await callers.all_logged()

    assert len(await callers.upstream()) == 5
    assert set(before["accepted_ids"]) <= set(after["accepted_ids"])
    assert after["accepted"] - before["accepted"] == 5
    assert after["records"] == after["accepted"]
    assert after["sound"]


ENDINGS: dict[str, tuple[str, dict[str, Any], int, str | None, str]] = {
    "completed": ("#say well", {}, 200, None, "completed"),
    "completed stream": ("#say well", {"stream": True}, 200, None, "completed"),
    "two answers": ("#say well", {"stream": True, "n": 2}, 200, None, "completed"),
    "tool": ('#tool weather {"a": 1}', {"stream": True}, 200, None, "completed"),
    "prompt filtered": ("#fault filter prompt", {}, 400, "content_filter", "filtered"),
    "answer filtered": (
        "#fault filter after=1 #say well and good",
        {"stream": True},
        200,
        "content_filter",
        "filtered",
    ),
    "429": ("#fault 429 times=always", {}, 429, "429", "failed"),
    "500": ("#fault 500 times=always", {"stream": True}, 500, None, "failed"),
    "context": ("#fault context", {}, 400, "context_length_exceeded", "failed"),
    "cut": ("#fault cut after=2 #say well and good", {"stream": True}, 200, "stream_cut", "failed"),
    "ended early": ("#fault end after=2 #say well and good", {"stream": True}, 200, "stream_ended_early", "failed"),
    "error event": ("#fault error after=2 #say well and good", {"stream": True}, 200, None, "failed"),
    "no answer": ("#fault refuse times=always", {}, 502, "BadGateway", "failed"),
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("name", ENDINGS)
async def test_every_ending_leaves_one_record_of_the_schema(callers: ProxyCallers, name: str):
    prompt, more, status, code, ending = ENDINGS[name]
    words = f"about {name.replace(' ', '-')}"
    messages = [{"role": "system", "content": words}, {"role": "user", "content": prompt}]
    body: dict[str, Any] = {"messages": messages, **more} | ({"tools": [TOOL]} if name == "tool" else {})

    answered, headers, said = await callers.call(body)
    record = await callers.record_of(words)

    jsonschema.validate({key: value for key, value in record.items() if key != "_id"}, SCHEMA)
    assert answered == status
    assert record["status"] == ending
    assert record["_id"] == record["call_id"]
    assert record["prompt"] == messages
    assert (record["caller"], record["deployment"], record["api_version"]) == ("full", "zero", "2024-10-21")
    if code is not None:
        assert record["error"]["code"] == code
    if name != "no answer":
        assert record["request_id"] == headers["apim-request-id"]
        assert record["region"] == headers["x-ms-region"]
        assert record["http_status"] == status
    if ending == "completed":
        assert record["usage"]["completion_tokens"] > 0
        assert record["error"] is None
    if name.startswith("completed"):
        assert record["content"] == "well"
    if name == "two answers":
        assert [choice["content"] for choice in record["choices"]] == ["well", "well"]
    if name == "tool":
        (call,) = record["tool_calls"]
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"a": 1})
        assert record["content"] is None
    if more.get("stream"):
        assert record["type"] == "stream_completion"
        if record["time_to_first_chunk_ms"] is not None:
            assert record["latency_ms"] == record["time_to_first_chunk_ms"] + record["streaming_duration_ms"]
        assert (b"[DONE]" in said) == (ending != "failed" or (ending, name) == ("failed", "none"))


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/openai/v1/responses", {"input": "#say response words", "stream": True}, "stream_response"),
        ("/openai/v1/responses", {"input": "#say response words"}, "response"),
        ("/openai/v1/embeddings", {"input": "response words"}, "embedding"),
    ],
)
async def test_other_operations_leave_their_record_too(
    callers: ProxyCallers, path: str, body: dict[str, Any], kind: str
):
    status, _, _ = await callers.call(body | {"model": "zero"}, path)
    (record,) = await callers.records_when(lambda record: record.get("type") == kind)

    jsonschema.validate({key: value for key, value in record.items() if key != "_id"}, SCHEMA)
    assert (status, record["status"], record["deployment"]) == (200, "completed", "zero")
    assert record["content"] == (None if kind == "embedding" else "response words")
    assert record["usage"]


async def test_what_a_key_keeps_out_of_the_log_is_not_in_it(callers: ProxyCallers):
    """Nor is it anywhere else in what the stack has stored or printed."""
    for name in ("hashed", "none"):
        await callers.call(chat(f"#say sapphire-{name}"), key=KEYS[name])
    await callers.call(chat("#say emerald"), key=KEYS["few"])
    (hashed,) = await callers.records_when(lambda record: record.get("caller") == "hashed")
    (silent,) = await callers.records_when(lambda record: record.get("caller") == "none")
    (few,) = await callers.records_when(lambda record: record.get("caller") == "few")

    assert hashed["prompt"][0] | {"sha256": ""} == {
        "role": "user",
        "content": None,
        "sha256": "",
        "length": len("#say sapphire-hashed"),
    }
    assert hashed["content"] is None
    assert re.fullmatch("[0-9a-f]{64}", hashed["sha256"])
    assert (silent["prompt"], silent["content"], silent["sha256"]) == ([], None, None)
    assert silent["usage"]["total_tokens"] > 0
    assert set(few) == {
        *("schema", "type", "call_id", "caller", "status", "timestamp", "usage", "latency_ms", "prompt", "_id")
    }
    for record in (hashed, silent):
        jsonschema.validate({key: value for key, value in record.items() if key != "_id"}, SCHEMA)
    await callers.all_logged()
    assert found_in_files(callers.stack, b"sapphire") == []


async def test_no_key_is_passed_on_logged_or_stored(callers: ProxyCallers):
    """Whatever else the tests of this file made of them; the state of the stack itself holds its settings."""
    for place in PLACES:
        headers, path = PLACES[place]
        await callers.call(chat("#say x"), path, key=None, **headers)
    await callers.call(chat("#fault 401"), f"{CHAT}&code={KEYS['none']}")
    await callers.all_logged()

    assert all(KEYS["full"] not in json.dumps(seen) for seen in await callers.upstream(bodies=True))
    for key in KEYS.values():
        assert found_in_files(callers.stack, key.encode()) == []


def found_in_files(stack: RunningStack, words: bytes) -> list[str]:
    """Files of the stack (logs, blobs, events) that hold these words; the status file holds the app's settings."""
    return [
        str(path)
        for path in stack.state_dir.rglob("*")
        if path.is_file() and path.suffix != ".json" and words in path.read_bytes()
    ]


async def test_no_call_waits_for_a_stream(callers: ProxyCallers):
    """Two streams that speak for many seconds; fifty calls begin and end between two of their words."""
    slow = "#speed 10 #first 0 #length 4000"
    async with callers.stream(slow) as one, callers.stream(slow) as two:
        assert await one.content.readany()
        assert await two.content.readany()

        answers = await asyncio.gather(*(callers.call(chat(f"#say {number}")) for number in range(50)))

        assert [status for status, _, _ in answers] == [200] * 50
        still = [seen for seen in await callers.upstream() if seen["ended_at"] is None]
        assert len(still) == 2
        assert all(seen["disconnected_at"] is None for seen in still)


async def test_a_caller_who_leaves_before_the_first_byte_closes_the_call(callers: ProxyCallers):
    words = "#first 50 #say gone before a byte"
    for more in ({}, {"stream": True}):
        await leave(callers, chat(words + str(more), **more))
        seen = await callers.upstream_when(
            lambda seen: bool(seen and seen[-1]["disconnected_at"]), "upstream is closed"
        )
        assert len(seen) == 1
        record = await callers.record_of(words + str(more))
        assert (record["status"], record["content"], record["usage"]) == ("client_gone", None, None)
        await callers.forget_upstream()


async def leave(callers: ProxyCallers, body: dict[str, Any]) -> None:
    """Ask, and go away when the service has been asked."""
    asking = asyncio.create_task(callers.call(body))
    await callers.upstream_when(lambda seen: len(seen) == 1, "the service is asked")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_caller_who_leaves_a_stream_closes_it_and_the_record_has_what_was_delivered(callers: ProxyCallers):
    words = "#speed 50 #first 0 #script latin #length 5000"
    async with callers.stream(words) as answer:
        received = b""
        while received.count(b"data: ") < 10:
            received += await answer.content.readany()
        answer.close()

    await callers.upstream_when(lambda seen: seen[-1]["disconnected_at"] is not None, "upstream is closed")
    record = await callers.record_of(words)
    assert record["status"] == "client_gone"
    assert record["content"].startswith(text_of(received))
    assert 0 < len(record["content"]) < 4_000
    jsonschema.validate({key: value for key, value in record.items() if key != "_id"}, SCHEMA)


def text_of(stream: bytes) -> str:
    chunks = [json.loads(event[6:]) for event in stream.split(b"\n\n") if event.startswith(b"data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


async def test_a_slow_reader_holds_back_its_own_stream_and_no_other(callers: ProxyCallers):
    """Who takes nothing is sent nothing: the service stops at its own small buffer, nothing piles up between."""
    words = "#speed max #first 0 #script latin #length 1000000"  # eight times: more than any socket's buffer
    await callers.call(chat("#say warm"))
    with socket.create_connection(address_of(callers.stack)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps(chat(words, stream=True, n=8)).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\napi-key: {KEYS['full']}\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert await asyncio.to_thread(slow.recv, 100)
        held = await _standstill(callers)

        assert (await callers.call(chat("#say quick")))[0] == 200
        assert (await _standstill(callers)) == held
        assert 0 < held < 200_000
    record = await callers.record_of(words)
    assert record["status"] == "client_gone"


async def _standstill(callers: ProxyCallers) -> int:
    """How many tokens of the long answer were sent, when that does not change any more."""
    sent = -1
    while True:
        (seen,) = [seen for seen in await callers.upstream() if seen["stream"]]
        if seen["tokens_sent"] == sent and sent > 0:
            return sent
        sent = seen["tokens_sent"]
        await asyncio.sleep(1)  # there is no event for nothing happening


def address_of(stack: RunningStack) -> tuple[str, int]:
    url = urllib.parse.urlsplit(stack.url)
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


async def test_an_old_client_gets_its_answer(callers: ProxyCallers):
    """HTTP/1.0: no chunks, and the end of the connection is the end of the answer."""

    def ask() -> bytes:
        body = json.dumps(chat("#say of old")).encode()
        head = f"POST {CHAT} HTTP/1.0\r\napi-key: {KEYS['full']}\r\nContent-Type: application/json\r\n"
        with socket.create_connection(address_of(callers.stack)) as client:
            client.settimeout(30)
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            return b"".join(iter(lambda: client.recv(65536), b""))

    head, _, body = (await asyncio.to_thread(ask)).partition(b"\r\n\r\n")

    assert b" 200 " in head.split(b"\r\n")[0]
    assert json.loads(body)["choices"][0]["message"]["content"] == "of old"


async def test_what_json_cannot_say_and_pythons_parser_lets_pass_is_logged_all_the_same(callers: ProxyCallers):
    """NaN, a number beyond all, half a character: the service refuses or not, a record there is."""
    body = b'{"messages":[{"role":"user","content":"strange-json \\ud800","x":[NaN,1e999]}]}'

    await callers.call(body)

    record = await callers.record_of("strange-json")
    assert record["prompt"][0]["x"] == [None, None]


# The operator's commands, through their real door.
async def test_reconcile_finds_a_lost_record_and_one_that_was_written_twice(callers: ProxyCallers):
    """Loses a record of the hub, which the tests behind this one would not find either: they look at their own."""
    for number in range(3):
        await callers.call(chat(f"#say reconcile-{number}"))
    records = [await callers.record_of(f"reconcile-{number}") for number in range(3)]
    sound = await callers.all_logged()
    assert (sound["missing"], sound["different"], sound["sound"]) == ([], [], True)
    assert sound["records"] == sound["accepted"]
    assert (await callers.operate("reconcile"))[0] == 0

    again = await body_of(callers, records[2]["_id"])
    assert callers.lose_record(records[1]["_id"]) == 1
    await send(callers.stack, records[0]["_id"], b'{"status": "completed", "content": "another"}')
    await send(callers.stack, records[2]["_id"], again)

    code, found = await callers.reconciled()
    assert code == 1
    assert found["missing"] == [records[1]["_id"]]
    assert found["different"] == [records[0]["_id"]]
    assert found["copies"][records[2]["_id"]] == 2
    assert not found["sound"]
    code, said = await callers.operate("reconcile")
    assert code == 1
    assert records[1]["_id"] in said
    assert "NOT SOUND" in said


async def send(stack: RunningStack, message_id: str, body: bytes) -> None:
    """Into the hub as somebody else would; and something of no interest behind it into every partition."""
    producer = EventHubProducerClient.from_connection_string(
        stack.settings["AZURE_EVENTHUB_CONN_STR"], eventhub_name=stack.settings["AZURE_EVENTHUB_NAME"]
    )
    async with producer:
        events: list[tuple[str | None, str, bytes]] = [(None, message_id, body)]
        events += [(name, "no-record-of-ours", b"{}") for name in await producer.get_partition_ids()]
        for partition, event_id, content in events:
            event = EventData(content)
            event.message_id = event_id
            batch = await producer.create_batch(partition_id=partition)
            batch.add(event)
            await producer.send_batch(batch)


async def body_of(callers: ProxyCallers, message_id: str) -> bytes:
    (record,) = [record for record in await callers.records() if record["_id"] == message_id]
    del record["_id"]
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


async def test_tail_shows_what_calls_took_and_cost(callers: ProxyCallers):
    await callers.call(chat("#say tail-me"), CHAT)
    record = await callers.record_of("tail-me")

    code, table = await callers.operate("tail", "--once")
    _, lines = await callers.operate("tail", "--once", "--json", "--since", "1h")

    assert code == 0
    (shown,) = [line for line in map(json.loads, lines.splitlines()) if line["_id"] == record["call_id"]]
    usage = record["usage"]
    cost = (usage["prompt_tokens"] * 0.15 + usage["completion_tokens"] * 0.6) / 1_000_000
    assert shown["_cost"] == pytest.approx(cost)
    assert table.splitlines()[0].split()[:4] == ["time", "type", "status", "model"]
    (row,) = [line for line in table.splitlines() if line.startswith(record["timestamp"][11:23])]
    assert f"{record['latency_ms']} ms" in row
    assert f"{cost:.6f}" in row
    assert "gpt-4o-mini-2024-07-18: " in table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tail", "--since", "yesterday"], "is no time"),
        (["reconcile", "--until", "5x"], "is no time"),
        (["mend"], "invalid choice"),
    ],
)
async def test_a_command_that_makes_no_sense_says_so(callers: ProxyCallers, arguments: list[str], said: str):
    code, output = await callers.operate(*arguments)
    assert code == 2
    assert said in output
