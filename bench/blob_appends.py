"""Conditional appends on 64 blobs: the emulator and Azurite side by side, each with its state on disk.

    python -m bench.blob_appends [--seconds 3] [--streams 64]

Three clients, each in this process with the server in another: `raw` does nothing but sign, send and read (it shows
the server), `journal` is the app's adapter, `sdk` is azure-storage-blob. The last column is this process's CPU for one
append, which is what the app pays. A record has 150 bytes, a frame's size. Azurite is left out, and said to be, where
it is not installed (`make install`).
"""

import asyncio
import base64
import hashlib
import hmac
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from azure.storage.blob.aio import ContainerClient

from adapters.blob_journal import BlobJournal
from tests.contracts.blob_servers import ACCOUNT, KEY, BlobServer, find_azurite, run_azurite, run_emulator

RECORD = b"x" * 149 + b"\n"
CONTAINER = "bench"

# Appends one record at a position. Made for one blob; the blob is there.
Append = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one client measured on one server."""

    server: str
    client: str
    streams: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float

    def __str__(self) -> str:
        return (
            f"{self.server:<10}{self.client:<10}{self.streams:>8}{self.rate:>12.0f}"
            f"{self.p50_ms:>10.1f}{self.p99_ms:>10.1f}{self.cpu_ms:>16.2f}"
        )


class RawConnection:
    """One keep-alive connection that signs and sends as little as the service needs."""

    _key = base64.b64decode(KEY)

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        self._reader, self._writer = reader, writer
        self._path = f"/{ACCOUNT}/{path}"

    @classmethod
    async def open(cls, port: int, path: str) -> "RawConnection":
        return cls(*await asyncio.open_connection("127.0.0.1", port), path)

    async def append(self, position: int) -> None:
        headers = {"x-ms-blob-condition-appendpos": str(position)}
        await self._put("?comp=appendblock", "\ncomp:appendblock", headers, RECORD)

    async def create(self) -> None:
        await self._put("", "", {"x-ms-blob-type": "AppendBlob"}, b"")

    def close(self) -> None:
        self._writer.close()

    async def _put(self, query: str, signed_query: str, headers: dict[str, str], body: bytes) -> None:
        headers |= {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        named = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        text = f"PUT\n\n\n{len(body) or ''}\n\n\n\n\n\n\n\n\n{named}/{ACCOUNT}{self._path}{signed_query}"
        signature = base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()
        lines = [f"PUT {self._path}{query} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Authorization: SharedKey {ACCOUNT}:{signature}", "", ""]
        self._writer.write("\r\n".join(lines).encode() + body)
        await self._read_answer()

    async def _read_answer(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(head.decode())
        if b"transfer-encoding: chunked" in head.lower():
            await self._reader.readuntil(b"0\r\n\r\n")


async def measure(
    server: str, client: str, appends: list[Append], seconds: float, close: Callable[[], Awaitable[None]]
) -> Figures:
    """All appends at once, each going on at its blob's end, for so long."""
    latencies: list[float] = []
    cpu, start = time.process_time(), time.perf_counter()
    end = start + seconds

    async def stream(append: Append) -> None:
        position = 0
        while (begun := time.perf_counter()) < end:
            await append(position)
            latencies.append(time.perf_counter() - begun)
            position += len(RECORD)

    await asyncio.gather(*(stream(append) for append in appends))
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    await close()
    latencies.sort()
    count = len(latencies)
    p50, p99 = (1000 * latencies[int(count * share)] for share in (0.5, 0.99))
    return Figures(server, client, len(appends), count / took, p50, p99, 1000 * cpu / count)


async def measure_raw(name: str, server: BlobServer, streams: int, seconds: float) -> Figures:
    path = f"{CONTAINER}/raw-{streams}"
    connections = [await RawConnection.open(server.port, f"{path}-{n}") for n in range(streams)]
    for connection in connections:
        await connection.create()

    async def close() -> None:
        for connection in connections:
            connection.close()

    return await measure(name, "raw", [connection.append for connection in connections], seconds, close)


async def measure_journal(name: str, server: BlobServer, streams: int, seconds: float) -> Figures:
    journal = BlobJournal.from_connection_string(server.connection_string, CONTAINER)

    def appends_to(turn_id: str) -> Append:
        return lambda position: journal.append("bench", turn_id, RECORD, position)

    turn_ids = [f"turn-{n}" for n in range(streams)]
    for turn_id in turn_ids:
        await journal.create("bench", turn_id)
    return await measure(name, "journal", [appends_to(turn_id) for turn_id in turn_ids], seconds, journal.close)


async def measure_sdk(name: str, server: BlobServer, streams: int, seconds: float) -> Figures:
    container = ContainerClient.from_connection_string(server.connection_string, CONTAINER, retry_total=0)

    def appends_to(blob_name: str) -> Append:
        blob = container.get_blob_client(blob_name)
        return lambda position: blob.append_block(RECORD, appendpos_condition=position)

    names = [f"sdk-{n}" for n in range(streams)]
    for blob_name in names:
        await container.get_blob_client(blob_name).create_append_blob()
    return await measure(name, "sdk", [appends_to(blob_name) for blob_name in names], seconds, container.close)


async def bench(name: str, server: BlobServer, streams: int, seconds: float) -> None:
    journal = BlobJournal.from_connection_string(server.connection_string, CONTAINER)
    await journal.prepare()
    await journal.close()
    print(await measure_raw(name, server, 1, seconds / 3), flush=True)
    for measure_client in (measure_raw, measure_journal, measure_sdk):
        print(await measure_client(name, server, streams, seconds), flush=True)


SECONDS = 3.0  # for each row
STREAMS = 64  # blobs that are appended to at once


def main() -> None:
    """Measure both servers, print a row for each client."""
    print("\nBlob appends")
    print(
        f"{'server':<10}{'client':<10}{'streams':>8}{'appends/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'client CPU ms':>16}"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = stack.enter_context(run_emulator(folder / "emulator"))
        asyncio.run(bench("emulator", emulator, STREAMS, SECONDS))
        azurite = find_azurite()
        if azurite is None:
            print("azurite   is not installed (make install)")
            return
        peer = stack.enter_context(run_azurite(azurite, folder / "azurite"))
        asyncio.run(bench("azurite", peer, STREAMS, SECONDS))


if __name__ == "__main__":
    main()
