"""The durable extension in the host: the engine, its management API, and the endpoint that durable clients talk to.

The management API lies under `/runtime/webhooks/durabletask` of the host's own port and is guarded by a system key. The
SDK's client talks to a loopback port of its own, without a key, as with the real extension.

Several hosts may share one state folder. One of them owns the task hub and runs its work (see `durable/hub_lease`); the
others stand by, serve HTTP, and pass on to the owner what durable clients ask.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from starlette.requests import Request
from starlette.routing import Router

from stand_in.durable.client_binding import ClientLinks, client_binding
from stand_in.durable.engine import DurableEngine
from stand_in.durable.errors import InvalidOptions
from stand_in.durable.history import HistoryEvent
from stand_in.durable.hub_lease import HubLease
from stand_in.durable.options import DurableOptions
from stand_in.durable.work_items import ActivityTask
from stand_in.host.asgi import Receive, Scope, Send
from stand_in.host.durable_functions import DurableFunctions
from stand_in.host.durable_http_api import RPC_PATH, WEBHOOKS_PATH, durable_routes
from stand_in.host.errors import HostStartFailed
from stand_in.host.host_json import HostJson
from stand_in.host.http_listener import HttpListener, reserve_port
from stand_in.host.hub_owner import LATE_RESULTS_PATH, HubOwner, receive_late_result
from stand_in.host.keys import DURABLE_KEY, Keys

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 1.0  # between two looks of a host that stands by
_RETIRED_PATIENCE = 1.0  # what an engine gets at the end whose results count no more


def read_durable_options(host_json: HostJson) -> DurableOptions:
    """host.json's `extensions.durableTask`. Raises HostStartFailed for what the real extension refuses."""
    try:
        options = DurableOptions.from_host_json(host_json.durable_task)
    except InvalidOptions as error:
        raise HostStartFailed(f"host.json, extensions.durableTask: {error}") from error
    seconds = host_json.work_item_seconds
    return options if seconds is None else replace(options, lease_seconds=seconds)


class DurableService:
    """Runs the engine of one app while this host owns the task hub, and serves its two HTTP endpoints all the time."""

    def __init__(self, options: DurableOptions, keys: Keys, state_dir: Path, host_port: int) -> None:
        self._options = options
        self._database = state_dir / "durable.db"
        self._rpc = HttpListener(reserve_port(0))
        self._links = ClientLinks(
            base_url=f"http://localhost:{host_port}",
            rpc_base_url=f"http://127.0.0.1:{self._rpc.port}{RPC_PATH}/",
            system_key=keys.system[DURABLE_KEY],
            task_hub=options.hub_name,
        )
        self._lease = HubLease(self._database, f"http://127.0.0.1:{self._rpc.port}", options.lease_seconds)
        self._owner = HubOwner()
        self._functions: DurableFunctions | None = None
        self._engine: DurableEngine | None = None
        self._router: Router | None = None
        self._retired: list[DurableEngine] = []
        self._watch: asyncio.Task[None] | None = None
        self._begin: Callable[[], None] = lambda: None
        self._end: Callable[[], Awaitable[None]] | None = None

    async def start(self, functions: DurableFunctions) -> None:
        """Take up at once what was left, unless another host is at work on it; serve the client's endpoint."""
        self._functions = functions
        await self._rpc.start(self._serve)
        if self._lease.take():
            await self._own()
        else:
            logger.warning("Another host works on this task hub. This one stands by, and passes on what it is asked.")
        self._watch = asyncio.create_task(self._keep_watch(), name="task hub lease")

    def while_owner(self, begin: Callable[[], None], end: Callable[[], Awaitable[None]]) -> None:
        """Whatever only one host may do: begun with the ownership of the hub, ended with it."""
        self._begin, self._end = begin, end
        if self._engine is not None:
            begin()

    async def stop(self, patience: float) -> None:
        """Stop the engine, giving what runs so many seconds, then the endpoint that its functions may talk to."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for engine in self._retired:
            await engine.stop(_RETIRED_PATIENCE)
        if self._engine is not None:
            await self._engine.stop(patience)
        with contextlib.suppress(sqlite3.OperationalError):  # a stopped process holds the database: it expires
            self._lease.close()
        await self._rpc.stop()
        await self._owner.close()

    async def webhook(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The management API."""
        await self._serve(scope, receive, send)

    def client_binding(self, hub: str | None, connection: str | None) -> str:
        """The JSON text of a durable client, for the app's own hub unless the binding names another."""
        links = replace(
            self._links,
            task_hub=hub or self._links.task_hub,
            connection=connection or self._links.connection,
        )
        return client_binding(links)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Both endpoints, and the one between hosts: by our own engine, or by the owner's."""
        await self._look_at_lease()
        path: str = scope["path"]
        if self._engine is not None and self._router is not None:
            if path == LATE_RESULTS_PATH:
                answer = await receive_late_result(Request(scope, receive), self._engine)
                await answer(scope, receive, send)
            else:
                await self._router(scope, receive, send)
            return
        if path.startswith(WEBHOOKS_PATH):
            path = RPC_PATH + path.removeprefix(WEBHOOKS_PATH)
        answer = await self._owner.pass_on(Request(scope, receive), self._lease.owner(), path)
        await answer(scope, receive, send)

    async def _look_at_lease(self) -> None:
        """After a pause (a stopped process, a sleeping machine) the hub may be another's: see before acting on it."""
        if self._engine is not None and not self._lease.is_fresh and not self._lease.renew():
            await self._lose()

    async def _keep_watch(self) -> None:
        while True:
            third = self._lease.seconds / 3
            await asyncio.sleep(third if self._engine is not None else min(_LONGEST_PAUSE, third))
            try:
                if self._engine is None:
                    if self._lease.take():
                        logger.warning("The task hub is this host's now.")
                        await self._own()
                elif not self._lease.renew():
                    await self._lose()
            except sqlite3.OperationalError as error:
                logger.warning("The lease of the task hub could not be looked at: %s", error)

    async def _own(self) -> None:
        assert self._functions is not None
        engine = DurableEngine(
            self._database,
            self._functions,
            self._options,
            owner=self._lease.token,
            hand_over=self._bring_late if self._options.deliver_late_results else None,
        )
        routes = [*durable_routes(engine, self._links), *durable_routes(engine, self._links, RPC_PATH)]
        self._router = Router(routes, redirect_slashes=False)
        self._engine = engine
        await engine.start()
        self._begin()

    async def _lose(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        logger.warning("Another host works on the task hub now; what runs here goes on, and its results are late.")
        engine.retire()
        self._retired.append(engine)
        if self._end is not None:
            await self._end()

    async def _bring_late(self, task: ActivityTask, event: HistoryEvent) -> None:
        await self._look_at_lease()
        await self._owner.bring_late_result(self._lease.owner(), task, event)
