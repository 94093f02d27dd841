"""Callers: who is asking, and whether they may change anything.

App Service Authentication's principal header counts only where that feature is on: anybody could send it otherwise.
Without it a visitor is an anonymous session in a signed cookie, if the app allows that.

State-changing requests are accepted from our own pages only: the cookie is SameSite=Lax, bodies are JSON (which a
foreign form cannot send), and an `Origin` must be the public one.
"""

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from azurefunctions.extensions.http.fastapi import Request, Response

from adapters.settings import Settings
from chat.errors import MissingSetting
from chat.turn import user_of
from http_triggers.answers import HttpError

COOKIE = "session"
COOKIE_DAYS = 365
_ID_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `owner` is hashed into every id of theirs, `user` is their id at SignalR."""

    owner: str
    new_cookie: str | None = None

    @property
    def user(self) -> str:
        return user_of(self.owner)

    def greet(self, response: Response, settings: Settings) -> Response:
        """Give a new anonymous visitor the cookie by which we know them again."""
        if self.new_cookie:
            response.set_cookie(
                COOKIE,
                self.new_cookie,
                max_age=COOKIE_DAYS * 24 * 60 * 60,
                path="/",
                httponly=True,
                secure=settings.session_cookie_secure,
                samesite="lax",
            )
        return response


def identify(req: Request, settings: Settings, random_hex: str) -> Caller:
    """The caller of a request. Raises HttpError 401 when nobody in particular may not ask."""
    principal = req.headers.get("x-ms-client-principal-id")
    if settings.authentication_enabled and principal:
        provider = req.headers.get("x-ms-client-principal-idp", "unknown")
        return Caller(f"{provider}:{principal}")
    if not settings.allow_anonymous:
        raise HttpError(401, "sign_in_required", "Sign in first: this app does not answer anonymous visitors.")
    if not settings.session_secret:
        raise MissingSetting("SESSION_SECRET")
    known = _verified(req.cookies.get(COOKIE, ""), settings.session_secret)
    if known is not None:
        return Caller(f"anonymous:{known}")
    return Caller(f"anonymous:{random_hex}", new_cookie=signed(random_hex, settings.session_secret))


def signed(session_id: str, secret: str) -> str:
    """The cookie of a session: its id and the HMAC-SHA256 of it."""
    return f"{session_id}.{hmac.new(secret.encode(), session_id.encode(), hashlib.sha256).hexdigest()}"


def _verified(cookie: str, secret: str) -> str | None:
    session_id = cookie[:_ID_LENGTH]
    if len(session_id) == _ID_LENGTH and hmac.compare_digest(cookie.encode(), signed(session_id, secret).encode()):
        return session_id
    return None


def check_origin(req: Request, settings: Settings) -> None:
    """Raises HttpError 403 when a browser says that the request comes from somebody else's page."""
    origin = req.headers.get("origin")
    if origin is None or origin in settings.allowed_origins:
        return
    # The worker sees its own port in `host`; what the browser asked for is in x-forwarded-host.
    public = req.headers.get("x-forwarded-host") or req.headers.get("host", "")
    if urlsplit(origin).netloc.lower() != public.lower():
        message = "This request comes from another site's page. ALLOWED_ORIGINS lists the sites that may send some."
        raise HttpError(403, "foreign_origin", message, "Origin")
