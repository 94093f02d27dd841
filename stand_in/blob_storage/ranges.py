"""Byte ranges: `bytes=first-` and `bytes=first-last`, the two forms that the service takes.

`x-ms-range` outranks `Range`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stand_in.blob_storage.errors import InvalidHeaderValue, InvalidRange

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """From `first` up to, not including, `end`, inside a blob of `size` bytes."""

    first: int
    end: int
    size: int

    @property
    def content_range(self) -> str:
        return f"bytes {self.first}-{self.end - 1}/{self.size}"


def read_range(headers: Mapping[str, str], size: int) -> ByteRange | None:
    """The range that a request asks for, None for the whole. Raises InvalidRange if it begins at or behind the end."""
    text = headers.get("x-ms-range") or headers.get("Range")
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise InvalidHeaderValue(f"A range is bytes=first- or bytes=first-last, not {text!r}.")
    first = int(match[1])
    last = size - 1 if match[2] is None else int(match[2])
    if match[2] is not None and last < first:
        raise InvalidHeaderValue(f"The range {text!r} ends before it begins.")
    if first >= size:
        raise InvalidRange(headers={"Content-Range": f"bytes */{size}"})
    return ByteRange(first, min(last + 1, size), size)
