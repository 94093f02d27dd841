"""Proxied calls: one request that the proxy accepted, and the one log record that it leaves.

The record is made when the call is accepted, and again while it goes on, so that what is stored of a call is at any
moment the record it would leave if its worker died now: `status` says `running`. Whoever ends the call, the worker or
later the sweeper, stores it with its last status first and sends what is stored, so copies are equal to the byte.
What a key's policy keeps out of the log is never in it, nor in what is stored.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chat.completion_tap import Choice, Learned
from chat.frames import utf16_length
from chat.proxy_keys import LogPolicy, LogTexts
from chat.record_size import json_of
from chat.turn_view import iso

SCHEMA = 1
RUNNING = "running"
LONGEST_MESSAGE = 2_000  # characters of a service's error message; it may quote the whole request
# Which call it was and how it went: in a record whatever a key's fields are.
ALWAYS = frozenset({"schema", "type", "call_id", "caller", "status", "timestamp"})


@dataclass(frozen=True, slots=True)
class ProxiedCall:
    """What the request tells. `kind` is the record's type; `at` is milliseconds since 1970 UTC."""

    call_id: str
    caller: str
    policy: LogPolicy
    kind: str
    deployment: str
    api_version: str | None
    prompt: tuple[dict[str, Any], ...]
    at: int


@dataclass(frozen=True, slots=True)
class Answered:
    """How the service began to answer."""

    http_status: int
    region: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: completed, filtered, failed, client_gone or aborted; `error` is {"code", "message"}."""

    status: str
    error: Mapping[str, Any] | None = None


def prompt_messages(body: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """What the model is given, as messages: those of a chat completion, or the input of a response or embedding."""
    given = body.get("messages", body.get("input"))
    items = given if isinstance(given, list) else [given] if given is not None else []
    messages = [item if isinstance(item, dict) else {"role": "user", "content": item} for item in items]
    if isinstance(instructions := body.get("instructions"), str):
        messages.insert(0, {"role": "system", "content": instructions})
    return tuple(messages)


def ending_of(answered: Answered, learned: Learned, *, streamed: bool) -> Ending:
    """How a call ended whose answer came to its end by itself."""
    error = learned.error
    if answered.http_status >= 400 or error is not None:
        code = str((error or {}).get("code") or (error or {}).get("type") or answered.http_status)
        message = str((error or {}).get("message") or f"The model service answered {answered.http_status}.")
        message = message[:LONGEST_MESSAGE]
        status = "filtered" if code in ("content_filter", "ResponsibleAIPolicyViolation") else "failed"
        return Ending(status, {"code": code, "message": message})
    choices = learned.choices.values()
    if streamed and not learned.whole and not (choices and all(choice.finish_reason for choice in choices)):
        return Ending("failed", {"code": "stream_ended_early", "message": "The stream ended in mid-answer."})
    if any(choice.finish_reason == "content_filter" for choice in choices):
        return Ending("filtered", {"code": "content_filter", "message": "The content filter ended this answer."})
    return Ending("completed")


def call_record(
    call: ProxiedCall, answered: Answered | None, learned: Learned, ending: Ending | None, now: int
) -> dict[str, Any]:
    """The record of a call as it stands; without an ending it still runs."""
    first = learned.choices.get(0, Choice())
    streamed = call.kind.startswith("stream_")
    text, first_at = first.text, learned.first_content_at
    shown = call.policy.texts is LogTexts.FULL
    record: dict[str, Any] = {
        "type": call.kind,
        "content": text if shown else None,
        "usage": learned.usage,
        "model": learned.model or "unknown",
        "prompt": _prompt(call),
        "region": (answered and answered.region) or "unknown",
        "latency_ms": now - call.at,
        "time_to_first_chunk_ms": first_at - call.at if streamed and first_at else None,
        "streaming_duration_ms": now - first_at if streamed and first_at else None,
        "timestamp": iso(now),
        "schema": SCHEMA,
        "call_id": call.call_id,
        "caller": call.caller,
        "deployment": call.deployment,
        "api_version": call.api_version,
        "request_id": answered.request_id if answered else None,
        "response_id": learned.response_id,
        "http_status": answered.http_status if answered else None,
        "finish_reason": first.finish_reason,
        "status": ending.status if ending else RUNNING,
        "error": _error(ending, learned, answered, shown=shown),
        "prompt_filter_results": learned.prompt_filter,
        "content_filter_results": learned.content_filter,
        "tool_calls": _tool_calls(first, call.policy),
        "choices": _choices(learned, call.policy),
        "chunks": learned.chunks,
        "length": utf16_length(text or ""),
        "sha256": None if call.policy.texts is LogTexts.NONE else _sha256(text or ""),
        "truncated": learned.truncated,
    }
    if call.policy.fields is None:
        return record
    return {name: value for name, value in record.items() if name in ALWAYS or name in call.policy.fields}


def aborted(record: Mapping[str, Any]) -> dict[str, Any]:
    """The last record of a call whose worker died: what was known when it was stored last."""
    ended = {"status": "aborted"}
    if "error" in record:
        message = "The worker that passed this answer on went away; this is what it had stored."
        return {**record, **ended, "error": {"code": "worker_lost", "message": message, "http_status": None}}
    return {**record, **ended}


def _prompt(call: ProxiedCall) -> list[dict[str, Any]]:
    match call.policy.texts:
        case LogTexts.FULL:
            return list(call.prompt)
        case LogTexts.NONE:
            return []
    return [{"role": message.get("role"), "content": None} | _hashed(message) for message in call.prompt]


def _hashed(message: Mapping[str, Any]) -> dict[str, Any]:
    """The hash of a message's text, or of the JSON of what it holds instead (parts, calls of tools)."""
    content = message.get("content")
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    text = (
        content
        if isinstance(content, str) and not rest
        else json_of(message if rest else content, sort_keys=True).decode()
    )
    return {"sha256": _sha256(text), "length": utf16_length(text)}


def _choices(learned: Learned, policy: LogPolicy) -> list[dict[str, Any]] | None:
    """All answers of a call that asked for several."""
    if len(learned.choices) < 2:
        return None
    return [
        {
            "index": index,
            "content": choice.text if policy.texts is LogTexts.FULL else None,
            "sha256": None if policy.texts is LogTexts.NONE else _sha256(choice.text or ""),
            "finish_reason": choice.finish_reason,
            "tool_calls": _tool_calls(choice, policy),
        }
        for index, choice in sorted(learned.choices.items())
    ]


def _tool_calls(choice: Choice, policy: LogPolicy) -> list[dict[str, Any]] | None:
    """Their arguments are made of the prompt: where that is not to be logged, the names must do."""
    if not choice.tool_calls:
        return None
    if policy.texts is LogTexts.FULL:
        return choice.calls
    hashed = policy.texts is LogTexts.HASHED
    return [
        call | {"arguments": None} | ({"sha256": _sha256(call["arguments"])} if hashed else {}) for call in choice.calls
    ]


def _error(ending: Ending | None, learned: Learned, answered: Answered | None, *, shown: bool) -> dict[str, Any] | None:
    """What went wrong. A service's message may quote the prompt: where that is not to be logged, the code must do."""
    if ending is None or ending.error is None:
        return None
    code, message = ending.error["code"], ending.error["message"]
    return {
        "code": code,
        "message": message if shown else code,
        "http_status": answered.http_status if answered else None,
    }


def _sha256(text: str) -> str:
    # A lonely surrogate, which JSON can hold and UTF-8 cannot, is hashed as it would be written.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
