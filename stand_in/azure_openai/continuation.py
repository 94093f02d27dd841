"""Continuation: how a request to go on with an unfinished answer is recognised and obeyed.

It is one when an unfinished assistant message is followed by a last message that says "continue". The answer is the
rest of what the script had to say, after the tail that the instruction quotes (else the last 40 characters), so that
a client can splice it. Models are not all that obedient; `#continue HOW` in the question says how this one is:

| HOW | the answer |
|---|---|
| `exact` | the tail and the rest (the default) |
| `more` | begins 60 characters before the tail |
| `bare` | the rest alone, nothing is repeated |
| `quoted` | opens with a line break and a quotation mark, then the tail and the rest |
| `afresh` | the whole answer from its beginning; with drift, another one |

An answer that drifted tells in its text by which salt it did, so it is continued as it began.
"""

import re
from collections.abc import Callable

REPEATED_TAIL = 40
REPEATED_MORE = 60
INSTRUCTING_ROLES = ("user", "system", "developer")
SHORTEST_QUOTED_TAIL = 8
_CONTINUE = re.compile(r"\bcontinue\b|続け|継続", re.IGNORECASE)
SALT_CHARACTERS = 8
_SALT = re.compile(r"\(([0-9a-f]{0,8})(\) )?")


def asks_to_continue(roles: list[str], partial: str, instruction: str) -> bool:
    """Whether the last of these messages, `instruction`, asks to go on with the one before it."""
    if len(roles) < 3 or roles[-2] != "assistant" or roles[-1] not in INSTRUCTING_ROLES:
        return False
    return bool(partial and _CONTINUE.search(instruction))


def quoted_tail(partial: str, instruction: str) -> str:
    """The longest end of the partial answer that the instruction quotes; "" when it quotes none."""
    for length in range(min(len(partial), len(instruction)), SHORTEST_QUOTED_TAIL - 1, -1):
        if partial[-length:] in instruction:
            return partial[-length:]
    return ""


def salt_in(partial: str, kept: str, fresh: Callable[[], str]) -> str:
    """The salt of the drifted answer that begins like this: `kept`, then the salt in parentheses.

    A partial answer that broke off before or inside its salt gets one that fits.
    """
    if not partial.startswith(kept) or not (match := _SALT.match(partial, len(kept))):
        return fresh()
    digits = match[1]
    return digits if match[2] else digits + fresh()[len(digits) :]


def continue_text(how: str, whole: str, partial: str, quoted: str) -> str:
    """What follows the partial answer, in the manner ordered. `whole` is the answer as the script has it."""
    rest = whole[len(partial) :] if whole.startswith(partial) else f" … {whole}"
    tail = quoted or partial[-REPEATED_TAIL:]
    if how == "bare":
        return rest
    if how == "more":
        return partial[-len(tail) - REPEATED_MORE :] + rest
    if how == "quoted":
        return f'\n"{tail}{rest}'
    return tail + rest
