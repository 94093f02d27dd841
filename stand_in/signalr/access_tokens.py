"""Access tokens: who may connect to a hub, and who may call the REST API.

Both are JWTs signed with the service's access key (HS256, the key's text as bytes, not base64-decoded). A client's
token names the client endpoint and its hub as audience; a call's token names the URL that is called. Times are checked
against `exp` alone: `iat` and `nbf` are written by the SDK but stated as not validated.

Two forms of audience are in use for calls: the documentation signs the URL without query, the official SDK with the
query that it knows at that point, and the SDK leaves the port out (Azure/azure-signalr @31686ed, RestApiProvider.cs).
Both work on the service, so both are accepted here: same path, port present or absent, query absent or a prefix.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import jwt

from stand_in.signalr.errors import TokenRefused

# The key of Microsoft's own emulator (public in Azure/azure-signalr), so that existing settings fit this one as well.
EMULATOR_ACCESS_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
# A token of Microsoft Entra carries this audience and no URL. Nobody signs Entra tokens on a laptop: one that is signed
# with the access key stands for it, so that an app configured for an identity can be run.
ENTRA_AUDIENCE = "https://signalr.azure.com"
# Documented bound of a browser's header; the SDK refuses to make longer ones.
MAXIMUM_TOKEN_CHARACTERS = 4096
# Remembering checked tokens spares the signature (the dearest step) to callers that reuse theirs for a while.
_REMEMBERED_TOKENS = 4096
_NAME_IDENTIFIER = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def connection_string(port: int) -> str:
    """What an app needs to use the emulator on this port, in the form that Microsoft's emulator prints."""
    return f"Endpoint=http://127.0.0.1;Port={port};AccessKey={EMULATOR_ACCESS_KEY};Version=1.0;"


@dataclass(frozen=True, slots=True)
class ClientClaims:
    """What a client's token says about its connection."""

    user_id: str | None
    issued_at: float | None
    expires_at: float
    # asrs.s.coae and asrs.s.aeo: the service closes the connection then, and lets the client come again.
    close_at: float | None
    # asrs.s.cht: seconds that the handshake may take.
    handshake_timeout: float | None
    # asrs.s.htt: a bit mask of WebSockets (1), server-sent events (2) and long polling (4); all without it.
    transports: int


@dataclass(frozen=True, slots=True)
class _Checked:
    claims: dict[str, Any]
    audiences: tuple[SplitResult, ...]
    expires_at: float


class AccessTokens:
    """Makes and checks the tokens of one access key. `now` gives Unix time."""

    def __init__(self, access_key: str = EMULATOR_ACCESS_KEY, now: Callable[[], float] = time.time) -> None:
        self._access_key = access_key
        self._now = now
        self._checked: dict[str, _Checked] = {}
        self._allowed_calls: dict[tuple[str, str, str], float] = {}

    def check_client(self, token: str | None, hub: str, host: str) -> ClientClaims:
        """Who connects to `hub`; TokenRefused when the token is not for it."""
        checked = self._check(token)
        if not any(_names_client_endpoint(audience, hub, host) for audience in checked.audiences):
            raise TokenRefused(f"The audience is invalid: it must be the client endpoint with hub={hub}")
        claims = checked.claims
        closes = str(claims.get("asrs.s.coae", "")).lower() == "true"
        return ClientClaims(
            user_id=_user_id(claims),
            issued_at=_seconds(claims.get("iat")),
            expires_at=checked.expires_at,
            close_at=_seconds(claims.get("asrs.s.aeo")) if closes else None,
            handshake_timeout=_seconds(claims.get("asrs.s.cht")),
            transports=int(_seconds(claims.get("asrs.s.htt")) or 0b111),
        )

    def check_call(self, token: str | None, target: str, host: str) -> None:
        """TokenRefused unless the token allows a call of this request target (path and query, not yet decoded)."""
        call = (token or "", target, host)
        if self._allowed_calls.get(call, 0.0) > self._now():
            return
        checked = self._check(token)
        path, _, query = target.partition("?")
        if not any(_names_call(audience, path, query, host) for audience in checked.audiences):
            raise TokenRefused("The audience is invalid: it must be the URL of the request")
        if len(self._allowed_calls) >= _REMEMBERED_TOKENS:
            self._allowed_calls.clear()
        self._allowed_calls[call] = checked.expires_at

    def make_client_token(self, audience: str, user_id: str | None, lifetime: float) -> str:
        """A token with which a client may connect (`:generateToken`)."""
        now = int(self._now())
        claims: dict[str, Any] = {"aud": audience, "iat": now, "nbf": now, "exp": now + int(lifetime)}
        if user_id is not None:
            claims["asrs.s.uid"] = user_id
        return jwt.encode(claims, self._access_key, "HS256")

    def _check(self, token: str | None) -> _Checked:
        if not token:
            raise TokenRefused("The access token is missing")
        checked = self._checked.get(token)
        if checked is None:
            checked = self._decode(token)
            if len(self._checked) >= _REMEMBERED_TOKENS:
                self._checked.clear()
            self._checked[token] = checked
        if checked.expires_at <= self._now():
            raise TokenRefused("The token is expired")
        return checked

    def _decode(self, token: str) -> _Checked:
        if len(token) > MAXIMUM_TOKEN_CHARACTERS:
            raise TokenRefused(f"The token is longer than {MAXIMUM_TOKEN_CHARACTERS} characters")
        options: Any = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_sub"), False)
        try:
            claims = jwt.decode(token, self._access_key, algorithms=["HS256"], options=options)
        except jwt.InvalidSignatureError as error:
            raise TokenRefused("The signature key was not found") from error
        except jwt.InvalidTokenError as error:
            raise TokenRefused("The token is not a JWT signed with HS256") from error
        expires_at = _seconds(claims.get("exp"))
        if expires_at is None:
            raise TokenRefused("The token has no expiration")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not all(isinstance(name, str) for name in audiences):
            raise TokenRefused("The token has no audience")
        return _Checked(claims, tuple(urlsplit(str(name)) for name in audiences), expires_at)


def _user_id(claims: dict[str, Any]) -> str | None:
    for name in ("asrs.s.uid", "nameid", "sub", _NAME_IDENTIFIER):
        if claims.get(name):
            return str(claims[name])
    return None


def _seconds(value: object) -> float | None:
    try:
        return None if value is None else float(str(value))
    except ValueError:
        return None


def _is_this_host(audience: SplitResult, host: str) -> bool:
    return audience.scheme in ("http", "https") and (audience.hostname in _LOOPBACK or audience.hostname == host)


def _names_client_endpoint(audience: SplitResult, hub: str, host: str) -> bool:
    hubs = [name.lower() for name in parse_qs(audience.query).get("hub", [])]
    return _is_this_host(audience, host) and audience.path.rstrip("/") == "/client" and hubs == [hub]


def _names_call(audience: SplitResult, path: str, query: str, host: str) -> bool:
    if f"{audience.scheme}://{audience.netloc}" == ENTRA_AUDIENCE:
        return audience.path in ("", "/")
    same_path = unquote(audience.path).rstrip("/") == unquote(path).rstrip("/")
    return _is_this_host(audience, host) and same_path and query.startswith(audience.query)
