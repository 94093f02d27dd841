"""Listings: containers of the account, blobs of a container, in pages.

Names come in the order of their UTF-8 bytes. With a delimiter, all names that go on behind it after the prefix become
one entry; they are stepped over, not read. A marker is the name at which the next page begins, in base64 so that
clients take it for what it is: opaque.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import quote
from xml.etree import ElementTree

from stand_in.blob_storage import errors
from stand_in.blob_storage.account import Account
from stand_in.blob_storage.requests import ACCOUNT, Answer, Request, etag_text, http_date
from stand_in.blob_storage.sqlite_blobs import Blob, Container, SqliteBlobs

_MAX_RESULTS = 5000
_CHUNK = 256
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Page:
    """What a listing's query asks for."""

    prefix: str
    first: str  # the name to begin with
    limit: int
    include: frozenset[str]
    delimiter: str


async def list_containers(account: Account, request: Request) -> Answer:
    """List Containers."""
    page = _read_page(request, allowed=frozenset({"metadata"}))
    rows = account.committed.list_containers(page.first, page.limit + 1)
    found = [row for row in rows if row.name.startswith(page.prefix)]
    root = _new_listing(request)
    parent = ElementTree.SubElement(root, "Containers")
    for container in found[: page.limit]:
        _add_container(parent, container, page)
    _add_next_marker(root, [container.name for container in found], page)
    return _xml_answer(root)


async def list_blobs(account: Account, request: Request) -> Answer:
    """List Blobs, flat or with a delimiter."""
    page = _read_page(request, allowed=frozenset({"metadata"}))
    with account.committed.snapshot() as blobs:
        container = blobs.find_container(request.container)
        entries = list(islice(_walk(blobs, container, page), page.limit + 1))
    root = _new_listing(request)
    root.set("ContainerName", request.container)
    parent = ElementTree.SubElement(root, "Blobs")
    for entry in entries[: page.limit]:
        if isinstance(entry, str):
            _add_name(ElementTree.SubElement(parent, "BlobPrefix"), entry)
        else:
            _add_blob(parent, entry, page)
    _add_next_marker(root, [entry if isinstance(entry, str) else entry.name for entry in entries], page)
    return _xml_answer(root)


def _walk(blobs: SqliteBlobs, container: Container, page: _Page) -> Iterator[Blob | str]:
    """Blobs, and common prefixes as strings, from the page's first name on."""
    first = page.first
    while True:
        rows = blobs.list_blobs(container.id, first, _CHUNK)
        if not rows:
            return
        for blob in rows:
            if not blob.name.startswith(page.prefix):
                return
            cut = blob.name.find(page.delimiter, len(page.prefix)) if page.delimiter else -1
            if cut >= 0:
                common = blob.name[: cut + len(page.delimiter)]
                yield common
                first = _behind(common)
                break
            yield blob
            first = blob.name + "\0"


def _behind(prefix: str) -> str:
    """The first name that sorts behind all names with the prefix."""
    last = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xE000 if last == 0xD800 else last)  # surrogates are no characters of a name


def _read_page(request: Request, allowed: frozenset[str]) -> _Page:
    query = request.query
    include = frozenset(part for part in query.get("include", "").split(",") if part)
    if not include <= allowed:
        raise errors.NotImplementedHere(f"include={','.join(sorted(include - allowed))}")
    limit = query.get("maxresults", str(_MAX_RESULTS))
    if not (limit.isascii() and limit.isdigit()) or int(limit) == 0:
        raise errors.OutOfRangeQueryParameterValue("maxresults must be a whole number from 1.")
    delimiter = query.get("delimiter", "")
    if delimiter.endswith("\U0010ffff"):
        raise errors.InvalidQueryParameterValue("The delimiter ends in the last character there is.")
    prefix, marker = query.get("prefix", ""), query.get("marker", "")
    first = max(prefix, _decode_marker(marker)) if marker else prefix
    return _Page(prefix, first, min(int(limit), _MAX_RESULTS), include, delimiter)


def _encode_marker(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode("utf-8")).decode("ascii")


def _decode_marker(marker: str) -> str:
    try:
        return base64.b64decode(marker, b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise errors.InvalidQueryParameterValue("The marker is not one of this account.") from None


def _new_listing(request: Request) -> ElementTree.Element:
    """The listing's root, with what was asked for repeated as the service does."""
    host = request.headers.get("Host", "127.0.0.1")
    root = ElementTree.Element("EnumerationResults", ServiceEndpoint=f"http://{host}/{ACCOUNT}")
    for name, tag in (
        ("prefix", "Prefix"),
        ("marker", "Marker"),
        ("maxresults", "MaxResults"),
        ("delimiter", "Delimiter"),
    ):
        if request.query.get(name):
            ElementTree.SubElement(root, tag).text = request.query[name]
    return root


def _add_next_marker(root: ElementTree.Element, names: list[str], page: _Page) -> None:
    element = ElementTree.SubElement(root, "NextMarker")
    if len(names) > page.limit:
        element.text = _encode_marker(names[page.limit])


def _add_name(parent: ElementTree.Element, name: str) -> None:
    element = ElementTree.SubElement(parent, "Name")
    if _NOT_IN_XML.search(name):
        element.set("Encoded", "true")
        name = quote(name)
    element.text = name


def _add_container(parent: ElementTree.Element, container: Container, page: _Page) -> None:
    element = ElementTree.SubElement(parent, "Container")
    _add_name(element, container.name)
    _add_properties(
        element,
        {
            "Last-Modified": http_date(container.modified),
            "Etag": etag_text(container.etag),
            "LeaseStatus": "unlocked",
            "LeaseState": "available",
        },
    )
    _add_metadata(element, container.metadata, page)


def _add_blob(parent: ElementTree.Element, blob: Blob, page: _Page) -> None:
    element = ElementTree.SubElement(parent, "Blob")
    _add_name(element, blob.name)
    _add_properties(
        element,
        {
            "Creation-Time": http_date(blob.created),
            "Last-Modified": http_date(blob.modified),
            "Etag": etag_text(blob.etag).strip('"'),
            "Content-Length": str(blob.size),
            **blob.http_headers,
            "BlobType": blob.blob_type,
            "LeaseStatus": "unlocked",
            "LeaseState": "available",
            "ServerEncrypted": "true",
        },
    )
    _add_metadata(element, blob.metadata, page)


def _add_properties(parent: ElementTree.Element, properties: dict[str, str]) -> None:
    element = ElementTree.SubElement(parent, "Properties")
    for name, value in properties.items():
        ElementTree.SubElement(element, name).text = value


def _add_metadata(parent: ElementTree.Element, metadata: dict[str, str], page: _Page) -> None:
    if "metadata" not in page.include:
        return
    element = ElementTree.SubElement(parent, "Metadata")
    for name, value in metadata.items():
        ElementTree.SubElement(element, name).text = value


def _xml_answer(root: ElementTree.Element) -> Answer:
    body = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return Answer(200, {"Content-Type": "application/xml"}, body)
