"""A connection (part 2.4), seen from the server and without I/O.

    SASL header -> SASL -> AMQP header -> open -> (sessions) -> close

`receive` takes the bytes that arrived, `take_output` gives the bytes to be written; `on_output` is called when there
are some. Whoever writes them decides when: so an acknowledgement can wait for the commit of what it acknowledges.
A client pipelines: it sends its open, begin and attaches before it has seen an answer.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from stand_in.event_hubs.amqp import sasl
from stand_in.event_hubs.amqp.errors import FRAMING_ERROR, NOT_ALLOWED, AmqpError, ProtocolViolation
from stand_in.event_hubs.amqp.frames import (
    AMQP_HEADER,
    EMPTY_FRAME,
    FRAME_TYPE_AMQP,
    SASL_HEADER,
    Frame,
    FrameReader,
    encode_frame,
)
from stand_in.event_hubs.amqp.performatives import (
    AMQP_PERFORMATIVES,
    Begin,
    Close,
    End,
    Open,
    Performative,
    decode_performative,
    error_value,
)
from stand_in.event_hubs.amqp.sessions import Container, Session

# What the service announces.
MAX_FRAME_SIZE: Final = 65536
CHANNEL_MAX: Final = 4999


class State(Enum):
    """What has to come next."""

    SASL_HEADER = auto()
    SASL = auto()
    AMQP_HEADER = auto()
    OPEN = auto()
    OPENED = auto()
    CLOSED = auto()  # nothing: what still arrives is dropped


class Connection:
    """One client's connection. It is over when `closed` is true and the output has been taken."""

    def __init__(
        self, container_id: str, container: Container, on_output: Callable[[], None], idle_time_out_ms: int
    ) -> None:
        self._container_id = container_id
        self._container = container
        self._on_output = on_output
        self._idle_time_out_ms = idle_time_out_ms
        self._reader = FrameReader(MAX_FRAME_SIZE)
        self._output = bytearray()
        self._state = State.SASL_HEADER
        self._sessions: dict[int, Session] = {}
        self._peer_max_frame_size = 512
        self.peer_idle_time_out_ms: int | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more will be said after the output."""
        return self._state is State.CLOSED

    @property
    def pending_output(self) -> int:
        """How many bytes wait to be taken."""
        return len(self._output)

    def take_output(self) -> bytes:
        """Return the bytes to be written, once."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def receive(self, data: bytes) -> None:
        """Take bytes from the client. What is wrong with them is told to the client, and closes the connection."""
        self._reader.feed(data)
        try:
            while self._step():
                pass
        except AmqpError as error:
            self.close(error.condition, error.description)

    def keep_alive(self) -> None:
        """Send an empty frame."""
        if self._state is State.OPENED:
            self._write(EMPTY_FRAME)

    def close(self, condition: str, description: str) -> None:
        """End the connection from our side, with a reason."""
        if self._state is State.OPENED:
            self._send(0, Close(error=error_value(condition, description)), b"")
        self.abandon()

    def abandon(self) -> None:
        """The connection is over, without a word: its links are gone."""
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.end(answer=False)
        self._on_output()

    def _step(self) -> bool:
        """Take the next header or frame; False when it is not complete."""
        match self._state:
            case State.CLOSED:
                return False
            case State.SASL_HEADER | State.AMQP_HEADER:
                header = self._reader.next_header()
                if header is None:
                    return False
                self._on_header(header)
            case _:
                frame = self._reader.next_frame()
                if frame is None:
                    return False
                self._on_frame(frame)
        return True

    def _on_header(self, header: bytes) -> None:
        expected = SASL_HEADER if self._state is State.SASL_HEADER else AMQP_HEADER
        self._write(expected)  # 2.2: whoever cannot accept a header answers with the one it wants, and closes
        if header != expected:
            self.abandon()
        elif self._state is State.SASL_HEADER:
            self._state = State.SASL
            self._write(sasl.offer())
        else:
            self._state = State.OPEN

    def _on_frame(self, frame: Frame) -> None:
        if self._state is State.SASL:
            outcome, accepted = sasl.answer(frame)
            self._write(outcome)
            self._state = State.AMQP_HEADER
            if not accepted:
                self.abandon()
            return
        if frame.frame_type != FRAME_TYPE_AMQP:
            raise ProtocolViolation(FRAMING_ERROR, f"a frame of type {frame.frame_type} is not AMQP")
        if not frame.body:
            return  # alive
        performative, payload = decode_performative(frame.body, AMQP_PERFORMATIVES)
        if self._state is State.OPEN:
            self._on_open(performative)
        else:
            self._on_performative(frame.channel, performative, payload)

    def _on_open(self, performative: Performative) -> None:
        if not isinstance(performative, Open):
            raise ProtocolViolation(NOT_ALLOWED, f"open is due, not {type(performative).__name__}")
        self._peer_max_frame_size = min(max(performative.max_frame_size, 512), MAX_FRAME_SIZE)
        self.peer_idle_time_out_ms = performative.idle_time_out or None
        self._state = State.OPENED
        answer = Open(
            container_id=self._container_id,
            max_frame_size=MAX_FRAME_SIZE,
            channel_max=CHANNEL_MAX,
            idle_time_out=self._idle_time_out_ms,
        )
        self._send(0, answer, b"")

    def _on_performative(self, channel: int, performative: Performative, payload: bytes) -> None:
        match performative:
            case Begin():
                if channel in self._sessions or channel > CHANNEL_MAX:
                    raise ProtocolViolation(NOT_ALLOWED, f"channel {channel} cannot begin a session")
                self._sessions[channel] = Session(
                    channel, performative, self._container, self._send, self._peer_max_frame_size
                )
            case End():
                session = self._sessions.pop(channel, None)
                if session is not None:
                    session.end(answer=True)
            case Close():
                self._send(0, Close(), b"")
                self.abandon()
            case Open():
                raise ProtocolViolation(NOT_ALLOWED, "the connection is open already")
            case _:
                session = self._sessions.get(channel)
                if session is not None:  # the SDK detaches its links after it ended their session: nobody is listening
                    session.receive(performative, payload)

    def _send(self, channel: int, performative: Performative, payload: bytes) -> None:
        self._write(encode_frame(channel, performative.to_bytes() + payload))

    def _write(self, data: bytes) -> None:
        self._output += data
        self._on_output()
