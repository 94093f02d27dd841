"""Faults that a test asks for: what the service does on a bad day, on demand and in the same way each time.

They are one resource, `/_admin/faults`; PUT replaces it, DELETE takes it away:

    {"sends": [{"status": 429, "times": 2, "retryAfter": 0.1}, {"status": 0, "times": 1}],
     "negotiations": [{"status": 503, "times": 1}],
     "sendsPerSecond": 200, "refuse": 0.05, "refusal": {"status": 503, "retryAfter": 1},
     "drop": 0.1, "duplicate": 0.05, "reorder": 0.1, "lateness": 0.3, "delay": 0.02,
     "disconnect": 0.02, "goodbye": "none", "tokenLifetime": 2, "closeExpired": false,
     "seed": 7, "stallPings": false}

**Refusals.** `sends` and `negotiations` are used up in order, one for each request. Status 0 cuts the connection
instead of answering; status 202 lets one pass, so that the third can be the one that fails. With `"applied": true` the
message goes out all the same, and only the sender does not learn it. `sendsPerSecond` is a limit as units of the
service have it (429 with `Retry-After`). The ratio `refuse` of sends gets the answer `refusal`.

**Messages.** The ratios apply to sends that were accepted: dropped ones reach nobody, duplicated ones arrive twice,
reordered ones wait until the next one has gone first (or for a second). Each arrives late by up to `lateness` seconds,
every one by its own, so they overtake one another. `delay` holds the answer to the sender back for that many seconds.

**Connections.** After the ratio `disconnect` of sends the receivers' connections end: with `goodbye` "none" like a cut
cable, with "reconnect" or "final" by a Close record that allows the client to come again or does not. Clients' tokens
hold no longer than `tokenLifetime` seconds after they were issued (their `iat`): afterwards they are refused with 401.
An open WebSocket outlives its token, as on the service; with `closeExpired` it is closed when its token expires, which
the service does for tokens that ask for it (`asrs.s.coae`).

One generator, seeded with `seed`, decides. The same sends in the same order meet the same faults.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stand_in.signalr.errors import BadRequest
from stand_in.signalr.send_limit import SendLimit

CUT_THE_CONNECTION = 0
TOO_MANY_REQUESTS = 429
_RATIOS = ("drop", "duplicate", "reorder", "refuse", "disconnect")
_FLAGS = ("stallPings", "closeExpired")
_NUMBERS = ("sendsPerSecond", "lateness", "delay", "tokenLifetime", "seed")
_OTHERS = ("sends", "negotiations", "refusal", "goodbye")
_LONGEST = 60.0  # seconds that a message or an answer may be held back


class Goodbye(StrEnum):
    """How a connection ends that a fault ends."""

    NONE = "none"
    RECONNECT = "reconnect"
    FINAL = "final"


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
        known = sorted((*_RATIOS, *_FLAGS, *_NUMBERS, *_OTHERS))
        for name in self.wanted:
            if name not in known:
                raise BadRequest("Fault.Unknown", f"There is no fault {name!r}; known: {known}", target=name)
        self._sends = _refusals(self.wanted, "sends")
        self.negotiations = _refusals(self.wanted, "negotiations")
        self._limit = SendLimit(int(_number(self.wanted, "sendsPerSecond", 0, 1_000_000)))
        ratios = [_number(self.wanted, name, 0, 1) for name in _RATIOS]
        self.drop, self.duplicate, self.reorder, self._refuse, self.disconnect = ratios
        self._refusal = _refusal(self.wanted.get("refusal", {"status": 503}), "refusal")
        self.lateness = _number(self.wanted, "lateness", 0, _LONGEST)
        self.delay = _number(self.wanted, "delay", 0, _LONGEST)
        goodbye = self.wanted.get("goodbye", Goodbye.NONE)
        if goodbye not in list(Goodbye):
            raise BadRequest("Fault.Invalid", f"'goodbye' is one of {[*Goodbye]}.", target="goodbye")
        self.goodbye = Goodbye(goodbye)
        lifetime = "tokenLifetime" in self.wanted
        self.token_lifetime = _number(self.wanted, "tokenLifetime", 0, 1_000_000) if lifetime else None
        self.stall_pings, self.close_expired = (_flag(self.wanted, name) for name in _FLAGS)
        self._random = random.Random(self.wanted.get("seed", 0))

    def next_send(self, now: float) -> Refusal | None:
        """What to answer to the next send instead of taking it; `now` is monotonic time."""
        if self._sends:
            return self._sends.pop(0)
        if self.happens(self._refuse):
            return self._refusal
        retry_after = self._limit.retry_after(now)
        return None if retry_after is None else Refusal(TOO_MANY_REQUESTS, retry_after)

    def next_negotiation(self) -> Refusal | None:
        return self.negotiations.pop(0) if self.negotiations else None

    def how_late(self) -> float:
        """Seconds by which the next message arrives late."""
        return self._random.uniform(0, self.lateness) if self.lateness else 0.0

    def happens(self, ratio: float) -> bool:
        """Whether a fault of that ratio strikes this time. A ratio of 0 asks for no random number."""
        return ratio > 0 and self._random.random() < ratio


def _refusals(wanted: dict[str, Any], name: str) -> list[Refusal]:
    refusals = []
    for entry in wanted.get(name, []):
        refusals += [_refusal(entry, name)] * int(entry.get("times", 1))
    return refusals


def _refusal(entry: object, name: str) -> Refusal:
    if not isinstance(entry, dict) or not isinstance(entry.get("status"), int):
        raise BadRequest("Fault.Invalid", f"In {name!r}: an object with a 'status'.", target=name)
    return Refusal(entry["status"], entry.get("retryAfter"), entry.get("applied") is True)


def _flag(wanted: dict[str, Any], name: str) -> bool:
    value = wanted.get(name, False)
    if not isinstance(value, bool):
        raise BadRequest("Fault.Invalid", f"{name!r} is true or false.", target=name)
    return value


def _number(wanted: dict[str, Any], name: str, low: float, high: float) -> float:
    value = wanted.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadRequest("Fault.Invalid", f"{name!r} is a number from {low} to {high}.", target=name)
    return float(value)
