"""What happens after a failure of the model: one row per class.

The table is all there is: the run that met the failure announces the wait in the journal, the orchestrator sleeps on a
durable timer and starts the next attempt. Nothing sleeps inside an activity, which would be paid for and invisible.
"""

from dataclasses import dataclass
from enum import StrEnum

# A prompt that kills its worker must not do so for ever.
MAX_CLAIMS = 5
# Azure has been seen to ask for a day (`Retry-After: 86400`); a person does not wait that long for an answer.
LONGEST_WAIT = 15 * 60.0


class FailureClass(StrEnum):
    """Why the model did not give a whole answer."""

    RATE_LIMITED = "rate_limited"  # 429: try again after the wait it asks for
    TRANSIENT = "transient"  # connection lost, 408, 409, 5xx, a stream without finish_reason
    STALLED = "stalled"  # connected, but silent for longer than the read timeout
    FILTERED = "filtered"  # the content filter refused prompt or answer
    TOO_LONG = "too_long"  # context_length_exceeded
    REFUSED = "refused"  # 401, 403, 404, missing setting: this deployment will not answer us
    INVALID = "invalid"  # any other 4xx: the request itself is wrong


@dataclass(frozen=True, slots=True)
class Row:
    """The waits in seconds before the second, third, ... attempt; none: the turn ends. `status` is how it ends then,
    and `retryable` whether the same request may succeed when the user sends it again; a refusal is no fault of the
    request, and gone once the deployment has been repaired."""

    waits: tuple[float, ...]
    status: str
    retryable: bool


POLICY: dict[FailureClass, Row] = {
    FailureClass.RATE_LIMITED: Row((2, 8, 30, 60), "failed", retryable=True),
    FailureClass.TRANSIENT: Row((0.5, 1, 2, 4), "failed", retryable=True),
    FailureClass.STALLED: Row((0, 1, 2, 4), "failed", retryable=True),
    FailureClass.FILTERED: Row((), "filtered", retryable=False),
    FailureClass.TOO_LONG: Row((), "failed", retryable=False),
    FailureClass.REFUSED: Row((), "failed", retryable=True),
    FailureClass.INVALID: Row((), "failed", retryable=False),
}


def wait_before_retry(failure_class: FailureClass, claims: int, retry_after: float | None) -> float | None:
    """Seconds until the next attempt, after a failure in the run that made claim number `claims` (from 1).

    What the service asks for counts, but never less than 0; None means: no further attempt.
    """
    waits = POLICY[failure_class].waits
    if not waits or claims >= MAX_CLAIMS:
        return None
    wait = waits[min(claims, len(waits)) - 1]
    if retry_after is not None and failure_class is FailureClass.RATE_LIMITED:
        wait = max(retry_after, 0)
    return wait if wait <= LONGEST_WAIT else None
