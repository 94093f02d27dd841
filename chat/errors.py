"""Everything that can go wrong, in the domain's terms. HTTP statuses are given at the edge, in `http_triggers`.

ChatError
├── InvalidInput          what a caller sent is not acceptable
├── MissingSetting        the app was deployed without something it needs here
├── JournalMissing        no such turn
├── JournalMoved          somebody else wrote in between (HTTP 412)
├── StorageUnavailable    the storage account did not answer, or not in time: the write may or may not have happened
├── DeliveryFailed        SignalR did not take a message
├── LogUnavailable        Event Hubs did not take a record
└── ModelFailure          the model did not give a whole answer; its class decides what happens next
    └── ResponseLost      a background response that failed, expired or was never there
"""

from chat.failure_policy import FailureClass


class ChatError(Exception):
    """This happened: something the chat backend knows by name."""


class InvalidInput(ChatError):
    """This happened: a caller sent something that is not acceptable.

    `field` names it as the caller wrote it ("" when the whole body is wrong), the message says what is wrong and what
    would have been right.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class MissingSetting(ChatError):
    """This happened: a setting that is needed here is absent or unusable. `name` is the app setting's name."""

    def __init__(self, name: str, reason: str = "is not set") -> None:
        super().__init__(f"The app setting {name} {reason}.")
        self.name = name


class JournalMissing(ChatError):
    """This happened: there is no journal of that turn."""


class JournalMoved(ChatError):
    """This happened: the journal no longer ends where the writer thought (the append's condition failed, HTTP 412)."""


class StorageUnavailable(ChatError):
    """This happened: storage did not answer in time or answered 5xx. A write may have been applied, or may be later."""


class DeliveryFailed(ChatError):
    """This happened: SignalR did not take a message. The text is in the journal; browsers fetch it from there.

    `temporary`: the same message may be taken later. `refused`: it was one too many, and nobody should send for
    `retry_after` seconds (None when the service did not say for how long).
    """

    def __init__(
        self, message: str, *, temporary: bool = False, refused: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.temporary = temporary or refused
        self.refused = refused
        self.retry_after = retry_after


class LogUnavailable(ChatError):
    """This happened: Event Hubs did not accept a record. It may have been stored all the same."""


class ModelFailure(ChatError):
    """This happened: the model did not give a whole answer.

    `failure_class` decides what happens next; `code` and `message` are fit to be shown (no secrets, no prompt);
    `retry_after` is the wait in seconds that the service asked for, None when it did not say.
    """

    def __init__(
        self,
        failure_class: FailureClass,
        code: str,
        message: str,
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.failure_class = failure_class
        self.code = code
        self.message = message
        self.http_status = http_status
        self.retry_after = retry_after
        self.details = details or {}


class ResponseLost(ModelFailure):
    """This happened: a background response is over without a whole answer: nothing more will come of it."""
