"""Views: a turn as a browser sees it, made from its journal. This is the wire form that docs/wire-protocol.md fixes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chat import records
from chat.journal import Fold
from chat.records import End, Frame, Record, Redact, Restart, Stop, Wait


@dataclass(frozen=True, slots=True)
class WireFrame:
    """A record as browsers get it, and the position after it."""

    position: int
    fields: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.fields["kind"])


@dataclass(frozen=True, slots=True)
class FramesSince:
    """Frames since a position; `next` is the position to ask from next, `over` says that none will follow."""

    frames: list[WireFrame]
    next: int
    over: bool


def frames_since(data: bytes, after: int) -> FramesSince:
    """The frames in these bytes of a journal, which begin at position `after`."""
    frames: list[WireFrame] = []
    position, stopped, over = after, False, False
    for record, end in records.decode(data):
        position = after + end
        # After a stop only its end counts, after the end nothing.
        wire = None if over or (stopped and not isinstance(record, End)) else wire_frame(record)
        if wire is not None:
            frames.append(WireFrame(position, wire))
        stopped = stopped or isinstance(record, Stop)
        over = over or isinstance(record, End)
    return FramesSince(frames, position, over)


def wire_frame(record: Record) -> dict[str, Any] | None:
    """The record as browsers get it; None for those that are not their business."""
    match record:
        case Frame():
            return (
                {"kind": "frame"} | _place(record) | {"seq": record.seq, "offset": record.offset, "text": record.text}
            )
        case Restart():
            return {"kind": "restart"} | _place(record)
        case Redact():
            return {"kind": "redact"} | _place(record) | {"offset": record.offset, "length": record.length}
        case Wait():
            return {"kind": "wait"} | wire_wait(record)
        case End():
            return {
                "kind": "end",
                "generation": record.generation,
                "status": record.status,
                "finishReason": record.finish_reason,
                "length": record.length,
                "sha256": record.sha256,
                "error": wire_error(record.error),
            }
    return None


def _place(record: Frame | Restart | Redact) -> dict[str, Any]:
    return {"generation": record.generation, "attempt": record.attempt}


def wire_wait(wait: Wait) -> dict[str, Any]:
    return {"until": iso(wait.until), "code": wait.code}


def status_of(fold: Fold) -> dict[str, Any]:
    """The status of a turn. `length` counts UTF-16 units, `sha256` is of the UTF-8 text."""
    begin, end = fold.begin, fold.end
    assert begin is not None
    return {
        "turnId": begin.turn_id,
        "conversationId": begin.conversation_id,
        "status": fold.status.value,
        "phase": phase_of(fold),
        "text": fold.text,
        "length": fold.length,
        "sha256": fold.sha256,
        "generation": fold.generation,
        "finishReason": end.finish_reason if end else None,
        "attempts": fold.claims,
        "usage": end.usage if end else None,
        "error": wire_error(end.error) if end else None,
        "waitingUntil": iso(fold.waiting.until) if fold.waiting and not end else None,
        "recoveryRung": end.rung if end else None,
        "wastedTokens": (end.wasted_tokens or 0) if end else 0,
        "deliveryErrors": end.delivery_errors if end else 0,
        "logged": fold.logged,
        "createdAt": iso(begin.at),
        "endedAt": iso(end.at) if end else None,
    }


def phase_of(fold: Fold) -> str:
    """What a turn is at: queued, streaming, waiting, answered, logged."""
    if fold.end:
        return "logged" if fold.logged else "answered"
    if fold.claims == 0:
        return "queued"
    return "waiting" if fold.waiting else "streaming"


def iso(milliseconds: int) -> str:
    """The time as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wire_error(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """What browsers get of an end's error; the log has more."""
    return {name: error[name] for name in ("code", "message", "retryable")} if error else None
