"""Who may call the proxy."""

import hashlib
import json
from typing import Any

import pytest

from chat.proxy_keys import LogPolicy, LogTexts, ProxyKeys

FIRST, SECOND = "first-key-0123456789", "second-key-0123456789"


def keys(**value: Any) -> ProxyKeys:
    return ProxyKeys(json.dumps(value))


def test_one_key_for_all_needs_no_name():
    found = ProxyKeys(FIRST).find(FIRST)

    assert found is not None
    assert found.name == "default"


def test_each_key_is_known_by_its_name():
    known = ProxyKeys(json.dumps({"team-a": FIRST, "team-b": {"key": SECOND, "log": "none"}}))

    assert [key and key.name for key in (known.find(FIRST), known.find(SECOND))] == ["team-a", "team-b"]


@pytest.mark.parametrize("candidate", [None, "", "first", FIRST + " ", FIRST.upper(), "schlüssel", "\ud800"])
def test_any_other_key_is_none_of_ours(candidate: str | None):
    assert keys(a=FIRST).find(candidate) is None


@pytest.mark.parametrize("setting", [None, "", "{}"])
def test_without_keys_nobody_may_call(setting: str | None):
    assert ProxyKeys(setting).find("") is None


def test_a_setting_may_hold_the_digest_in_place_of_the_key():
    digest = hashlib.sha256(FIRST.encode()).hexdigest()

    found = keys(a={"sha256": digest.upper()}).find(FIRST)

    assert found is not None
    assert keys(a={"sha256": digest}).find(digest) is None


def test_a_key_says_what_may_be_logged():
    known = keys(a=FIRST, b={"key": SECOND, "log": "hashed", "fields": ["usage"]})

    assert known.find(FIRST).policy == LogPolicy(LogTexts.FULL, None)  # type: ignore[union-attr]
    assert known.find(SECOND).policy == LogPolicy(LogTexts.HASHED, frozenset({"usage"}))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('"secret-of-somebody"', "JSON object"),
        ('{"a": "secret-of-somebody"', "JSON object"),
        ("secret-of", "16 characters"),
        ('["secret-of-somebody"]', "JSON object"),
        ('{"a": "secret"}', "16 characters"),
        ('{"a": 1}', "a key, or an object"),
        ('{"a": {}}', "either 'key' or 'sha256'"),
        ('{"a": {"sha256": "secret"}}', "64 hex digits"),
        ('{"a b": "secret-of-somebody"}', "'a b'"),
        ('{"a": {"key": "secret-of-somebody", "log": "some"}}', "'full', 'hashed' or 'none'"),
        ('{"a": {"key": "secret-of-somebody", "fields": "usage"}}', "list of names"),
        ('{"a": {"key": "secret-of-somebody", "logs": "none"}}', "'logs'"),
        ('{"a": "secret-of-somebody", "b": "secret-of-somebody"}', "two names"),
    ],
)
def test_what_is_wrong_is_named_and_no_key_is(setting: str, words: str):
    with pytest.raises(ValueError, match=words) as raised:
        ProxyKeys(setting)
    assert "secret-of" not in str(raised.value)
