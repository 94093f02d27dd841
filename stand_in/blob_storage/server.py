"""The emulator's HTTP server: reads a request, checks its signature, runs its operation, writes the answer.

It is aiohttp's low-level server, without its router and middlewares: the API is a table of its own (rest_api.py).
"""

import asyncio
import logging
import time
import uuid
from pathlib import Path

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from stand_in.blob_storage.account import Account, Clock
from stand_in.blob_storage.block_blobs import MAX_BODY
from stand_in.blob_storage.errors import BlobStorageError, InternalError, RequestBodyTooLarge
from stand_in.blob_storage.requests import Answer, Request, http_date, parse_query, parse_target
from stand_in.blob_storage.rest_api import find_operation
from stand_in.blob_storage.shared_key import check_signature

logger = logging.getLogger(__name__)


class BlobStorageServer:
    """A running emulator on 127.0.0.1."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._runner = web.ServerRunner(
            web.Server(self._handle, request_factory=_make_request, access_log=None), shutdown_timeout=5.0
        )
        self._port = 0
        self._request_ids = uuid.uuid4().hex[:20]  # this process; the rest of an id counts
        self._requests = 0

    @property
    def port(self) -> int:
        return self._port

    async def start(self, port: int) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._account.close()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        self._requests += 1
        request_id = f"{self._request_ids}{self._requests:012x}"
        try:
            answer = await self._answer(http)
        except BlobStorageError as error:
            answer = self._refusal(http.method, error, request_id)
        except Exception:
            logger.exception("A request failed.", extra={"request_id": request_id})
            answer = self._refusal(http.method, InternalError(), request_id)
        answer.headers["x-ms-request-id"] = request_id
        if "x-ms-version" in http.headers:
            answer.headers["x-ms-version"] = http.headers["x-ms-version"]
        if "x-ms-client-request-id" in http.headers:
            answer.headers["x-ms-client-request-id"] = http.headers["x-ms-client-request-id"]
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body or None)

    async def _answer(self, http: web.BaseRequest) -> Answer:
        raw_path, _, query = http.raw_path.partition("?")
        try:
            body = await http.read()
        except web.HTTPRequestEntityTooLarge:
            raise RequestBodyTooLarge(f"This emulator takes at most {MAX_BODY} bytes at once.") from None
        request = Request(http.method, parse_target(raw_path), parse_query(query), http.headers, body)
        check_signature(request, self._account.clock())
        return await find_operation(request).handler(self._account, request)

    def _refusal(self, method: str, error: BlobStorageError, request_id: str) -> Answer:
        headers = {**error.headers, "x-ms-error-code": error.code}
        if method == "HEAD" or error.status == 304:
            return Answer(error.status, headers)
        headers["Content-Type"] = "application/xml"
        date = http_date(int(self._account.clock() * 1_000_000))
        return Answer(error.status, headers, error.to_xml(request_id, date))


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Take larger bodies than the 1 MiB that aiohttp's low-level server takes by default."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY + 1)


async def start_server(*, port: int, state_dir: Path, clock: Clock = time.time) -> BlobStorageServer:
    """Serve the account that lies in `state_dir`; raises OSError when the port is taken."""
    account = Account(state_dir, clock)
    server = BlobStorageServer(account)
    try:
        await server.start(port)
    except BaseException:
        await server.stop()
        raise
    return server
