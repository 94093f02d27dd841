"""Journals of older versions: their lines lack what was added since, and mean what they meant."""

import json

from chat.deployments import Deployments, choose_deployment
from chat.journal import folded_to_end
from chat.log_record import log_record
from chat.outcome import told
from chat.recovery import choose_rung, ladder_of
from chat.rung import Rung
from chat.turn_view import status_of
from tests.activities.test_stream_completion import TURN

REQUEST = {
    "prompt": "Why?", "deployment": "gpt-x", "temperature": None, "topP": None, "maxTokens": None,
    "isReasoningModel": False, "policy": "queue",
}  # fmt: skip
BEGIN = {
    "kind": "begin", "turn_id": TURN, "conversation_id": "talk", "owner": "o", "user": "u", "request": REQUEST,
    "request_hash": "h", "at": 1,
}  # fmt: skip
CLAIM = {"kind": "claim", "writer": "a", "attempt": 1, "at": 2}
UPSTREAM = {
    "kind": "upstream", "writer": "a", "deployment": "gpt-x", "region": "Japan East", "request_id": "r",
    "response_id": "chatcmpl-1", "api_version": "v1", "model": "gpt-x", "system": "", "prompt_turns": [],
    "called_at": 3, "at": 4,
}  # fmt: skip
FRAME = {
    "kind": "frame", "writer": "a", "generation": 1, "attempt": 1, "seq": 1, "offset": 0, "text": "Because.", "at": 5,
}  # fmt: skip
WAIT = {"kind": "wait", "writer": "a", "until": 9, "code": "429", "at": 6}
END = {
    "kind": "end", "by": "a", "status": "completed", "generation": 1, "finish_reason": "stop", "length": 8,
    "sha256": "x", "rung": 3, "usage": None,
    "timings": {"queueMs": 1, "timeToFirstChunkMs": 2, "streamingDurationMs": 3, "latencyMs": 5},
    "filters": None, "error": None, "delivery_errors": 0, "at": 10,
}  # fmt: skip


def lines(*found: dict[str, object]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in found).encode()


def test_an_unfinished_one_is_gone_on_with() -> None:
    fold = folded_to_end(lines(BEGIN, CLAIM, UPSTREAM, FRAME, WAIT))
    assert (fold.text, fold.history.resume, fold.history.wasted_tokens) == ("Because.", None, 0)
    assert fold.waiting is not None
    assert choose_deployment("gpt-x", Deployments(fallbacks=("gpt-y",)), fold.history) == "gpt-x"
    assert choose_rung(ladder_of(fold.text, fold.history, "gpt-x", Deployments())) is Rung.VERIFIED


def test_a_finished_one_says_what_it_said() -> None:
    fold = folded_to_end(lines(BEGIN, CLAIM, UPSTREAM, FRAME, CLAIM, UPSTREAM, END))
    status, summary, record = status_of(fold), told(fold, 0)["summary"], log_record(fold, None)
    assert (status["recoveryRung"], status["wastedTokens"]) == (3, 0)
    assert (summary["deployments"], summary["wastedTokens"]) == (["gpt-x"], 0)
    assert (record["recovery_rung"], record["wasted_tokens"], record["deployments"]) == (3, 0, ["gpt-x"])
