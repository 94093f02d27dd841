"""A real browser for tests.

Where there is no Chromium the tests that need one are reported as skipped, with this reason; on CI (`CI=true`) they
fail instead, because there a missing browser is a broken machine and not somebody's laptop.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Playwright, async_playwright

ARGUMENTS = [
    "--no-sandbox",  # containers run as root, where Chromium's sandbox does not start
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def find_chromium() -> str | None:
    """The browser to drive: `CHROMIUM` if it is set, else the first one on the path."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


def require_chromium() -> str:
    """The path of Chromium; without one, fail on CI and skip elsewhere."""
    path = find_chromium()
    if path is None:
        reason = "no Chromium: install one, or name it in the environment variable CHROMIUM"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A headless Chromium, closed with its driver at the end."""
    path = require_chromium()
    playwright: Playwright
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()
