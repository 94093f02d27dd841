"""What was sent: counters since the start and the latest messages, for tests and benchmarks.

A counter counts for ever; the list keeps the newest messages only. Billed units follow the price list: outbound alone,
each started 2 KB for each receiving connection.
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

BILLED_BYTES = 2048
KEPT_MESSAGES = 20_000


@dataclass(frozen=True, slots=True)
class SentMessage:
    """One send that the REST API was asked for, and what became of it."""

    sequence: int
    time: float
    hub: str
    # "all", "user", "group" or "connection", and which one ("" for all).
    scope: str
    name: str
    target: str
    arguments: list[Any]
    body_bytes: int
    receivers: int
    outcome: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "time": self.time,
            "hub": self.hub,
            "scope": self.scope,
            "name": self.name,
            "target": self.target,
            "arguments": self.arguments,
            "bodyBytes": self.body_bytes,
            "receivers": self.receivers,
            "outcome": self.outcome,
        }


class MessageLog:
    """The counters and the newest messages of all hubs."""

    def __init__(self) -> None:
        self._messages: deque[SentMessage] = deque(maxlen=KEPT_MESSAGES)
        self._sequence = 0
        self.clear()

    def clear(self) -> None:
        self._messages.clear()
        self.accepted = self.outbound = self.billed = 0
        self.refused: Counter[int] = Counter()
        self.targets: Counter[str] = Counter()

    def add(
        self, *, time: float, hub: str, scope: str, name: str, target: str, arguments: list[Any], body_bytes: int,
        receivers: int, outcome: str,
    ) -> None:  # fmt: skip
        """A send that was answered with 202. `outcome` is "delivered", or the fault that struck it."""
        self._sequence += 1
        self.accepted += 1
        self.outbound += receivers
        self.billed += receivers * -(-body_bytes // BILLED_BYTES)
        self.targets[target] += 1
        self._messages.append(
            SentMessage(self._sequence, time, hub, scope, name, target, arguments, body_bytes, receivers, outcome)
        )

    def counters(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "outbound": self.outbound,
            "billed": self.billed,
            "refused": {str(status): count for status, count in self.refused.items()},
            "targets": dict(self.targets),
        }

    def messages(self, *, after: int = 0, limit: int = KEPT_MESSAGES, **wanted: str) -> list[dict[str, Any]]:
        """The newest messages after a sequence number whose fields are as `wanted`, oldest first."""
        found = [
            message
            for message in self._messages
            if message.sequence > after and all(getattr(message, name) == value for name, value in wanted.items())
        ]
        return [message.to_dict() for message in found[-limit:]] if limit else []
