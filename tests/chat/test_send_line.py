"""The line of sends: who has gone away is passed over, at no cost; nobody is lost, and nobody is in another's way."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.pace import Urgency
from chat.send_line import SendLine, Ticket
from tests.virtual_time import be_busy, run_in_virtual_time

T = TypeVar("T")
URGENCIES = st.sampled_from(Urgency)


def told(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it in virtual time. What is raised where nobody awaits it, as in a timer, is raised here."""
    unseen: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        return await story()

    result = run_in_virtual_time(watched())
    assert unseen == []
    return result


class Sender:
    """Stands in line in a task of its own, as a delivery does, and sends until it is told to have been answered."""

    def __init__(self, line: SendLine, urgency: Urgency = Urgency.TEXT) -> None:
        self.line = line
        self.ticket: Ticket = line.enter(urgency)
        self.began: float | None = None
        self.ended: float | None = None
        self.answered = asyncio.Event()
        self.task = asyncio.create_task(self._send())
        self.task.add_done_callback(lambda _: self.leave())

    async def _send(self) -> None:
        await self.ticket.called
        self.began = asyncio.get_running_loop().time()
        await self.answered.wait()

    def cancel(self) -> None:
        """As a timeout does: what is awaited is cancelled at once, and the task leaves in its next round."""
        self.ticket.called.cancel()
        self.task.cancel()

    def leave(self) -> None:
        if self.ended is None:
            self.ended = asyncio.get_running_loop().time()
        self.line.leave(self.ticket)


async def rounds(count: int = 3) -> None:
    """Let everybody run who can, without any time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


def most_in_a_second(times: list[float]) -> int:
    times = sorted(times)
    return max((bisect_left(times, start + 1) - index for index, start in enumerate(times)), default=0)


@pytest.mark.parametrize("by", ["leave", "hurry", "enter"])
def test_who_was_cancelled_in_this_very_round_is_passed_over_whoever_moves_the_line(by: str) -> None:
    """A cancelled task gives its ticket back in its next round only; until then its place is in the line."""

    async def story() -> None:
        line, allowed = SendLine(20), 2
        first, second, gone, late = (Sender(line) for _ in range(allowed + 2))
        await rounds()
        assert [sender.began for sender in (first, second, gone, late)] == [0.0, 0.0, None, None]
        be_busy(0.2)  # the token that `gone` waits for is there, and the line's timer has not run
        gone.cancel()
        if by == "leave":
            line.leave(first.ticket)
        elif by == "hurry":
            line.hurry(late.ticket, Urgency.TEXT)
        else:
            line.enter(Urgency.NOTICE)
        assert gone.ticket.called.cancelled()
        assert late.ticket.called.done(), "the next one goes in its place, at once"
        late.answered.set()
        for sender in (first, second):
            sender.answered.set()
        await asyncio.gather(first.task, second.task, late.task)
        with pytest.raises(asyncio.CancelledError):
            await gone.task

    told(story)


def test_who_is_cancelled_as_the_timer_comes_does_not_stop_the_timer() -> None:
    async def story() -> float | None:
        line, loop = SendLine(20), asyncio.get_running_loop()
        line.enter(Urgency.TEXT), line.enter(Urgency.TEXT)
        # At the moment at which the line calls `gone`, and before it does.
        gone = Sender(line)
        due = line._budget.next_at(loop.time())
        assert due is not None
        loop.call_at(due - 1e-12, gone.cancel)
        late = Sender(line)
        late.answered.set()
        await asyncio.wait([gone.task, late.task])
        assert gone.task.cancelled()
        assert late.began is not None
        return late.began - due

    assert told(story) == pytest.approx(0.0, abs=1e-6)


def departures(standing: int, cancelled: dict[int, float] | None = None) -> list[float]:
    """When those leave who are not cancelled, of so many who enter at once and send without taking any time."""

    async def story() -> list[float]:
        line, loop = SendLine(10), asyncio.get_running_loop()
        senders = [Sender(line) for _ in range(standing)]
        for number, at in (cancelled or {}).items():
            loop.call_at(at, senders[number].cancel)
        for sender in senders:
            sender.answered.set()
        await asyncio.wait([sender.task for sender in senders])
        return [sender.began for sender in senders if sender.began is not None]

    return told(story)


@pytest.mark.parametrize("position", range(1, 9))
def test_a_ticket_that_is_cancelled_as_its_turn_comes_costs_the_others_nothing(position: int) -> None:
    """The first may go as it enters; each of the others waits for its time, and is gone just before it."""
    whole = departures(9)
    assert departures(9, {position: whole[position] - 1e-12}) == pytest.approx(whole[:8])


@pytest.mark.parametrize("numbers", [range(1, 40), range(8, 47), range(1, 47, 2)])
def test_many_tickets_cancelled_at_one_moment_cost_the_others_nothing(numbers: range) -> None:
    whole = departures(47)
    at = whole[numbers[0]] - 1e-12
    assert departures(47, dict.fromkeys(numbers, at)) == pytest.approx(whole[: 47 - len(numbers)])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), URGENCIES),
        st.tuples(st.just("hurry"), st.integers(0, 30), URGENCIES),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("answer"), st.integers(0, 30)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("round"), st.integers(1, 2)),
        st.tuples(st.just("pass"), st.sampled_from([0.01, 0.1, 0.2, 0.6, 1.0])),
        st.tuples(st.just("busy"), st.sampled_from([0.01, 0.1, 0.6])),
        st.tuples(st.just("refused"), st.sampled_from([None, 0.0, 0.3])),
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([0, 1, 2, 3, 20]), STEPS)
def test_in_whatever_order_nobody_is_lost_nobody_raises_and_no_second_has_too_many(
    allowed: int, steps: list[tuple[Any, ...]]
) -> None:
    """Steps of one round follow each other without any task running in between."""

    async def story() -> list[Sender]:
        line, senders, cancelled = SendLine(allowed), list[Sender](), set[Sender]()
        for name, *values in steps:
            match name:
                case "enter":
                    senders.append(Sender(line, values[0]))
                case "round":
                    await rounds(values[0])
                case "pass":
                    await asyncio.sleep(values[0])
                case "busy":
                    be_busy(values[0])
                case "refused":
                    line.refused(values[0])
                case _ if senders:
                    act(senders[values[0] % len(senders)], name, values[1:], cancelled)
        for sender in senders:
            sender.answered.set()
        async with asyncio.timeout(100 + len(senders)):  # of virtual time
            await asyncio.gather(*(sender.task for sender in senders), return_exceptions=True)
        for sender in senders:
            assert sender.task.cancelled() or sender.task.exception() is None
            assert sender.began is not None or sender in cancelled, "lost"
        after = Sender(line, Urgency.NOTICE)
        after.answered.set()
        await after.task
        return [*senders, after]

    sent = [sender for sender in told(story) if sender.began is not None]
    if allowed:
        assert most_in_a_second([sender.began for sender in sent if sender.began is not None]) <= allowed
        assert most_in_a_second([sender.ended for sender in sent if sender.ended is not None]) <= allowed


def act(sender: Sender, name: str, values: list[Any], cancelled: set[Sender]) -> None:
    if name == "hurry":
        sender.line.hurry(sender.ticket, values[0])
    elif name == "cancel":
        cancelled.add(sender)
        sender.cancel()
    elif name == "answer":
        sender.answered.set()
    elif sender.began is not None:  # "leave": within this step, and its task does so once more
        sender.leave()
        sender.answered.set()
