"""What this project relies on in blob storage, through the official SDK: on the emulator, on Azurite, on Azure.

Azurite takes part when it is installed, a real account when CONTRACT_BLOB_CONNECTION_STRING names one. Each test has
a container of its own and leaves nothing behind.
"""

import base64
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient, BlobServiceClient, ContainerClient, ContentSettings

from adapters.blob_journal import BlobJournal
from chat.errors import JournalMissing, JournalMoved
from tests.contracts.blob_servers import find_azurite, run_azurite, run_emulator

REAL = "CONTRACT_BLOB_CONNECTION_STRING"
AZURITE = find_azurite()


@pytest.fixture(scope="module", params=["emulator", "azurite", *(["azure"] if REAL in os.environ else [])])
def peer(request: pytest.FixtureRequest) -> str:
    """Whose behaviour is tested."""
    name: str = request.param
    if name == "azurite" and AZURITE is None:
        pytest.skip("Azurite is not installed: make install-peers")
    return name


@pytest.fixture(scope="module")
def account(peer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of an account."""
    state_dir: Path = tmp_path_factory.mktemp("blobs")
    if peer == "emulator":
        with run_emulator(state_dir) as server:
            yield server.connection_string
    elif peer == "azurite":
        assert AZURITE is not None
        with run_azurite(AZURITE, state_dir) as server:
            yield server.connection_string
    else:
        yield os.environ[REAL]


@pytest.fixture
def service(account: str) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(account, retry_total=0) as service:
        yield service


@pytest.fixture
def container(service: BlobServiceClient) -> Iterator[ContainerClient]:
    with service.create_container(f"contract-{uuid.uuid4().hex[:12]}") as container:
        yield container
        container.delete_container()


@pytest.fixture
def journal_blob(container: ContainerClient) -> BlobClient:
    blob = container.get_blob_client("turns/c/turn-1")
    blob.create_append_blob()
    return blob


@contextmanager
def refused(status: int, code: str) -> Iterator[None]:
    with pytest.raises(HttpResponseError) as caught:
        yield
    assert (caught.value.status_code, getattr(caught.value, "error_code", None)) == (status, code)


# Containers
def test_a_container_exists_once(service: BlobServiceClient, container: ContainerClient) -> None:
    with refused(409, "ContainerAlreadyExists"):
        service.create_container(container.container_name)


def test_a_missing_container_is_named(service: BlobServiceClient) -> None:
    missing = service.get_container_client("contract-missing")
    with refused(404, "ContainerNotFound"):
        missing.get_container_properties()
    with refused(404, "ContainerNotFound"):
        missing.delete_container()
    with refused(404, "ContainerNotFound"):
        missing.get_blob_client("x").create_append_blob()
    with refused(404, "ContainerNotFound"):
        missing.get_blob_client("x").append_block(b"x")
    with refused(404, "ContainerNotFound"):
        list(missing.list_blobs())


def test_containers_are_listed_by_prefix_with_their_metadata(
    service: BlobServiceClient, container: ContainerClient
) -> None:
    container.set_container_metadata({"Purpose": "test"})
    found = list(service.list_containers(name_starts_with=container.container_name, include_metadata=True))
    assert [(item.name, item.metadata) for item in found] == [(container.container_name, {"Purpose": "test"})]
    assert container.get_container_properties().metadata == {"Purpose": "test"}


@pytest.mark.parametrize(
    ("name", "code"), [("ab", "OutOfRangeInput"), ("Upper", "InvalidResourceName"), ("a--b", "InvalidResourceName")]
)
def test_names_that_cannot_be_are_refused(service: BlobServiceClient, name: str, code: str) -> None:
    with refused(400, code):
        service.create_container(name)


# Append blobs
def test_appends_tell_where_they_went(journal_blob: BlobClient) -> None:
    first = journal_blob.append_block(b"one\n", appendpos_condition=0)
    second = journal_blob.append_block(b"second\n", appendpos_condition=4)
    assert (first["blob_append_offset"], first["blob_committed_block_count"]) == ("0", 1)
    assert (second["blob_append_offset"], second["blob_committed_block_count"]) == ("4", 2)
    assert second["etag"] != first["etag"]
    assert journal_blob.download_blob().readall() == b"one\nsecond\n"
    properties = journal_blob.get_blob_properties()
    assert (properties.size, properties.blob_type, properties.append_blob_committed_block_count) == (
        11,
        "AppendBlob",
        2,
    )
    assert properties.etag == second["etag"]


def test_creating_an_append_blob_that_must_not_exist_is_refused_when_it_does(journal_blob: BlobClient) -> None:
    journal_blob.append_block(b"kept")
    with refused(409, "BlobAlreadyExists"):
        journal_blob.create_append_blob(match_condition=MatchConditions.IfMissing)
    assert journal_blob.download_blob().readall() == b"kept"


def test_creating_an_append_blob_without_condition_empties_it(journal_blob: BlobClient) -> None:
    journal_blob.append_block(b"gone")
    journal_blob.create_append_blob()
    assert journal_blob.download_blob().readall() == b""
    assert journal_blob.append_block(b"x", appendpos_condition=0)["blob_committed_block_count"] == 1


@pytest.mark.parametrize("position", [0, 3, 5])
def test_an_append_elsewhere_than_at_the_end_is_refused(journal_blob: BlobClient, position: int) -> None:
    journal_blob.append_block(b"four")
    with refused(412, "AppendPositionConditionNotMet"):
        journal_blob.append_block(b"x", appendpos_condition=position)
    assert journal_blob.get_blob_properties().size == 4


def test_an_append_beyond_the_size_that_it_allows_is_refused(journal_blob: BlobClient) -> None:
    journal_blob.append_block(b"1234", maxsize_condition=4)
    with refused(412, "MaxBlobSizeConditionNotMet"):
        journal_blob.append_block(b"5", maxsize_condition=4)


def test_of_appends_at_one_position_at_once_one_wins(journal_blob: BlobClient) -> None:
    def append(n: int) -> str:
        try:
            journal_blob.append_block(f"{n:02}".encode(), appendpos_condition=0)
        except HttpResponseError as error:
            return str(error.error_code.value)  # type: ignore[attr-defined]
        return "won"

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(append, range(16)))
    assert sorted(results) == ["AppendPositionConditionNotMet"] * 15 + ["won"]
    assert journal_blob.get_blob_properties().size == 2


def test_appends_without_condition_are_all_kept_whole(journal_blob: BlobClient) -> None:
    lines = [f"line {n:03}\n".encode() for n in range(32)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(journal_blob.append_block, lines))
    assert sorted(journal_blob.download_blob().readall().splitlines(keepends=True)) == lines


def test_an_append_to_what_is_not_there_or_no_append_blob_is_refused(container: ContainerClient) -> None:
    with refused(404, "BlobNotFound"):
        container.get_blob_client("missing").append_block(b"x")
    container.upload_blob("block", b"x")
    with refused(409, "InvalidBlobType"):
        container.get_blob_client("block").append_block(b"x")


def test_an_append_under_an_old_etag_is_refused(journal_blob: BlobClient) -> None:
    old = str(journal_blob.append_block(b"1")["etag"])
    current = str(journal_blob.append_block(b"2", etag=old, match_condition=MatchConditions.IfNotModified)["etag"])
    with refused(412, "ConditionNotMet"):
        journal_blob.append_block(b"3", etag=old, match_condition=MatchConditions.IfNotModified)
    with refused(412, "ConditionNotMet"):
        journal_blob.append_block(b"3", etag=current, match_condition=MatchConditions.IfModified)


def test_an_append_with_its_hash_is_checked(journal_blob: BlobClient) -> None:
    journal_blob.append_block(b"good", validate_content=True)
    wrong = base64.b64encode(bytes(16)).decode()
    with refused(400, "Md5Mismatch"):
        journal_blob.append_block(b"bad", headers={"Content-MD5": wrong})
    assert journal_blob.download_blob().readall() == b"good"


# Reading
def test_a_range_is_read_from_where_it_begins(journal_blob: BlobClient) -> None:
    for part in (b"0123", b"4567", b"89"):
        journal_blob.append_block(part)
    assert journal_blob.download_blob(offset=0, length=4).readall() == b"0123"
    assert journal_blob.download_blob(offset=3, length=3).readall() == b"345"
    assert journal_blob.download_blob(offset=6).readall() == b"6789"
    assert journal_blob.download_blob(offset=9, length=100).readall() == b"9"


def test_a_range_that_begins_at_the_end_or_behind_it_is_refused(journal_blob: BlobClient, peer: str) -> None:
    journal_blob.append_block(b"four")
    with refused(416, "InvalidRange"):
        journal_blob.download_blob(offset=5, length=10)
    if peer == "azurite":  # answers 206 with nothing; the journals' adapter takes both for the end
        assert journal_blob.download_blob(offset=4, length=10).readall() == b""
    else:
        with refused(416, "InvalidRange"):
            journal_blob.download_blob(offset=4, length=10)


def test_an_unchanged_blob_is_not_read_again(journal_blob: BlobClient) -> None:
    etag = str(journal_blob.append_block(b"x")["etag"])
    with refused(304, "ConditionNotMet"):
        journal_blob.download_blob(etag=etag, match_condition=MatchConditions.IfModified)
    modified = journal_blob.get_blob_properties().last_modified
    with refused(304, "ConditionNotMet"):
        journal_blob.download_blob(if_modified_since=modified)
    with refused(412, "ConditionNotMet"):
        journal_blob.download_blob(if_unmodified_since=modified - timedelta(seconds=60))
    assert journal_blob.download_blob(if_unmodified_since=modified).readall() == b"x"


def test_a_missing_blob_is_named_also_without_a_body(container: ContainerClient) -> None:
    blob = container.get_blob_client("missing")
    with refused(404, "BlobNotFound"):
        blob.download_blob()
    with refused(404, "BlobNotFound"):
        blob.get_blob_properties()
    with refused(404, "BlobNotFound"):
        blob.delete_blob()
    assert blob.exists() is False


@pytest.mark.parametrize("name", ["a b/ü/日本.txt", "100%/50%25", "a+b&c=d?e#f", "'quotes' (and) [brackets]~"])
def test_a_name_comes_back_as_it_was_given(container: ContainerClient, name: str) -> None:
    container.upload_blob(name, b"x")
    assert list(container.list_blob_names()) == [name]
    assert container.download_blob(name).readall() == b"x"


# Block blobs
def test_a_block_blob_is_put_with_what_it_says_about_itself(container: ContainerClient) -> None:
    settings = ContentSettings(content_type="text/plain", content_language="de", cache_control="no-store")
    blob = container.upload_blob("note", b"hello", metadata={"Author": "me"}, content_settings=settings)
    properties = blob.get_blob_properties()
    assert (properties.size, properties.blob_type, properties.metadata) == (5, "BlockBlob", {"Author": "me"})
    assert properties.content_settings.content_type == "text/plain"
    assert properties.content_settings.content_language == "de"
    assert properties.content_settings.cache_control == "no-store"

    blob.set_blob_metadata({"Other": "x"})
    blob.set_http_headers(ContentSettings(content_type="text/html"))

    changed = blob.get_blob_properties()
    assert (changed.metadata, changed.content_settings.content_type) == ({"Other": "x"}, "text/html")
    assert changed.content_settings.content_language is None
    assert changed.etag != properties.etag


def test_a_block_blob_is_replaced_only_when_that_is_wanted(container: ContainerClient) -> None:
    container.upload_blob("note", b"first")
    with refused(409, "BlobAlreadyExists"):
        container.upload_blob("note", b"second")
    container.upload_blob("note", b"third", overwrite=True)
    assert container.download_blob("note").readall() == b"third"


def test_blocks_become_a_blob_in_the_order_of_the_list(container: ContainerClient) -> None:
    blob = container.get_blob_client("big")
    for block_id in ("a", "b", "c"):
        blob.stage_block(block_id, block_id.encode() * 3)
    with refused(404, "BlobNotFound"):
        blob.get_blob_properties()
    blob.commit_block_list([BlobBlock("c"), BlobBlock("a")])
    assert blob.download_blob().readall() == b"cccaaa"

    blob.stage_block("d", b"ddd")
    committed, uncommitted = blob.get_block_list("all")
    assert [block.id for block in committed] == ["c", "a"]
    assert [(block.id, block.size) for block in uncommitted] == [("d", 3)]

    blob.commit_block_list([BlobBlock("d"), BlobBlock("a"), BlobBlock("d")])
    assert blob.download_blob().readall() == b"dddaaaddd"
    assert blob.download_blob(offset=2, length=5).readall() == b"daaad"


def test_a_block_list_with_an_unknown_block_is_refused(container: ContainerClient) -> None:
    blob = container.upload_blob("big", b"old")
    blob.stage_block("a", b"new")
    with refused(400, "InvalidBlockList"):
        blob.commit_block_list([BlobBlock("a"), BlobBlock("b")])
    assert blob.download_blob().readall() == b"old"


def test_a_deleted_blob_is_gone(container: ContainerClient, journal_blob: BlobClient) -> None:
    journal_blob.append_block(b"x")
    journal_blob.delete_blob(delete_snapshots="include")
    assert list(container.list_blobs()) == []
    with refused(404, "BlobNotFound"):
        journal_blob.append_block(b"x")
    journal_blob.create_append_blob()
    assert journal_blob.download_blob().readall() == b""


# Listing
def test_blobs_are_listed_by_prefix_in_order_and_in_pages(container: ContainerClient) -> None:
    names = ["turns/b/2", "turns/a/1", "turns/b/1", "unlogged/x", "turns/b/3"]
    for name in names:
        container.upload_blob(name, b"x", metadata={"N": name[-1]})
    assert list(container.list_blob_names()) == sorted(names)
    pages = container.list_blobs(name_starts_with="turns/b/", results_per_page=2, include=["metadata"]).by_page()
    listed = [[(blob.name, blob.size, blob.metadata) for blob in page] for page in pages]
    assert listed == [
        [("turns/b/1", 1, {"N": "1"}), ("turns/b/2", 1, {"N": "2"})],
        [("turns/b/3", 1, {"N": "3"})],
    ]


def test_blobs_are_listed_like_folders(container: ContainerClient) -> None:
    for name in ("a/1", "a/2", "a/b/3", "b", "c/4"):
        container.upload_blob(name, b"x")
    assert sorted(item.name for item in container.walk_blobs()) == ["a/", "b", "c/"]
    assert sorted(item.name for item in container.walk_blobs("a/")) == ["a/1", "a/2", "a/b/"]


# Authentication
def test_a_request_signed_with_another_key_is_refused(peer: str, container: ContainerClient) -> None:
    code = "AuthorizationFailure" if peer == "azurite" else "AuthenticationFailed"
    wrong = base64.b64encode(b"another key").decode()
    with (
        ContainerClient(
            container.primary_endpoint,
            container.container_name,
            credential={"account_name": container.account_name or "", "account_key": wrong},
            retry_total=0,
        ) as other,
        refused(403, code),
    ):
        other.get_container_properties()


# The journals' adapter
async def test_a_journal_holds_its_rules(account: str, container: ContainerClient) -> None:
    journal = BlobJournal.from_connection_string(account, container.container_name)
    try:
        assert [await journal.create("c", "t"), await journal.create("c", "t")] == [True, False]
        assert await journal.append("c", "t", b"begin\n", 0) == 6
        with pytest.raises(JournalMoved):
            await journal.append("c", "t", b"begin\n", 0)
        assert await journal.append("c", "t", b"stop\n", None) == 11
        assert [await journal.read("c", "t", start) for start in (0, 6, 11)] == [b"begin\nstop\n", b"stop\n", b""]
        with pytest.raises(JournalMissing):
            await journal.read("c", "other")
        for turn_id in ("t2", "t1", "t2"):
            await journal.append_order("c", turn_id)
        assert await journal.read_order("c") == ["t2", "t1"]
        await journal.put_marker("t1", b"why")
        assert [turn_id async for turn_id in journal.markers()] == ["t1"]
        await journal.delete_marker("t1")
        assert [turn_id async for turn_id in journal.markers()] == []
    finally:
        await journal.close()
