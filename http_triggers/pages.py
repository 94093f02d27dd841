"""Pages: the chat page and its assets, from `web/` beside the app.

The page loads nothing from elsewhere, and its policy says so: a model that is told to draw an image from another site
must not leak the talk to it.
"""

import contextlib
import mimetypes
from functools import cache
from pathlib import Path

from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from chat.errors import MissingSetting
from http_triggers.answers import HttpError, answers_errors
from http_triggers.caller import identify

WEB = Path(__file__).resolve().parent.parent / "web"
# Not everything below web/ is for browsers.
SUFFIXES = frozenset({".js", ".css", ".html", ".svg", ".png", ".ico", ".woff2", ".map", ".txt"})
NOT_SERVED = frozenset({"node_modules", "tests"})


@answers_errors
async def chat_page(req: Request) -> Response:
    """GET /: the page. A new visitor gets the session cookie here, before the page's first requests race for it."""
    settings = clients.settings()
    page = _file("index.html").decode()
    page = page.replace('name="reveal-ms" content="33"', f'name="reveal-ms" content="{settings.reveal_ms}"')
    response = Response(page, media_type="text/html; charset=utf-8", headers=_headers("no-cache"))
    # Who is not signed in gets the page all the same: it says so, with a button, when its first request is refused.
    with contextlib.suppress(HttpError, MissingSetting):
        identify(req, settings, clients.new_id()).greet(response, settings)
    return response


@answers_errors
async def asset(req: Request) -> Response:
    """GET assets/{*path}: scripts, styles and the vendored browser libraries."""
    path = req.path_params.get("path", "")
    data = _file(path)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return Response(data, media_type=kind, headers=_headers("no-cache"))


def _file(path: str) -> bytes:
    """The bytes of a file below web/. Raises HttpError 404 for anything else."""
    file = (WEB / path).resolve()
    parts = file.relative_to(WEB).parts if file.is_relative_to(WEB) else ()
    if not parts or file.suffix not in SUFFIXES or NOT_SERVED.intersection(parts) or not file.is_file():
        raise HttpError(404, "not_found", "There is no such file.")
    return file.read_bytes()


def _headers(caching: str) -> dict[str, str]:
    return {
        "Cache-Control": caching,
        "Content-Security-Policy": _policy(),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


@cache
def _policy() -> str:
    try:
        connect = " ".join(["'self'", *clients.signalr().browser_origins])
    except MissingSetting:
        connect = "'self'"
    return (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src {connect}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
