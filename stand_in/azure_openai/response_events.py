"""Response events: the stream of one response as the service numbers it, and the response object at any stage.

    response.created, [response.queued,] response.in_progress,
    [response.output_item.added and .done of the thoughts of a reasoning model,]
    response.output_item.added, response.content_part.added,
    response.output_text.delta, one for each token,
    response.output_text.done, response.content_part.done, response.output_item.done,
    response.completed | response.incomplete | error and response.failed

Every event has a `sequence_number`, counted from 0. An event is a function of its number, so any reader begins where
it likes and gets the same bytes. Deltas are nearly all of the traffic: what surrounds their text is serialised once.
"""

import json
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from stand_in.azure_openai.answer import join_pieces
from stand_in.azure_openai.paced_sender import Event
from stand_in.azure_openai.stored_response import StoredResponse

SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"


def _encode(kind: str, members: dict[str, Any]) -> bytes:
    """An event of the stream; `sequence_number` is -1 until it is known."""
    body = json.dumps({"type": kind, "sequence_number": -1} | members, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {body}\n\n".encode()


def _numbered(data: bytes, number: int) -> bytes:
    return data.replace(b'"sequence_number":-1', b'"sequence_number":%d' % number, 1)


class ResponseEvents:
    """The events of one response, whether they are due or not."""

    def __init__(self, stored: StoredResponse) -> None:
        self._stored = stored
        suffix = stored.response_id.removeprefix("resp_")
        self._item_id, self._reasoning_id = f"msg_{suffix}", f"rs_{suffix}"
        self._place = {"item_id": self._item_id, "output_index": 1 if stored.reasoning_tokens else 0}
        self._opening = self._write_opening()
        self._closing: list[bytes] | None = None  # written when somebody gets so far
        delta: dict[str, Any] = {**self._place, "content_index": 0, "delta": "\x00", "logprobs": []}
        self._before_text, self._after_text = _encode("response.output_text.delta", delta).split(b'"\\u0000"')

    @property
    def first_paced(self) -> int:
        """The number of the first event that has to wait for the first token; those before it come at once."""
        return 3 if self._stored.is_background else 2

    @property
    def count(self) -> int:
        return len(self._opening) + self._stored.said + self._closing_count

    def event(self, number: int) -> Event:
        """The event of that number, and how many tokens are said before it."""
        if number < len(self._opening):
            return Event(_numbered(self._opening[number], number), 0)
        index = number - len(self._opening)
        if index < self._stored.said:
            return Event(self._delta(number, self._stored.pieces[index]), index)
        if self._closing is None:
            self._closing = self._write_closing()
        return Event(_numbered(self._closing[index - self._stored.said], number), self._stored.said)

    def tokens_through(self, number: int) -> int:
        """How many tokens have been said when the event of that number was sent."""
        return max(0, min(number + 1 - len(self._opening), self._stored.said))

    def _delta(self, number: int, piece: str) -> bytes:
        try:
            text = encode_basestring(piece).encode()
        except UnicodeEncodeError:  # half of a surrogate pair: it exists in JSON escapes only
            text = encode_basestring_ascii(piece).encode()
        return _numbered(self._before_text, number) + text + self._after_text

    def _write_opening(self) -> list[bytes]:
        stored = self._stored
        first = "queued" if stored.is_background else "in_progress"
        events = [_encode("response.created", {"response": self.response(first)})]
        if stored.is_background:
            events.append(_encode("response.queued", {"response": self.response(first)}))
        events.append(_encode("response.in_progress", {"response": self.response("in_progress")}))
        if stored.reasoning_tokens:
            members = {"output_index": 0, "item": self._reasoning()}
            events += [_encode(f"response.output_item.{step}", members) for step in ("added", "done")]
        item = self._message("in_progress", [])
        events.append(
            _encode("response.output_item.added", {"output_index": self._place["output_index"], "item": item})
        )
        part = {**self._place, "content_index": 0, "part": _part("")}
        events.append(_encode("response.content_part.added", part))
        return events

    @property
    def _closing_count(self) -> int:
        return 2 if self._stored.outcome == "failed" else 4

    def _write_closing(self) -> list[bytes]:
        stored = self._stored
        last = _encode(f"response.{stored.outcome}", {"response": self.response(stored.outcome)})
        if stored.outcome == "failed":
            error = {"code": "server_error", "message": SERVER_ERROR, "param": None}
            return [_encode("error", error), last]
        text = join_pieces(list(stored.pieces[: stored.said]))
        done = {**self._place, "content_index": 0}
        item = self._message(stored.outcome, [_part(text)])
        return [
            _encode("response.output_text.done", {**done, "text": text, "logprobs": []}),
            _encode("response.content_part.done", {**done, "part": _part(text)}),
            _encode("response.output_item.done", {"output_index": self._place["output_index"], "item": item}),
            last,
        ]

    def _reasoning(self) -> dict[str, Any]:
        return {"id": self._reasoning_id, "type": "reasoning", "summary": []}

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._item_id, "type": "message", "status": status, "content": content, "role": "assistant"}

    def response(self, status: str) -> dict[str, Any]:
        """The response object in this status. It has output when it is over, with the exception of a cancelled one."""
        stored = self._stored
        is_answered = status in ("completed", "incomplete")
        output: list[dict[str, Any]] = []
        if is_answered:
            output = [self._reasoning()] if stored.reasoning_tokens else []
            output.append(self._message(status, [_part(join_pieces(list(stored.pieces[: stored.said])))]))
        reason = "content_filter" if stored.end == "filter" else "max_output_tokens"
        return {
            "id": stored.response_id,
            "object": "response",
            "created_at": int(stored.created_at),
            "status": status,
            "background": stored.is_background,
            "completed_at": int(stored.over_at) if status == "completed" else None,
            "error": {"code": "server_error", "message": SERVER_ERROR} if status == "failed" else None,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "model": stored.model,
            "output": output,
            "previous_response_id": None,
            "store": stored.is_kept,
            "tools": [],
            "top_logprobs": 0,
            "usage": self._usage() if is_answered else None,
            **stored.echo,
        }

    def _usage(self) -> dict[str, Any]:
        stored = self._stored
        output = stored.said + stored.reasoning_tokens
        return {
            "input_tokens": stored.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": stored.reasoning_tokens},
            "total_tokens": stored.input_tokens + output,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
