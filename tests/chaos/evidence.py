"""Evidence: everything that was seen of the turns of one round, and the promises it is held against.

    1  what a client shows is a beginning of the final text, except after an explicit `restart` or `redact`
    2  the final text is equal in every client, journal, conversation, status and record (by hash)
    3  every acknowledged turn ends once: completed, stopped, filtered or failed; one record; an outcome never changes
    4  nothing is shown that the journal does not hold
    5  nothing is left running: no orchestration, no work item, no connection to the model, no marker

Pure: what is checked here was collected by `play.py`, or made up by a test.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.plan import Plan, Question
from tests.chaos.screen import Screen, texts_of
from tests.chaos.watchers import FINAL, Outcome

MAX_ATTEMPTS = 5  # after so many claims a turn may end as failed
LATE, REDUCER = "late reader", "page's own reducer"  # screens that are made up when all is over
Journal = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept; `turn_id` is empty when it is about the stack."""

    promise: int
    turn_id: str
    what: str


@dataclass(slots=True)
class TurnSeen:
    """What was seen of one turn."""

    question: Question
    turn_id: str
    asked_at: float  # seconds since 1970
    screens: Mapping[str, Screen]  # by the client's name
    outcomes: list[Outcome] = field(default_factory=list)
    must_be_stopped: bool = False  # the app said that it had taken the stop
    status: Mapping[str, Any] = field(default_factory=dict)
    journal: Journal = ()
    messages: Sequence[Mapping[str, Any]] = ()  # of its conversation, those of this turn
    records: Sequence[Mapping[str, Any]] = ()
    logged_at: float = 0.0
    # What was on screen at some instants, each with the journal as it was read after that instant.
    shown_then: list[tuple[str, int, bytes, Journal]] = field(default_factory=list)

    def take_stop(self, http_status: int, told: Mapping[str, Any]) -> None:
        """The answer to a stop: the status of a turn that is stopped, will be, or had ended before."""
        self.must_be_stopped = self.must_be_stopped or http_status in (200, 202)
        status = told.get("turn", told)
        if status.get("status") in FINAL:
            self.outcomes.append(Outcome.of(status))


@dataclass(slots=True)
class RoundSeen:
    """What was seen of one round."""

    plan: Plan
    turns: list[TurnSeen] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)  # what the harness did and noticed, and when
    strikes: list[tuple[float, str, str]] = field(default_factory=list)  # when, what, service
    resumed: list[tuple[int, float]] = field(default_factory=list)  # tokens stored, seconds from ready to the next
    unfinished: Sequence[str] = ()  # turns that were not logged in time
    left_running: Sequence[str] = ()


def check(seen: RoundSeen) -> list[Violation]:
    """The promises that were broken in this round."""
    found = [Violation(5, "", what) for what in seen.left_running]
    for turn in seen.turns:
        if turn.turn_id in seen.unfinished:
            found.append(Violation(5, turn.turn_id, f"not logged in time; its status: {_short(turn.status)}"))
        else:
            found += [Violation(promise, turn.turn_id, what) for promise, what in _broken(turn)]
    return list(dict.fromkeys(found))  # what was on screen is compared at every strike


def _broken(turn: TurnSeen) -> Iterator[tuple[int, str]]:
    yield from _screens(turn)
    yield from _text(turn)
    yield from _ending(turn)
    yield from _records(turn)


def _screens(turn: TurnSeen) -> Iterator[tuple[int, str]]:
    stored = texts_of(turn.journal)
    for client, screen in turn.screens.items():
        for fault in screen.faults(stored):
            yield 4 if fault.startswith("shown and not stored") else 1, f"{client}: {fault}"
    for client, generation, text, journal in turn.shown_then:
        if not texts_of(journal).get(generation, "").encode("utf-16-le").startswith(text):
            yield 4, f"{client}: shown before it was stored: {text[-60:].decode('utf-16-le', 'replace')!r}"
    generations = [record["generation"] for record in turn.journal if record["kind"] in ("restart", "redact")]
    if max(stored, default=1) != max(generations, default=1):
        yield 1, f"generation {max(stored)} began without a restart or redact"
    if generations and not turn.question.may_restart:
        yield 1, f"the text was started again: generations {generations}"


def _text(turn: TurnSeen) -> Iterator[tuple[int, str]]:
    stored = texts_of(turn.journal)
    text = stored.get(turn.status["generation"], "")
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if turn.question.text is not None and turn.status["status"] == "completed" and text != turn.question.text:
        yield 2, f"the answer is not the model's: {_difference(turn.question.text, text)}"
    end = next((record for record in turn.journal if record["kind"] == "end"), None)
    told: dict[str, tuple[int, str]] = {"status": (turn.status["length"], turn.status["sha256"])}
    if end is not None:
        told["end"] = end["length"], end["sha256"]
    for where, (length, told_hash) in told.items():
        if (length, told_hash) != (len(text.encode("utf-16-le")) // 2, sha256):
            yield 2, f"{where} names another text than the journal holds: {length} units, {told_hash[:12]}"
    texts = [(client, screen.text) for client, screen in turn.screens.items()]
    texts += [("status", turn.status["text"]), *(("record", record["content"]) for record in turn.records)]
    texts += [("conversation", message["content"]) for message in turn.messages if message["role"] == "assistant"]
    for where, other in texts:
        if other != text:
            yield 2, f"{where} has another text than the journal: {_difference(text, other)}"


def _ending(turn: TurnSeen) -> Iterator[tuple[int, str]]:
    status = turn.status["status"]
    ends = [record["status"] for record in turn.journal if record["kind"] == "end"]
    if status not in FINAL or not ends or ends[0] != status:
        yield 3, f"ended as {status}, in the journal {ends}"
    if status not in turn.question.endings and not (status == "failed" and turn.status["attempts"] >= MAX_ATTEMPTS):
        yield 3, f"ended as {status} ({turn.status['error']}), expected {sorted(turn.question.endings)}"
    if turn.must_be_stopped and status != "stopped":
        yield 3, f"ended as {status} after a stop was taken"
    outcomes = {outcome.what for outcome in turn.outcomes}
    outcomes.add((status, turn.status["length"], turn.status["sha256"]))
    if len(outcomes) > 1:
        yield 3, f"an outcome changed after it was read: {sorted(outcomes)}"
    roles = [message["role"] for message in turn.messages]
    if roles != ["user", "assistant"]:
        yield 2, f"the conversation has {roles} of this turn"


def _records(turn: TurnSeen) -> Iterator[tuple[int, str]]:
    by_id: dict[str, Mapping[str, Any]] = {}
    for record in turn.records:
        if by_id.setdefault(record["_id"], record) != record:
            yield 3, "two copies of a record differ"
    if len(by_id) != 1:
        yield 3, f"{len(by_id)} records after deduplication by id"
    for record in by_id.values():
        if record["status"] != turn.status["status"]:
            yield 3, f"the record says {record['status']}, the status {turn.status['status']}"


def was_hit(turn: TurnSeen, seen: RoundSeen) -> bool:
    """Whether this turn is a run: something struck between its POST and its log record."""
    question = turn.question
    hits = (turn.asked_at <= at <= turn.logged_at for at, _, _ in seen.strikes)
    return question.is_hit or turn.status.get("status") == "stopped" or any(hits)


def copies(turn: TurnSeen) -> int:
    """How many times its record came again."""
    return len(turn.records) - len(Counter(record["_id"] for record in turn.records))


def timeline(turn: TurnSeen, seen: RoundSeen) -> list[str]:
    """What happened, in the order of time: what was done, what the journal holds, what was on screen."""
    began = min([turn.asked_at, *(at for at, _ in seen.events)])
    lines = [(at, f"* {what}") for at, what in seen.events]
    lines += [(record["at"] / 1000, f"  journal: {_record(record)}") for record in turn.journal]
    for client, screen in turn.screens.items():
        if client in (LATE, REDUCER):
            continue  # made up afterwards
        for at, (generation, text) in zip(screen.shown_at, screen.shown, strict=True):
            tail = text[-40:].decode("utf-16-le", "replace")
            lines.append((at, f"    {client} shows {len(text) // 2} units of generation {generation}: ...{tail!r}"))
    lines += [(outcome.at, f"    outcome read: {outcome.what}") for outcome in turn.outcomes]
    return [f"{at - began:8.3f}  {line}" for at, line in sorted(lines, key=lambda line: line[0])]


def _record(record: Mapping[str, Any]) -> str:
    names = ("attempt", "generation", "seq", "offset", "length", "status", "rung", "code", "reason", "writer", "by")
    told = [f"{name} {record[name]}" for name in names if record.get(name) is not None]
    return " ".join([str(record["kind"]), *told, repr(record["text"][-30:]) if "text" in record else ""])


def _difference(expected: str, found: str) -> str:
    at = next((n for n, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), None)
    at = min(len(expected), len(found)) if at is None else at
    return (
        f"{len(expected)} and {len(found)} characters, different from {at} on: "
        f"{expected[at : at + 40]!r} and {found[at : at + 40]!r}"
    )


def _short(status: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {status.get(name)}" for name in ("status", "phase", "attempts", "length", "error"))
