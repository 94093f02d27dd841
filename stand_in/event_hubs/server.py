"""The server: accepts clients, and lets nothing be said before what it says is stored.

Everything happens on one event loop. Connections queue what they have to say; in the next round of the loop the log is
committed once for all of them and their queues are written. If the commit fails nothing of it is written, and those
connections are cut: their clients do not know whether they were heard, which is the truth.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stand_in.event_hubs.clients import Client
from stand_in.event_hubs.faults import FILE_NAME, Faults
from stand_in.event_hubs.namespaces import PARTITION_COUNT, Namespace
from stand_in.event_hubs.partition_log import PartitionLog

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 240.0  # as the service: a connection on which nothing arrives for so long is closed
_GOODBYE_SECONDS: Final = 1.0  # how long clients may take to close their side when the server stops


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class EventHubsServer:
    """A running emulator."""

    def __init__(self, namespace: Namespace, idle_seconds: float) -> None:
        self._namespace = namespace
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._listener: asyncio.Server | None = None
        self._clients: set[Client] = set()
        self._speaking: set[Client] = set()  # those with something to say
        self._flush_due = False
        self._stall_timer: asyncio.TimerHandle | None = None
        self._all_gone = asyncio.Event()

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def client_count(self) -> int:
        """How many connections are open."""
        return len(self._clients)

    @property
    def reader_count(self) -> int:
        """How many consumers hold a partition."""
        return self._namespace.groups.reader_count

    @property
    def unsent_bytes(self) -> int:
        """How much waits in front of the sockets."""
        return sum(client.unsent_bytes for client in self._clients)

    async def listen(self, port: int) -> None:
        """Accept clients. Raises OSError when the port is taken."""
        self._listener = await self._loop.create_server(self._new_client, "127.0.0.1", port)

    async def stop(self) -> None:
        """Close listener and connections; everything acknowledged is stored already."""
        if self._listener is not None:
            self._listener.close()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        for client in list(self._clients):
            client.shut_down()
        if self._clients:
            try:
                await asyncio.wait_for(self._all_gone.wait(), _GOODBYE_SECONDS)
            except TimeoutError:
                for client in list(self._clients):
                    client.abort()
                await self._all_gone.wait()
        self._namespace.commit()
        self._namespace.log.close()

    def _new_client(self) -> Client:
        client = Client(self._namespace, self, self._idle_seconds)
        self._clients.add(client)
        self._all_gone.clear()
        return client

    def on_lost(self, client: Client) -> None:
        """A client is gone."""
        self._clients.discard(client)
        self._speaking.discard(client)
        if not self._clients:
            self._all_gone.set()

    def on_output(self, client: Client) -> None:
        """A client's connection has something to say."""
        self._speaking.add(client)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def on_storage_failure(self) -> None:
        """The log did not do what it was asked, called from an except clause: nobody is told anything."""
        logger.exception("The log failed: nothing is acknowledged, %d clients are cut off", len(self._speaking))
        self._namespace.roll_back()
        for client in self._speaking:
            client.abort()
        self._speaking.clear()

    def _flush(self) -> None:
        """Commit, then let everybody speak."""
        self._flush_due = False
        try:
            self._namespace.commit()
            if self._is_stalled():
                return
            speaking, self._speaking = self._speaking, set()
            for client in speaking:
                client.flush()
        except sqlite3.Error:
            self.on_storage_failure()

    def _is_stalled(self) -> bool:
        """Whether nobody may speak now; then they will be let when the stall is over."""
        stalled = self._namespace.faults.stall_left()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        if stalled > 0:
            self._stall_timer = self._loop.call_later(stalled, self._flush)
        return stalled > 0


async def start_server(
    *,
    port: int,
    state_dir: Path,
    partition_count: int = PARTITION_COUNT,
    idle_seconds: float = IDLE_SECONDS,
    now_ms: Callable[[], int] = _now_ms,
) -> EventHubsServer:
    """Serve the namespace kept in this folder. Raises OSError when the port is taken."""
    await asyncio.to_thread(state_dir.mkdir, parents=True, exist_ok=True)
    log = PartitionLog(state_dir / "events.sqlite3")
    faults = Faults(state_dir / FILE_NAME, time.monotonic)
    server = EventHubsServer(Namespace(log, faults, now_ms, partition_count), idle_seconds)
    try:
        await server.listen(port)
    except OSError:
        log.close()
        raise
    return server
