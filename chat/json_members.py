"""Members of a JSON object, with where they stand in its text: to change one of them and not a character of the rest.

Writing JSON anew would change what nobody asked to change: spaces, escapes, the digits of a number, a name that stands
twice. RFC 8259 section 4 leaves the meaning of such names open; here, as in most parsers, the last one counts.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Member:
    """One name and value. `start` is where its name begins, `value_start` its value; `end` is behind the value."""

    name: str
    value: Any
    start: int
    value_start: int
    end: int


def members(text: str, start: int = 0) -> Iterator[Member]:
    """The members of the object that begins at `start`, spaces before it allowed. Raises ValueError when it is none."""
    at = _expected(text, _after_space(text, start), "{")
    if text.startswith("}", at):
        return
    while True:
        name_start = at
        _expected(text, at, '"')
        name, at = _decode(text, at)
        value_start = _expected(text, _after_space(text, at), ":")
        value, end = _decode(text, value_start)
        yield Member(name, value, name_start, value_start, end)
        at = _after_space(text, end)
        if text.startswith("}", at):
            return
        at = _expected(text, at, ",")


def last_member(text: str, name: str, start: int = 0) -> Member | None:
    """The member of this name that counts."""
    found = None
    for member in members(text, start):
        if member.name == name:
            found = member
    return found


def with_value(text: str, member: Member, value: str) -> str:
    """The text with another value, given as JSON, in this member."""
    return text[: member.value_start] + value + text[member.end :]


def with_member(text: str, name: str, value: str, start: int = 0) -> str:
    """The text with one member more, its value given as JSON, at the end of the object that begins at `start`."""
    ends = [member.end for member in members(text, start)]
    new = f"{json.dumps(name)}:{value}"
    at = ends[-1] if ends else _expected(text, _after_space(text, start), "{")
    return text[:at] + ("," if ends else "") + new + text[at:]


def without_member(text: str, member: Member) -> str:
    """The text without this member and the comma that belonged to it."""
    start, end = member.start, _after_space(text, member.end)
    if text.startswith(",", end):
        return text[:start] + text[_after_space(text, end + 1) :]
    before = text[:start].rstrip(" \t\n\r")
    return before.removesuffix(",") + text[member.end :]


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _expected(text: str, at: int, character: str) -> int:
    """The place behind this character and the spaces that follow it."""
    if not text.startswith(character, at):
        raise ValueError(f"expected {character} at {at}")
    return _after_space(text, at + 1)
