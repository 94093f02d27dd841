"""Chat completions on the wire: the body of a request, and what each event of its stream means."""

from typing import Any, ClassVar

from adapters.model_failures import failure_of_short_stream
from chat.completion import Chunk, CompletionRequest
from chat.errors import ModelFailure


def chat_body(request: CompletionRequest, model: str, *, with_usage: bool) -> dict[str, Any]:
    """The body that asks for a streamed completion."""
    body: dict[str, Any] = {"model": model, "messages": messages_of(request), "stream": True}
    if with_usage:
        body["stream_options"] = {"include_usage": True}
    if request.max_tokens is not None:
        body["max_completion_tokens" if request.is_reasoning_model else "max_tokens"] = request.max_tokens
    return body | sampling_of(request)


def messages_of(request: CompletionRequest) -> list[dict[str, str]]:
    return [message.to_dict() | {"content": _well_formed(message.content)} for message in request.messages]


def sampling_of(request: CompletionRequest) -> dict[str, float]:
    """What was set of temperature and top_p; reasoning models refuse both."""
    if request.is_reasoning_model:
        return {}
    chosen = {"temperature": request.temperature, "top_p": request.top_p}
    return {name: value for name, value in chosen.items() if value is not None}


class ChatEvents:
    """The events of one stream, each as a chunk, or None when it says nothing."""

    has_done: ClassVar[bool] = True

    def __init__(self) -> None:
        self._is_identified = False  # a chunk with the response id was delivered

    def failure_of_end(self) -> ModelFailure:
        return failure_of_short_stream()

    def is_alive(self, event: dict[str, Any]) -> bool:
        """Whether a chunk without text shows that the model works: a piece of reasoning, or of a tool call."""
        choices = event.get("choices")
        delta = (choices[0].get("delta") if choices else None) or {}
        return any(delta.get(name) for name in ("reasoning_content", "reasoning", "tool_calls"))

    def read(self, event: dict[str, Any]) -> Chunk | None:
        choices = event.get("choices")
        choice: dict[str, Any] = choices[0] if choices else {}
        delta = choice.get("delta") or {}  # annotations of the asynchronous filter have none
        text = delta.get("content") or delta.get("refusal") or ""  # a refusal is an answer too
        finish_reason = choice.get("finish_reason")
        usage = event.get("usage")
        prompt_filter = event.get("prompt_filter_results")
        content_filter = _remarkable(choice)
        identity = None if self._is_identified else event.get("id") or None
        if not (text or finish_reason or usage or prompt_filter or content_filter or identity):
            return None
        self._is_identified = self._is_identified or identity is not None
        return Chunk(
            text=text,
            finish_reason=finish_reason,
            response_id=event.get("id") or None,
            model=event.get("model") or None,
            usage=usage,
            prompt_filter=prompt_filter,
            content_filter=content_filter,
            content_filter_offsets=choice.get("content_filter_offsets") if content_filter else None,
        )


def _remarkable(choice: dict[str, Any]) -> dict[str, Any] | None:
    """The filter results that say more than "safe": filtered, detected, or that the filter did not run."""
    results = choice.get("content_filter_results") or choice.get("content_filter_result")
    if not results:
        return None
    found = {
        name: result
        for name, result in results.items()
        if name == "error"
        or (isinstance(result, dict) and (result.get("filtered") or result.get("detected") or result.get("error")))
    }
    return found or None


def _well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lonely halves replaced: they cannot be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
