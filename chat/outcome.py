"""Outcomes: how a turn ended, as its `end` record and as what the orchestration carries on."""

from typing import Any

from chat.conversation import small_enough
from chat.conversation_order import finished_turn
from chat.errors import ModelFailure
from chat.failure_policy import POLICY
from chat.journal import Fold
from chat.records import End, UpstreamSeen
from chat.relay import Answer
from chat.turn import TurnStatus


def timings(fold: Fold, ended_at: int, untold: UpstreamSeen | None = None) -> dict[str, int | None]:
    """Milliseconds: waiting for the first claim, to the first text, streaming, and in all.

    latency = time to first chunk + streaming duration, as the log's readers expect; both are None without text.
    `untold`: who was asked, when only the record beside the `end` says so.
    """
    called_at, first_at = fold.first_called_at or (untold and untold.called_at), fold.first_frame_at
    queued = fold.first_claim.at - fold.begin.at if fold.first_claim and fold.begin else None
    return {
        "queueMs": queued,
        "timeToFirstChunkMs": first_at - called_at if first_at and called_at else None,
        "streamingDurationMs": ended_at - first_at if first_at else None,
        "latencyMs": ended_at - called_at if called_at else 0,
    }


def end_of_answer(fold: Fold, answer: Answer, by: str, now: int) -> End:
    """The `end` of a turn whose model has finished."""
    filtered = answer.finish_reason == "content_filter"
    error = _error("content_filter", "The content filter ended this answer.", retryable=False) if filtered else None
    status = TurnStatus.FILTERED if filtered else TurnStatus.COMPLETED
    return _end(fold, status, by, now, answer, error)


def end_of_failure(fold: Fold, failure: ModelFailure, answer: Answer, by: str, now: int) -> End:
    """The `end` of a turn that gets no further attempt."""
    row = POLICY[failure.failure_class]
    error = _error(failure.code, failure.message, retryable=row.retryable)
    if failure.http_status is not None:
        error["httpStatus"] = failure.http_status
    if failure.details:
        answer.filters = (answer.filters or {}) | failure.details
    return _end(fold, TurnStatus(row.status), by, now, answer, error)


def end_of_stop(fold: Fold, by: str, now: int, cut_off: Answer | None = None) -> End:
    """The `end` that belongs to a `stop`; `cut_off` is what its writer knows of the answer that was not let finish."""
    answer = Answer(finish_reason="stopped")
    if cut_off:
        answer.wasted_tokens, answer.untold = cut_off.wasted_tokens, cut_off.untold
    return _end(fold, TurnStatus.STOPPED, by, now, answer, None)


def end_of_giving_up(fold: Fold, code: str, message: str, by: str, now: int) -> End:
    """The `end` of a turn that nobody goes on with; a `stop` that is already there decides."""
    if fold.stop:
        return end_of_stop(fold, by, now)
    return _end(fold, TurnStatus.FAILED, by, now, Answer(), _error(code, message, retryable=True))


def end_of_rejection(fold: Fold, by: str, now: int) -> End:
    """The `end` of a turn that must not queue and would have to."""
    message = "Another turn of this conversation is running, and this one asked not to queue."
    return _end(fold, TurnStatus.REJECTED, by, now, Answer(), _error("turn_running", message, retryable=True))


def _error(code: str, message: str, *, retryable: bool) -> dict[str, Any]:
    return {"code": code, "message": message, "retryable": retryable}


def _end(fold: Fold, status: TurnStatus, by: str, now: int, answer: Answer, error: dict[str, Any] | None) -> End:
    return End(
        by=by,
        status=status.value,
        generation=fold.generation,
        finish_reason=answer.finish_reason,
        length=fold.length,
        sha256=fold.sha256,
        rung=answer.rung.value if answer.rung else None,
        usage=answer.usage,
        timings=timings(fold, now, answer.untold),
        filters=answer.filters,
        error=error,
        delivery_errors=answer.delivery_errors,
        at=now,
        wasted_tokens=max(0, fold.history.wasted_tokens + answer.wasted_tokens),
    )


def told(fold: Fold, place: int) -> dict[str, Any]:
    """What the orchestration carries on of an ended turn: small texts themselves, larger ones stay in the journal."""
    assert fold.end is not None
    turn = finished_turn(fold, place).to_dict()
    turn["prompt"], turn["answer"] = small_enough(turn["prompt"]), small_enough(turn["answer"])
    end = fold.end
    summary = {
        "status": end.status,
        "finishReason": end.finish_reason,
        "length": end.length,
        "sha256": end.sha256,
        "generation": fold.generation,
        "attempts": fold.claims,
        "rung": end.rung,
        "deployments": fold.history.deployments,
        "wastedTokens": end.wasted_tokens or 0,
        "error": end.error,
        "deliveryErrors": end.delivery_errors,
    }
    return {"turn": turn, "summary": summary}
