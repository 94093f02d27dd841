"""Turns: one question and its answer, and the ids that carry their owner.

An id is made from its owner, so that what is not yours does not exist: two people who choose one conversation id have
two conversations, and nobody can guess another's turn id from what they can see.

    conversation key = hash(owner, conversation id)                  32 hex digits
    turn id          = turn-<conversation key>-<32 hex digits>       also the orchestration's instance id

The last part of a turn id is made from the caller's Idempotency-Key, or of random bits when there is none.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chat.errors import InvalidInput

_TURN_ID = re.compile(r"turn-([0-9a-f]{32})-[0-9a-f]{32}")
_CONVERSATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class TurnStatus(StrEnum):
    """How a turn stands; all but `running` are final. `rejected` turns are no part of the talk."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FILTERED = "filtered"
    FAILED = "failed"
    REJECTED = "rejected"


class QueuePolicy(StrEnum):
    """What a turn does while an earlier one of its conversation runs."""

    QUEUE = "queue"
    REJECT = "reject"


def _digest(*parts: str) -> str:
    # Each part is preceded by its length, so that ("ab", "c") and ("a", "bc") differ.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def conversation_key(owner: str, conversation_id: str) -> str:
    """The key of an owner's conversation: the entity's key and the prefix of all its blobs."""
    return _digest("conversation", owner, conversation_id)


def turn_id(key: str, idempotency_key: str | None, random_hex: str) -> str:
    """The id of a turn of the conversation with this key; `random_hex` (32 hex digits) counts when there is no
    idempotency key."""
    return f"turn-{key}-{_digest('key', key, idempotency_key) if idempotency_key is not None else random_hex}"


def conversation_key_of(turn: str) -> str:
    """The conversation key inside a turn id. Raises InvalidInput when it is not a turn id."""
    match = _TURN_ID.fullmatch(turn)
    if match is None:
        raise InvalidInput("turn_id", "A turn id looks like turn-<32 hex digits>-<32 hex digits>.")
    return match[1]


def user_of(owner: str) -> str:
    """The user id that an owner has at SignalR: it travels in tokens, so it does not name the owner."""
    return "user-" + _digest("user", owner)


def checked_conversation_id(value: str) -> str:
    """The value, when it may be a conversation id. Raises InvalidInput otherwise."""
    if not _CONVERSATION_ID.fullmatch(value):
        raise InvalidInput(
            "conversation_id",
            "A conversation id has 1 to 128 of the characters A-Z a-z 0-9 . _ ~ - and begins with a letter or digit.",
        )
    return value


def checked_idempotency_key(value: str | None) -> str | None:
    """The value, when it may be an Idempotency-Key (None when the caller sent none). Raises InvalidInput otherwise."""
    if value is not None and not _IDEMPOTENCY_KEY.fullmatch(value):
        raise InvalidInput("Idempotency-Key", "An Idempotency-Key has 1 to 255 printable ASCII characters, no spaces.")
    return value


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a request may ask for. Sizes are bytes of UTF-8; they come from the settings."""

    deployments: tuple[str, ...]  # the first is the default
    reasoning_deployments: frozenset[str] = frozenset()
    max_prompt_bytes: int = 64 * 1024
    max_tokens: int = 32_768
    default_max_tokens: int | None = None


class PromptTooLarge(InvalidInput):
    """This happened: the prompt has more bytes than the deployment of this app accepts (HTTP 413)."""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a caller asks for in one turn, checked."""

    prompt: str
    deployment: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    is_reasoning_model: bool = False
    policy: QueuePolicy = QueuePolicy.QUEUE

    def to_dict(self) -> dict[str, Any]:
        return {
            "prompt": self.prompt,
            "deployment": self.deployment,
            "temperature": self.temperature,
            "topP": self.top_p,
            "maxTokens": self.max_tokens,
            "isReasoningModel": self.is_reasoning_model,
            "policy": self.policy.value,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "TurnRequest":
        """Back from `to_dict`: what was checked once is not checked again."""
        return cls(
            value["prompt"],
            value["deployment"],
            value["temperature"],
            value["topP"],
            value["maxTokens"],
            value["isReasoningModel"],
            QueuePolicy(value["policy"]),
        )

    @property
    def hash(self) -> str:
        """Tells requests apart: an Idempotency-Key stands for one request only."""
        return _digest("request", json.dumps(self.to_dict(), sort_keys=True))


FIELDS = ("prompt", "deployment", "temperature", "topP", "maxTokens", "isReasoningModel", "policy")


def turn_request(body: Any, limits: RequestLimits) -> TurnRequest:
    """The request in a parsed JSON body. Raises InvalidInput naming the field and what would have been right."""
    if not isinstance(body, dict):
        raise InvalidInput("", 'The body must be a JSON object such as {"prompt": "..."}.')
    for name in body:
        if name == "parentTurnId":
            raise InvalidInput(name, "Branches are not supported: a turn follows the last one of its conversation.")
        if name not in FIELDS:
            raise InvalidInput(str(name), f"Unknown field {name!r}; known are {', '.join(FIELDS)}.")
    temperature = _number(body, "temperature", 0, 2)
    top_p = _number(body, "topP", 0, 1)
    if temperature is not None and top_p is not None:
        raise InvalidInput("topP", "Send temperature or topP, not both.")
    deployment = _deployment(body, limits)
    return TurnRequest(
        prompt=_prompt(body, limits),
        deployment=deployment,
        temperature=temperature,
        top_p=top_p,
        max_tokens=_max_tokens(body, limits),
        is_reasoning_model=_flag(body, "isReasoningModel", deployment in limits.reasoning_deployments),
        policy=_policy(body),
    )


def _prompt(body: dict[str, Any], limits: RequestLimits) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidInput("prompt", "prompt must be a text with at least one character that is not white space.")
    try:
        size = len(prompt.encode())
    except UnicodeEncodeError:
        raise InvalidInput("prompt", "prompt holds half a surrogate pair; it must be well-formed Unicode.") from None
    if size > limits.max_prompt_bytes:
        raise PromptTooLarge("prompt", f"prompt has {size} bytes of UTF-8; {limits.max_prompt_bytes} are allowed.")
    return prompt


def _deployment(body: dict[str, Any], limits: RequestLimits) -> str:
    deployment = body.get("deployment") or limits.deployments[0]
    if not isinstance(deployment, str) or deployment not in limits.deployments:
        raise InvalidInput("deployment", f"deployment must be one of: {', '.join(limits.deployments)}.")
    return deployment


def _number(body: dict[str, Any], name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidInput(name, f"{name} must be a number from {low} to {high}.")
    return float(value)


def _max_tokens(body: dict[str, Any], limits: RequestLimits) -> int | None:
    value = body.get("maxTokens")
    if value is None:
        return limits.default_max_tokens
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limits.max_tokens:
        raise InvalidInput("maxTokens", f"maxTokens must be a whole number from 1 to {limits.max_tokens}.")
    return value


def _flag(body: dict[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInput(name, f"{name} must be true or false.")
    return value


def _policy(body: dict[str, Any]) -> QueuePolicy:
    value = body.get("policy", QueuePolicy.QUEUE.value)
    try:
        return QueuePolicy(value)
    except ValueError:
        raise InvalidInput("policy", 'policy must be "queue" or "reject".') from None
