"""What no other function took: an unknown route, or a known one with a method it does not have.

The host answers both with an empty 404. `METHODS` repeats the routes of `function_app.py`, and a test holds the two
together, so that a wrong method gets the 405 and the `Allow` that HTTP knows for it.
"""

import re

from azurefunctions.extensions.http.fastapi import Request, Response

from http_triggers import completions_proxy
from http_triggers.answers import HttpError, answers_errors

METHODS = {
    "/": ("GET",),
    "assets/{*path}": ("GET",),
    "api/broadcast": ("POST",),
    "api/chat_stream": ("POST",),
    "api/conversations/{conversation_id}": ("GET",),
    "api/conversations/{conversation_id}/turns": ("POST",),
    "api/health": ("GET",),
    "api/negotiate": ("GET", "POST"),
    "api/turns/{turn_id}": ("GET",),
    "api/turns/{turn_id}/frames": ("GET",),
    "api/turns/{turn_id}/stream": ("GET",),
    "api/turns/{turn_id}/stop": ("POST",),
    "openai/deployments/{deployment}/chat/completions": ("POST",),
    "openai/deployments/{deployment}/embeddings": ("POST",),
    "openai/responses": ("POST",),
    "openai/v1/chat/completions": ("POST",),
    "openai/v1/embeddings": ("POST",),
    "openai/v1/responses": ("POST",),
}


def _pattern(route: str) -> re.Pattern[str]:
    """The paths of a route template."""
    escaped = re.escape("/" + route.strip("/"))
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", escaped.replace(r"\{\*path\}", ".*")), re.IGNORECASE)


_PATTERNS = [(_pattern(route), methods) for route, methods in METHODS.items()]


@answers_errors
async def unknown_route(req: Request) -> Response:
    """Every method, every path: 405 with `Allow` where another method would have been right, else 404."""
    path = "/" + req.url.path.strip("/")
    if path.lower().startswith("/openai/") or path.lower() == "/openai":
        return await completions_proxy.unknown_path(req)  # in Azure's shape
    for pattern, methods in _PATTERNS:
        if pattern.fullmatch(path):
            allowed = ", ".join(methods)
            message = f"{req.method} is not possible here; allowed: {allowed}."
            raise HttpError(405, "method_not_allowed", message, headers={"Allow": allowed})
    raise HttpError(404, "not_found", "There is no such route.")
