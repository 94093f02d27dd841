"""A stored response: everything that decides what it says and when, so that it can be read again at any time.

Production is a function of the clock: at a time, so many tokens have been produced. Nothing has to run for a
background response to go on: not its client's connection, and not even the emulator, which after a restart finds the
response where it would be. Times are Unix seconds.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stand_in.azure_openai.deployments import Speed
from stand_in.azure_openai.faults import Fault


@dataclass(slots=True)
class StoredResponse:
    """One response. Only `cancelled_at` ever changes."""

    response_id: str
    created_at: float
    deployment: str
    model: str  # as the response object names it
    pieces: tuple[str, ...]  # the answer, a token each
    is_cut_short: bool  # `max_output_tokens` ended it
    input_tokens: int
    reasoning_tokens: int
    speed: Speed
    echo: Mapping[str, Any]
    is_background: bool
    is_streamed: bool
    is_kept: bool
    production_fault: Fault | None = None  # the one that befell it
    faults: tuple[Fault, ...] = field(default=())  # those that its question ordered: of connections that read it
    fault_key: str = ""
    cancelled_at: float | None = None

    @property
    def end(self) -> str | None:
        """What ends it early: `filter`, `error` or nothing."""
        kind = self.production_fault.kind if self.production_fault else None
        return {"filter": "filter", "async-filter": "filter", "error": "error"}.get(kind or "")

    @property
    def said(self) -> int:
        """How many tokens it will have when it is over by itself."""
        if self.end and self.production_fault is not None:
            return min(self.production_fault.after, len(self.pieces))
        return len(self.pieces)

    @property
    def outcome(self) -> str:
        if self.end == "error":
            return "failed"
        return "incomplete" if self.end or self.is_cut_short else "completed"

    @property
    def freeze(self) -> tuple[int, float]:
        """After how many tokens production stands still, and for how many seconds."""
        fault = self.production_fault
        return (fault.after, fault.seconds) if fault and fault.kind == "freeze" else (0, 0.0)

    @property
    def over_at(self) -> float:
        return self.due_at(self.said)

    def due_at(self, tokens_before: int) -> float:
        """When something is due that has so many tokens before it."""
        speed = self.speed
        elapsed = 0.0 if math.isinf(speed.tokens_per_second) else tokens_before / speed.tokens_per_second
        if speed.burst_seconds:
            elapsed = math.ceil(elapsed / speed.burst_seconds) * speed.burst_seconds
        after, seconds = self.freeze
        silence = speed.first_token_seconds + (seconds if tokens_before >= after else 0.0)
        return self.created_at + silence + elapsed

    def produced(self, now: float) -> int:
        """How many tokens have been produced by then."""
        now = now if self.cancelled_at is None else min(now, self.cancelled_at)
        low, high = 0, self.said
        while low < high:  # the token after n others is there when their time has passed: the largest such n + 1
            middle = (low + high) // 2
            if self.due_at(middle) <= now:
                low = middle + 1
            else:
                high = middle
        return low

    def status(self, now: float) -> str:
        if self.cancelled_at is not None:
            return "cancelled"
        return self.outcome if now >= self.over_at else "in_progress"

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form, which survives the emulator."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return members | {
            "pieces": list(self.pieces),
            "speed": self.speed.to_dict(),
            "production_fault": asdict(self.production_fault) if self.production_fault else None,
            "faults": [asdict(fault) for fault in self.faults],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "StoredResponse":
        fault = values["production_fault"]
        return cls(
            **values
            | {
                "pieces": tuple(values["pieces"]),
                "speed": Speed(1, 0).changed(values["speed"]),
                "production_fault": _read_fault(fault) if fault else None,
                "faults": tuple(_read_fault(each) for each in values["faults"]),
            }
        )


def _read_fault(values: dict[str, Any]) -> Fault:
    return Fault(**values | {"headers": tuple((name, value) for name, value in values["headers"])})
