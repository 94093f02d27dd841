"""`host.json`: the host's own configuration, with the overrides that app settings may carry.

Names are compared ignoring case, as .NET's configuration does; `AzureFunctionsJobHost__a__b__c` in the environment wins
over the file. A key that the stand-in does not know is warned about by name (the real host ignores it without a word);
what makes the real host stop (a wrong version, a time-out that is no time) raises HostStartFailed.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from stand_in.host.errors import HostStartFailed

logger = logging.getLogger(__name__)

OVERRIDE_PREFIX = "AzureFunctionsJobHost__"
DEFAULT_FUNCTION_TIMEOUT = timedelta(minutes=30)  # what a plan without an upper bound starts with

# Paths that mean something here, and those that mean nothing on a laptop and are passed over in silence.
_KNOWN = (
    "version",
    "functionTimeout",
    "functions",
    "extensions.http.routePrefix",
    "extensions.http.maxConcurrentRequests",
    "extensions.http.maxOutstandingRequests",
    "extensions.http.customHeaders.*",
    "extensions.durableTask.*",
    "logging.logLevel.*",
)
_WITHOUT_MEANING_HERE = (
    "$schema",
    "extensionBundle.*",
    "logging.*",
    "watchDirectories",
    "watchFiles",
    "telemetryMode",
    "extensions.http.dynamicThrottlesEnabled",
    "extensions.http.hsts.*",
    "extensions.queues.*",
    "extensions.eventHubs.*",
    "extensions.signalR.*",
    "concurrency.*",
    "healthMonitor.*",
    "aggregator.*",
    "singleton.*",
    "managedDependency.*",
    "metadataProviderTimeout",
    "sendCanceledInvocationsToWorker",
)
_TIMESPAN = re.compile(r"^(-)?(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7}))?)?$")


@dataclass(frozen=True, slots=True)
class HostJson:
    """What the host takes from host.json. `document` is the whole of it, with the overrides applied."""

    document: Mapping[str, Any]
    route_prefix: str = "api"
    function_timeout: timedelta | None = DEFAULT_FUNCTION_TIMEOUT
    functions: tuple[str, ...] | None = None
    custom_headers: tuple[tuple[str, str], ...] = ()
    max_concurrent_requests: int = -1
    max_outstanding_requests: int = -1

    @property
    def durable_task(self) -> Mapping[str, Any]:
        section = _find(self.document, "extensions.durableTask")
        return section if isinstance(section, Mapping) else {}

    @property
    def work_item_seconds(self) -> float | None:
        """How long a host's lock on a piece of work holds; None when nothing sensible is said."""
        said = _find(self.document, "extensions.durableTask.storageProvider.workItemQueueVisibilityTimeout")
        span = parse_timespan(said) if isinstance(said, str) else None
        return span.total_seconds() if span is not None and span.total_seconds() > 0 else None

    @property
    def log_levels(self) -> Mapping[str, str]:
        section = _find(self.document, "logging.logLevel")
        return {str(k): str(v) for k, v in section.items()} if isinstance(section, Mapping) else {}


def read_host_json(app_dir: Path, environment: Mapping[str, str]) -> HostJson:
    """Read the app's host.json; a missing file means the defaults. Raises HostStartFailed for an unusable one."""
    path = app_dir / "host.json"
    document: dict[str, Any] = {"version": "2.0"}
    if path.exists():
        try:
            document = json.loads(path.read_text("utf-8-sig"))
        except ValueError as error:
            raise HostStartFailed(f"host.json is not valid JSON: {error}") from error
        if not isinstance(document, dict):
            raise HostStartFailed("host.json must hold a JSON object")
    else:
        logger.warning("%s has no host.json: defaults are used", app_dir)
    apply_overrides(document, environment)
    version = _find(document, "version")
    if version != "2.0":
        raise HostStartFailed(
            f"'{version}' is an invalid value for host.json 'version' property. "
            "We recommend you set the 'version' property to '2.0'."
        )
    _warn_of_unknown_keys(document)
    return _from_document(document)


def apply_overrides(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Write the settings named `AzureFunctionsJobHost__a__b` into the document."""
    for name, value in environment.items():
        if not name.lower().startswith(OVERRIDE_PREFIX.lower()):
            continue
        *parents, last = name[len(OVERRIDE_PREFIX) :].split("__")
        section = document
        for parent in parents:
            key = next((k for k in section if k.lower() == parent.lower()), parent)
            if not isinstance(section.get(key), dict):
                section[key] = {}
            section = section[key]
        section[next((k for k in section if k.lower() == last.lower()), last)] = value


def parse_timespan(text: str) -> timedelta | None:
    """A .NET TimeSpan (`[-][d.]hh:mm[:ss[.fffffff]]`), or None when the text is not one."""
    match = _TIMESPAN.match(text.strip())
    if match is None:
        return None
    sign, days, hours, minutes, seconds, fraction = match.groups()
    if int(hours) > 23 or int(minutes) > 59 or int(seconds or 0) > 59:
        return None
    span = timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "").ljust(7, "0")) // 10,
    )
    return -span if sign else span


def _from_document(document: dict[str, Any]) -> HostJson:
    functions = _find(document, "functions")
    headers = _find(document, "extensions.http.customHeaders") or {}
    prefix = _find(document, "extensions.http.routePrefix")
    return HostJson(
        document=document,
        route_prefix="api" if prefix is None else str(prefix),
        function_timeout=_function_timeout(_find(document, "functionTimeout")),
        functions=tuple(str(name) for name in functions) if isinstance(functions, list) else None,
        custom_headers=tuple((str(k), str(v)) for k, v in headers.items()) if isinstance(headers, dict) else (),
        max_concurrent_requests=_number(document, "extensions.http.maxConcurrentRequests"),
        max_outstanding_requests=_number(document, "extensions.http.maxOutstandingRequests"),
    )


def _function_timeout(value: Any) -> timedelta | None:
    if value is None:
        return DEFAULT_FUNCTION_TIMEOUT
    if str(value).strip() == "-1":
        return None
    span = parse_timespan(str(value))
    if span is None:
        raise HostStartFailed(
            "Failed to convert configuration value at 'AzureFunctionsJobHost:FunctionTimeout' to type "
            f"'System.TimeSpan'. {value} is not a valid value for TimeSpan; write hh:mm:ss or -1."
        )
    return None if span < timedelta(0) else span


def _number(document: Mapping[str, Any], path: str) -> int:
    value = _find(document, path)
    if value is None:
        return -1
    try:
        return int(value)
    except (TypeError, ValueError):
        raise HostStartFailed(f"host.json: {path} must be a whole number, not {value!r}") from None


def _find(document: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = next((v for k, v in document.items() if k.lower() == part.lower()), None)
    return document


def _warn_of_unknown_keys(document: Mapping[str, Any]) -> None:
    for path in _leaves(document, ""):
        if not any(_covers(known, path) for known in (*_KNOWN, *_WITHOUT_MEANING_HERE)):
            logger.warning("host.json: the stand-in does not know %s; it has no effect here", path)


def _covers(known: str, path: str) -> bool:
    if known.endswith(".*"):
        return (path.lower() + ".").startswith(known[:-1].lower())
    return path.lower() == known.lower()


def _leaves(document: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
