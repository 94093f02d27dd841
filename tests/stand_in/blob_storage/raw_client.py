"""A bare client: signs as the documentation says, independently of SDK and emulator, and shows answers as they are."""

import base64
import hashlib
import hmac
import io
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import parse_qsl

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from tests.contracts.blob_servers import ACCOUNT, KEY


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer, with what the error body says its code is."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def code(self) -> str | None:
        return self.headers.get("x-ms-error-code")


class RawClient:
    """Requests to one account on one port."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self.origin = f"http://127.0.0.1:{port}"

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        authorization: str | None = None,
    ) -> RawAnswer:
        """`path` is `<container>[/<blob>][?query]`; an authorization that is given replaces the signature."""
        sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03", **(headers or {})}
        raw_path, _, query = f"/{ACCOUNT}/{path}".partition("?")
        sent["Authorization"] = sign(method, raw_path, query, sent, body) if authorization is None else authorization
        url = URL(f"{self.origin}{raw_path}?{query}", encoded=True)
        skip = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent")
        async with self._session.request(
            method, url, headers=sent, data=io.BytesIO(body) if body else None, skip_auto_headers=skip
        ) as answer:
            return RawAnswer(answer.status, answer.headers, await answer.read())


def sign(method: str, raw_path: str, query: str, headers: Mapping[str, str], body: bytes) -> str:
    lines = [method]
    lines += [headers.get(name, "") for name in ("Content-Encoding", "Content-Language")]
    lines += [str(len(body)) if body else "", headers.get("Content-MD5", ""), headers.get("Content-Type", ""), ""]
    names = ("If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range")
    lines += [headers.get(name, "") for name in names]
    lines += sorted(f"{name.lower()}:{value}" for name, value in headers.items() if name.lower().startswith("x-ms-"))
    lines.append(f"/{ACCOUNT}{raw_path}")
    lines += sorted(f"{name.lower()}:{value}" for name, value in parse_qsl(query, keep_blank_values=True))
    signature = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    return f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
