"""docs/wire-protocol-cases.json holds for everybody: what the server folds and sends, and the clients that we have.

The page's reducer is held to the same cases in tests/web/wire-protocol-cases.test.mjs.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

import pytest

from chat import records
from chat.journal import Fold
from chat.records import Alive, Begin, Claim, End, Frame, Logged, Record, Redact, Restart, Stop, Wait
from chat.turn_view import frames_since, status_of
from tests.chaos.screen import Screen
from tests.running_stack import ROOT

CASES: list[dict[str, Any]] = json.loads((ROOT / "docs" / "wire-protocol-cases.json").read_text(encoding="utf-8"))[
    "cases"
]
AT = 1_800_000_000_000
for_each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def as_record(frame: dict[str, Any]) -> Record:
    """The journal's record from which the server makes this frame."""
    fields = {name: value for name, value in frame.items() if name != "kind"}
    match frame["kind"]:
        case "frame":
            return Frame("w", at=AT, **fields)
        case "restart":
            return Restart("w", reason="drift", at=AT, **fields)
        case "redact":
            return Redact("w", at=AT, **fields)
        case "wait":
            return Wait("w", round(1000 * datetime.fromisoformat(fields["until"]).timestamp()), fields["code"], AT)
    names = {"finishReason": "finish_reason"}
    end = {names.get(name, name): value for name, value in fields.items()}
    return End("w", rung=None, usage=None, timings={}, filters=None, delivery_errors=0, at=AT, **end)


def journal_of(case: dict[str, Any]) -> list[Record]:
    """A journal that gives these frames, with records between them that are nobody else's business."""
    begin = Begin("turn-a-b", "talk", "owner", "user", {"prompt": "?"}, "hash", AT)
    made: list[Record] = [begin, Claim("w", 1, AT)]
    for frame in case["frames"]:
        stop: list[Record] = [Stop(AT)] if frame.get("status") == "stopped" else []
        made += [Alive("w", AT), *stop, as_record(frame)]
    return [*made, Logged(AT)]


@for_each_case
def test_the_server_sends_the_frames_of_the_case_from_every_position(case: dict[str, Any]):
    data = records.encode(*journal_of(case))
    whole = frames_since(data, 0)
    assert [frame.fields for frame in whole.frames] == case["frames"]
    assert whole.over
    for _, position in records.decode(data):
        rest = frames_since(data[position:], position)
        assert rest.frames == [frame for frame in whole.frames if frame.position > position]


@for_each_case
def test_the_server_folds_what_the_case_says_is_shown(case: dict[str, Any]):
    fold, after = Fold(), iter(case["after"])
    for position, record in enumerate(journal_of(case)):
        fold.apply(record, position)
        if not isinstance(record, Begin | Claim | Alive | Stop | Logged):
            status = status_of(fold)
            assert {name: status[name] for name in ("text", "generation", "status")} == next(after)
    end = case["frames"][-1]
    assert (fold.length, fold.sha256) == (end["length"], end["sha256"])
    assert hashlib.sha256(case["after"][-1]["text"].encode()).hexdigest() == end["sha256"]


def show(screen: Screen, frame: dict[str, Any]) -> None:
    match frame["kind"]:
        case "frame":
            screen.frame(frame["generation"], frame["offset"], frame["text"])
        case "restart":
            screen.restart(frame["generation"])
        case "end":
            screen.ended.set()


# The tests' own client knows no redactions.
@pytest.mark.parametrize(
    "case", [case for case in CASES if "redact" not in case["name"]], ids=lambda case: case["name"]
)
def test_the_tests_own_client_shows_what_the_case_says(case: dict[str, Any]):
    screen = Screen()
    for frame, after in zip(case["frames"], case["after"], strict=True):
        show(screen, frame)
        assert (screen.text, screen.generation) == (after["text"], after["generation"])
        assert screen.ended.is_set() == (after["status"] != "running")
    for heard in case["heard"]:
        screen = Screen()
        for index, text in zip(heard["order"], heard["text"], strict=True):
            show(screen, case["frames"][index])
            assert screen.text == text, heard["about"]


def test_the_cases_show_every_kind_and_every_status():
    """What the page promises and no case shows is checked by nobody."""
    kinds = {frame["kind"] for case in CASES for frame in case["frames"]}
    assert kinds == {"frame", "restart", "redact", "wait", "end"}
    assert {case["after"][-1]["status"] for case in CASES} == {"completed", "stopped", "filtered", "failed"}
    assert len({case["name"] for case in CASES}) == len(CASES)
