"""Callers: a cookie is as good as its signature, a principal header as good as the feature that sets it."""

from dataclasses import replace

import pytest
from azurefunctions.extensions.http.fastapi import Request, Response

from adapters.settings import Settings
from chat.errors import MissingSetting
from http_triggers.answers import HttpError
from http_triggers.caller import check_origin, identify, signed

SETTINGS = Settings.from_environment({"SESSION_SECRET": "s3cret", "ALLOW_ANONYMOUS": "1"})
ID, OTHER = "1" * 32, "2" * 32


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw})


def test_a_new_visitor_gets_a_cookie_by_which_they_are_known_again() -> None:
    new = identify(request(), SETTINGS, ID)
    response = new.greet(Response(), SETTINGS)
    cookie = response.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=lax", "Secure", "Path=/"))
    again = identify(request(cookie=cookie.split(";")[0]), SETTINGS, OTHER)
    assert again.owner == new.owner
    assert again.new_cookie is None


@pytest.mark.parametrize("cookie", [ID, f"{ID}.", signed(ID, "another"), signed(ID, "s3cret")[:-1] + "x", "é", ""])
def test_a_forged_cookie_is_nobody(cookie: str) -> None:
    caller = identify(request(cookie=f"session={cookie}"), SETTINGS, OTHER)
    assert caller.owner == f"anonymous:{OTHER}"


def test_a_principal_counts_only_where_authentication_is_on() -> None:
    headers = {"x_ms_client_principal_id": "42", "x_ms_client_principal_idp": "aad"}
    assert identify(request(**headers), SETTINGS, ID).owner == f"anonymous:{ID}"
    assert identify(request(**headers), replace(SETTINGS, authentication_enabled=True), ID).owner == "aad:42"


def test_where_anonymous_visitors_are_not_allowed_they_are_asked_to_sign_in() -> None:
    with pytest.raises(HttpError) as refused:
        identify(request(), replace(SETTINGS, allow_anonymous=False), ID)
    assert refused.value.status == 401


def test_without_a_secret_nobody_gets_a_session() -> None:
    with pytest.raises(MissingSetting, match="SESSION_SECRET"):
        identify(request(), replace(SETTINGS, session_secret=None), ID)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://chat.example.org", True),
        ("https://CHAT.example.org", True),
        ("https://evil.example.org", False),
        ("null", False),
        ("https://friend.example.org", True),
    ],
)
def test_a_page_of_another_site_may_not_change_anything(origin: str, allowed: bool) -> None:
    settings = replace(SETTINGS, allowed_origins=frozenset({"https://friend.example.org"}))
    asked = request(origin=origin, host="127.0.0.1:4711", x_forwarded_host="chat.example.org")
    if allowed:
        check_origin(asked, settings)
    else:
        with pytest.raises(HttpError) as refused:
            check_origin(asked, settings)
        assert refused.value.status == 403
