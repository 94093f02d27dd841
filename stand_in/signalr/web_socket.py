"""The WebSocket transport: one socket, one reader, one writer.

No WebSocket-level pings are sent: some SignalR clients do not answer them. The hub protocol's own pings do that work.
"""

import asyncio

from aiohttp import WSMsgType, web

from stand_in.signalr.client_connection import ClientConnection
from stand_in.signalr.hub_protocol import MAXIMUM_RECORD_BYTES

# How long a client may take to answer the closing handshake.
GOODBYE_SECONDS = 2.0


async def serve_web_socket(request: web.Request, connection: ClientConnection) -> web.StreamResponse:
    """Carry a connection over the socket that `request` becomes, until either side ends it."""
    socket = web.WebSocketResponse(timeout=GOODBYE_SECONDS, compress=False, max_msg_size=MAXIMUM_RECORD_BYTES)
    await socket.prepare(request)
    assert request.transport is not None
    connection.on_abort = request.transport.abort
    writer = asyncio.create_task(_write(socket, connection))
    try:
        await _read(socket, connection)
    finally:
        connection.end()
        await writer
    return socket


async def _read(socket: web.WebSocketResponse, connection: ClientConnection) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            connection.receive(message.data.encode())
        elif message.type is WSMsgType.BINARY:
            connection.receive(message.data)


async def _write(socket: web.WebSocketResponse, connection: ClientConnection) -> None:
    try:
        while data := await connection.outgoing():
            # The answer to the handshake is JSON, but travels as the chosen protocol's records do, like ASP.NET Core's.
            binary = connection.protocol is not None and connection.protocol.binary
            await socket.send_frame(data, WSMsgType.BINARY if binary else WSMsgType.TEXT)
        if not connection.aborted:
            await socket.close()
    except ConnectionError:
        connection.end()  # the client is gone; the reader sees it too
