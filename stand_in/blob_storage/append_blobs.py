"""Append blobs: created empty, then written only at their end.

An append may say where it expects the end (`x-ms-blob-condition-appendpos`) and how large the blob may become
(`x-ms-blob-condition-maxsize`). Who is told 201 knows at which offset the bytes lie, and that they are on disk.
"""

from stand_in.blob_storage import errors
from stand_in.blob_storage.account import Account, revision_headers
from stand_in.blob_storage.blobs import replace_blob
from stand_in.blob_storage.conditions import read_conditions
from stand_in.blob_storage.content_headers import read_content_headers
from stand_in.blob_storage.requests import Answer, Request, base64_text, check_body, md5_of, read_metadata, read_number
from stand_in.blob_storage.sqlite_blobs import NewBlob, Revision, SqliteBlobs

APPEND_BLOB = "AppendBlob"
# "Scalability targets for Blob storage", and "Append Block": 4 MiB before the version 2022-11-02.
MAX_BLOCKS = 50_000
_LARGER_BLOCKS_SINCE = "2022-11-02"
_MAX_BLOCK, _MAX_BLOCK_BEFORE = 100 * 1024 * 1024, 4 * 1024 * 1024


async def create_append_blob(account: Account, request: Request) -> Answer:
    """Put Blob with x-ms-blob-type: AppendBlob."""
    if request.body:
        raise errors.InvalidHeaderValue("An append blob is created empty: Content-Length must be 0.")
    conditions = read_conditions(request.headers)
    content = read_content_headers(request.headers)
    new = NewBlob(request.blob, APPEND_BLOB, 0, 0, content, read_metadata(request.headers))

    def create(blobs: SqliteBlobs) -> Revision:
        container_id, found = blobs.look_for_blob(request.container, request.blob)
        conditions.check_creation(found)
        revision = account.next_revision()
        replace_blob(blobs, container_id, found, new, revision)
        return revision

    revision = await account.write(create)
    return Answer(201, {**revision_headers(revision), "x-ms-request-server-encrypted": "true"})


async def append_block(account: Account, request: Request) -> Answer:
    """Append Block."""
    headers, body = request.headers, request.body
    larger = headers["x-ms-version"] >= _LARGER_BLOCKS_SINCE
    check_body(request, _MAX_BLOCK if larger else _MAX_BLOCK_BEFORE)
    if not body:
        raise errors.InvalidHeaderValue("A block has at least one byte: Content-Length must not be 0.")
    conditions = read_conditions(headers)
    position = read_number(headers, "x-ms-blob-condition-appendpos")
    max_size = read_number(headers, "x-ms-blob-condition-maxsize")

    def append(blobs: SqliteBlobs) -> tuple[int, int, Revision]:
        blob = blobs.find_blob(request.container, request.blob)
        if blob.blob_type != APPEND_BLOB:
            raise errors.InvalidBlobType
        conditions.check_write(blob)
        end = blob.size + len(body)
        if max_size is not None and end > max_size:
            raise errors.MaxBlobSizeConditionNotMet
        if position is not None and position != blob.size:
            raise errors.AppendPositionConditionNotMet
        if blob.block_count >= MAX_BLOCKS:
            raise errors.BlockCountExceedsLimit
        revision = account.next_revision()
        blobs.insert_piece(blob.id, blob.size, body)
        blobs.update_blob_end(blob, end, blob.block_count + 1, revision)
        return blob.size, blob.block_count + 1, revision

    offset, block_count, revision = await account.write(append)
    answer = {
        **revision_headers(revision),
        "x-ms-blob-append-offset": str(offset),
        "x-ms-blob-committed-block-count": str(block_count),
        "x-ms-request-server-encrypted": "true",
    }
    if "x-ms-content-crc64" in headers:
        answer["x-ms-content-crc64"] = headers["x-ms-content-crc64"]
    elif "Content-MD5" in headers:
        answer["Content-MD5"] = base64_text(md5_of(body))
    return Answer(201, answer)
