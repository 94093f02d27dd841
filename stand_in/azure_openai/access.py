"""Who may call, and with which api-version.

On Azure's paths a key (`api-key`, or as Bearer) or an Entra token is needed; the emulator knows one key, and looks at a
token's audience and expiry but not at its signature, since the issuer is out of reach of a laptop. On the plain
`/v1` paths any Bearer will do, as with other local servers.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping

from stand_in.azure_openai.errors import InvalidRequest, Refused, ResourceNotFound

EMULATOR_KEY = "stand-in-model-key"  # not a secret: it opens nothing but an emulator on this machine
TOKEN_AUDIENCES = (
    "https://cognitiveservices.azure.com",
    "https://cognitiveservices.azure.com/",
    "https://ai.azure.com",
)

# Published data-plane versions with chat completions. Retired ones answer 404 on Azure and are left out.
# fmt: off
API_VERSIONS = frozenset((
    "2023-05-15", "2023-06-01-preview", "2023-09-01-preview", "2023-10-01-preview", "2023-12-01-preview",
    "2024-02-01", "2024-02-15-preview", "2024-03-01-preview", "2024-04-01-preview", "2024-05-01-preview",
    "2024-06-01", "2024-07-01-preview", "2024-08-01-preview", "2024-09-01-preview", "2024-10-01-preview",
    "2024-10-21", "2024-12-01-preview", "2025-01-01-preview", "2025-02-01-preview", "2025-03-01-preview",
    "2025-04-01-preview",
))
# fmt: on
V1_API_VERSIONS = frozenset(("v1", "preview", "latest"))
STREAM_OPTIONS_SINCE = "2024-08-01"
RESPONSES_SINCE = "2025-03-01-preview"
_BEARER = re.compile(r"Bearer +(\S+) *$", re.IGNORECASE)


def check_access(headers: Mapping[str, str], now: float) -> str:
    """How the caller identified itself: `key` or `token`; Refused when neither is right."""
    bearer = _BEARER.match(headers.get("Authorization", ""))
    key = headers.get("api-key", "")
    if EMULATOR_KEY in (key, bearer[1] if bearer else ""):
        return "key"
    if bearer and bearer[1].count(".") == 2:
        _check_token(bearer[1], now)
        return "token"
    if not key and not bearer:
        raise Refused("send api-key or Authorization: Bearer")
    raise Refused(f"the one key it accepts is {EMULATOR_KEY}")


def check_plain_access(headers: Mapping[str, str]) -> str:
    if not _BEARER.match(headers.get("Authorization", "")):
        raise Refused("send Authorization: Bearer with any key")
    return "any"


def _check_token(token: str, now: float) -> None:
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        audience, expires = claims["aud"], float(claims["exp"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise Refused("the Bearer is neither its key nor a token with aud and exp") from error
    if audience not in TOKEN_AUDIENCES:
        raise Refused(f"the token is for {audience!r}, not for {TOKEN_AUDIENCES[0]}")
    if expires <= now:
        raise Refused("the token has expired")


def check_classic_version(version: str | None) -> str:
    if version not in API_VERSIONS:
        raise ResourceNotFound(
            f"api-version {version!r} is not a published one" if version else "api-version is missing"
        )
    return version


def check_v1_version(version: str | None) -> str:
    if version is not None and version not in V1_API_VERSIONS:
        raise ResourceNotFound(
            f"/openai/v1 takes no api-version, or {', '.join(sorted(V1_API_VERSIONS))}; not {version!r}"
        )
    return version or "v1"


def check_responses_version(version: str) -> None:
    """The Responses API came with a late classic version."""
    if version not in V1_API_VERSIONS and version < RESPONSES_SINCE:
        raise InvalidRequest(
            f"Azure OpenAI Responses API is enabled only for api-version {RESPONSES_SINCE} and later", code="BadRequest"
        )


def knows_stream_options(version: str) -> bool:
    return version in V1_API_VERSIONS or version >= STREAM_OPTIONS_SINCE
