"""Binding expressions; the rows of the first test were seen on the real host."""

from datetime import UTC, datetime

import pytest

from stand_in.host.errors import ExpressionUnresolved
from stand_in.host.expressions import CallData, resolve, resolve_settings

SETTINGS = {"PROBE_HUB": "FromSetting"}
CALL = CallData(
    "the_function",
    route={"name": "fromRoute"},
    query={"q": "fromQuery", "code": "abc", "name": "queryName", "empty": ""},
    headers={"x-hub": "fromHeader"},
    body=lambda: b'{"b": "fromBody", "name": "bodyName", "o": {"p": "nested"}, "t": true, "n": 5, "f": 1.5, "z": null}',
    now=lambda: datetime(2026, 11, 24, 8, 44, 6, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("{name}", "fromRoute"),
        ("{query.name}", "queryName"),
        ("{q}", "fromQuery"),
        ("{headers.X-Hub}", "fromHeader"),
        ("%PROBE_HUB%", "FromSetting"),
        ("{{literal}}", "{literal}"),
        ("{o.p}", "nested"),
        ("{o}", ""),
        ("{z}", ""),
        ("{t}", "True"),
        ("{n}", "5"),
        ("{f}", "1.5"),
        ("{query.code}", "abc"),
        ("{empty}", ""),
        ("plain {name} and {b}", "plain fromRoute and fromBody"),
        ("{name}%PROBE_HUB%", "fromRouteFromSetting"),
        ("{sys.methodname}", "the_function"),
        ("{sys.utcnow}", "2026-11-24T08-44-06Z"),
        ("{datetime:yyyy-MM-dd}", "2026-11-24"),
    ],
)
def test_an_expression_resolves(text: str, resolved: str) -> None:
    assert resolve(text, SETTINGS, CALL) == resolved


@pytest.mark.parametrize(
    "text", ["{code}", "%NOSUCH%", "{nosuch}", "{headers.nosuch}", "{query.nosuch}", "100%", "50%%", "{", "}"]
)
def test_what_has_no_value_fails_the_call(text: str) -> None:
    with pytest.raises(ExpressionUnresolved):
        resolve(text, SETTINGS, CALL)


def test_random_ids_differ() -> None:
    assert resolve("{rand-guid}", {}, CALL) != resolve("{rand-guid}", {}, CALL)


def test_settings_are_found_ignoring_case() -> None:
    assert resolve_settings("a-%probe_hub%-b", SETTINGS) == "a-FromSetting-b"
