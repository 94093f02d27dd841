"""What can go wrong in the protocol, named as the wire names it.

AmqpError                 a condition (a symbol of the standard or of the service) and a description
├── DecodeError           the peer's bytes are not AMQP 1.0            -> the connection is closed
├── ProtocolViolation     valid AMQP, but not allowed now              -> the connection is closed
└── LinkRefused           there is no such node, or not for this peer  -> the link is detached
"""

INTERNAL_ERROR = "amqp:internal-error"
NOT_FOUND = "amqp:not-found"
UNAUTHORIZED_ACCESS = "amqp:unauthorized-access"
DECODE_ERROR = "amqp:decode-error"
INVALID_FIELD = "amqp:invalid-field"
NOT_ALLOWED = "amqp:not-allowed"
NOT_IMPLEMENTED = "amqp:not-implemented"
RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded"
CONNECTION_FORCED = "amqp:connection:forced"
FRAMING_ERROR = "amqp:connection:framing-error"
UNATTACHED_HANDLE = "amqp:session:unattached-handle"
HANDLE_IN_USE = "amqp:session:handle-in-use"
LINK_STOLEN = "amqp:link:stolen"
MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded"


class AmqpError(Exception):
    """This happened: something that the peer is told as a condition and a description."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


class DecodeError(AmqpError):
    """This happened: bytes arrived that are not AMQP 1.0."""

    def __init__(self, description: str) -> None:
        super().__init__(DECODE_ERROR, description)


class ProtocolViolation(AmqpError):
    """This happened: the peer did what the protocol does not allow at this point."""


class LinkRefused(AmqpError):
    """This happened: a link was asked for that this peer does not get."""
