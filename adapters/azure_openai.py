"""The model API: streamed chat completions of Azure OpenAI or of any service that speaks the same protocol.

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
from typing import Any, Protocol, cast

import httpx2
from openai import AsyncAzureOpenAI, AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from adapters.model_failures import (
    REQUEST_ERRORS,
    TRANSPORT_ERRORS,
    failure_of_broken_stream,
    failure_of_event,
    failure_of_exception,
    failure_of_response_type,
    failure_of_short_stream,
    failure_of_token,
)
from adapters.server_sent_events import EventParser
from chat.completion import Chunk, CompletionRequest, Upstream
from chat.errors import MissingSetting
from chat.silence import SilenceWatch

logger = logging.getLogger(__name__)

TOKEN_SCOPE = "https://cognitiveservices.azure.com/.default"
V1 = "v1"
STREAM_OPTIONS_SINCE = "2024-09-01"  # dated api-versions before it answer 400 to stream_options
CONNECT_SECONDS = 5.0
WRITE_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 60.0  # the SDK's 5 s cost a TLS handshake for nearly every turn
LARGEST_POOL = 1000
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
    called through `/openai/v1/` unless `api_version` is a dated one; `key` wins over `credential`.
    """

    endpoint: str | None = None
    key: str | None = field(default=None, repr=False)
    api_version: str | None = None
    base_url: str | None = None
    credential: TokenCredential | None = field(default=None, repr=False)
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
        """Ask; the stream is there when the response headers are. Leaving the context closes it upstream at once.

        Raises ModelFailure for whatever keeps an answer from coming; the iteration does too.
        """
        async with SilenceWatch(self._connection.patience(is_reasoning=request.is_reasoning_model)) as silence:
            response = await self._post(request)
            silence.heard()
            try:
                failure = failure_of_response_type(response.headers.get("content-type", ""))
                if failure is not None:
                    raise failure
                upstream = self._upstream(request, response.headers)
                stream = CompletionStream(response, upstream, self._connection.key, silence)
                yield stream
                await stream.drain()
            finally:
                await response.aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _post(self, request: CompletionRequest) -> httpx2.Response:
        """The response, its body still to come.

        `chat.completions.create` would walk through every message looking for files to transform: 0.16 ms of CPU for
        each, 8 ms for a conversation of fifty.
        """
        timeout = self._connection.timeout(is_reasoning=request.is_reasoning_model)
        try:
            response = await self._client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body=self._body(request),
                options={"timeout": timeout},
                stream=True,
                stream_cls=AsyncStream[Any],
            )
            return cast(httpx2.Response, response)  # as `cast_to` says; the SDK's types know streams of objects alone
        except REQUEST_ERRORS as error:
            raise failure_of_exception(error, request.deployment, self._connection.key) from error

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.deployment,
            "messages": [
                message.to_dict() | {"content": _well_formed(message.content)} for message in request.messages
            ],
            "stream": True,
        }
        if self._connection.knows_stream_options:
            body["stream_options"] = {"include_usage": True}
        if request.max_tokens is not None:
            body["max_completion_tokens" if request.is_reasoning_model else "max_tokens"] = request.max_tokens
        if not request.is_reasoning_model:
            chosen = {"temperature": request.temperature, "top_p": request.top_p}
            body |= {name: value for name, value in chosen.items() if value is not None}
        return body

    def _upstream(self, request: CompletionRequest, headers: httpx2.Headers) -> Upstream:
        return Upstream(
            deployment=request.deployment,
            region=headers.get("x-ms-region") or "unknown",
            request_id=headers.get("apim-request-id") or headers.get("x-request-id"),
            api_version=self._connection.effective_api_version,
        )


class CompletionStream:
    """One answer while it arrives: iterate once."""

    def __init__(self, response: httpx2.Response, upstream: Upstream, key: str | None, silence: SilenceWatch) -> None:
        self.upstream = upstream
        self._key = key
        self._silence = silence
        self._is_whole = False  # a finish_reason was seen
        self._is_identified = False  # a chunk with the response id was delivered
        self._is_done = False  # [DONE] was seen
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
            raise failure_of_short_stream()

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
        if not isinstance(event, dict) or event.get("error"):
            raise failure_of_event(event, self._key)
        chunk = self._read_chunk(event)
        if chunk is not None or _is_thinking(event):
            self._silence.heard()
        if chunk is not None and chunk.finish_reason is not None:
            self._is_whole = True
            self._silence.enough()
        return chunk

    def _read_chunk(self, event: dict[str, Any]) -> Chunk | None:
        choices = event.get("choices")
        choice: dict[str, Any] = choices[0] if choices else {}
        delta = choice.get("delta") or {}  # annotations of the asynchronous filter have none
        text = delta.get("content") or delta.get("refusal") or ""  # a refusal is an answer too
        finish_reason = choice.get("finish_reason")
        usage = event.get("usage")
        prompt_filter = event.get("prompt_filter_results")
        content_filter = _remarkable(choice)
        identity = None if self._is_identified else event.get("id") or None
        if not (text or finish_reason or usage or prompt_filter or content_filter or identity):
            return None
        self._is_identified = self._is_identified or identity is not None
        return Chunk(
            text=text,
            finish_reason=finish_reason,
            response_id=event.get("id") or None,
            model=event.get("model") or None,
            usage=usage,
            prompt_filter=prompt_filter,
            content_filter=content_filter,
            content_filter_offsets=choice.get("content_filter_offsets") if content_filter else None,
        )


def _is_thinking(event: dict[str, Any]) -> bool:
    """Whether a chunk without text shows that the model works: a piece of reasoning, or of a tool call."""
    choices = event.get("choices")
    delta = (choices[0].get("delta") if choices else None) or {}
    return any(delta.get(name) for name in ("reasoning_content", "reasoning", "tool_calls"))


def _remarkable(choice: dict[str, Any]) -> dict[str, Any] | None:
    """The filter results that say more than "safe": filtered, detected, or that the filter did not run."""
    results = choice.get("content_filter_results") or choice.get("content_filter_result")
    if not results:
        return None
    found = {
        name: result
        for name, result in results.items()
        if name == "error"
        or (isinstance(result, dict) and (result.get("filtered") or result.get("detected") or result.get("error")))
    }
    return found or None


def _well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lonely halves replaced: they cannot be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


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
