"""The body of a Responses call, checked as the service checks it, reduced to what the emulator needs.

Input and instructions become the messages that a chat completion would have, so the same script answers both APIs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stand_in.azure_openai.completion_request import RANGES, REASONING_EFFORTS, CompletionRequest, PromptMessage
from stand_in.azure_openai.deployments import Deployment
from stand_in.azure_openai.errors import ContextLengthExceeded, InvalidRequest, NotEmulated, UnsupportedParameter
from stand_in.azure_openai.structured_output import parse_format
from stand_in.azure_openai.tokens import estimate_prompt_tokens

OBEYED = {
    "background",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "reasoning",
    "store",
    "stream",
    "text",
}
WITHOUT_EFFECT = {
    "include",
    "max_tool_calls",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "stream_options",
    "temperature",
    "top_p",
    "truncation",
    "user",
}
NOT_EMULATED = {
    "conversation",
    "context_management",
    "moderation",
    "previous_response_id",
    "prompt",
    "tool_choice",
    "tools",
    "top_logprobs",
}
ASKING_NOTHING: dict[str, tuple[Any, ...]] = {"tools": ([],), "tool_choice": ("auto", "none"), "top_logprobs": (0,)}
ROLES = ("system", "developer", "user", "assistant")
TEXT_PARTS = ("input_text", "output_text", "text")
OTHER_PARTS = ("input_image", "input_file", "input_audio", "refusal")
FEWEST_OUTPUT_TOKENS = 16


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """What is asked for. `echo` holds the members that the response object repeats."""

    completion: CompletionRequest
    background: bool
    store: bool
    echo: Mapping[str, Any]


def parse_responses_request(body: bytes, deployment: Deployment) -> ResponsesRequest:
    try:
        values = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidRequest("The body of a response is a JSON object.")
    _check_parameters(values, deployment)
    messages = _parse_instructions(values.get("instructions")) + _parse_input(values.get("input"))
    texts = [message.text for message in messages]
    prompt_tokens = estimate_prompt_tokens(texts)
    if prompt_tokens > deployment.context_tokens:
        raise ContextLengthExceeded(deployment.context_tokens, prompt_tokens, "input")
    background, store = _flag(values, "background", False), _flag(values, "store", True)
    if background and not store:
        raise InvalidRequest("Background mode requires 'store' to be true.", "background")
    completion = CompletionRequest(
        messages=messages,
        stream=_flag(values, "stream", False),
        include_usage=True,
        max_tokens=_parse_max_output_tokens(values.get("max_output_tokens"), deployment),
        stop=(),
        reasoning_effort=_member(values, "reasoning").get("effort") or "medium",
        prompt_tokens=prompt_tokens,
        tools={},
        schema=parse_format(_member(values, "text").get("format"), "text.format", texts),
    )
    return ResponsesRequest(completion, background, store, _echo(values, deployment))


def _check_parameters(values: dict[str, Any], deployment: Deployment) -> None:
    for name, value in values.items():
        if name not in OBEYED | WITHOUT_EFFECT | NOT_EMULATED:
            raise InvalidRequest(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
        if value is None or value in ASKING_NOTHING.get(name, ()):
            continue
        if name in NOT_EMULATED:
            raise NotEmulated(f"the parameter {name}", name)
        if name in RANGES:
            if deployment.is_reasoning:
                raise UnsupportedParameter(name)
            low, high = RANGES[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InvalidRequest(f"Invalid '{name}': expected a number from {low} to {high}.", name)
    effort = _member(values, "reasoning").get("effort")
    if effort is not None and not deployment.is_reasoning:
        raise UnsupportedParameter("reasoning.effort")
    if effort is not None and effort not in REASONING_EFFORTS:
        raise InvalidRequest(f"Invalid 'reasoning.effort': one of {', '.join(REASONING_EFFORTS)}.", "reasoning.effort")


def _member(values: dict[str, Any], name: str) -> dict[str, Any]:
    value = values.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest(f"Invalid type for '{name}': expected an object.", name, "invalid_type")
    return value or {}


def _flag(values: dict[str, Any], name: str, default: bool) -> bool:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"Invalid type for '{name}': expected a boolean.", name, "invalid_type")
    return default if value is None else value


def _parse_max_output_tokens(value: object, deployment: Deployment) -> int:
    name = "max_output_tokens"
    if value is None:
        return deployment.max_output_tokens
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
    if value < FEWEST_OUTPUT_TOKENS:
        message = f"Invalid '{name}': integer below minimum value. Expected a value >= 16, but got {value} instead."
        raise InvalidRequest(message, name, "integer_below_min_value")
    return min(value, deployment.max_output_tokens)


def _parse_instructions(value: object) -> tuple[PromptMessage, ...]:
    if value is None:
        return ()
    if not isinstance(value, str):
        raise InvalidRequest("Invalid type for 'instructions': expected a string.", "instructions", "invalid_type")
    return (PromptMessage("system", value),)


def _parse_input(value: object) -> tuple[PromptMessage, ...]:
    if isinstance(value, str) and value:
        return (PromptMessage("user", value),)
    if not isinstance(value, list) or not value:
        raise InvalidRequest("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    return tuple(_parse_item(item, f"input[{index}]") for index, item in enumerate(value))


def _parse_item(value: object, where: str) -> PromptMessage:
    if not isinstance(value, dict):
        raise InvalidRequest(f"Invalid type for '{where}': expected an object.", where, "invalid_type")
    kind = value.get("type", "message")
    if kind != "message":
        raise NotEmulated(f"input items of type {kind}", f"{where}.type")
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise InvalidRequest(f"Invalid value: {role!r}. Supported values are: {', '.join(ROLES)}.", f"{where}.role")
    if isinstance(content, str):
        return PromptMessage(role, content)
    if not isinstance(content, list):
        message = f"Invalid type for '{where}.content': expected a string or a list of parts."
        raise InvalidRequest(message, f"{where}.content", "invalid_type")
    return PromptMessage(role, "".join(_parse_part(part, f"{where}.content") for part in content))


def _parse_part(value: object, where: str) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in TEXT_PARTS and isinstance(value, dict) and isinstance(value.get("text"), str):
        return str(value["text"])
    if kind in OTHER_PARTS:
        raise NotEmulated(f"content parts of type {kind}", where)
    raise InvalidRequest(f"Invalid '{where}': a part is {{'type': 'input_text', 'text': ...}}.", where)


def _echo(values: dict[str, Any], deployment: Deployment) -> dict[str, Any]:
    """The request's members as the response object shows them, defaults filled in."""
    sampling = None if deployment.is_reasoning else 1.0
    defaults: dict[str, Any] = {
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "prompt_cache_key": None,
        "safety_identifier": None,
        "service_tier": "default",
        "temperature": sampling,
        "tool_choice": "auto",
        "top_p": sampling,
        "truncation": "disabled",
        "user": None,
    }
    given = {name: values[name] for name in defaults if values.get(name) is not None}
    reasoning = {"effort": "medium" if deployment.is_reasoning else None, "summary": None}
    text = {"format": {"type": "text"}, "verbosity": "medium"}
    return (
        defaults
        | given
        | {"reasoning": reasoning | _member(values, "reasoning"), "text": text | _member(values, "text")}
    )
