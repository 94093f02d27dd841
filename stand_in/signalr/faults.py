"""Faults that a test asks for: what the service does on a bad day, on demand and in the same way each time.

They are one resource, `/_admin/faults`; PUT replaces it, DELETE takes it away:

    {"sends": [{"status": 429, "times": 2, "retryAfter": 0.1}, {"status": 0, "times": 1}],
     "negotiations": [{"status": 503, "times": 1}],
     "drop": 0.1, "duplicate": 0.05, "reorder": 0.1, "delay": 0.02, "seed": 7, "stallPings": false}

`sends` and `negotiations` are used up in order, one for each request. Status 0 cuts the connection instead of
answering; status 202 lets one pass, so that the third can be the one that fails. With `"applied": true` the message
goes out all the same, and only the sender does not learn it.

The ratios apply to sends that were accepted: dropped ones reach nobody, duplicated ones arrive twice, reordered ones
wait until the next one has gone first (or for a second), `delay` holds the answer back for that many seconds. One
generator, seeded with `seed`, decides.
"""

import random
from dataclasses import dataclass
from typing import Any

from stand_in.signalr.errors import BadRequest

CUT_THE_CONNECTION = 0
_RATIOS = ("drop", "duplicate", "reorder")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One answer instead of the right one."""

    status: int
    retry_after: float | None = None
    applied: bool = False


class Faults:
    """The faults in force; none when built without arguments."""

    def __init__(self, wanted: dict[str, Any] | None = None) -> None:
        self.wanted = wanted or {}
        known = {"sends", "negotiations", *_RATIOS, "delay", "seed", "stallPings"}
        for name in self.wanted:
            if name not in known:
                raise BadRequest("Fault.Unknown", f"There is no fault {name!r}; known: {sorted(known)}", target=name)
        self.sends = _refusals(self.wanted, "sends")
        self.negotiations = _refusals(self.wanted, "negotiations")
        self.drop, self.duplicate, self.reorder = (_number(self.wanted, name, 0, 1) for name in _RATIOS)
        self.delay = _number(self.wanted, "delay", 0, 60)
        self.stall_pings = self.wanted.get("stallPings") is True
        self._random = random.Random(self.wanted.get("seed", 0))

    def next_send(self) -> Refusal | None:
        return self.sends.pop(0) if self.sends else None

    def next_negotiation(self) -> Refusal | None:
        return self.negotiations.pop(0) if self.negotiations else None

    def happens(self, ratio: float) -> bool:
        """Whether a fault of that ratio strikes this time. A ratio of 0 asks for no random number."""
        return ratio > 0 and self._random.random() < ratio


def _refusals(wanted: dict[str, Any], name: str) -> list[Refusal]:
    refusals = []
    for entry in wanted.get(name, []):
        if not isinstance(entry, dict) or not isinstance(entry.get("status"), int):
            raise BadRequest("Fault.Invalid", f"Each of {name!r} is an object with a 'status'.", target=name)
        refusal = Refusal(entry["status"], entry.get("retryAfter"), entry.get("applied") is True)
        refusals += [refusal] * int(entry.get("times", 1))
    return refusals


def _number(wanted: dict[str, Any], name: str, low: float, high: float) -> float:
    value = wanted.get(name, 0)
    if not isinstance(value, int | float) or not low <= value <= high:
        raise BadRequest("Fault.Invalid", f"{name!r} is a number from {low} to {high}.", target=name)
    return float(value)
