"""The chat page in a real Chromium, against a backend whose every record the test writes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, Route, expect

from tests.web.conftest import OpenPage
from tests.web.fake_backend import FakeBackend, FakeTurn, Message

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

DONE = ".answer[aria-busy=false]"
WAKES = "document.dispatchEvent(new Event('visibilitychange'))"


async def ask(page: Page, prompt: str) -> None:
    await page.get_by_label("Your message").fill(prompt)
    await page.keyboard.press("Enter")


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within 10 s: {what}"
        await asyncio.sleep(0.01)


async def connected(backend: FakeBackend) -> None:
    await until(lambda: len(backend.sockets) > 0, "SignalR is connected")


async def asked(backend: FakeBackend, page: Page, prompt: str = "hello") -> FakeTurn:
    """A turn that the page has asked for and the test may now write."""
    before = len(backend.turns)
    await ask(page, prompt)
    await until(lambda: len(backend.turns) > before, "the turn has begun")
    return backend.turn()


def speaking(*texts: str, pause: float = 0.01, **ending: Any) -> Callable[[FakeTurn], Awaitable[None]]:
    async def script(turn: FakeTurn) -> None:
        for text in texts:
            await turn.say(text)
            await asyncio.sleep(pause)
        await turn.end(**ending)

    return script


async def answer_text(page: Page) -> str:
    return await page.locator(".answer .markdown").last.inner_text()


# ---- the text


@pytest.mark.parametrize("signalr", [True, False])
async def test_an_answer_arrives_with_and_without_signalr(
    backend: FakeBackend, open_page: OpenPage, signalr: bool
) -> None:
    backend.signalr = signalr
    backend.script = speaking("Kon", "nichi", "wa")
    page = await open_page()
    await page.goto(backend.url)
    if signalr:
        await connected(backend)
    await ask(page, "hello")
    await expect(page.locator(DONE)).to_contain_text("Konnichiwa")
    assert bool(backend.sockets) is signalr


async def test_what_signalr_loses_doubles_and_reorders_changes_nothing(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    held: list[Message] = []
    count = 0

    def chaos(message: Message) -> list[Message]:
        nonlocal count
        count += 1
        if count % 5 == 0:
            return []
        if count % 3 == 0:
            held.append(message)
            return []
        arriving = [message, *held, *([message] if count % 2 else [])]
        held.clear()
        return arriving

    words = [f"word{index} " for index in range(60)]
    backend.on_the_way = chaos
    backend.script = speaking(*words)
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    await ask(page, "hello")
    await expect(page.locator(DONE)).to_be_visible()
    assert await answer_text(page) == "".join(words).strip()


async def test_a_lost_end_is_found_by_asking_after_silence(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.on_the_way = lambda message: [] if message[0] == "turnEnded" else [message]
    backend.script = speaking("all of it")
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    await ask(page, "hello")
    await expect(page.locator(DONE)).to_contain_text("all of it")


async def test_a_text_that_was_damaged_on_the_way_is_read_again(backend: FakeBackend, open_page: OpenPage) -> None:
    """The end's hash decides, not what happened to arrive first."""

    def damage(message: Message) -> list[Message]:
        target, arguments = message
        if target == "token" and arguments[0] == "true":
            return [(target, ["fals", arguments[1]])]
        return [message]

    backend.on_the_way = damage
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await until(lambda: any("/frames" in line for line in backend.requests), "the page has caught up")
    await asyncio.sleep(0.1)  # so that it hears the rest from SignalR alone
    await turn.say("It is ")
    await turn.say("true")
    await expect(page.locator(".answer")).to_contain_text("It is fals")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("It is true")


async def test_an_answer_that_cannot_be_verified_says_so(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    await turn.say("not what was hashed")
    await turn.end(sha256="0" * 64)
    await expect(page.locator(".turn-status")).to_contain_text("arrived damaged")
    await expect(page.get_by_role("button", name="Load again")).to_be_visible()


async def test_a_restart_and_a_redaction_are_shown(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await turn.say("a false start")
    await expect(page.locator(".answer")).to_contain_text("a false start")
    await turn.restart()
    await turn.say("The code is 1234.")
    await turn.redact(12, 4)
    await turn.say(" Keep it.")
    await turn.end("filtered", finish_reason="content_filter")
    await expect(page.locator(DONE)).to_contain_text("The code is ████. Keep it.")
    await expect(page.locator(".answer")).not_to_contain_text("false start")
    await expect(page.locator(".turn-status")).to_have_text(
        "The content filter withheld the rest of this answer.Rephrase"
    )


async def test_text_is_revealed_in_steps_and_is_all_there_soon_after_the_end(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    """500 pieces in a second: at least 20 paints, none later than half a second after the end."""
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await page.evaluate(
        """() => {
          window.paints = [];
          const markdown = document.querySelector(".answer .markdown");
          const seen = () => window.paints.push([Date.now(), markdown.textContent.length]);
          new MutationObserver(seen).observe(markdown, {subtree: true, childList: true, characterData: true});
        }"""
    )
    for _ in range(10):
        await turn.say("tick " * 50)
        await asyncio.sleep(0.1)
    await turn.end()
    ended = datetime.now(UTC).timestamp() * 1000
    await expect(page.locator(DONE)).to_be_visible()
    await asyncio.sleep(0.6)
    paints = await page.evaluate("window.paints")
    growing = [at for (at, length), (_, before) in zip(paints[1:], paints, strict=False) if length > before]
    assert len(growing) >= 20
    assert growing[-1] - ended <= 500


@pytest.mark.parametrize("how", ["setting", "reduced motion"])
async def test_text_appears_as_it_comes_when_motion_is_not_wanted(
    backend: FakeBackend, open_page: OpenPage, how: str
) -> None:
    backend.reveal_ms = 0 if how == "setting" else 33
    page = await open_page(reduced_motion="reduce" if how == "reduced motion" else "no-preference")
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await page.evaluate(
        """() => {
          window.lengths = [];
          const markdown = document.querySelector(".answer .markdown");
          const seen = () => window.lengths.push(markdown.textContent.length);
          new MutationObserver(seen).observe(markdown, {subtree: true, childList: true});
        }"""
    )
    await turn.say("x" * 400)
    await turn.end()
    await expect(page.locator(DONE)).to_be_visible()
    assert await page.evaluate("window.lengths[0]") >= 400


WATCH_DRAWING = """() => {
  const markdown = document.querySelector(".answer .markdown");
  window.gaps = [];
  window.redrawn = 0; // blocks drawn although three newer ones had begun
  new MutationObserver((changes) => {
    const blocks = [...markdown.children];
    for (const { target } of changes) {
      const block = target.nodeType === 1 ? target.closest(".block") : target.parentElement.closest(".block");
      if (block && blocks.indexOf(block) < window.begun - 3) window.redrawn += 1;
    }
    window.begun = blocks.length;
  }).observe(markdown, {subtree: true, childList: true, characterData: true});
  let last = performance.now();
  const frame = (now) => {
    window.gaps.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  window.begun = 0;
  requestAnimationFrame(frame);
}"""


async def test_a_long_answer_streams_without_dropped_frames(backend: FakeBackend, open_page: OpenPage) -> None:
    """100 KiB of mixed markdown: what is finished is not drawn again, so a step stays short to the end."""
    prose = "## Part\n\nSome *prose* with `code` and [a link](https://example.org).\n\n"
    section = prose + "```js\nlet x = 1;\n```\n\n- one\n- two\n\n"
    text = section * (100 * 1024 // len(section))
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await page.evaluate(WATCH_DRAWING)
    step = len(text) // 50
    for start in range(0, len(text), step):
        await turn.say(text[start : start + step])
        await asyncio.sleep(0.04)
    await turn.end()
    await expect(page.locator(DONE)).to_be_visible()
    assert await page.locator(".answer .block").count() == 4 * text.count("## Part")
    assert await page.evaluate("window.redrawn") == 0
    # The median, because other work on this machine takes frames too.
    gaps = sorted(await page.evaluate("window.gaps"))
    assert gaps[len(gaps) // 2] < 50


# ---- connections and reloads


async def test_a_reload_in_mid_answer_shows_the_text_so_far_and_goes_on(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page, "a question")
    await turn.say("The first half")
    await expect(page.locator(".answer")).to_contain_text("The first half")
    await page.reload()
    await expect(page.locator(".bubble")).to_have_text("a question")
    await expect(page.locator(".answer")).to_contain_text("The first half")
    await turn.say(" and the second.")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("The first half and the second.")
    await page.reload()
    await expect(page.locator(DONE)).to_contain_text("The first half and the second.")


@pytest.mark.parametrize("signalr", [True, False])
async def test_two_tabs_show_the_same(backend: FakeBackend, open_page: OpenPage, signalr: bool) -> None:
    backend.signalr = signalr
    first = await open_page()
    await first.goto(backend.url)
    turn = await asked(backend, first)
    second = await open_page()
    await second.goto(first.url)
    await turn.say("seen twice")
    await turn.end()
    for page in (first, second):
        await expect(page.locator(DONE)).to_contain_text("seen twice")
    later = await asked(backend, second, "asked in the second tab")
    await later.say("and seen in the first")
    await later.end()
    await expect(first.locator(DONE).last).to_contain_text("and seen in the first")


async def test_a_dropped_connection_negotiates_anew_and_the_answer_goes_on(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await turn.say("before, ")
    await backend.drop_connections()
    await turn.say("during, ")
    await expect(page.locator(".answer")).to_contain_text("during")
    await until(lambda: backend.negotiations >= 2 and len(backend.sockets) > 0, "a fresh token was asked for")
    await turn.say("after.")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("before, during, after.")


async def test_the_page_says_that_it_reconnects_after_three_seconds(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.signalr = False
    page = await open_page()
    await page.goto(backend.url)
    await expect(page.locator(".connection-status")).to_have_text("")
    await expect(page.locator(".connection-status")).to_contain_text("Reconnecting")
    backend.signalr = True
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator(".connection-status")).to_have_text("")


async def test_a_server_that_is_away_is_called_disconnected(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await turn.say("Half of it")
    await expect(page.locator(".answer")).to_contain_text("Half of it")
    await page.route("**/api/**", lambda route: route.abort())
    await backend.drop_connections()
    await turn.say(", and the rest.")
    await turn.end()
    await expect(page.locator(".connection-status")).to_contain_text("Disconnected")
    await page.unroute_all()
    await expect(page.locator(DONE)).to_contain_text("Half of it, and the rest.")
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator(".connection-status")).to_have_text("")


@pytest.mark.parametrize("event", ["dispatchEvent(new Event('online'))", WAKES])
async def test_a_page_that_wakes_does_not_wait_for_an_answer_that_will_never_come(
    backend: FakeBackend, open_page: OpenPage, event: str
) -> None:
    """The laptop was closed, the network is another one: the long poll that was asked is lost, and nobody says so."""
    backend.signalr = False
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    await turn.say("before, ")
    await expect(page.locator(".answer")).to_contain_text("before, ")
    swallowed = asyncio.Event()

    async def swallow_one(route: Route) -> None:
        if swallowed.is_set():
            await route.continue_()
        swallowed.set()  # it is neither answered nor refused

    await page.route("**/frames?*", swallow_one)
    await turn.say("meanwhile, ")
    await swallowed.wait()
    await turn.say("after.")
    await turn.end()
    await page.evaluate(event)
    await expect(page.locator(DONE)).to_contain_text("before, meanwhile, after.", timeout=5_000)


@pytest.mark.parametrize("signalr", [True, False])
async def test_a_server_that_answers_nothing_is_waited_for_and_not_the_model(
    backend: FakeBackend, open_page: OpenPage, signalr: bool
) -> None:
    """Frozen in mid-answer: its connections stay, its requests are neither answered nor refused."""
    backend.signalr = signalr
    page = await open_page()
    await page.goto(backend.url)
    if signalr:
        await connected(backend)
    turn = await asked(backend, page)
    await turn.say("before, ")
    await expect(page.locator(".answer")).to_contain_text("before, ")
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/api/**", hold)
    words = page.locator(".turn-status .words")
    await expect(words).to_have_text("waiting for the server", timeout=15_000)
    await expect(page.locator(".connection-status")).to_contain_text("Disconnected", timeout=20_000)
    await expect(words).to_have_text("waiting for the server")
    await page.unroute_all()
    await turn.say("after.")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("before, after.", timeout=20_000)


async def test_a_hidden_page_reads_on(backend: FakeBackend, open_page: OpenPage) -> None:
    """Also without SignalR: when it is looked at again, everything is there."""
    backend.signalr = False
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    await turn.say("seen, ")
    await expect(page.locator(".answer")).to_contain_text("seen, ")
    await page.evaluate("Object.defineProperty(document, 'visibilityState', {get: () => 'hidden', configurable: true})")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await turn.say("not seen.")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("seen, not seen.")


async def test_a_page_that_goes_offline_says_so_and_goes_on_when_it_is_back(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    turn = await asked(backend, page)
    await turn.say("on, ")
    await expect(page.locator(".answer")).to_contain_text("on, ")
    await page.context.set_offline(True)
    await expect(page.locator(".connection-status")).to_contain_text("Disconnected")
    await page.context.set_offline(False)
    await turn.say("off, on.")
    await turn.end()
    await expect(page.locator(DONE)).to_contain_text("on, off, on.")
    await expect(page.locator(".connection-status")).to_have_text("")


async def test_a_server_that_is_back_is_not_called_away_because_nobody_asks_it(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    """SignalR never broke, the turn is over, the reader does nothing: no request would come by itself."""
    backend.script = speaking("All of it.")
    page = await open_page()
    await page.goto(backend.url)
    await connected(backend)
    await ask(page, "hello")
    await expect(page.locator(DONE)).to_contain_text("All of it.")
    await page.route("**/api/**", lambda route: route.abort())
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator(".connection-status")).to_contain_text("Disconnected")
    await page.unroute_all()
    await expect(page.locator(".connection-status")).to_have_text("")


async def test_a_conversation_that_may_not_be_read_offers_to_sign_in(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.refuse_conversation = lambda: refusal(401, "Please sign in to see your conversations.")
    page = await open_page()
    await page.goto(f"{backend.url}/?c=mine")
    await expect(page.get_by_role("alert")).to_contain_text("Please sign in to see your conversations.")
    backend.refuse_conversation = lambda: None
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator(".invitation")).to_be_visible()


async def test_frames_that_cannot_be_read_for_a_while_are_read_later(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.signalr = False
    failures = 2

    def broken() -> bool:
        nonlocal failures
        failures -= 1
        return failures >= 0

    backend.break_frames = broken
    backend.script = speaking("patience")
    page = await open_page()
    await page.goto(backend.url)
    await ask(page, "hello")
    await expect(page.locator(DONE)).to_contain_text("patience")


async def test_a_turn_that_the_server_does_not_know_is_an_error_with_a_way_out(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    await turn.say("something")
    await expect(page.locator(".answer")).to_contain_text("something")
    del backend.turns[turn.turn_id]
    await expect(page.locator(".turn-status")).to_contain_text("This turn does not exist.")
    backend.turns[turn.turn_id] = turn
    await turn.end()
    await page.get_by_role("button", name="Load again").click()
    await expect(page.locator(DONE)).to_contain_text("something")


async def test_a_long_conversation_is_read_to_its_beginning_once(backend: FakeBackend, open_page: OpenPage) -> None:
    for index in range(45):
        await backend.store("long", f"question {index}", status="completed", text=f"answer {index}").end()
    page = await open_page()
    await page.goto(f"{backend.url}/?c=long")
    await expect(page.locator(".bubble")).to_have_text([f"question {index}" for index in range(45)])
    await expect(page.locator(".answer .markdown").first).to_have_text("answer 0")
    turn = await asked(backend, page, "question 45")
    await turn.say("answer 45")
    await turn.end()
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator(".bubble")).to_have_text([f"question {index}" for index in range(46)])
    assert len([line for line in backend.requests if "before=" in line]) == 2


async def test_a_turn_that_waits_for_an_earlier_one_says_so(backend: FakeBackend, open_page: OpenPage) -> None:
    earlier = backend.store("queue", "first")
    later = backend.store("queue", "second")
    page = await open_page()
    await page.goto(f"{backend.url}/?c=queue")
    await expect(page.locator(".turn-status .words")).to_have_text(
        ["waiting for the model", "an earlier answer comes first"]
    )
    await earlier.say("one")
    await earlier.end()
    await later.say("two")
    await later.end()
    await expect(page.locator(".answer .markdown")).to_have_text(["one", "two"])


# ---- sending


async def test_a_message_goes_out_again_under_the_same_key_after_a_network_error(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    backend.refuse_turn = lambda count: web.Response(status=503) if count == 1 else None
    backend.script = speaking("once")
    page = await open_page()
    await page.goto(backend.url)
    await ask(page, "hello")
    await expect(page.locator(DONE)).to_contain_text("once")
    assert len(backend.posts) == 2
    assert len(set(backend.posts)) == 1


async def test_a_message_that_was_on_its_way_at_a_reload_becomes_one_turn(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    """The POST arrived, its answer did not: the same key finds the same turn."""
    backend.refuse_turn = lambda count: web.Response(status=503)
    page = await open_page()
    await page.goto(backend.url)
    await ask(page, "hello")
    await until(lambda: len(backend.posts) > 0, "it was sent")
    await page.reload()
    backend.refuse_turn = lambda count: None
    backend.script = speaking("once")
    await expect(page.locator(DONE)).to_contain_text("once")
    assert len(backend.turns) == 1
    assert len(set(backend.posts)) == 1
    await expect(page.locator(".turn")).to_have_count(1)


def refusal(status: int, message: str, code: str = "refused", **headers: str) -> web.Response:
    body = json.dumps({"error": {"code": code, "message": message}})
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)


async def test_a_limit_counts_down_and_then_a_new_key_is_used(backend: FakeBackend, open_page: OpenPage) -> None:
    limit = {"Retry-After": "2"}
    backend.refuse_turn = lambda count: refusal(429, "Too many messages at once.", **limit) if count == 1 else None
    backend.script = speaking("at last")
    page = await open_page()
    await page.goto(backend.url)
    await ask(page, "hello")
    await expect(page.locator(".turn-status")).to_contain_text("Too many messages at once.")
    await expect(page.get_by_role("button", name="Try again in")).to_be_visible()
    await page.get_by_role("button", name="Try again", exact=True).click()
    await expect(page.locator(DONE)).to_contain_text("at last")
    assert len(set(backend.posts)) == 2
    await expect(page.locator(".turn")).to_have_count(1)


async def test_a_message_that_is_too_long_comes_back_to_be_shortened(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.refuse_turn = lambda count: refusal(413, "The message has 70000 characters; 60000 are allowed.")
    page = await open_page()
    await page.goto(backend.url)
    await ask(page, "a very long message")
    await page.get_by_role("button", name="Shorten").click()
    await expect(page.get_by_label("Your message")).to_have_value("a very long message")
    await expect(page.get_by_label("Your message")).to_be_focused()
    await expect(page.locator(".turn")).to_have_count(0)


async def test_a_failed_turn_says_why_and_try_again_asks_anew(backend: FakeBackend, open_page: OpenPage) -> None:
    error = {"code": "stalled", "message": "The model fell silent.", "retryable": True}
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page, "a question")
    await turn.say("The beginning")
    await turn.end("failed", finish_reason=None, error=error)
    await expect(page.locator(".turn-status")).to_contain_text("This answer broke off. The model fell silent.")
    await page.reload()
    await expect(page.locator(".turn-status")).to_contain_text("This answer broke off. The model fell silent.")
    backend.script = speaking("The whole")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(DONE).last).to_contain_text("The whole")
    assert len(set(backend.posts)) == 2
    await expect(page.locator(".bubble").last).to_have_text("a question")


async def test_waiting_tells_until_when_and_why(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    await turn.wait((datetime.now(UTC) + timedelta(seconds=60)).isoformat())
    await expect(page.locator(".turn-status .words")).to_contain_text("the service is busy")
    assert (await page.locator(".turn-status .words").inner_text()).startswith("waiting until ")


# ---- writing


async def test_enter_sends_shift_enter_breaks_the_line_and_composing_does_neither(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(backend.url)
    box = page.get_by_label("Your message")
    await box.fill("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await expect(box).to_have_value("one\ntwo")
    await box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    assert backend.posts == []
    await page.keyboard.press("Enter")
    await expect(page.locator(".bubble")).to_have_text("one\ntwo")
    await expect(box).to_have_value("")


async def test_the_composer_grows_up_to_eight_lines(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    box = page.get_by_label("Your message")
    heights = []
    for lines in (1, 3, 8, 30):
        await box.fill("\n".join(["line"] * lines))
        heights.append(await box.evaluate("element => element.clientHeight"))
    assert heights[0] < heights[1] < heights[2] == heights[3]


async def test_a_draft_survives_a_reload_and_a_running_turn(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    await page.get_by_label("Your message").fill("not yet sent")
    await page.keyboard.press("Enter")
    hint = page.locator(".composer-hint[role=status]")
    await expect(hint).to_have_text(
        "One answer at a time: press Enter again when this one is done, or Escape to stop it."
    )
    await page.reload()
    await expect(page.get_by_label("Your message")).to_have_value("not yet sent")
    await turn.end()
    assert len(backend.posts) == 1


async def test_arrow_up_in_an_empty_composer_brings_back_the_last_prompt(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    backend.script = speaking("yes")
    page = await open_page()
    await page.goto(backend.url)
    await ask(page, "my last prompt")
    await expect(page.locator(DONE)).to_be_visible()
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_label("Your message")).to_have_value("my last prompt")


async def test_the_address_holds_the_conversation_and_back_works(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.script = speaking("yes")
    page = await open_page()
    await page.goto(backend.url)
    await ask(page, "in the first")
    await expect(page.locator(DONE)).to_be_visible()
    first = page.url
    assert "?c=" in first
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator(".turn")).to_have_count(0)
    await expect(page.locator(".invitation")).to_be_visible()
    assert page.url != first
    await page.go_back()
    await expect(page.locator(".bubble")).to_have_text("in the first")
    assert page.url == first


async def test_the_empty_page_offers_three_prompts(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.script = speaking("tea")
    page = await open_page()
    await page.goto(backend.url)
    offers = page.locator(".invitation button")
    await expect(offers).to_have_count(3)
    wanted = await offers.nth(1).inner_text()
    await offers.nth(1).click()
    await expect(page.locator(".bubble")).to_have_text(wanted)
    await expect(page.locator(".invitation")).to_be_hidden()


# ---- looks, safety, access


async def test_each_line_of_a_question_has_its_own_direction(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.store("lines", "In English.\nשלום!")
    page = await open_page()
    await page.goto(f"{backend.url}/?c=lines")
    await expect(page.locator(".bubble")).to_contain_text("In English.")
    left_of = """(bubble, index) => {
        const range = document.createRange();
        range.setStart(bubble.firstChild, index);
        range.setEnd(bubble.firstChild, index + 1);
        return range.getBoundingClientRect().left;
    }"""
    bubble = page.locator(".bubble")
    first, end = await bubble.evaluate(left_of, 12), await bubble.evaluate(left_of, 16)
    assert end < first, "the exclamation mark ends a line that runs from right to left"


HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 1">

![pixel](https://evil.example/p.png) [link](https://example.org) [bad](javascript:window.hacked=1) [rel](/api/x)

<a href="https://example.org" onclick="window.hacked=1">x</a> <style>body{display:none}</style>

| left | right |
|:--|--:|
| a | 1 |

```html
<b onclick="window.hacked = 1">code</b>
```
"""


async def test_hostile_text_stays_text(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.script = speaking(HOSTILE)
    page = await open_page()
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    await page.goto(backend.url)
    await ask(page, "<img src=x onerror='window.hacked = 1'>")
    await expect(page.locator(DONE)).to_be_visible()
    await expect(page.locator(".bubble")).to_have_text("<img src=x onerror='window.hacked = 1'>")
    assert await page.evaluate("window.hacked") is None
    await expect(page.locator(".message-list :is(img, script, style, [onclick])")).to_have_count(0)
    links = await page.locator(".markdown a").evaluate_all(
        "all => all.map(a => [a.textContent, a.getAttribute('href')])"
    )
    assert links == [
        ["pixel", "https://evil.example/p.png"],
        ["link", "https://example.org"],
        ["bad", None],
        ["rel", None],
    ]
    link = page.locator(".markdown a", has_text="link")
    assert await link.get_attribute("rel") == "noopener noreferrer"
    assert await link.get_attribute("target") == "_blank"
    assert await page.locator(".markdown td").last.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
    hosts = backend.url, backend.url.replace("http", "ws")
    assert [url for url in elsewhere if not url.startswith(hosts)] == []


async def test_code_can_be_copied(backend: FakeBackend, open_page: OpenPage) -> None:
    backend.script = speaking("```python\nprint('hi')\n", "print('again')\n```\n")
    page = await open_page(permissions=["clipboard-read", "clipboard-write"])
    await page.goto(backend.url)
    await ask(page, "code")
    await expect(page.locator(DONE)).to_be_visible()
    await expect(page.locator(".code-block figcaption span")).to_have_text("python")
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "print('hi')\nprint('again')"


async def test_the_list_follows_its_end_only_while_the_reader_is_there(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    page = await open_page(viewport={"width": 800, "height": 500})
    await page.goto(backend.url)
    turn = await asked(backend, page)
    at_end = "(s => s.scrollHeight - s.scrollTop - s.clientHeight < 2)(document.querySelector('.conversation'))"
    for index in range(30):
        await turn.say(f"Paragraph {index}\n\n")
    await expect(page.locator(".answer")).to_contain_text("Paragraph 29")
    await page.wait_for_function(at_end)
    await expect(page.get_by_role("button", name="Go to the end")).to_be_hidden()
    await page.locator(".conversation").hover()
    await page.mouse.wheel(0, -400)
    await expect(page.get_by_role("button", name="Go to the end")).to_be_visible()
    top = await page.evaluate("document.querySelector('.conversation').scrollTop")
    for index in range(30, 40):
        await turn.say(f"Paragraph {index}\n\n")
    await expect(page.locator(".answer")).to_contain_text("Paragraph 39")
    assert await page.evaluate("document.querySelector('.conversation').scrollTop") == top
    await page.get_by_role("button", name="Go to the end").click()
    await page.wait_for_function(at_end)
    await turn.end()


async def test_a_phone_scrolls_nothing_sideways_and_its_controls_are_large(
    backend: FakeBackend, open_page: OpenPage
) -> None:
    backend.script = speaking("word" * 100, "\n\n```\n", "x" * 300, "\n```\n\n|a|b|c|d|e|\n|-|-|-|-|-|\n|1|2|3|4|5|\n")
    page = await open_page(viewport={"width": 360, "height": 640}, has_touch=True)
    await page.goto(backend.url)
    await ask(page, "https://example.org/" + "long" * 50)
    await expect(page.locator(DONE)).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    assert await page.evaluate(
        "document.querySelector('.conversation').scrollWidth <= document.querySelector('.conversation').clientWidth"
    )
    for button in await page.locator("header button, footer button:visible").all():
        box = await button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
    size = await page.get_by_label("Your message").evaluate("element => getComputedStyle(element).fontSize")
    assert size == "16px"


@pytest.mark.parametrize("width", [320, 360])
async def test_a_phone_shows_the_first_screen_from_its_beginning(
    backend: FakeBackend, open_page: OpenPage, width: int
) -> None:
    page = await open_page(viewport={"width": width, "height": 480}, has_touch=True)
    await page.goto(backend.url)
    await expect(page.locator(".invitation")).to_be_visible()
    header = await page.locator(".page-header").bounding_box()
    heading = await page.locator(".invitation h2").bounding_box()
    assert header is not None
    assert heading is not None
    assert heading["y"] >= header["y"] + header["height"]
    await expect(page.get_by_role("button", name="Go to the end")).to_be_hidden()
    title_end = """() => {
      const range = document.createRange();
      range.selectNodeContents(document.querySelector("h1"));
      return range.getBoundingClientRect().right;
    }"""
    button = await page.get_by_role("button", name="New conversation").bounding_box()
    assert button is not None
    assert await page.evaluate(title_end) <= button["x"]


@pytest.mark.parametrize("system", ["light", "dark"])
async def test_the_theme_follows_the_system_until_it_is_chosen(
    backend: FakeBackend, open_page: OpenPage, system: Any
) -> None:
    page = await open_page(color_scheme=system)
    await page.goto(backend.url)
    paper = "getComputedStyle(document.body).backgroundColor"
    before = await page.evaluate(paper)
    switch = page.get_by_role("button", name="Dark theme")
    await expect(switch).to_have_attribute("aria-pressed", str(system == "dark").lower())
    await switch.click()
    after = await page.evaluate(paper)
    assert before != after
    await page.reload()
    assert await page.evaluate(paper) == after


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const paper = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const speaks = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!speaks || !node.checkVisibility() || node.closest(".visually-hidden, noscript")) continue;
    const [one, two] = [light(rgb(getComputedStyle(node).color)), light(paper(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) poor.push(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_all_text_can_be_read(backend: FakeBackend, open_page: OpenPage, theme: Any) -> None:
    """Contrast of at least 4.5:1, muted text, notices and code included."""
    page = await open_page(color_scheme=theme, reduced_motion="reduce")
    await page.goto(backend.url)
    assert await page.evaluate(CONTRAST) == []
    turn = await asked(backend, page)
    await turn.say("Text, `code`, [a link](https://example.org)\n\n> quoted\n\n```js\nlet x;\n```\n\n|a|\n|-|\n|b|\n")
    await turn.end("filtered")
    await expect(page.locator(DONE)).to_be_visible()
    failing = await asked(backend, page)
    await failing.end("failed", error={"code": "x", "message": "No."})
    await expect(page.locator(DONE)).to_have_count(2)
    assert await page.evaluate(CONTRAST) == []


async def test_a_screen_reader_is_told_when_the_answer_is_complete(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    turn = await asked(backend, page)
    await expect(page.get_by_role("log")).to_be_visible()
    await turn.say("half")
    await expect(page.locator(".answer[aria-busy=true]")).to_contain_text("half")
    await expect(page.locator(".announcer")).to_have_text("")
    await turn.end()
    await expect(page.locator(".announcer")).to_have_text("The answer is complete.")
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    await expect(page.get_by_label("Your message")).to_be_focused()  # focus never moved


async def test_every_control_has_a_name_and_is_reached_by_keyboard(backend: FakeBackend, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(backend.url)
    await expect(page.locator(".invitation")).to_be_visible()
    names = await page.locator("button:visible, textarea").evaluate_all(
        "all => all.map(b => b.ariaLabel || b.textContent.trim())"
    )
    assert all(names)
    reached = set()
    for _ in range(len(names) + 3):
        await page.keyboard.press("Tab")
        reached.add(
            await page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()")
        )
    assert set(names) <= reached
