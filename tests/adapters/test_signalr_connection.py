"""The connection string: what is understood, and that nothing shows the key."""

import pytest

from adapters.signalr_connection import SignalRConnection
from chat.errors import MissingSetting

KEY = "c2VjcmV0LXRoYXQtbXVzdC1ub3QtYmUtc2hvd24="


def parse(text: str) -> SignalRConnection:
    return SignalRConnection.from_connection_string(text)


def test_the_portals_form() -> None:
    connection = parse(f"Endpoint=https://x.service.signalr.net;AccessKey={KEY};Version=1.0;")
    assert connection.endpoint == connection.client_endpoint == connection.server_endpoint
    assert connection.endpoint == "https://x.service.signalr.net"
    assert connection.access_key == KEY


def test_names_have_no_case_and_a_port_replaces_the_endpoints() -> None:
    connection = parse(f"ENDPOINT=http://localhost:1/;port=8888;accesskey={KEY};VERSION=1.0")
    assert connection.endpoint == "http://localhost:8888"


def test_proxies_in_front_of_the_service_have_addresses_of_their_own() -> None:
    connection = parse(
        f"Endpoint=https://x.net;AccessKey={KEY};Version=1.0;ClientEndpoint=https://c.net/;ServerEndpoint=https://s.net"
    )
    assert (connection.client_endpoint, connection.server_endpoint) == ("https://c.net", "https://s.net")
    assert connection.endpoint == "https://x.net"


def test_an_identity_needs_no_key_but_a_credential() -> None:
    for connection in (
        parse("Endpoint=https://x.net;AuthType=azure.msi;Version=1.0;"),
        SignalRConnection.from_service_uri("https://x.net"),
    ):
        assert connection.access_key is None
        connection.require(has_credential=True)
        with pytest.raises(MissingSetting, match="no credential"):
            connection.require(has_credential=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not set"),
        (f"AccessKey={KEY};Version=1.0;", "has no Endpoint"),
        ("Endpoint=https://x.net;Version=1.0;", "has neither an AccessKey nor"),
        (f"Endpoint=ftp://x.net;AccessKey={KEY};", "has no http or https address as Endpoint"),
        (f"Endpoint=https://x.net:no;AccessKey={KEY};", "has no http or https address as Endpoint"),
        (f"Endpoint=https://x.net;AccessKey={KEY};Version=2.0;", "has a Version that is not 1.x"),
        (f"Endpoint=https://x.net;AccessKey={KEY};Port=0;", "has a Port that is not a number"),
        (f"Endpoint=https://x.net;AccessKey={KEY};accesskey={KEY}", "names one of its parts twice"),
        (f"Endpoint=https://x.net;{KEY[:-1]}", "is not of the form"),
        (f"Endpoint=https://x.net;AccessKey={KEY};ClientEndpoint=x", "has no http or https address as ClientEndpoint"),
    ],
)
def test_what_is_wrong_is_said_with_the_settings_name_and_without_the_key(text: str, reason: str) -> None:
    with pytest.raises(MissingSetting, match=reason) as missing:
        SignalRConnection.from_connection_string(text, "MySetting")
    assert missing.value.name == "MySetting"
    assert KEY[:-1] not in str(missing.value)


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(parse(f"Endpoint=https://x.net;AccessKey={KEY};Version=1.0;"))
