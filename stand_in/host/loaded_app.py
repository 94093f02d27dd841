"""The app as the host could load it: configuration, functions and routes, or what is wrong with them.

As on Azure, an app that cannot be indexed leaves a running host without functions, and an error of the host's own
configuration (or a route template) one in state Error, which answers 503. Both are logged with their reason.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stand_in.durable.options import DurableOptions
from stand_in.host.durable_service import read_durable_options
from stand_in.host.errors import HostStartFailed, IndexingFailed
from stand_in.host.function_index import FunctionIndex, index_app
from stand_in.host.host_json import HostJson, read_host_json
from stand_in.host.route_table import RouteTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """What became of an app. `errors` is why the host is in state Error: `routes` and `durable` are None then.

    `indexing_failure` is why the worker found no functions: the host runs without any.
    """

    host_json: HostJson
    index: FunctionIndex
    routes: RouteTable | None = None
    durable: DurableOptions | None = None
    errors: tuple[str, ...] = ()
    indexing_failure: str | None = None


def load_app(app_dir: Path, settings: Mapping[str, str]) -> LoadedApp:
    """Read host.json and index the app. Never raises for what is wrong with an app."""
    nothing = FunctionIndex((), is_fastapi_mode=False)
    _warn_of_settings_without_effect(settings)
    try:
        _check_runtime(settings)
        host_json = read_host_json(app_dir, settings)
        durable = read_durable_options(host_json)
    except HostStartFailed as error:
        return _in_error(HostJson({}), nothing, error)
    index = nothing
    try:
        index = index_app(app_dir, host_json, settings)
        routes = RouteTable(index, host_json.route_prefix)
    except IndexingFailed as error:
        logger.error("Worker failed to index functions: %s", error)
        return LoadedApp(host_json, nothing, RouteTable(nothing, ""), durable, indexing_failure=str(error))
    except HostStartFailed as error:
        return _in_error(host_json, index, error)
    return LoadedApp(host_json, index, routes, durable)


def _check_runtime(settings: Mapping[str, str]) -> None:
    runtime = settings.get("FUNCTIONS_WORKER_RUNTIME", "python")
    if runtime.lower() != "python":
        raise HostStartFailed(f"FUNCTIONS_WORKER_RUNTIME is {runtime}; the stand-in runs python apps only")


def _warn_of_settings_without_effect(settings: Mapping[str, str]) -> None:
    count = settings.get("FUNCTIONS_WORKER_PROCESS_COUNT", "1")
    if count != "1":
        logger.warning("FUNCTIONS_WORKER_PROCESS_COUNT=%s has no effect: the stand-in is one process", count)


def _in_error(host_json: HostJson, index: FunctionIndex, error: HostStartFailed) -> LoadedApp:
    logger.error("The host cannot start: %s", error)
    return LoadedApp(host_json, index, errors=(str(error),))
