"""The scripted model: what is answered. The same messages get the same text, today and after a restart.

That is what lets a client compare a regenerated answer with what it stored of the first one. Without directives the
answer is a short friendly demonstration in Markdown, which says what it is, quotes the question and tells how many
earlier messages arrived. Words in the question choose what it shows: code, table, list, emoji, long, demo (all).

A request to continue is obeyed as a good model would: when an unfinished assistant message is followed by a last
message that says "continue", the answer is the rest of what the script had to say, beginning with the tail that the
instruction quotes (else the last 40 characters), so that a client can splice it. Text and pace of such an answer follow
the directives of the question, its faults do not apply.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from stand_in.azure_openai.completion_request import PromptMessage, hash_messages
from stand_in.azure_openai.directives import Directives, parse_directives
from stand_in.azure_openai.prose import write_prose, write_sentences
from stand_in.azure_openai.tokens import split_tokens

SCRIPT_CHARACTERS = 400  # of `#script` without `#length`
REPEATED_TAIL = 40
INSTRUCTING_ROLES = ("user", "system", "developer")
QUOTED_CHARACTERS = 280
SHORTEST_QUOTED_TAIL = 8
_CONTINUE = re.compile(r"\bcontinue\b|続け|継続", re.IGNORECASE)
_JAPANESE = re.compile(r"[\u3040-\u30ff]")


@dataclass(frozen=True, slots=True)
class Script:
    """One answer and how it is given."""

    text: str
    directives: Directives


def write_script(messages: tuple[PromptMessage, ...], salt: Callable[[], str] = lambda: secrets.token_hex(4)) -> Script:
    """The answer to these messages; `salt` makes answers with `#drift` differ."""
    continuation = _continue(messages, salt)
    if continuation is not None:
        return continuation
    last = _last_user_index(messages)
    question = messages[last].text if last is not None else ""
    directives = parse_directives(question)
    seed = hash_messages(messages)
    text = _write(messages, directives, seed)
    if directives.drift_after is not None:
        kept = "".join(split_tokens(text)[: directives.drift_after])
        text = kept + f"({salt()}) " + _write(messages, directives, seed + salt())[len(kept) :]
    return Script(text, directives)


def _last_user_index(messages: tuple[PromptMessage, ...]) -> int | None:
    return next((index for index in range(len(messages) - 1, -1, -1) if messages[index].role == "user"), None)


def _write(messages: tuple[PromptMessage, ...], directives: Directives, seed: str) -> str:
    if directives.say is not None:
        return directives.say
    if directives.length is not None or directives.script is not None:
        length = SCRIPT_CHARACTERS if directives.length is None else directives.length
        return write_prose(directives.script or "latin", seed, length)
    return _demonstrate(messages, directives.rest, seed)


def _continue(messages: tuple[PromptMessage, ...], salt: Callable[[], str]) -> Script | None:
    """The rest of an unfinished answer, if the last message asks for that; None when it is a question like others."""
    if len(messages) < 3 or messages[-2].role != "assistant" or messages[-1].role not in INSTRUCTING_ROLES:
        return None
    partial, instruction = messages[-2].text, messages[-1].text
    if not partial or not _CONTINUE.search(instruction):
        return None
    whole = write_script(messages[:-2], salt)
    quoted = _quoted_tail(partial, instruction)
    is_unfinished = whole.text.startswith(partial) and whole.text != partial
    if not (quoted or is_unfinished or whole.directives.drift_after is not None):
        return None  # somebody says "continue" after an answer that was whole, or that is not from this script
    rest = whole.text[len(partial) :] if whole.text.startswith(partial) else f" … {whole.text}"
    return Script((quoted or partial[-REPEATED_TAIL:]) + rest, replace(whole.directives, faults=()))


def _quoted_tail(partial: str, instruction: str) -> str:
    """The longest end of the partial answer that the instruction quotes; "" when it quotes none."""
    for length in range(min(len(partial), len(instruction)), SHORTEST_QUOTED_TAIL - 1, -1):
        if partial[-length:] in instruction:
            return partial[-length:]
    return ""


def _demonstrate(messages: tuple[PromptMessage, ...], question: str, seed: str) -> str:
    """The answer without directives: an introduction, the echo, what was asked to be shown, a closing line."""
    asked = question.lower()
    shows = [show for words, show in _SHOWS if any(word in asked for word in words)]
    if not shows and len(question) > 60:
        shows = [_list]
    emoji = any(word in asked for word in ("emoji", "demo", "絵文字"))
    parts = [_introduce(messages, question, emoji), *(show(seed) for show in shows), _close(seed, emoji)]
    return "\n\n".join(parts)


def _introduce(messages: tuple[PromptMessage, ...], question: str, emoji: bool) -> str:
    earlier = [message for message in messages[: _last_user_index(messages)] if message.role in ("user", "assistant")]
    quoted = question[:QUOTED_CHARACTERS] + ("…" if len(question) > QUOTED_CHARACTERS else "")
    quote = "\n".join(f"> {line}" for line in quoted.splitlines()) or "> (nothing)"
    if _JAPANESE.search(question):
        memory = f"これまでのメッセージは {len(earlier)} 件です。" if earlier else "これが最初のメッセージです。"
        hello = f"こんにちは{'👋🏽' if emoji else ''}！私は**ローカルのモデルエミュレーター**です。"
        return f"{hello}\n\nご質問：\n\n{quote}\n\n{memory}"
    users = sum(1 for message in earlier if message.role == "user")
    memory = f"Before that I saw {len(earlier)} earlier message{'s' if len(earlier) != 1 else ''} ({users} from you)."
    if not earlier:
        memory = "It is the first message I have seen from you here."
    greeting = "Hello 👋🏽! 🤖" if emoji else "Hello!"
    return (
        f"{greeting} I am the **local model emulator**: nothing you write leaves this machine.\n\n"
        f"You asked:\n\n{quote}\n\n{memory}"
    )


def _close(seed: str, emoji: bool) -> str:
    thought = write_sentences("latin", seed + "close", 1)
    return f"And a thought to close with{' ✨' if emoji else ''}: *{thought}*"


def _code(seed: str) -> str:
    number = int(seed[:2], 16) % 7 + 3
    return (
        "Here is some code:\n\n```python\ndef countdown(start: int) -> list[int]:\n"
        '    """Every number from start down to one."""\n    return list(range(start, 0, -1))\n\n\n'
        f"print(countdown({number}))  # {list(range(number, 0, -1))}\n```"
    )


def _table(seed: str) -> str:
    rows = [
        f"| {name} | {int(seed[index * 2 : index * 2 + 2], 16)} | {int(seed[-index - 2 :][:2], 16) % 100} % |"
        for index, name in enumerate(("Kyoto", "Reykjavík", "São Paulo", "القاهرة"))
    ]
    return "A table, with numbers that mean nothing:\n\n| place | lanterns | lit |\n|---|---:|---:|\n" + "\n".join(rows)


def _list(seed: str) -> str:
    points = [f"{number}. {write_sentences('latin', f'{seed}{number}', 1)}" for number in (1, 2, 3)]
    return "Three things come to mind:\n\n" + "\n".join(points)


def _emoji(seed: str) -> str:
    return f"Some emoji, joined and flagged: {write_sentences('emoji', seed, 3)}"


def _long(seed: str) -> str:
    return "## A longer story\n\n" + write_prose("latin", seed, 2400).rstrip()


_SHOWS: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
    (("code", "python", "program", "demo", "コード"), _code),
    (("table", "compare", "demo", "表"), _table),
    (("list", "steps", "three", "demo"), _list),
    (("emoji", "demo", "絵文字"), _emoji),
    (("long", "story", "essay", "物語"), _long),
)
