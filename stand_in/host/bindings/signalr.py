"""SignalR in Serverless mode: the `signalRConnectionInfo` input and the `signalR` output.

The input is `{"url", "accessToken"}` for a client, the token signed with the access key of the connection string. The
output is text with one JSON object or an array of them: a message (`target`, `arguments`) to a connection, a user, a
group or everyone, in this precedence, or a group action (`add`, `remove`, `removeAll`). Items of an array are sent one
after the other; the first that fails ends the sending, after the earlier ones were sent.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from stand_in.host import conversion
from stand_in.host.errors import BindingFailed
from stand_in.host.expressions import CallData, resolve
from stand_in.host.function import Binding

logger = logging.getLogger(__name__)

DEFAULT_CONNECTION = "AzureSignalRConnectionString"
API_VERSION = "2022-06-01"
TOKEN_LIFETIME_S = 3600  # fixed by the binding: there is no property for it
_RESERVED_CLAIMS = frozenset({"aud", "exp", "iat", "nbf", "iss", "jti", "nonce", "acr", "azp", "c_hash", "actort"})


@dataclass(frozen=True, slots=True)
class SignalRConnection:
    """A parsed connection string."""

    endpoint: str
    access_key: str
    client_endpoint: str
    server_endpoint: str

    def audience(self, path: str) -> str:
        """What a token is for: the endpoint without its port, and the path."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.hostname}{path}"


def parse_connection_string(text: str) -> SignalRConnection:
    """Read `Endpoint=...;AccessKey=...;...`. Raises BindingFailed naming what is missing or not supported."""
    values: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = part.partition("=")
        if not equals or name.strip().lower() in values:
            raise BindingFailed("a SignalR connection string is 'Key=Value;...' with each key once")
        values[name.strip().lower()] = value.strip()
    if "authtype" in values:
        raise BindingFailed(
            "SignalR connection strings with AuthType are not supported by the stand-in; see stand_in/README.md"
        )
    for needed in ("endpoint", "accesskey"):
        if not values.get(needed):
            raise BindingFailed(f"the SignalR connection string has no {needed}")
    endpoint = values["endpoint"].rstrip("/")
    if "port" in values:
        parts = urlsplit(endpoint)
        endpoint = f"{parts.scheme}://{parts.hostname}:{values['port']}"
    return SignalRConnection(
        endpoint,
        values["accesskey"],
        values.get("clientendpoint", endpoint).rstrip("/"),
        values.get("serverendpoint", endpoint).rstrip("/"),
    )


def find_connection(binding: Binding, settings: Mapping[str, str]) -> SignalRConnection:
    """The connection that a binding names. Raises BindingFailed when the setting is absent."""
    name = str(binding.get("connectionStringSetting") or DEFAULT_CONNECTION)
    for candidate in (f"AzureWebJobs{name}", name, f"ConnectionStrings__{name}"):
        if settings.get(candidate):
            return parse_connection_string(settings[candidate])
    raise BindingFailed(f"the app setting {name}, which the {binding.type} binding {binding.name} names, is not set")


def _hub(binding: Binding, settings: Mapping[str, str], call: CallData) -> str:
    hub = resolve(str(binding.get("hubName") or ""), settings, call).lower()
    if not hub:
        raise BindingFailed(f"the {binding.type} binding {binding.name} has no hubName")
    return hub


class ConnectionInfoInput:
    """`signalRConnectionInfo`: where a client connects, and its token."""

    def __init__(self, settings: Mapping[str, str], now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now

    async def read(self, binding: Binding, call: CallData) -> Any:
        import jwt

        connection = find_connection(binding, self._settings)
        hub = _hub(binding, self._settings, call)
        now = int(self._now())
        claims: dict[str, Any] = self._copied_claims(binding, call)
        user_id = binding.get("userId")
        if user_id:
            claims["asrs.s.uid"] = resolve(str(user_id), self._settings, call)
        claims |= {
            "nbf": now,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_S,
            "aud": connection.audience("/client/") + f"?hub={hub}",
        }
        info = {
            "url": f"{connection.client_endpoint}/client/?hub={hub}",
            "accessToken": jwt.encode(claims, connection.access_key, algorithm="HS256"),
        }
        return conversion.datum(json.dumps(info, separators=(",", ":")), "json")

    def _copied_claims(self, binding: Binding, call: CallData) -> dict[str, Any]:
        """The claims of `idToken` that `claimTypeList` names; both must be given. Its signature is not looked at."""
        wanted, token = binding.get("claimTypeList"), binding.get("idToken")
        if not wanted or not token:
            return {}
        import jwt

        text = resolve(str(token), self._settings, call).removeprefix("Bearer ").strip()
        if not text:
            return {}
        try:
            found = jwt.decode(text, options={"verify_signature": False, "verify_aud": False, "verify_exp": False})
        except jwt.InvalidTokenError as error:
            raise BindingFailed(f"idToken of the binding {binding.name} is no JWT: {error}") from error
        return {
            (f"asrs.u.{name}" if name in _RESERVED_CLAIMS else name): value
            for name, value in found.items()
            if name in wanted
        }


class SignalROutput:
    """`signalR`: sends what a function set through the service's REST API."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._session: Any = None

    async def write(self, binding: Binding, data: Any, call: CallData) -> None:
        connection = find_connection(binding, self._settings)
        hub = _hub(binding, self._settings, call)
        for item in _items(data):
            method, path, body = _request(hub, item)
            await self._send(connection, method, path, body)

    async def _send(self, connection: SignalRConnection, method: str, path: str, body: dict[str, Any] | None) -> None:
        import aiohttp
        import jwt

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        now = int(time.time())
        claims = {"aud": connection.audience(path), "iat": now, "exp": now + TOKEN_LIFETIME_S}
        token = jwt.encode(claims, connection.access_key, algorithm="HS256")
        url = f"{connection.server_endpoint}{path}?api-version={API_VERSION}"
        try:
            async with self._session.request(
                method, _exactly(url), json=body, headers={"Authorization": f"Bearer {token}"}
            ) as answer:
                if answer.status >= 300:
                    raise BindingFailed(f"SignalR answered {answer.status} to {method} {path}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BindingFailed(f"SignalR at {connection.server_endpoint} cannot be reached: {error!r}") from error

    async def close(self) -> None:
        """Close the connections to the service."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _exactly(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)  # names are already percent-encoded


def _items(data: Any) -> list[dict[str, Any]]:
    value = data.value
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except ValueError:
            raise BindingFailed("Unable to convert the value of a signalR binding: it is not JSON") from None
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in listed):
        raise BindingFailed("Unable to convert the value of a signalR binding: it must be JSON objects")
    return [{str(name).lower(): field for name, field in item.items()} for item in listed]


def _request(hub: str, item: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Method, path and body of the REST call for one message or group action (names in lower case)."""
    if "target" in item:
        body = {"target": item["target"], "arguments": item.get("arguments") or []}
        return "POST", f"/api/hubs/{hub}{_scope(item)}/:send", body
    if "action" not in item:
        raise BindingFailed("Unable to convert the value of a signalR binding: it has neither target nor action")
    return _group_action(hub, item)


def _scope(item: dict[str, Any]) -> str:
    for key, collection in (("connectionid", "connections"), ("userid", "users"), ("groupname", "groups")):
        if item.get(key):
            return f"/{collection}/{_quoted(item[key])}"
    return ""


def _group_action(hub: str, item: dict[str, Any]) -> tuple[str, str, None]:
    action = str(item["action"]).lower()
    connection, user, group = item.get("connectionid"), item.get("userid"), item.get("groupname")
    if action == "removeall" and user:
        return "DELETE", f"/api/hubs/{hub}/users/{_quoted(user)}/groups", None
    method = {"add": "PUT", "remove": "DELETE"}.get(action)
    if method is None or not group or not (connection or user):
        raise BindingFailed(
            "Unable to convert the value of a signalR binding: a group action is add or remove with groupName and "
            "connectionId or userId, or removeAll with userId"
        )
    if connection:
        return method, f"/api/hubs/{hub}/groups/{_quoted(group)}/connections/{_quoted(connection)}", None
    return method, f"/api/hubs/{hub}/users/{_quoted(user)}/groups/{_quoted(group)}", None


def _quoted(name: Any) -> str:
    return quote(str(name), safe="")
