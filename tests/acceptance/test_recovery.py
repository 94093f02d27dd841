"""The recovery ladder on the whole stack: the host is killed in mid-answer, and each kind of model goes its own way."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.chaos.operator import kill
from tests.chaos.promises import check_promises, say, story
from tests.chaos.screen import Visitor
from tests.conftest import own_stack
from tests.log_reader import read_records
from tests.running_stack import RunningStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with own_stack(tmp_path_factory.mktemp("recovery"), environment=SETTINGS) as running:
        yield running


@pytest.fixture
async def visitor(stack: RunningStack) -> AsyncIterator[Visitor]:
    stack.wait_ready()
    async with Visitor(stack.url) as visitor:
        yield visitor


SETTINGS = {"FALLBACK_DEPLOYMENTS": "gpt-4o"}


async def killed_after(stack: RunningStack, visitor: Visitor, prompt: str, characters: int) -> tuple[str, str]:
    """Ask, and kill the host when so much is on screen: the turn's id and what was on screen then."""
    turn_id = await visitor.ask(prompt)
    await visitor.sees(turn_id, characters)
    await kill(stack, "host")
    return turn_id, visitor.screens[turn_id].text


async def finished(visitor: Visitor, turn_id: str) -> dict[str, Any]:
    return await visitor.client.wait_for(turn_id, "logged", seconds=60)


async def test_a_short_text_is_asked_for_again_and_verified(stack: RunningStack, visitor: Visitor) -> None:
    text = story("v", 80)
    turn_id, seen = await killed_after(stack, visitor, say(text, 150), 200)
    assert len(seen) < len(text)
    await check_promises(stack, visitor, {turn_id: text})
    status = await visitor.client.status(turn_id)
    assert (status["attempts"], status["recoveryRung"]) == (2, 3)
    # What was asked for again was paid for again: about 4 characters a token, or the service's own count.
    assert len(seen) / 8 < status["wastedTokens"] < len(text)


async def test_a_long_text_is_continued_where_it_stopped(stack: RunningStack, visitor: Visitor) -> None:
    text = story("c", 250)
    turn_id, seen = await killed_after(stack, visitor, say(text, 400), 1000)
    assert len(seen) < len(text)
    await check_promises(stack, visitor, {turn_id: text})
    status = await visitor.client.status(turn_id)
    assert (status["attempts"], status["recoveryRung"]) == (2, 4)
    assert 0 < status["wastedTokens"] < 60  # the tail alone


async def test_a_model_that_never_repeats_itself_is_asked_to_continue(stack: RunningStack, visitor: Visitor) -> None:
    turn_id, seen = await killed_after(stack, visitor, "#drift\n#length 600\n#speed 100\n#first 0", 200)
    await check_promises(stack, visitor, {turn_id: None})
    status = await visitor.client.status(turn_id)
    assert (status["attempts"], status["recoveryRung"], status["generation"]) == (2, 4, 1)
    assert status["text"].startswith(seen)
    (record,) = await read_records(stack.settings, {turn_id})
    assert (record["recovery_rung"], record["wasted_tokens"]) == (4, status["wastedTokens"])
    assert record["deployments"] == ["gpt-4o-mini"]


async def test_what_cannot_be_continued_for_sure_is_started_again_openly(stack: RunningStack, visitor: Visitor) -> None:
    """Nobody could say where in so many equal words an answer goes on, and the model does not repeat itself."""
    prompt = "#drift\n#speed 300\n#first 0\n#repeat 500 la na"
    turn_id, seen = await killed_after(stack, visitor, prompt, 600)
    status = await finished(visitor, turn_id)
    assert (status["recoveryRung"], status["generation"], status["status"]) == (5, 2, "completed")
    assert status["text"].endswith("la nala na")
    assert seen[:11] != status["text"][:11]  # another answer, whole
    stored = await visitor.stored(turn_id)
    assert stored[1].startswith(seen)
    assert stored[2] == status["text"]
    await visitor.screens[turn_id].ended.wait()
    await visitor.sees(turn_id, len(status["text"]))
    visitor.screens[turn_id].check(stored)
    assert len(stored[1]) / 4 <= status["wastedTokens"]


@pytest.mark.parametrize("fault", ["429 retry_after=3000 times=1", "503 times=1"])
async def test_a_deployment_that_refuses_is_left_for_the_next_at_once(
    stack: RunningStack, visitor: Visitor, fault: str
) -> None:
    turn_id = await visitor.ask(f"#say from somewhere else\n#fault {fault}")
    await check_promises(stack, visitor, {turn_id: "from somewhere else"})
    (record,) = await read_records(stack.settings, {turn_id})
    assert (record["deployment"], record["attempt"]) == ("gpt-4o", 2)


async def test_an_answer_that_breaks_off_is_continued_by_the_next_deployment(
    stack: RunningStack, visitor: Visitor
) -> None:
    text = story("f", 60)
    turn_id = await visitor.ask(f"#fault cut after=40 times=1 {say(text, 200)}")
    await check_promises(stack, visitor, {turn_id: text})
    (record,) = await read_records(stack.settings, {turn_id})
    assert (record["deployments"], record["recovery_rung"]) == (["gpt-4o-mini", "gpt-4o"], 4)
