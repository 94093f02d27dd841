"""Shared Key: every request is signed with the account's key (HMAC-SHA256 over a canonical form of it).

The canonical form is that of "Authorize with Shared Key" for versions since 2015-02-21: the method, eleven standard
headers, the sorted x-ms- headers, the resource and the sorted query. With path-style addresses the account stands twice
in the resource: once as itself, once as the beginning of the path.

Key and account are the ones that every storage emulator has; they are published, and protect nothing.
"""

import base64
import hashlib
import hmac
from email.utils import parsedate_to_datetime

from stand_in.blob_storage.errors import AuthenticationFailed, InvalidHeaderValue, MissingRequiredHeader
from stand_in.blob_storage.requests import ACCOUNT, Request

ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

# The oldest version whose canonical form this is; before it, a Content-Length of 0 was signed as "0".
OLDEST_VERSION = "2015-02-21"
_TOLERANCE_S = 15 * 60
_KEY = base64.b64decode(ACCOUNT_KEY)
_SIGNED_HEADERS = (
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
)
_EXPECTED_FORM = f"SharedKey {ACCOUNT}:<signature>"


def check_signature(request: Request, now: float) -> None:
    """Raises AuthenticationFailed unless the request was signed with the account's key in the last 15 minutes."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        if "sig" in request.query:
            raise AuthenticationFailed("Shared access signatures are not supported by this emulator.")
        raise AuthenticationFailed(f"The Authorization header is missing; this account takes {_EXPECTED_FORM}.")
    scheme, _, credential = authorization.partition(" ")
    if scheme != "SharedKey":
        raise AuthenticationFailed(f"The authorization scheme {scheme[:40]!r} is not supported by this emulator.")
    account, _, signature = credential.partition(":")
    if account != ACCOUNT:
        raise AuthenticationFailed(f"The account must be {ACCOUNT}.")
    _check_version(request)
    _check_date(request, now)
    # Headers are sorted as the service's framework does, ignoring hyphens; many clients sort by code point. They agree
    # on every header but metadata with underscores and digits, and a signature that fits either knows the key.
    if not any(hmac.compare_digest(sign(form), signature) for form in _canonical_forms(request)):
        raise AuthenticationFailed(
            "The signature in the Authorization header is not the one computed from this request."
        )


def sign(text: str) -> str:
    """The signature of a canonical form."""
    return base64.b64encode(hmac.digest(_KEY, text.encode("utf-8"), hashlib.sha256)).decode("ascii")


def _check_version(request: Request) -> None:
    version = request.headers.get("x-ms-version")
    if version is None:
        raise MissingRequiredHeader("x-ms-version is not specified.")
    digits = version.replace("-", "")
    if len(version) != 10 or not (digits.isascii() and digits.isdigit()) or version < OLDEST_VERSION:
        raise InvalidHeaderValue(f"x-ms-version must be a version since {OLDEST_VERSION}, not {version[:40]!r}.")


def _check_date(request: Request, now: float) -> None:
    text = request.headers.get("x-ms-date") or request.headers.get("Date")
    if text is None:
        raise AuthenticationFailed("A signed request needs x-ms-date or Date.")
    try:
        sent = parsedate_to_datetime(text).timestamp()
    except ValueError:
        raise AuthenticationFailed(f"The date {text[:60]!r} is not an HTTP date.") from None
    if abs(sent - now) > _TOLERANCE_S:
        raise AuthenticationFailed(f"The date {text!r} is more than 15 minutes from now.")


def _canonical_forms(request: Request) -> tuple[str, ...]:
    headers = request.headers
    standard = [headers.get(name, "") for name in _SIGNED_HEADERS]
    if standard[2] == "0":
        standard[2] = ""
    if "x-ms-date" in headers:
        standard[5] = ""
    named = [(name.lower(), value.strip()) for name, value in headers.items() if name[:5].lower() == "x-ms-"]
    resource = f"/{ACCOUNT}{request.target.raw_path}"
    query = "".join(f"\n{name}:{request.query[name]}" for name in sorted(request.query))
    start = "\n".join((request.method, *standard)) + "\n"
    by_code_point = sorted(named)
    orders = [by_code_point]
    ignoring_hyphens = sorted(named, key=_without_hyphens)
    if ignoring_hyphens != by_code_point:
        orders.append(ignoring_hyphens)
    return tuple(start + "".join(f"{name}:{value}\n" for name, value in order) + resource + query for order in orders)


def _without_hyphens(header: tuple[str, str]) -> str:
    # An underscore sorts before digits there, and after them by code point.
    return header[0].replace("-", "").replace("_", " ")
