"""`make demo-crash`: the host is killed in mid-answer, before two clients of one and the same turn.

One follows `docs/wire-protocol.md`, as the page does: a frame goes to its offset, once. The other does what is usual:
it appends what comes, and when the connection breaks it asks again and appends what comes then. With a screen the first
one is the page itself, in a browser.

The exit code is 0 only if the first one was whole: every character, none twice, nothing taken back.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Protocol

from yarl import URL

from tests.browser import ARGUMENTS, find_chromium
from tests.chaos.screen import RETRY_SECONDS, Visitor
from tests.chaos.watchers import OUTAGE
from tests.chat_client import ChatClient
from tests.conftest import deployed_copy
from tests.running_stack import RunningStack

ANSWER = (
    "A lantern keeps its light through a storm because its keeper writes each step down before she takes it. "
    "When the wind throws her off the stairs, she reads where she was, climbs up to there, and goes on from that step, "
    "so nobody sees it now."
)
TOKENS_PER_SECOND = 14
KILL_AT = 120  # characters on screen
PATIENCE = 90.0
OURS, PLAIN = "this project", "a plain client"
NARROWEST = 78  # columns of a terminal that hold two texts side by side
TOLD = {"ended as": "status", "attempts": "attempts", "generation": "generation", "recovery rung": "recoveryRung"}
Print = Callable[[str], None]


@dataclass(slots=True)
class Shown:
    """What one client has on screen, and all it ever had."""

    name: str
    text: str = ""
    took_back: bool = False
    shown_at: list[float] = field(default_factory=list)  # one for each change

    def show(self, text: str) -> None:
        if text != self.text:
            self.took_back = self.took_back or not text.startswith(self.text)
            self.text = text
            self.shown_at.append(time.monotonic())

    def lost_and_doubled(self, right: str) -> tuple[int, int]:
        """Characters of the right text that are not here, and characters here that are too many."""
        blocks = SequenceMatcher(None, right, self.text, autojunk=False).get_matching_blocks()
        common = sum(block.size for block in blocks)
        return len(right) - common, len(self.text) - common

    def is_whole(self, right: str) -> bool:
        return self.text == right and not self.took_back


class Reader(Protocol):
    """This project's client: asks the question and shows the answer."""

    client: ChatClient

    async def ask(self, prompt: str) -> str:
        """The turn's id, once it was accepted."""

    async def text(self, turn_id: str) -> str:
        """What is on screen now."""


class Transcript:
    """Our client in the terminal."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self.client = visitor.client

    async def ask(self, prompt: str) -> str:
        return await self._visitor.ask(prompt)

    async def text(self, turn_id: str) -> str:
        return self._visitor.screens[turn_id].text


class BrowserPage:
    """Our client as people have it: the app's own page."""

    def __init__(self, page: Any, client: ChatClient) -> None:
        self._page = page
        self.client = client

    async def ask(self, prompt: str) -> str:
        await self._page.fill("textarea", prompt)
        async with self._page.expect_response(lambda response: response.url.endswith("/turns")) as answer:
            await self._page.keyboard.press("Enter")
        return str((await (await answer.value).json())["turnId"])

    async def text(self, turn_id: str) -> str:
        answers = self._page.locator(".answer .markdown")
        return str(await answers.last.inner_text()).strip() if await answers.count() else ""


async def read_plainly(client: ChatClient, turn_id: str, shown: Shown) -> None:
    """Append what comes; when the connection breaks ask again, from the start as the first time."""
    while True:
        position = 0
        with contextlib.suppress(*OUTAGE):
            while True:
                found = await client.frames(turn_id, position, wait=5)
                for frame in found["frames"]:
                    if frame["kind"] == "frame":
                        shown.show(shown.text + frame["text"])
                position = found["next"]
                if found["ended"]:
                    return
        await asyncio.sleep(RETRY_SECONDS)


@contextlib.asynccontextmanager
async def opened_reader(url: str, browser: str) -> AsyncIterator[Reader]:
    """The page in a browser (`window` or `headless`), or a transcript (`none`)."""
    if browser == "none":
        async with Visitor(url) as visitor:
            yield Transcript(visitor)
        return
    from playwright.async_api import async_playwright  # only where a browser is wanted

    async with async_playwright() as playwright, ChatClient(url, signalr=False) as client:
        opened = await playwright.chromium.launch(
            executable_path=find_chromium(), args=ARGUMENTS, headless=browser == "headless"
        )
        try:
            page = await opened.new_page()
            await page.goto(url + "/")
            cookies = {cookie["name"]: cookie["value"] for cookie in await page.context.cookies()}
            client.http.cookie_jar.clear()
            client.http.cookie_jar.update_cookies(cookies, URL(url))  # the plain client is the same person
            yield BrowserPage(page, client)
        finally:
            await opened.close()


class Demonstration:
    """One question, two clients, one kill."""

    def __init__(self, stack: RunningStack, reader: Reader, stage: "Stage") -> None:
        self._stack = stack
        self._reader = reader
        self._stage = stage
        self.ours, self.plain = Shown(OURS), Shown(PLAIN)
        self.killed_at = self.ready_at = 0.0
        self.killed_after = 0

    async def run(self) -> dict[str, Any]:
        """From the question to the end of both; the turn's status."""
        turn_id = await self._reader.ask(f"#speed {TOKENS_PER_SECOND} #first 0 #say {ANSWER}")
        plain = asyncio.create_task(read_plainly(self._reader.client, turn_id, self.plain))
        killing: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                while not plain.done() or self.ours.text != ANSWER:
                    self.ours.show(await self._reader.text(turn_id))
                    self._stage.draw(self.ours, self.plain)
                    if killing is None and min(len(self.ours.text), len(self.plain.text)) >= KILL_AT:
                        killing = asyncio.create_task(self._kill())
                    await asyncio.sleep(0.04)
        except TimeoutError:
            self._stage.say(f"not over after {PATIENCE:.0f} s")
        finally:
            plain.cancel()
            await asyncio.gather(plain, *([killing] if killing else []), return_exceptions=True)
        self._stage.draw(self.ours, self.plain)
        return await self._reader.client.wait_for(turn_id, "answered", "logged", seconds=PATIENCE)

    async def _kill(self) -> None:
        pid = self._stack.pid("host")
        self.killed_after, self.killed_at = len(self.ours.text), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self._stage.say(f"kill -9 {pid}: the host is dead, {self.killed_after} characters are on screen")
        while True:
            status = await asyncio.to_thread(self._stack.status)
            if status.ready and status.processes.get("host") != pid:
                break
            await asyncio.sleep(0.02)
        self.ready_at = time.monotonic()
        self._stage.say(f"another host is up after {self.ready_at - self.killed_at:.1f} s")

    def figures(self, status: dict[str, Any]) -> list[str]:
        """What happened to each, in numbers."""
        lines = [f"{'':16}{'characters':>11}{'lost':>6}{'too many':>10}{'taken back':>12}   whole"]
        for shown in (self.ours, self.plain):
            lost, doubled = shown.lost_and_doubled(ANSWER)
            whole = "yes" if shown.is_whole(ANSWER) else "no"
            back = "yes" if shown.took_back else "no"
            lines.append(f"{shown.name:16}{len(shown.text):>11}{lost:>6}{doubled:>10}{back:>12}   {whole}")
        after = next((at for at in self.ours.shown_at if at > self.killed_at), None)
        if self.killed_at and after is not None:
            seconds = after - self.killed_at
            lines.append(f"killed after {self.killed_after} characters; the next new text came {seconds:.1f} s later")
            told = [f"{name} {status[key]}" for name, key in TOLD.items()]
            lines.append(f"{self.ours.name}: {', '.join(told)}")
        return lines

    def is_kept(self, status: dict[str, Any]) -> bool:
        """Whether ours was whole, although the host was killed in mid-answer."""
        was_interrupted = 0 < self.killed_after < len(ANSWER) and status["attempts"] > 1
        told = status["status"] == "completed" and status["text"] == ANSWER and status["generation"] == 1
        return was_interrupted and told and self.ours.is_whole(ANSWER)


class Stage:
    """The terminal: two columns drawn again and again in place, or lines one after another where that cannot be."""

    def __init__(self, write: Print, *, width: int, live: bool) -> None:
        self._write = write
        self._width = (width - 4) // 2
        self._live = live and width >= NARROWEST
        self._drawn = 0
        self._told = 0

    def draw(self, ours: Shown, plain: Shown) -> None:
        """How both stand."""
        if not self._live:
            if len(ours.text) >= self._told + 40:
                self._told = len(ours.text)
                self._write(f"  {ours.name}: {len(ours.text)} characters, {plain.name}: {len(plain.text)}\n")
            return
        columns = [
            [f"{shown.name}: {len(shown.text)} characters", "", *textwrap.wrap(shown.text, self._width)]
            for shown in (ours, plain)
        ]
        height = max(self._drawn, *(len(column) for column in columns))
        rows = [[column[row] if row < len(column) else "" for column in columns] for row in range(height)]
        self._write(f"\x1b[{self._drawn}A" if self._drawn else "")
        self._write("".join(f"\x1b[2K  {left:<{self._width}}  {right}\n" for left, right in rows))
        self._drawn = height

    def say(self, text: str) -> None:
        """A line that stays; what is drawn goes on below it."""
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0
        self._write(f"{text}\n")

    def show(self, shown: Shown) -> None:
        """A whole text, unless it is on screen already."""
        if not self._live:
            self.say(f"\n{shown.name}:\n" + textwrap.fill(shown.text, 2 * self._width))


async def demonstrate(stack: RunningStack, browser: str, stage: Stage) -> int:
    """Kill the host in mid-answer and tell what each client made of it; the exit code."""
    async with opened_reader(stack.url, browser) as reader:
        shown = Demonstration(stack, reader, stage)
        status = await shown.run()
    for client in (shown.ours, shown.plain):
        stage.show(client)
    sys.stdout.write("\n" + "\n".join(shown.figures(status)) + "\n")
    return 0 if shown.is_kept(status) else 1


def has_screen() -> bool:
    """Whether a window could be opened, and by what."""
    is_there = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return is_there and find_chromium() is not None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.demo_crash", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--no-browser", action="store_true", help="a transcript, also where there is a screen")
    parser.add_argument("--headless", action="store_true", help="the page in a browser that nobody sees")
    parsed = parser.parse_args(arguments)
    browser = "window" if has_screen() and not parsed.no_browser else "none"
    browser = "headless" if parsed.headless else browser
    stage = Stage(_write, width=shutil.get_terminal_size().columns, live=sys.stdout.isatty())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stage.say("starting a stack ...")
        app = deployed_copy(Path(folder) / "app")
        with RunningStack(app, Path(folder) / "state") as stack:
            stack.wait_ready()
            stage.say(f"asking for {len(ANSWER)} characters at {stack.url}")
            return asyncio.run(demonstrate(stack, browser, stage))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
