"""Server-sent events, read incrementally: bytes go in as they arrive, the data of whole events comes out.

The rules of the HTML standard, as far as a model API uses them: lines end in LF, CR or CRLF, wherever the network cuts
them; a blank line ends an event; `data` lines are joined by LF; comments and other fields are passed over. One
difference: an event whose blank line is missing at the end of the stream counts, since some servers forget it.
"""


class EventParser:
    """Reads one stream."""

    def __init__(self) -> None:
        self._tail = b""  # the beginning of a line whose end has not arrived
        self._after_cr = False  # the last byte was CR: an LF that follows belongs to it
        self._data: list[bytes] = []

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that `received` completes."""
        if not self._tail and not self._data and not self._after_cr and _is_one_event(received):
            return [received[6:-2]]
        if self._after_cr and received:
            self._after_cr = False
            received = received.removeprefix(b"\n")
        text = self._tail + received
        if not text:
            return []
        lines = text.splitlines()  # of bytes: at LF, CR and CRLF alone
        self._tail = b"" if text[-1:] in b"\r\n" else lines.pop()
        self._after_cr = text[-1:] == b"\r"
        events: list[bytes] = []
        for line in lines:
            self._read_line(line, events)
        return events

    def finish(self) -> list[bytes]:
        """The stream is over: the event that still lacks its blank line, if there is one."""
        events: list[bytes] = []
        self._read_line(self._tail, events)
        self._read_line(b"", events)
        self._tail = b""
        return events

    def _read_line(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data = []
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))


def _is_one_event(received: bytes) -> bool:
    """The usual read: exactly one event in the usual form."""
    return (
        received.startswith(b"data: ")
        and received.endswith(b"\n\n")
        and received.count(b"\n") == 2
        and b"\r" not in received
    )
