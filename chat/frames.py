"""Frames: the pieces in which an answer travels to the browser.

The model produces a delta every few milliseconds, and a SignalR message each would cost more than it carries: a frame
holds the deltas of one short window. Browsers count UTF-16 code units, Python counts code points; offsets and lengths
on the wire are UTF-16.

A frame never ends inside a character that people see as one: a service may cut a surrogate pair in two deltas, and an
emoji may be several code points joined by U+200D. What might still grow is held back until the next delta.
"""

import hashlib
import re

ZERO_WIDTH_JOINER = "\u200d"
# Without the regional indicators, of which two make a flag.
_PICTOGRAPH = "[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
_EXTENSION = "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
# An emoji (with its variation, skin tone, tag or joiner) at the very end of the text: the next delta may extend it.
_OPEN_EMOJI = re.compile(f"(?:[0-9#*]\ufe0f|{_PICTOGRAPH}{_EXTENSION}*)(?:\u200d{_PICTOGRAPH}{_EXTENSION}*)*\u200d?\\Z")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_EMOJI = 40  # code points; longer "sequences" are text that never ends
_SMALLEST_PICTOGRAPH = "\u00a9"


def utf16_length(text: str) -> int:
    """How many UTF-16 code units a browser counts in this text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def sha256_of(text: str) -> str:
    """The SHA-256 of the text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def from_utf16_offset(text: str, offset: int) -> int:
    """The index in code points of a UTF-16 offset; an offset inside a pair gives the index of that character."""
    if text.isascii():
        return min(offset, len(text))
    return len(text.encode("utf-16-le")[: 2 * offset].decode("utf-16-le", "ignore"))


class TextJoiner:
    """Turns deltas into text that can be cut where they end: joins surrogates, holds back what may still grow."""

    def __init__(self) -> None:
        self._held = ""

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def feed(self, delta: str) -> str:
        """The text that is safe to send now; it may be empty."""
        text = _joined(self._held + delta)
        keep = _open_length(text)
        self._held = text[len(text) - keep :] if keep else ""
        return _LONE_SURROGATE.sub("\ufffd", text[: len(text) - keep])

    def finish(self) -> str:
        """What was held back, when no more deltas come. Half a surrogate pair becomes U+FFFD."""
        text, self._held = self._held, ""
        return _LONE_SURROGATE.sub("\ufffd", text)


def _joined(text: str) -> str:
    if text.isascii():
        return text
    return _SURROGATE_PAIR.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)


def _open_length(text: str) -> int:
    """How many code points at the end may still grow into one visible character."""
    if not text or text[-1] < _SMALLEST_PICTOGRAPH:
        return 0
    if "\ud800" <= text[-1] <= "\udbff":
        return 1 + _open_length(text[:-1])
    match = _OPEN_EMOJI.search(text, max(0, len(text) - _LONGEST_EMOJI))
    if match is None:
        return 1 if text[-1] == ZERO_WIDTH_JOINER else _open_flag(text)
    return len(match[0])


def _open_flag(text: str) -> int:
    """A flag is two regional indicators: an odd one at the end waits for the other."""
    count = 0
    while count < len(text) and "\U0001f1e6" <= text[-1 - count] <= "\U0001f1ff":
        count += 1
    return count % 2
