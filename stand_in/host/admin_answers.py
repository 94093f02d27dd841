"""What the parts of `/admin` share: their kind of route, and the shape of their answers."""

from starlette import routing
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from stand_in.host.asgi import Scope


class JsonAnswer(JSONResponse):
    """JSON with the charset that the real host names."""

    media_type = "application/json; charset=utf-8"


class Route(routing.Route):
    """A route that does not exist for other methods: the host never answers 405."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return (Match.NONE, {}) if match is Match.PARTIAL else (match, child)


def missing() -> Response:
    return Response(status_code=404)
