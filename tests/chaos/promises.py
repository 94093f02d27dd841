"""The promises: what has to be true of every accepted turn, whatever was killed on the way."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.chaos.operator import markers, open_turns, until
from tests.chaos.screen import Visitor
from tests.log_reader import read_records
from tests.running_stack import RunningStack

PATIENCE = 80.0  # for a busy machine; a log record alone may wait 1 + 5 + 20 s for its hub
WORDS = ("quiet", "静かな川", "مرحبا", "👩\u200d👩\u200d👧\u200d👦", "naïve", "🇯🇵", "𝒳", "👍🏽")


def story(name: str, words: int) -> str:
    """A text in which whatever is lost, doubled or out of order shows."""
    return " ".join(f"{name}{number}{WORDS[number % len(WORDS)]}" for number in range(words))


def say(text: str, speed: int) -> str:
    """A prompt to which the answer is this text, with emoji cut in two on the way."""
    return f"#speed {speed} #first 0 #split surrogates #say {text}"


async def check_promises(
    stack: RunningStack,
    visitor: Visitor,
    turns: Mapping[str, str | None],
    *,
    endings: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Hold every turn to its promises; `turns` maps ids to the text that it must have, if that is known, and `endings`
    those to their status that must not end `completed`.

    One text on screen, in the status, the journal, the conversation and the log; shown text only grew; length and hash
    agree; one record each; nothing left running or marked. Returns how many records came twice.
    """
    async with asyncio.timeout(PATIENCE):
        statuses = {turn_id: await visitor.client.wait_for(turn_id, "logged", seconds=PATIENCE) for turn_id in turns}
        for turn_id in turns:
            await visitor.screens[turn_id].ended.wait()
            # The end may be announced before the last piece was asked for.
            await visitor.sees(turn_id, len(statuses[turn_id]["text"]), seconds=PATIENCE)
    for turn_id, expected in turns.items():
        found = statuses[turn_id]
        _check_status(found, endings.get(turn_id, "completed"), expected)
        screen, stored = visitor.screens[turn_id], await visitor.stored(turn_id)
        assert stored.get(found["generation"], "") == found["text"]
        screen.check(stored)
        assert screen.text == found["text"]
    await check_conversations(visitor, statuses)
    await until(lambda: nothing_is_open(stack), "every orchestration is over")
    assert await markers(stack) == []
    return await check_records(stack, statuses)


async def nothing_is_open(stack: RunningStack) -> bool:
    return await open_turns(stack) == []


def _check_status(found: dict[str, Any], status: str, expected: str | None) -> None:
    assert found["status"] == status, found["error"]
    assert found["generation"] == 1, "the text was started again"
    if expected is not None:
        assert found["text"] == expected
    assert found["length"] == len(found["text"].encode("utf-16-le")) // 2
    assert found["sha256"] == hashlib.sha256(found["text"].encode()).hexdigest()


async def check_records(stack: RunningStack, statuses: Mapping[str, dict[str, Any]]) -> int:
    """One record per turn, equal to it; copies are equal to each other. Returns the number of copies."""
    records = await read_records(stack.settings, set(statuses), PATIENCE)
    by_id: dict[str, dict[str, Any]] = {}
    for record in records:
        assert by_id.setdefault(record["_id"], record) == record, "a copy differs"
    assert Counter(record["turn_id"] for record in by_id.values()) == dict.fromkeys(statuses, 1)
    for record in by_id.values():
        assert record["content"] == statuses[record["turn_id"]]["text"]
        assert record["status"] == statuses[record["turn_id"]]["status"]
    return len(records) - len(by_id)


async def check_conversations(visitor: Visitor, statuses: Mapping[str, dict[str, Any]]) -> None:
    """Each conversation has its turns in the order of their acceptance, with question and answer, once."""
    for conversation_id in {found["conversationId"] for found in statuses.values()}:
        _, conversation = await visitor.client.get(f"/api/conversations/{conversation_id}")
        messages = conversation["messages"]
        turn_ids = [message["turnId"] for message in messages if message["role"] == "user"]
        assert len(set(turn_ids)) == len(turn_ids)
        assert turn_ids == sorted(turn_ids, key=lambda turn_id: statuses[turn_id]["createdAt"])
        answers = {message["turnId"]: message["content"] for message in messages if message["role"] == "assistant"}
        # One that failed before its first word has no answer; one that was stopped has, an empty one.
        silent = {turn_id for turn_id in turn_ids if statuses[turn_id]["status"] == "failed"} - set(answers)
        assert answers == {turn_id: statuses[turn_id]["text"] for turn_id in turn_ids if turn_id not in silent}
        assert not any(statuses[turn_id]["text"] for turn_id in silent)
        # One that is stopped in the queue ends before its turn comes; it has no attempt.
        ends = [statuses[turn_id]["endedAt"] for turn_id in turn_ids if statuses[turn_id]["attempts"]]
        assert ends == sorted(ends)
