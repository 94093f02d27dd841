"""The model API: streamed completions of Azure OpenAI or of any service that speaks the same protocol.

Answers come as chat completions, or as background responses (`response_events.py`) where a request asks for that.

The openai SDK builds the requests, authenticates and tells errors apart; the bytes of the stream are read here. The
SDK's object per chunk costs several times the rest (255 µs a chunk against 141, and 52 over its aiohttp transport:
40 streams at 80 tokens a second on one busy core), and it knows no difference between an answer that is whole and a
stream that merely ended. The rule here: an answer is whole when a finish_reason was seen, and only then. The SDK's own
retries are off: they sleep inside a paid activity, and a second request is a second, billed completion.

Environment variables are read in `settings.py`; what is needed here arrives as a `ModelConnection`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast
from urllib.parse import quote

import httpx2
from openai import AsyncAzureOpenAI, AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from adapters.chat_events import ChatEvents, chat_body
from adapters.model_failures import (
    REQUEST_ERRORS,
    TRANSPORT_ERRORS,
    failure_of_broken_stream,
    failure_of_event,
    failure_of_exception,
    failure_of_response_type,
    failure_of_token,
)
from adapters.response_events import ResponseEvents, lost, response_body
from adapters.server_sent_events import EventParser
from chat.completion import Chunk, CompletionRequest, Upstream
from chat.errors import MissingSetting, ModelFailure
from chat.silence import SilenceWatch

logger = logging.getLogger(__name__)

TOKEN_SCOPE = "https://cognitiveservices.azure.com/.default"
V1 = "v1"
STREAM_OPTIONS_SINCE = "2024-09-01"  # dated api-versions before it answer 400 to stream_options
CONNECT_SECONDS = 5.0
WRITE_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 60.0  # the SDK's 5 s cost a TLS handshake for nearly every turn
LARGEST_POOL = 1000
CANCEL_SECONDS = 5.0
GONE = (404, 410)
DRAIN_SECONDS = 0.1  # how long to wait for the end of a body after [DONE], to use its connection again


class AccessToken(Protocol):
    """What a credential hands out."""

    @property
    def token(self) -> str: ...


class TokenCredential(Protocol):
    """An Entra credential: any of azure-identity's asynchronous ones."""

    async def get_token(self, *scopes: str) -> AccessToken: ...


@dataclass(frozen=True, slots=True)
class ModelConnection:
    """Where the model is and how to be let in.

    `base_url` selects a plain OpenAI-compatible service and wins over `endpoint`, an Azure resource. A resource is
    called through `/openai/v1/` unless `api_version` is a dated one; `key` wins over `credential`. `prefix` is what the
    app puts before the names of this resource's deployments.
    """

    endpoint: str | None = None
    key: str | None = field(default=None, repr=False)
    api_version: str | None = None
    base_url: str | None = None
    credential: TokenCredential | None = field(default=None, repr=False)
    prefix: str = ""
    read_timeout: float = 30.0  # the longest silence between two signs of life, and before the first
    reasoning_read_timeout: float = 120.0  # reasoning models think before they speak; at least `read_timeout`

    def __post_init__(self) -> None:
        if not self.base_url and not self.endpoint:
            raise MissingSetting("AZURE_OPENAI_ENDPOINT")
        if not self.base_url and not self.key and self.credential is None:
            raise MissingSetting("AZURE_OPENAI_KEY", "is not set, and there is no Entra credential to use instead")

    @property
    def effective_api_version(self) -> str | None:
        """A dated version, `v1`, or None for a service that has no such thing."""
        return None if self.base_url else self.api_version or V1

    @property
    def knows_stream_options(self) -> bool:
        version = self.effective_api_version
        return version in (None, V1) or str(version) >= STREAM_OPTIONS_SINCE

    def patience(self, *, is_reasoning: bool) -> float:
        """Seconds of silence after which an answer counts as stalled."""
        return max(self.read_timeout, self.reasoning_read_timeout) if is_reasoning else self.read_timeout

    def timeout(self, *, is_reasoning: bool) -> httpx2.Timeout:
        read = self.patience(is_reasoning=is_reasoning)
        return httpx2.Timeout(connect=CONNECT_SECONDS, read=read, write=WRITE_SECONDS, pool=CONNECT_SECONDS)


class OpenAIChatModel:
    """Streams chat completions; one per endpoint and credential, per process and event loop, since it keeps a pool."""

    def __init__(self, connection: ModelConnection) -> None:
        self._connection = connection
        self._client = _build_client(connection)

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator["CompletionStream"]:
        """Ask; the stream is there when the response headers are. Leaving the context closes it upstream at once; a
        background response goes on.

        Raises ModelFailure for whatever keeps an answer from coming; the iteration does too.
        """
        model = request.deployment.removeprefix(self._connection.prefix)
        async with self._watch(request) as silence:
            if request.background:
                response = await self._post(request, "/responses", response_body(request, model))
                events: Events = ResponseEvents(self._connection.key)
            else:
                body = chat_body(request, model, with_usage=self._connection.knows_stream_options)
                response = await self._post(request, "/chat/completions", body)
                events = ChatEvents()
            async with self._reading(request, response, events, silence) as stream:
                yield stream

    @asynccontextmanager
    async def reattach(
        self, request: CompletionRequest, response_id: str, after: int | None
    ) -> AsyncIterator["CompletionStream"]:
        """The rest of a background response, from the event after number `after` on (None: from its first event).

        Raises ResponseLost when it is gone or over without an answer, else like `stream`.
        """
        params: dict[str, Any] = {"stream": "true"} | ({} if after is None else {"starting_after": after})
        async with self._watch(request) as silence:
            try:
                response = await self._get(request, f"/responses/{quote(response_id, safe='')}", params)
            except ModelFailure as failure:
                raise (lost(failure) if failure.http_status in GONE else failure) from failure
            events = ResponseEvents(self._connection.key, is_reattached=True)
            async with self._reading(request, response, events, silence) as stream:
                yield stream

    async def cancel(self, deployment: str, response_id: str) -> None:
        """End a background response. Raises ModelFailure."""
        path = f"/responses/{quote(response_id, safe='')}/cancel"
        try:
            await self._client.post(path, cast_to=httpx2.Response, options={"timeout": CANCEL_SECONDS})
        except REQUEST_ERRORS as error:
            raise failure_of_exception(error, deployment, self._connection.key) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _watch(self, request: CompletionRequest) -> SilenceWatch:
        return SilenceWatch(self._connection.patience(is_reasoning=request.is_reasoning_model))

    @asynccontextmanager
    async def _reading(
        self, request: CompletionRequest, response: httpx2.Response, events: "Events", silence: SilenceWatch
    ) -> AsyncIterator["CompletionStream"]:
        silence.heard()
        try:
            failure = failure_of_response_type(response.headers.get("content-type", ""))
            if failure is not None:
                raise failure
            upstream = self._upstream(request, response.headers)
            stream = CompletionStream(response, upstream, events, self._connection.key, silence)
            yield stream
            await stream.drain()
        finally:
            await response.aclose()

    async def _post(self, request: CompletionRequest, path: str, body: dict[str, Any]) -> httpx2.Response:
        """The response, its body still to come.

        `chat.completions.create` would walk through every message looking for files to transform: 0.16 ms of CPU for
        each, 8 ms for a conversation of fifty.
        """
        timeout = self._connection.timeout(is_reasoning=request.is_reasoning_model)
        try:
            response = await self._client.post(
                path,
                cast_to=httpx2.Response,
                body=body,
                options={"timeout": timeout},
                stream=True,
                stream_cls=AsyncStream[Any],
            )
            return cast(httpx2.Response, response)  # as `cast_to` says; the SDK's types know streams of objects alone
        except REQUEST_ERRORS as error:
            raise failure_of_exception(error, request.deployment, self._connection.key) from error

    async def _get(self, request: CompletionRequest, path: str, params: dict[str, Any]) -> httpx2.Response:
        timeout = self._connection.timeout(is_reasoning=request.is_reasoning_model)
        try:
            response = await self._client.get(
                path,
                cast_to=httpx2.Response,
                options={"timeout": timeout, "params": params},
                stream=True,
                stream_cls=AsyncStream[Any],
            )
            return cast(httpx2.Response, response)
        except REQUEST_ERRORS as error:
            raise failure_of_exception(error, request.deployment, self._connection.key) from error

    def _upstream(self, request: CompletionRequest, headers: httpx2.Headers) -> Upstream:
        return Upstream(
            deployment=request.deployment,
            region=headers.get("x-ms-region") or "unknown",
            request_id=headers.get("apim-request-id") or headers.get("x-request-id"),
            api_version=self._connection.effective_api_version,
        )


class Events(Protocol):
    """What the events of a stream mean."""

    has_done: ClassVar[bool]  # whether `[DONE]` follows the event that says how the answer ended

    def read(self, event: dict[str, Any]) -> Chunk | None:
        """The event as a chunk, None when it says nothing. Raises ModelFailure."""

    def is_alive(self, event: dict[str, Any]) -> bool:
        """Whether an event that says nothing shows all the same that the model works."""

    def failure_of_end(self) -> ModelFailure:
        """What it means that the stream ended before the answer was whole."""


class CompletionStream:
    """One answer while it arrives: iterate once."""

    def __init__(
        self, response: httpx2.Response, upstream: Upstream, events: Events, key: str | None, silence: SilenceWatch
    ) -> None:
        self.upstream = upstream
        self._events = events
        self._key = key
        self._silence = silence
        self._is_whole = False  # a finish_reason was seen
        self._is_done = False  # nothing more is to come
        # Event streams are not compressed; reading raw bytes spares a decoder layer per chunk.
        is_encoded = "content-encoding" in response.headers
        self._bytes = response.aiter_bytes() if is_encoded else response.aiter_raw()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Chunks until the answer is whole; ModelFailure when it does not get there."""
        parser = EventParser()
        try:
            async for received in self._bytes:
                for data in parser.feed(received):
                    if data.startswith(b"[DONE]"):
                        self._is_done = True
                        break
                    if chunk := self._read_event(data):
                        yield chunk
                    if self._is_whole and not self._events.has_done:
                        self._is_done = True
                        break
                if self._is_done:
                    break
        except TRANSPORT_ERRORS as error:
            if not self._is_whole:
                raise failure_of_broken_stream(error, self.upstream.deployment, self._key) from error
            logger.warning(
                "The model's stream broke after its answer was whole.", extra={"error": type(error).__name__}
            )
        else:
            for data in () if self._is_done else parser.finish():
                if not data.startswith(b"[DONE]") and (chunk := self._read_event(data)):
                    yield chunk
        if not self._is_whole:
            raise self._events.failure_of_end()

    async def drain(self) -> None:
        """After `[DONE]`: read the end of the body, so that the connection can be used again."""
        if not self._is_done:
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in self._bytes:
                    pass
        except TRANSPORT_ERRORS:  # the timeout is an OSError too
            logger.debug("A connection to the model was not reusable after its answer.")

    def _read_event(self, data: bytes) -> Chunk | None:
        try:
            event = json.loads(data)
        except ValueError as error:
            raise failure_of_event(None, self._key) from error
        if not isinstance(event, dict) or (event.get("error") and "type" not in event):
            raise failure_of_event(event, self._key)
        chunk = self._events.read(event)
        if chunk is not None or self._events.is_alive(event):
            self._silence.heard()
        if chunk is not None and chunk.finish_reason is not None:
            self._is_whole = True
            self._silence.enough()
        return chunk


def _build_client(connection: ModelConnection) -> AsyncOpenAI:
    timeout = connection.timeout(is_reasoning=False)
    limits = httpx2.Limits(max_connections=LARGEST_POOL, keepalive_expiry=KEEP_ALIVE_SECONDS)
    http_client = DefaultAioHttpClient(timeout=timeout, limits=limits)
    if connection.base_url:
        # Local servers ask for no key, the SDK does.
        key = connection.key or "none"
        return AsyncOpenAI(base_url=connection.base_url, api_key=key, max_retries=0, http_client=http_client)
    endpoint = str(connection.endpoint).rstrip("/")
    secret = connection.key or _token_provider(connection.credential)
    if connection.effective_api_version == V1:
        return AsyncOpenAI(base_url=f"{endpoint}/openai/v1/", api_key=secret, max_retries=0, http_client=http_client)
    return AsyncAzureOpenAI(
        azure_endpoint=endpoint,
        api_version=str(connection.api_version),
        api_key=secret if isinstance(secret, str) else None,
        azure_ad_token_provider=None if isinstance(secret, str) else secret,
        max_retries=0,
        http_client=http_client,
    )


def _token_provider(credential: TokenCredential | None) -> Callable[[], Awaitable[str]]:
    """Asks the credential before every request: it caches its token and renews it in time."""
    assert credential is not None  # ModelConnection sees to it

    async def provide() -> str:
        try:
            return (await credential.get_token(TOKEN_SCOPE)).token
        except Exception as error:  # the credential is a deployment's choice, its exceptions are its own
            raise failure_of_token(error) from error

    return provide
