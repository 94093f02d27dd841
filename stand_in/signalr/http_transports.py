"""The transports without WebSockets: server-sent events and long polling. Clients send with POST in both.

* Server-sent events carry text records alone. A comment goes out at once, so that the client sees the stream open.
* A long poll is answered when there is something (200), when nothing came in time (200, empty), and when the connection
  is over (204). The first poll is answered at once: it only opens the connection. A newer poll replaces an older one,
  which is answered with 204, since its client no longer waits for it.
"""

import asyncio

from aiohttp import web

from stand_in.signalr.client_connection import ClientConnection, split_text_records

_NO_CACHE = {"Cache-Control": "no-cache, no-store", "Pragma": "no-cache"}


async def serve_events(request: web.Request, connection: ClientConnection) -> web.StreamResponse:
    """Carry a connection's records as server-sent events until either side ends it."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", **_NO_CACHE})
    try:
        await response.prepare(request)
        assert request.transport is not None
        connection.on_abort = request.transport.abort
        await response.write(b":\r\n\r\n")
        while data := await connection.outgoing():
            events = (b"data: " + record + b"\r\n\r\n" for record in split_text_records(data))
            await response.write(b"".join(events))
        if not connection.aborted:
            await response.write_eof()
    except ConnectionError:
        connection.end()
    finally:
        connection.end()
    return response


class LongPolls:
    """The polls that wait, one for each connection."""

    def __init__(self, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds
        self._waiting: dict[ClientConnection, asyncio.Task[bytes]] = {}

    def open(self, connection: ClientConnection) -> web.Response:
        """The answer to the first poll."""
        connection.inherent_keep_alive = True
        return web.Response(headers=_NO_CACHE)

    async def poll(self, connection: ClientConnection) -> web.Response:
        """Wait for records and hand them out."""
        if (older := self._waiting.pop(connection, None)) is not None:
            older.cancel()
            await asyncio.wait([older])
        task = self._waiting[connection] = asyncio.create_task(connection.outgoing())
        connection.polling = True
        try:
            await asyncio.wait([task], timeout=self._poll_seconds)
        finally:
            if self._waiting.get(connection) is task:
                del self._waiting[connection]
                connection.polling = False
            connection.heard()
            replaced = task.cancelled()
            task.cancel()
        if replaced or (task.done() and not task.result()):
            return web.Response(status=204, headers=_NO_CACHE)
        return self._records(connection, task.result() if task.done() else b"")

    def _records(self, connection: ClientConnection, data: bytes) -> web.Response:
        binary = connection.protocol is not None and connection.protocol.binary
        kind = "application/octet-stream" if binary else "text/plain"
        return web.Response(body=data, content_type=kind, headers=_NO_CACHE)
