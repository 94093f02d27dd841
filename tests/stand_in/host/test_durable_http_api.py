"""The durable HTTP API, asked by the real SDK client and by plain HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import azure.durable_functions as df
import azure.functions as func
import pytest

from stand_in.durable.engine import DurableEngine
from stand_in.durable.options import DurableOptions
from tests.stand_in.durable.conftest import until
from tests.stand_in.durable.loaded_app import LoadedApp
from tests.stand_in.durable.test_engine import sample_app
from tests.stand_in.host.served_engine import ServedEngine, serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedEngine]:
    """The sample app behind HTTP."""
    functions = LoadedApp(sample_app())
    engine = DurableEngine(tmp_path / "hub.db", functions, DurableOptions(hub_name="TestHub"))
    await engine.start()
    async with serve(engine) as served:
        yield served
    await engine.stop(patience=0.2)
    functions.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Plain HTTP."""
    async with aiohttp.ClientSession() as session:
        yield session


async def _status(client: df.DurableOrchestrationClient, instance_id: str, *wanted: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            status = await client.get_status(instance_id, show_history=True, show_history_output=True)
            if status and status.runtime_status is not None and status.runtime_status.name in wanted:
                return status
            await asyncio.sleep(0.005)


async def test_the_sdk_starts_an_orchestration_and_reads_its_status(served: ServedEngine):
    client = served.client()

    instance_id = await client.start_new("chain", client_input="Tokyo")

    status = await _status(client, instance_id, "Completed")
    assert status.output == ["Hello Tokyo", "Hi 漢🚀", instance_id]
    assert status.custom_status == {"step": 1}
    assert [event["EventType"] for event in status.historyEvents] == [
        "ExecutionStarted",
        "TaskCompleted",
        "TaskCompleted",
        "ExecutionCompleted",
    ]


async def test_the_sdk_raises_events_and_terminates(served: ServedEngine):
    client = served.client()
    first = await client.start_new("race", client_input=600)
    second = await client.start_new("race", client_input=600)
    await _status(client, first, "Running")

    await client.raise_event(first, "Go", {"a": 1})
    await client.terminate(second, "enough & more")

    assert (await _status(client, first, "Completed")).output == {"event": '{"a": 1}'}
    assert (await _status(client, second, "Terminated")).output == "enough & more"
    with pytest.raises(Exception, match="is gone"):
        await client.raise_event(first, "Go", 1)
    with pytest.raises(Exception, match="No instance with ID nobody found"):
        await client.raise_event("nobody", "Go", 1)


async def test_the_sdk_suspends_resumes_rewinds_restarts_and_purges(served: ServedEngine):
    client = served.client()
    held = await client.start_new("race", client_input=600)
    await _status(client, held, "Running")
    await client.suspend(held, "hold")
    await _status(client, held, "Suspended")
    await client.resume(held, "go on")
    await _status(client, held, "Running")
    failed = await client.start_new("fails")
    await _status(client, failed, "Failed")

    await client.rewind(failed, "once more")
    await _status(client, failed, "Failed")
    again = await client.restart(failed)
    await _status(client, again["id"], "Failed")

    assert (await client.purge_instance_history(failed)).instances_deleted == 1
    assert (await client.purge_instance_history(failed)).instances_deleted == 0
    purged = await client.purge_instance_history_by(created_time_from=datetime(2020, 1, 1, tzinfo=UTC))
    assert purged.instances_deleted == 1


async def test_the_sdk_lists_instances_and_waits_for_one(served: ServedEngine):
    client = served.client()
    for number in range(3):
        await client.start_new("again", f"listed-{number}", 3)
        await _status(client, f"listed-{number}", "Completed")

    assert [status.instance_id for status in await client.get_status_all()] == ["listed-0", "listed-1", "listed-2"]
    since = datetime(2020, 1, 1, tzinfo=UTC)
    completed = [df.OrchestrationRuntimeStatus.Completed]
    assert len(await client.get_status_by(created_time_from=since, runtime_status=completed)) == 3
    assert await client.get_status_by(created_time_to=since, runtime_status=completed) == []
    request = func.HttpRequest("GET", served.webhooks, body=b"")
    answer = await client.wait_for_completion_or_create_check_status_response(request, "listed-1")
    assert (answer.status_code, answer.get_body()) == (200, b"3")


async def test_the_sdk_signals_and_reads_an_entity(served: ServedEngine):
    client = served.client()
    counter = df.EntityId("Counter", "one")
    assert not (await client.read_entity_state(counter)).entity_exists

    await client.signal_entity(counter, "add", 5)
    await client.signal_entity(counter, "add", 2)

    async def counts_seven() -> bool:
        state = await client.read_entity_state(counter)
        return bool(state.entity_exists and state.entity_state == 7)

    await until(counts_seven, "both signals counted")


async def test_starting_a_running_id_again_is_a_conflict(served: ServedEngine, http: aiohttp.ClientSession):
    url = f"{served.webhooks}orchestrators/race/one"
    async with http.post(url, data='"600"', headers=JSON) as response:
        assert response.status == 202
        links = await response.json()
        assert response.headers["Location"] == links["statusQueryGetUri"]
        assert "rewindPostUri" not in links

    async with http.post(url, data='"600"', headers=JSON) as response:
        assert response.status == 409
        assert (await response.json())["Message"].endswith("already exists.")


async def test_a_bad_input_is_refused_with_the_message_that_the_sdk_reads(
    served: ServedEngine, http: aiohttp.ClientSession
):
    async with http.post(f"{served.webhooks}orchestrators/chain", data="{bad", headers=JSON) as response:
        assert response.status == 400
        assert (await response.json())["ExceptionMessage"]


async def test_queries_come_in_pages_with_a_token(served: ServedEngine, http: aiohttp.ClientSession):
    client = served.client()
    for number in range(5):
        await client.start_new("again", f"page-{number}", 3)
    for number in range(5):
        await _status(client, f"page-{number}", "Completed")
    url = f"{served.webhooks}instances?instanceIdPrefix=page-&top=2"
    pages: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        async with http.get(url, headers=token) as response:
            pages.append([shown["instanceId"] for shown in await response.json()])
            if "x-ms-continuation-token" not in response.headers:
                break
            token = {"x-ms-continuation-token": response.headers["x-ms-continuation-token"]}

    assert pages == [["page-0", "page-1"], ["page-2", "page-3"], ["page-4"]]
    async with http.get(url, headers={"x-ms-continuation-token": "nonsense"}) as response:
        assert await response.json() == []
    async with http.get(f"{url}&runtimeStatus=Failed") as response:
        assert await response.json() == []


async def test_a_start_can_wait_for_the_result(served: ServedEngine, http: aiohttp.ClientSession):
    url = f"{served.webhooks}orchestrators/"
    async with http.post(f"{url}again?timeout=10&pollingInterval=0.01", data='"3"', headers=JSON) as response:
        assert (response.status, await response.json()) == (200, 3)
    async with http.post(f"{url}race?timeout=0.05&pollingInterval=0.01", data='"600"', headers=JSON) as response:
        assert response.status == 202
    async with http.post(f"{url}race?timeout=2&pollingInterval=5", data='"600"', headers=JSON) as response:
        assert response.status == 400


async def test_ids_are_decoded_as_forms_and_encoded_in_links(served: ServedEngine, http: aiohttp.ClientSession):
    async with http.post(f"{served.webhooks}orchestrators/again/%E6%BC%A2%2520x", data='"3"', headers=JSON) as response:
        links = await response.json()
        assert links["id"] == "漢 x"
        assert "/instances/%E6%BC%A2+x?" in response.headers["Location"]
    async with http.get(links["statusQueryGetUri"]) as response:
        assert (await response.json())["instanceId"] == "漢 x"


async def test_entities_are_listed_and_shown_as_instances(served: ServedEngine, http: aiohttp.ClientSession):
    await served.client().signal_entity(df.EntityId("counter", "one"), "add", 5)
    url = f"{served.webhooks}entities/counter?fetchState=true"
    async with asyncio.timeout(20):
        while True:
            async with http.get(url) as response:
                shown = await response.json()
            if shown:
                break
    assert shown[0]["entityId"] == {"name": "counter", "key": "one"}
    assert shown[0]["state"] == 5
    async with http.get(f"{served.webhooks}instances/@counter@one") as response:
        assert response.status == 202
        assert (await response.json())["input"] == {"exists": True, "state": "5", "sorter": {}}
    async with http.delete(f"{served.webhooks}instances/@counter@one") as response:
        assert await response.json() == {"instancesDeleted": 1}


async def test_a_signal_to_an_unknown_entity_is_refused_by_name(served: ServedEngine, http: aiohttp.ClientSession):
    async with http.post(f"{served.webhooks}entities/nobody/one?op=add", data="1", headers=JSON) as response:
        assert response.status == 400
        assert "'nobody' doesn't exist" in (await response.json())["Message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "instances/nobody/terminate", 404),
        ("POST", "instances/nobody/rewind", 404),
        ("POST", "instances/nobody/restart", 400),
        ("POST", "instances/nobody/frobnicate", 404),
        ("GET", "instances/nobody", 404),
        ("GET", "instances/nobody?taskHub=OtherHub", 404),
        ("GET", "instances/nobody?connection=NoSuch", 500),
        ("GET", "instances?top=-1", 500),
        ("DELETE", "instances", 400),
        ("DELETE", "instances?createdTimeFrom=2020-01-01", 404),
        ("PUT", "instances", 404),
        ("GET", "orchestrators/chain", 404),
        ("GET", "nothing", 404),
        ("POST", "makeprimary", 200),
    ],
)
async def test_what_is_not_there_has_the_status_of_the_extension(
    served: ServedEngine, http: aiohttp.ClientSession, method: str, path: str, status: int
):
    async with http.request(method, served.webhooks + path) as response:
        assert response.status == status, await response.text()


async def test_a_stopped_engine_says_so(served: ServedEngine, http: aiohttp.ClientSession):
    await served.engine.stop()

    async with http.get(f"{served.webhooks}instances") as response:
        assert response.status == 503
        assert json.loads(await response.text())["ExceptionType"] == "EngineStopped"
