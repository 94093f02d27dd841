"""The host put together: settings, host.json, the app's index, engine, timers, HTTP, in the order in which they start.

A host whose app is unusable runs all the same (see `loaded_app`): it serves `/admin` and the log says why.
"""

import gc
import logging
import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.routing import Router

from stand_in.host.admin_api import AdminApi, host_id
from stand_in.host.binding_values import BindingValues
from stand_in.host.bindings.durable_client import ClientBinding, DurableClientInput
from stand_in.host.bindings.signalr import ConnectionInfoInput, SignalROutput
from stand_in.host.cors import read_cors
from stand_in.host.durable_functions import DurableFunctions
from stand_in.host.durable_service import DurableService
from stand_in.host.errors import BindingFailed
from stand_in.host.expressions import resolve_settings
from stand_in.host.function_calls import FunctionCalls
from stand_in.host.function_index import FunctionIndex, http_methods
from stand_in.host.host_json import HostJson
from stand_in.host.http_listener import SHUTDOWN_GRACE_S, HttpListener, reserve_port
from stand_in.host.http_server import HttpFunctions, HttpHost
from stand_in.host.invocation import DEFAULT_THREADS, Invocations
from stand_in.host.keys import Keys, load_keys
from stand_in.host.loaded_app import LoadedApp, load_app
from stand_in.host.log_levels import LogLevels
from stand_in.host.request_limits import RequestLimits
from stand_in.host.route_table import full_route
from stand_in.host.timer_schedule import parse_schedule
from stand_in.host.timers import Timer, Timers

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class FunctionsHost:
    """A running host (`stand_in.service.Server`)."""

    listener: HttpListener
    worker_socket: socket.socket
    invocations: Invocations
    signalr: SignalROutput
    timers: Timers
    durable: DurableService | None

    @property
    def port(self) -> int:
        return self.listener.port

    async def stop(self) -> None:
        """Refuse new requests at once; give those in flight, and then the activities, ten seconds together."""
        began = time.monotonic()
        await self.listener.stop()
        await self.timers.stop()
        if self.durable is not None:
            await self.durable.stop(max(1.0, SHUTDOWN_GRACE_S - (time.monotonic() - began)))
        await self.signalr.close()
        self.invocations.close()
        self.worker_socket.close()


async def start_server(
    *, port: int, state_dir: Path, app_dir: Path, enable_auth: bool = False, deliver_late_results: bool = False
) -> FunctionsHost:
    """Load the app and serve it on 127.0.0.1. App settings are the process's environment; the working directory
    becomes the app's folder. Raises OSError when the port is taken."""
    app_dir, state_dir = _absolute(app_dir), _absolute(state_dir)
    listener = HttpListener(reserve_port(port))
    worker_socket = reserve_port(0)
    settings = os.environ
    _set_defaults(settings, app_dir, listener.port)
    os.chdir(app_dir)
    app = load_app(app_dir, settings)
    # What was imported stays for good: the collector need not look at half a million objects (0.1 s) again and again.
    gc.freeze()
    _filter_logs(app.host_json)
    keys = load_keys(state_dir / "keys.json")
    invocations = Invocations(
        timeout=app.host_json.function_timeout,
        threads=int(settings.get("PYTHON_THREADPOOL_THREAD_COUNT") or DEFAULT_THREADS),
    )
    signalr = SignalROutput(settings)
    durable = None
    if app.durable is not None:
        options = replace(app.durable, deliver_late_results=deliver_late_results)
        durable = DurableService(options, keys, state_dir, listener.port)
    values = BindingValues(
        {
            "durableClient": DurableClientInput(_client_binding(durable), settings),
            "signalRConnectionInfo": ConnectionInfoInput(settings),
        },
        {"signalR": signalr},
    )
    calls = FunctionCalls(invocations, values)
    if durable is not None:
        await durable.start(DurableFunctions(app.index, invocations, values))
    timers = _timers(app.index, settings, state_dir, calls)
    http = HttpHost(
        host_json=app.host_json,
        cors=read_cors(app_dir, settings),
        keys=keys,
        limits=RequestLimits(app.host_json, settings),
        routes=app.routes,
        functions=_http_functions(app.index, invocations, values, worker_socket.getsockname()[1]),
        admin=_admin(app, app_dir, settings, keys, calls),
        webhooks={"durabletask": durable.webhook} if durable is not None else {},
        keys_are_enforced=enable_auth,
        has_homepage=settings.get("AzureWebJobsDisableHomepage", "").lower() != "true",
    )
    await listener.start(http)
    _announce(app, listener.port)
    if durable is not None:
        durable.while_owner(timers.start, timers.stop)
    else:
        timers.start()
    return FunctionsHost(listener, worker_socket, invocations, signalr, timers, durable)


def _absolute(folder: Path) -> Path:
    """The folder's full path, since the working directory changes; it is made when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _client_binding(durable: DurableService | None) -> ClientBinding:
    if durable is not None:
        return durable.client_binding

    def refuse(hub: str | None, connection: str | None) -> str:
        raise BindingFailed("the durable engine is not running")

    return refuse


def _set_defaults(settings: MutableMapping[str, str], app_dir: Path, port: int) -> None:
    """What `func start` gives to the worker's environment."""
    settings["AZURE_FUNCTIONS_ENVIRONMENT"] = "Development"
    settings["AzureWebJobsScriptRoot"] = str(app_dir)
    settings["WEBSITE_HOSTNAME"] = f"localhost:{port}"
    settings.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
    settings.setdefault("PYTHON_THREADPOOL_THREAD_COUNT", str(DEFAULT_THREADS))


def _filter_logs(host_json: HostJson) -> None:
    """What host.json's logLevel wants of the process's log handlers. PYTHON_ENABLE_DEBUG_LOGGING opens the root."""
    if os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING") == "1":
        logging.getLogger().setLevel(logging.DEBUG)
    levels = LogLevels(host_json.log_levels)
    for handler in logging.getLogger().handlers:
        handler.addFilter(levels)


def _http_functions(
    index: FunctionIndex, invocations: Invocations, values: BindingValues, worker_port: int
) -> HttpFunctions:
    if index.is_fastapi_mode:
        from stand_in.host.streaming_http import StreamingHttp

        return StreamingHttp(invocations, values, worker_port)
    from stand_in.host.classic_http import ClassicHttp

    return ClassicHttp(invocations, values)


def _timers(index: FunctionIndex, settings: MutableMapping[str, str], state_dir: Path, calls: FunctionCalls) -> Timers:
    timers = [
        Timer(function, parse_schedule(resolve_settings(str(function.trigger.get("schedule")), settings)))
        for function in index.served
        if function.trigger.type == "timerTrigger"
    ]
    return Timers(timers, state_dir / "timers", calls.call_timer)


def _admin(
    app: LoadedApp, app_dir: Path, settings: MutableMapping[str, str], keys: Keys, calls: FunctionCalls
) -> Router:
    api = AdminApi(
        app_dir=app_dir,
        host_id=host_id(),
        index=app.index,
        host_json=app.host_json,
        keys=keys,
        start_by_hand=calls.call_by_hand,
        errors=app.errors,
        script_name=settings.get("PYTHON_SCRIPT_FILE_NAME") or "function_app.py",
    )
    return api.router()


def _announce(app: LoadedApp, port: int) -> None:
    """The list of functions, as `func start` prints it."""
    if not app.index.functions:
        return
    lines = ["Functions:"]
    for function in app.index.functions:
        note = " (disabled)" if function.is_disabled or function.is_left_out else ""
        note = " (in error)" if function.errors else note
        if function.trigger.type == "httpTrigger":
            methods = ",".join(sorted(http_methods(function) or {"any method"}))
            url = f"http://localhost:{port}/{full_route(function, app.host_json.route_prefix).lstrip('/')}"
            lines.append(f"    {function.name}: [{methods}] {url}{note}")
        else:
            lines.append(f"    {function.name}: {function.trigger.type}{note}")
    logger.info("%s", "\n".join(lines))
