"""The page on the stand-in's SignalR emulator: another origin, real tokens, the real protocol."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from stand_in.signalr.access_tokens import EMULATOR_ACCESS_KEY
from stand_in.signalr.client_connection import ClientConnection
from stand_in.signalr.faults import Faults
from stand_in.signalr.server import SignalRServer, start_server
from tests.web.conftest import OpenPage
from tests.web.fake_backend import FakeBackend, FakeTurn, Json

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

DONE = ".answer[aria-busy=false]"
PATIENCE = 45.0  # a page that was refused five times in a row waits for up to 16 s before it connects again


def signed(audience: str, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"aud": audience, "iat": now, "exp": now + 3600, **claims}, EMULATOR_ACCESS_KEY, "HS256")


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

    def faults(self, **wanted: Any) -> None:
        self.server.emulator.faults = Faults(wanted)

    @property
    def clients(self) -> list[ClientConnection]:
        return [connection for hub in self.server.emulator.hubs for connection in hub.everyone()]

    async def has_no_client(self) -> None:
        async with asyncio.timeout(10):
            while self.clients:  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.02)

    async def has_clients(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self.clients:  # noqa: ASYNC110  (nothing tells)
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


async def asked(backend: FakeBackend, page: Page) -> FakeTurn:
    """A turn that the page has asked for, and that says what the test says."""

    async def silent(turn: FakeTurn) -> None:
        """The test speaks."""

    backend.script = silent
    await page.get_by_label("Your message").fill("hello")
    await page.keyboard.press("Enter")
    await expect(page.locator(".turn")).to_have_attribute("data-status", "running")
    return backend.turn()


async def shows(page: Page, text: str) -> None:
    await expect(page.locator(".answer .markdown").last).to_contain_text(text)


@pytest.mark.parametrize("closes", [True, False])
async def test_a_token_of_two_seconds_does_not_end_the_view(
    backend: FakeBackend, service: EmulatorService, open_page: OpenPage, closes: bool
) -> None:
    """Whether the service closes a connection with its token, or a cable breaks when the token is long expired."""
    service.faults(tokenLifetime=2, closeExpired=closes)
    page = await open_page()
    await page.goto(backend.url)
    await service.has_clients()
    turn = await asked(backend, page)
    said = []
    for number in range(3):
        said.append(f"part{number}")
        before = backend.negotiations
        await turn.say(said[-1] + " ")
        await shows(page, " ".join(said))
        if not closes:
            [connection] = service.clients
            async with asyncio.timeout(PATIENCE):
                while time.time() < connection.expires_at:  # noqa: ASYNC110  (a token expires by the clock)
                    await asyncio.sleep(0.05)
            assert service.clients == [connection]  # an open connection outlives its token
            connection.abort()
        async with asyncio.timeout(PATIENCE):
            while backend.negotiations == before:  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.02)
        await service.has_clients()
    await turn.say("end")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("part0 part1 part2 end")


async def test_while_negotiating_is_refused_the_text_comes_by_polling_and_then_signalr_takes_over(
    backend: FakeBackend, service: EmulatorService, open_page: OpenPage
) -> None:
    """The app's own negotiate says 503, then the service's 429 and 503."""
    backend.signalr = False
    service.faults(negotiations=[{"status": 429, "times": 1, "retryAfter": 1}, {"status": 503, "times": 1}])
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    for number in range(3):
        await turn.say(f"part{number} ")
        await shows(page, f"part{number}")
    assert service.clients == []
    backend.signalr = True
    await service.has_clients()
    assert service.server.emulator.faults.negotiations == []
    await turn.say("and live")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("part0 part1 part2 and live")


@pytest.mark.parametrize("goodbye", ["reconnect", "final"])
async def test_a_close_record_is_not_the_end_of_a_page_whatever_it_allows(
    backend: FakeBackend, service: EmulatorService, open_page: OpenPage, goodbye: str
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await service.has_clients()
    turn = await asked(backend, page)
    await turn.say("before ")
    await shows(page, "before")
    service.faults(disconnect=1, goodbye=goodbye)
    await turn.say("during ")
    service.faults()
    await service.has_clients()
    await turn.say("after")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("before during after")


async def test_a_tab_that_slept_for_an_hour_shows_the_whole_answer(
    backend: FakeBackend, service: EmulatorService, open_page: OpenPage
) -> None:
    """Its token expired and its connection broke, while the page's timers stood still."""
    page = await open_page()
    await page.clock.install()
    await page.goto(backend.url)
    await service.has_clients()
    turn = await asked(backend, page)
    await turn.say("before ")
    await page.clock.run_for(1000)
    await shows(page, "before")
    await page.clock.pause_at(await page.evaluate("Date.now() + 100"))
    service.faults(tokenLifetime=0)
    for connection in service.clients:
        connection.abort()
    await service.has_no_client()
    await turn.say("in the night ")
    await turn.end()
    service.faults()
    await page.clock.fast_forward("01:00:00")
    await page.clock.resume()
    await expect(page.locator(DONE)).to_contain_text("before in the night")
    await service.has_clients()


async def test_twenty_answers_through_the_worst_of_services_only_grow_and_come_out_whole(
    backend: FakeBackend, service: EmulatorService, open_page: OpenPage
) -> None:
    words = [f"w{number}" for number in range(25)]

    async def speak(turn: FakeTurn) -> None:
        for word in words:
            await turn.say(word + " ")
            await asyncio.sleep(0.01)
        await turn.end()

    backend.script = speak
    page = await open_page()
    await page.goto(backend.url)
    await service.has_clients()
    await page.evaluate(WATCH)
    service.faults(drop=0.2, duplicate=0.2, reorder=0.3, lateness=0.2, disconnect=0.02, seed=20270101)
    for number in range(1, 21):
        await page.get_by_label("Your message").fill(f"question {number}")
        await page.keyboard.press("Enter")
        await expect(page.locator(DONE)).to_have_count(number)
    whole = " ".join(words)
    paints: list[list[str]] = await page.evaluate("window.paints")
    assert len(paints) == 20
    for painted in paints:
        assert painted[-1] == whole
        for earlier, later in pairwise(painted):
            assert later.startswith(earlier)
    assert service.server.emulator.log.accepted > 0
    assert {message["outcome"] for message in service.server.emulator.log.messages()} > {"dropped", "duplicated"}


# Every text that was painted, of each answer.
WATCH = """() => {
  window.paints = [];
  new MutationObserver(() => {
    document.querySelectorAll('.answer .markdown').forEach((answer, index) => {
      const texts = (window.paints[index] ??= []);
      const text = answer.textContent.trim();
      if (text && text !== texts[texts.length - 1]) texts.push(text);
    });
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
