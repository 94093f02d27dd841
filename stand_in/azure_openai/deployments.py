"""Deployments: the names that can be asked, the model behind each, and how fast it speaks.

Speed comes from the deployment, is overridden for all of them by the environment or `/_admin/speed`, and for one answer
by a directive in the prompt (`directives.py`).

| variable | meaning |
|---|---|
| STAND_IN_MODEL_TOKENS_PER_SECOND | a number, or `max` for no pacing |
| STAND_IN_MODEL_FIRST_TOKEN_SECONDS | silence before the first token |
| STAND_IN_MODEL_BURST_SECONDS | text is held back and released in bursts this far apart, as the default filter does |
| STAND_IN_MODEL_ASYNC_FILTER | `true`: annotations come late, in chunks of their own |
| STAND_IN_MODEL_DEPLOYMENTS | more deployments: `name` or `name=model`, separated by commas; like `gpt-4o-mini` |

Each deployment has a twin whose name ends in `-drift`: the same model, which answers each call with another text, as a
real one does. The others say the same to the same messages.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Speed:
    """How an answer is paced. `tokens_per_second` is infinite when it is not paced at all."""

    tokens_per_second: float
    first_token_seconds: float
    burst_seconds: float = 0.0
    async_filter: bool = False

    def to_dict(self) -> dict[str, Any]:
        unpaced = math.isinf(self.tokens_per_second)
        return {
            "tokens_per_second": "max" if unpaced else self.tokens_per_second,
            "first_token_seconds": self.first_token_seconds,
            "burst_seconds": self.burst_seconds,
            "async_filter": self.async_filter,
        }

    def changed(self, values: Mapping[str, Any]) -> "Speed":
        """This speed with some members replaced; ValueError names the one that is wrong."""
        unknown = set(values) - set(self.to_dict())
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: not one of {', '.join(self.to_dict())}")
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if name == "async_filter":
                changes[name] = parse_switch(value)
            elif name == "tokens_per_second":
                changes[name] = parse_rate(value)
            else:
                changes[name] = parse_seconds(value)
        return replace(self, **changes)


def parse_rate(value: object) -> float:
    """A positive number of tokens per second, or `max`."""
    if value == "max":
        return math.inf
    rate = float(str(value))
    if not 0 < rate < math.inf:
        raise ValueError(f"{value}: tokens per second are a positive number, or max")
    return rate


def parse_seconds(value: object) -> float:
    seconds = float(str(value))
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value}: seconds are not negative")
    return seconds


def parse_switch(value: object) -> bool:
    text = str(value).lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError(f"{value}: a switch is true or false")
    return text in ("true", "1")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A name under which a model answers."""

    name: str
    model: str  # the real model's name and version, as chunks carry it
    speed: Speed
    context_tokens: int = 128_000
    max_output_tokens: int = 32_768  # as gpt-4.1; `#length 102400` fits
    is_reasoning: bool = False
    drifts: bool = False  # another text on each call, as if every question had `#drift`


# Speeds near what is measured on Azure (time to first token, tokens a second), made pleasant for people where the real
# one is not: nobody learns anything from 16 s of silence at a desk.
DEFAULT_DEPLOYMENTS = (
    Deployment("gpt-4o-mini", "gpt-4o-mini-2024-07-18", Speed(60, 0.3)),
    Deployment("gpt-4o", "gpt-4o-2024-11-20", Speed(100, 0.6)),
    Deployment("o3-mini", "o3-mini-2025-01-31", Speed(100, 4.0), 200_000, 100_000, is_reasoning=True),
    Deployment("slow", "gpt-4o-2024-11-20", Speed(25, 2.5)),
    Deployment("fast", "gpt-4o-mini-2024-07-18", Speed(200, 0.05)),
    Deployment("zero", "gpt-4o-mini-2024-07-18", Speed(math.inf, 0.0)),
)

DRIFT_SUFFIX = "-drift"

_ENVIRONMENT = {
    "STAND_IN_MODEL_TOKENS_PER_SECOND": "tokens_per_second",
    "STAND_IN_MODEL_FIRST_TOKEN_SECONDS": "first_token_seconds",
    "STAND_IN_MODEL_BURST_SECONDS": "burst_seconds",
    "STAND_IN_MODEL_ASYNC_FILTER": "async_filter",
}


def _read_speed(environment: Mapping[str, str]) -> dict[str, str]:
    """The members of a speed that the environment sets; ValueError names the variable that is wrong."""
    values = {member: environment[variable] for variable, member in _ENVIRONMENT.items() if environment.get(variable)}
    for variable, member in _ENVIRONMENT.items():
        if member in values:
            try:
                DEFAULT_DEPLOYMENTS[0].speed.changed({member: values[member]})
            except ValueError as error:
                raise ValueError(f"{variable}: {error}") from error
    return values


class Deployments:
    """The deployments of this emulator, with the speeds that hold at the moment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment_speed = _read_speed(environment)
        self._originals = {deployment.name: deployment for deployment in DEFAULT_DEPLOYMENTS}
        like = DEFAULT_DEPLOYMENTS[0]
        for entry in environment.get("STAND_IN_MODEL_DEPLOYMENTS", "").split(","):
            name, _, model = entry.strip().partition("=")
            if name:
                self._originals[name] = replace(like, name=name, model=model or like.model)
        twins = [replace(each, name=each.name + DRIFT_SUFFIX, drifts=True) for each in self._originals.values()]
        self._originals |= {twin.name: twin for twin in twins}
        self._current: dict[str, Deployment] = {}
        self.reset()

    def reset(self) -> None:
        """Back to the speeds of the start."""
        self._current = dict(self._originals)
        self.change_speed(self._environment_speed)

    def change_speed(self, values: Mapping[str, Any], name: str | None = None) -> None:
        """Change some members of one deployment's speed, or of all; ValueError names what is wrong."""
        changed = [self._current[name]] if name else list(self._current.values())
        for deployment in [replace(each, speed=each.speed.changed(values)) for each in changed]:
            self._current[deployment.name] = deployment

    def find(self, name: str) -> Deployment | None:
        return self._current.get(name)

    def names(self) -> list[str]:
        return list(self._current)

    def all(self) -> list[Deployment]:
        return list(self._current.values())
