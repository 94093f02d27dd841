"""What the emulator refuses, in the service's own conditions and words.

The service names its conditions `amqp:...` (the standard's) or `com.microsoft:...` (its own).
"""

from typing import Final

from stand_in.event_hubs.amqp.errors import (
    LINK_STOLEN,
    MESSAGE_SIZE_EXCEEDED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    RESOURCE_LIMIT_EXCEEDED,
    UNAUTHORIZED_ACCESS,
    AmqpError,
    LinkRefused,
)
from stand_in.event_hubs.amqp.links import MAX_MESSAGE_SIZE

ARGUMENT_OUT_OF_RANGE: Final = "com.microsoft:argument-out-of-range"
ARGUMENT_ERROR: Final = "com.microsoft:argument-error"
SERVER_BUSY: Final = "com.microsoft:server-busy"


class EventRefused(AmqpError):
    """This happened: an event (or a batch) was not taken; its sender is told with the outcome *rejected*."""


class TokenRefused(Exception):
    """This happened: `$cbs` got a token that proves nothing. The message is the reply's status description."""


def no_such_node(address: str | None) -> LinkRefused:
    """An address that leads nowhere."""
    return LinkRefused(
        NOT_FOUND,
        f"The messaging entity '{address}' could not be found. This emulator knows '<hub>', '<hub>/Partitions/<n>', "
        "'<hub>/ConsumerGroups/<group>/Partitions/<n>', '$cbs' and '$management'.",
    )


def no_such_partition(hub: str, partition: str, count: int) -> LinkRefused:
    """A partition that the hub does not have."""
    return LinkRefused(
        ARGUMENT_OUT_OF_RANGE,
        f"The specified partition '{partition}' is invalid for event hub '{hub}': "
        f"it should be between 0 and {count - 1}.",
    )


def unauthorized(hub: str) -> LinkRefused:
    """No valid token for this hub came through `$cbs` on this connection."""
    return LinkRefused(UNAUTHORIZED_ACCESS, f"Unauthorized access. No valid token for '{hub}' on this connection.")


def bad_filter(text: str) -> LinkRefused:
    """A starting position that is none."""
    return LinkRefused(
        ARGUMENT_ERROR,
        f"The filter {text!r} is not supported: amqp.annotation.x-opt-offset, x-opt-sequence-number or "
        "x-opt-enqueued-time, then > or >=, then a quoted value.",
    )


def unsupported_filter(name: object) -> LinkRefused:
    """A kind of filter that this emulator (and the service) does not have."""
    return LinkRefused(
        NOT_IMPLEMENTED, f"The filter {name!r} is not supported, only apache.org:selector-filter:string."
    )


def stolen(epoch: int) -> tuple[str, str]:
    """Why a reader lost its partition: condition and description."""
    return (
        LINK_STOLEN,
        f"New receiver with higher or equal epoch of '{epoch}' is created hence current receiver is disconnected.",
    )


def epoch_held(epoch: int) -> LinkRefused:
    """A partition that a reader with a higher epoch holds."""
    return LinkRefused(LINK_STOLEN, f"At least one receiver for the endpoint is created with epoch of '{epoch}'.")


def too_many_readers(limit: int) -> LinkRefused:
    """More readers of one partition in one consumer group than the service allows."""
    return LinkRefused(
        RESOURCE_LIMIT_EXCEEDED,
        f"Exceeded the maximum number of allowed receivers per partition in a consumer group which is {limit}.",
    )


def too_large(size: int) -> EventRefused:
    """An event or batch over the limit."""
    return EventRefused(
        MESSAGE_SIZE_EXCEEDED,
        f"The received message (size: {size} bytes) exceeds the limit ({MAX_MESSAGE_SIZE} bytes) "
        "currently allowed on the link.",
    )
