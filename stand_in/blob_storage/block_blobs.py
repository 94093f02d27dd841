"""Block blobs: put whole, or as blocks that a block list makes into a blob.

A block list names each block with where to look for it: `Committed` in the blob as it is, `Uncommitted` among the
blocks put since, `Latest` in the second and then in the first. The new blob replaces the old one, and nothing stays
staged.
"""

import base64
import binascii
from collections.abc import Sequence
from xml.etree import ElementTree

from stand_in.blob_storage import errors
from stand_in.blob_storage.account import Account, revision_headers
from stand_in.blob_storage.blobs import replace_blob
from stand_in.blob_storage.conditions import read_conditions
from stand_in.blob_storage.content_headers import read_content_headers
from stand_in.blob_storage.requests import (
    Answer,
    Request,
    base64_text,
    check_body,
    etag_text,
    http_date,
    md5_of,
    read_metadata,
)
from stand_in.blob_storage.sqlite_blobs import Blob, NewBlob, Revision, SqliteBlobs

BLOCK_BLOB = "BlockBlob"
MAX_BODY = 256 * 1024 * 1024  # less than the service's 4,000 and 5,000 MiB: a body is read into memory here
_MAX_BLOCKS = 50_000

# Where a block comes from: (staged or committed, its start when committed, its size)
_Source = tuple[str, int | None, int]


async def put_block_blob(account: Account, request: Request) -> Answer:
    """Put Blob with x-ms-blob-type: BlockBlob."""
    check_body(request, MAX_BODY)
    conditions = read_conditions(request.headers)
    md5 = base64_text(md5_of(request.body))
    content = {"Content-MD5": md5, **read_content_headers(request.headers)}
    new = NewBlob(request.blob, BLOCK_BLOB, len(request.body), 0, content, read_metadata(request.headers))

    def put(blobs: SqliteBlobs) -> Revision:
        container_id, found = blobs.look_for_blob(request.container, request.blob)
        conditions.check_creation(found)
        revision = account.next_revision()
        blob_id = replace_blob(blobs, container_id, found, new, revision)
        if request.body:
            blobs.insert_piece(blob_id, 0, request.body)
        return revision

    revision = await account.write(put)
    return Answer(201, {**revision_headers(revision), "Content-MD5": md5, "x-ms-request-server-encrypted": "true"})


async def put_block(account: Account, request: Request) -> Answer:
    """Put Block: stage a block of a blob that need not exist."""
    check_body(request, MAX_BODY)
    if not request.body:
        raise errors.InvalidHeaderValue("A block has at least one byte: Content-Length must not be 0.")
    block_id = _check_block_id(request.query.get("blockid", ""))

    def stage(blobs: SqliteBlobs) -> None:
        container_id, found = blobs.look_for_blob(request.container, request.blob)
        if found is not None and found.blob_type != BLOCK_BLOB:
            raise errors.InvalidBlobType
        staged = blobs.list_staged_blocks(container_id, request.blob)
        if staged and len(staged[0][0]) != len(block_id):
            raise errors.InvalidBlobOrBlock("The ids of a blob's blocks have one length.")
        blobs.stage_block(container_id, request.blob, block_id, request.body)

    await account.write(stage)
    return Answer(201, {"Content-MD5": base64_text(md5_of(request.body)), "x-ms-request-server-encrypted": "true"})


async def put_block_list(account: Account, request: Request) -> Answer:
    """Put Block List."""
    check_body(request, MAX_BODY)
    conditions = read_conditions(request.headers)
    wanted = _parse_block_list(request.body)
    content, metadata = read_content_headers(request.headers), read_metadata(request.headers)
    # The type of the request is that of the XML.
    content["Content-Type"] = request.headers.get("x-ms-blob-content-type", "application/octet-stream")

    def commit(blobs: SqliteBlobs) -> Revision:
        container_id, found = blobs.look_for_blob(request.container, request.blob)
        if found is not None and found.blob_type != BLOCK_BLOB:
            raise errors.InvalidBlobType
        conditions.check_creation(found)
        sources = _find_sources(blobs, container_id, request.blob, found, wanted)
        size = sum(source[2] for source in sources)
        revision = account.next_revision()
        new = NewBlob(request.blob, BLOCK_BLOB, size, len(sources), content, metadata)
        _assemble(blobs, container_id, found, new, sources, revision)
        return revision

    revision = await account.write(commit)
    return Answer(
        201,
        {
            **revision_headers(revision),
            "Content-MD5": base64_text(md5_of(request.body)),
            "x-ms-request-server-encrypted": "true",
        },
    )


async def get_block_list(account: Account, request: Request) -> Answer:
    """Get Block List."""
    kind = request.query.get("blocklisttype", "committed").lower()
    if kind not in ("committed", "uncommitted", "all"):
        raise errors.InvalidQueryParameterValue("blocklisttype is committed, uncommitted or all.")
    with account.committed.snapshot() as blobs:
        container_id, blob = blobs.look_for_blob(request.container, request.blob)
        staged = blobs.list_staged_blocks(container_id, request.blob)
        committed = [] if blob is None else blobs.list_committed_blocks(blob)
    if blob is None and not staged:
        raise errors.BlobNotFound
    if blob is not None and blob.blob_type != BLOCK_BLOB:
        raise errors.InvalidBlobType
    root = ElementTree.Element("BlockList")
    if kind != "uncommitted":
        _add_blocks(root, "CommittedBlocks", [(block_id, size) for block_id, size, _ in committed])
    if kind != "committed":
        _add_blocks(root, "UncommittedBlocks", staged)
    headers = {"Content-Type": "application/xml"}
    if blob is not None:
        headers |= {
            "ETag": etag_text(blob.etag),
            "Last-Modified": http_date(blob.modified),
            "x-ms-blob-content-length": str(blob.size),
        }
    return Answer(200, headers, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _check_block_id(text: str) -> str:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise errors.InvalidBlockId from None
    if not 1 <= len(value) <= 64:
        raise errors.InvalidBlockId
    return text


def _parse_block_list(body: bytes) -> list[tuple[str, str]]:
    """(Committed | Uncommitted | Latest, block id) in order."""
    if b"<!DOCTYPE" in body:  # no block list has one, and entities could be made to grow without end
        raise errors.InvalidXmlDocument
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise errors.InvalidXmlDocument from None
    wanted = [(element.tag, (element.text or "").strip()) for element in root]
    if root.tag != "BlockList" or any(tag not in ("Committed", "Uncommitted", "Latest") for tag, _ in wanted):
        raise errors.InvalidXmlDocument
    if len(wanted) > _MAX_BLOCKS:
        raise errors.BlockCountExceedsLimit
    return [(tag, _check_block_id(block_id)) for tag, block_id in wanted]


def _find_sources(
    blobs: SqliteBlobs, container_id: int, name: str, found: Blob | None, wanted: list[tuple[str, str]]
) -> list[_Source]:
    staged = {block_id: (block_id, None, size) for block_id, size in blobs.list_staged_blocks(container_id, name)}
    committed: dict[str, _Source] = {}
    if found is not None:
        rows = blobs.list_committed_blocks(found)
        committed = {block_id: (block_id, start, size) for block_id, size, start in rows}
    places: dict[str, dict[str, _Source]] = {
        "Committed": committed,
        "Uncommitted": dict(staged),
        "Latest": {**committed, **staged},
    }
    try:
        return [places[tag][block_id] for tag, block_id in wanted]
    except KeyError:
        raise errors.InvalidBlockList from None


def _assemble(
    blobs: SqliteBlobs,
    container_id: int,
    found: Blob | None,
    new: NewBlob,
    sources: list[_Source],
    revision: Revision,
) -> None:
    """Store the new blob, copy its blocks, and only then let the old one's bytes go."""
    if found is not None:
        blobs.delete_blob_row(found)
    blob_id = blobs.insert_blob(container_id, new, revision)
    start = 0
    for block_id, committed_start, size in sources:
        if committed_start is None:
            blobs.commit_staged_block(blob_id, start, container_id, new.name, block_id)
        elif found is not None:
            blobs.copy_committed_block(blob_id, start, found, committed_start)
        start += size
    blobs.delete_staged_blocks(container_id, new.name)
    if found is not None:
        blobs.delete_pieces(found)


def _add_blocks(root: ElementTree.Element, name: str, blocks: Sequence[tuple[str, int]]) -> None:
    parent = ElementTree.SubElement(root, name)
    for block_id, size in blocks:
        block = ElementTree.SubElement(parent, "Block")
        ElementTree.SubElement(block, "Name").text = block_id
        ElementTree.SubElement(block, "Size").text = str(size)
