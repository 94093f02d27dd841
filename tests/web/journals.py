"""Journals for the page's reducer, made by the app's own code, each with what SignalR was given to carry.

`answered` lets real runs of `stream_completion` write one: models that die, differ, are cut and filtered, runs that are
killed between any two appends, people who stop. `composed` puts records together in orders that runs seldom take, and
lets the app fold them. Both are told to JavaScript in one JSON form, see `Script`.
"""

import asyncio
import itertools
from dataclasses import dataclass, field
from random import Random
from typing import Any

from activities.stream_completion import Attempt
from activities.surroundings import Surroundings
from chat import records
from chat.completion import Chunk
from chat.errors import DeliveryFailed
from chat.failure_policy import FailureClass
from chat.frames import sha256_of, utf16_length
from chat.journal import Fold
from chat.pace import Pace
from chat.quota import Quota
from chat.records import Begin, Claim, End, Frame, Record, Redact, Restart, Stop
from chat.turn import TurnRequest, conversation_key, turn_id
from chat.turn_view import frames_since
from tests.doubles import FakeInstances, Killed, ManualClock, MemoryJournals, ScriptedModel, failure

KEY = conversation_key("owner", "talk")
TURN = turn_id(KEY, "first", "")
EAGER = Pace(window=0.0, look=60.0, alive=600.0)
PIECES = ("kon", "nichi", "wa 👋", "世界", " ", "abcdefgh", "👩‍👩‍👧‍👦", "é", "مرحبا", "\n")
TARGETS = {
    "token": "frame",
    "turnRestarted": "restart",
    "turnRedacted": "redact",
    "turnEnded": "end",
    "turnWaiting": "wait",
}


@dataclass
class Script:
    """What a page may hear of one answer, and what it must come to."""

    journal: list[dict[str, Any]]  # as GET .../frames gives them
    messages: list[dict[str, Any]]  # {"record": as the page makes it of a message, "after": so much of the journal}
    finals: dict[int, str]  # generation -> its text when the next one began, or the end came
    text: str
    status: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "journal": self.journal,
            "messages": self.messages,
            "finals": self.finals,
            "text": self.text,
            "status": self.status,
        }


def script_of(data: bytes, messages: list[dict[str, Any]] | None = None) -> Script:
    """The script of a journal; without messages each record is one."""
    fold, finals = Fold(), {1: ""}
    for record, position in records.decode(data):
        fold.apply(record, position)
        finals[fold.generation] = fold.text
    view = frames_since(data, 0)
    assert view.over, "a journal without an end is no answer"
    frames = [frame.fields for frame in view.frames]
    if messages is None:
        messages = [{"record": record, "after": index + 1} for index, record in enumerate(frames)]
    return Script(frames, messages, finals, fold.text, fold.status.value)


@dataclass
class ListeningBrowser:
    """Takes messages at its own speed, and sometimes not at first; notes how much was stored when each was sent."""

    store: MemoryJournals
    chance: Random
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        for _ in range(self.chance.choice((0, 0, 1, 3, 20))):
            await asyncio.sleep(0)
        lost = self.chance.random()
        if lost < 0.1:
            raise DeliveryFailed("503", temporary=True)
        if target in TARGETS:
            texts = {"text": arguments[0]} if target == "token" else {}
            record = {"kind": TARGETS[target]} | arguments[-1] | texts
            stored = len(frames_since(self.store.blobs[TURN], 0).frames)
            self.messages.append({"record": record, "after": stored})
        if lost > 0.9:  # taken, and the sender never learns
            raise DeliveryFailed("timeout", temporary=True)


def begin() -> Begin:
    request = TurnRequest("Why?", "gpt-x")
    return Begin(TURN, "talk", "owner", "user-1", request.to_dict(), request.hash, 1_800_000_000_000)


async def answered(chance: Random) -> Script:
    """One answer by real runs. Delivery's waits have to be short, see `impatient`."""
    store = MemoryJournals()
    store.blobs[TURN] = records.encode(begin())
    store.orders[KEY] = [TURN]
    browser, clock, ids = ListeningBrowser(store, chance), ManualClock(), itertools.count(1)
    answer = [chance.choice(PIECES) for _ in range(chance.randint(1, 10))]
    for number in range(1, 5):
        store.after_append = store.before_append = lambda turn, data: None
        if number < 4:
            _disturb(store, chance)
        if chance.random() < 0.25:
            answer = [chance.choice(PIECES) for _ in range(chance.randint(1, 10))]  # a model that differs
        around = Surroundings(
            store=store,
            model=lambda answer=answer, last=number == 4: _model(answer, chance, last),  # type: ignore[misc]
            browser=browser,
            instances=FakeInstances(),
            quota=Quota(store, clock, 0, 0),
            clock=clock,
            new_id=lambda: f"run-{next(ids)}",
            pace=EAGER,
            silence=0.0,
        )
        request = {"turnId": TURN, "attempt": number, "open": []}
        done = await asyncio.gather(Attempt(around, request).run(), return_exceptions=True)
        if isinstance(done[0], BaseException) and not isinstance(done[0], Killed):
            raise done[0]
        if not isinstance(done[0], Killed) and done[0]["result"] == "done":
            return script_of(store.blobs[TURN], browser.messages)
    raise AssertionError("the last attempt is not disturbed")


def _disturb(store: MemoryJournals, chance: Random) -> None:
    """Die, or be stopped, after some append; or not."""
    left, what = chance.randint(1, 8), chance.choice(("die", "die", "die before", "stop", "nothing", "nothing"))

    def strike(turn: str, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left == 0 and what == "stop":
            store.blobs[TURN] += records.encode(Stop(1))
        elif left <= 0 and what != "stop":
            raise Killed

    if what == "die":
        store.after_append = strike
    elif what != "nothing":
        store.before_append = strike


def _model(answer: list[str], chance: Random, last: bool) -> ScriptedModel:
    ending = "whole" if last else chance.choice(("whole", "whole", "cut", "filter", "late filter"))
    if ending == "cut":
        cut = chance.randint(0, len(answer))
        return ScriptedModel(*answer[:cut], failure(FailureClass.TRANSIENT, retry_after=0.0))
    if "filter" in ending:
        length = len("".join(answer))
        start = chance.randint(0, length)
        offsets = {"start_offset": start, "end_offset": chance.randint(start, length)}
        annotated = Chunk(finish_reason="content_filter", content_filter_offsets=offsets)
        return ScriptedModel(*answer, annotated, finish_reason=None)
    return ScriptedModel(*answer)


def composed(kinds: str, chance: Random) -> Script:
    """An answer of frames (f), restarts (r) and redactions (x) in this order, and its end."""
    fold, all_records = Fold(), []

    def add(record: Record) -> None:
        all_records.append(record)
        fold.apply(record, len(all_records))

    add(begin())
    add(Claim("w", 1, 1))
    for kind in kinds:
        if kind == "f":
            text = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 2)))
            add(Frame("w", fold.generation, 1, fold.seq + 1, fold.length, text, 1))
        elif kind == "r":
            add(Restart("w", fold.generation + 1, 1, "why", 1))
        else:
            first, last = sorted(chance.randint(0, len(fold.text)) for _ in range(2))
            offset, length = utf16_length(fold.text[:first]), utf16_length(fold.text[first:last])
            add(Redact("w", fold.generation + 1, 1, offset, length, 1))
    sha256 = sha256_of(fold.text)
    add(End("w", "completed", fold.generation, "stop", fold.length, sha256, None, None, {}, None, None, 0, 1))
    return script_of(records.encode(*all_records))


def mixes(longest: int, chance: Random) -> list[Script]:
    """Every order of frames, restarts and redactions up to this length."""
    kinds = ("".join(mix) for length in range(longest + 1) for mix in itertools.product("frx", repeat=length))
    return [composed(mix, chance) for mix in kinds]
