"""Claims-based security: a client puts its token on the node `$cbs`, and may use what the token names.

SAS tokens are verified: signature, expiry, and that they are for the audience they are put for. A JSON web token cannot
be checked without Entra ID: it is taken as valid, so that code which signs in with an identity runs here too.
"""

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote, unquote_plus, urlsplit

from stand_in.event_hubs.amqp.messages import Request, Response
from stand_in.event_hubs.amqp.types import Int
from stand_in.event_hubs.connection_string import SHARED_ACCESS_KEY, SHARED_ACCESS_KEY_NAME
from stand_in.event_hubs.errors import TokenRefused

NODE: Final = "$cbs"
_SAS_TOKEN: Final = "servicebus.windows.net:sastoken"
_JSON_WEB_TOKEN: Final = "jwt"

logger = logging.getLogger(__name__)


class Claims:
    """What the tokens of one connection allow."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._expiry_by_path: dict[str, int] = {}  # "" stands for the whole namespace

    def allow(self, hub: str) -> bool:
        """Whether a token that is valid now names this hub."""
        now = self._now_ms() // 1000
        return any(
            expiry > now and path.split("/")[0].lower() in ("", hub.lower())
            for path, expiry in self._expiry_by_path.items()
        )

    def answer(self, request: Request) -> Response:
        """Take the token of a `put-token` request."""
        operation, kind = request.text("operation"), request.text("type")
        if operation != "put-token":
            return _reply(501, f"The operation '{operation}' is not supported on $cbs, only 'put-token'.")
        if kind not in (_SAS_TOKEN, _JSON_WEB_TOKEN):
            return _reply(
                400, f"The token type '{kind}' is not supported, only '{_SAS_TOKEN}' and '{_JSON_WEB_TOKEN}'."
            )
        audience = request.text("name")
        token = request.body
        try:
            if not isinstance(token, str) or not token:
                raise TokenRefused("The token is missing: the body is an amqp-value with a string.")
            expiry = self._verified_expiry(kind, token, audience, request)
        except TokenRefused as refusal:
            logger.warning("A token for %s was refused: %s", audience, refusal)
            return _reply(401, str(refusal))
        self._expiry_by_path[_path(audience)] = expiry
        return _reply(202, "Accepted")

    def _verified_expiry(self, kind: str, token: str, audience: str, request: Request) -> int:
        if kind == _JSON_WEB_TOKEN:
            expiration = request.properties.get("expiration")
            return expiration // 1000 if isinstance(expiration, int) else self._now_ms() // 1000 + 3600
        resource, expiry = verify_sas_token(token)
        if expiry <= self._now_ms() // 1000:
            raise TokenRefused("ExpiredToken: the token's time is over.")
        if not _is_below(_path(audience), _path(resource)):
            raise TokenRefused(f"InvalidAudience: the token is for '{resource}', not for '{audience}'.")
        return expiry


def verify_sas_token(token: str) -> tuple[str, int]:
    """Return the resource that a SAS token is for and when it expires (in seconds). Raises TokenRefused."""
    scheme, _, parameters = token.partition(" ")
    fields = dict(field.partition("=")[::2] for field in parameters.split("&"))
    if scheme != "SharedAccessSignature" or not {"sr", "sig", "se", "skn"} <= fields.keys():
        raise TokenRefused("MalformedToken: expected 'SharedAccessSignature sr=..&sig=..&se=..&skn=..'.")
    if fields["skn"] != SHARED_ACCESS_KEY_NAME:
        raise TokenRefused(f"InvalidSignature: there is no key '{fields['skn']}', only '{SHARED_ACCESS_KEY_NAME}'.")
    signed = f"{fields['sr']}\n{fields['se']}"  # the resource as it stands there: clients escape it differently
    signature = hmac.digest(SHARED_ACCESS_KEY.encode(), signed.encode(), hashlib.sha256)
    if not hmac.compare_digest(base64.b64encode(signature), unquote(fields["sig"]).encode()):
        raise TokenRefused("InvalidSignature: the token has an invalid signature.")
    if not fields["se"].isdigit():
        raise TokenRefused("MalformedToken: 'se' is a number of seconds.")
    return unquote_plus(fields["sr"]), int(fields["se"])


def _path(resource: str) -> str:
    """The part of a resource behind the host: hub, or hub/consumergroups/group."""
    return urlsplit(resource).path.strip("/")


def _is_below(path: str, root: str) -> bool:
    return root == "" or path.lower() == root.lower() or path.lower().startswith(root.lower() + "/")


def _reply(code: int, description: str) -> Response:
    return Response({"status-code": Int(code), "status-description": description})
