"""The body of a chat completion, checked as the service checks it, reduced to what the emulator needs.

A parameter falls into one of four groups: understood and obeyed; accepted without effect (a script is not sampled);
known to the service but refused here by name (`NotEmulated`); unknown and refused as the service does. Reasoning models
have rules of their own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stand_in.azure_openai.access import knows_stream_options
from stand_in.azure_openai.deployments import Deployment
from stand_in.azure_openai.errors import ContextLengthExceeded, InvalidRequest, NotEmulated, UnsupportedParameter
from stand_in.azure_openai.structured_output import parse_format
from stand_in.azure_openai.tokens import estimate_prompt_tokens

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
OBEYED = {
    "messages",
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "n",
    "reasoning_effort",
    "tools",
    "tool_choice",
    "response_format",
}
WITHOUT_EFFECT = {
    "seed",
    "user",
    "logit_bias",
    "metadata",
    "store",
    "parallel_tool_calls",
    "functions",
    "service_tier",
}
WITHOUT_EFFECT |= {"safety_identifier", "prompt_cache_key", "verbosity"}
NOT_EMULATED = {
    "data_sources",
    "dataSources",
    "audio",
    "modalities",
    "prediction",
    "top_logprobs",
    "web_search_options",
}
RANGES = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
NOT_FOR_REASONING = {*RANGES, "logprobs", "top_logprobs", "logit_bias"}
MOST_CHOICES = 128
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high")


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message: who speaks, and the text of it."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What is asked for."""

    messages: tuple[PromptMessage, ...]
    stream: bool
    include_usage: bool
    max_tokens: int
    stop: tuple[str, ...]
    reasoning_effort: str
    prompt_tokens: int
    tools: Mapping[str, dict[str, Any]]  # the functions that may be called, with the schema of their parameters
    forced_tool: str | None = None  # the one that has to be called; "" for any
    schema: dict[str, Any] | None = None  # what the answer has to be an instance of
    choices: int = 1

    @property
    def messages_hash(self) -> str:
        """The same for the same messages, also after a restart."""
        return hash_messages(self.messages)


def hash_messages(messages: tuple[PromptMessage, ...]) -> str:
    return hashlib.sha256(json.dumps([(message.role, message.text) for message in messages]).encode()).hexdigest()


def parse_completion_request(body: bytes, deployment: Deployment, api_version: str) -> CompletionRequest:
    try:
        values = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidRequest("The body of a chat completion is a JSON object.")
    _check_parameters(values, deployment)
    messages = _parse_messages(values.get("messages"))
    stream = _flag(values, "stream")
    prompt_tokens = estimate_prompt_tokens([message.text for message in messages])
    max_tokens = _parse_max_tokens(values, deployment)
    tools = _parse_tools(values)
    if prompt_tokens > deployment.context_tokens:
        raise ContextLengthExceeded(deployment.context_tokens, prompt_tokens)
    return CompletionRequest(
        messages=messages,
        stream=stream,
        include_usage=_parse_stream_options(values, stream, api_version),
        max_tokens=max_tokens,
        stop=_parse_stop(values.get("stop")),
        reasoning_effort=values.get("reasoning_effort") or "medium",
        prompt_tokens=prompt_tokens,
        tools=tools,
        forced_tool=_parse_forced_tool(values.get("tool_choice"), tools),
        schema=parse_format(values.get("response_format"), "response_format", [message.text for message in messages]),
        choices=_parse_choices(values.get("n")),
    )


def _check_parameters(values: dict[str, Any], deployment: Deployment) -> None:
    known = OBEYED | WITHOUT_EFFECT | NOT_EMULATED | set(RANGES) | {"logprobs", "function_call"}
    for name, value in values.items():
        if name not in known:
            raise InvalidRequest(f"Unrecognized request argument supplied: {name}")
        if value is None:
            continue
        if name in NOT_EMULATED:
            raise NotEmulated(f"the parameter {name}", name)
        if deployment.is_reasoning and name in NOT_FOR_REASONING:
            raise UnsupportedParameter(name)
        if name in RANGES:
            low, high = RANGES[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InvalidRequest(f"Invalid '{name}': expected a number from {low} to {high}.", name)
    _check_choices(values, deployment)


def _check_choices(values: dict[str, Any], deployment: Deployment) -> None:
    """Parameters of which some values work: those that ask for nothing special."""
    if values.get("logprobs") not in (None, False):
        raise NotEmulated("logprobs", "logprobs")
    if values.get("function_call") not in (None, "none", "auto"):
        raise NotEmulated("forced calls of functions (use tools and tool_choice)", "function_call")
    effort = values.get("reasoning_effort")
    if effort is not None and not deployment.is_reasoning:
        raise InvalidRequest("Unrecognized request argument supplied: reasoning_effort")
    if effort is not None and effort not in REASONING_EFFORTS:
        raise InvalidRequest(f"Invalid 'reasoning_effort': one of {', '.join(REASONING_EFFORTS)}.", "reasoning_effort")


def _parse_messages(value: object) -> tuple[PromptMessage, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidRequest("'messages' is a required property: a list with at least one message.", "messages")
    return tuple(_parse_message(message, f"messages[{index}]") for index, message in enumerate(value))


def _parse_message(value: object, where: str) -> PromptMessage:
    if not isinstance(value, dict):
        raise InvalidRequest(f"Invalid type for '{where}': expected an object.", where)
    role = value.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"Invalid value: {role!r}. Supported values are: {', '.join(ROLES)}.", f"{where}.role")
    content = value.get("content")
    if content is None and role == "assistant" and (value.get("tool_calls") or value.get("function_call")):
        return PromptMessage(role, "")
    if isinstance(content, str):
        return PromptMessage(role, content)
    if isinstance(content, list):
        return PromptMessage(role, "".join(_parse_part(part, f"{where}.content") for part in content))
    raise InvalidRequest(
        f"Invalid type for '{where}.content': expected a string or a list of parts.", f"{where}.content"
    )


def _parse_part(value: object, where: str) -> str:
    if isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    if isinstance(value, dict) and value.get("type") in ("image_url", "input_audio", "file"):
        raise NotEmulated(f"content parts of type {value['type']}", where)
    raise InvalidRequest(f"Invalid '{where}': a part is {{'type': 'text', 'text': ...}}.", where)


def _parse_tools(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tools = values.get("tools") or []
    try:
        offered = {str(tool["function"]["name"]): dict(tool["function"].get("parameters") or {}) for tool in tools}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        message = "Invalid 'tools': a list of {'type': 'function', 'function': {'name': ...}}."
        raise InvalidRequest(message, "tools") from error
    return {} if values.get("tool_choice") == "none" else offered


def _parse_forced_tool(choice: Any, tools: Mapping[str, dict[str, Any]]) -> str | None:
    if choice in (None, "none", "auto"):
        return None
    if choice == "required":
        name = ""
    else:
        try:
            name = str(choice["function"]["name"])
        except (TypeError, KeyError) as error:
            message = "Invalid 'tool_choice': none, auto, required or {'type': 'function', 'function': {'name': ...}}."
            raise InvalidRequest(message, "tool_choice") from error
    if not tools or (name and name not in tools):
        raise InvalidRequest(f"Invalid 'tool_choice': {name or 'required'!r} is not among the tools.", "tool_choice")
    return name


def _parse_choices(value: object) -> int:
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_CHOICES:
        raise InvalidRequest(f"Invalid 'n': expected an integer from 1 to {MOST_CHOICES}.", "n")
    return value


def _flag(values: dict[str, Any], name: str) -> bool:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"Invalid type for '{name}': expected a boolean.", name)
    return bool(value)


def _parse_stream_options(values: dict[str, Any], stream: bool, api_version: str) -> bool:
    options = values.get("stream_options")
    if options is None:
        return False
    if not knows_stream_options(api_version):
        raise InvalidRequest("Unrecognized request argument supplied: stream_options")
    if not stream:
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise InvalidRequest("Invalid 'stream_options': an object with include_usage.", "stream_options")
    return _flag(options, "include_usage")


def _parse_max_tokens(values: dict[str, Any], deployment: Deployment) -> int:
    name = "max_completion_tokens" if values.get("max_completion_tokens") is not None else "max_tokens"
    if deployment.is_reasoning and values.get("max_tokens") is not None:
        raise UnsupportedParameter("max_tokens", "Use 'max_completion_tokens' instead.")
    if values.get("max_tokens") is not None and values.get("max_completion_tokens") is not None:
        raise InvalidRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", name
        )
    value = values.get(name)
    if value is None:
        return deployment.max_output_tokens
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRequest(f"Invalid '{name}': expected an integer of at least 1.", name)
    if value > deployment.max_output_tokens:
        raise InvalidRequest(
            f"max_tokens is too large: {value}. This model supports at most {deployment.max_output_tokens} completion"
            f" tokens, whereas you provided {value}.",
            name,
        )
    return value


def _parse_stop(value: object) -> tuple[str, ...]:
    sequences = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(sequences, list)
        or len(sequences) > 4
        or not all(isinstance(each, str) and each for each in sequences)
    ):
        raise InvalidRequest("Invalid 'stop': a string or a list of up to 4 strings.", "stop")
    return tuple(sequences)


def read_model_name(body: bytes) -> str:
    """The `model` of a body, which names the deployment where the path does not."""
    try:
        name = json.loads(body)["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest("you must provide a model parameter", "model") from error
    return str(name)
