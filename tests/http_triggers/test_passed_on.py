"""Streams passed on: whoever leaves is noticed, at whatever moment that is."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from http_triggers.passed_on import PassedOnStream, passed_on_answer

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


class Caller:
    """A connection: takes what is sent to it, or does not; leaves when told to."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.began = asyncio.Event()
        self.gone = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.began.set()
        if not self.gone.is_set():
            await self.takes.wait()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        """As servers do it: what waits to be written is let go at the same moment."""
        self.gone.set()
        self.takes.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Left:
    def __init__(self) -> None:
        self.times = 0
        self.closed = False

    def __call__(self) -> None:
        self.times += 1


async def endless(left: Left) -> AsyncGenerator[bytes]:
    try:
        while True:
            yield b"x"
            await asyncio.sleep(0)
    finally:
        left.closed = True


async def test_a_stream_goes_through_with_all_its_headers():
    async def pieces() -> AsyncGenerator[bytes]:
        for piece in (b"a", b"b"):
            yield piece

    caller, left = Caller(), Left()
    await PassedOnStream(pieces(), left, 200, [("X-A", "1"), ("x-a", "2")])(SCOPE, caller.receive, caller.send)

    assert caller.body == b"ab"
    assert (caller.sent[0]["status"], caller.sent[0]["headers"]) == (200, [(b"x-a", b"1"), (b"x-a", b"2")])
    assert caller.sent[-1]["more_body"] is False
    assert left.times == 1


async def test_a_caller_who_was_gone_before_the_first_byte_leaves_it():
    """The generator is never begun: nothing in it could notice."""
    caller, left = Caller(), Left()
    caller.takes.clear()
    caller.gone.set()

    async with asyncio.timeout(10):
        await PassedOnStream(endless(left), left, 200, [])(SCOPE, caller.receive, caller.send)

    assert left.times == 1


@pytest.mark.parametrize("standing", [False, True])
async def test_a_caller_who_leaves_a_running_or_a_standing_stream_leaves_it(standing: bool):
    caller, left = Caller(), Left()
    if standing:
        caller.takes.clear()
    running = asyncio.create_task(PassedOnStream(endless(left), left, 200, [])(SCOPE, caller.receive, caller.send))
    await asyncio.wait_for(caller.began.wait(), 10)

    caller.leave()

    await asyncio.wait_for(running, 10)
    assert left.times == 1
    assert left.closed or standing


async def test_a_stream_that_breaks_breaks_the_connection():
    async def pieces() -> AsyncGenerator[bytes]:
        yield b"a"
        raise ConnectionError("cut")

    caller, left = Caller(), Left()
    with pytest.raises(ConnectionError):
        await PassedOnStream(pieces(), left, 200, [])(SCOPE, caller.receive, caller.send)
    assert caller.sent[-1].get("more_body", True)
    assert left.times == 1


async def test_a_whole_answer_goes_through_with_its_length():
    caller = Caller()
    response = passed_on_answer(b"body", 429, [("Retry-After", "7"), ("Content-Type", "application/json")])
    await response(SCOPE, caller.receive, caller.send)
    assert caller.sent[0]["status"] == 429
    assert sorted(caller.sent[0]["headers"]) == [
        (b"content-length", b"4"),
        (b"content-type", b"application/json"),
        (b"retry-after", b"7"),
    ]
