"""The promises, against evidence that is made up: whole, and broken in each way that the harness has to notice."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.evidence import RoundSeen, TurnSeen, check, timeline, was_hit
from tests.chaos.plan import Plan, Question
from tests.chaos.screen import Screen
from tests.chaos.watchers import Outcome

TEXT = "Hello, 👩🏽 world"
TURN = "turn-key-one"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def whole(text: str = TEXT) -> RoundSeen:
    """A turn that was answered in two frames, between which the host was killed, and seen by one client."""
    screen = Screen()
    screen.frame(1, 0, text[:5])
    screen.frame(1, units(text[:5]), text[5:])
    journal: list[dict[str, Any]] = [
        {"kind": "begin", "at": 1000},
        {"kind": "claim", "at": 1010, "writer": "a", "attempt": 1},
        {"kind": "frame", "at": 1020, "generation": 1, "seq": 1, "offset": 0, "text": text[:5]},
        {"kind": "claim", "at": 1030, "writer": "b", "attempt": 2},
        {"kind": "frame", "at": 1040, "generation": 1, "seq": 2, "offset": 5, "text": text[5:]},
        {"kind": "end", "at": 1050, "status": "completed", "length": units(text), "sha256": sha256(text)},
        {"kind": "logged", "at": 1060},
    ]
    question = Question(0, "plain", 0, "talk", 0.0, "?", text)
    turn = TurnSeen(question, TURN, 1.0, {"page": screen}, journal=journal, logged_at=1.06)
    turn.status = {
        "status": "completed", "generation": 1, "attempts": 2, "error": None,
        "text": text, "length": units(text), "sha256": sha256(text),
    }  # fmt: skip
    turn.outcomes = [Outcome(1.05, "completed", units(text), sha256(text))]
    turn.messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
    turn.records = [{"_id": "r", "turn_id": TURN, "content": text, "status": "completed"}] * 2
    turn.shown_then = [("page", 1, text[:5].encode("utf-16-le"), journal[:3])]
    return RoundSeen(Plan(0, "deterministic", [question], []), [turn], strikes=[(1.025, "kill", "host")])


def test_a_whole_turn_keeps_every_promise():
    assert check(whole()) == []


def show_what_is_not_stored(seen: RoundSeen) -> None:
    seen.turns[0].screens["page"].frame(1, units(TEXT), "!")


def show_before_it_is_stored(seen: RoundSeen) -> None:
    seen.turns[0].shown_then = [("page", 1, TEXT.encode("utf-16-le"), seen.turns[0].journal[:3])]


def show_something_else_first(seen: RoundSeen) -> None:
    screen = Screen()
    screen.paint(1, "Hullo")
    screen.paint(1, TEXT)
    seen.turns[0].screens = {"page": screen}


def take_text_back(seen: RoundSeen) -> None:
    screen = Screen()
    for text in (TEXT, TEXT[:3], TEXT):
        screen.paint(1, text)
    seen.turns[0].screens = {"page": screen}


def contradict_what_is_shown(seen: RoundSeen) -> None:
    seen.turns[0].screens["page"].frame(1, 0, "Jello")


def start_again(seen: RoundSeen) -> None:
    turn = seen.turns[0]
    journal = [dict(record) for record in turn.journal]
    journal[3:3] = [
        {"kind": "restart", "at": 1035, "generation": 2},
        {"kind": "frame", "at": 1036, "generation": 2, "seq": 2, "offset": 0, "text": TEXT[:5]},
    ]
    journal[6]["generation"] = 2
    turn.journal, turn.status = journal, {**turn.status, "generation": 2}
    screen = Screen()
    screen.frame(1, 0, TEXT[:5])
    screen.restart(2)
    screen.frame(2, 0, TEXT)
    turn.screens = {"page": screen}


def stop_short_on_screen(seen: RoundSeen) -> None:
    screen = Screen()
    screen.frame(1, 0, TEXT[:5])
    seen.turns[0].screens = {"page": screen}


def answer_something_else(seen: RoundSeen) -> None:
    seen.turns[0] = whole(TEXT + TEXT).turns[0]
    seen.turns[0].question = seen.plan.questions[0]


def name_another_hash(seen: RoundSeen) -> None:
    seen.turns[0].status = {**seen.turns[0].status, "sha256": sha256("")}


def log_another_text(seen: RoundSeen) -> None:
    seen.turns[0].records = [{**seen.turns[0].records[0], "content": TEXT[1:]}]


def remember_another_text(seen: RoundSeen) -> None:
    seen.turns[0].messages = [seen.turns[0].messages[0], {"role": "assistant", "content": ""}]


def answer_twice(seen: RoundSeen) -> None:
    seen.turns[0].messages = [*seen.turns[0].messages] * 2


def log_nothing(seen: RoundSeen) -> None:
    seen.turns[0].records = []


def log_twice(seen: RoundSeen) -> None:
    seen.turns[0].records = [*seen.turns[0].records, {**seen.turns[0].records[0], "_id": "other"}]


def log_differing_copies(seen: RoundSeen) -> None:
    seen.turns[0].records = [seen.turns[0].records[0], {**seen.turns[0].records[0], "usage": 7}]


def change_an_outcome(seen: RoundSeen) -> None:
    seen.turns[0].outcomes = [Outcome(1.04, "stopped", 5, sha256(TEXT[:5])), *seen.turns[0].outcomes]


def go_on_after_a_stop(seen: RoundSeen) -> None:
    seen.turns[0].take_stop(202, {"status": "running"})


def stop_and_complete(seen: RoundSeen) -> None:
    seen.turns[0].take_stop(200, {"status": "stopped", "length": 5, "sha256": sha256(TEXT[:5])})


def fail(seen: RoundSeen) -> None:
    turn = seen.turns[0]
    turn.status = {**turn.status, "status": "failed"}
    turn.outcomes = [Outcome(1.05, "failed", units(TEXT), sha256(TEXT))]
    turn.journal = [{**record, "status": "failed"} if record["kind"] == "end" else record for record in turn.journal]
    turn.records = [{**turn.records[0], "status": "failed"}]


def never_end(seen: RoundSeen) -> None:
    seen.unfinished = [TURN]


def leave_a_connection_open(seen: RoundSeen) -> None:
    seen.left_running = ["1 connection to the model is open"]


@pytest.mark.parametrize(
    ("promise", "breaking"),
    [
        (1, take_text_back),
        (1, contradict_what_is_shown),
        (1, start_again),
        (2, stop_short_on_screen),
        (2, answer_something_else),
        (2, name_another_hash),
        (2, log_another_text),
        (2, remember_another_text),
        (2, answer_twice),
        (3, log_nothing),
        (3, log_twice),
        (3, log_differing_copies),
        (3, change_an_outcome),
        (3, fail),
        (3, go_on_after_a_stop),
        (3, stop_and_complete),
        (4, show_what_is_not_stored),
        (4, show_before_it_is_stored),
        (4, show_something_else_first),
        (5, never_end),
        (5, leave_a_connection_open),
    ],
)
def test_a_broken_promise_is_found(promise: int, breaking: Callable[[RoundSeen], None]):
    seen = whole()
    breaking(seen)
    assert promise in {violation.promise for violation in check(seen)}


def test_an_open_restart_is_allowed_where_the_model_drifts():
    seen = whole()
    start_again(seen)
    seen.turns[0].question = Question(0, "plain", 0, "talk", 0.0, "?", None, may_restart=True)
    assert check(seen) == []


def test_a_stop_that_came_too_late_tells_how_the_turn_had_ended():
    seen = whole()
    told = {"status": "completed", "length": units(TEXT), "sha256": sha256(TEXT)}
    seen.turns[0].take_stop(409, {"error": {"code": "turn_ended"}, "turn": told})
    assert check(seen) == []


def test_a_turn_that_nothing_hit_is_no_run():
    seen = whole()
    assert was_hit(seen.turns[0], seen)
    seen.strikes = [(0.9, "kill", "host"), (1.07, "kill", "host")]
    assert not was_hit(seen.turns[0], seen)


def test_the_timeline_tells_what_happened_in_order():
    seen = whole()
    seen.events = [(1.0, "run 0 accepted"), (1.025, "kill host")]
    lines = timeline(seen.turns[0], seen)
    told = [line for line in lines if "kill host" in line or "claim attempt" in line]
    assert [line.strip().split(maxsplit=1)[1] for line in told] == [
        "journal: claim attempt 1 writer a",
        "* kill host",
        "journal: claim attempt 2 writer b",
    ]
    assert any("page shows" in line for line in lines)
