"""Splicing: an answer that was cut off, and what a model says when it is asked to go on with it.

The model is told to begin with the *tail*, the last characters of the text, and to go straight on. Where its answer
repeats the tail, the two are spliced: a repetition that nobody could mistake is what makes it sure that no character is
lost or doubled. For that the tail stands in the text once only, and begins with a word where there are words.

What counts as a repetition: the tail, or any longer end of the text (some models repeat the whole sentence); white
space before it, which models add or drop; a quotation mark or backtick before it, whose twin right behind the tail or
at the very end of the answer is no text then. What does not: anything else before the tail that is not the text's (an
introduction, a fresh start), a tail that was changed, a tail that is there twice, and no tail at all, which cannot be
told from an answer to the instruction ("Certainly, ..."). Then nothing is taken, and the ladder goes on below.
"""

import unicodedata
from typing import NamedTuple

TAIL = 40  # characters (code points); half a line of text, so that it hardly occurs twice
SHORTEST_TAIL = 8  # "C" begins the text, and "Certainly, ..."
LONGEST_TAIL = 400  # where it does occur twice, it grows up to here, else there is none
WORD = 20  # how much longer it may get to begin with a word
MOST_BLANKS = 40
LONGEST_REPETITION = 2_000  # a model that repeats more than this of the text is starting again

INSTRUCTION = """\
Your answer above was cut off in mid-sentence. Continue it exactly where it stopped.
Begin by repeating, character for character, the last characters of it, which stand between the two lines of equals \
signs below; then write straight on, in the same language and format, to the end of the answer. Write nothing before \
them: no introduction, no quotation marks, no comment, and nothing of the answer's earlier text.
==========
{tail}
=========="""

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "„": "“", "‘": "’", "«": "»", "「": "」", "『": "』"}
# What a character of the text can be extended by: the tail does not begin with it.
_EXTENDS = ("\u200d", "\ufe0e", "\ufe0f", "\u20e3")


def tail_of(text: str) -> str | None:
    """The end of the text that a continuation has to repeat: about TAIL characters, whole ones; all of the text when it
    is shorter. None when nobody could be sure: no end occurs once only, or there are fewer than SHORTEST_TAIL."""
    length = TAIL
    while True:
        tail = text[_beginning(text, len(text) - length) :].lstrip()
        if len(tail) < SHORTEST_TAIL:
            return None
        if text.find(tail) == len(text) - len(tail):
            return tail
        if length >= LONGEST_TAIL:
            return None
        length = min(2 * length, LONGEST_TAIL)


def _beginning(text: str, start: int) -> int:
    """The nearest place before `start` where a word begins, or else a whole character."""
    if start <= 0:
        return 0
    for place in range(start, max(0, start - WORD), -1):
        if text[place - 1].isspace() and not text[place].isspace():
            return place
    while start > 0 and _is_extension(text, start):
        start -= 1
    return start


def _is_extension(text: str, place: int) -> bool:
    """Whether the character at this place belongs to the one before it."""
    character = text[place]
    return (
        bool(unicodedata.combining(character))
        or character in _EXTENDS
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
        or text[place - 1] == "\u200d"
        or "\U0001f1e6" <= character <= "\U0001f1ff"  # half a flag: go back to before all flags
    )


class Repeated(NamedTuple):
    """What stands after the repeated end of the stored text, and the mark that may still close the answer."""

    rest: str
    marks: tuple[str, str] | None


def new_text(stored: str, tail: str, answer: str, *, whole: bool) -> Repeated | None:
    """What the answer so far adds to the stored text, whose tail it was told to repeat.

    Nothing in `rest` means that it cannot be said yet; of a `whole` answer: that it adds nothing. None means no match.
    An answer that once added something keeps what it added, however it goes on.
    """
    found = _after_repetition(stored, tail, answer)
    if found is None:
        return None if whole or not _may_match(stored, tail, answer) else Repeated("", None)
    # The tail once more: whether that is meant to be text is anybody's guess.
    if found.rest.startswith(tail):
        return None
    return Repeated("", None) if tail.startswith(found.rest) and not whole else found


def _after_repetition(stored: str, tail: str, answer: str) -> Repeated | None:
    """None when the repetition is not there, or not there yet."""
    for candidate in _beginnings(answer):
        start = candidate.find(tail, 0, LONGEST_REPETITION)
        end = start + len(tail)
        if start >= 0 and stored.endswith(candidate[:end]):
            return Repeated(candidate[end:], None)
        opening, closing = candidate[:1], _QUOTES.get(candidate[:1])
        if closing and candidate.startswith(tail, 1) and not _leaves_open(stored, opening, closing):
            rest = candidate[1 + len(tail) :]
            return Repeated(rest[1:], None) if rest.startswith(closing) else Repeated(rest, (opening, closing))
    return None


def _beginnings(answer: str) -> list[str]:
    """The answer, and the answer without the white space before it, if that is not too much."""
    stripped = answer.lstrip()
    blanks = len(answer) - len(stripped)
    return [answer, stripped] if 0 < blanks <= MOST_BLANKS else [answer]


def _leaves_open(stored: str, opening: str, closing: str) -> bool:
    """Whether a closing mark that follows may be the text's own."""
    if opening == closing:
        return stored.count(opening) % 2 == 1
    return stored.count(opening) > stored.count(closing)


def _closes_too_much(text: str, opening: str, closing: str) -> bool:
    """Whether the text ends with a closing mark that nothing in it opens."""
    if opening == closing:
        return text.count(opening) % 2 == 1
    return text.count(closing) > text.count(opening)


def _may_match(stored: str, tail: str, answer: str) -> bool:
    """Whether more of the answer could make it a match."""
    ends = stored[-LONGEST_REPETITION:]
    last = len(ends) - len(tail)  # the last place where a repetition that includes the tail can begin
    for candidate in _beginnings(answer):
        closing = _QUOTES.get(candidate[:1])
        if 0 <= ends.find(candidate) <= last or (closing and tail.startswith(candidate[1:])):
            return True
    return answer.isspace() and len(answer) <= MOST_BLANKS


class Splicer:
    """Feeds on a continuation as it arrives; lets new text through as soon as it is sure where it belongs."""

    def __init__(self, stored: str, tail: str) -> None:
        self._stored = stored
        self._tail = tail
        self._answer = ""
        self._matched = False
        self._marks: tuple[str, str] | None = None
        self._held = ""  # a closing mark that may be the last of the answer
        self._start = 0  # of the new text in the answer
        self.shift = 0  # from a place in the answer to the same place in the text, in code points

    @property
    def undecided(self) -> bool:
        # An answer in marks stays so to its end: only who knows how it began can tell its closing mark from text.
        return not self._matched or self._marks is not None

    def feed(self, text: str) -> str:
        """The new text in the next piece of the answer. Raises NoMatch."""
        if self._matched and self._marks is None:
            return text
        self._answer += text
        return self._hold(text) if self._matched else self._take(whole=False)

    def finish(self) -> str:
        """The answer is complete; what is still new comes back. Raises NoMatch."""
        new = "" if self._matched else self._take(whole=True)
        if self._held and self._marks and not _closes_too_much(self._answer[self._start :], *self._marks):
            new += self._held
        self._held = ""
        return new

    def _take(self, *, whole: bool) -> str:
        new = new_text(self._stored, self._tail, self._answer, whole=whole)
        if new is None:
            raise NoMatch
        if not new.rest:
            return ""
        self._matched, self._marks = True, new.marks
        self._start = len(self._answer) - len(new.rest)
        self.shift = len(self._stored) - self._start
        return self._hold(new.rest)

    def _hold(self, text: str) -> str:
        """The text without a closing mark at its end, as long as that may be the end of an answer in marks."""
        if self._marks is None:
            return text
        text = self._held + text
        self._held = self._marks[1] if text.endswith(self._marks[1]) else ""
        return text.removesuffix(self._held)


class NoMatch(Exception):
    """This happened: an answer does not go on with the stored text, as far as anybody can be sure."""
