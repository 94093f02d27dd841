"""A port of the host: uvicorn serving one ASGI app on an address that was reserved before.

The port is bound early, so that its number is known and a taken one is noticed at once, but it listens only from
`start` on: until then connections are refused, as with the real host.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from stand_in.host.asgi import Receive, Scope, Send

SHUTDOWN_GRACE_S = 10  # what the host gives its workers; then running requests are cancelled
KEEP_ALIVE_S = 130  # Kestrel's


logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # when it starts and stops is said by the host


def reserve_port(port: int) -> socket.socket:
    """Bind a port on 127.0.0.1 (0: a free one) without listening. Raises OSError when it is taken."""
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", port))
    except OSError:
        reserved.close()
        raise
    return reserved


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: the process's own decide when to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_listening.set()


class HttpListener:
    """One listening port."""

    def __init__(self, reserved: socket.socket) -> None:
        self._socket = reserved
        self.port: int = reserved.getsockname()[1]
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, app: Any) -> None:
        """Accept connections from now on."""

        async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)

        config = uvicorn.Config(
            asgi,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            proxy_headers=False,
        )
        self._server = _Uvicorn(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        listening = asyncio.create_task(self._server.is_listening.wait())
        await asyncio.wait({listening, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self._task

    async def stop(self) -> None:
        """Refuse new connections at once, let running requests end, and cancel them after the grace period."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()
