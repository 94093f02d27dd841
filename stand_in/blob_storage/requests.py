"""Requests and answers: what an operation gets from HTTP, and what it gives back.

A request names a thing by its path, `/<account>[/<container>[/<blob>]]`, and an operation by its method and the query
parameters `restype` and `comp`. The raw path stays as it was sent: it is signed in that form.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qsl, unquote_to_bytes

from stand_in.blob_storage import errors
from stand_in.blob_storage.crc64 import crc64

ACCOUNT = "devstoreaccount1"

_CONTAINER_NAME = re.compile(r"[a-z0-9](-?[a-z0-9])*")
_METADATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_METADATA = 8 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: the service, a container, or a blob in a container."""

    raw_path: str
    container: str | None
    blob: str | None

    @property
    def level(self) -> str:
        if self.container is None:
            return "service"
        return "container" if self.blob is None else "blob"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read whole."""

    method: str
    target: Target
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def container(self) -> str:
        if self.target.container is None:
            raise errors.InvalidUri
        return self.target.container

    @property
    def blob(self) -> str:
        if self.target.blob is None:
            raise errors.InvalidUri
        return self.target.blob


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is told."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def parse_target(raw_path: str) -> Target:
    """The thing that a path names. Raises InvalidUri, and for names that cannot exist their errors."""
    parts = raw_path.split("/", 3)
    if len(parts) < 2 or parts[0] != "" or parts[1] != ACCOUNT:
        raise errors.InvalidUri(f"The path must begin with /{ACCOUNT}, the only account here.")
    container = _unquote(parts[2]) if len(parts) > 2 and parts[2] else None
    blob = _unquote(parts[3]) if len(parts) > 3 and parts[3] else None
    if container is not None:
        _check_container_name(container)
    if blob is not None and len(blob) > 1024:
        raise errors.InvalidResourceName("A blob's name has at most 1,024 characters.")
    return Target(raw_path, container, blob)


def _unquote(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise errors.InvalidUri("The path is not UTF-8.") from None


def _check_container_name(name: str) -> None:
    if name.startswith("$"):
        raise errors.NotImplementedHere(f"The container {name}")
    if not 3 <= len(name) <= 63:
        raise errors.OutOfRangeInput("A container's name has 3 to 63 characters.")
    if not _CONTAINER_NAME.fullmatch(name):
        raise errors.InvalidResourceName(
            "A container's name has lower-case letters, digits and single hyphens between them."
        )


def parse_query(text: str) -> dict[str, str]:
    """The query parameters, their names in lower case. Raises InvalidQueryParameterValue for one given twice."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name.lower() in query:
            raise errors.InvalidQueryParameterValue(f"The query parameter {name} is given twice.")
        query[name.lower()] = value
    return query


def read_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """The `x-ms-meta-` headers, with the case of their names as sent."""
    metadata = {}
    for name, value in headers.items():
        if name[:10].lower() != "x-ms-meta-":
            continue
        if not _METADATA_NAME.fullmatch(name[10:]):
            raise errors.InvalidMetadata(f"The metadata name {name[10:]!r} is not an identifier.")
        metadata[name[10:]] = value
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MAX_METADATA:
        raise errors.MetadataTooLarge
    return metadata


def read_number(headers: Mapping[str, str], name: str) -> int | None:
    """A header that holds a whole number of zero or more."""
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise errors.InvalidHeaderValue(f"{name} must be a whole number, not {text!r}.")
    return int(text)


def check_body(request: Request, limit: int) -> None:
    """Hold the body to the operation's limit and to the hashes that came with it."""
    if len(request.body) > limit:
        raise errors.RequestBodyTooLarge(f"This operation takes at most {limit} bytes at once.")
    md5 = request.headers.get("Content-MD5")
    if md5 is not None and _decode_hash(md5, 16, errors.InvalidMd5()) != md5_of(request.body):
        raise errors.Md5Mismatch
    crc = request.headers.get("x-ms-content-crc64")
    if crc is not None:
        sent = _decode_hash(crc, 8, errors.InvalidHeaderValue("x-ms-content-crc64 must be base64 of 8 bytes."))
        if sent != crc64(request.body).to_bytes(8, "little"):
            raise errors.Crc64Mismatch


def _decode_hash(text: str, size: int, error: errors.BadRequest) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise error from None
    if len(value) != size:
        raise error
    return value


def md5_of(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def http_date(microseconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(microseconds // 1_000_000, UTC), usegmt=True)


def etag_text(etag: int) -> str:
    return f'"0x{etag:X}"'
