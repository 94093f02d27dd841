"""What the page's tests share: one browser for a module, one backend and one fresh profile for a test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page

from tests.browser import open_browser
from tests.web.fake_backend import WEB, FakeBackend, run_backend

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def web_is_installed() -> None:
    assert (WEB / "vendor" / "signalr.min.js").exists(), "web/vendor is missing: run `npm ci` in web/"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(web_is_installed: None) -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def backend() -> AsyncIterator[FakeBackend]:
    async with run_backend() as running:
        yield running


@asynccontextmanager
async def watched_page(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    """A page in a profile of its own that may not throw, and may not break the content security policy."""
    context = await browser.new_context(**options)
    complaints: list[str] = []

    def listen(page: Page) -> None:
        page.on("pageerror", lambda error: complaints.append(f"{error.name}: {error.message}"))
        page.on("console", note)

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    context.on("page", listen)
    context.set_default_timeout(10_000)
    try:
        yield await context.new_page()
    finally:
        await context.close()
    assert [line for line in complaints if "WebSocket" not in line and "ERR_" not in line] == []


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens pages, each in a profile of its own; all are closed with the test."""
    async with AsyncExitStack() as stack:

        async def open_one(**options: Any) -> Page:
            return await stack.enter_async_context(watched_page(browser, **options))

        yield open_one
