"""The server: which path is answered by what.

It keeps the stored responses on disk and nothing else: a restarted emulator gives the same answers, with its counters
at zero.
"""

import os
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from stand_in.azure_openai.admin import Admin
from stand_in.azure_openai.background_responses import BackgroundResponses
from stand_in.azure_openai.chat_completions import ChatCompletions
from stand_in.azure_openai.deployments import Deployments
from stand_in.azure_openai.embeddings import Embeddings
from stand_in.azure_openai.errors import ModelApiError, NotEmulated, ResourceNotFound
from stand_in.azure_openai.faults import FaultCounters
from stand_in.azure_openai.model_call import LARGEST_BODY, ModelService, Surface
from stand_in.azure_openai.outside_faults import OutsideFaults
from stand_in.azure_openai.rate_limits import RateLimits
from stand_in.azure_openai.request_log import RequestLog
from stand_in.azure_openai.responses_api import ResponsesApi

# Clients hold connections for a minute or more between calls; a server that closes first makes them race.
KEEP_ALIVE_SECONDS = 300
# The rest of the service's data plane: refused by name.
NOT_EMULATED = (
    "responses",  # its other operations: input items, compaction, token counts
    "completions",
    "images",
    "audio",
    "files",
    "batches",
    "assistants",
    "threads",
)


class ModelServer:
    """The running emulator."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self._port = port

    @property
    def port(self) -> int:
        return self._port

    async def stop(self) -> None:
        await self._runner.cleanup()


async def start_server(*, port: int, state_dir: Path) -> ModelServer:
    """Listen on 127.0.0.1. Settings come from the environment: see `deployments.py` and `rate_limits.py`."""
    service = ModelService(
        Deployments(os.environ),
        FaultCounters(),
        OutsideFaults(),
        RateLimits(os.environ, time.monotonic),
        RequestLog(),
    )
    app = web.Application(client_max_size=LARGEST_BODY)
    ChatCompletions(service).add_routes(app.router)
    ResponsesApi(service, BackgroundResponses(state_dir / "responses", service.now)).add_routes(app.router)
    Embeddings(service).add_routes(app.router)
    Models(service).add_routes(app.router)
    app.router.add_get("/health", _health)
    Admin(service).add_routes(app.router)
    app.router.add_route("*", "/{path:.*}", _refuse)
    # Cancelled handlers are how a client that leaves is noticed at once. Nothing here is worth waiting for at the end.
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError:
        await runner.cleanup()
        raise
    return ModelServer(runner, runner.addresses[0][1])


class Models:
    """The list of what can be asked."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/openai/models", self.classic)
        router.add_get("/openai/v1/models", self.v1)
        router.add_get("/v1/models", self.plain)

    async def classic(self, request: web.Request) -> web.Response:
        return self._list(request, Surface.CLASSIC)

    async def v1(self, request: web.Request) -> web.Response:
        return self._list(request, Surface.V1)

    async def plain(self, request: web.Request) -> web.Response:
        return self._list(request, Surface.PLAIN)

    def _list(self, request: web.Request, surface: Surface) -> web.Response:
        try:
            self._service.check_caller(request, surface)
        except ModelApiError as error:
            return error.to_response({})
        models: list[dict[str, Any]] = [
            {"id": deployment.name, "object": "model", "created": 0, "owned_by": "stand-in"}
            for deployment in self._service.deployments.all()
        ]
        return web.json_response({"object": "list", "data": models})


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"service": "azure_openai", "status": "ok"})


async def _refuse(request: web.Request) -> web.Response:
    parts = request.path.strip("/").split("/")
    for name in NOT_EMULATED:
        if name in parts and parts[-2:] != ["chat", "completions"]:
            return NotEmulated(f"the API behind {request.path}").to_response({})
    return ResourceNotFound(f"nothing answers {request.method} {request.path}").to_response({})
