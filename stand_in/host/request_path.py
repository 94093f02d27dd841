"""A request's path in its three forms.

The server decodes a path once and removes its dot segments; an encoded slash stays `%2F`, so that it separates nothing.
That *decoded* form is what routes are matched with. In a URL shown to a function it is escaped again: classic mode
leaves `%2F` as it is, the proxy of FastAPI mode escapes its percent sign too.
"""

import re
from urllib.parse import quote, unquote

_SAFE = "/:@!$&'()*+,;=~-._"
_ENCODED_SLASH = re.compile("%2[fF]")
_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_LONE_PERCENT_BYTES = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def decode_path(raw: str) -> str | None:
    """The decoded path, or None for one that the server answers with 400 (a NUL, raw bytes outside ASCII)."""
    if not raw.isascii():
        return None
    if "%" not in raw and "/." not in raw:
        return raw
    decoded = unquote(_ENCODED_SLASH.sub(lambda match: "%25" + match.group()[1:], raw))
    if "\0" in decoded:
        return None
    return _without_dots(decoded) if "/." in decoded else decoded


def classic_path(decoded: str) -> str:
    """The path as it stands in the URL of `func.HttpRequest`."""
    return quote(_LONE_PERCENT.sub("%25", decoded), safe=_SAFE + "%")


def proxied_path(decoded: str) -> bytes:
    """The path as the proxy sends it to the worker's server."""
    return quote(decoded, safe=_SAFE).encode("ascii")


def proxied_query(query: bytes) -> bytes:
    """The query as the proxy sends it: a percent sign that escapes nothing is escaped itself."""
    return _LONE_PERCENT_BYTES.sub(b"%25", query) if b"%" in query else query


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
