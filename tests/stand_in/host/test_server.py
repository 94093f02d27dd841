"""The host as a process: how it starts, stops, and what it keeps."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from stand_in.host.errors import HostStartFailed
from stand_in.host.host_json import read_host_json
from stand_in.host.http_listener import reserve_port
from tests.stand_in.host.conftest import NewHost

SETTINGS = {"PYTHON_ENABLE_INIT_INDEXING": "1", "ON_START_SCHEDULE": "0 0 0 1 1 *"}


async def test_a_stop_refuses_new_requests_and_lets_running_ones_end(new_host: NewHost, tmp_path: Path) -> None:
    host = new_host("fastapi_functions", SETTINGS)
    async with aiohttp.ClientSession(host.url) as session:
        running = asyncio.create_task(_text(session, f"/until_file?path={tmp_path}/go"))
        async with asyncio.timeout(10):
            while not await _is_running(session):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
        host.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while _accepts(host.port):  # noqa: ASYNC110 - another process's port
                await asyncio.sleep(0.02)

        await asyncio.to_thread((tmp_path / "go").touch)

        assert await asyncio.wait_for(running, 8) == "the file is there"
    assert await asyncio.to_thread(host.stop) == 0


async def _text(session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(path) as answer:
        return await answer.text()


async def _is_running(session: aiohttp.ClientSession) -> bool:
    async with session.get("/seen/waiting") as answer:
        return bool(await answer.json())


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


async def test_orchestrations_outlive_the_host(new_host: NewHost, tmp_path: Path) -> None:
    host = new_host("fastapi_functions", SETTINGS, state_dir=tmp_path / "kept")
    async with aiohttp.ClientSession(host.url) as session, session.post("/start", json={"name": "x"}) as answer:
        instance_id = (await answer.json())["id"]
    host.stop()

    host = new_host("fastapi_functions", SETTINGS, state_dir=tmp_path / "kept")

    url = f"{host.url}/runtime/webhooks/durabletask/instances/{instance_id}"
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            async with session.get(url) as answer:
                status = await answer.json()
            if status["runtimeStatus"] == "Completed":
                break
            await asyncio.sleep(0.02)
    assert status["output"]["text"] == "Hello x"


def test_a_taken_port_is_noticed_at_once() -> None:
    with reserve_port(0) as taken:
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            reserve_port(taken.getsockname()[1])


async def test_an_app_that_cannot_be_indexed_leaves_a_host_that_says_so(new_host: NewHost, tmp_path: Path) -> None:
    app = tmp_path / "broken"
    app.mkdir()
    (app / "function_app.py").write_text("raise ValueError('at import')\n", "utf-8")
    (app / "host.json").write_text('{"version": "2.0"}', "utf-8")

    host = new_host(app)

    assert "Worker failed to index functions: ValueError: at import" in host.log()
    async with aiohttp.ClientSession(host.url) as session:
        async with session.get("/api/anything") as answer:
            assert answer.status == 404
        async with session.get("/admin/host/status") as answer:
            assert (await answer.json())["state"] == "Running"


async def test_a_host_in_error_answers_503_and_tells_admin_why(new_host: NewHost, tmp_path: Path) -> None:
    app = tmp_path / "wrong"
    app.mkdir()
    (app / "function_app.py").write_text("import azure.functions as func\napp = func.FunctionApp()\n", "utf-8")
    (app / "host.json").write_text('{"version": "1.0"}', "utf-8")

    host = new_host(app)

    async with aiohttp.ClientSession(host.url) as session:
        async with session.get("/api/anything") as answer:
            assert (answer.status, await answer.text()) == (503, "Function host is not running.")
        async with session.get("/admin/host/status") as answer:
            status = await answer.json()
    assert status["state"] == "Error"
    assert "'1.0' is an invalid value" in status["errors"][0]


def write_host_json(folder: Path, document: object) -> Path:
    (folder / "host.json").write_text(json.dumps(document), "utf-8")
    return folder


def test_settings_override_host_json_ignoring_case(tmp_path: Path) -> None:
    folder = write_host_json(tmp_path, {"version": "2.0", "extensions": {"http": {"routePrefix": "api"}}})

    host_json = read_host_json(
        folder,
        {
            "AzureFunctionsJobHost__Extensions__HTTP__routeprefix": "over",
            "AzureFunctionsJobHost__functionTimeout": "00:00:07",
        },
    )

    assert host_json.route_prefix == "over"
    assert host_json.function_timeout is not None
    assert host_json.function_timeout.total_seconds() == 7


def test_minus_one_is_no_time_out(tmp_path: Path) -> None:
    folder = write_host_json(tmp_path, {"version": "2.0", "functionTimeout": "-1"})

    assert read_host_json(folder, {}).function_timeout is None


def test_an_unknown_key_is_warned_about_by_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_host_json(tmp_path, {"version": "2.0", "extensions": {"http": {"routePrefx": "x"}}})

    read_host_json(folder, {})

    assert "extensions.http.routePrefx" in caplog.text


@pytest.mark.parametrize("document", [{"version": "1.0"}, {}, [], {"version": "2.0", "functionTimeout": "nonsense"}])
def test_an_unusable_host_json_stops_the_host(tmp_path: Path, document: object) -> None:
    with pytest.raises(HostStartFailed):
        read_host_json(write_host_json(tmp_path, document), {})
