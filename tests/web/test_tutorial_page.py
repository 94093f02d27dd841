"""The tutorial's page, as its readers know it: Send, and tokens appear in the log."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import OpenPage
from tests.web.fake_backend import FakeBackend, FakeTurn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def opened(backend: FakeBackend, open_page: OpenPage) -> Page:
    page = await open_page()
    await page.goto(f"{backend.url}/assets/tutorial.html")
    await expect(page.get_by_role("status")).to_have_text("connected")
    return page


async def test_tokens_are_appended_under_the_prompt(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await opened(backend, open_page)
    lengths: list[int] = []

    async def script(turn: FakeTurn) -> None:
        for piece in ("old ", "pond <b>", "frog</b>"):
            await turn.say(piece)
            await asyncio.sleep(0.1)
            lengths.append(len(await page.locator("pre").inner_text()))
        await turn.end()

    backend.script = script
    await expect(page.get_by_label("Base URL")).to_have_value(backend.url)
    await page.get_by_label("Prompt").fill("a haiku")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("pre")).to_have_text(">> a haiku\n\nold pond <b>frog</b>")
    assert lengths == sorted(set(lengths))
    await page.get_by_role("button", name="Clear").click()
    await expect(page.locator("pre")).to_have_text("")


async def test_the_prompt_asks_for_a_haiku_unless_it_is_changed(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await opened(backend, open_page)
    await expect(page.get_by_label("Prompt")).to_have_value("春の俳句を一つ詠んでください")


async def test_a_lost_connection_comes_back_with_a_fresh_token(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await opened(backend, open_page)
    before = backend.negotiations
    await backend.drop_connections()
    await expect(page.get_by_role("status")).to_have_text("reconnecting")
    await expect(page.get_by_role("status")).to_have_text("connected")
    assert backend.negotiations > before


async def test_what_the_server_refuses_is_seen(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await opened(backend, open_page)
    await page.get_by_label("Base URL").fill(f"{backend.url}/elsewhere")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("pre")).to_contain_text("[error]")
    await expect(page.get_by_role("status")).to_have_text("disconnected")
