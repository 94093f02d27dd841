"""An answer: the script cut to what was asked for, and the order of events in which it is streamed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stand_in.azure_openai.completion_request import CompletionRequest
from stand_in.azure_openai.deployments import Deployment
from stand_in.azure_openai.faults import Fault
from stand_in.azure_openai.paced_sender import Event, PacedSender
from stand_in.azure_openai.request_log import RequestRecord
from stand_in.azure_openai.scripted_model import Script, write_script
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


def usage_of(answers: list[Answer], said: int) -> dict[str, Any]:
    """What `said` tokens of text, of all choices together, are charged."""
    reasoning = sum(answer.reasoning_tokens for answer in answers)
    prompt_tokens = answers[0].prompt_tokens
    return {
        "completion_tokens": said + reasoning,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": reasoning,
            "rejected_prediction_tokens": 0,
        },
        "prompt_tokens": prompt_tokens,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
        "total_tokens": prompt_tokens + said + reasoning,
    }


def build_answers(script: Script, request: CompletionRequest, deployment: Deployment) -> list[Answer]:
    """The answer, and as many others as were asked for."""
    others = (
        write_script(request.messages, drifts=deployment.drifts, schema=request.schema, variant=f" {number}")
        for number in range(1, request.choices)
    )
    return [build_answer(each, request, deployment) for each in (script, *others)]


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
        # A call of the one function that was named is not the model's decision: the service says "stop" then.
        return Answer(events, "stop" if request.forced_tool else "tool_calls", request.prompt_tokens, reasoning, calls)
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


class _Choice:
    """One of the answers on its way, and its annotations."""

    def __init__(self, answer: Answer, writer: ChunkWriter, async_filter: bool) -> None:
        self.answer = answer
        self.writer = writer
        self.is_finished = False
        self._async_filter = async_filter
        self._characters = self._annotated = 0
        calls = answer.tool_calls
        self._deltas = tool_call_deltas(calls, writer) if calls else map(writer.text, answer.pieces)

    def say(self, index: int) -> Iterator[Event]:
        yield Event(next(self._deltas), index)
        self._characters += len(self.answer.pieces[index])
        if self._async_filter and self._characters - self._annotated >= CHARACTERS_PER_ANNOTATION:
            yield Event(self.writer.annotation(self._annotated, self._characters), index)
            self._annotated = self._characters

    def finish(self, index: int, finish_reason: str) -> Iterator[Event]:
        self.is_finished = True
        if self._async_filter and finish_reason == "content_filter":
            yield Event(self.writer.annotation(self._annotated, self._characters, finish_reason=finish_reason), index)
            return
        yield Event(self.writer.finish(finish_reason), index)
        if self._async_filter and self._characters > self._annotated:
            yield Event(self.writer.annotation(self._annotated, self._characters), index)


def stream_events(
    answers: list[Answer],
    writers: list[ChunkWriter],
    fault: Fault | None,
    sender: PacedSender,
    record: RequestRecord,
    *,
    include_usage: bool,
    async_filter: bool,
) -> Iterator[Event]:
    """The events from the role chunk to the last one before `[DONE]`; a fault ends or delays them.

    Several choices are said side by side, a token each. `record.tokens_sent` counts what was really handed to the
    connection: this generator runs one event ahead.
    """
    choices = [_Choice(answer, writer, async_filter) for answer, writer in zip(answers, writers, strict=True)]
    longest = max(len(answer.pieces) for answer in answers)
    fault_at = min(fault.after, longest) if fault is not None else -1
    for choice in choices:
        yield Event(choice.writer.role(None if choice.answer.tool_calls else ""), 0)
    for index in range(longest + 1):
        if index == fault_at:
            assert fault is not None
            if fault.kind in ("stall", "freeze"):
                sender.delay(fault.seconds)
            elif fault.kind in ("filter", "async-filter"):
                for choice in choices:
                    if not choice.is_finished:
                        record.finish_reason = "content_filter"
                        yield from choice.finish(index, "content_filter")
                break
            else:
                if fault.kind == "error":
                    yield Event(choices[0].writer.error(), index)
                return
        for choice in choices:
            if index < len(choice.answer.pieces):
                yield from choice.say(index)
                record.tokens_sent += 1
            elif not choice.is_finished:
                record.finish_reason = choice.answer.finish_reason
                yield from choice.finish(index, choice.answer.finish_reason)
    if include_usage:
        yield Event(choices[0].writer.usage(usage_of(answers, record.tokens_sent)), longest)


def complete_body(
    answers: list[Answer], fault: Fault | None, envelope: dict[str, Any], *, is_azure: bool
) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    is_filtered = fault is not None and fault.kind in ("filter", "async-filter")
    said = [answer.pieces[: fault.after] if fault is not None and is_filtered else answer.pieces for answer in answers]
    choices = []
    for index, answer in enumerate(answers):
        message: dict[str, Any] = {"content": join_pieces(said[index]), "refusal": None, "role": "assistant"}
        if answer.tool_calls and not is_filtered:
            message |= {"content": None, "tool_calls": [call.to_dict() for call in answer.tool_calls]}
        choice = {
            "finish_reason": "content_filter" if is_filtered else answer.finish_reason,
            "index": index,
            "logprobs": None,
            "message": message,
        }
        if is_azure:
            choice["content_filter_results"] = FILTERED if is_filtered else SAFE
        choices.append(choice)
    usage = usage_of(answers, sum(map(len, said)))
    body: dict[str, Any] = {"choices": choices} | envelope | {"object": "chat.completion", "usage": usage}
    if is_azure:
        body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": PROMPT_RESULTS}]
    return body


def join_pieces(pieces: list[str]) -> str:
    """Their text, with surrogate pairs that were cut in two whole again."""
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
