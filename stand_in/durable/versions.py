"""Versions: whether this worker runs an orchestration of a given version.

The match counts only where a version is in play at all: an instance without one runs everywhere. Versions that look
like numbers with dots are compared part by part (a missing part is less than a zero), all others as text.
"""

import re

from stand_in.durable.options import DurableOptions, VersionMatch


def is_accepted(version: str | None, options: DurableOptions) -> bool:
    """Whether an instance of this version may run under these options."""
    if options.version_match is VersionMatch.NONE or not version:
        return True
    own = options.default_version or ""
    if options.version_match is VersionMatch.STRICT:
        return compare(version, own) == 0
    return compare(version, own) <= 0


def compare(one: str, other: str) -> int:
    """Less than, equal to or greater than 0, as `one` is older than, equal to or newer than `other`."""
    if not one or not other:
        return bool(one) - bool(other)
    if _is_dotted(one) and _is_dotted(other):
        left, right = _parts(one), _parts(other)
        return (left > right) - (left < right)
    left_text, right_text = one.casefold(), other.casefold()
    return (left_text > right_text) - (left_text < right_text)


def _is_dotted(version: str) -> bool:
    """What .NET's Version can read: two to four numbers."""
    return re.fullmatch(r"\d+(\.\d+){1,3}", version) is not None


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
