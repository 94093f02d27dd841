"""How a request to blob storage proves who sends it: signed with the account's key, or with a token.

A request is told apart by its method, path, query and headers; what comes back goes into its `Authorization` header.
The canonical form that the key signs is that of "Authorize with Shared Key" in Azure's REST reference.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError

from chat.errors import StorageUnavailable

SCOPE = "https://storage.azure.com/.default"
# A token is renewed while it can still be used, so that a slow identity service holds nobody up.
_RENEW_BEFORE_S = 300.0
# The headers in the canonical form, in its order; the sixth is Date, which is empty when x-ms-date is sent.
_SIGNED = (
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


class Authorization(Protocol):
    """The way to an Authorization header."""

    async def authorize(
        self, method: str, raw_path: str, query: Mapping[str, str], headers: Mapping[str, str], size: int
    ) -> str:
        """The header's value. `headers` are all that are sent, `size` is the body's. Raises StorageUnavailable."""


class SharedKey:
    """Signs with the key of the account."""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key)

    async def authorize(
        self, method: str, raw_path: str, query: Mapping[str, str], headers: Mapping[str, str], size: int
    ) -> str:
        return f"SharedKey {self._account}:{self.sign(self._canonical_form(method, raw_path, query, headers, size))}"

    def sign(self, text: str) -> str:
        return base64.b64encode(hmac.digest(self._key, text.encode("utf-8"), hashlib.sha256)).decode("ascii")

    def _canonical_form(
        self, method: str, raw_path: str, query: Mapping[str, str], headers: Mapping[str, str], size: int
    ) -> str:
        standard = [headers.get(name, "") for name in _SIGNED]
        standard[2] = str(size) if size else ""
        lines = [method, *standard]
        lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")]
        lines.append(f"/{self._account}{raw_path}")
        lines += [f"{name}:{query[name]}" for name in sorted(query)]
        return "\n".join(lines)


class BearerToken:
    """Asks a credential for a token and keeps it until shortly before it expires."""

    def __init__(self, credential: AsyncTokenCredential, clock: Callable[[], float] = time.time) -> None:
        self._credential = credential
        self._clock = clock
        self._header = ""
        self._expires = 0.0
        self._renewal = asyncio.Lock()

    async def authorize(
        self, method: str, raw_path: str, query: Mapping[str, str], headers: Mapping[str, str], size: int
    ) -> str:
        if self._clock() + _RENEW_BEFORE_S >= self._expires:
            await self._renew()
        return self._header

    async def _renew(self) -> None:
        async with self._renewal:
            if self._clock() + _RENEW_BEFORE_S < self._expires:
                return  # somebody did while this one waited
            try:
                token = await self._credential.get_token(SCOPE)
            except AzureError as error:
                if self._clock() < self._expires:
                    return  # the old one still holds; the next request tries again
                raise StorageUnavailable(f"No token for blob storage: {type(error).__name__}.") from error
            self._header, self._expires = f"Bearer {token.token}", float(token.expires_on)
