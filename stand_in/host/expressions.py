"""Expressions in a binding's properties: `%NAME%` from the app settings, `{name}` from the call.

`{name}` is looked up in the route's values, then the query, then the top level of a JSON body; `{query.x}`,
`{headers.x}` and `{sys.methodname|utcnow|randguid}`, `{rand-guid}`, `{datetime:format}` are always there; `{a.b}` goes
into an object of the body. `{{` and `}}` are braces. The query's `code` is no top-level name (it is a key), and a value
that is not there fails the call.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stand_in.host.errors import ExpressionUnresolved

_SETTING = re.compile("%([^%]*)%")
_EXPRESSION = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class CallData:
    """What an expression may name: the trigger's data of one call."""

    function_name: str
    route: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)  # lower-case names; of repeated ones, the last
    headers: Mapping[str, str] = field(default_factory=dict)  # lower-case names
    body: Callable[[], bytes | str | None] = lambda: None
    now: Callable[[], datetime] = _utc_now


def resolve_settings(text: str, settings: Mapping[str, str]) -> str:
    """Replace every `%NAME%`. Raises ExpressionUnresolved for a setting that is absent and for a lone percent sign."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        found = next((v for k, v in settings.items() if k.lower() == name.lower()), None)
        if not name or found is None:
            raise ExpressionUnresolved(f"'%{name}%' does not resolve to a value.")
        return found

    resolved = _SETTING.sub(value, text)
    if "%" in _SETTING.sub("", text):
        raise ExpressionUnresolved(f"The '%' at position {text.rindex('%')} of '{text}' does not have a closing '%'.")
    return resolved


def resolve(text: str, settings: Mapping[str, str], call: CallData) -> str:
    """Replace settings and expressions for one call. Raises ExpressionUnresolved naming what is missing."""

    def value(match: re.Match[str]) -> str:
        if match.group() in ("{{", "}}"):
            return match.group()[0]
        if match.group(1) is None:
            raise ExpressionUnresolved(f"'{text}' has a brace without its partner.")
        return _lookup(match.group(1).strip(), call)

    return _EXPRESSION.sub(value, resolve_settings(text, settings))


def _lookup(name: str, call: CallData) -> str:
    lowered = name.lower()
    system = _system_value(name, lowered, call)
    if system is not None:
        return system
    for prefix, values in (("query.", call.query), ("headers.", call.headers)):
        if lowered.startswith(prefix):
            found = values.get(lowered[len(prefix) :])
            if found is None:
                raise ExpressionUnresolved(f"No value for '{name}'.")
            return found
    for route_name, route_value in call.route.items():
        if route_name.lower() == lowered:
            return route_value
    if lowered in call.query and lowered != "code":
        return call.query[lowered]
    return _from_body(name, call)


def _system_value(name: str, lowered: str, call: CallData) -> str | None:
    if lowered == "sys.methodname":
        return call.function_name
    if lowered == "sys.utcnow":
        return call.now().strftime("%Y-%m-%dT%H-%M-%SZ")
    if lowered in ("sys.randguid", "rand-guid"):
        return str(uuid.uuid4())
    if lowered == "datetime":
        return call.now().strftime("%Y-%m-%dT%H-%M-%SZ")
    if lowered.startswith("datetime:"):
        return _format_time(call.now(), name[len("datetime:") :])
    return None


_TIME_PARTS = (("yyyy", "%Y"), ("yy", "%y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S"))


def _format_time(now: datetime, form: str) -> str:
    pattern = re.sub("|".join(part for part, _ in _TIME_PARTS), lambda m: dict(_TIME_PARTS)[m.group()], form)
    return now.strftime(pattern)


def _from_body(name: str, call: CallData) -> str:
    raw = call.body()
    try:
        value: Any = json.loads(raw) if raw else None
    except ValueError:
        value = None
    parts = name.split(".")
    for index, part in enumerate(parts):
        if not isinstance(value, dict):
            break
        found = [item for key, item in value.items() if key.lower() == part.lower()]
        if not found:
            break
        value = found[0]
        if index == len(parts) - 1:
            return _as_text(value)
    raise ExpressionUnresolved(f"No value for '{name}'.")


def _as_text(value: Any) -> str:
    """A JSON value as .NET would print it; objects and arrays have no text."""
    if isinstance(value, bool):
        return "True" if value else "False"
    if value is None or isinstance(value, dict | list):
        return ""
    return str(value)
