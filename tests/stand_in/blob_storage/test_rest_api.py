"""What the emulator answers on the wire: signatures, headers, and refusals by name."""

import base64
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
from azure.storage.blob.aio import ContainerClient

from stand_in.blob_storage.crc64 import crc64
from stand_in.blob_storage.server import start_server
from tests.contracts.blob_servers import ACCOUNT, KEY, connection_string
from tests.stand_in.blob_storage.raw_client import RawClient, sign

APPEND = "box/log?comp=appendblock"


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    server = await start_server(port=0, state_dir=tmp_path)
    yield server.port
    await server.stop()


@pytest.fixture
async def client(port: int) -> AsyncIterator[RawClient]:
    """With a container `box` that has an append blob `log`."""
    async with aiohttp.ClientSession() as session:
        client = RawClient(session, port)
        assert (await client.send("PUT", "box?restype=container")).status == 201
        assert (await client.send("PUT", "box/log", {"x-ms-blob-type": "AppendBlob"})).status == 201
        yield client


async def test_an_append_is_answered_with_all_that_the_service_tells(client: RawClient) -> None:
    answer = await client.send("PUT", APPEND, {"x-ms-client-request-id": "mine"}, b"line\n")
    assert answer.status == 201
    assert answer.headers["x-ms-blob-append-offset"] == "0"
    assert answer.headers["x-ms-blob-committed-block-count"] == "1"
    assert answer.headers["x-ms-client-request-id"] == "mine"
    assert answer.headers["x-ms-version"] == "2023-11-03"
    assert answer.headers["ETag"].startswith('"0x')
    assert {"x-ms-request-id", "Last-Modified", "Date"} <= set(answer.headers)


async def test_every_request_has_an_id_of_its_own(client: RawClient) -> None:
    ids = {(await client.send("GET", "box/log")).headers["x-ms-request-id"] for _ in range(5)}
    assert len(ids) == 5


async def test_a_refusal_has_its_code_in_header_and_body(client: RawClient) -> None:
    answer = await client.send("PUT", APPEND, {"x-ms-blob-condition-appendpos": "7"}, b"x")
    body = ElementTree.fromstring(answer.body)
    assert (answer.status, answer.code) == (412, "AppendPositionConditionNotMet")
    assert body.findtext("Code") == "AppendPositionConditionNotMet"
    assert answer.headers["x-ms-request-id"] in (body.findtext("Message") or "")


@pytest.mark.parametrize(
    ("headers", "authorization", "status", "code"),
    [
        ({}, "", 403, "AuthenticationFailed"),
        ({}, f"SharedKey {ACCOUNT}:AAAA", 403, "AuthenticationFailed"),
        ({}, f"SharedKey other:{KEY}", 403, "AuthenticationFailed"),
        ({}, f"SharedKeyLite {ACCOUNT}:AAAA", 403, "AuthenticationFailed"),
        ({}, "Bearer token", 403, "AuthenticationFailed"),
        ({"x-ms-date": formatdate(0, usegmt=True)}, None, 403, "AuthenticationFailed"),
        ({"x-ms-date": "yesterday"}, None, 403, "AuthenticationFailed"),
        ({"x-ms-version": "2012-01-01"}, None, 400, "InvalidHeaderValue"),
        ({"x-ms-version": "newest"}, None, 400, "InvalidHeaderValue"),
    ],
)
async def test_a_request_that_does_not_prove_itself_is_refused(
    client: RawClient, headers: dict[str, str], authorization: str | None, status: int, code: str
) -> None:
    answer = await client.send("GET", "box/log", headers, authorization=authorization)
    assert (answer.status, answer.code) == (status, code)
    assert KEY.encode() not in answer.body


async def test_a_signature_covers_headers_query_and_path(client: RawClient, port: int) -> None:
    """A signature of one request is none of another."""
    async with aiohttp.ClientSession() as session:
        date = formatdate(usegmt=True)
        recorder = RawClient(session, port)
        good = await recorder.send("GET", "box/log", {"x-ms-date": date})
        assert good.status == 200
        signature = sign("GET", f"/{ACCOUNT}/box/log", "", {"x-ms-date": date, "x-ms-version": "2023-11-03"}, b"")
        for path, headers in (
            ("box/other", {}),
            ("box/log?comp=metadata", {}),
            ("box/log", {"x-ms-range": "bytes=0-"}),
        ):
            answer = await recorder.send("GET", path, {"x-ms-date": date, **headers}, authorization=signature)
            assert (answer.status, answer.code) == (403, "AuthenticationFailed")


async def test_metadata_whose_names_sort_differently_everywhere_is_signed_all_the_same(port: int) -> None:
    metadata = {"a_b": "1", "a1": "2", "ab": "3", "A_1": "4"}
    async with ContainerClient.from_connection_string(connection_string(port), "sorted") as container:
        await container.create_container()
        await container.upload_blob("x", b"", metadata=metadata)
        assert (await container.get_blob_client("x").get_blob_properties()).metadata == metadata


UNSUPPORTED = [
    ("PUT", "box?restype=container&comp=lease", {"x-ms-lease-action": "acquire"}, 501, "APINotImplemented"),
    ("PUT", "box/log?comp=lease", {"x-ms-lease-action": "acquire"}, 501, "APINotImplemented"),
    ("PUT", "box/log?comp=snapshot", {}, 501, "APINotImplemented"),
    ("PUT", "box/log?comp=tags", {}, 501, "APINotImplemented"),
    ("PUT", "box/log?comp=tier", {}, 501, "APINotImplemented"),
    ("PUT", "box/log?comp=seal", {}, 501, "APINotImplemented"),
    ("PUT", "box/page", {"x-ms-blob-type": "PageBlob"}, 501, "APINotImplemented"),
    ("PUT", "box/copy", {"x-ms-copy-source": "http://127.0.0.1/x"}, 501, "APINotImplemented"),
    ("GET", "?restype=service&comp=properties", {}, 501, "APINotImplemented"),
    ("GET", "box?restype=container&comp=acl", {}, 501, "APINotImplemented"),
    ("GET", "box?restype=container&comp=list&include=snapshots", {}, 501, "APINotImplemented"),
    ("GET", "$root?restype=container", {}, 501, "APINotImplemented"),
    ("PATCH", "box/log", {}, 501, "APINotImplemented"),
    ("GET", "box/log?snapshot=2026-01-01T00:00:00Z", {}, 400, "UnsupportedQueryParameter"),
    ("GET", "box/log", {"x-ms-lease-id": "a"}, 400, "UnsupportedHeader"),
    ("PUT", "box/new", {"x-ms-blob-type": "AppendBlob", "x-ms-tags": "a=b"}, 400, "UnsupportedHeader"),
    ("PUT", "box/new", {"x-ms-blob-type": "BlockBlob", "x-ms-access-tier": "Cool"}, 400, "UnsupportedHeader"),
    ("PUT", "box/new", {"x-ms-blob-type": "BlockBlob", "x-ms-encryption-scope": "s"}, 400, "UnsupportedHeader"),
    ("PUT", "pub?restype=container", {"x-ms-blob-public-access": "blob"}, 409, "PublicAccessNotPermitted"),
    ("PUT", "box?restype=container", {"If-None-Match": "*"}, 400, "UnsupportedHeader"),
    ("PUT", "box/new", {}, 400, "MissingRequiredHeader"),
    ("GET", "box/log", {"x-ms-range": "bytes=-5"}, 400, "InvalidHeaderValue"),
    ("GET", "box?restype=container&comp=list&maxresults=0", {}, 400, "OutOfRangeQueryParameterValue"),
    ("GET", "box?restype=container&comp=list&marker=!", {}, 400, "InvalidQueryParameterValue"),
    ("PUT", "box/big?comp=block&blockid=?", {}, 400, "InvalidHeaderValue"),
    ("PUT", APPEND, {}, 400, "InvalidHeaderValue"),
    ("PUT", "box/log?comp=metadata", {"x-ms-meta-a-b": "x"}, 400, "InvalidMetadata"),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "code"), UNSUPPORTED)
async def test_what_is_not_supported_is_refused_by_name(
    client: RawClient, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await client.send(method, path, headers)
    assert (answer.status, answer.code) == (status, code)
    assert ElementTree.fromstring(answer.body).findtext("Message")


async def test_another_account_is_no_resource(client: RawClient) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{client.origin}/other/box") as answer:
        assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "InvalidUri")


async def test_an_append_with_its_crc_is_checked(client: RawClient) -> None:
    good = base64.b64encode(crc64(b"line").to_bytes(8, "little")).decode()
    assert (await client.send("PUT", APPEND, {"x-ms-content-crc64": good}, b"line")).status == 201
    answer = await client.send("PUT", APPEND, {"x-ms-content-crc64": good}, b"Line")
    assert (answer.status, answer.code) == (400, "Crc64Mismatch")
    answer = await client.send("PUT", APPEND, {"Content-MD5": "short"}, b"line")
    assert (answer.status, answer.code) == (400, "InvalidMd5")


def test_the_crc_is_the_services() -> None:
    assert crc64(b"") == 0
    assert crc64(b"123456789") == 0xAE8B14860A799888


async def test_a_block_larger_than_the_version_allows_is_refused(client: RawClient) -> None:
    body = bytes(4 * 1024 * 1024 + 1)
    old = await client.send("PUT", APPEND, {"x-ms-version": "2021-12-02"}, body)
    assert (old.status, old.code) == (413, "RequestBodyTooLarge")
    assert (await client.send("PUT", APPEND, {}, body)).status == 201


async def test_head_tells_the_size_without_the_bytes(client: RawClient) -> None:
    await client.send("PUT", APPEND, {}, b"12345")
    answer = await client.send("HEAD", "box/log")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "5", b"")
    assert answer.headers["x-ms-blob-committed-block-count"] == "1"


async def test_a_name_that_xml_cannot_carry_is_listed_encoded(client: RawClient) -> None:
    await client.send("PUT", "box/a%01b", {"x-ms-blob-type": "BlockBlob"})
    answer = await client.send("GET", "box?restype=container&comp=list&prefix=a")
    name = ElementTree.fromstring(answer.body).find("Blobs/Blob/Name")
    assert name is not None
    assert (name.text, name.get("Encoded")) == ("a%01b", "true")
