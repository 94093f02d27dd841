"""Records: the lines of a turn's journal, and their only JSON form.

A journal is read by whoever finds it years later, so the names are whole words. Times (`at`, `until`, ...) are
milliseconds since 1970 UTC. `writer` is the random id of the run that appended the record: without it two runs would
take each other's records for their own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Begin:
    """The turn exists. Always the first record; it is never appended anywhere else."""

    kind: ClassVar[str] = "begin"
    turn_id: str
    conversation_id: str
    owner: str
    user: str
    request: dict[str, Any]
    request_hash: str
    at: int


@dataclass(frozen=True, slots=True)
class Admit:
    """A turn that must not queue did not have to. Always the second record."""

    kind: ClassVar[str] = "admit"
    at: int


@dataclass(frozen=True, slots=True)
class Claim:
    """From here on this run is the only writer."""

    kind: ClassVar[str] = "claim"
    writer: str
    attempt: int
    at: int


@dataclass(frozen=True, slots=True)
class UpstreamSeen:
    """The model service began to answer. `called_at` is when it was asked, `system` and `prompt_turns` (earlier turns,
    whose journals hold the texts) are what it was given besides the turn's own question.

    `rung` says how the stored text is gone on with, None that there was none. `background`: the response goes on at the
    service without us, under `response_id`. `wasted_tokens` were thrown away by this run until now.
    """

    kind: ClassVar[str] = "upstream"
    writer: str
    deployment: str
    region: str
    request_id: str | None
    response_id: str | None
    api_version: str | None
    model: str | None
    system: str
    prompt_turns: list[str]
    called_at: int
    at: int
    rung: int | None = None
    background: bool | None = None
    wasted_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """Consecutive deltas, stored in one append and sent as one SignalR message.

    `seq` counts the frames of the turn from 1; `offset` is where the text begins in its generation, in UTF-16 units.
    `upstream_seq` numbers the event of a background response whose text ends exactly where this frame does; None when
    the frame ends elsewhere, or the response cannot be re-attached to.
    """

    kind: ClassVar[str] = "frame"
    writer: str
    generation: int
    attempt: int
    seq: int
    offset: int
    text: str
    at: int
    upstream_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Alive:
    """The writer still works, though nothing came for a while."""

    kind: ClassVar[str] = "alive"
    writer: str
    at: int


@dataclass(frozen=True, slots=True)
class Wait:
    """The writer gave up for now; the next attempt comes not before `until`. `failure_class` and `deployment` say what
    failed and where, `wasted_tokens` were thrown away by this run since it last said so."""

    kind: ClassVar[str] = "wait"
    writer: str
    until: int
    code: str
    at: int
    failure_class: str | None = None
    deployment: str | None = None
    wasted_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """A new generation: the text starts again from nothing."""

    kind: ClassVar[str] = "restart"
    writer: str
    generation: int
    attempt: int
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class Redact:
    """A new generation: the text so far, with `length` UTF-16 units from `offset` on covered by as many `█`."""

    kind: ClassVar[str] = "redact"
    writer: str
    generation: int
    attempt: int
    offset: int
    length: int
    at: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The user asked to stop. The first `stop` or `end` decides, for ever."""

    kind: ClassVar[str] = "stop"
    at: int


@dataclass(frozen=True, slots=True)
class End:
    """The turn is over. `length` (UTF-16 units) and `sha256` (of the UTF-8 text) are what a reader checks against.
    `wasted_tokens`: completion tokens of all attempts that are not in the text."""

    kind: ClassVar[str] = "end"
    by: str
    status: str
    generation: int
    finish_reason: str | None
    length: int
    sha256: str
    rung: int | None
    usage: dict[str, Any] | None
    timings: dict[str, int | None]
    filters: dict[str, Any] | None
    error: dict[str, Any] | None
    delivery_errors: int
    at: int
    wasted_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """Event Hubs accepted the record: nothing is left to do."""

    kind: ClassVar[str] = "logged"
    at: int


Record = (
    Begin | Admit | Claim | UpstreamSeen | Frame | Alive | Wait | Restart | Redact | Stop | End | Logged
)  # fmt: skip

_KINDS: dict[str, type[Record]] = {
    kind.kind: kind
    for kind in (Begin, Admit, Claim, UpstreamSeen, Frame, Alive, Wait, Restart, Redact, Stop, End, Logged)
}
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS.values()}


def encode(*records: Record) -> bytes:
    """The records as whole lines of UTF-8, ready to be appended. The same records always give the same bytes."""
    lines = []
    for record in records:
        value = {"kind": record.kind} | {name: getattr(record, name) for name in _FIELDS[type(record)]}
        lines.append(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return ("\n".join(lines) + "\n").encode()


def decode(data: bytes) -> Iterator[tuple[Record, int]]:
    """Each whole record in these bytes, with the number of bytes up to its end.

    A kind that this version does not know is passed over: a newer version of the app may write beside this one.
    """
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        value = json.loads(data[position:end])
        position = end + 1
        kind = _KINDS.get(value.pop("kind"))
        if kind is not None:
            yield kind(**{name: value.get(name) for name in _FIELDS[kind]}), position
