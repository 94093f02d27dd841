"""The tap: what the proxy learns of an answer while its bytes pass through, for the log.

Theory of operation. A stream of server-sent events arrives in pieces cut anywhere. They go on as they came, and a copy
is cut into events (HTML standard section 9.2.6) and read. Only when usage was asked for in the caller's name must they
be held until an event is whole, since then the chunk with the usage is taken out, and `"usage": null` from the others:
the caller sees the bytes of the call it made. What the tap cannot read it passes on and leaves alone: a log is no
reason to break an answer.
"""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chat.journal_writer import Clock
from chat.json_members import last_member, without_member

# Characters of text kept for the log, of all choices together: ten times what a model writes at most.
LARGEST_TEXT = 4_000_000
# Bytes of one event held back while its end has not come; beyond it is no event that a model service sends.
LARGEST_EVENT = 4 * 1024 * 1024

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Choice:
    """One of the n answers of a call."""

    pieces: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)  # by index; arguments as a list of pieces
    finish_reason: str | None = None

    @property
    def text(self) -> str | None:
        """The whole text; None when none came, as for a call of a tool."""
        return "".join(self.pieces) if self.pieces else None

    @property
    def calls(self) -> list[dict[str, Any]]:
        found = [self.tool_calls[index] for index in sorted(self.tool_calls)]
        return [call | {"arguments": "".join(call["arguments"])} for call in found]


@dataclass(slots=True)
class Learned:
    """What is known of an answer so far. Times are milliseconds since 1970 UTC; the first and the last are of content:
    a filter's chunk that comes before the first text is none."""

    response_id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    choices: dict[int, Choice] = field(default_factory=dict)
    prompt_filter: Any = None
    content_filter: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    first_content_at: int | None = None
    last_content_at: int | None = None
    chunks: int = 0
    unreadable: int = 0
    whole: bool = False  # the service said that this is all
    truncated: bool = False
    _kept: int = 0

    def choice(self, index: int) -> Choice:
        return self.choices.setdefault(index, Choice())

    def keep(self, pieces: list[str], text: str, now: int) -> None:
        """Text of an answer, as far as there is room for it."""
        self.note_content(now)
        room = LARGEST_TEXT - self._kept
        self.truncated = self.truncated or len(text) > room
        if room > 0:
            pieces.append(text[:room])
            self._kept += min(len(text), room)

    def note_content(self, now: int) -> None:
        self.first_content_at = now if self.first_content_at is None else self.first_content_at
        self.last_content_at = now


class CompletionTap:
    """Reads one answer. `hide_usage` says that usage was asked for by the proxy and is not the caller's to see."""

    def __init__(self, clock: Clock, *, hide_usage: bool = False) -> None:
        self.learned = Learned()
        self._clock = clock
        self._hide_usage = hide_usage
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The next piece of a stream; returns what goes to the caller now."""
        self._held += data
        if self._hide_usage:
            return b"".join([self._visible(event) for event in self._events()])
        for event in self._events():
            self._read(event)
        return data

    @property
    def within_event(self) -> bool:
        """Whether the caller has the beginning of an event and not yet its end."""
        return bool(self._held) and not self._hide_usage

    def finish(self) -> bytes:
        """The stream is over. What is held of an event that never became whole goes to the caller as it is."""
        rest, self._held = self._held, b""
        return rest if self._hide_usage else b""

    def answer(self, body: bytes) -> None:
        """Learn from an answer that is no stream."""
        value = _object(body)
        if value is not None:
            self._learn(value)
            self.learned.whole = True

    def _events(self) -> Iterator[bytes]:
        """The whole events among what is held, each with the blank line behind it."""
        start = 0
        for end in _EVENT_END.finditer(self._held):
            yield self._held[start : end.end()]
            start = end.end()
        self._held = self._held[start:]
        if len(self._held) > LARGEST_EVENT:
            yield self._held
            self._held = b""

    def _read(self, event: bytes) -> dict[str, Any] | None:
        """Learn from an event; returns the object in it, if it has one."""
        data = _data_of(event)
        if data == b"[DONE]":
            self.learned.whole = True
        value = _object(data)
        if value is not None:
            self._learn(value)
        return value

    def _visible(self, event: bytes) -> bytes:
        """The event as it would have come had usage not been asked for; nothing if it is the answer to that."""
        value = self._read(event)
        if value is None or "usage" not in value:
            return event
        if value["usage"] is None:
            return _without_usage(event)
        return b"" if value.get("choices") == [] else event

    def _learn(self, value: dict[str, Any]) -> None:
        self.learned.chunks += 1
        try:
            self._learn_value(value)
        except (TypeError, ValueError, AttributeError) as error:  # it has a shape that no service documents
            if not self.learned.unreadable:
                logger.warning("A part of an answer could not be read for the log: %s", type(error).__name__)
            self.learned.unreadable += 1

    def _learn_value(self, value: dict[str, Any]) -> None:
        learned = self.learned
        kind = value.get("type")
        if isinstance(kind, str) and (kind == "error" or kind.startswith("response.")):
            self._learn_response_event(kind, value)
        elif value.get("object") == "response":
            self._learn_response(value)
        elif isinstance(error := value.get("error"), dict):
            learned.error = error
        else:
            self._learn_completion(value)

    def _learn_completion(self, value: dict[str, Any]) -> None:
        """A chunk of a chat completion, a whole one, or embeddings, which have no choices."""
        learned = self.learned
        learned.response_id = learned.response_id or value.get("id") or None
        learned.model = learned.model or value.get("model") or None
        learned.usage = value.get("usage") or learned.usage
        learned.prompt_filter = value.get("prompt_filter_results") or learned.prompt_filter
        for choice in _objects(value.get("choices")):
            self._learn_choice(choice)

    def _learn_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        known = self.learned.choice(index if isinstance(index, int) else 0)
        filters = choice.get("content_filter_results")
        if isinstance(filters, dict) and filters:
            self.learned.content_filter = (self.learned.content_filter or {}) | filters
        # An annotation may follow the chunk that says `stop`; what the filter says counts more.
        if choice.get("finish_reason") and known.finish_reason != "content_filter":
            known.finish_reason = choice["finish_reason"]
        said = choice.get("delta") or choice.get("message")
        if not isinstance(said, dict):
            return  # an annotation of the asynchronous filter has none
        now = self._clock.now()
        for pieces, text in ((known.pieces, said.get("content")), (known.refusal, said.get("refusal"))):
            if isinstance(text, str) and text:
                self.learned.keep(pieces, text, now)
        for place, call in enumerate(_objects(said.get("tool_calls"))):
            self._learn_tool_call(known, call, place, now)

    def _learn_tool_call(self, choice: Choice, call: dict[str, Any], place: int, now: int) -> None:
        """Id and name come with the first piece of a call only; its arguments in fragments."""
        index = call.get("index")
        known = choice.tool_calls.setdefault(
            index if isinstance(index, int) else place, {"id": None, "type": "function", "name": "", "arguments": []}
        )
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        known["id"] = known["id"] or call.get("id")
        known["name"] += function.get("name") or ""
        self.learned.keep(known["arguments"], function.get("arguments") or "", now)

    def _learn_response_event(self, kind: str, value: dict[str, Any]) -> None:
        learned, now = self.learned, self._clock.now()
        if isinstance(response := value.get("response"), dict):
            self._learn_response(response)
        match kind:
            case "response.output_text.delta":
                learned.keep(learned.choice(0).pieces, str(value.get("delta") or ""), now)
            case "response.refusal.delta":
                learned.keep(learned.choice(0).refusal, str(value.get("delta") or ""), now)
            case "response.function_call_arguments.delta":
                learned.note_content(now)
            case "response.output_item.done":
                self._learn_output_item(value.get("item"))
            case "error":
                learned.error = {name: value.get(name) for name in ("code", "message")}

    def _learn_response(self, response: dict[str, Any]) -> None:
        """A response of the Responses API as it stands."""
        learned = self.learned
        learned.response_id = response.get("id") or learned.response_id
        learned.model = response.get("model") or learned.model
        learned.usage = response.get("usage") or learned.usage
        learned.error = response.get("error") or learned.error
        status = response.get("status")
        if status not in ("completed", "incomplete", "failed", "cancelled"):
            return
        learned.whole = True
        choice = learned.choice(0)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        choice.finish_reason = _FINISH_REASONS.get(str(reason), reason) if reason else _FINISHED.get(status)
        if not choice.pieces and not choice.tool_calls:  # not streamed: everything is here
            for item in _objects(response.get("output")):
                self._learn_output_item(item)

    def _learn_output_item(self, item: Any) -> None:
        if not isinstance(item, dict):
            return
        choice, now = self.learned.choice(0), self._clock.now()
        if item.get("type") == "function_call":
            call = {"id": item.get("call_id"), "type": "function", "name": item.get("name") or ""}
            choice.tool_calls[len(choice.tool_calls)] = call | {"arguments": [item.get("arguments") or ""]}
        elif item.get("type") == "message" and not choice.pieces:
            for part in _objects(item.get("content")):
                if part.get("type") == "output_text":
                    self.learned.keep(choice.pieces, str(part.get("text") or ""), now)


def _without_usage(event: bytes) -> bytes:
    """The event without its `"usage": null`. One unescaped place that looks like it is it; else the members tell."""
    found = _NO_USAGE.findall(event)
    if len(found) == 1:
        return event.replace(found[0], b"")
    try:
        text = event.decode()
        usage = last_member(text, "usage", text.index("{"))
    except ValueError:  # its data stands on several lines: no service cuts an object so
        return event
    return without_member(text, usage).encode() if usage else event


_NO_USAGE = re.compile(rb',[ ]*"usage"[ ]*:[ ]*null')
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_FINISH_REASONS = {"max_output_tokens": "length"}
_FINISHED = {"completed": "stop"}


def _data_of(event: bytes) -> bytes:
    """What the `data` lines of an event say, joined."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
