"""The emulator as a process: what it acknowledged outlives it, however it ends."""

import asyncio
import signal
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from azure.storage.blob.aio import ContainerClient

from stand_in.blob_storage.server import start_server
from tests.contracts.blob_servers import BlobServer, connection_string, run_emulator

BLOBS = 16


class Writers:
    """SDK clients that append numbered lines to a blob each, and remember which of them were acknowledged.

    The process is killed in the very step in which the last acknowledgement arrives: the fresher it is, the likelier it
    would be one that was given too early.
    """

    def __init__(self, server: BlobServer, prefix: str, appends_before_the_kill: int) -> None:
        self._server = server
        self._left = appends_before_the_kill
        self.acknowledged = {f"{prefix}/{n}": b"" for n in range(BLOBS)}
        self.in_flight = dict.fromkeys(self.acknowledged, b"")

    async def run(self) -> None:
        async with AsyncBlobServiceClient.from_connection_string(
            self._server.connection_string, retry_total=0
        ) as service:
            container = service.get_container_client("journals")
            async with container:
                await asyncio.gather(*(self._append_until_killed(container, name) for name in self.acknowledged))

    async def _append_until_killed(self, container: ContainerClient, name: str) -> None:
        blob = container.get_blob_client(name)
        with suppress(AzureError):
            await blob.create_append_blob()
            for n in count():
                line = f"{name} line {n}\n".encode() * 3
                self.in_flight[name] = line
                await blob.append_block(line, appendpos_condition=len(self.acknowledged[name]))
                self.acknowledged[name] += line
                self.in_flight[name] = b""
                self._left -= 1
                if self._left == 0:
                    self._server.kill()


@pytest.mark.chaos
async def test_what_was_acknowledged_outlives_kill_9_under_load(tmp_path: Path) -> None:
    rounds: list[Writers] = []
    for prefix, appends in (("a", 100), ("b", 173), ("c", 251)):
        with run_emulator(tmp_path) as server:
            if not rounds:
                await create_container(server)
            writers = Writers(server, prefix, appends)
            await writers.run()
            rounds.append(writers)
            assert server.process.returncode == -signal.SIGKILL

    with (
        run_emulator(tmp_path) as server,
        BlobServiceClient.from_connection_string(server.connection_string) as service,
        service.get_container_client("journals") as container,
    ):
        for writers in rounds:
            for name, acknowledged in writers.acknowledged.items():
                stored = container.download_blob(name).readall()
                # What was on its way may be there or not, whole or not at all.
                assert stored in (acknowledged, acknowledged + writers.in_flight[name])
                appended = container.get_blob_client(name).append_block(b"on", appendpos_condition=len(stored))
                assert appended["blob_append_offset"] == str(len(stored))


async def create_container(server: BlobServer) -> None:
    async with ContainerClient.from_connection_string(server.connection_string, "journals") as container:
        await container.create_container()


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
