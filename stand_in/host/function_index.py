"""The function index: every function of one app, checked as the worker and then the host would check it.

The worker's rules fail the whole app (IndexingFailed); the host's rules put one function in error and leave the others
running; a few make the host itself stop (HostStartFailed). Functions are sorted by name as upper-case text (so `p_x`
comes after `paint`, which a sort by lower case would turn round): that is also the order in which routes are tried.
"""

import inspect
import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stand_in.host.errors import ExpressionUnresolved, HostStartFailed, IndexingFailed
from stand_in.host.expressions import resolve_settings
from stand_in.host.function import Binding, Function
from stand_in.host.function_module import DEFAULT_SCRIPT, app_functions
from stand_in.host.function_signature import read_signature
from stand_in.host.host_json import HostJson
from stand_in.host.retry_policy import read_policy
from stand_in.host.supported_bindings import check_binding
from stand_in.host.timer_schedule import parse_schedule

logger = logging.getLogger(__name__)

_FUNCTION_NAME = re.compile(r"^[a-z][a-z0-9_\-]{0,127}$", re.IGNORECASE)
_BINDING_NAME = re.compile(r"^(?!.*__)([a-zA-Z_][a-zA-Z0-9_]{0,127}|\$return)$")
_RESERVED_PREFIXES = ("admin", "runtime")


@dataclass(frozen=True, slots=True)
class FunctionIndex:
    """All functions, sorted by name ignoring case. `is_fastapi_mode` holds for every HTTP function or for none."""

    functions: tuple[Function, ...]
    is_fastapi_mode: bool

    @property
    def served(self) -> tuple[Function, ...]:
        return tuple(function for function in self.functions if function.is_served)

    def find(self, name: str) -> Function | None:
        wanted = name.lower()
        return next((function for function in self.functions if function.name.lower() == wanted), None)


def index_app(app_dir: Path, host_json: HostJson, settings: Mapping[str, str]) -> FunctionIndex:
    """Load the app and index it. Raises IndexingFailed or HostStartFailed, as the rule that was broken demands."""
    script = settings.get("PYTHON_SCRIPT_FILE_NAME") or DEFAULT_SCRIPT
    declared = app_functions(app_dir, script)
    fastapi_mode = _is_fastapi_mode()
    if fastapi_mode:
        _check_init_indexing(settings)
    functions = [_read(item, fastapi_mode) for item in declared]
    _check_names_differ(functions)
    functions.sort(key=lambda function: function.name.upper())
    checked: list[Function] = []
    for function in functions:
        unnamed = _name_errors(function)
        if unnamed:  # the real host does not even list such a function
            logger.error("The '%s' function is in error: %s", function.name, unnamed)
            continue
        errors = _errors(function, checked, settings)
        for error in errors:
            logger.error("The '%s' function is in error: %s", function.name, error)
        checked.append(
            replace(
                function,
                errors=tuple(errors),
                is_disabled=_is_disabled(function.name, settings),
                is_left_out=host_json.functions is not None
                and function.name.lower() not in {name.lower() for name in host_json.functions},
            )
        )
    return FunctionIndex(tuple(checked), fastapi_mode)


def _is_fastapi_mode() -> bool:
    if "azurefunctions.extensions.base" not in sys.modules:
        return False
    from azurefunctions.extensions.base import HttpV2FeatureChecker

    return bool(HttpV2FeatureChecker.http_v2_enabled())


def _check_init_indexing(settings: Mapping[str, str]) -> None:
    if sys.version_info >= (3, 13) or settings.get("PYTHON_ENABLE_INIT_INDEXING", "").lower() in ("1", "true"):
        return
    raise IndexingFailed(
        "AppSettingDisabledError: the app imports azurefunctions.extensions.http.fastapi; on Python 3.12 and earlier "
        "this needs the app setting PYTHON_ENABLE_INIT_INDEXING=1"
    )


def _read(item: Any, fastapi_mode: bool) -> Function:
    """One Function object of the SDK as the host's value, its signature checked."""
    name = item.get_function_name()
    bindings = tuple(_binding(json.loads(text)) for text in item.get_raw_bindings())
    call = item.get_user_function()
    return Function(
        name=name,
        call=call,
        directory=str(Path(inspect.getfile(_unwrapped(call))).parent),
        is_async=inspect.iscoroutinefunction(call),
        bindings=bindings,
        signature=read_signature(name, call, bindings, fastapi_mode=fastapi_mode),
        retry=item.get_settings_dict("retry_policy"),
    )


def _unwrapped(call: Any) -> Any:
    return call if inspect.isfunction(call) or inspect.ismethod(call) else type(call)


def _binding(properties: dict[str, Any]) -> Binding:
    direction = str(properties.get("direction", "in")).lower()
    return Binding(str(properties["name"]), str(properties["type"]), direction, properties)


def _check_names_differ(functions: list[Function]) -> None:
    seen: dict[str, str] = {}
    for function in functions:
        other = seen.setdefault(function.name.lower(), function.name)
        if other != function.name:
            raise HostStartFailed(
                f"Sequence contains more than one matching element: the functions '{other}' and '{function.name}' "
                "differ only in case."
            )


def _name_errors(function: Function) -> str | None:
    """What is wrong with the function's name or its bindings' names."""
    if not _FUNCTION_NAME.match(function.name) or function.name.lower() == "host":
        return f"'{function.name}' is not a valid function name."
    for binding in function.bindings:
        if not _BINDING_NAME.match(binding.name):
            return f"The binding name {binding.name} is invalid. Please assign a valid name to the binding."
    return None


def _errors(function: Function, earlier: list[Function], settings: Mapping[str, str]) -> list[str]:
    """What the host has against this one function."""
    errors: list[str] = []
    seen: set[str] = set()
    for binding in function.bindings:
        if binding.name.lower() in seen:
            errors.append(f"Multiple bindings with name '{binding.name}' discovered. Binding names must be unique.")
        seen.add(binding.name.lower())
        errors.extend(check_binding(function.name, binding))
    if not errors:
        errors.extend(_trigger_errors(function, earlier, settings))
    return errors


def _trigger_errors(function: Function, earlier: list[Function], settings: Mapping[str, str]) -> list[str]:
    trigger = function.trigger
    if trigger.type == "httpTrigger":
        return _http_errors(function, earlier)
    if trigger.type == "timerTrigger":
        try:
            parse_schedule(resolve_settings(str(trigger.get("schedule", "")), settings))
            read_policy(function.retry)
        except (ExpressionUnresolved, ValueError) as error:
            return [f"Error indexing method 'Functions.{function.name}'. {error}"]
    elif function.retry:
        logger.warning("The retry policy of %s has no effect: only timers have one here", function.name)
    return []


def http_route(function: Function) -> str:
    """The route as written, or the function's name; `route=""` means the name too."""
    return str(function.trigger.get("route") or function.name)


def http_methods(function: Function) -> frozenset[str] | None:
    """Upper-case methods, or None for all of them."""
    methods = function.trigger.get("methods")
    return frozenset(str(method).upper() for method in methods) if methods else None


def _http_errors(function: Function, earlier: list[Function]) -> list[str]:
    route = http_route(function).strip("/").lower()
    if route.startswith(_RESERVED_PREFIXES):
        return ["The specified route conflicts with one or more built in routes."]
    for other in earlier:
        if other.errors or other.trigger.type != "httpTrigger":
            continue
        if http_route(other).strip("/").lower() != route:
            continue
        mine, theirs = http_methods(function), http_methods(other)
        if mine is None or theirs is None or mine & theirs:
            return [f"The route specified conflicts with the route defined by function '{other.name}'."]
    return []


def _is_disabled(name: str, settings: Mapping[str, str]) -> bool:
    wanted = f"AzureWebJobs.{name}.Disabled".lower()
    value = next((value for key, value in settings.items() if key.lower() == wanted), "")
    return value.lower() in ("true", "1")
