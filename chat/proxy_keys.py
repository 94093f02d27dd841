"""Proxy keys: who may call the proxy, and what the log may hold of their calls.

A key has a name, by which the log knows its holder and an operator revokes it (by taking it out of the setting); the
setting may give its SHA-256 in its place, so that whoever reads settings cannot call. Keys are compared by their
digests, every one of them every time: how long it takes tells nothing.

    PROXY_KEYS=the-key-of-everybody
    PROXY_KEYS={"team-a": "the key", "team-b": {"sha256": "<64 hex digits>", "log": "hashed"},
                "audit": {"key": "another key", "log": "full", "fields": ["usage", "latency_ms"]}}
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_KEY_ALONE = re.compile(r"[A-Za-z0-9_-]+\Z")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
SHORTEST_KEY = 16  # characters; shorter ones can be guessed


class LogTexts(StrEnum):
    """What of prompts and answers a record may hold."""

    FULL = "full"
    HASHED = "hashed"  # their SHA-256 and length: equal texts can be told, not read
    NONE = "none"


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """What a record may hold. `fields`: only these, and always the ids and the status; None means all."""

    texts: LogTexts = LogTexts.FULL
    fields: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ProxyKey:
    """One caller's key."""

    name: str
    digest: bytes
    policy: LogPolicy


class ProxyKeys:
    """All keys. Raises ValueError, naming what is wrong and never a key.

    `usual` is what the log holds of the calls of a key that says nothing about it."""

    def __init__(self, setting: str | None, usual: LogTexts = LogTexts.FULL) -> None:
        self._keys = [_key(name, entry, usual) for name, entry in _entries(setting or "{}").items()]
        if len({key.digest for key in self._keys}) < len(self._keys):
            raise ValueError("gives one key two names: the log could not tell who called")

    def find(self, candidate: str | None) -> ProxyKey | None:
        """The key that was sent, None when it is none of ours."""
        digest = _digest(candidate or "")
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if candidate else None


def _entries(setting: str) -> dict[str, Any]:
    """What the setting gives each name; a key alone is named `default`."""
    if _KEY_ALONE.match(setting):
        return {"default": setting}
    try:
        value = json.loads(setting)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object of names and keys, or one key of letters, digits, '-' and '_'")
    return value


def _key(name: str, entry: Any, usual: LogTexts) -> ProxyKey:
    if not _NAME.match(name):
        raise ValueError(f"has the name {name!r}; a name is 1 to 64 letters, digits, '.', '_' or '-'")
    if isinstance(entry, str):
        entry = {"key": entry}
    if not isinstance(entry, dict) or ("key" in entry) == ("sha256" in entry):
        raise ValueError(f"must give {name} a key, or an object with either 'key' or 'sha256'")
    if unknown := sorted(set(entry) - {"key", "sha256", "log", "fields"}):
        raise ValueError(f"gives {name} {unknown[0]!r}; known are key, sha256, log, fields")
    return ProxyKey(name, _digest_of(name, entry), LogPolicy(_texts(name, entry, usual), _fields(name, entry)))


def _digest_of(name: str, entry: dict[str, Any]) -> bytes:
    if "sha256" in entry:
        if not (isinstance(entry["sha256"], str) and _SHA256.match(entry["sha256"])):
            raise ValueError(f"must give {name} a sha256 of 64 hex digits")
        return bytes.fromhex(entry["sha256"])
    if not (isinstance(entry["key"], str) and len(entry["key"]) >= SHORTEST_KEY):
        raise ValueError(f"must give {name} a key of {SHORTEST_KEY} characters or more")
    return _digest(entry["key"])


def _texts(name: str, entry: dict[str, Any], usual: LogTexts) -> LogTexts:
    try:
        return LogTexts(entry.get("log", usual))
    except ValueError:
        raise ValueError(f"must give {name} the log 'full', 'hashed' or 'none'") from None


def _fields(name: str, entry: dict[str, Any]) -> frozenset[str] | None:
    fields = entry.get("fields")
    if fields is None:
        return None
    if not (isinstance(fields, list) and all(isinstance(field, str) for field in fields)):
        raise ValueError(f"must give {name} its fields as a list of names")
    return frozenset(fields)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
