"""Stop on the page, in a real Chromium: where Send was, with Escape, at every moment of a turn."""

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from playwright.async_api import Page, expect

from tests.web.conftest import OpenPage
from tests.web.fake_backend import FakeBackend
from tests.web.test_page_in_browser import DONE, ask, asked, connected, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def opened(backend: FakeBackend, open_page: OpenPage) -> Page:
    page = await open_page()
    await page.goto(backend.url)
    if backend.signalr:
        await connected(backend)
    return page


async def is_stopped(page: Page, words: str) -> None:
    await expect(page.locator(".turn").last).to_have_attribute("data-status", "stopped")
    await expect(page.locator(".turn-status .words").last).to_have_text(words)
    await expect(page.locator(".announcer")).to_have_text(words)
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


@pytest.mark.parametrize("signalr", [True, False])
async def test_the_button_that_sent_stops_and_what_was_shown_stays(
    backend: FakeBackend, open_page: OpenPage, signalr: bool
) -> None:
    backend.signalr = signalr
    page = await opened(backend, open_page)
    turn = await asked(backend, page)
    await turn.say("The first words")
    await expect(page.locator(".answer")).to_contain_text("The first words")
    await page.get_by_role("button", name="Stop", exact=True).click()
    await is_stopped(page, "Stopped here.")
    assert backend.stops == [turn.turn_id]
    await expect(page.locator(".answer .markdown")).to_have_text("The first words")
    await page.reload()
    await expect(page.locator(".turn-status .words")).to_have_text("Stopped here.")
    await expect(page.locator(".answer .markdown")).to_have_text("The first words")


async def test_escape_stops_before_the_first_word_and_the_next_question_can_be_asked(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    """A model that hangs keeps nobody from going on."""
    page = await opened(backend, open_page)
    await asked(backend, page, "one")
    await page.keyboard.type("two, written meanwhile")
    await page.keyboard.press("Enter")  # waits, and does not stop
    assert (len(backend.turns), backend.stops) == (1, [])
    await page.keyboard.press("Escape")
    await is_stopped(page, "Stopped before the answer began.")
    await expect(page.get_by_label("Your message")).to_be_focused()
    await page.keyboard.press("Enter")
    await until(lambda: len(backend.turns) == 2, "the second turn has begun")
    assert backend.turn().prompt == "two, written meanwhile"


async def test_a_wait_that_the_service_asked_for_is_shown_with_its_seconds_and_can_be_stopped(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await opened(backend, open_page)
    turn = await asked(backend, page)
    await turn.wait((datetime.now(UTC) + timedelta(seconds=30)).isoformat())
    words = page.locator(".turn-status .words")
    await expect(words).to_contain_text("s): the service is busy", timeout=1500)  # at once, not after a silence
    first = int((await words.inner_text()).split("(")[1].split(" ")[0])
    assert 25 < first <= 30
    await expect(words).not_to_contain_text(f"({first} s)")  # it counts down
    await page.get_by_role("button", name="Stop", exact=True).click()
    await is_stopped(page, "Stopped before the answer began.")


async def test_a_stop_on_its_way_shows_and_is_repeated_until_it_is_answered(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await opened(backend, open_page)
    turn = await asked(backend, page)
    await turn.say("Some")
    backend.refuse_stop = lambda count: web.Response(status=503) if count < 3 else None
    await page.get_by_role("button", name="Stop", exact=True).click()
    button = page.get_by_role("button", name="Stopping")
    await expect(button).to_have_attribute("aria-disabled", "true")
    await expect(button).to_be_focused()
    await expect(page.locator(".turn-status .words")).to_contain_text("stopping")
    await is_stopped(page, "Stopped here.")
    assert backend.stops == [turn.turn_id] * 3
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_focused()


async def test_a_stop_that_is_stored_but_not_yet_done_is_waited_for(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await opened(backend, open_page)
    turn = await asked(backend, page)
    backend.refuse_stop = lambda count: web.json_response({"status": "running"}, status=202) if count == 1 else None
    await page.keyboard.press("Escape")
    await is_stopped(page, "Stopped before the answer began.")
    assert backend.stops == [turn.turn_id] * 2


async def test_a_stop_that_comes_too_late_leaves_the_whole_answer(backend: FakeBackend, open_page: OpenPage) -> None:
    """Its end was lost on the way; the 409 makes the page read it at once."""
    backend.on_the_way = lambda message: [] if message[0] == "turnEnded" else [message]
    page = await opened(backend, open_page)
    turn = await asked(backend, page)
    await turn.say("All of it")
    await expect(page.locator(".answer")).to_contain_text("All of it")
    await turn.end()
    await page.keyboard.press("Escape")
    await expect(page.locator(DONE)).to_contain_text("All of it", timeout=1500)
    await expect(page.locator(".turn")).to_have_attribute("data-status", "completed")
    await expect(page.locator(".turn-status")).to_be_hidden()


async def test_a_stop_that_is_refused_says_why_and_the_answer_goes_on(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    error = {"code": "foreign_origin", "message": "Not from here."}
    backend.refuse_stop = lambda count: web.json_response({"error": error}, status=403)
    page = await opened(backend, open_page)
    turn = await asked(backend, page)
    await page.keyboard.press("Escape")
    await expect(page.locator(".turn-status .words")).to_have_text("this could not be stopped: Not from here.")
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await turn.say("It goes on")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("It goes on")


async def test_a_message_that_is_still_being_sent_is_stopped_when_the_server_has_it(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    backend.refuse_turn = lambda count: web.Response(status=503) if count == 1 else None
    page = await opened(backend, open_page)
    await ask(page, "too hasty")
    await page.keyboard.press("Escape")
    await is_stopped(page, "Stopped before the answer began.")
    assert backend.stops == [backend.turn().turn_id]


async def test_a_double_click_on_send_does_not_stop_and_escape_without_a_turn_does_nothing(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await opened(backend, open_page)
    await page.keyboard.press("Escape")
    await page.get_by_label("Your message").fill("hello")
    await page.get_by_role("button", name="Send", exact=True).dblclick()
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await backend.turn().say("an answer")
    await expect(page.locator(".answer")).to_contain_text("an answer")
    assert backend.stops == []


async def test_stop_stops_what_is_being_written_and_not_what_waits_behind_it(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    """The second was asked from another device."""
    page = await opened(backend, open_page)
    first = await asked(backend, page)
    await first.say("one")
    await expect(page.locator(".turn")).to_have_attribute("data-status", "running")
    second = backend.store(first.conversation_id, "asked elsewhere")
    await backend.broadcast("turnStarted", [{**second.ids, "generation": 1}])
    await expect(page.locator(".turn")).to_have_count(2)
    await page.keyboard.press("Escape")
    await expect(page.locator(".turn").first).to_have_attribute("data-status", "stopped")
    await expect(page.locator(".turn").last).to_have_attribute("data-status", "running")
    assert backend.stops == [first.turn_id]
    await page.keyboard.press("Escape")
    await expect(page.locator(".turn").last).to_have_attribute("data-status", "stopped")
