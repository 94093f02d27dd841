"""Two doors to one model service: the service's own and the proxy's. Whoever knocks must not be able to tell which.

What a service makes anew for each answer (ids, times, what is left of a quota) is masked by name, and nothing else.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai

API_VERSION = "2024-10-21"
CHAT = f"/openai/deployments/zero/chat/completions?api-version={API_VERSION}"
JSON = {"Content-Type": "application/json"}
_MADE_ANEW = (
    (re.compile(rb'("id": ?")(?!content_filter)[^"]*"'), rb'\1ID"'),
    (re.compile(rb'("(?:item_id|response_id|call_id)": ?")[^"]*"'), rb'\1ID"'),
    (re.compile(rb'("(?:created|created_at|completed_at)": ?)[0-9.]+'), rb"\g<1>0"),
)
_OF_EACH_ANSWER = frozenset(
    ("apim-request-id", "x-request-id", "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens")
)
# Of one connection (RFC 9110 section 7.6.1), or of the server that holds it.
_OF_THE_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "date", "server"))


@dataclass(frozen=True, slots=True)
class Door:
    """An address and the key that opens it."""

    url: str
    key: str
    model_url: str

    @contextmanager
    def azure(self, **more: Any) -> Iterator[openai.AzureOpenAI]:
        options: dict[str, Any] = {"max_retries": 0, "api_version": API_VERSION} | more
        with openai.AzureOpenAI(azure_endpoint=self.url, api_key=self.key, **options) as client:
            yield client

    @contextmanager
    def plain(self, **more: Any) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{self.url}/openai/v1", api_key=self.key, max_retries=0, **more) as client:
            yield client


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came over the wire, with what is made anew masked."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[bytes]:
        return self.body.split(b"\n\n")


async def knock(door: Door, path: str, body: bytes, **headers: str) -> RawAnswer:
    """One POST without a client library: status, headers, bytes."""
    sent = JSON | {"api-key": door.key} | headers
    async with aiohttp.ClientSession() as http, http.post(door.url + path, data=body, headers=sent) as answer:
        received = await answer.read()
        is_stream = answer.content_type == "text/event-stream"
        return RawAnswer(answer.status, _kept(answer.headers, is_stream=is_stream), masked(received))


def masked(body: bytes) -> bytes:
    for pattern, mask in _MADE_ANEW:
        body = pattern.sub(mask, body)
    return body


def _kept(headers: Mapping[str, str], *, is_stream: bool) -> dict[str, str]:
    """The headers with what is made anew masked: that they are there, and look like it, is compared all the same."""
    kept = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in _OF_EACH_ANSWER:
            kept[lower] = re.sub(r"[0-9a-f]", "x", value) if "request-id" in lower else "some"
        elif lower not in _OF_THE_HOP:
            kept[lower] = value
    if is_stream:
        kept.pop("content-length", None)
    return kept


async def forget(model_url: str) -> None:
    """The emulator forgets which faults it has shown: the next door meets the same ones."""
    async with aiohttp.ClientSession() as http, http.post(f"{model_url}/_admin/reset") as answer:
        assert answer.status == 200
