"""Conditional headers: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since.

An etag outranks a date of the same direction, as RFC 9110 section 13.2.2 has it. A condition that does not hold is 412,
but 304 for a read that wanted news and there is none, and 409 for a creation with `If-None-Match: *`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from stand_in.blob_storage import errors
from stand_in.blob_storage.requests import etag_text
from stand_in.blob_storage.sqlite_blobs import Blob, Container

CONDITION_HEADERS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request says must be so. Dates are whole seconds since 1970."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None

    def check_creation(self, found: Blob | None) -> None:
        """Before a blob is created or replaced."""
        if found is not None and self.if_none_match == "*":
            raise errors.BlobAlreadyExists
        self.check_write(found)

    def check_write(self, found: Blob | Container | None) -> None:
        if self._wants_another(found) or self._has_no_news(found):
            raise errors.PreconditionFailed

    def check_read(self, found: Blob) -> None:
        if self._wants_another(found):
            raise errors.PreconditionFailed
        if self._has_no_news(found):
            raise errors.NotModified

    def _wants_another(self, found: Blob | Container | None) -> bool:
        if self.if_match is not None:
            return found is None or self.if_match not in ("*", etag_text(found.etag))
        if self.if_unmodified_since is not None:
            return found is not None and found.modified // 1_000_000 > self.if_unmodified_since
        return False

    def _has_no_news(self, found: Blob | Container | None) -> bool:
        if found is None:
            return False
        if self.if_none_match is not None:
            return self.if_none_match in ("*", etag_text(found.etag))
        if self.if_modified_since is not None:
            return found.modified // 1_000_000 <= self.if_modified_since
        return False


NO_CONDITIONS = Conditions()


def read_conditions(headers: Mapping[str, str]) -> Conditions:
    """The conditions that a request's headers set."""
    if CONDITION_HEADERS.isdisjoint(name.lower() for name in headers):
        return NO_CONDITIONS
    return Conditions(
        if_match=_read_etag(headers, "If-Match"),
        if_none_match=_read_etag(headers, "If-None-Match"),
        if_modified_since=_read_date(headers, "If-Modified-Since"),
        if_unmodified_since=_read_date(headers, "If-Unmodified-Since"),
    )


def _read_etag(headers: Mapping[str, str], name: str) -> str | None:
    """One etag or `*`. The service takes an etag without its quotes too."""
    value = headers.get(name)
    if value is None or value == "*":
        return value
    if "," in value:
        raise errors.InvalidHeaderValue(f"{name} takes one etag.")
    return value if value.startswith('"') else f'"{value}"'


def _read_date(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp())
    except ValueError:
        raise errors.InvalidHeaderValue(f"{name} must be an HTTP date, not {value!r}.") from None
