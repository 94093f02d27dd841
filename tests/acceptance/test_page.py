"""The page in a real browser, on the whole stack."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser import open_browser
from tests.chat_client import ChatClient
from tests.conftest import NewStack
from tests.log_reader import read_records
from tests.running_stack import RunningStack

pytestmark = pytest.mark.browser
MIXED = "👩‍👩‍👧‍👦 漢字かな مرحبا بالعالم 🇯🇵👍🏽 naïve café"
# How the answer of the last turn grew: every text that was painted.
WATCH = """() => {
  window.paints = [];
  new MutationObserver(() => {
    const answers = document.querySelectorAll('[data-role="assistant"] .markdown, .answer .markdown');
    const text = answers.length ? answers[answers.length - 1].textContent : '';
    if (text && text !== window.paints[window.paints.length - 1]) window.paints.push(text);
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


async def ask(page: Page, prompt: str) -> None:
    await page.fill("textarea", prompt)
    await page.keyboard.press("Enter")


async def answer_of(page: Page) -> str:
    return (await page.locator(".markdown").last.inner_text()).strip()


async def finished(page: Page) -> None:
    """The answer is complete: nothing on the page is busy any more."""
    await expect(page.locator('[aria-busy="true"]')).to_have_count(0, timeout=30_000)
    await expect(page.locator(".markdown").last).not_to_be_empty()


async def turn_of(page: Page, stack: RunningStack) -> Any:
    """The status of the conversation's last turn, asked with the page's own session."""
    return await page.evaluate(
        """async () => {
          const id = new URL(location).searchParams.get('c');
          const talk = await (await fetch(`/api/conversations/${id}`)).json();
          const turn = talk.messages[talk.messages.length - 1].turnId;
          return {talk, status: await (await fetch(`/api/turns/${turn}`)).json()};
        }"""
    )


async def test_an_answer_grows_on_the_page_and_is_what_was_stored_and_logged(stack: RunningStack, browser: Browser):
    page = await browser.new_page()
    await page.goto(stack.url)
    await page.evaluate(WATCH)
    await ask(page, "#length 600\n#speed 100\n#first 0")
    await expect(page.locator('[aria-busy="true"]').first).to_be_attached(timeout=10_000)
    await finished(page)
    paints = await page.evaluate("window.paints")
    assert len(paints) >= 5
    for before, after in itertools.pairwise("".join(paint.split()) for paint in paints):
        assert after.startswith(before)
    seen = await turn_of(page, stack)
    status, talk = seen["status"], seen["talk"]
    assert "".join((await answer_of(page)).split()) == "".join(status["text"].split())
    assert talk["messages"][-1]["content"] == status["text"]
    (record,) = await read_records(stack.settings, {status["turnId"]})
    assert record["content"] == status["text"]


async def test_every_script_arrives_on_the_page(stack: RunningStack, browser: Browser):
    page = await browser.new_page()
    await page.goto(stack.url)
    await ask(page, f"#say {MIXED}\n#split surrogates")
    await finished(page)
    assert await answer_of(page) == MIXED


async def test_an_answer_of_100_kib_arrives_on_the_page(stack: RunningStack, browser: Browser):
    page = await browser.new_page()
    await page.goto(stack.url)
    await ask(page, "#length 102400\n#speed max\n#first 0")
    await finished(page)
    seen = await turn_of(page, stack)
    assert "".join((await answer_of(page)).split()) == "".join(seen["status"]["text"].split())


async def test_a_reload_in_mid_answer_and_a_second_tab_show_the_same(stack: RunningStack, browser: Browser):
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(stack.url)
    await ask(page, "#length 900\n#speed 80\n#first 0")
    await expect(page.locator(".markdown").last).not_to_be_empty(timeout=10_000)
    other = await context.new_page()
    await other.goto(page.url)
    before = await answer_of(page)
    await page.reload()
    # What was on screen was stored before: all of it comes back, and the answer goes on from there.
    await expect(page.locator(".markdown").last).to_contain_text(before, use_inner_text=True, timeout=10_000)
    await asyncio.gather(finished(page), finished(other))
    seen = await turn_of(page, stack)
    for tab in (page, other):
        assert "".join((await answer_of(tab)).split()) == "".join(seen["status"]["text"].split())


@pytest.mark.chaos
async def test_a_model_that_hangs_is_stopped_with_escape_and_the_next_question_is_answered(
    stack: RunningStack, browser: Browser
):
    page = await browser.new_page()
    await page.goto(stack.url)
    await ask(page, "Are you there?\n#fault hang")
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await expect(page.locator(".turn")).to_have_attribute("data-status", "running")
    await page.keyboard.press("Escape")
    await expect(page.locator(".turn-status .words")).to_have_text("Stopped before the answer began.")
    found = await turn_of(page, stack)
    assert (found["status"]["status"], found["status"]["text"]) == ("stopped", "")
    await ask(page, "#say Here I am")
    await expect(page.locator(".markdown").last).to_have_text("Here I am", timeout=30_000)
    await expect(page.locator(".turn").last).to_have_attribute("data-status", "completed")


async def test_a_wait_for_a_busy_service_shows_its_seconds_and_ends_at_a_press_of_stop(
    stack: RunningStack, browser: Browser
):
    page = await browser.new_page()
    await page.goto(stack.url)
    await ask(page, "Now?\n#fault 429 times=always retry_after=60")
    words = page.locator(".turn-status .words")
    await expect(words).to_have_text(re.compile(r"waiting until \d\d:\d\d:\d\d \(5\d s\): the service is busy"))
    await page.get_by_role("button", name="Stop", exact=True).click()
    await expect(words).to_have_text("Stopped before the answer began.")
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


async def test_without_signalr_the_page_completes_by_polling(new_stack: NewStack, browser: Browser):
    stack = new_stack(options=("--free-ports", "--no-restart"))
    page = await browser.new_page()
    await page.goto(stack.url)
    await ask(page, "#length 900\n#speed 80\n#first 0")
    await expect(page.locator(".markdown").last).not_to_be_empty(timeout=10_000)
    stack.kill("signalr")
    await finished(page)
    seen = await turn_of(page, stack)
    assert "".join((await answer_of(page)).split()) == "".join(seen["status"]["text"].split())
    assert seen["status"]["status"] == "completed"


async def test_the_first_tutorials_page_works(stack: RunningStack, browser: Browser):
    page = await browser.new_page()
    await page.goto(f"{stack.url}/assets/tutorial.html")
    await page.locator("textarea, input[name=prompt], #prompt").last.fill("#say はい、俳句です。")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("pre")).to_contain_text("はい、俳句です。", timeout=10_000)


async def test_a_broadcast_reaches_the_user_it_names_alone(stack: RunningStack):
    body = {"message": "hi", "userId": "user-nobody"}
    async with (
        ChatClient(stack.url, signalr=False) as sender,
        ChatClient(stack.url) as other,
        sender.http.post("/api/broadcast", json=body) as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "OK")
        assert other.messages == {}
