"""local.settings.json, as Core Tools read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from stand_in import local_settings
from stand_in.errors import SettingsRefused
from stand_in.local_settings import LocalSettings


def read(app: Path, document: Any) -> LocalSettings:
    (app / "local.settings.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return local_settings.read(app, lambda text: None)


def test_values_are_the_apps_and_host_is_the_hosts(tmp_path: Path):
    settings = read(
        tmp_path,
        {
            "IsEncrypted": False,
            "Values": {"A": "1", "EMPTY": "", "NOTHING": None},
            "Host": {"LocalHttpPort": 7099, "CORS": "http://a,http://b", "CORSCredentials": True},
            "ConnectionStrings": {"Plain": "x", "Object": {"ConnectionString": "y", "ProviderName": "z"}},
        },
    )
    assert settings.values == {
        "A": "1",
        "EMPTY": "",
        "ConnectionStrings:Plain": "x",
        "ConnectionStrings:Object": "y",
    }
    assert (settings.http_port, settings.cors, settings.cors_credentials) == (7099, "http://a,http://b", True)


def test_the_environment_wins_also_with_an_empty_string():
    settings = LocalSettings({"A": "file", "B": "file", "C": "file"})
    environment = {"A": "environment", "B": "", "C": "file"}
    assert local_settings.effective(settings, environment) == {"A": "environment", "B": "", "C": "file"}
    assert local_settings.overridden(settings, environment) == ["A", "B"]


def test_the_platforms_own_settings_hold_the_address_and_who_may_ask_from_elsewhere(tmp_path: Path):
    local = LocalSettings(cors="http://a, http://b", cors_credentials=True)
    assert local_settings.of_the_platform(local, tmp_path, 7071) == {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsScriptRoot": str(tmp_path),
        "WEBSITE_HOSTNAME": "localhost:7071",
        "WEBSITE_CORS_ALLOWED_ORIGINS": '["http://a", "http://b"]',
        "WEBSITE_CORS_SUPPORT_CREDENTIALS": "true",
    }


def test_the_first_run_makes_the_file_from_the_sample_with_secrets_of_its_own(tmp_path: Path):
    sample = {"IsEncrypted": False, "Values": {"SECRET": "<generated>", "OTHER": "<generated>", "KEPT": "1"}}
    (tmp_path / "local.settings.sample.json").write_text(json.dumps(sample))
    said: list[str] = []
    first = local_settings.read(tmp_path, said.append)
    second = local_settings.read(tmp_path, said.append)

    assert said == ["made local.settings.json from local.settings.sample.json"]
    assert first == second
    assert first.values["KEPT"] == "1"
    secrets = {first.values["SECRET"], first.values["OTHER"]}
    assert len(secrets) == 2
    assert all(len(secret) >= 32 for secret in secrets)
    assert (tmp_path / "local.settings.json").stat().st_mode & 0o077 == 0


def test_an_app_without_a_file_has_the_environment_alone_and_is_told_so(tmp_path: Path):
    said: list[str] = []
    assert local_settings.read(tmp_path, said.append) == LocalSettings()
    assert "environment alone" in said[0]


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("{", "cannot be read"),
        ([], "not a JSON object"),
        ({}, "IsEncrypted"),
        ({"IsEncrypted": True}, "func settings decrypt"),
        ({"IsEncrypted": False, "Value": {}}, "'Value'"),
        ({"IsEncrypted": False, "Values": []}, "Values"),
        ({"IsEncrypted": False, "Values": {"A": 1}}, "Values.A"),
        ({"IsEncrypted": False, "Values": {"A": {}}}, "Values.A"),
        ({"IsEncrypted": False, "ConnectionStrings": {"A": {"ProviderName": 1, "ConnectionString": 2}}}, "A"),
        ({"IsEncrypted": False, "Host": {"LocalHttpPort": "7071"}}, "LocalHttpPort"),
        ({"IsEncrypted": False, "Host": {"LocalHttpPort": True}}, "LocalHttpPort"),
        ({"IsEncrypted": False, "Host": {"LocalHttpAddress": "0.0.0.0"}}, "127.0.0.1 only"),
        ({"IsEncrypted": False, "Host": {"CORS": ["a"]}}, "CORS"),
        ({"IsEncrypted": False, "Host": {"CORSCredentials": "yes"}}, "CORSCredentials"),
        ({"IsEncrypted": False, "Host": {"Telepathy": 1}}, "Host.Telepathy"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, document: Any, named: str):
    with pytest.raises(SettingsRefused, match=named.replace("(", r"\(")):
        read(tmp_path, document)


def test_the_projects_own_sample_can_be_used(tmp_path: Path):
    sample = (Path(__file__).parents[2] / "local.settings.sample.json").read_text()
    (tmp_path / "local.settings.sample.json").write_text(sample)
    settings = local_settings.read(tmp_path, lambda text: None)
    assert settings.values["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert settings.values["AzureWebJobsStorage"] == "UseDevelopmentStorage=true"
    assert settings.http_port == 7071
    assert len(settings.values["SESSION_SECRET"]) >= 32
