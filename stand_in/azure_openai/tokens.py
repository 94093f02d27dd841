"""Tokens: how the scripted model cuts text, and what a prompt is said to cost.

The real vocabularies are downloads of megabytes, so this is an estimate: a Latin word is a token for every six letters
(with the space before it), scripts without spaces and emoji are a token per code point. Text is never changed:
`"".join(split_tokens(text)) == text`.
"""

import re

_TOKEN = re.compile(
    r" ?[A-Za-z\u00c0-\u024f]{1,6}"  # a word or a part of one
    r"| ?[0-9]{1,3}"
    r"|[\u0590-\u06ff]{1,3}"  # Hebrew, Arabic
    r"|\s+"
    r"|.",  # CJK, punctuation, emoji: one code point
    re.DOTALL,
)
# Every message costs a few tokens for its role and delimiters, and the answer's opening costs three (as OpenAI's own
# counting recipe has it).
TOKENS_PER_MESSAGE = 3
TOKENS_FOR_ANSWER_OPENING = 3


def split_tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def estimate_prompt_tokens(contents: list[str]) -> int:
    """About 4 characters a token, a token per character of scripts that have no spaces."""
    total = TOKENS_FOR_ANSWER_OPENING
    for content in contents:
        wide = 0 if content.isascii() else sum(1 for character in content if character >= "\u2e80")
        total += TOKENS_PER_MESSAGE + wide + (len(content) - wide + 3) // 4
    return total
