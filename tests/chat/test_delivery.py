"""Delivery: order, joining, priority, and what happens when SignalR does not take a message."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from chat.delivery import LONGEST_JOINED, Delivery
from chat.errors import DeliveryFailed
from chat.frames import utf16_length
from chat.records import End, Frame
from chat.send_line import SendLine
from tests.doubles import RecordingBrowser


class GatedBrowser(RecordingBrowser):
    """Takes messages while its gate is open; `answers` are raised first, one for each send."""

    def __init__(self, *answers: DeliveryFailed | None) -> None:
        super().__init__()
        self.answers = list(answers)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        self.asked += 1
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        await super().send_to_user(user_id, target, arguments)

    @property
    def targets(self) -> list[str]:
        return [target for _, target, _ in self.sent]


class Writer:
    """Makes the frames of an answer, as the relay would."""

    def __init__(self, generation: int = 1) -> None:
        self.generation, self.seq, self.offset = generation, 0, 0

    def frame(self, text: str) -> Frame:
        self.seq += 1
        frame = Frame("w", self.generation, 1, self.seq, self.offset, text, 0)
        self.offset += utf16_length(text)
        return frame


def end(length: int = 0) -> End:
    return End("w", "completed", 1, "stop", length, "hash", None, None, {}, None, None, 0, 0)


def delivery(browser: RecordingBrowser, line: SendLine | None = None) -> Delivery:
    return Delivery(browser, "user", "turn", "talk", line)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.001)


def tokens(browser: RecordingBrowser) -> list[tuple[int, int, str]]:
    return [(place["seq"], place["offset"], text) for text, place in browser.arguments("token")]


async def test_messages_arrive_in_order_and_say_whose_they_are() -> None:
    browser, writer = GatedBrowser(), Writer()
    async with delivery(browser) as sending:
        sending.started(1, 1)
        await until(lambda: browser.targets == ["turnStarted"])
        sending.frame(writer.frame("Kon"))
        sending.restarted(2, 1)
        sending.ended(end())
    assert browser.targets == ["turnStarted", "token", "turnRestarted", "turnEnded"]
    assert all(user == "user" for user, _, _ in browser.sent)
    assert all(arguments[-1]["turnId"] == "turn" for _, _, arguments in browser.sent)
    assert sending.errors == 0


async def test_frames_that_wait_are_joined_into_one_message_with_the_last_ones_number() -> None:
    browser, writer = GatedBrowser(), Writer()
    async with delivery(browser) as sending:
        sending.frame(writer.frame("a😀"))
        await until(lambda: browser.asked == 1)
        browser.gate.clear()
        for text in ("b", "漢", "c", "😀d"):
            sending.frame(writer.frame(text))
        browser.gate.set()
    assert tokens(browser) == [(1, 0, "a😀"), (5, 3, "b漢c😀d")]


async def test_what_is_no_continuation_is_not_joined() -> None:
    """Another generation, a gap, something in between, or too much for one message."""
    browser, first, second = GatedBrowser(), Writer(), Writer(2)
    browser.gate.clear()
    async with delivery(browser) as sending:
        sending.frame(first.frame("one"))
        first.offset += 7
        sending.frame(first.frame("two"))
        sending.frame(second.frame("three"))
        sending.redacted(3, 1, 0, 2)
        sending.frame(second.frame("four"))
        sending.frame(second.frame("x" * LONGEST_JOINED))
        browser.gate.set()
    assert [text[:5] for _, _, text in tokens(browser)] == ["one", "two", "three", "four", "xxxxx"]
    assert browser.targets == ["token", "token", "token", "turnRedacted", "token", "token"]


async def test_a_notice_is_left_out_when_text_that_says_the_same_has_caught_up() -> None:
    browser = GatedBrowser()
    async with delivery(browser) as sending:
        sending.started(1, 1)
        sending.frame(Writer().frame("text"))
    assert browser.targets == ["token"]


async def test_a_message_that_may_be_taken_later_goes_again_with_what_came_meanwhile() -> None:
    browser, writer = GatedBrowser(DeliveryFailed("503", temporary=True)), Writer()
    async with delivery(browser) as sending:
        sending.frame(writer.frame("one "))
        await until(lambda: browser.answers == [])
        sending.frame(writer.frame("two "))
        sending.frame(writer.frame("three"))
    assert tokens(browser) == [(3, 0, "one two three")]
    assert sending.errors == 1


async def test_a_message_that_will_never_be_taken_is_dropped_and_counted() -> None:
    browser, writer = GatedBrowser(DeliveryFailed("413")), Writer()
    async with delivery(browser) as sending:
        sending.frame(writer.frame("one "))
        await until(lambda: browser.answers == [])
        sending.frame(writer.frame("two"))
    assert tokens(browser) == [(2, 4, "two")]
    assert sending.errors == 1


async def test_a_refusal_pauses_everybody_in_the_process() -> None:
    line, writer = SendLine(200), Writer()
    refused = GatedBrowser(DeliveryFailed("429", refused=True, retry_after=0.3))
    other = GatedBrowser()
    time = asyncio.get_running_loop().time
    async with delivery(refused, line) as one, delivery(other, line) as two:
        began = time()
        one.frame(writer.frame("one"))
        await until(lambda: refused.answers == [])
        two.frame(Writer().frame("two"))
        one.frame(writer.frame(" more"))
        await until(lambda: len(other.sent) == 1 and len(refused.sent) == 1)
        assert time() - began >= 0.3
    assert tokens(refused) == [(2, 0, "one more")]


async def test_first_texts_and_ends_pass_the_text_of_others() -> None:
    """With twenty sends a second ten deliveries full of text wait for half a second each; the late one does not."""
    line = SendLine(20)
    crowd = [(GatedBrowser(), Writer()) for _ in range(10)]
    async with asyncio.TaskGroup() as group:
        ended = asyncio.Event()

        async def talk(browser: GatedBrowser, writer: Writer) -> None:
            async with delivery(browser, line) as sending:
                while not ended.is_set():
                    sending.frame(writer.frame("word "))
                    await asyncio.sleep(0.02)

        for browser, writer in crowd:
            group.create_task(talk(browser, writer))
        await until(lambda: all(browser.sent for browser, _ in crowd))
        late = GatedBrowser()
        async with delivery(late, line) as sending:
            before = [len(browser.sent) for browser, _ in crowd]
            sending.frame(Writer().frame("first"))
            await until(lambda: len(late.sent) == 1)
            sending.ended(end())
        passed = [len(browser.sent) - count for (browser, _), count in zip(crowd, before, strict=True)]
        ended.set()
    assert late.targets == ["token", "turnEnded"]
    assert sum(passed) <= len(crowd)  # not one of them sent twice while the late one sent all it had
    for browser, writer in crowd:
        assert browser.text == "word " * writer.seq, "nothing is dropped"


async def test_what_cannot_be_sent_when_a_run_parts_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.delivery.PARTING_TIME", 0.05)
    browser = GatedBrowser()
    browser.gate.clear()
    async with delivery(browser) as sending:
        sending.frame(Writer().frame("text"))
        await until(lambda: browser.asked == 1)
        sending.ended(end())
    assert sending.errors == 2
    assert browser.sent == []


async def test_leaving_a_line_that_does_not_move_takes_nobody_elses_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.delivery.PARTING_TIME", 0.05)
    line, browser = SendLine(1), GatedBrowser()
    line.refused(0.4)
    async with delivery(browser, line) as gone:
        gone.frame(Writer().frame("too late"))
    monkeypatch.setattr("chat.delivery.PARTING_TIME", 5.0)
    async with delivery(browser, line) as sending:
        sending.frame(Writer().frame("in time"))
    assert [text for _, _, text in tokens(browser)] == ["in time"]
