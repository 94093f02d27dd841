"""Content headers: what a blob says about its bytes (type, encoding, language, disposition, cache control, MD5).

They are set as `x-ms-blob-<name>`, kept with the blob, and repeated by every read.
"""

from collections.abc import Mapping

CONTENT_HEADERS = (
    "Content-Type",
    "Content-Encoding",
    "Content-Language",
    "Content-Disposition",
    "Cache-Control",
    "Content-MD5",
)
SETTING_HEADERS = frozenset(f"x-ms-blob-{name.lower()}" for name in CONTENT_HEADERS)
_DEFAULT_TYPE = "application/octet-stream"


def read_content_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The content headers that a request sets; the type has a default."""
    found = {name: headers.get(f"x-ms-blob-{name}") for name in CONTENT_HEADERS}
    content = {name: value for name, value in found.items() if value}
    content.setdefault("Content-Type", headers.get("Content-Type", _DEFAULT_TYPE))
    return content
