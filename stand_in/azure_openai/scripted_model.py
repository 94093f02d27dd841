"""The scripted model: what is answered. The same messages get the same text, today and after a restart.

That is what lets a client compare a regenerated answer with what it stored of the first one. Without directives the
answer is a short friendly demonstration in Markdown, which says what it is, quotes the question and tells how many
earlier messages arrived. Words in the question choose what it shows: code, table, list, emoji, long, demo (all).

A request to continue is obeyed too (`continuation.py`). Text and pace of such an answer follow the directives of the
question; of its faults those with `when=continued` apply.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stand_in.azure_openai.completion_request import PromptMessage, hash_messages
from stand_in.azure_openai.continuation import asks_to_continue, continue_text, quoted_tail, salt_in
from stand_in.azure_openai.directives import Directives, parse_directives
from stand_in.azure_openai.prose import write_prose, write_sentences
from stand_in.azure_openai.structured_output import write_json
from stand_in.azure_openai.tokens import split_tokens

SCRIPT_CHARACTERS = 400  # of `#script` without `#length`
QUOTED_CHARACTERS = 280
_JAPANESE = re.compile(r"[\u3040-\u30ff]")


def _new_salt() -> str:
    return secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class Script:
    """One answer and how it is given."""

    text: str
    directives: Directives
    fault_key: str = ""  # calls with the same key count the same faults


def write_script(
    messages: tuple[PromptMessage, ...],
    salt: Callable[[], str] = _new_salt,
    *,
    drifts: bool = False,
    schema: dict[str, Any] | None = None,
    variant: str = "",
) -> Script:
    """The answer to these messages.

    `salt` makes drifting answers differ, `schema` is what the answer has to be an instance of, a `variant` is another
    choice of `n`.
    """
    continuation = _continue(messages, salt, drifts, schema)
    if continuation is not None:
        return continuation
    question = _Question(messages, drifts, schema, variant)
    faults = tuple(fault for fault in question.directives.faults if not fault.is_continued)
    return Script(question.answer(salt), replace(question.directives, faults=faults), hash_messages(messages))


class _Question:
    """Messages that are answered from the script."""

    def __init__(
        self, messages: tuple[PromptMessage, ...], drifts: bool, schema: dict[str, Any] | None, variant: str = ""
    ) -> None:
        last = _last_user_index(messages)
        self._messages = messages
        self.directives = parse_directives(messages[last].text if last is not None else "")
        self._seed = hash_messages(messages) + variant
        drift_after = self.directives.drift_after
        self._drift_after = 0 if drift_after is None and drifts else drift_after
        self._schema = schema
        self._steady = self._write(self._seed)

    @property
    def kept(self) -> str | None:
        """What a drifting answer always begins with; None when it does not drift. JSON would break, so it does not."""
        if self._drift_after is None or self._schema is not None:
            return None
        return "".join(split_tokens(self._steady)[: self._drift_after])

    def answer(self, salt: Callable[[], str]) -> str:
        kept = self.kept
        if kept is None:
            return self._steady
        chosen = salt()
        return f"{kept}({chosen}) " + self._write(self._seed + chosen)[len(kept) :]

    def _write(self, seed: str) -> str:
        directives = self.directives
        if directives.say is not None:
            return directives.say
        if self._schema is not None:
            return write_json(self._schema, seed)
        if directives.length is not None or directives.script is not None:
            length = SCRIPT_CHARACTERS if directives.length is None else directives.length
            return write_prose(directives.script or "latin", seed, length)
        return _demonstrate(self._messages, directives.rest, seed)


def _last_user_index(messages: tuple[PromptMessage, ...]) -> int | None:
    return next((index for index in range(len(messages) - 1, -1, -1) if messages[index].role == "user"), None)


def _continue(
    messages: tuple[PromptMessage, ...], salt: Callable[[], str], drifts: bool, schema: dict[str, Any] | None
) -> Script | None:
    """The rest of an unfinished answer, if the last message asks for that; None when it is a question like others."""
    partial, instruction = (messages[-2].text, messages[-1].text) if len(messages) > 1 else ("", "")
    if not asks_to_continue([message.role for message in messages], partial, instruction):
        return None
    question = _Question(messages[:-2], drifts, schema)
    kept = question.kept
    whole = question.answer(salt if kept is None else lambda: salt_in(partial, kept, salt))
    quoted = quoted_tail(partial, instruction)
    if not (quoted or kept is not None or (whole.startswith(partial) and whole != partial)):
        return None  # somebody says "continue" after an answer that was whole, or that is not from this script
    directives = question.directives
    if directives.continuation == "afresh":
        text = question.answer(salt)
    else:
        text = continue_text(directives.continuation, whole, partial, quoted)
    faults = tuple(fault for fault in directives.faults if fault.is_continued)
    return Script(text, replace(directives, faults=faults), f"{hash_messages(messages[:-2])} continued")


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
