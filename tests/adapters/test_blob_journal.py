"""The journals' adapter, on the emulator, and on servers that break in one way each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from adapters.append_blobs import AppendBlobs
from adapters.blob_authorization import SCOPE, BearerToken, SharedKey
from adapters.blob_journal import BlobJournal
from adapters.blob_requests import BlobRequests, StorageRefused
from chat.errors import JournalMissing, JournalMoved, StorageUnavailable
from stand_in.blob_storage.server import start_server
from stand_in.blob_storage.shared_key import ACCOUNT_KEY

CONVERSATION, TURN = "c0ffee", "turn-c0ffee-1"


def connection_string(port: int, key: str = ACCOUNT_KEY) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    server = await start_server(port=0, state_dir=tmp_path)
    yield server.port
    await server.stop()


@pytest.fixture
async def journal(port: int) -> AsyncIterator[BlobJournal]:
    journal = BlobJournal.from_connection_string(connection_string(port))
    yield journal
    await journal.close()


async def test_a_journal_is_created_once(journal: BlobJournal) -> None:
    assert await journal.create(CONVERSATION, TURN) is True
    assert await journal.create(CONVERSATION, TURN) is False


async def test_of_many_who_create_at_once_one_wins(journal: BlobJournal) -> None:
    await journal.prepare()
    results = await asyncio.gather(*(journal.create(CONVERSATION, TURN) for _ in range(20)))
    assert sorted(results) == [False] * 19 + [True]


async def test_an_append_returns_the_new_end_and_is_read_from_any_position(journal: BlobJournal) -> None:
    await journal.create(CONVERSATION, TURN)

    assert await journal.append(CONVERSATION, TURN, "grüße\n".encode(), 0) == 8
    assert await journal.append(CONVERSATION, TURN, b"second\n", 8) == 15

    assert await journal.read(CONVERSATION, TURN) == "grüße\nsecond\n".encode()
    assert await journal.read(CONVERSATION, TURN, 8) == b"second\n"
    assert await journal.read(CONVERSATION, TURN, 15) == b""


async def test_an_empty_journal_reads_as_nothing(journal: BlobJournal) -> None:
    await journal.create(CONVERSATION, TURN)
    assert await journal.read(CONVERSATION, TURN) == b""


async def test_a_large_record_is_appended_whole(journal: BlobJournal) -> None:
    await journal.create(CONVERSATION, TURN)
    record = b"0123456789" * 300_000
    assert await journal.append(CONVERSATION, TURN, record, 0) == 3_000_000
    assert await journal.read(CONVERSATION, TURN, 2_999_990) == b"0123456789"


async def test_an_append_at_a_position_that_is_not_the_end_is_told_so(journal: BlobJournal) -> None:
    await journal.create(CONVERSATION, TURN)
    await journal.append(CONVERSATION, TURN, b"one\n", 0)
    with pytest.raises(JournalMoved):
        await journal.append(CONVERSATION, TURN, b"two\n", 0)
    assert await journal.read(CONVERSATION, TURN) == b"one\n"


async def test_an_unconditional_append_goes_to_the_end_wherever_that_is(journal: BlobJournal) -> None:
    await journal.create(CONVERSATION, TURN)
    await journal.append(CONVERSATION, TURN, b"one\n", 0)
    assert await journal.append(CONVERSATION, TURN, b"two\n", None) == 8


async def test_of_many_writers_at_one_position_one_wins(journal: BlobJournal) -> None:
    await journal.create(CONVERSATION, TURN)
    appends = (journal.append(CONVERSATION, TURN, f"{n:02}\n".encode(), 0) for n in range(20))
    results = await asyncio.gather(*appends, return_exceptions=True)
    assert [result for result in results if not isinstance(result, JournalMoved)] == [3]
    assert len(await journal.read(CONVERSATION, TURN)) == 3


async def test_a_journal_that_is_not_there_is_missing(journal: BlobJournal) -> None:
    await journal.prepare()
    with pytest.raises(JournalMissing):
        await journal.append(CONVERSATION, TURN, b"x", 0)
    with pytest.raises(JournalMissing):
        await journal.read(CONVERSATION, TURN)


async def test_without_a_container_reading_says_missing_and_creating_makes_it(journal: BlobJournal, port: int) -> None:
    with pytest.raises(JournalMissing):
        await journal.read(CONVERSATION, TURN)
    assert await journal.create(CONVERSATION, TURN) is True
    async with ContainerClient.from_connection_string(connection_string(port), "journals") as container:
        await container.delete_container()
    assert await journal.create(CONVERSATION, TURN) is True


async def test_preparing_is_done_by_whoever_comes_first_and_harms_nobody(journal: BlobJournal, port: int) -> None:
    other = BlobJournal.from_connection_string(connection_string(port))
    await asyncio.gather(journal.prepare(), other.prepare(), journal.prepare())
    assert await other.create(CONVERSATION, TURN) is True
    await other.close()


async def test_the_order_of_a_conversation_counts_first_occurrences(journal: BlobJournal) -> None:
    assert await journal.read_order(CONVERSATION) == []
    for turn_id in ("turn-1", "turn-2", "turn-1", "turn-3"):
        await journal.append_order(CONVERSATION, turn_id)
    assert await journal.read_order(CONVERSATION) == ["turn-1", "turn-2", "turn-3"]


async def test_turns_accepted_at_once_all_have_a_place(journal: BlobJournal) -> None:
    await asyncio.gather(*(journal.append_order(CONVERSATION, f"turn-{n}") for n in range(20)))
    assert sorted(await journal.read_order(CONVERSATION)) == sorted(f"turn-{n}" for n in range(20))


async def test_usage_is_listed_by_day_with_its_size(journal: BlobJournal) -> None:
    for user, day in (("ada", 20_000), ("bob", 20_000), ("ada", 20_001), ("ada", 2_000)):
        await journal.append_usage(user, day, b"+turn 1\n", None)
    await journal.append_usage("bob", 20_000, b"-turn\n", None)
    assert [found async for found in journal.usages(20_000)] == [("ada", 8), ("bob", 14)]
    assert [found async for found in journal.usages(20_002)] == []
    assert await journal.read_usage("bob", 20_000, 8) == b"-turn\n"


async def test_markers_are_put_read_listed_and_deleted(journal: BlobJournal) -> None:
    assert [turn_id async for turn_id in journal.markers()] == []
    await journal.put_marker("turn-b", b'{"kind":"begin"}')
    await journal.put_marker("turn-a")
    await journal.put_marker("turn-a", b"again")
    assert [turn_id async for turn_id in journal.markers()] == ["turn-a", "turn-b"]
    assert await journal.read_marker("turn-b") == b'{"kind":"begin"}'

    await journal.delete_marker("turn-b")
    await journal.delete_marker("turn-b")

    assert [turn_id async for turn_id in journal.markers()] == ["turn-a"]
    with pytest.raises(JournalMissing):
        await journal.read_marker("turn-b")


@pytest.mark.parametrize("turn_id", ["", "a/b", "../x", "a b", "a\nb", "."])
async def test_what_is_no_id_names_no_journal(journal: BlobJournal, turn_id: str) -> None:
    with pytest.raises(ValueError, match="is no id"):
        await journal.read(CONVERSATION, turn_id)
    with pytest.raises(ValueError, match="is no id"):
        await journal.append_order(CONVERSATION, turn_id)


async def test_a_wrong_key_is_refused_at_once_with_the_services_code(port: int) -> None:
    journal = BlobJournal.from_connection_string(connection_string(port, key="d3Jvbmc="))
    with pytest.raises(StorageRefused, match=r"403 .AuthenticationFailed"):
        await journal.append(CONVERSATION, TURN, b"x", 0)
    with pytest.raises(StorageUnavailable, match="AuthenticationFailed"):
        await journal.prepare()
    await journal.close()


@pytest.mark.parametrize("text", ["", "AccountName=a", "BlobEndpoint=https://x;SharedAccessSignature=sv=1"])
def test_a_connection_string_without_a_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="AccountName and AccountKey"):
        BlobJournal.from_connection_string(text)


async def test_use_development_storage_means_the_emulators_account_on_its_usual_port() -> None:
    journal = BlobJournal.from_connection_string("UseDevelopmentStorage=true")
    assert journal.url == "http://127.0.0.1:10000/devstoreaccount1/journals"
    await journal.close()


async def test_the_sdk_reads_what_was_appended(journal: BlobJournal, port: int) -> None:
    await journal.create(CONVERSATION, TURN)
    await journal.append(CONVERSATION, TURN, b"x" * 1000, 0)
    async with BlobServiceClient.from_connection_string(connection_string(port)) as service:
        blob = service.get_blob_client("journals", f"turns/{CONVERSATION}/{TURN}")
        assert await (await blob.download_blob()).readall() == b"x" * 1000


# Servers that break.
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def breaking_server(handler: Handler) -> AsyncIterator[AppendBlobs]:
    """Append blobs on a server whose every answer is the handler's."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/account/journals"
    requests = BlobRequests(url, SharedKey("account", ACCOUNT_KEY))
    try:
        yield AppendBlobs(requests)
    finally:
        await requests.close()
        await runner.cleanup()


async def test_an_append_whose_connection_breaks_is_sent_once() -> None:
    """Were it sent again after it was applied, its own bytes would look like somebody else's."""
    seen = []

    async def take_and_hang_up(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(await request.read())
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=201)

    async with breaking_server(take_and_hang_up) as blobs:
        with pytest.raises(StorageUnavailable):
            await blobs.append("turns/a/b", b"x", 0, 5.0)
        assert seen == [b"x"]
        with pytest.raises(StorageUnavailable):
            await blobs.create("turns/a/b", 5.0)
        assert len(seen) == 2


async def test_an_append_that_is_not_answered_in_time_is_unavailable() -> None:
    released = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        await released.wait()
        return web.Response(status=201)

    async with breaking_server(wait) as blobs:
        with pytest.raises(StorageUnavailable, match=r"within 0\.1 s"):
            await blobs.append("turns/a/b", b"x", 0, 0.1)
        released.set()


async def test_a_cancelled_append_is_cancelled_and_not_unavailable() -> None:
    started, released = asyncio.Event(), asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        started.set()
        await released.wait()
        return web.Response(status=201)

    async with breaking_server(wait) as blobs:
        append = asyncio.create_task(blobs.append("turns/a/b", b"x", 0, 5.0))
        await started.wait()
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        released.set()


async def test_nobody_listening_is_unavailable() -> None:
    requests = BlobRequests("http://127.0.0.1:1/account/journals", SharedKey("account", ACCOUNT_KEY))
    with pytest.raises(StorageUnavailable):
        await AppendBlobs(requests).append("turns/a/b", b"x", 0, 5.0)
    await requests.close()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_service_is_unavailable_for_appends_and_read_again_for_reads(status: int) -> None:
    answers = [web.Response(status=status), web.Response(status=status), web.Response(status=200, body=b"there")]

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return answers.pop(0)

    async with breaking_server(answer) as blobs:
        with pytest.raises(StorageUnavailable, match=str(status)):
            await blobs.append("turns/a/b", b"x", 0, 5.0)
        assert await blobs.read("turns/a/b", 0, 5.0) == b"there"


async def test_a_read_that_is_cut_short_is_read_again() -> None:
    seen = []

    async def cut_once(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path)
        response = web.StreamResponse(status=200, headers={"Content-Length": "10"})
        await response.prepare(request)
        if len(seen) == 1:
            await response.write(b"half")
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write(b"0123456789")
        return response

    async with breaking_server(cut_once) as blobs:
        assert await blobs.read("turns/a/b", 0, 5.0) == b"0123456789"
    assert len(seen) == 2


# Tokens.
class CountingCredential:
    """Hands out numbered tokens, or fails."""

    def __init__(self, *lifetimes: float) -> None:
        self.scopes: list[str] = []
        self._lifetimes = list(lifetimes)

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        await asyncio.sleep(0)
        if not self._lifetimes:
            raise ClientAuthenticationError("no more")
        return AccessToken(f"token-{len(self.scopes)}", int(1_000_000 + self._lifetimes.pop(0)))


def as_credential(credential: CountingCredential) -> AsyncTokenCredential:
    return cast(AsyncTokenCredential, credential)


async def test_a_token_is_asked_for_once_and_sent_with_every_request() -> None:
    seen = []

    async def note(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.headers["Authorization"], request.headers["x-ms-version"]))
        return web.Response(status=201, headers={"x-ms-blob-append-offset": "7"})

    credential = CountingCredential(3600)
    runner = web.ServerRunner(web.Server(note))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    requests = BlobRequests(f"{url}/journals", BearerToken(as_credential(credential), clock=lambda: 1_000_000.0))
    blobs = AppendBlobs(requests)

    assert await asyncio.gather(*(blobs.append("turns/a/b", b"x", 7, 5.0) for _ in range(5))) == [8] * 5

    assert seen == [("Bearer token-1", "2023-11-03")] * 5
    assert credential.scopes == [SCOPE]
    await requests.close()
    await runner.cleanup()


async def test_a_token_is_renewed_before_it_expires_and_kept_while_it_holds() -> None:
    now = 1_000_000.0
    token = BearerToken(as_credential(CountingCredential(3600, 7200)), clock=lambda: now)

    async def header() -> str:
        return await token.authorize("GET", "/", {}, {}, 0)

    assert await header() == "Bearer token-1"
    now += 3400
    assert await header() == "Bearer token-2"
    now += 3700  # five minutes before the second one expires there is no third
    assert await header() == "Bearer token-2"
    now += 200
    with pytest.raises(StorageUnavailable, match="ClientAuthenticationError"):
        await header()


async def test_tokens_go_to_addresses_with_tls_only() -> None:
    credential = as_credential(CountingCredential())
    journal = BlobJournal.from_account_url("https://account.blob.core.windows.net", credential)
    assert journal.url == "https://account.blob.core.windows.net/journals"
    await journal.close()
    with pytest.raises(ValueError, match="https addresses only"):
        BlobJournal.from_account_url("http://account.blob.core.windows.net", credential)
