"""Background responses on the wire: the body of a request, and what each event of its stream means.

The Responses API in background mode: the answer goes on at the service when its reader is gone, and can be read again
from any event on, by number. Its events are those of the openai SDK's `types/responses`; what adds nothing to a chat
answer (reasoning, items, parts, the `.done` twins of deltas) is passed over.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from adapters.chat_events import messages_of, sampling_of
from adapters.model_failures import failure_of_event, failure_of_short_stream
from chat.completion import Chunk, CompletionRequest
from chat.errors import ModelFailure, ResponseLost

SMALLEST_LIMIT = 16  # the service refuses a smaller max_output_tokens
FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


def response_body(request: CompletionRequest, model: str) -> dict[str, Any]:
    """The body that asks for a streamed response in background mode; only a stored one can be read again."""
    body: dict[str, Any] = {
        "model": model,
        "input": messages_of(request),
        "background": True,
        "stream": True,
        "store": True,
    }
    if request.max_tokens is not None:
        body["max_output_tokens"] = max(SMALLEST_LIMIT, request.max_tokens)
    return body | sampling_of(request)


class ResponseEvents:
    """The events of one stream, each as a chunk, or None when it says nothing. Raises ModelFailure, or ResponseLost
    when the response itself is over without an answer."""

    has_done: ClassVar[bool] = False

    def __init__(self, key: str | None, *, is_reattached: bool = False) -> None:
        self._key = key
        self._is_reattached = is_reattached
        self._readers: dict[str, Callable[[dict[str, Any]], Chunk]] = {
            "response.created": self._created,
            "response.output_text.delta": self._delta,
            "response.refusal.delta": self._delta,  # a refusal is an answer too
            "response.completed": self._completed,
            "response.incomplete": self._incomplete,
            "response.failed": self._failed,
            "response.cancelled": self._failed,
            "error": self._error,
        }

    def failure_of_end(self) -> ModelFailure:
        """A response that was cancelled or has expired is read to its end without a word about it."""
        failure = failure_of_short_stream()
        return lost(failure) if self._is_reattached else failure

    def is_alive(self, event: dict[str, Any]) -> bool:
        """Reasoning, items, parts: the service sends nothing of the kind to keep a connection busy."""
        return str(event.get("type")).startswith("response.")

    def read(self, event: dict[str, Any]) -> Chunk | None:
        reader = self._readers.get(str(event.get("type")))
        return reader(event) if reader else None

    def _created(self, event: dict[str, Any]) -> Chunk:
        response = event.get("response") or {}
        return Chunk(response_id=response.get("id"), model=response.get("model"), sequence=event.get("sequence_number"))

    def _delta(self, event: dict[str, Any]) -> Chunk:
        return Chunk(text=event.get("delta") or "", sequence=event.get("sequence_number"))

    def _completed(self, event: dict[str, Any]) -> Chunk:
        return self._finished(event, "stop")

    def _incomplete(self, event: dict[str, Any]) -> Chunk:
        details = (event.get("response") or {}).get("incomplete_details") or {}
        return self._finished(event, FINISH_REASONS.get(str(details.get("reason")), "length"))

    def _finished(self, event: dict[str, Any], finish_reason: str) -> Chunk:
        response = event.get("response") or {}
        return Chunk(
            finish_reason=finish_reason,
            model=response.get("model"),
            usage=_usage(response.get("usage")),
            sequence=event.get("sequence_number"),
        )

    def _failed(self, event: dict[str, Any]) -> Chunk:
        error = (event.get("response") or {}).get("error") or {"code": "response_failed", "message": "It failed."}
        raise lost(failure_of_event({"error": error}, self._key))

    def _error(self, event: dict[str, Any]) -> Chunk:
        """Part of the response: whoever reads it again finds it again."""
        failure = failure_of_event({"error": event.get("error") or event}, self._key)
        raise lost(failure) if self._is_reattached else failure


def lost(failure: ModelFailure) -> ResponseLost:
    """The same failure, when it means that nothing more will come of the response."""
    return ResponseLost(
        failure.failure_class,
        failure.code,
        failure.message,
        http_status=failure.http_status,
        retry_after=failure.retry_after,
        details=failure.details,
    )


def _usage(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    """The counts under the names that chat completions have for them."""
    if not usage:
        return None
    found = {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details"),
        "completion_tokens_details": usage.get("output_tokens_details"),
    }
    return {name: value for name, value in found.items() if value is not None}
