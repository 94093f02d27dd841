"""How the app reaches Azure SignalR Service: its connection string, or the service's address and an identity.

`Endpoint=https://<name>.service.signalr.net;AccessKey=<key>;Version=1.0;` is what the portal shows. Names are not
case-sensitive; `Port` replaces the endpoint's port (emulators use it); `ClientEndpoint` and `ServerEndpoint` are the
addresses of proxies in front of the service, for browsers and for the app, while tokens keep naming `Endpoint`. With
`AuthType=azure...` instead of a key, or with `AzureSignalRConnectionString__serviceUri`, an identity is used.

No message and no `repr` shows the key.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chat.errors import MissingSetting

CONNECTION_STRING_SETTING = "AzureSignalRConnectionString"
SERVICE_URI_SETTING = f"{CONNECTION_STRING_SETTING}__serviceUri"


@dataclass(frozen=True, slots=True)
class SignalRConnection:
    """Addresses without a trailing slash, and the access key; None when an identity is used. `setting` named them."""

    endpoint: str
    client_endpoint: str
    server_endpoint: str
    access_key: str | None = field(repr=False)
    setting: str = CONNECTION_STRING_SETTING

    @classmethod
    def from_connection_string(cls, text: str, setting: str = CONNECTION_STRING_SETTING) -> "SignalRConnection":
        """Parse the value of `setting`; MissingSetting names it and what is wrong with it."""
        parts = _parts(text, setting)
        endpoint = parts.get("endpoint")
        if endpoint is None:
            raise MissingSetting(setting, "has no Endpoint")
        access_key = parts.get("accesskey")
        if not access_key and not parts.get("authtype", "").lower().startswith(("azure", "aad")):
            raise MissingSetting(setting, "has neither an AccessKey nor AuthType=azure")
        if not re.fullmatch(r"1\.\d+", parts.get("version", "1.0")):
            raise MissingSetting(setting, "has a Version that is not 1.x")
        endpoint = _with_port(_address(endpoint, "Endpoint", setting), parts.get("port"), setting)
        return cls(
            endpoint=endpoint,
            client_endpoint=_address(parts.get("clientendpoint", endpoint), "ClientEndpoint", setting),
            server_endpoint=_address(parts.get("serverendpoint", endpoint), "ServerEndpoint", setting),
            access_key=access_key or None,
            setting=setting,
        )

    @classmethod
    def from_service_uri(cls, service_uri: str, setting: str = SERVICE_URI_SETTING) -> "SignalRConnection":
        """The identity form: the address alone. The hub is then given a credential."""
        endpoint = _address(service_uri, "the service's address", setting)
        return cls(endpoint, endpoint, endpoint, None, setting)

    @property
    def browser_origins(self) -> tuple[str, str]:
        """Where a browser connects to, by HTTP and by WebSocket: what a page's policy has to allow."""
        split = urlsplit(self.client_endpoint)
        return f"{split.scheme}://{split.netloc}", f"{split.scheme.replace('http', 'ws')}://{split.netloc}"

    def require(self, has_credential: bool) -> None:
        """MissingSetting when neither a key nor an identity would let the app in."""
        if self.access_key is None and not has_credential:
            raise MissingSetting(self.setting, "names an identity, but no credential was given")
        if self.access_key is not None and has_credential:
            raise MissingSetting(self.setting, "has an AccessKey although an identity was given: use one of them")


def _parts(text: str, setting: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in filter(str.strip, text.split(";")):
        name, separator, value = part.partition("=")
        name = name.strip().lower()
        # The part itself may be a piece of the key, so it is not shown.
        if not separator or not name:
            raise MissingSetting(setting, "is not of the form Endpoint=...;AccessKey=...;Version=1.0;")
        if name in parts:
            raise MissingSetting(setting, "names one of its parts twice")
        parts[name] = value.strip()
    if not parts:
        raise MissingSetting(setting)
    return parts


def _address(text: str, name: str, setting: str) -> str:
    try:
        split = urlsplit(text)
        legal = split.scheme in ("http", "https") and bool(split.hostname) and not split.query and split.port != 0
    except ValueError:
        legal = False
    if not legal:
        raise MissingSetting(setting, f"has no http or https address as {name}")
    return text.rstrip("/")


def _with_port(endpoint: str, port: str | None, setting: str) -> str:
    if port is None:
        return endpoint
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise MissingSetting(setting, "has a Port that is not a number from 1 to 65535")
    split = urlsplit(endpoint)
    host = f"[{split.hostname}]" if ":" in (split.hostname or "") else split.hostname
    return split._replace(netloc=f"{host}:{port}").geturl()
