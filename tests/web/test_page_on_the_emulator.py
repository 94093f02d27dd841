"""The page on the stand-in's SignalR emulator: another origin, real tokens, the real protocol."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from playwright.async_api import expect

from stand_in.signalr.access_tokens import EMULATOR_ACCESS_KEY
from stand_in.signalr.server import SignalRServer, start_server
from tests.web.conftest import OpenPage
from tests.web.fake_backend import FakeBackend, Json

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

DONE = ".answer[aria-busy=false]"


def signed(audience: str, **claims: Any) -> str:
    return jwt.encode({"aud": audience, "exp": int(time.time()) + 3600, **claims}, EMULATOR_ACCESS_KEY, "HS256")


@dataclass
class EmulatorService:
    """Negotiates and sends for one user, as the app does."""

    server: SignalRServer
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def connection_info(self) -> Json:
        url = f"{self.url}/client/?hub=chat"
        return {"url": url, "accessToken": signed(url, **{"asrs.s.uid": "reader"})}

    async def send(self, target: str, arguments: list[Any]) -> None:
        url = f"{self.url}/api/hubs/chat/users/reader/:send"
        headers = {"Authorization": f"Bearer {signed(url)}"}
        message = {"target": target, "arguments": arguments}
        async with self.session.post(f"{url}?api-version=2022-11-01", json=message, headers=headers) as response:
            assert response.status == 202, await response.text()

    async def has_clients(self) -> None:
        async with asyncio.timeout(10):
            while not any(hub.connections for hub in self.server.emulator.hubs):  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture(loop_scope="module")
async def service(backend: FakeBackend, tmp_path: Path) -> AsyncIterator[EmulatorService]:
    async with aiohttp.ClientSession() as session:
        running = EmulatorService(await start_server(port=0, state_dir=tmp_path), session)
        backend.service = running
        try:
            yield running
        finally:
            await running.server.stop()


async def test_frames_arrive_through_the_emulator_alone(
    backend: FakeBackend, service: EmulatorService, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await service.has_clients()
    await page.get_by_label("Your message").fill("hello")
    await page.keyboard.press("Enter")
    await expect(page.locator(".dots")).to_be_visible()
    await expect(page.locator(".turn")).to_have_attribute("data-status", "running")
    await page.wait_for_load_state("networkidle")
    reads = [line for line in backend.requests if "/frames" in line]
    turn = backend.turn()
    for piece in ("Kon", "nichi", "wa 👋"):
        await turn.say(piece)
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("Konnichiwa 👋")
    assert [line for line in backend.requests if "/frames" in line] == reads


async def test_a_restarted_service_is_negotiated_with_anew(
    backend: FakeBackend, service: EmulatorService, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await service.has_clients()
    before = backend.negotiations
    port = service.server.port
    await service.server.stop()
    service.server = await start_server(port=port, state_dir=tmp_path)
    await service.has_clients()
    assert backend.negotiations > before
