"""Requests to blob storage over plain REST, for what is hot: the SDK's pipeline costs five times as much CPU a request.

A request that changes something is sent once. The SDK's policy and aiohttp itself would send it again after a lost
connection, and an append that was applied the first time then looks like somebody else's (412).
"""

import asyncio
import io
import time
from collections.abc import Mapping
from email.utils import formatdate
from urllib.parse import quote

import aiohttp
from yarl import URL

from adapters.blob_authorization import Authorization
from chat.errors import ChatError, JournalMissing, JournalMoved, StorageUnavailable

# Old enough for every account and emulator, new enough for tokens and blocks of 100 MiB.
API_VERSION = "2023-11-03"
# Streams that append at the same moment; one more waits for a connection, inside its time bound.
_MAX_CONNECTIONS = 256
# The headers that aiohttp would add unsigned, or for nothing.
_NOT_ADDED = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent")


class StorageRefused(StorageUnavailable):
    """This happened: storage would answer the same again (forbidden, wrong, a limit), and did nothing."""


class BlobRequests:
    """Requests to one container. Belongs to one event loop, and keeps one session with its connections."""

    def __init__(self, container_url: str, authorization: Authorization) -> None:
        self._container = container_url.rstrip("/")
        self._authorization = authorization
        self._session: aiohttp.ClientSession | None = None
        self._date, self._date_second = "", -1

    async def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send_once(
        self, method: str, name: str, query: Mapping[str, str], headers: dict[str, str], data: bytes, timeout: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Like `send`, for what must not be repeated after a lost connection."""
        return await self.send(method, name, query, headers, data, timeout, (_never_again,))

    async def send(
        self,
        method: str,
        name: str,
        query: Mapping[str, str],
        headers: dict[str, str],
        data: bytes,
        timeout: float,
        middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (),
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of the answer. Raises StorageUnavailable when none came in time."""
        url = self._url(name, query)
        try:
            async with asyncio.timeout(timeout):
                headers |= {"x-ms-date": self._now(), "x-ms-version": API_VERSION}
                headers["Authorization"] = await self._authorization.authorize(
                    method, url.raw_path, query, headers, len(data)
                )
                async with self._open_session().request(
                    method, url, headers=headers, data=_payload(data), middlewares=middlewares, allow_redirects=False
                ) as answer:
                    return answer.status, answer.headers, await answer.read()
        except TimeoutError as error:
            raise StorageUnavailable(f"Storage did not answer within {timeout:.1f} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise StorageUnavailable(f"Storage did not answer: {type(error).__name__}.") from error

    def _url(self, name: str, query: Mapping[str, str]) -> URL:
        text = f"{self._container}/{quote(name)}"
        if query:
            text += "?" + "&".join(f"{key}={value}" for key, value in query.items())
        return URL(text, encoded=True)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # aiohttp sets TCP_NODELAY on every connection. Bounds on time are set around each request.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=30.0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                skip_auto_headers=_NOT_ADDED,
            )
        return self._session

    def _now(self) -> str:
        second = int(time.time())
        if second != self._date_second:
            self._date, self._date_second = formatdate(second, usegmt=True), second
        return self._date


def _payload(data: bytes) -> bytes | io.BytesIO | None:
    # aiohttp writes bytes at once, and warns from 1 MiB on that this holds up the loop; a file it writes in pieces.
    if len(data) >= 1024 * 1024:
        return io.BytesIO(data)
    return data or None


async def _never_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a PUT whose connection broke, by giving it an error that it does not know."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise StorageUnavailable(f"Storage did not answer: {type(error).__name__}.") from error


def refusal(status: int, answer: Mapping[str, str]) -> ChatError:
    """What an answer means that was not the expected one."""
    code = answer.get("x-ms-error-code", "no error code")
    if status == 412:
        return JournalMoved(f"The blob was written by somebody else ({code}).")
    if status == 404:
        return JournalMissing(f"There is no such blob ({code}).")
    repeatable = status in (408, 429) or status >= 500
    return (StorageUnavailable if repeatable else StorageRefused)(f"Storage answered {status} ({code}).")
