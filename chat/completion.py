"""Completions: what is asked of a model, and what comes back while it answers.

`text` of a chunk is a Python string of code points, but a service may cut an astral character in two: then one chunk
ends in a lone high surrogate and the next begins with the low one. Who joins them is `chat/frames.py`.
"""

import math
from dataclasses import dataclass
from typing import Any

# What a code point costs, in quarters of a token, where the service names no number: English prose has about four
# characters a token, other alphabets about two; Chinese, Japanese, Korean (U+2E80 on) and emoji about one.
ASCII, ALPHABETS, WIDE = 1, 2, 4
FIRST_WIDE = "\u2e80"


def token_quarters(text: str) -> int:
    """About what a text costs, in quarters of a token; pieces of a text add up to what the whole costs."""
    if text.isascii():
        return ASCII * len(text)
    return sum(WIDE if each >= FIRST_WIDE else ASCII if each.isascii() else ALPHABETS for each in text)


def tokens_of(quarters: int) -> int:
    """Whole tokens, rounded up."""
    return math.ceil(quarters / 4)


def estimated_tokens(text: str) -> int:
    """About how many tokens a text costs."""
    return tokens_of(token_quarters(text))


@dataclass(frozen=True, slots=True)
class Message:
    """A role (`system`, `user`, `assistant`) and its content, as the model API has it."""

    role: str
    content: str

    def to_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What is asked of a model.

    `temperature` and `top_p` are sent only when set. `max_tokens` becomes `max_completion_tokens` for reasoning models,
    which get neither of the other two. `background` asks for a response that goes on at the service when we are gone.
    """

    messages: tuple[Message, ...]
    deployment: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    is_reasoning_model: bool = False
    background: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """Who answers: known when the response headers are in, before the first chunk."""

    deployment: str
    region: str  # x-ms-region, or "unknown"
    request_id: str | None  # apim-request-id, else x-request-id
    api_version: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a streamed completion, reduced to what the app uses. Empty chunks are not produced."""

    text: str = ""
    finish_reason: str | None = None
    response_id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    prompt_filter: list[Any] | None = None  # prompt_filter_results, as sent
    content_filter: dict[str, Any] | None = None  # content_filter_results that say filtered, detected or error
    content_filter_offsets: dict[str, int] | None = None  # asynchronous filter only
    sequence: int | None = None  # of the event in a background response
