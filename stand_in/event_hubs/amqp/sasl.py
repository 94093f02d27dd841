"""SASL (part 5.3): Event Hubs clients come as ANONYMOUS and prove who they are afterwards, on the `$cbs` node."""

from typing import Final

from stand_in.event_hubs.amqp.errors import NOT_ALLOWED, ProtocolViolation
from stand_in.event_hubs.amqp.frames import FRAME_TYPE_SASL, Frame, encode_frame
from stand_in.event_hubs.amqp.performatives import (
    SASL_PERFORMATIVES,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    decode_performative,
)
from stand_in.event_hubs.amqp.types import Array, Symbol

# The service also lists PLAIN, EXTERNAL and MSSBCBS. SASL codes: 0 = ok, 1 = authentication failed.
MECHANISMS: Final = ("ANONYMOUS",)
_OK: Final = 0
_AUTH: Final = 1


def offer() -> bytes:
    """The frame with the mechanisms, sent right behind the SASL header."""
    offered = SaslMechanisms(sasl_server_mechanisms=Array(tuple(Symbol(mechanism) for mechanism in MECHANISMS)))
    return encode_frame(0, offered.to_bytes(), FRAME_TYPE_SASL)


def answer(frame: Frame) -> tuple[bytes, bool]:
    """The frame that answers the client's choice, and whether the connection may go on."""
    if frame.frame_type != FRAME_TYPE_SASL:
        raise ProtocolViolation(NOT_ALLOWED, "a SASL frame is due")
    performative, _ = decode_performative(frame.body, SASL_PERFORMATIVES)
    if not isinstance(performative, SaslInit):
        raise ProtocolViolation(NOT_ALLOWED, f"sasl-init is due, not {type(performative).__name__}")
    accepted = performative.mechanism in MECHANISMS
    outcome = SaslOutcome(code=_OK if accepted else _AUTH)
    return encode_frame(0, outcome.to_bytes(), FRAME_TYPE_SASL), accepted
