"""A request as binding expressions see it."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from stand_in.host.asgi import Scope
from stand_in.host.expressions import CallData


def http_call_data(function_name: str, values: Mapping[str, str], scope: Scope, body: bytes | None = None) -> CallData:
    """Route, query and headers of a request; the body only where it was read before the call (classic mode)."""
    query = {
        name.lower(): value
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    }
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("utf-8")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return CallData(function_name, values, query, headers, lambda: body)
