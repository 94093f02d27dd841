"""The route table: which function answers a request.

Routes are tried in the order of function names, ignoring case, and the first that matches path and method wins: how
specific it is does not count. A method that a route does not list is no match, so the answer is 404, never 405.
Functions in error have no route; disabled ones keep theirs (the answer is 404 after the keys were checked).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stand_in.host.function import Function
from stand_in.host.function_index import FunctionIndex, http_methods, http_route
from stand_in.host.route_template import RouteTemplate, parse_template


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP function's way in."""

    function: Function
    template: RouteTemplate
    methods: frozenset[str] | None


class RouteTable:
    """All HTTP functions of an app. Raises HostStartFailed for a template that the real host stops at."""

    def __init__(self, index: FunctionIndex, prefix: str) -> None:
        self._routes: list[Route] = []
        for function in index.functions:
            if function.errors or function.is_left_out or function.trigger.type != "httpTrigger":
                continue
            template = parse_template(full_route(function, prefix), function.name)
            self._routes.append(Route(function, template, http_methods(function)))

    def find(self, method: str, path: str) -> tuple[Function, dict[str, str]] | None:
        """The function for a request and its route's values. `path` is decoded, with its leading slash."""
        relative = path[1:]
        for route in self._routes:
            if route.methods is not None and method not in route.methods:
                continue
            values = route.template.match(relative)
            if values is not None:
                return route.function, values
        return None

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)


def full_route(function: Function, prefix: str) -> str:
    """Prefix and route, joined as the host joins them (a route that begins with a slash then has two)."""
    route = http_route(function)
    return f"{prefix}/{route}" if prefix else route
