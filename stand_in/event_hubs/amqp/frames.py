"""Frames (part 2.3): how performatives and protocol headers lie in the byte stream.

A frame is its size (4 bytes, itself included), the data offset in words of 4 bytes, its type (0 AMQP, 1 SASL), a
channel and the body. A connection starts with an 8-byte protocol header, so the reader is told what to expect next.
"""

import struct
from dataclasses import dataclass
from typing import Final

from stand_in.event_hubs.amqp.errors import FRAMING_ERROR, ProtocolViolation

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
FRAME_TYPE_AMQP: Final = 0
FRAME_TYPE_SASL: Final = 1
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"  # keeps a connection alive

_HEAD: Final = struct.Struct(">IBBH")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; an empty body means "I am alive"."""

    frame_type: int
    channel: int
    body: bytes


def encode_frame(channel: int, body: bytes, frame_type: int = FRAME_TYPE_AMQP) -> bytes:
    """Return the frame around a body."""
    return _HEAD.pack(8 + len(body), 2, frame_type, channel) + body


class FrameReader:
    """Cuts a byte stream, arriving in any pieces, into protocol headers and frames."""

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._buffer += data

    def next_header(self) -> bytes | None:
        """Take the 8 bytes of a protocol header, or None while they are not complete."""
        if len(self._buffer) < 8:
            return None
        header = bytes(self._buffer[:8])
        del self._buffer[:8]
        return header

    def next_frame(self) -> Frame | None:
        """Take one frame, or None while it is not complete. Raises ProtocolViolation for an impossible one."""
        if len(self._buffer) < 8:
            return None
        size, data_offset, frame_type, channel = _HEAD.unpack_from(self._buffer)
        start = 4 * data_offset
        if size > self._max_frame_size:
            raise ProtocolViolation(FRAMING_ERROR, f"a frame of {size} bytes is over {self._max_frame_size}")
        if not 8 <= start <= size:
            raise ProtocolViolation(FRAMING_ERROR, f"a frame of {size} bytes has no body at {start}")
        if len(self._buffer) < size:
            return None
        frame = Frame(frame_type, channel, bytes(self._buffer[start:size]))
        del self._buffer[:size]
        return frame
