"""The proxy when what it stands on goes away: one record of every call all the same, and no answer waits for it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from azure.storage.blob.aio import ContainerClient

from tests.chaos.operator import event_hubs_fault, kill, until
from tests.proxy_callers import ProxyCallers, callers_of, chat, running_proxy
from tests.running_stack import RunningStack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_proxy(tmp_path_factory.mktemp("proxy")) as stack:
        yield stack


@pytest.fixture
async def callers(proxy: RunningStack) -> AsyncIterator[ProxyCallers]:
    proxy.wait_ready()
    async with callers_of(proxy) as found:
        await found.forget_upstream()
        yield found


async def test_a_hub_that_is_away_delays_no_answer_and_gets_its_records_later(callers: ProxyCallers):
    event_hubs_fault(callers.stack, reject_sends=1000)
    for number in range(5):
        status, _, _ = await callers.call(chat(f"#say hub-away-{number}"))
        assert status == 200
    await until(lambda: waiting(callers, 5), "the calls are stored")

    event_hubs_fault(callers.stack)
    await callers.sweep()

    found = await callers.all_logged()
    records = await callers.records_when(lambda record: "hub-away-" in str(record.get("prompt")), 5)
    assert len({record["_id"] for record in records}) == 5
    assert {record["status"] for record in records} == {"completed"}
    assert (found["missing"], found["different"], found["unknown"]) == ([], [], [])


async def waiting(callers: ProxyCallers, count: int) -> bool:
    return len((await callers.reconciled())[1]["waiting"]) == count


async def test_without_storage_a_call_is_refused_and_not_made(callers: ProxyCallers):
    """What could not be logged is not passed on; upstream is not left open. When storage is back, that is logged."""
    await callers.call(chat("#say warm"))
    await callers.forget_upstream()
    blob = callers.stack.pid("blob")
    os.kill(blob, signal.SIGSTOP)
    try:
        status, headers, body = await callers.call(chat("#first 100 #say storage-away", stream=True))
    finally:
        os.kill(blob, signal.SIGCONT)

    assert status == 503
    assert b'"code":"ServiceUnavailable"' in body
    assert headers["retry-after"] == "2"
    await callers.upstream_when(lambda seen: seen[-1]["disconnected_at"] is not None, "upstream is closed")
    record = await callers.record_of("storage-away")
    assert (record["status"], record["error"]["code"]) == ("failed", "storage_unavailable")


async def test_a_host_that_is_killed_in_mid_stream_leaves_a_record_of_what_it_had_stored(callers: ProxyCallers):
    """The sweeper closes it when nothing was heard of its worker for a minute."""
    words = "#speed 20 #first 0 #script latin #length 20000"
    async with callers.stream(words) as answer:
        await answer.content.readany()

        async def is_refreshed() -> bool:
            return any(words in call.decode() and json.loads(call)["content"] for call in await stored(callers.stack))

        await until(is_refreshed, "what was delivered is stored")
        await kill(callers.stack, "host")
    await asyncio.to_thread(callers.stack.wait_ready)

    async def is_swept() -> bool:
        await callers.sweep()
        return bool([record for record in await callers.records() if record.get("status") == "aborted"])

    await until(is_swept, "the dead call is closed", 150)
    record = await callers.record_of(words)
    assert (record["status"], record["error"]["code"]) == ("aborted", "worker_lost")
    assert record["content"]
    found = await callers.all_logged()
    assert found["sound"]
    assert await stored(callers.stack) == []


async def stored(stack: RunningStack) -> list[bytes]:
    """What is stored of calls that are not logged yet."""
    connection = stack.settings["AzureWebJobsStorage"]
    async with ContainerClient.from_connection_string(connection, "journals") as container:
        names = [name async for name in container.list_blob_names(name_starts_with="unlogged/calls/")]
        return [await (await container.download_blob(name)).readall() for name in names]
