"""The size of a record: an event hub takes 1 MiB (Basic: 256 KiB), and no record is dropped for being larger.

It is shortened until it fits, in these steps, and `truncated` says so:

    1  parts of messages that are no text (images, audio, files) give way to their type and size
    2  the oldest messages of the prompt go, its last one stays
    3  that one's text is cut at its end
    4  the answers beside the first, and the arguments of tool calls, go
    5  the answer is cut at its end
    6  whatever else is long (a service's annotations, an error's words) is cut, or goes
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

ROOM_FOR_PROPERTIES = 4 * 1024  # bytes of an event that are not its body
DEEPEST = 64  # objects within objects; beyond it JSON is not written, and hardly meant
LONGEST_OTHER = 256  # bytes of a field after the last step

Excess = Callable[[], int]  # bytes that the record is too large by, as it is now


def json_of(value: Any, *, sort_keys: bool = False) -> bytes:
    """UTF-8 JSON of anything that JSON can say, and of what Python's parser lets pass beside it.

    That is NaN, numbers beyond all, lonely surrogates, bottomless nesting: a caller who sends such must not be without
    a record."""
    try:
        text = _dumped(value, sort_keys=sort_keys)
    except (ValueError, RecursionError):
        text = _dumped(_writable(value, DEEPEST), sort_keys=sort_keys)
    # A lonely surrogate, which UTF-8 cannot hold, is written as JSON's own escape of it.
    return text.encode("utf-8", "backslashreplace")


def fits(data: bytes, largest: int) -> bool:
    """Whether these bytes are an event of at most `largest`, its properties included."""
    return len(data) <= largest - ROOM_FOR_PROPERTIES


def encoded(record: Mapping[str, Any], largest: int) -> bytes:
    """The record as JSON that fits."""
    data = json_of(record)
    if fits(data, largest):
        return data
    short = {**record, "truncated": True}
    for step in _STEPS:
        step(short, lambda: len(json_of(short)) - (largest - ROOM_FOR_PROPERTIES))
        data = json_of(short)
        if fits(data, largest):
            break
    return data


def _without_media(record: dict[str, Any], _excess: Excess) -> None:
    if "prompt" in record:
        record["prompt"] = [_text_message(message) for message in record["prompt"]]


def _text_message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    return {**message, "content": [part if _is_text(part) else _omitted(part) for part in content]}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _omitted(part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    return {"type": str(kind)[:LONGEST_OTHER], "omitted_bytes": len(json_of(part))}


def _without_old_messages(record: dict[str, Any], excess: Excess) -> None:
    prompt = record.get("prompt", [])
    while len(prompt) > 1 and (too_large := excess()) > 0:
        # Several at once: each look at the size writes the whole record.
        gone = 0
        while gone < len(prompt) - 1 and too_large > 0:
            too_large -= len(json_of(prompt[gone])) + 1
            gone += 1
        del prompt[:gone]


def _with_short_question(record: dict[str, Any], excess: Excess) -> None:
    question = record["prompt"][0] if record.get("prompt") else {}
    content = question.get("content")
    if content is None:
        return  # hashed, or a call of a tool
    text = content if isinstance(content, str) else json_of(content).decode()
    record["prompt"] = [{"role": question.get("role"), "content": text}]
    record["prompt"][0]["content"] = _cut(text, excess())


def _without_side_answers(record: dict[str, Any], _excess: Excess) -> None:
    if record.get("choices"):
        record["choices"] = None
    if record.get("tool_calls"):
        record["tool_calls"] = [{**call, "arguments": None} for call in record["tool_calls"]]


def _with_short_answer(record: dict[str, Any], excess: Excess) -> None:
    if record.get("content"):
        record["content"] = _cut(record["content"], excess())


def _without_long_words(record: dict[str, Any], excess: Excess) -> None:
    for name, value in record.items():
        if name != "content" and len(json_of(value)) > LONGEST_OTHER:
            record[name] = _little_of(value)
    _with_short_answer(record, excess)


def _little_of(value: Any) -> Any:
    """What is left of a long value, of the same kind."""
    if isinstance(value, str):
        return value[: LONGEST_OTHER // 6]  # an escape has six bytes
    if isinstance(value, list):
        return []
    if isinstance(value, dict) and "message" in value:  # the error
        return {name: _little_of(part) if isinstance(part, str) else part for name, part in value.items()}
    return None


_STEPS = (
    _without_media,
    _without_old_messages,
    _with_short_question,
    _without_side_answers,
    _with_short_answer,
    _without_long_words,
)


def _cut(text: str, excess: int) -> str:
    """The text without at least `excess` bytes of its JSON form at its end."""
    if excess <= 0:
        return text
    low, high = 0, len(text)
    goal = len(json_of(text)) - excess
    while low < high:  # the longest beginning that fits: JSON escapes make bytes and characters differ
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(json_of(text[:middle])) <= goal else (low, middle - 1)
    return text[:low]


def _dumped(value: Any, *, sort_keys: bool) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)


def _writable(value: Any, depth: int) -> Any:
    """The value without what JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _writable(part, depth - 1) for name, part in value.items()} if depth else None
    if isinstance(value, list | tuple):
        return [_writable(part, depth - 1) for part in value] if depth else None
    return value
