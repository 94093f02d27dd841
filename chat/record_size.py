"""The size of a record: an event hub takes 1 MiB (Basic: 256 KiB), and no record is dropped for being larger.

It is shortened until it fits, in these steps, and `truncated` says so:

    1  parts of messages that are no text (images, audio, files) give way to their type and size
    2  the oldest messages of the prompt go, its last one stays
    3  that one's text is cut at its end
    4  the answers beside the first, and the arguments of tool calls, go
    5  the answer is cut at its end
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

ROOM_FOR_PROPERTIES = 4 * 1024  # bytes of an event that are not its body


def encoded(record: Mapping[str, Any], largest: int) -> bytes:
    """The record as UTF-8 JSON of at most `largest` bytes less what an event's properties take."""
    room = largest - ROOM_FOR_PROPERTIES
    data = _json(record)
    if len(data) <= room:
        return data
    short = {**record, "truncated": True}
    for step in (
        _without_media,
        _without_old_messages,
        _with_short_question,
        _without_side_answers,
        _with_short_answer,
    ):
        step(short, lambda: len(_json(short)) - room)
        data = _json(short)
        if len(data) <= room:
            break
    return data


Excess = Callable[[], int]  # bytes that the record is too large by, as it is now


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
    return {"type": kind, "omitted_bytes": len(_json(part))}


def _without_old_messages(record: dict[str, Any], excess: Excess) -> None:
    prompt = record.get("prompt", [])
    while len(prompt) > 1 and (too_large := excess()) > 0:
        # Several at once: each look at the size writes the whole record.
        gone = 0
        while gone < len(prompt) - 1 and too_large > 0:
            too_large -= len(_json(prompt[gone])) + 1
            gone += 1
        del prompt[:gone]


def _with_short_question(record: dict[str, Any], excess: Excess) -> None:
    if record.get("prompt"):
        question = record["prompt"][0]
        content = question.get("content")
        text = content if isinstance(content, str) else _json(content).decode()
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


_STEPS = (_without_media, _without_old_messages, _with_short_question, _without_side_answers, _with_short_answer)


def _cut(text: str, excess: int) -> str:
    """The text without at least `excess` bytes of its JSON form at its end."""
    if excess <= 0:
        return text
    low, high = 0, len(text)
    goal = len(_json(text)) - excess
    while low < high:  # the longest beginning that fits: JSON escapes make bytes and characters differ
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_json(text[:middle])) <= goal else (low, middle - 1)
    return text[:low]


def _json(value: Any) -> bytes:
    # A lonely surrogate, which UTF-8 cannot hold, is written as JSON's own escape of it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
