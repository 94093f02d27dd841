"""Keys with `--enable-auth`, and cross-origin requests."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from stand_in.host.cors import Cors, read_cors
from tests.stand_in.host.conftest import HostProcess, NewHost

SETTINGS = {
    "PYTHON_ENABLE_INIT_INDEXING": "1",
    "ON_START_SCHEDULE": "0 0 0 1 1 *",
    "AzureWebJobs.switched_off.Disabled": "true",
    "WEBSITE_CORS_ALLOWED_ORIGINS": '["http://a.example"]',
    "WEBSITE_CORS_SUPPORT_CREDENTIALS": "true",
}


@pytest.fixture(scope="module")
def host(new_shared_host: NewHost) -> HostProcess:
    return new_shared_host("fastapi_functions", SETTINGS, "--enable-auth")


@pytest.fixture(scope="module")
def keys(host: HostProcess) -> dict[str, str]:
    document = json.loads((host.state_dir / "keys.json").read_text("utf-8"))
    return {
        "master": document["masterKey"]["value"],
        "host": document["functionKeys"][0]["value"],
        "system": document["systemKeys"][0]["value"],
        "wrong": "not a key",
    }


@pytest.fixture
async def http_client(host: HostProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.url) as session:
        yield session


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/returns/dict", None, 200),
        ("/returns/dict", "wrong", 200),
        ("/keyed", None, 401),
        ("/keyed", "wrong", 401),
        ("/keyed", "system", 401),
        ("/keyed", "host", 200),
        ("/keyed", "master", 200),
        ("/for_admins", "host", 401),
        ("/for_admins", "master", 200),
        ("/nothing", None, 404),
        ("/switched_off", None, 404),
        ("/switched_off", "master", 200),
        ("/admin/host/status", None, 401),
        ("/admin/host/status", "wrong", 401),
        ("/admin/host/status", "host", 403),
        ("/admin/host/status", "master", 200),
        ("/admin/host/ping", None, 200),
        ("/runtime/webhooks/durabletask/instances", None, 401),
        ("/runtime/webhooks/durabletask/instances", "host", 403),
        ("/runtime/webhooks/durabletask/instances", "system", 200),
        ("/runtime/webhooks/durabletask/instances", "master", 200),
        ("/runtime/webhooks/nothing", None, 401),
    ],
)
async def test_a_key_opens_what_it_is_for(
    http_client: aiohttp.ClientSession, keys: dict[str, str], path: str, key: str | None, status: int
) -> None:
    headers = {} if key is None else {"x-functions-key": keys[key]}
    async with http_client.get(path, headers=headers) as answer:
        assert answer.status == status


async def test_a_key_may_come_in_the_query_but_not_to_admin(
    http_client: aiohttp.ClientSession, keys: dict[str, str]
) -> None:
    async with http_client.get("/keyed", params={"code": keys["host"]}) as answer:
        assert answer.status == 200
    async with http_client.get("/admin/host/status", params={"code": keys["master"]}) as answer:
        assert answer.status == 403


async def test_a_function_s_own_key_opens_that_function_alone(
    http_client: aiohttp.ClientSession, keys: dict[str, str]
) -> None:
    master = {"x-functions-key": keys["master"]}
    async with http_client.put(
        "/admin/functions/keyed/keys/mine", json={"name": "mine", "value": "my own key"}, headers=master
    ) as answer:
        assert answer.status == 201
    async with http_client.get("/keyed", headers={"x-functions-key": "my own key"}) as answer:
        assert answer.status == 200
    async with http_client.get("/for_admins", headers={"x-functions-key": "my own key"}) as answer:
        assert answer.status == 401
    async with http_client.delete("/admin/functions/keyed/keys/mine", headers=master) as answer:
        assert answer.status == 204
    async with http_client.get("/keyed", headers={"x-functions-key": "my own key"}) as answer:
        assert answer.status == 401


def test_the_key_file_is_its_owner_s_alone(host: HostProcess) -> None:
    assert (host.state_dir / "keys.json").stat().st_mode & 0o077 == 0


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-own"}


@pytest.mark.parametrize("path", ["/start", "/nothing", "/runtime/webhooks/durabletask/instances"])
async def test_a_preflight_is_answered_before_any_function_or_key(
    http_client: aiohttp.ClientSession, path: str
) -> None:
    async with http_client.options(path, headers={"Origin": "http://a.example", **PREFLIGHT}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "http://a.example"
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        assert answer.headers["Access-Control-Allow-Headers"] == "content-type,x-own"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"


async def test_a_foreign_origin_gets_no_permission(http_client: aiohttp.ClientSession) -> None:
    async with http_client.options("/start", headers={"Origin": "http://b.example", **PREFLIGHT}) as answer:
        assert answer.status == 204
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_an_answer_names_the_origin_also_when_it_is_an_error(http_client: aiohttp.ClientSession) -> None:
    for path in ("/returns/dict", "/nothing", "/returns/exception"):
        async with http_client.get(path, headers={"Origin": "http://a.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "http://a.example"


def test_origins_come_from_local_settings(tmp_path: Path) -> None:
    document = {"Host": {"CORS": "http://a.example, http://b.example", "CORSCredentials": True}}
    (tmp_path / "local.settings.json").write_text(json.dumps(document), "utf-8")

    assert read_cors(tmp_path, {}) == Cors(frozenset({"http://a.example", "http://b.example"}), True)


def test_any_origin_is_a_star_without_credentials() -> None:
    assert Cors(frozenset({"*"})).answer(b"http://x") == [(b"access-control-allow-origin", b"*")]
