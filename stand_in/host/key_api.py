"""Keys over HTTP: `/admin/functions/{name}/keys[/{key}]` and `/admin/host/{keys|functionkeys|systemkeys}[/{key}]`.

PUT sets the value given as `{"name", "value"}`, POST makes a new one; both answer 201 with the key and its address.
"""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stand_in.host.admin_answers import JsonAnswer, Route, missing
from stand_in.host.function_index import FunctionIndex
from stand_in.host.keys import Keys, new_key

_METHODS = ["GET", "PUT", "POST", "DELETE"]


class KeyApi:
    """Reads and changes the key file."""

    def __init__(self, keys: Keys, index: FunctionIndex) -> None:
        self._keys = keys
        self._index = index

    def routes(self) -> list[Route]:
        return [
            Route("/admin/functions/{name}/keys", self._list, methods=["GET"]),
            Route("/admin/functions/{name}/keys/{key}", self._one, methods=_METHODS),
            Route("/admin/host/{kind:str}", self._list, methods=["GET"]),
            Route("/admin/host/{kind:str}/{key}", self._one, methods=_METHODS),
        ]

    def _kept(self, request: Request) -> dict[str, str] | None:
        """The keys that a path is about, or None when there is no such thing."""
        parameters = request.path_params
        if "name" in parameters:
            function = self._index.find(parameters["name"])
            return None if function is None else self._keys.of_function(function.name)
        kinds = {"keys": self._keys.host, "functionkeys": self._keys.host, "systemkeys": self._keys.system}
        return kinds.get(parameters["kind"].lower())

    async def _list(self, request: Request) -> Response:
        kept = self._kept(request)
        if kept is None:
            return missing()
        listed = [{"name": name, "value": value} for name, value in kept.items()]
        return JsonAnswer({"keys": listed, "links": _links(request)})

    async def _one(self, request: Request) -> Response:
        kept, name = self._kept(request), request.path_params["key"]
        if kept is None:
            return missing()
        if request.method in ("GET", "DELETE"):
            if name not in kept:
                return missing()
            if request.method == "GET":
                return JsonAnswer(_key(request, name, kept[name]))
            del kept[name]
            self._keys.save()
            return Response(status_code=204)
        given = None
        if request.method == "PUT":
            if "json" not in request.headers.get("content-type", ""):
                return Response(status_code=415)
            given = _value(await request.body())
            if given is None:
                return Response(status_code=400)
        is_new = name not in kept
        kept[name] = given or new_key()
        self._keys.save()
        return JsonAnswer(
            _key(request, name, kept[name]),
            status_code=201 if is_new else 200,
            headers={"Location": _address(request)} if is_new else None,
        )


def _value(body: bytes) -> str | None:
    try:
        document: Any = json.loads(body)
    except ValueError:
        return None
    value = document.get("value") if isinstance(document, dict) else None
    return value if isinstance(value, str) and value else None


def _key(request: Request, name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value, "links": _links(request)}


def _links(request: Request) -> list[dict[str, str]]:
    return [{"rel": "self", "href": _address(request)}]


def _address(request: Request) -> str:
    return str(request.url.replace(query=""))
