"""Logging: exactly one record for a turn, whatever refuses on the way."""

import json

from chat import records
from chat.errors import LogUnavailable, MissingSetting
from chat.journal import read_journal
from chat.turn_logging import TurnLogging
from tests.chat.test_log_record import TURN, journal
from tests.doubles import CollectingLog, ManualClock, MemoryJournals


def logging_to(log: CollectingLog, store: MemoryJournals) -> TurnLogging:
    return TurnLogging(lambda: store, lambda: log, ManualClock())


def ended() -> MemoryJournals:
    store = MemoryJournals()
    store.blobs[TURN] = journal()
    return store


async def test_a_record_is_sent_and_noted() -> None:
    store, log = ended(), CollectingLog()
    assert await logging_to(log, store).deliver(TURN, again=False)
    assert await logging_to(log, store).deliver(TURN, again=True)
    (message_id, partition_key, body), *more = log.events
    assert more == []
    assert (message_id, partition_key) == (f"{TURN}.end", "a" * 32)
    assert json.loads(body)["content"] == "Because."
    assert (await read_journal(store, TURN)).logged


async def test_a_refused_record_leaves_a_marker_until_it_is_accepted() -> None:
    """From the first try on: an instance that is terminated and purged in between leaves nothing else to find it by."""
    store, log = ended(), CollectingLog(LogUnavailable("down"), LogUnavailable("down"))
    for number in range(2):
        assert not await logging_to(log, store).deliver(TURN, again=number > 0)
        assert store.marked == {TURN}
    assert await logging_to(log, store).deliver(TURN, again=True)
    assert store.marked == set()


async def test_a_try_that_died_before_it_took_its_marker_away_leaves_that_to_the_next() -> None:
    store, log = ended(), CollectingLog(LogUnavailable("down"))
    await logging_to(log, store).deliver(TURN, again=False)
    await logging_to(log, store).deliver(TURN, again=False)
    assert (store.marked, len(log.events)) == ({TURN}, 1)
    assert await logging_to(log, store).deliver(TURN, again=True)
    assert (store.marked, len(log.events)) == (set(), 1)


async def test_a_missing_setting_is_a_refusal() -> None:
    def missing() -> CollectingLog:
        raise MissingSetting("AZURE_EVENTHUB_CONN_STR")

    store = ended()

    assert not await TurnLogging(lambda: store, missing, ManualClock()).deliver(TURN, again=True)
    assert store.marked == {TURN}


async def test_the_prompt_is_what_the_model_was_given() -> None:
    store, log = ended(), CollectingLog()
    earlier = TURN.replace("b" * 32, "c" * 32)
    store.blobs[earlier] = journal("First answer.")
    store.blobs[TURN] = store.blobs[TURN].replace(b'"prompt_turns":[]', f'"prompt_turns":["{earlier}"]'.encode())
    await logging_to(log, store).deliver(TURN, again=False)
    prompt = [message["content"] for message in json.loads(log.events[0][2])["prompt"]]
    assert prompt == ["Be brief.", "Why?", "First answer.", "Why?"]


async def test_prompts_can_be_left_out() -> None:
    store, log = ended(), CollectingLog()

    await TurnLogging(lambda: store, lambda: log, ManualClock(), with_prompts=False).deliver(TURN, again=False)
    assert b"Why?" not in log.events[0][2]
    assert list(records.decode(store.blobs[TURN]))[-1][0].kind == "logged"
