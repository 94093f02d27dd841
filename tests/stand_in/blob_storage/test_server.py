"""The emulator as a process: what it acknowledged outlives it, however it ends."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from azure.storage.blob.aio import ContainerClient

from stand_in.blob_storage.server import start_server
from tests.contracts.blob_servers import BlobServer, connection_string, run_emulator

BLOBS, BEFORE_THE_KILL = 16, 400


class Writer:
    """Appends numbered lines to one blob and remembers which of them were acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged = b""
        self.in_flight = b""

    async def run(self, container: ContainerClient, count: "asyncio.Queue[None]") -> None:
        blob = container.get_blob_client(self.name)
        await blob.create_append_blob()
        n = 0
        while True:
            self.in_flight = f"{self.name} line {n}\n".encode() * 3
            await blob.append_block(self.in_flight, appendpos_condition=len(self.acknowledged))
            self.acknowledged += self.in_flight
            self.in_flight = b""
            count.put_nowait(None)
            n += 1


async def write_until_killed(server: BlobServer, writers: list[Writer]) -> None:
    """SDK clients append as fast as they can; the process is killed in the middle."""
    count: asyncio.Queue[None] = asyncio.Queue()
    async with AsyncBlobServiceClient.from_connection_string(server.connection_string, retry_total=0) as service:
        container = await service.create_container("journals")
        async with container:
            tasks = [asyncio.create_task(writer.run(container, count)) for writer in writers]
            for _ in range(BEFORE_THE_KILL):
                await asyncio.wait_for(count.get(), 30)
            server.kill()
            for task in tasks:
                with suppress(AzureError):
                    await task


@pytest.mark.chaos
async def test_what_was_acknowledged_outlives_kill_9_under_load(tmp_path: Path) -> None:
    writers = [Writer(f"turns/{n}") for n in range(BLOBS)]
    with run_emulator(tmp_path) as server:
        await write_until_killed(server, writers)

    with (
        run_emulator(tmp_path) as server,
        BlobServiceClient.from_connection_string(server.connection_string) as service,
        service.get_container_client("journals") as container,
    ):
        for writer in writers:
            stored = container.download_blob(writer.name).readall()
            # What was on its way may be there or not, whole or not at all.
            assert stored in (writer.acknowledged, writer.acknowledged + writer.in_flight)
            appended = container.get_blob_client(writer.name).append_block(b"on", appendpos_condition=len(stored))
            assert appended["blob_append_offset"] == str(len(stored))
    assert sum(len(writer.acknowledged) for writer in writers) > 0


def test_a_stopped_emulator_starts_again_where_it_was(tmp_path: Path) -> None:
    with (
        run_emulator(tmp_path) as server,
        BlobServiceClient.from_connection_string(server.connection_string) as service,
        service.create_container("box", metadata={"a": "b"}) as container,
    ):
        etag = container.upload_blob("x", b"1" * 9_000_000, overwrite=True).get_blob_properties().etag
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0

    with (
        run_emulator(tmp_path) as server,
        BlobServiceClient.from_connection_string(server.connection_string) as service,
        service.get_container_client("box") as container,
    ):
        assert container.get_container_properties().metadata == {"a": "b"}
        assert container.get_blob_client("x").get_blob_properties().etag == etag
        assert container.download_blob("x").readall() == b"1" * 9_000_000
        changed = container.upload_blob("x", b"2", overwrite=True).get_blob_properties().etag
        assert changed > etag


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    server = await start_server(port=0, state_dir=tmp_path / "a")
    with pytest.raises(OSError, match="in use"):
        await start_server(port=server.port, state_dir=tmp_path / "b")
    await server.stop()


async def test_stopping_answers_what_was_accepted(tmp_path: Path) -> None:
    """A request that was read is finished, and its answer is true."""
    server = await start_server(port=0, state_dir=tmp_path)
    async with ContainerClient.from_connection_string(
        connection_string(server.port), "box", retry_total=0
    ) as container:
        await container.create_container()
        blobs = [container.get_blob_client(f"b{n}") for n in range(8)]
        creations = [asyncio.ensure_future(blob.create_append_blob()) for blob in blobs]
        await creations[0]
        await server.stop()
        results = await asyncio.gather(*creations, return_exceptions=True)
    created = {f"b{n}" for n, result in enumerate(results) if not isinstance(result, BaseException)}

    server = await start_server(port=0, state_dir=tmp_path)
    async with ContainerClient.from_connection_string(connection_string(server.port), "box") as container:
        assert created <= {blob.name async for blob in container.list_blobs()}
    await server.stop()
