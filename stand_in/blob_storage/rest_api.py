"""The REST API as a table: which request is which operation, and what each one honours.

An `x-ms-` header, a condition or a query parameter that is not in an operation's row is refused by name: a client that
believes in a lease, a tag or an encryption scope would otherwise be told that all went well.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from stand_in.blob_storage import append_blobs, blobs, block_blobs, containers, errors, listings
from stand_in.blob_storage.account import Account
from stand_in.blob_storage.conditions import CONDITION_HEADERS
from stand_in.blob_storage.content_headers import SETTING_HEADERS
from stand_in.blob_storage.requests import Answer, Request

Handler = Callable[[Account, Request], Awaitable[Answer]]

_METADATA = "x-ms-meta-"  # the prefix stands for all metadata headers
_EVERYWHERE = frozenset({"x-ms-date", "x-ms-version", "x-ms-client-request-id", "x-ms-return-client-request-id"})
_EVERYWHERE_IN_QUERY = frozenset({"restype", "comp", "timeout"})
_DATE_CONDITIONS = frozenset({"if-modified-since", "if-unmodified-since"})
_PAGES = frozenset({"prefix", "marker", "maxresults", "include"})
_CRC = frozenset({"x-ms-content-crc64"})
_DESCRIPTION = SETTING_HEADERS | CONDITION_HEADERS | {_METADATA}


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: who does it, and the headers and query parameters that it honours besides those of all operations."""

    handler: Handler
    headers: frozenset[str] = frozenset()
    query: frozenset[str] = frozenset()


_PUT_BLOB = {
    block_blobs.BLOCK_BLOB: Operation(block_blobs.put_block_blob, _DESCRIPTION | _CRC | {"x-ms-blob-type"}),
    append_blobs.APPEND_BLOB: Operation(append_blobs.create_append_blob, _DESCRIPTION | {"x-ms-blob-type"}),
}
_APPEND_HEADERS = CONDITION_HEADERS | _CRC | {"x-ms-blob-condition-appendpos", "x-ms-blob-condition-maxsize"}
_CONTAINER_PROPERTIES = Operation(containers.get_container_properties)
_BLOB_METADATA = Operation(blobs.get_blob_metadata, CONDITION_HEADERS)

# (method, level, restype, comp); Put Blob is told apart by x-ms-blob-type.
OPERATIONS: Mapping[tuple[str, str, str, str], Operation] = {
    ("GET", "service", "", "list"): Operation(listings.list_containers, query=_PAGES),
    ("PUT", "container", "container", ""): Operation(
        containers.create_container, frozenset({_METADATA, "x-ms-blob-public-access"})
    ),
    ("GET", "container", "container", ""): _CONTAINER_PROPERTIES,
    ("HEAD", "container", "container", ""): _CONTAINER_PROPERTIES,
    ("GET", "container", "container", "metadata"): _CONTAINER_PROPERTIES,
    ("HEAD", "container", "container", "metadata"): _CONTAINER_PROPERTIES,
    ("PUT", "container", "container", "metadata"): Operation(
        containers.set_container_metadata, frozenset({_METADATA, "if-modified-since"})
    ),
    ("DELETE", "container", "container", ""): Operation(containers.delete_container, _DATE_CONDITIONS),
    ("GET", "container", "container", "list"): Operation(listings.list_blobs, query=_PAGES | {"delimiter"}),
    ("GET", "blob", "", ""): Operation(
        blobs.get_blob, CONDITION_HEADERS | {"range", "x-ms-range", "x-ms-range-get-content-md5"}
    ),
    ("HEAD", "blob", "", ""): Operation(blobs.get_blob_properties, CONDITION_HEADERS),
    ("GET", "blob", "", "metadata"): _BLOB_METADATA,
    ("HEAD", "blob", "", "metadata"): _BLOB_METADATA,
    ("PUT", "blob", "", "metadata"): Operation(blobs.set_blob_metadata, CONDITION_HEADERS | {_METADATA}),
    ("PUT", "blob", "", "properties"): Operation(blobs.set_blob_properties, CONDITION_HEADERS | SETTING_HEADERS),
    ("DELETE", "blob", "", ""): Operation(blobs.delete_blob, CONDITION_HEADERS | {"x-ms-delete-snapshots"}),
    ("PUT", "blob", "", "appendblock"): Operation(append_blobs.append_block, _APPEND_HEADERS),
    ("PUT", "blob", "", "block"): Operation(block_blobs.put_block, _CRC, frozenset({"blockid"})),
    ("PUT", "blob", "", "blocklist"): Operation(block_blobs.put_block_list, _DESCRIPTION | _CRC),
    ("GET", "blob", "", "blocklist"): Operation(block_blobs.get_block_list, query=frozenset({"blocklisttype"})),
}


def find_operation(request: Request) -> Operation:
    """The row for a request. Raises, naming it, what has none."""
    restype, comp = request.query.get("restype", "").lower(), request.query.get("comp", "").lower()
    level = request.target.level
    if (request.method, level, restype, comp) == ("PUT", "blob", "", ""):
        operation = _find_put_blob(request)
    else:
        found = OPERATIONS.get((request.method, level, restype, comp))
        if found is None:
            raise errors.NotImplementedHere(f"{request.method} of a {level} with restype={restype!r} and comp={comp!r}")
        operation = found
    _check_headers(request, operation)
    _check_query(request, operation)
    return operation


def _find_put_blob(request: Request) -> Operation:
    if "x-ms-copy-source" in request.headers:
        raise errors.NotImplementedHere("Copying from a URL (x-ms-copy-source)")
    blob_type = request.headers.get("x-ms-blob-type")
    if blob_type is None:
        raise errors.MissingRequiredHeader("x-ms-blob-type is not specified.")
    operation = _PUT_BLOB.get(blob_type)
    if operation is None:
        raise errors.NotImplementedHere(f"Blobs of the type {blob_type[:40]!r}")
    return operation


def _check_headers(request: Request, operation: Operation) -> None:
    for name in request.headers:
        lower = name.lower()
        if not lower.startswith("x-ms-") and lower not in CONDITION_HEADERS and lower != "range":
            continue
        if lower in _EVERYWHERE or lower in operation.headers:
            continue
        if lower.startswith(_METADATA) and _METADATA in operation.headers:
            continue
        raise errors.UnsupportedHeader(f"The header {lower} is not supported by this operation of the emulator.")


def _check_query(request: Request, operation: Operation) -> None:
    for name in request.query:
        if name not in _EVERYWHERE_IN_QUERY and name not in operation.query:
            raise errors.UnsupportedQueryParameter(
                f"The query parameter {name} is not supported by this operation of the emulator."
            )
