"""Recovery: how a later attempt goes on with the text that an earlier one stored.

The ladder, from the rung that costs nothing to the one that people see:

    1  the journal has its end: return that, the model is not called
    2  the response still runs at the service (background mode): re-attach to it after the last event that is stored;
       what comes twice is verified against the stored text
    3  the model is asked again, and its answer is verified against the stored text: what matches is swallowed, what
       comes after it is appended
    4  the model is asked to continue: it repeats the tail of the stored text, where its answer is spliced
    5  none of that worked: a `restart`, openly, a new generation with the text of a fresh answer

The first rung of a run is chosen from the journal alone. A rung that does not hold (NoMatch, ResponseLost) gives way to
one below it within the same run, before anything of it was shown; any other failure of the model ends the run, and the
next one chooses again.

What a model sees on rung 4 is the prompt of the turn, then the unfinished text as the last `assistant` message, then a
`user` message: `splice.INSTRUCTION`, which says "Continue" and quotes the tail between two lines of equals signs. A
model that obeys answers with the tail, character for character, and goes on; an emulator may take any last message
after an unfinished assistant message for such a request when it quotes the end of it.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from chat.completion import CompletionRequest, Message, estimated_tokens
from chat.deployments import Deployments
from chat.rung import Rung
from chat.splice import INSTRUCTION, NoMatch, Splicer, tail_of
from chat.upstream_history import ResumePoint, UpstreamHistory

# About 200 tokens. Until the new answer has caught up nobody sees anything new: 2 s at 100 tokens a second.
LONGEST_VERIFIED = 800
# Attempts to re-attach that brought no text before the response is given up.
FRUITLESS_WAITS = 2


class Matcher(Protocol):
    """What an answer, as it arrives, adds to the stored text. It is fed with joined text (whole characters)."""

    @property
    def undecided(self) -> bool:
        """Whether what comes next can be told from the stored text only with what came so far: the answer may turn out
        to be no match, or stored already, or to stand in quotation marks. Nobody can read on from here."""

    @property
    def shift(self) -> int:
        """From a place in the answer to the same place in the text, in code points."""

    def feed(self, text: str) -> str:
        """The new text in the next piece. Raises NoMatch, but never after new text came out."""

    def finish(self) -> str:
        """The answer is complete; what is still new comes back. Raises NoMatch."""


class PrefixVerifier:
    """Swallows an answer as long as it equals the stored text; with nothing stored everything is new."""

    def __init__(self, stored: str, shift: int = 0) -> None:
        self._stored = stored
        self._matched = 0
        self.shift = shift

    @property
    def undecided(self) -> bool:
        return self._matched < len(self._stored)

    def feed(self, text: str) -> str:
        """Compare the next piece; what is new comes back. Raises NoMatch."""
        expected = self._stored[self._matched : self._matched + len(text)]
        if not text.startswith(expected):
            raise NoMatch
        self._matched += len(expected)
        return text[len(expected) :]

    def finish(self) -> str:
        """The answer is complete. One that is shorter than the stored text does not match it."""
        if self.undecided:
            raise NoMatch
        return ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What there is to go on with when a run begins, on the deployment that it asks."""

    text: str
    tail: str | None
    resume: ResumePoint | None
    repeats: bool  # whether the deployment may be expected to give the stored text again

    def matcher(self, rung: Rung | None) -> Matcher:
        """What tells old from new in an answer got on this rung."""
        if rung is Rung.REATTACHED and self.resume:
            return PrefixVerifier(self.text[self.resume.characters :], self.resume.characters)
        if rung is Rung.CONTINUED and self.tail:
            return Splicer(self.text, self.tail)
        return PrefixVerifier(self.text if rung is Rung.VERIFIED else "")

    def request(self, rung: Rung | None, asked: CompletionRequest) -> CompletionRequest:
        """What to ask the model on this rung, when the turn asks for `asked`."""
        if rung is not Rung.CONTINUED or not self.tail:
            return asked
        messages = (
            *asked.messages,
            Message("assistant", self.text),
            Message("user", INSTRUCTION.format(tail=self.tail)),
        )
        return replace(asked, messages=messages, max_tokens=self._tokens_left(asked.max_tokens))

    def _tokens_left(self, max_tokens: int | None) -> int | None:
        """Of what the turn may cost, with the repeated tail on top."""
        if max_tokens is None or self.tail is None:
            return None
        return max(1, max_tokens - estimated_tokens(self.text)) + estimated_tokens(self.tail)


def ladder_of(text: str, history: UpstreamHistory, deployment: str, deployments: Deployments) -> Ladder:
    """The ladder for the stored text of a turn, on this deployment."""
    resume = history.resume
    if resume and (resume.deployment != deployment or history.waits_since_text >= FRUITLESS_WAITS):
        resume = None
    is_one_answer = not history.continued and history.written_by in (None, deployment)
    is_repeatable = len(text) < LONGEST_VERIFIED or deployment in deployments.repeatable
    return Ladder(text, tail_of(text), resume, is_one_answer and is_repeatable)


def choose_rung(ladder: Ladder) -> Rung | None:
    """The first rung to try; None when there is nothing to go on with: the model is simply asked."""
    if ladder.resume:
        return Rung.REATTACHED
    if not ladder.text:
        return None
    # Without a tail that a continuation could be spliced at, verifying is what is left before a restart.
    return Rung.VERIFIED if ladder.repeats or ladder.tail is None else Rung.CONTINUED


def rung_below(rung: Rung | None, ladder: Ladder) -> Rung | None:
    """What to try after this rung did not hold."""
    if rung is Rung.REATTACHED:
        return choose_rung(replace(ladder, resume=None))
    return Rung.CONTINUED if rung is Rung.VERIFIED and ladder.tail else Rung.RESTARTED
