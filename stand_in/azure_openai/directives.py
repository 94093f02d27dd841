"""Directives: how a prompt steers the scripted model, so that any app can be shown anything without a change in it.

They stand in the last user message, at the start of a line or after a space; the rest of the message is ordinary text.

| directive | effect |
|---|---|
| `#say TEXT` | the answer is TEXT, to the end of the line; with nothing behind it, everything on the lines below |
| `#repeat N TEXT` | the answer is TEXT, N times, to the end of the line |
| `#length N` | the answer is exactly N characters (code points) of prose |
| `#script NAME` | prose in `latin`, `cjk`, `rtl`, `emoji` or `mixed`; with #length, or alone for 400 characters |
| `#speed RATE` | tokens per second, or `max` |
| `#first SECONDS` | silence before the first token |
| `#burst SECONDS` | text is released in bursts this far apart |
| `#split surrogates` | an emoji's two UTF-16 halves arrive in two deltas, as real services do now and then |
| `#tool NAME JSON` | a call of a tool that the request offers, to the end of the line; text once its result arrived |
| `#drift` | the answer is another one on each call; `#drift after=N` keeps its first N tokens |
| `#continue HOW` | how a request to continue the answer is obeyed: see `continuation.py` |
| `#fault ...` | something goes wrong: see `faults.py` |

What begins with another word is no directive (people write hashtags); a directive with a wrong argument is refused.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stand_in.azure_openai.deployments import Speed, parse_rate, parse_seconds
from stand_in.azure_openai.errors import InvalidRequest
from stand_in.azure_openai.faults import Fault, parse_fault
from stand_in.azure_openai.prose import SCRIPTS

MAX_ANSWER_CHARACTERS = 2_000_000
_DIRECTIVE = re.compile(
    r"(?:^|(?<=\s))#(say|repeat|tool|length|script|speed|first|burst|split|drift|continue|fault)\b[ \t]*"
)
CONTINUATIONS = ("exact", "more", "bare", "afresh", "quoted")


@dataclass(frozen=True, slots=True)
class Directives:
    """What the last user message orders."""

    say: str | None = None
    length: int | None = None
    script: str | None = None
    tokens_per_second: float | None = None
    first_token_seconds: float | None = None
    burst_seconds: float | None = None
    split_surrogates: bool = False
    tool_calls: tuple[tuple[str, str], ...] = ()  # names and arguments
    drift_after: int | None = None  # None: no drift
    continuation: str = "exact"  # one of CONTINUATIONS
    faults: tuple[Fault, ...] = ()
    rest: str = field(default="", compare=False)  # the message without its directives

    def apply_to(self, speed: Speed) -> Speed:
        return replace(
            speed,
            tokens_per_second=self.tokens_per_second or speed.tokens_per_second,
            first_token_seconds=speed.first_token_seconds
            if self.first_token_seconds is None
            else self.first_token_seconds,
            burst_seconds=speed.burst_seconds if self.burst_seconds is None else self.burst_seconds,
        )


def parse_directives(message: str) -> Directives:
    """Read them from left to right; a later one of the same name wins, faults add up."""
    found = Directives()
    rest: list[str] = []
    position = 0
    while match := _DIRECTIVE.search(message, position):
        rest.append(message[position : match.start()])
        line_end = message.find("\n", match.end())
        line_end = len(message) if line_end < 0 else line_end
        name = match[1]
        if name in ("say", "repeat", "tool"):
            text, position = message[match.end() : line_end], line_end
            if name == "say" and not text.strip():
                text, position = message[line_end + 1 :], len(message)
        else:
            following = _DIRECTIVE.search(message, match.end(), line_end)
            position = following.start() if following else line_end
            text = message[match.end() : position]
        try:
            found = _READERS[name](found, text.strip() if name != "say" else text)
        except (ValueError, IndexError) as error:
            raise InvalidRequest(f"Invalid directive '#{name} {text[:80].strip()}': {error}.", "messages") from error
    rest.append(message[position:])
    return replace(found, rest="".join(rest).strip())


def _words(text: str, expected: str) -> list[str]:
    words = text.split()
    if not words:
        raise ValueError(f"expected {expected}")
    return words


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_ANSWER_CHARACTERS:
        raise ValueError(f"a number from 0 to {MAX_ANSWER_CHARACTERS}")
    return number


def _say(found: Directives, text: str) -> Directives:
    return replace(found, say=text)


def _repeat(found: Directives, text: str) -> Directives:
    number, _, unit = text.partition(" ")
    answer = unit * _count(number)
    if not unit or len(answer) > MAX_ANSWER_CHARACTERS:
        raise ValueError(f"expected a number and a text, together at most {MAX_ANSWER_CHARACTERS} characters")
    return replace(found, say=answer)


def _length(found: Directives, text: str) -> Directives:
    return replace(found, length=_count(_words(text, "a number of characters")[0]))


def _script(found: Directives, text: str) -> Directives:
    script = _words(text, "a script")[0]
    if script not in SCRIPTS:
        raise ValueError(f"one of {', '.join(SCRIPTS)}")
    return replace(found, script=script)


def _speed(found: Directives, text: str) -> Directives:
    return replace(found, tokens_per_second=parse_rate(_words(text, "tokens per second")[0]))


def _first(found: Directives, text: str) -> Directives:
    return replace(found, first_token_seconds=parse_seconds(_words(text, "seconds")[0]))


def _burst(found: Directives, text: str) -> Directives:
    return replace(found, burst_seconds=parse_seconds(_words(text, "seconds")[0]))


def _split(found: Directives, text: str) -> Directives:
    if _words(text, "surrogates")[0] != "surrogates":
        raise ValueError("only surrogates can be split")
    return replace(found, split_surrogates=True)


def _tool(found: Directives, text: str) -> Directives:
    name, _, arguments = text.partition(" ")
    if not name or not isinstance(json.loads(arguments or "{}"), dict):
        raise ValueError("expected a name and a JSON object")
    return replace(found, tool_calls=(*found.tool_calls, (name, arguments.strip() or "{}")))


def _drift(found: Directives, text: str) -> Directives:
    after = text.split()[0].removeprefix("after=") if text.startswith("after=") else "0"
    return replace(found, drift_after=_count(after))


def _continue(found: Directives, text: str) -> Directives:
    how = _words(text, f"one of {', '.join(CONTINUATIONS)}")[0]
    if how not in CONTINUATIONS:
        raise ValueError(f"one of {', '.join(CONTINUATIONS)}")
    return replace(found, continuation=how)


def _fault(found: Directives, text: str) -> Directives:
    return replace(found, faults=(*found.faults, parse_fault(text)))


_READERS: dict[str, Callable[[Directives, str], Directives]] = {
    "say": _say,
    "repeat": _repeat,
    "length": _length,
    "script": _script,
    "speed": _speed,
    "first": _first,
    "burst": _burst,
    "split": _split,
    "tool": _tool,
    "drift": _drift,
    "continue": _continue,
    "fault": _fault,
}
