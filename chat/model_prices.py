"""Model prices: what a call cost, by a table that the operator keeps, since prices change and differ by contract.

    MODEL_PRICES={"gpt-4o-mini": {"prompt": 0.15, "completion": 0.60, "cached": 0.075}}

Each number is the price of a million tokens. A model is found by the longest name in the table that its own begins
with: services answer with a version behind the name (`gpt-4o-mini-2024-07-18`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens. Cached prompt tokens cost as much as others unless the table says so."""

    prompt: float
    completion: float
    cached: float


class ModelPrices:
    """The table. Raises ValueError, naming what is wrong."""

    def __init__(self, setting: str | None) -> None:
        try:
            value = json.loads(setting or "{}")
        except ValueError:
            raise ValueError("must be a JSON object of models and their prices") from None
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object of models and their prices")
        self._prices = {model: _price(model, entry) for model, entry in value.items()}

    def cost(self, model: str, usage: Mapping[str, Any] | None) -> float | None:
        """What these tokens cost; None when the price or the usage is not known."""
        names = [name for name in self._prices if model.startswith(name)]
        if not names or not usage:
            return None
        price = self._prices[max(names, key=len)]
        given, written, cached = tokens_of(usage)
        return ((given - cached) * price.prompt + cached * price.cached + written * price.completion) / MILLION


def tokens_of(usage: Mapping[str, Any] | None) -> tuple[int, int, int]:
    """Tokens of the prompt, of the completion, and those of the prompt that were cached; either API's names."""
    usage = usage or {}
    given = usage.get("prompt_tokens", usage.get("input_tokens")) or 0
    written = usage.get("completion_tokens", usage.get("output_tokens")) or 0
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details")) or {}
    return given, written, details.get("cached_tokens") or 0


def _price(model: str, entry: Any) -> Price:
    known = {"prompt", "completion", "cached"}
    if not isinstance(entry, dict) or not {"completion", "prompt"} <= set(entry) <= known:
        raise ValueError(f"must give {model!r} an object of prompt, completion and perhaps cached")
    for name, number in entry.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or number < 0:
            raise ValueError(f"must give the {name} price of {model!r} as a number from 0 on")
    cached = entry["cached"] if "cached" in entry else entry["prompt"]
    return Price(entry["prompt"], entry["completion"], cached)
