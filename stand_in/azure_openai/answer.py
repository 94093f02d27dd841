"""An answer: the script cut to what was asked for, and the order of events in which it is streamed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stand_in.azure_openai.completion_request import CompletionRequest
from stand_in.azure_openai.deployments import Deployment
from stand_in.azure_openai.faults import Fault
from stand_in.azure_openai.paced_sender import Event, PacedSender
from stand_in.azure_openai.request_log import RequestRecord
from stand_in.azure_openai.scripted_model import Script
from stand_in.azure_openai.server_sent_events import FILTERED, PROMPT_RESULTS, SAFE, ChunkWriter
from stand_in.azure_openai.tokens import split_tokens
from stand_in.azure_openai.tool_calls import ToolCall, build_tool_calls, tool_call_deltas

REASONING_TOKENS = {"none": 0, "minimal": 0, "low": 64, "medium": 256, "high": 1024}
CHARACTERS_PER_ANNOTATION = 200  # asynchronous filter: how often an annotation arrives


@dataclass(frozen=True, slots=True)
class Answer:
    """Pieces of text, one per token, and why they end. With tool calls, a piece is one event of theirs."""

    pieces: list[str]
    finish_reason: str
    prompt_tokens: int
    reasoning_tokens: int
    tool_calls: tuple[ToolCall, ...] = ()

    def usage(self, said: int) -> dict[str, Any]:
        completion = said + self.reasoning_tokens
        return {
            "completion_tokens": completion,
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0,
                "audio_tokens": 0,
                "reasoning_tokens": self.reasoning_tokens,
                "rejected_prediction_tokens": 0,
            },
            "prompt_tokens": self.prompt_tokens,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            "total_tokens": self.prompt_tokens + completion,
        }


def build_answer(script: Script, request: CompletionRequest, deployment: Deployment) -> Answer:
    """Cut the script at `stop` and at `max_tokens`; reasoning is paid for from the same allowance."""
    text = script.text
    ends = [position for sequence in request.stop if (position := text.find(sequence)) >= 0]
    pieces = split_tokens(text[: min(ends)] if ends else text)
    reasoning = REASONING_TOKENS[request.reasoning_effort] if deployment.is_reasoning else 0
    reasoning = min(reasoning, request.max_tokens)
    calls = build_tool_calls(script, request)
    if calls:
        events = [piece for call in calls for piece in ("", *call.pieces)]
        return Answer(events, "tool_calls", request.prompt_tokens, reasoning, calls)
    finish_reason = "stop"
    if len(pieces) > request.max_tokens - reasoning:
        pieces, finish_reason = pieces[: request.max_tokens - reasoning], "length"
    if script.directives.split_surrogates:
        pieces = [half for piece in pieces for half in _split_surrogates(piece)]
    return Answer(pieces, finish_reason, request.prompt_tokens, reasoning)


def _split_surrogates(piece: str) -> list[str]:
    """A piece with a character beyond U+FFFF in two, the cut between the character's UTF-16 halves."""
    position = next((index for index, character in enumerate(piece) if character > "\uffff"), None)
    if position is None:
        return [piece]
    units = piece[position].encode("utf-16-be")
    high, low = chr(int.from_bytes(units[:2])), chr(int.from_bytes(units[2:]))
    return [piece[:position] + high, low + piece[position + 1 :]]


def stream_events(
    answer: Answer,
    writer: ChunkWriter,
    fault: Fault | None,
    sender: PacedSender,
    record: RequestRecord,
    *,
    include_usage: bool,
    async_filter: bool,
) -> Iterator[Event]:
    """The events from the role chunk to the last one before `[DONE]`; a fault ends or delays them.

    `record.tokens_sent` counts what was really handed to the connection: this generator runs one event ahead.
    """
    fault_at = min(fault.after, len(answer.pieces)) if fault is not None else -1
    characters = annotated = 0
    finish_reason = answer.finish_reason
    deltas = tool_call_deltas(answer.tool_calls, writer) if answer.tool_calls else map(writer.text, answer.pieces)
    yield Event(writer.role(None if answer.tool_calls else ""), 0)
    for index in range(len(answer.pieces) + 1):
        if index == fault_at:
            assert fault is not None
            if fault.kind == "stall":
                sender.delay(fault.seconds)
            elif fault.kind in ("filter", "async-filter"):
                finish_reason = "content_filter"
                break
            else:
                if fault.kind == "error":
                    yield Event(writer.error(), index)
                return
        if index == len(answer.pieces):
            break
        piece = answer.pieces[index]
        yield Event(next(deltas), index)
        record.tokens_sent = index + 1
        characters += len(piece)
        if async_filter and characters - annotated >= CHARACTERS_PER_ANNOTATION:
            yield Event(writer.annotation(annotated, characters), index)
            annotated = characters
    said = record.tokens_sent
    record.finish_reason = finish_reason
    if async_filter and finish_reason == "content_filter":
        yield Event(writer.annotation(annotated, characters, finish_reason=finish_reason), said)
    else:
        yield Event(writer.finish(finish_reason), said)
        if async_filter and characters > annotated:
            yield Event(writer.annotation(annotated, characters), said)
    if include_usage:
        yield Event(writer.usage(answer.usage(said)), said)


def complete_body(answer: Answer, fault: Fault | None, envelope: dict[str, Any], *, is_azure: bool) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    is_filtered = fault is not None and fault.kind in ("filter", "async-filter")
    said = answer.pieces[: fault.after] if fault is not None and is_filtered else answer.pieces
    text = "".join(said).encode("utf-16", "surrogatepass").decode("utf-16")
    choice: dict[str, Any] = {
        "finish_reason": "content_filter" if is_filtered else answer.finish_reason,
        "index": 0,
        "logprobs": None,
        "message": {"content": text, "refusal": None, "role": "assistant"},
    }
    body: dict[str, Any] = (
        {"choices": [choice]} | envelope | {"object": "chat.completion", "usage": answer.usage(len(said))}
    )
    if answer.tool_calls and not is_filtered:
        choice["message"] |= {"content": None, "tool_calls": [call.to_dict() for call in answer.tool_calls]}
    if is_azure:
        choice["content_filter_results"] = FILTERED if is_filtered else SAFE
        body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": PROMPT_RESULTS}]
    return body
