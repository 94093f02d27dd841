"""The model service's bytes, passed through: one request in, one answer out, neither of them understood here.

The openai SDK reads an answer and writes it anew; a proxy must not. So this speaks HTTP itself, over one pool of
connections per process. What is ours to change is named in `chat`; here, headers that belong to one hop or one caller
(RFC 9110 section 7.6.1, keys, what a front end adds) stay behind, and the service is given the app's key.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from urllib.parse import quote, urlencode

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from adapters.azure_openai import TOKEN_SCOPE, ModelConnection
from chat.errors import ChatError

CONNECT_SECONDS = 10.0
# The longest silence of the service, before its answer and in it: what the official SDK waits for by default.
READ_SECONDS = 600.0

# Of one connection, or made anew for the next one.
_HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "date",
        "server",
        "content-length",
        "expect",
        "accept-encoding",
        "content-encoding",
    ]
)
# Whom a browser may let read an answer is for the host to say, about its own address.
_OF_ORIGINS = "access-control-"
# The caller's own, which the model service has no business with, and what Azure's front ends add.
_CALLERS = frozenset(
    [
        "api-key",
        "authorization",
        "cookie",
        "set-cookie",
        "origin",
        "referer",
        "x-functions-key",
        "client-ip",
        "max-forwards",
        "x-real-ip",
        "forwarded",
        "via",
        "x-original-url",
        "disguised-host",
        "was-default-hostname",
        "x-waws-unencoded-url",
        "x-site-deployment-id",
        "x-ms-coldstart",
        "x-ms-invocation-id",
    ]
)
_CALLERS_PREFIXES = (
    "x-forwarded-",
    "x-ms-client-principal",
    "x-arr-",
    "x-appservice-",
    "x-functions-",
    "x-azure-",  # Front Door's, with the caller's address
    _OF_ORIGINS,
)

logger = logging.getLogger(__name__)


class UpstreamUnreachable(ChatError):
    """This happened: no answer came from the model service; `timed_out` says that it was too slow to."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class UpstreamAnswer:
    """An answer whose headers are there. `headers` are those that go to the caller."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = passed_on(response.headers.items())
        self.is_stream = response.content_type == "text/event-stream"

    def header(self, *names: str) -> str | None:
        """The first of these that is there."""
        return next((value for name in names if (value := self._response.headers.get(name))), None)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises UpstreamUnreachable when it breaks off."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error

    def close(self) -> None:
        """Give the connection back when the body was read to its end; else close it, upstream notices at once."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def body(self) -> bytes:
        """The whole body. Raises UpstreamUnreachable."""
        return b"".join([piece async for piece in self.pieces()])


class ModelPassthrough:
    """The way to one model service. Belongs to one event loop."""

    def __init__(self, connection: ModelConnection, *, read_seconds: float = READ_SECONDS) -> None:
        self._connection = connection
        self._read_seconds = read_seconds
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_azure(self) -> bool:
        """Whether the service has Azure's paths and versions; others take the model's name from the body alone."""
        return self._connection.base_url is None

    async def post(
        self, path: str, query: Iterable[tuple[str, str]], headers: Iterable[tuple[str, str]], body: bytes
    ) -> UpstreamAnswer:
        """POST to a path below `/openai` of a resource, or below the base URL (of which `v1` is a part); returns when
        the answer's headers are there. Raises UpstreamUnreachable, also for a redirect: whoever followed it would
        take the caller's key to another address."""
        sent = CIMultiDict(passed_on(headers))
        sent.update(await self._credentials())
        url = self._url(path, query)
        try:
            response = await self._opened().post(url, data=body, headers=sent, allow_redirects=False)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error
        if 300 <= response.status < 400:
            response.close()
            raise UpstreamUnreachable(f"it answered {response.status}: its address in the settings is another one's")
        return UpstreamAnswer(response)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _url(self, path: str, query: Iterable[tuple[str, str]]) -> URL:
        if self._connection.base_url:
            root = self._connection.base_url.rstrip("/") + path.removeprefix("/v1")
        else:
            root = str(self._connection.endpoint).rstrip("/") + "/openai" + path
        pairs = list(query)
        return URL(root + ("?" + urlencode(pairs, quote_via=quote) if pairs else ""), encoded=True)

    async def _credentials(self) -> dict[str, str]:
        connection = self._connection
        if connection.base_url:
            return {"Authorization": f"Bearer {connection.key}"} if connection.key else {}
        if connection.key:
            return {"api-key": connection.key}
        assert connection.credential is not None  # ModelConnection sees to it
        try:
            token = await connection.credential.get_token(TOKEN_SCOPE)
        except Exception as error:  # the credential is a deployment's choice, its exceptions are its own
            raise UpstreamUnreachable(f"no Entra token ({type(error).__name__})") from error
        return {"Authorization": f"Bearer {token.token}"}

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=self._read_seconds),
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            )
        return self._session


def passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that belong to the call, whoever carries it; one that stands there twice stays twice.

    A value that is not ASCII is left out: the Functions host does not survive one in an answer.
    """
    given = [(name.lower(), name, value) for name, value in headers]
    named = {word.strip().lower() for lower, _, value in given if lower == "connection" for word in value.split(",")}
    return [
        (name, value)
        for lower, name, value in given
        if lower not in _HOP_BY_HOP
        and lower not in named
        and lower not in _CALLERS
        and not lower.startswith(_CALLERS_PREFIXES)
        and value.isascii()
    ]


def _unreachable(error: BaseException) -> UpstreamUnreachable:
    timed_out = isinstance(error, TimeoutError)
    return UpstreamUnreachable(type(error).__name__, timed_out=timed_out)
