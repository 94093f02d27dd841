"""The request log: what was asked of the emulator and how it ended, for tests and for the curious.

Bodies are kept in memory (the last few hundred) and shown only to who asks for them, since prompts are private.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KEPT_REQUESTS = 10_000
KEPT_BODY_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class RequestRecord:
    """One call. Times are Unix seconds; `disconnected_at` is set when the client left before its answer was whole.

    `tokens_sent` went over this call's connection, `tokens_produced` were made for it: a background response goes on
    without its client, and what was made for it stands with the call that created it.
    """

    number: int
    path: str
    api_version: str | None
    received_at: float
    kind: str = ""  # the operation, like chat.completions or responses.create
    peer: str | None = None  # address and port of the client: tells which calls shared a connection
    deployment: str | None = None
    access: str | None = None
    request_id: str | None = None
    client_request_id: str | None = None
    message_count: int = 0
    messages_hash: str | None = None
    stream: bool = False
    fault: str | None = None
    status: int | None = None
    error_code: str | None = None
    headers_at: float | None = None
    tokens_sent: int = 0
    response_id: str | None = None
    produced: Callable[[], int] | None = field(default=None, repr=False)  # where production is not this connection's
    finish_reason: str | None = None
    ended_at: float | None = None
    disconnected_at: float | None = None
    body: bytes = field(default=b"", repr=False)

    def to_dict(self, *, with_body: bool) -> dict[str, Any]:
        members = {name: getattr(self, name) for name in self.__slots__ if name not in ("body", "produced")}
        members["tokens_produced"] = self.tokens_sent if self.produced is None else self.produced()
        closed = self.disconnected_at
        members["disconnected_ms"] = None if closed is None else round((closed - self.received_at) * 1000, 1)
        return members | {"body": self.body.decode("utf-8", "replace")} if with_body else members


class RequestLog:
    """The last calls, oldest first, and the count of all."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=KEPT_REQUESTS)
        self._bodies: deque[RequestRecord] = deque()
        self._body_bytes = 0
        self._count = 0

    def open(self, path: str, api_version: str | None, now: float, *, kind: str = "") -> RequestRecord:
        self._count += 1
        record = RequestRecord(self._count, path, api_version, now, kind)
        self._records.append(record)
        return record

    def keep_body(self, record: RequestRecord, body: bytes) -> None:
        record.body = body
        self._bodies.append(record)
        self._body_bytes += len(body)
        while self._body_bytes > KEPT_BODY_BYTES and len(self._bodies) > 1:
            oldest = self._bodies.popleft()
            self._body_bytes -= len(oldest.body)
            oldest.body = b""

    def reset(self) -> None:
        self._records.clear()
        self._bodies.clear()
        self._body_bytes = 0
        self._count = 0

    def open_requests(self) -> list[RequestRecord]:
        return [record for record in self._records if record.ended_at is None and record.disconnected_at is None]

    def to_dict(self, *, with_bodies: bool, after: int) -> dict[str, Any]:
        records = [record for record in self._records if record.number > after]
        return {
            "count": self._count,
            "open": len(self.open_requests()),
            "disconnected": sum(1 for record in self._records if record.disconnected_at is not None),
            "requests": [record.to_dict(with_body=with_bodies) for record in records],
        }
