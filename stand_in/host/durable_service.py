"""The durable extension in the host: the engine, its management API, and the endpoint that durable clients talk to.

The management API lies under `/runtime/webhooks/durabletask` of the host's own port and is guarded by a system key. The
SDK's client talks to a loopback port of its own, without a key, as with the real extension.
"""

from dataclasses import replace
from pathlib import Path

from starlette.routing import Router

from stand_in.durable.client_binding import ClientLinks, client_binding
from stand_in.durable.engine import DurableEngine
from stand_in.durable.errors import InvalidOptions
from stand_in.durable.options import DurableOptions
from stand_in.host.asgi import Receive, Scope, Send
from stand_in.host.durable_functions import DurableFunctions
from stand_in.host.durable_http_api import RPC_PATH, durable_routes
from stand_in.host.errors import HostStartFailed
from stand_in.host.host_json import HostJson
from stand_in.host.http_listener import HttpListener, reserve_port
from stand_in.host.keys import DURABLE_KEY, Keys


def read_durable_options(host_json: HostJson) -> DurableOptions:
    """host.json's `extensions.durableTask`. Raises HostStartFailed for what the real extension refuses."""
    try:
        return DurableOptions.from_host_json(host_json.durable_task)
    except InvalidOptions as error:
        raise HostStartFailed(f"host.json, extensions.durableTask: {error}") from error


class DurableService:
    """Runs the engine of one app and serves its two HTTP endpoints."""

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
        self._engine: DurableEngine | None = None
        self._webhook: Router | None = None

    async def start(self, functions: DurableFunctions) -> None:
        """Start the engine, which takes up at once what was left, and the client's endpoint."""
        engine = self._engine = DurableEngine(self._database, functions, self._options)
        self._webhook = _router(engine, self._links)
        await self._rpc.start(Router(durable_routes(engine, self._links, RPC_PATH), redirect_slashes=False))
        await engine.start()

    async def stop(self, patience: float) -> None:
        """Stop the engine, giving what runs so many seconds, then the endpoint that its functions may talk to."""
        if self._engine is not None:
            await self._engine.stop(patience)
        await self._rpc.stop()

    async def webhook(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The management API."""
        assert self._webhook is not None
        await self._webhook(scope, receive, send)

    def client_binding(self, hub: str | None, connection: str | None) -> str:
        """The JSON text of a durable client, for the app's own hub unless the binding names another."""
        links = replace(
            self._links,
            task_hub=hub or self._links.task_hub,
            connection=connection or self._links.connection,
        )
        return client_binding(links)


def _router(engine: DurableEngine, links: ClientLinks) -> Router:
    return Router(durable_routes(engine, links), redirect_slashes=False)
