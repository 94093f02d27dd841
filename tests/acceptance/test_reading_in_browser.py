"""A browser's own EventSource reads a turn: nothing is lost or doubled, whatever happens to the host."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from adapters.blob_journal import BlobJournal
from tests.browser import open_browser
from tests.chaos.promises import say, story
from tests.chat_client import ChatClient
from tests.conftest import NewStack
from tests.left_behind import ANSWER, LeftBehind
from tests.running_stack import RunningStack

pytestmark = pytest.mark.browser
TEXT = story("w", 60)
LISTEN = """(url) => {
  window.heard = [];
  window.opened = 0;
  window.source = new EventSource(url);
  window.source.onopen = () => (window.opened += 1);
  for (const kind of ['frame', 'restart', 'redact', 'wait', 'end', 'message'])
    window.source.addEventListener(kind, (event) =>
      window.heard.push({kind, id: event.lastEventId, ...JSON.parse(event.data)}));
}"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@pytest.fixture
async def store(stack: RunningStack) -> AsyncIterator[BlobJournal]:
    journal = BlobJournal.from_connection_string(stack.settings["AzureWebJobsStorage"])
    yield journal
    await journal.close()


async def visiting(browser: Browser, stack: RunningStack, client: ChatClient) -> Page:
    """A page of the app's origin, in the client's session, without a script of ours."""
    context = await browser.new_context()
    (session,) = [cookie.value for cookie in client.http.cookie_jar if cookie.key == "session"]
    await context.add_cookies([{"name": "session", "value": session, "url": stack.url}])
    page = await context.new_page()
    await page.goto(f"{stack.url}/assets/favicon.svg")
    return page


async def heard(page: Page) -> list[dict[str, Any]]:
    return await page.evaluate("window.heard")  # type: ignore[no-any-return]


async def until(page: Page, condition: str, seconds: float = 40) -> None:
    """Wait until this holds on the page, whose content security policy allows no strings to be run."""
    async with asyncio.timeout(seconds):
        await page.evaluate(
            f"""() => new Promise((resolve) => {{
              const timer = setInterval(() => {{ if ({condition}) {{ clearInterval(timer); resolve(); }} }}, 10);
            }})"""
        )


def text_of(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["text"] for frame in frames if frame["kind"] == "frame")


@pytest.mark.chaos
async def test_an_event_source_hears_every_character_once_though_the_host_was_killed(
    new_stack: NewStack, browser: Browser
):
    stack = new_stack()
    async with ChatClient(stack.url, signalr=False) as client:
        page = await visiting(browser, stack, client)
        turn_id, _, _ = await client.start_turn(say(TEXT, 80))
        await page.evaluate(LISTEN, f"/api/turns/{turn_id}/stream")
        await until(page, "window.heard.length >= 5")
        await asyncio.to_thread(stack.kill, "host")
        before = text_of(await heard(page))
        assert len(before) < len(TEXT), "the kill came after the answer"
        await until(page, "window.heard.some((event) => event.kind === 'end')")
        done = await client.wait_for(turn_id, "answered", "logged")
        frames = await heard(page)
        assert text_of(frames) == done["text"] == TEXT
        offset = 0
        for frame in frames:
            if frame["kind"] == "frame":
                assert (frame["generation"], frame["offset"]) == (1, offset)
                offset += len(frame["text"].encode("utf-16-le")) // 2
        assert frames[-1]["sha256"] == done["sha256"]
        assert done["attempts"] == 2
        assert await page.evaluate("window.opened") >= 2


async def test_an_event_source_that_has_heard_the_end_stays_away(stack: RunningStack, browser: Browser):
    """It asks once more, because the stream ended; the 204 closes it for good."""
    async with ChatClient(stack.url, signalr=False) as client:
        page = await visiting(browser, stack, client)
        done = await client.answer("#say short")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.headers.get("last-event-id", "")))
        await page.evaluate(LISTEN, f"/api/turns/{done['turnId']}/stream")
        await until(page, "window.source.readyState === EventSource.CLOSED")
        frames = await heard(page)
        assert [frame["kind"] for frame in frames].count("end") == 1
        assert text_of(frames) == "short"
        assert len(asked) == 2


@pytest.mark.parametrize("signalr", [True, False])
async def test_a_page_that_shows_a_silent_turn_brings_it_to_its_end(
    stack: RunningStack, browser: Browser, store: BlobJournal, signalr: bool
):
    """Nobody but the page asks; whether it hears of the rest from SignalR or polls for it."""
    async with ChatClient(stack.url, signalr=False) as client:
        left = LeftBehind(client, store, ago=25)
        await left.write(left.claim(), left.frame(ANSWER[:20]))
        await left.start()
        page = await visiting(browser, stack, client)
        if not signalr:
            await page.route("**/api/negotiate*", lambda route: route.abort())
        await page.goto(f"{stack.url}/?c={left.conversation}")
        await expect(page.locator(".answer[aria-busy=false] .markdown")).to_have_text(ANSWER, timeout=20_000)
