"""JSON text as the Durable extension writes it.

What an app returns is Python's JSON; what it gets back went through .NET on the way: compact, non-ASCII characters as
they are, `1e30` as `1E+30`, NaN as the text `"NaN"`, lone surrogates as U+FFFD. Programs compare, hash and log such
texts, so the engine writes the same ones. Reading is as lenient as the extension's reader (it allows comments).
"""

import json
import re
from typing import Any

_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|/\*.*?\*/|//[^\n]*', re.DOTALL)
_LINE_SEPARATORS = str.maketrans({"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
_QUOTE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_CONSTANTS = {None: "null", True: "true", False: "false"}

# .NET writes a double with an exponent from 1E+15 on and below 1E-04.
_FIXED_EXPONENTS = range(-4, 15)


def parse(text: str) -> Any:
    """The value of a JSON text. Raises ValueError when it is not JSON even with comments left out."""
    try:
        return json.loads(text)
    except ValueError:
        bare = _COMMENT.sub(lambda match: match[1] or "", text)
        if bare == text:
            raise
        return json.loads(bare)


def quoted(text: str | None) -> str:
    """One text as a JSON string literal, or null."""
    if text is None:
        return "null"
    return _tidy(_QUOTE(text))


def compact(value: Any) -> str:
    """A value without spaces."""
    if value is None or value is True or value is False:
        return _CONSTANTS[value]
    if isinstance(value, str):
        return _tidy(_QUOTE(value))
    return _tidy(_QUOTE(value)) if _is_plain(value) else _tidy(_compact(value))


def reserialized(text: str) -> str:
    """A JSON text as it looks after it was read and written again; a text that is no JSON becomes a JSON string."""
    try:
        return compact(parse(text))
    except ValueError:
        return quoted(text)


def value_or_text(text: str | None) -> Any:
    """What the management API shows for a stored text: its value when it is JSON, else the text itself."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        return text


def indented(value: Any, depth: int = 0) -> str:
    """A value with two spaces per level, as trigger bodies are written; `depth` is that of the line it stands in."""
    if isinstance(value, dict) and value:
        pad = "  " * (depth + 1)
        lines = (f"{pad}{quoted(str(key))}: {indented(item, depth + 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and value:
        pad = "  " * (depth + 1)
        return "[\n" + ",\n".join(pad + indented(item, depth + 1) for item in value) + "\n" + "  " * depth + "]"
    return compact(value)


def without_lone_surrogates(text: str) -> str:
    """The text as UTF-8 can carry it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _tidy(text: str) -> str:
    return without_lone_surrogates(text if text.isascii() else text.translate(_LINE_SEPARATORS))


def _is_plain(value: Any) -> bool:
    """Whether Python's own encoder writes it as .NET does: everything but floating-point numbers."""
    if isinstance(value, float):
        return False
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return True


def _compact(value: Any) -> str:
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_QUOTE(str(key))}:{_compact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    return _QUOTE(value)


def _double(value: float) -> str:
    if value != value:
        return '"NaN"'
    if value in (float("inf"), float("-inf")):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if value == 0:
        return repr(value)
    digits, _, exponent_text = f"{value:.17e}".partition("e")
    shortest = repr(value)
    exponent = int(exponent_text)
    if exponent in _FIXED_EXPONENTS:
        return shortest
    mantissa = _significant_digits(shortest)
    sign = "-" if digits.startswith("-") else ""
    text = mantissa[0] + ("." + mantissa[1:] if len(mantissa) > 1 else "")
    return f"{sign}{text}E{'-' if exponent < 0 else '+'}{abs(exponent):02}"


def _significant_digits(shortest: str) -> str:
    number = shortest.lstrip("-").partition("e")[0].replace(".", "").strip("0")
    return number or "0"
