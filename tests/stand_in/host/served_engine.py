"""An engine behind its HTTP API on a free port, and the SDK's own client that talks to it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import azure.durable_functions as df
import uvicorn
from azure.durable_functions.models.utils import http_utils
from starlette.applications import Starlette

from stand_in.durable.client_binding import ClientLinks, client_binding
from stand_in.durable.engine import DurableEngine
from stand_in.host.durable_http_api import RPC_PATH, WEBHOOKS_PATH, durable_routes


@dataclass(frozen=True, slots=True)
class ServedEngine:
    """Where the engine is."""

    engine: DurableEngine
    links: ClientLinks

    @property
    def webhooks(self) -> str:
        """The management API's address, with its slash."""
        return f"{self.links.base_url}{WEBHOOKS_PATH}/"

    def client(self) -> df.DurableOrchestrationClient:
        """What a function with a durable client is given."""
        return df.DurableOrchestrationClient(client_binding(self.links))


@asynccontextmanager
async def serve(engine: DurableEngine) -> AsyncIterator[ServedEngine]:
    """Serve both endpoints until the end of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    links = ClientLinks(origin, f"{origin}{RPC_PATH}/", "key", engine.options.hub_name)
    app = Starlette(routes=[*durable_routes(engine, links), *durable_routes(engine, links, RPC_PATH)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield ServedEngine(engine, links)
    finally:
        if http_utils._client_session is not None:
            await http_utils._client_session.close()
        server.should_exit = True
        await running
        listener.close()
