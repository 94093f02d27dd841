"""Server-sent events: the bytes of a streamed completion, chunk by chunk, as the service sends them.

With the default filter each text chunk carries its annotations. With the asynchronous filter the text chunks are bare
and annotations arrive between them, in chunks that have no `delta`. Plain compatible servers know neither. Members are
in alphabetical order, as recorded.

Text chunks are nearly all of the traffic, so what surrounds their text is serialised once per answer.
"""

import json
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from stand_in.azure_openai.errors import FILTER_CATEGORIES

DONE = b"data: [DONE]\n\n"
SAFE = {category: {"filtered": False, "severity": "safe"} for category in FILTER_CATEGORIES}
PROMPT_RESULTS = SAFE | {"jailbreak": {"filtered": False, "detected": False}}
FILTERED = SAFE | {"violence": {"filtered": True, "severity": "medium"}}
SYSTEM_FINGERPRINT = "fp_standin0"
_NO_USAGE: dict[str, Any] = {}


def encode_event(value: object) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


class ChunkWriter:
    """Writes the events of one answer: of one choice among several, its `index` says which."""

    def __init__(
        self,
        *,
        completion_id: str,
        created: int,
        model: str,
        include_usage: bool,
        is_azure: bool,
        async_filter: bool,
        index: int = 0,
    ) -> None:
        self._index = index
        self._envelope = {
            "created": created,
            "id": completion_id,
            "model": model,
            "object": "chat.completion.chunk",
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }
        self._no_usage = {"usage": None} if include_usage else _NO_USAGE
        self._is_azure = is_azure
        self._annotates_text = is_azure and not async_filter
        before, after = encode_event(self._choice({"content": "\x00"}, None, SAFE)).split(b'"\\u0000"')
        self._before_text, self._after_text = before, after

    def _choice(self, delta: dict[str, Any], finish_reason: str | None, results: dict[str, Any]) -> dict[str, Any]:
        annotation = {"content_filter_results": results} if self._annotates_text else {}
        choice = annotation | {
            "delta": delta,
            "finish_reason": finish_reason,
            "index": self._index,
            "logprobs": None,
        }
        return {"choices": [choice]} | self._envelope | self._no_usage

    def _anonymous(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"choices": choices, "created": 0, "id": "", "model": "", "object": ""} | more | self._no_usage

    def prompt_filter(self) -> bytes:
        """The first chunk on Azure: no choice, the prompt's annotations; nothing elsewhere."""
        results = [{"prompt_index": 0, "content_filter_results": PROMPT_RESULTS}]
        return encode_event(self._anonymous([], prompt_filter_results=results)) if self._is_azure else b""

    def role(self, content: str | None = "") -> bytes:
        return encode_event(self._choice({"content": content, "refusal": None, "role": "assistant"}, None, {}))

    def text(self, text: str) -> bytes:
        try:
            return self._before_text + encode_basestring(text).encode() + self._after_text
        except UnicodeEncodeError:  # half of a surrogate pair: it exists in JSON escapes only
            return self._before_text + encode_basestring_ascii(text).encode() + self._after_text

    def tool_call(self, index: int, call_id: str, name: str) -> bytes:
        """The first delta of a tool call: who is called; arguments follow in pieces."""
        function = {"arguments": "", "name": name}
        call = {"function": function, "id": call_id, "index": index, "type": "function"}
        return encode_event(self._choice({"tool_calls": [call]}, None, {}))

    def tool_arguments(self, index: int, piece: str) -> bytes:
        call = {"function": {"arguments": piece}, "index": index}
        return encode_event(self._choice({"tool_calls": [call]}, None, {}))

    def finish(self, reason: str) -> bytes:
        return encode_event(self._choice({}, reason, FILTERED if reason == "content_filter" else {}))

    def annotation(self, start: int, end: int, *, finish_reason: str | None = None) -> bytes:
        """An asynchronous annotation of the characters from `start` to `end`: it has no delta."""
        choice = {
            "content_filter_offsets": {"check_offset": end, "start_offset": start, "end_offset": end},
            "content_filter_results": FILTERED if finish_reason else SAFE,
            "finish_reason": finish_reason,
            "index": self._index,
        }
        return encode_event(self._anonymous([choice]))

    def usage(self, usage: dict[str, Any]) -> bytes:
        return encode_event({"choices": []} | self._envelope | {"usage": usage})

    def error(self) -> bytes:
        message = "The server had an error while processing your request. Sorry about that!"
        return encode_event(
            {"error": {"message": message, "type": "server_error", "param": None, "code": "server_error"}}
        )
