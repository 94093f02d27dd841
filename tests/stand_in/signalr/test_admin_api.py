"""What a test can see and cause through `/_admin`."""

import aiohttp
import pytest

from tests.stand_in.signalr.clients import Caller, Clock


async def test_messages_are_counted_and_shown_with_their_receivers(caller: Caller) -> None:
    clients = [await caller.connect("u"), await caller.connect("u")]
    await caller.send("/users/u", "a" * 3000, target="token")
    await caller.send("/users/nobody", "b", target="turn")
    log = await caller.admin("GET", "/messages")
    assert log["counters"] == {
        "accepted": 2,
        "outbound": 2,
        # Two connections, two units of 2 KB each; what reached nobody costs nothing.
        "billed": 4,
        "refused": {},
        "targets": {"token": 1, "turn": 1},
    }
    first, second = log["messages"]
    assert (first["scope"], first["name"], first["arguments"]) == ("user", "u", ["a" * 3000])
    assert (first["receivers"], first["outcome"], second["receivers"]) == (len(clients), "delivered", 0)


async def test_messages_are_filtered_and_forgotten(caller: Caller) -> None:
    for name in ("a", "b", "a"):
        await caller.send(f"/users/{name}", name)
    [first, third] = (await caller.admin("GET", "/messages?scope=user&name=a"))["messages"]
    assert (await caller.admin("GET", f"/messages?name=a&after={first['sequence']}"))["messages"] == [third]
    assert (await caller.admin("GET", "/messages?limit=1"))["messages"] == [third]
    await caller.admin("DELETE", "/messages")
    log = await caller.admin("GET", "/messages")
    assert (log["messages"], log["counters"]["accepted"]) == ([], 0)


async def test_sends_fail_as_often_as_asked_and_then_work_again(caller: Caller) -> None:
    client = await caller.connect("u")
    sends = [{"status": 202}, {"status": 429, "times": 2, "retryAfter": 0.5}, {"status": 500, "applied": True}]
    await caller.admin("PUT", "/faults", {"sends": sends})
    assert [await caller.send("/users/u", number) for number in range(5)] == [202, 429, 429, 500, 202]
    # The one that was applied arrived, although its sender was told otherwise.
    assert [await client.arguments() for _ in range(3)] == [[0], [3], [4]]
    counters = (await caller.admin("GET", "/messages"))["counters"]
    assert counters["refused"] == {"429": 2, "500": 1}


async def test_a_refusal_says_when_to_come_again(caller: Caller) -> None:
    await caller.admin("PUT", "/faults", {"sends": [{"status": 429, "retryAfter": 0.5}]})
    answer = await caller.call("POST", "/api/hubs/chat/:send?api-version=2022-06-01", {"target": "t"})
    assert (answer.status, answer.headers["Retry-After"]) == (429, "0.5")


async def test_a_send_can_lose_its_connection(caller: Caller) -> None:
    await caller.admin("PUT", "/faults", {"sends": [{"status": 0}]})
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.send("/users/u", 1)
    assert await caller.send("/users/u", 1) == 202


async def test_messages_are_dropped_doubled_and_reordered_in_the_same_way_for_the_same_seed(caller: Caller) -> None:
    client = await caller.connect("u")
    runs = []
    for _ in range(2):
        faults = {"drop": 0.2, "duplicate": 0.2, "reorder": 0.3, "seed": 7}
        await caller.admin("PUT", "/faults", faults)
        for number in range(30):
            await caller.send("/users/u", number)
        await caller.admin("DELETE", "/faults")
        caller.server.heartbeat()  # releases a message that still waits for its successor
        await caller.send("/users/u", "end")
        received = []
        while (arguments := await client.arguments()) != ["end"]:
            received.append(arguments[0])
        runs.append(received)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) < 30
    assert len(runs[0]) > len(set(runs[0]))
    assert runs[0] != sorted(runs[0])


async def test_a_held_message_does_not_wait_for_ever(caller: Caller) -> None:
    client = await caller.connect("u")
    await caller.admin("PUT", "/faults", {"reorder": 1})
    await caller.send("/users/u", "held")
    caller.server.heartbeat()
    assert await client.arguments() == ["held"]


async def test_faults_are_a_resource(caller: Caller) -> None:
    wanted = {"sends": [{"status": 503, "times": 3}], "delay": 0.01}
    await caller.admin("PUT", "/faults", wanted)
    assert await caller.admin("GET", "/faults") == wanted
    await caller.admin("DELETE", "/faults")
    assert await caller.admin("GET", "/faults") == {}


@pytest.mark.parametrize(
    "wanted",
    [
        {"explode": 1},
        {"drop": 2},
        {"sends": [500]},
        {"drop": "often"},
        [],
        {"goodbye": "maybe"},
        {"refusal": 503},
        {"closeExpired": "yes"},
        {"sendsPerSecond": -1},
        {"lateness": 61},
        {"tokenLifetime": None},
    ],
)
async def test_a_fault_that_does_not_exist_is_refused(caller: Caller, wanted: object) -> None:
    async with caller.http.put(f"{caller.base}/_admin/faults", json=wanted) as answer:
        assert answer.status == 400


async def test_a_connection_can_be_cut_without_a_goodbye(caller: Caller) -> None:
    client = await caller.connect("u")
    await caller.admin("DELETE", f"/connections/{client.connection_id}")
    assert await client.record() is None
    assert client.socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    assert await caller.admin("GET", "/connections") == []


async def test_more_sends_in_a_second_than_a_unit_allows_are_refused_until_the_second_is_over(
    caller: Caller, clock: Clock
) -> None:
    await caller.admin("PUT", "/faults", {"sendsPerSecond": 3})
    assert [await caller.send("/users/u", number) for number in range(2)] == [202, 202]
    clock.time += 0.6
    assert [await caller.send("/users/u", number) for number in range(3)] == [202, 429, 429]
    clock.time += 0.5  # the first two are over a second ago, the third is not
    assert [await caller.send("/users/u", number) for number in range(3)] == [202, 202, 429]
    answer = await caller.call("POST", "/api/hubs/chat/:send?api-version=2022-06-01", {"target": "t"})
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert (await caller.admin("GET", "/messages"))["counters"]["refused"] == {"429": 4}


async def test_a_part_of_the_sends_is_refused_in_the_same_way_for_the_same_seed(caller: Caller) -> None:
    runs = []
    for _ in range(2):
        await caller.admin("PUT", "/faults", {"refuse": 0.4, "refusal": {"status": 429, "retryAfter": 2}, "seed": 3})
        runs.append([await caller.send("/users/u", number) for number in range(30)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {202, 429}


async def test_messages_that_are_late_overtake_one_another_and_all_arrive(caller: Caller) -> None:
    client = await caller.connect("u")
    await caller.admin("PUT", "/faults", {"lateness": 0.2, "seed": 1})
    for number in range(20):
        await caller.send("/users/u", number)
    received = [(await client.arguments())[0] for _ in range(20)]
    assert sorted(received) == list(range(20))
    assert received != sorted(received)


@pytest.mark.parametrize(("goodbye", "allows"), [("reconnect", True), ("final", False)])
async def test_connections_end_at_random_with_a_goodbye(caller: Caller, goodbye: str, allows: bool) -> None:
    client, other = await caller.connect("u"), await caller.connect("v")
    await caller.admin("PUT", "/faults", {"disconnect": 1, "goodbye": goodbye})
    assert await caller.send("/users/u", "last") == 202
    assert await client.arguments() == ["last"]
    close = await client.record()
    assert (close["type"], close.get("allowReconnect", False)) == (7, allows)
    assert await client.record() is None
    await caller.admin("DELETE", "/faults")
    await caller.send("/users/v", "still here")
    assert await other.arguments() == ["still here"]


async def test_connections_end_at_random_like_a_cut_cable(caller: Caller) -> None:
    client = await caller.connect("u")
    await caller.admin("PUT", "/faults", {"disconnect": 0.5, "seed": 5})
    statuses = [await caller.send("/users/u", number) for number in range(12)]
    assert statuses == [202] * 12
    while (record := await client.record()) is not None:
        assert record["type"] == 1
    assert client.socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE


@pytest.mark.parametrize("goodbye", ["reconnect", "final"])
async def test_one_connection_can_be_closed_with_a_goodbye(caller: Caller, goodbye: str) -> None:
    client = await caller.connect("u")
    await caller.admin("DELETE", f"/connections/{client.connection_id}?goodbye={goodbye}")
    assert (await client.record()).get("allowReconnect", False) is (goodbye == "reconnect")


async def test_an_expired_token_is_refused_and_what_it_opened_lives_on(caller: Caller, clock: Clock) -> None:
    """As on the service: a token is looked at when a client negotiates and connects."""
    await caller.admin("PUT", "/faults", {"tokenLifetime": 2})
    client = await caller.connect("u", iat=int(clock.time))
    token = caller.client_token("u", iat=int(clock.time))
    clock.time += 2
    assert (await caller.negotiate(token=token)).status == 401
    caller.server.heartbeat()
    await caller.send("/users/u", "still open")
    assert await client.arguments() == ["still open"]
    assert (await caller.negotiate(token=caller.client_token("u", iat=int(clock.time)))).status == 200


async def test_a_connection_can_be_made_to_end_with_its_token(caller: Caller, clock: Clock) -> None:
    await caller.admin("PUT", "/faults", {"tokenLifetime": 2, "closeExpired": True})
    client = await caller.connect("u", iat=int(clock.time))
    clock.time += 1.9
    caller.server.heartbeat()
    await caller.send("/users/u", "still open")
    assert await client.arguments() == ["still open"]
    clock.time += 0.1
    caller.server.heartbeat()
    close = await client.record()
    assert (close["error"], close["allowReconnect"]) == ("AuthenticationExpired", True)
