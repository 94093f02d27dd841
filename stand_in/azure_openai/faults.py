"""Faults: what can be made to go wrong, one answer at a time, by `#fault KIND [name=value ...]` in a prompt.

| kind | what happens | times |
|---|---|---|
| `400` `401` `403` `404` `422` | that status | always |
| `408` `409` `429` `500` `502` `503` `504` | that status | 1 |
| `context` | 400 context_length_exceeded | always |
| `filter prompt` | 400 content_filter | always |
| `hang` | no answer at all, for `seconds=` (600) | 1 |
| `refuse` | the connection is reset before a byte of an answer | 1 |
| `filter after=N` | finish_reason content_filter after N tokens | always |
| `async-filter after=N` | after N tokens an annotation of the asynchronous filter ends it | always |
| `error after=N` | an error event in the stream, then its end | 1 |
| `cut after=N` | the connection is reset after N tokens | 1 |
| `end after=N` | the stream ends cleanly after N tokens, without finish_reason and `[DONE]` | 1 |
| `stall after=N` | silence after N tokens, for `seconds=` (60), then it goes on | 1 |
| `freeze after=N` | the same, but a background response is not produced meanwhile either: no reader gets more | 1 |

`cut`, `end` and `stall` befall a connection, at its Nth token; of a background response also the connections that
read it again, as long as there are calls left. `filter`, `error` and `freeze` befall the answer itself.
A status may carry headers: `retry_after=S`, `retry_after_ms=N`, `reset_tokens=TEXT`. `after` is 20 unless given.
`times=N` says for how many calls with the same messages the fault holds, `times=always` for ever: what is a property
of the request holds always, what passes by itself holds once. `deployment=NAME`: only there, so that another one can
answer. `when=continued`: not on the question, but on requests to continue its answer, counted together. With several
faults the first that has calls left decides. Calls are counted in memory, per hash of the messages: so a retry counts
on, and `/_admin/reset` or a restart begins anew.
"""

from collections import defaultdict
from dataclasses import dataclass

from stand_in.azure_openai.deployments import parse_seconds
from stand_in.azure_openai.errors import (
    SERVICE_FAULTS,
    ContextLengthExceeded,
    ModelApiError,
    PromptFiltered,
    ServiceFault,
)

LASTING_STATUSES = (400, 401, 403, 404, 422)
ON_CONNECTION = ("cut", "end", "stall")
IN_PRODUCTION = ("filter", "async-filter", "error", "freeze")
WITHIN_ANSWER = (*ON_CONNECTION, *IN_PRODUCTION)
BEFORE_ANSWER = ("hang", "refuse", "context", "filter prompt")
LASTING_KINDS = ("context", "filter prompt", "filter", "async-filter")
VALUES = ("times", "after", "seconds", "retry_after", "retry_after_ms", "reset_tokens", "deployment", "when")
DEFAULT_AFTER = 20
DEFAULT_SECONDS = {"hang": 600.0, "stall": 60.0, "freeze": 60.0}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `times` None means always."""

    kind: str  # a status as text, or one of the words above
    times: int | None
    after: int = DEFAULT_AFTER
    seconds: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    deployment: str | None = None  # None: every one
    is_continued: bool = False  # befalls requests to continue, not the question

    @property
    def is_within_answer(self) -> bool:
        return self.kind in WITHIN_ANSWER

    def to_error(self, context_tokens: int) -> ModelApiError:
        """The error answer of a fault that comes before the first byte."""
        if self.kind == "context":
            return ContextLengthExceeded(context_tokens, context_tokens + 1)
        if self.kind == "filter prompt":
            return PromptFiltered()
        return ServiceFault(int(self.kind), dict(self.headers))


def parse_fault(text: str) -> Fault:
    """Read what stands behind `#fault`; ValueError says what is wrong. Free text after the values is let be."""
    words = text.split()
    kind = words.pop(0) if words else ""
    if kind == "filter" and words[:1] == ["prompt"]:
        kind = " ".join((kind, words.pop(0)))
    known = (*map(str, SERVICE_FAULTS), *WITHIN_ANSWER, *BEFORE_ANSWER)
    if kind not in known:
        raise ValueError(f"the kind is one of {', '.join(known)}")
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            break
        if name not in VALUES:
            raise ValueError(f"{name}= is not one of {', '.join(VALUES)}")
        values[name] = value
    is_lasting = kind in LASTING_KINDS or (kind.isdigit() and int(kind) in LASTING_STATUSES)
    times = values.get("times", "always" if is_lasting else "1")
    return Fault(
        kind=kind,
        times=None if times == "always" else _natural(times),
        after=_natural(values.get("after", str(DEFAULT_AFTER))),
        seconds=parse_seconds(values.get("seconds", DEFAULT_SECONDS.get(kind, 0.0))),
        headers=_headers(values),
        deployment=values.get("deployment"),
        is_continued=_is_continued(values.get("when", "asked")),
    )


def _is_continued(text: str) -> bool:
    if text not in ("asked", "continued"):
        raise ValueError(f"when={text}: asked or continued")
    return text == "continued"


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text}: expected a whole number")
    return int(text)


def _headers(values: dict[str, str]) -> tuple[tuple[str, str], ...]:
    names = {
        "retry_after": "retry-after",
        "retry_after_ms": "retry-after-ms",
        "reset_tokens": "x-ratelimit-reset-tokens",
    }
    return tuple((names[name], value) for name, value in values.items() if name in names)


class FaultCounters:
    """How often each fault of each prompt has happened."""

    def __init__(self) -> None:
        self._happened: defaultdict[tuple[str, int], int] = defaultdict(int)

    def choose(
        self, messages_hash: str, faults: tuple[Fault, ...], deployment: str, kinds: tuple[str, ...] = ()
    ) -> Fault | None:
        """The fault of this call, counted; None when all have happened often enough. With `kinds`, one of those."""
        for index, fault in enumerate(faults):
            if fault.deployment not in (None, deployment) or (kinds and fault.kind not in kinds):
                continue
            if fault.times is None or self._happened[messages_hash, index] < fault.times:
                self._happened[messages_hash, index] += 1
                return fault
        return None

    def reset(self) -> None:
        self._happened.clear()
