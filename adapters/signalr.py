"""Azure SignalR Service in Serverless mode: lets browsers in (`negotiate`) and sends messages to them over REST.

A send is one POST on a kept-alive connection and is over when the service took it (202, which does not mean that
somebody received it) or `DeliveryFailed` was raised. The rules:

* Messages are idempotent, so a send is tried again with the same bytes after a broken connection, 408 or 5xx: twice,
  quickly, and within the send's time. Who awaits each send before the next keeps the order.
* A 429, and a 5xx that says when to come again, is not argued with: it is the process that sends too much, and who
  knows about the other sends (chat/send_line.py) decides when the next one goes.
* This is the hottest code of the app. Everything about a receiver that stays the same (its URL, its access token, the
  headers) is made once and used until shortly before the token expires.

With an access key both kinds of token are signed here. With an identity the token of Microsoft Entra is sent as it is,
and client tokens come from the service (`:generateToken`).
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

import aiohttp
import jwt
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from adapters.signalr_connection import SignalRConnection
from chat.errors import DeliveryFailed

__all__ = ["AccessToken", "SignalRConnection", "SignalRHub", "TokenCredential"]

logger = logging.getLogger(__name__)

SEND_API_VERSION = "2022-06-01"
# The first version that has `:generateToken`.
TOKEN_API_VERSION = "2022-11-01"
ENTRA_SCOPE = "https://signalr.azure.com/.default"

SEND_SECONDS = 5.0
# A try that hangs leaves time for another one.
TRY_SECONDS = 2.0
# Waits before the second and the third try; a little chance keeps senders that failed together from returning together.
RETRY_WAITS = (0.05, 0.25)
# The service's limit of a body; beyond it a send could only be refused.
MAXIMUM_BODY_BYTES = 1024 * 1024
RETRIED_STATUSES = frozenset({408, 500, 502, 503, 504})

CALL_TOKEN_SECONDS = 3600
RENEWED_BEFORE_SECONDS = 300
CLIENT_TOKEN_SECONDS = 3600
# Receivers whose URL and token are remembered: more users than one worker streams to within an hour.
REMEMBERED_RECEIVERS = 4096


class AccessToken(Protocol):
    """A token of Microsoft Entra, as `azure.identity` returns it."""

    @property
    def token(self) -> str: ...


class TokenCredential(Protocol):
    """Who the app is, for the identity form: any credential of `azure.identity.aio`."""

    async def get_token(self, *scopes: str) -> AccessToken: ...


@dataclass(frozen=True, slots=True)
class _Address:
    """Where one kind of call goes, and what is sent with it until `renew_at`."""

    url: URL
    headers: CIMultiDict[str]
    renew_at: float


class SignalRHub:
    """One hub of the service. `clock` gives Unix time, `jitter` a number from 0 to 1."""

    def __init__(
        self,
        connection: SignalRConnection,
        hub: str = "chat",
        *,
        credential: TokenCredential | None = None,
        send_seconds: float = SEND_SECONDS,
        client_token_seconds: int = CLIENT_TOKEN_SECONDS,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        connection.require(credential is not None)
        self._connection = connection
        # The service keeps hub names in lower case, and the audience of a token is compared as it is.
        self._hub = hub.lower()
        self._credential = credential
        self._send_seconds = send_seconds
        self._client_token_seconds = client_token_seconds
        self._clock = clock
        self._jitter = jitter
        self._addresses: dict[str, _Address] = {}
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    async def negotiate(self, user_id: str) -> dict[str, str]:
        """What a browser needs to connect as this user: `url` and `accessToken`. The caller has authorised the user."""
        query = f"/client/?hub={self._hub}"
        if self._connection.access_key is None:
            token = await self._generated_token(user_id)
        else:
            now = int(self._clock())
            # Both names of the user's claim: the SDK's own and the documented one of hand-made tokens.
            claims = {"asrs.s.uid": user_id, "nameid": user_id, "iat": now, "nbf": now}
            claims |= {"exp": now + self._client_token_seconds, "aud": self._connection.endpoint + query}
            token = jwt.encode(claims, self._connection.access_key, "HS256")
        return {"url": self._connection.client_endpoint + query, "accessToken": token}

    async def send_to_user(self, user_id: str, target: str, arguments: Sequence[Any]) -> None:
        """Call `target` on every connection of a user."""
        await self._send(f"/users/{quote(user_id, safe='')}/:send", target, arguments)

    async def send_to_group(self, group: str, target: str, arguments: Sequence[Any]) -> None:
        """Call `target` on every connection in a group."""
        await self._send(f"/groups/{quote(group, safe='')}/:send", target, arguments)

    async def send_to_connection(self, connection_id: str, target: str, arguments: Sequence[Any]) -> None:
        """Call `target` on one connection."""
        await self._send(f"/connections/{quote(connection_id, safe='')}/:send", target, arguments)

    async def send_to_all(self, target: str, arguments: Sequence[Any]) -> None:
        """Call `target` on every connection of the hub."""
        await self._send("/:send", target, arguments)

    @property
    def browser_origins(self) -> tuple[str, str]:
        """Where a browser connects to, by HTTP and by WebSocket."""
        return self._connection.browser_origins

    async def check_health(self) -> None:
        """Raises DeliveryFailed when the service does not say that it is well. Needs no key."""
        url = f"{self._connection.server_endpoint}/api/health?api-version={SEND_API_VERSION}"
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop) or self._opened(loop)
        try:
            async with session.head(url) as response:
                if response.status != 200:
                    raise DeliveryFailed(f"SignalR's health is {response.status}.")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DeliveryFailed(f"SignalR was not reached ({type(error).__name__}).") from error

    async def close(self) -> None:
        """Close the connections that this event loop opened. A later send opens new ones."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    async def _send(self, path: str, target: str, arguments: Sequence[Any]) -> None:
        message = {"target": target, "arguments": arguments}
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        if len(body) > MAXIMUM_BODY_BYTES:
            raise DeliveryFailed(f"A message of {len(body)} bytes is larger than the 1 MB that SignalR takes.")
        await self._call(f"{path}?api-version={SEND_API_VERSION}", body, expected=202)

    async def _generated_token(self, user_id: str) -> str:
        query = {
            "api-version": TOKEN_API_VERSION,
            "userId": user_id,
            "minutesToExpire": max(1, self._client_token_seconds // 60),
        }
        answer = await self._call(f"/:generateToken?{urlencode(query, quote_via=quote)}", b"", expected=200)
        try:
            return str(json.loads(answer)["token"])
        except (ValueError, KeyError, TypeError) as error:
            raise DeliveryFailed("SignalR answered :generateToken without a token.") from error

    async def _call(self, path: str, body: bytes, *, expected: int) -> bytes:
        """POST until the service gives the expected answer, the tries are used up, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._send_seconds
        for wait in (*RETRY_WAITS, None):
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + TRY_SECONDS)):
                    status, headers, answer = await self._post(loop, path, body)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = f"the connection failed: {type(error).__name__}"
            else:
                if status == expected:
                    return answer
                reason, asked = _refusal(status, headers)
                if status == 429 or (status in RETRIED_STATUSES and asked is not None):
                    raise DeliveryFailed(f"SignalR refused a message: {reason}.", refused=True, retry_after=asked)
                if status not in RETRIED_STATUSES:
                    raise DeliveryFailed(f"SignalR refused a message: {reason}.")
            if wait is None:
                break
            pause = wait * (0.5 + self._jitter())
            if loop.time() + pause >= deadline:
                break
            logger.warning("SignalR did not take a message, trying again", extra={"hub": self._hub, "reason": reason})
            await asyncio.sleep(pause)
        raise DeliveryFailed(f"SignalR did not take a message: {reason}.", temporary=True)

    async def _post(
        self, loop: asyncio.AbstractEventLoop, path: str, body: bytes
    ) -> tuple[int, CIMultiDictProxy[str], bytes]:
        address = self._addresses.get(path)
        if address is None or address.renew_at <= self._clock():
            address = await self._renewed(path)
        session = self._sessions.get(loop) or self._opened(loop)
        async with session.post(address.url, data=body, headers=address.headers, allow_redirects=False) as response:
            return response.status, response.headers, await response.read()

    async def _renewed(self, path: str) -> _Address:
        """The address of a path with a fresh token. What leads to one user only once is not remembered for long."""
        here = f"/api/hubs/{self._hub}{path}"
        now = self._clock()
        if self._credential is not None:
            # Credentials keep their token and renew it in time; asking once a minute is cheap and never late.
            token = (await self._credential.get_token(ENTRA_SCOPE)).token
            renew_at = now + 60
        else:
            assert self._connection.access_key is not None
            # The audience is the documented form: the URL without its query, whatever host the call is sent to.
            audience = self._connection.endpoint + here.partition("?")[0]
            claims = {"aud": audience, "iat": int(now), "exp": int(now) + CALL_TOKEN_SECONDS}
            token = jwt.encode(claims, self._connection.access_key, "HS256")
            renew_at = now + CALL_TOKEN_SECONDS - RENEWED_BEFORE_SECONDS
        headers = CIMultiDict({"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        address = _Address(URL(self._connection.server_endpoint + here, encoded=True), headers, renew_at)
        if len(self._addresses) >= REMEMBERED_RECEIVERS:
            del self._addresses[next(iter(self._addresses))]
        self._addresses[path] = address
        return address

    def _opened(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        # One try is timed as a whole by its caller; aiohttp's own timers would cost a timer more for each send.
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=TRY_SECONDS),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        )
        self._sessions[loop] = session
        return session


def _refusal(status: int, headers: CIMultiDictProxy[str]) -> tuple[str, float | None]:
    """Why the service said no, in words fit for a log, and the wait in seconds that it asked for."""
    code = headers.get("x-ms-error-code")
    reason = f"status {status}" if code is None else f"status {status} ({code})"
    try:
        asked = float(headers.get("Retry-After", ""))
    except ValueError:
        return reason, None  # absent, or a date, which the service does not send
    return reason, max(0.0, asked)
