"""What happens after a failure of the model: one row per class."""

from enum import StrEnum


class FailureClass(StrEnum):
    """Why the model did not give a whole answer."""

    RATE_LIMITED = "rate_limited"  # 429: try again after the wait it asks for
    TRANSIENT = "transient"  # connection lost, 408, 409, 5xx, a stream without finish_reason
    STALLED = "stalled"  # connected, but silent for longer than the read timeout
    FILTERED = "filtered"  # the content filter refused prompt or answer
    TOO_LONG = "too_long"  # context_length_exceeded
    REFUSED = "refused"  # 401, 403, 404, missing setting: this deployment will not answer us
    INVALID = "invalid"  # any other 4xx: the request itself is wrong
