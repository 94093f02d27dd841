"""Blobs of every type: read, describe, set metadata and properties, delete."""

from stand_in.blob_storage import errors
from stand_in.blob_storage.account import Account, revision_headers
from stand_in.blob_storage.conditions import read_conditions
from stand_in.blob_storage.content_headers import read_content_headers
from stand_in.blob_storage.ranges import ByteRange, read_range
from stand_in.blob_storage.requests import Answer, Request, base64_text, etag_text, http_date, md5_of, read_metadata
from stand_in.blob_storage.sqlite_blobs import Blob, NewBlob, Revision, SqliteBlobs

_MAX_HASHED_RANGE = 4 * 1024 * 1024


def replace_blob(blobs: SqliteBlobs, container_id: int, found: Blob | None, new: NewBlob, revision: Revision) -> int:
    """Put a new blob where one was or none was, without staged blocks; return its id."""
    blobs.delete_staged_blocks(container_id, new.name)
    if found is not None:
        blobs.delete_blob(found)
    return blobs.insert_blob(container_id, new, revision)


async def get_blob(account: Account, request: Request) -> Answer:
    """Get Blob, whole or a range of it."""
    with account.committed.snapshot() as blobs:
        blob = blobs.find_blob(request.container, request.blob)
        read_conditions(request.headers).check_read(blob)
        byte_range = read_range(request.headers, blob.size)
        _check_wanted_hash(request, byte_range)
        if byte_range is None:
            return Answer(200, describe_blob(blob), blobs.read_bytes(blob, 0, blob.size))
        body = blobs.read_bytes(blob, byte_range.first, byte_range.end)
    headers = describe_blob(blob)
    headers["Content-Range"] = byte_range.content_range
    # Content-MD5 is the body's; that of the whole blob has a header of its own.
    whole_md5 = headers.pop("Content-MD5", None)
    if whole_md5 is not None:
        headers["x-ms-blob-content-md5"] = whole_md5
    if _wants_hash(request):
        headers["Content-MD5"] = base64_text(md5_of(body))
    return Answer(206, headers, body)


async def get_blob_properties(account: Account, request: Request) -> Answer:
    """Get Blob Properties (HEAD)."""
    blob = account.committed.find_blob(request.container, request.blob)
    read_conditions(request.headers).check_read(blob)
    return Answer(200, {**describe_blob(blob), "Content-Length": str(blob.size)})


async def get_blob_metadata(account: Account, request: Request) -> Answer:
    """Get Blob Metadata (GET or HEAD)."""
    blob = account.committed.find_blob(request.container, request.blob)
    read_conditions(request.headers).check_read(blob)
    return Answer(200, {**revision_headers(Revision(blob.etag, blob.modified)), **metadata_headers(blob.metadata)})


async def set_blob_metadata(account: Account, request: Request) -> Answer:
    """Set Blob Metadata: the new ones replace all."""
    conditions, metadata = read_conditions(request.headers), read_metadata(request.headers)

    def describe(blobs: SqliteBlobs) -> Revision:
        blob = blobs.find_blob(request.container, request.blob)
        conditions.check_write(blob)
        revision = account.next_revision()
        blobs.update_blob_description(blob, blob.http_headers, metadata, revision)
        return revision

    revision = await account.write(describe)
    return Answer(200, {**revision_headers(revision), "x-ms-request-server-encrypted": "true"})


async def set_blob_properties(account: Account, request: Request) -> Answer:
    """Set Blob Properties: the content headers that are not given are cleared."""
    conditions, content = read_conditions(request.headers), read_content_headers(request.headers)

    def describe(blobs: SqliteBlobs) -> Revision:
        blob = blobs.find_blob(request.container, request.blob)
        conditions.check_write(blob)
        revision = account.next_revision()
        blobs.update_blob_description(blob, content, blob.metadata, revision)
        return revision

    return Answer(200, revision_headers(await account.write(describe)))


async def delete_blob(account: Account, request: Request) -> Answer:
    """Delete Blob. There are no snapshots, so `include` asks for nothing more."""
    if request.headers.get("x-ms-delete-snapshots", "include") != "include":
        raise errors.NotImplementedHere("x-ms-delete-snapshots: only")
    conditions = read_conditions(request.headers)

    def delete(blobs: SqliteBlobs) -> None:
        blob = blobs.find_blob(request.container, request.blob)
        conditions.check_write(blob)
        blobs.delete_staged_blocks(blob.container_id, blob.name)
        blobs.delete_blob(blob)

    await account.write(delete)
    return Answer(202, {"x-ms-delete-type-permanent": "true"})


def _wants_hash(request: Request) -> bool:
    return request.headers.get("x-ms-range-get-content-md5", "").lower() == "true"


def _check_wanted_hash(request: Request, byte_range: ByteRange | None) -> None:
    if not _wants_hash(request):
        return
    if byte_range is None or byte_range.end - byte_range.first > _MAX_HASHED_RANGE:
        raise errors.InvalidHeaderValue("x-ms-range-get-content-md5 takes a range of at most 4 MiB.")


def describe_blob(blob: Blob) -> dict[str, str]:
    """What every read of a blob tells about it."""
    headers = {
        **blob.http_headers,
        **metadata_headers(blob.metadata),
        "ETag": etag_text(blob.etag),
        "Last-Modified": http_date(blob.modified),
        "x-ms-creation-time": http_date(blob.created),
        "x-ms-blob-type": blob.blob_type,
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-server-encrypted": "true",
        "Accept-Ranges": "bytes",
    }
    if blob.blob_type == "AppendBlob":
        headers["x-ms-blob-committed-block-count"] = str(blob.block_count)
    return headers


def metadata_headers(metadata: dict[str, str]) -> dict[str, str]:
    return {f"x-ms-meta-{name}": value for name, value in metadata.items()}
