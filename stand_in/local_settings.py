"""An app's settings on a laptop: `local.settings.json`, as Azure Functions Core Tools read it.

Values become environment variables of the app, and a variable that is in the environment already wins. A file that is
missing is made from `local.settings.sample.json` on the first run; a value of `<generated>` in the sample becomes a
random secret in the copy, so that no two machines share one.
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stand_in.errors import SettingsRefused

FILE_NAME = "local.settings.json"
SAMPLE_NAME = "local.settings.sample.json"
GENERATED = "<generated>"


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What the file says: `values` for the app, the rest for its host."""

    values: Mapping[str, str] = field(default_factory=dict)
    http_port: int | None = None
    cors: str | None = None
    cors_credentials: bool = False

    @classmethod
    def from_dict(cls, document: Any) -> "LocalSettings":
        if not isinstance(document, dict):
            raise SettingsRefused(f"{FILE_NAME} is not a JSON object.")
        # Core Tools take an absent IsEncrypted for true.
        if document.get("IsEncrypted", True) is not False:
            raise SettingsRefused(
                f'{FILE_NAME} is encrypted, or does not say "IsEncrypted": false. Encrypted settings are not supported:'
                f" decrypt them with `func settings decrypt`."
            )
        unknown = sorted(set(document) - {"IsEncrypted", "Values", "Host", "ConnectionStrings"})
        if unknown:
            raise SettingsRefused(
                f"{FILE_NAME} has {unknown[0]!r}, which is none of IsEncrypted, Values, Host, ConnectionStrings."
            )
        values = {**_flat(document, "Values"), **_connection_strings(document)}
        host = _section(document, "Host")
        return cls(values, *_host(host))


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = document.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise SettingsRefused(f"{name} in {FILE_NAME} is not a JSON object.")
    return section


def _flat(document: Mapping[str, Any], section: str) -> dict[str, str]:
    values = {}
    for name, value in _section(document, section).items():
        if value is None:
            continue  # Core Tools leave a null out
        if not isinstance(value, str):
            raise SettingsRefused(f"{section}.{name} in {FILE_NAME} is not a string. Write it in quotes.")
        values[name] = value
    return values


def _connection_strings(document: Mapping[str, Any]) -> dict[str, str]:
    """Named `ConnectionStrings:<name>` in the environment; a value may be `{"ConnectionString": ...}`."""
    texts = {
        name: value.get("ConnectionString") if isinstance(value, dict) else value
        for name, value in _section(document, "ConnectionStrings").items()
    }
    return {
        f"ConnectionStrings:{name}": value
        for name, value in _flat({"ConnectionStrings": texts}, "ConnectionStrings").items()
    }


def _host(host: Mapping[str, Any]) -> tuple[int | None, str | None, bool]:
    unknown = sorted(set(host) - {"LocalHttpPort", "LocalHttpAddress", "CORS", "CORSCredentials"})
    if unknown:
        raise SettingsRefused(f"Host.{unknown[0]} in {FILE_NAME} is not supported by the stand-in.")
    if host.get("LocalHttpAddress", "127.0.0.1") not in {"127.0.0.1", "localhost"}:
        raise SettingsRefused(f"Host.LocalHttpAddress in {FILE_NAME}: the stand-in listens on 127.0.0.1 only.")
    port = host.get("LocalHttpPort")
    if port is not None and (not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536):
        raise SettingsRefused(f"Host.LocalHttpPort in {FILE_NAME} is {port!r}; a number from 1 to 65535 is needed.")
    cors = host.get("CORS")
    if cors is not None and not isinstance(cors, str):
        raise SettingsRefused(f"Host.CORS in {FILE_NAME} is not a string: separate the origins by commas.")
    credentials = host.get("CORSCredentials", False)
    if not isinstance(credentials, bool):
        raise SettingsRefused(f"Host.CORSCredentials in {FILE_NAME} is neither true nor false.")
    return port, cors, credentials


def read(app: Path, say: Callable[[str], None]) -> LocalSettings:
    """The settings of the app in that folder; makes the file from the sample when there is none."""
    path = app / FILE_NAME
    if not path.exists():
        sample = app / SAMPLE_NAME
        if not sample.exists():
            say(f"no {FILE_NAME}: the app gets its settings from the environment alone")
            return LocalSettings()
        _copy_sample(sample, path)
        say(f"made {FILE_NAME} from {SAMPLE_NAME}")
    return LocalSettings.from_dict(_load(path))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsRefused(f"{path.name} cannot be read: {error}") from error


def _copy_sample(sample: Path, path: Path) -> None:
    document = _load(sample)
    values = document.get("Values", {}) if isinstance(document, dict) else {}
    for name, value in values.items():
        if value == GENERATED:
            values[name] = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # it holds secrets
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=2) + "\n")


def effective(settings: LocalSettings, environment: Mapping[str, str]) -> Mapping[str, str]:
    """The app's settings: the file's, where the environment does not say otherwise."""
    return {name: environment.get(name, value) for name, value in settings.values.items()}


def overridden(settings: LocalSettings, environment: Mapping[str, str]) -> list[str]:
    """The file's settings that the environment says otherwise."""
    return [name for name, value in settings.values.items() if environment.get(name, value) != value]


def of_the_platform(local: LocalSettings, app: Path, http_port: int | None) -> Mapping[str, str]:
    """What the platform sets itself. Cross-origin requests are its site configuration on Azure, the file's locally."""
    settings = {"AZURE_FUNCTIONS_ENVIRONMENT": "Development", "AzureWebJobsScriptRoot": str(app)}
    if http_port is not None:
        settings["WEBSITE_HOSTNAME"] = f"localhost:{http_port}"
    if local.cors is not None:
        origins = [origin.strip() for origin in local.cors.split(",") if origin.strip()]
        settings["WEBSITE_CORS_ALLOWED_ORIGINS"] = json.dumps(origins)
        settings["WEBSITE_CORS_SUPPORT_CREDENTIALS"] = json.dumps(local.cors_credentials)
    return settings
