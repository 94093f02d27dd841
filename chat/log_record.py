"""Log records: the one Event Hubs event that a finished turn leaves.

The first fields are those of the logging SSE proxy, names and types unchanged; ours follow. The record is made from
the journal up to its first `end`, so every copy of it is equal to the byte. Its schema is
`docs/log-record.schema.json`.
"""

from typing import Any

from chat.conversation import Prompt
from chat.journal import Fold
from chat.turn import conversation_key_of
from chat.turn_view import iso

SCHEMA = 1


def log_record(fold: Fold, prompt: Prompt | None) -> dict[str, Any]:
    """The record of an ended turn; `prompt` is what the model was given, None when prompts are not to be logged."""
    begin, end, upstream = fold.begin, fold.end, fold.upstream
    assert begin is not None
    assert end is not None
    filters = end.filters or {}
    return {
        "type": "stream_completion",
        "content": fold.text,
        "usage": end.usage,
        "model": (upstream and upstream.model) or "unknown",
        "prompt": [message.to_dict() for message in prompt.messages] if prompt else [],
        "region": upstream.region if upstream else "unknown",
        "latency_ms": end.timings["latencyMs"],
        "time_to_first_chunk_ms": end.timings["timeToFirstChunkMs"],
        "streaming_duration_ms": end.timings["streamingDurationMs"],
        "timestamp": iso(end.at),
        "schema": SCHEMA,
        "turn_id": begin.turn_id,
        "conversation_id": begin.conversation_id,
        "instance_id": begin.turn_id,
        "attempt": fold.claims,
        "generation": fold.generation,
        "recovery_rung": end.rung,
        "wasted_tokens": end.wasted_tokens or 0,
        "deployments": fold.history.deployments,
        "deployment": upstream.deployment if upstream else begin.request["deployment"],
        "api_version": upstream.api_version if upstream else None,
        "request_id": upstream.request_id if upstream else None,
        "response_id": upstream.response_id if upstream else None,
        "finish_reason": end.finish_reason,
        "status": end.status,
        "error": _error(end.error, with_message=prompt is not None),
        "prompt_filter_results": filters.get("prompt"),
        "content_filter_results": filters.get("completion"),
        "queue_ms": end.timings["queueMs"],
        "length": end.length,
        "sha256": end.sha256,
        "delivered_tokens_messages": fold.seq,
        "delivery_errors": end.delivery_errors,
        "truncated": False,
    }


def message_id(turn_id: str) -> str:
    """The id that copies of a record share: consumers deduplicate by it."""
    return f"{turn_id}.end"


def partition_key(turn_id: str) -> str:
    """Records of one conversation stay in order."""
    return conversation_key_of(turn_id)


def _error(error: dict[str, Any] | None, *, with_message: bool) -> dict[str, Any] | None:
    """What went wrong. A provider's message may quote the prompt: where that is not to be logged, the code must do."""
    if error is None:
        return None
    message = error["message"] if with_message else error["code"]
    return {"code": error["code"], "message": message, "http_status": error.get("httpStatus")}
