"""The emulator as a server: HTTP and WebSocket on one port of the loopback interface.

Nothing is stored: the service keeps no messages either, and a client whose connection breaks negotiates again. What a
restart loses beside the connections are the user-groups.
"""

import asyncio
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from stand_in.signalr import errors
from stand_in.signalr.admin_api import AdminApi
from stand_in.signalr.client_connection import Timings
from stand_in.signalr.client_endpoint import ClientEndpoint, cross_origin
from stand_in.signalr.emulator import Emulator
from stand_in.signalr.rest_api import RestApi
from stand_in.signalr.rest_messages import Outbox

MAXIMUM_BODY_BYTES = 1024 * 1024
# The service's documented bounds on HTTP/1.1: 16 KB of headers, 12 KB of URI.
MAXIMUM_HEADER_BYTES = 16 * 1024
MAXIMUM_LINE_BYTES = 12 * 1024
# A handler that outlives its connection's goodbye is cancelled then.
SHUTDOWN_SECONDS = 2.0


class SignalRServer:
    """A running emulator."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._outbox = Outbox(emulator)
        self._clients = ClientEndpoint(emulator)
        app = web.Application(middlewares=[answer_refusals], client_max_size=MAXIMUM_BODY_BYTES)
        app.on_response_prepare.append(cross_origin)
        for part in (RestApi(emulator, self._outbox), self._clients, AdminApi(emulator)):
            app.add_routes(part.routes())
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            # A stream or a poll whose client went away ends at once, and its records wait for the next poll.
            handler_cancellation=True,
            shutdown_timeout=SHUTDOWN_SECONDS,
            max_line_size=MAXIMUM_LINE_BYTES,
            max_field_size=MAXIMUM_HEADER_BYTES,
        )
        self._beating: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        port: int = self._runner.addresses[0][1]
        return port

    async def start(self, port: int) -> None:
        """Accept connections on 127.0.0.1."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._beating = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Say goodbye to the clients (they may reconnect), then close everything."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        for connection in list(self.emulator.connections.values()):
            connection.close("Service is shutting down.", allow_reconnect=True)
        await self._runner.cleanup()

    def heartbeat(self) -> None:
        """Do what is due by the clock: pings, timeouts, memberships that lapse."""
        self._clients.heartbeat()
        self._outbox.release_held()
        for hub in self.emulator.hubs:
            hub.forget_lapsed()

    async def _beat(self) -> None:
        timings = self.emulator.timings
        shortest = min(timings.ping, timings.client_timeout, timings.handshake, timings.pending)
        while True:
            await asyncio.sleep(min(1.0, shortest / 4))
            self.heartbeat()


async def start_server(*, port: int, state_dir: Path, timings: Timings | None = None) -> SignalRServer:
    """Serve on 127.0.0.1. `state_dir` stays empty; `timings` lets a test wait less."""
    return await serve(Emulator(timings=timings), port=port)


async def serve(emulator: Emulator, *, port: int) -> SignalRServer:
    """Serve this emulator on 127.0.0.1."""
    server = SignalRServer(emulator)
    await server.start(port)
    return server


@web.middleware
async def answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give what was refused the form of the service's answer."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        refusal: errors.SignalRError = errors.PayloadTooLarge("PayloadTooLarge", "The body is larger than 1 MB.")
    except web.HTTPException as unknown:
        refusal = errors.NotFound("NotFound", f"The emulator has no {request.method} {request.path}.")
        refusal.status, refusal.headers = unknown.status, {}
    except errors.SignalRError as error:
        refusal = error
    if request.path.startswith("/client"):
        return errors.client_response(refusal)
    return errors.data_plane_response(refusal)
