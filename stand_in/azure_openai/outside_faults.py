"""Faults set from outside, through `/_admin/faults`: what goes wrong whatever is asked, by deployment and operation.

They come before those that a prompt orders, and hold until they are deleted, or for `times=N` calls. A `ratio` below 1
befalls that share of the calls, chosen by a seeded sequence: the same seed and calls meet the same faults.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stand_in.azure_openai.faults import Fault, parse_fault

OPERATIONS = ("chat.completions", "responses.create", "responses.retrieve", "responses.cancel", "embeddings")
_MEMBERS = {"fault", "deployment", "operation", "ratio"}


@dataclass(slots=True)
class OutsideFault:
    """One rule and how often it held."""

    text: str
    fault: Fault
    deployment: str | None = None  # None: every one
    operation: str | None = None
    ratio: float = 1.0
    happened: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "fault": self.text,
            "deployment": self.deployment,
            "operation": self.operation,
            "ratio": self.ratio,
            "happened": self.happened,
        }

    def holds_for(self, deployment: str, operation: str) -> bool:
        if self.fault.times is not None and self.happened >= self.fault.times:
            return False
        return self.deployment in (None, deployment) and self.operation in (None, operation)


def parse_outside_fault(values: object, known: Iterable[str]) -> OutsideFault:
    """One rule from its JSON; ValueError says what is wrong."""
    if not isinstance(values, Mapping) or not isinstance(values.get("fault"), str):
        raise ValueError('a fault is an object like {"fault": "429 retry_after=2", "deployment": "gpt-4o"}')
    if unknown := sorted(set(values) - _MEMBERS):
        raise ValueError(f"{', '.join(unknown)}: not one of {', '.join(sorted(_MEMBERS))}")
    text = values["fault"]
    deployment, operation, ratio = values.get("deployment"), values.get("operation"), values.get("ratio", 1.0)
    if deployment is not None and deployment not in known:
        raise ValueError(f"{deployment!r} is not one of {', '.join(known)}")
    if operation is not None and operation not in OPERATIONS:
        raise ValueError(f"{operation!r} is not one of {', '.join(OPERATIONS)}")
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
        raise ValueError(f"ratio: {ratio!r} is not from 0 to 1")
    fault = parse_fault(text if "times=" in text else f"{text} times=always")
    if fault.deployment is not None or fault.is_continued:
        raise ValueError("deployment= and when= belong to directives: here the deployment is a member")
    return OutsideFault(text, fault, deployment, operation, float(ratio))


class OutsideFaults:
    """The rules that hold now, in order: the first that applies decides."""

    def __init__(self) -> None:
        self._rules: list[OutsideFault] = []
        self._seed = 0
        self._chance = random.Random(0)

    def replace(self, rules: list[OutsideFault], seed: int) -> None:
        self._rules = rules
        self._seed = seed
        self._chance = random.Random(seed)

    def clear(self) -> None:
        self.replace([], 0)

    def choose(self, deployment: str, operation: str) -> Fault | None:
        for rule in self._rules:
            if rule.holds_for(deployment, operation) and self._chance.random() < rule.ratio:
                rule.happened += 1
                return rule.fault
        return None

    def to_dict(self) -> dict[str, Any]:
        return {"faults": [rule.to_dict() for rule in self._rules], "seed": self._seed}
