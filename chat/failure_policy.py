"""What happens after a failure: one row per class.

The table is all there is: the run that met a failure of the model announces the wait in the journal, the orchestrator
sleeps on a durable timer and starts the next attempt. Nothing sleeps inside an activity, which would be paid for and
invisible. A turn is given up once: whoever finds the budget used up appends the `end`, conditionally, and the first
`end` decides. docs/failures.md has the same table for people; a test holds the two together.

A row says how long to wait, not where to ask next: whether the next attempt goes to another deployment, which need not
be waited for, is decided beside it.
"""

from dataclasses import dataclass
from enum import StrEnum

# A prompt that kills its worker must not do so for ever: claims in all, whatever the attempts failed of.
MAX_CLAIMS = 5
# Azure has been seen to ask for a day (`Retry-After: 86400`); a person does not wait that long for an answer.
LONGEST_WAIT = 15 * 60.0


class FailureClass(StrEnum):
    """Why there is no whole answer."""

    RATE_LIMITED = "rate_limited"  # 429: try again after the wait it asks for
    TRANSIENT = "transient"  # no connection, 408, 409, 5xx, an error event: the service said so, or was not there
    STALLED = "stalled"  # connected, but without a sign of life for longer than the read timeout (chat/silence.py)
    CUT = "cut"  # the answer had begun, and its stream broke or ended without a finish_reason
    CRASHED = "crashed"  # the worker died, or raised what nobody expected
    FILTERED = "filtered"  # the content filter refused prompt or answer
    TOO_LONG = "too_long"  # context_length_exceeded
    REFUSED = "refused"  # 401, 403, 404, missing setting: this deployment will not answer us
    INVALID = "invalid"  # any other 4xx: the request itself is wrong


class ServiceWait(StrEnum):
    """What a wait that the service asks for does."""

    COUNTS = "counts"  # instead of ours, also when it is shorter
    AT_LEAST = "at least"  # not sooner than ours, nor than theirs
    IGNORED = "ignored"  # it would mean something else: a limit, where a connection broke


@dataclass(frozen=True, slots=True)
class Row:
    """What becomes of a turn that fails of one class.

    `waits` are the seconds before the second, third, ... attempt; none: the turn ends at once. `status` is how it ends
    when no attempt is left; its code and words are the failure's own, unless the row has some: a dead worker says
    nothing. `retryable`: the same request may succeed when the user sends it again; a refusal is no fault of the
    request, and gone once the deployment has been repaired.
    """

    waits: tuple[float, ...]
    service_wait: ServiceWait
    status: str
    retryable: bool
    code: str | None = None
    words: str | None = None

    @property
    def attempts(self) -> int:
        """How many attempts there are in all, if no other class spends some of them."""
        return len(self.waits) + 1


POLICY: dict[FailureClass, Row] = {
    FailureClass.RATE_LIMITED: Row((2, 8, 30, 60), ServiceWait.COUNTS, "failed", retryable=True),
    FailureClass.TRANSIENT: Row((0.5, 1, 2, 4), ServiceWait.AT_LEAST, "failed", retryable=True),
    FailureClass.STALLED: Row((0, 1, 2, 4), ServiceWait.IGNORED, "failed", retryable=True),
    # At once: the service was answering a moment ago, and somebody is in the middle of a sentence.
    FailureClass.CUT: Row((0, 0.5, 1, 2), ServiceWait.IGNORED, "failed", retryable=True),
    # At once when a worker died, patiently when what it needs is away for longer. More than MAX_CLAIMS: a worker that
    # dies before it claims leaves no claim to be counted; these are counted by the orchestrator.
    FailureClass.CRASHED: Row(
        (0, 0, 1, 2, 5, 15, 30),
        ServiceWait.IGNORED,
        "failed",
        retryable=True,
        code="attempts_exhausted",
        words="The answer was interrupted too often.",
    ),
    FailureClass.FILTERED: Row((), ServiceWait.IGNORED, "filtered", retryable=False),
    FailureClass.TOO_LONG: Row((), ServiceWait.IGNORED, "failed", retryable=False),
    FailureClass.REFUSED: Row((), ServiceWait.IGNORED, "failed", retryable=True),
    FailureClass.INVALID: Row((), ServiceWait.IGNORED, "failed", retryable=False),
}

CRASH_WAITS = POLICY[FailureClass.CRASHED].waits
MAX_CRASHES = POLICY[FailureClass.CRASHED].attempts


def wait_before_retry(failure_class: FailureClass, claims: int, retry_after: float | None) -> float | None:
    """Seconds until the next attempt, after a failure in the run that made claim number `claims` (from 1).

    None means: no further attempt. `retry_after` is what the service asks for, None when it asks for nothing.
    """
    row = POLICY[failure_class]
    if claims >= min(row.attempts, MAX_CLAIMS):
        return None
    wait = row.waits[claims - 1]
    asked = max(retry_after or 0, 0)
    if row.service_wait is ServiceWait.AT_LEAST:
        wait = max(wait, asked)
    elif row.service_wait is ServiceWait.COUNTS and retry_after is not None:
        wait = asked
    return wait if wait <= LONGEST_WAIT else None
