"""The host's keys: one JSON file in the state folder, made on first use.

`master` opens everything, `host` (function) keys every function, a function's own keys that function, and system keys
`/runtime/webhooks/<extension>`. The file has the shape of the real host's `secrets/host.json`, so tools that read that
one read this one.
"""

import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DURABLE_KEY = "durabletask_extension"


@dataclass(slots=True)
class Keys:
    """All keys by name. Mutable: the admin API makes and deletes them."""

    path: Path
    master: str
    host: dict[str, str] = field(default_factory=dict)
    system: dict[str, str] = field(default_factory=dict)
    functions: dict[str, dict[str, str]] = field(default_factory=dict)

    def is_master(self, key: str | None) -> bool:
        return key is not None and _same(key, self.master)

    def opens_function(self, key: str | None, function_name: str) -> bool:
        """Does the key open a function of level `function`?"""
        own = self.functions.get(function_name.lower(), {})
        return key is not None and any(_same(key, known) for known in (self.master, *self.host.values(), *own.values()))

    def opens_webhook(self, key: str | None, extension: str) -> bool:
        known = self.system.get(f"{extension.lower()}_extension")
        return self.is_master(key) or (key is not None and known is not None and _same(key, known))

    def knows(self, key: str | None) -> bool:
        """Is it any of our keys? A known key that is too weak gets 403 where an unknown one gets 401."""
        own = (value for keys in self.functions.values() for value in keys.values())
        return key is not None and any(
            _same(key, known) for known in (self.master, *self.host.values(), *self.system.values(), *own)
        )

    def of_function(self, function_name: str) -> dict[str, str]:
        """A function's own keys; it has a `default` one from the start."""
        own = self.functions.get(function_name.lower())
        if own is None:
            own = self.functions[function_name.lower()] = {"default": new_key()}
            self.save()
        return own

    def save(self) -> None:
        """Write the file, readable by its owner alone."""
        temporary = self.path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._to_dict(), file, indent=2)
        os.replace(temporary, self.path)

    def _to_dict(self) -> dict[str, Any]:
        return {
            "masterKey": {"name": "master", "value": self.master, "encrypted": False},
            "functionKeys": _listed(self.host),
            "systemKeys": _listed(self.system),
            "functions": {name: _listed(keys) for name, keys in self.functions.items()},
        }


def load_keys(path: Path) -> Keys:
    """Read the key file, or make one with fresh keys."""
    if path.exists():
        document = json.loads(path.read_text("utf-8"))
        return Keys(
            path,
            document["masterKey"]["value"],
            _by_name(document["functionKeys"]),
            _by_name(document["systemKeys"]),
            {name: _by_name(keys) for name, keys in document.get("functions", {}).items()},
        )
    keys = Keys(
        path,
        new_key(),
        host={"default": new_key()},
        system={DURABLE_KEY: new_key()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    keys.save()
    return keys


def new_key() -> str:
    """A fresh key: random, URL-safe, with the marker that secret scanners know."""
    return secrets.token_urlsafe(33) + "AzFu" + secrets.token_urlsafe(6)[:6] + "=="


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _by_name(listed: list[dict[str, Any]]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in listed}


def _listed(keys: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value, "encrypted": False} for name, value in keys.items()]
