"""The recovery ladder on the whole stack: the host is killed in mid-answer, and each kind of model goes its own way."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from adapters.blob_journal import BlobJournal
from chat import records
from chat.records import Stop
from chat.turn import conversation_key_of
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


# Its answers go on in the background, and it never says the same again: what is not re-attached to is lost.
BACKGROUND = "fast-drift"
SETTINGS = {
    "FALLBACK_DEPLOYMENTS": "gpt-4o",
    "ALLOWED_DEPLOYMENTS": f"{BACKGROUND},zero",
    "BACKGROUND_DEPLOYMENTS": BACKGROUND,
}


async def asked(visitor: Visitor, prompt: str, deployment: str) -> str:
    """The id of a turn that this deployment is to answer."""
    status, body = await visitor.client.post_turn({"prompt": prompt, "deployment": deployment})
    assert status == 202, body
    visitor.follow(body["turnId"])
    return str(body["turnId"])


async def killed_after(
    stack: RunningStack, visitor: Visitor, prompt: str, characters: int, deployment: str = "gpt-4o-mini"
) -> tuple[str, str]:
    """Ask, and kill the host when so much is on screen: the turn's id and what was on screen then."""
    turn_id = await asked(visitor, prompt, deployment)
    await visitor.sees(turn_id, characters)
    await kill(stack, "host")
    return turn_id, visitor.screens[turn_id].text


async def model_calls(stack: RunningStack, kind: str) -> list[dict[str, Any]]:
    """The calls of this kind that the model has seen."""
    async with aiohttp.ClientSession() as http, http.get(f"{stack.address('model')}/_admin/requests") as answer:
        return [call for call in (await answer.json())["requests"] if call["kind"] == kind]


async def finished(visitor: Visitor, turn_id: str) -> dict[str, Any]:
    return await visitor.client.wait_for(turn_id, "logged", seconds=60)


async def test_a_response_that_goes_on_without_us_is_re_attached_to(stack: RunningStack, visitor: Visitor) -> None:
    prompt = "#script mixed\n#length 1500\n#speed 150\n#first 0\n#split surrogates"
    turn_id, seen = await killed_after(stack, visitor, prompt, 300, BACKGROUND)
    await check_promises(stack, visitor, {turn_id: None})
    status = await visitor.client.status(turn_id)
    assert (status["attempts"], status["recoveryRung"], status["wastedTokens"]) == (2, 2, 0)
    assert status["text"].startswith(seen)
    assert len(await model_calls(stack, "responses.create")) == 1
    (record,) = await read_records(stack.settings, {turn_id})
    assert record["response_id"].startswith("resp_")
    assert record["usage"]["completion_tokens"] > 0
    assert await model_calls(stack, "responses.cancel") == []  # the first test of this stack


async def test_a_response_that_is_left_for_another_deployment_is_cancelled(
    stack: RunningStack, visitor: Visitor
) -> None:
    """Its stream breaks, and breaks again when it is read on: the next deployment continues the text."""
    faults = "#fault cut after=30 times=1\n#fault cut after=0 times=1"
    turn_id = await asked(visitor, f"#length 3000\n#speed 60\n#first 0\n{faults}", BACKGROUND)
    await check_promises(stack, visitor, {turn_id: None})
    status = await visitor.client.status(turn_id)
    assert (status["attempts"], status["recoveryRung"]) == (3, 4)
    (record,) = await read_records(stack.settings, {turn_id})
    assert record["deployments"] == [BACKGROUND, "gpt-4o"]
    assert len(await model_calls(stack, "responses.cancel")) == 1


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


@pytest.mark.parametrize(("how", "generation"), [("exact", 1), ("more", 1), ("quoted", 1), ("afresh", 1), ("bare", 2)])
async def test_however_a_model_obeys_no_character_is_lost_or_doubled(
    visitor: Visitor, how: str, generation: int
) -> None:
    """What is not sure to go on with the text is an open restart, with the whole answer."""
    text = story("h", 60)
    turn_id = await visitor.ask(f"#continue {how}\n#fault cut after=60 times=1 {say(text, 300)}")
    status = await finished(visitor, turn_id)
    assert (status["text"], status["generation"], status["attempts"]) == (text, generation, 2)
    await visitor.screens[turn_id].ended.wait()
    await visitor.sees(turn_id, len(text))
    visitor.screens[turn_id].check(await visitor.stored(turn_id))


async def test_a_stop_in_mid_answer_ends_the_response_at_the_service(stack: RunningStack, visitor: Visitor) -> None:
    before = len(await model_calls(stack, "responses.cancel"))
    turn_id = await asked(visitor, "#length 3000\n#speed 60\n#first 0", BACKGROUND)
    await visitor.sees(turn_id, 50)
    journals = BlobJournal.from_connection_string(stack.settings["AzureWebJobsStorage"])
    try:
        await journals.append(conversation_key_of(turn_id), turn_id, records.encode(Stop(1)), None)
    finally:
        await journals.close()
    await check_promises(stack, visitor, {turn_id: None}, endings={turn_id: "stopped"})
    assert len(await model_calls(stack, "responses.cancel")) == before + 1
