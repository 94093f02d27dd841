"""Recovery: how a later attempt goes on with the text that an earlier one stored.

The ladder, from the rung that costs nothing to the one that people see:

    1  the journal has its end: return that, the model is not called
    3  the model is asked again, and its answer is verified against the stored text: what matches is swallowed,
       what comes after it is appended
    5  it does not match: a `restart`, openly, a new generation with the new text

(Rungs 2, re-attaching to a running response, and 4, asking the model to continue, have their place here.)
"""

from dataclasses import dataclass
from enum import IntEnum


class Rung(IntEnum):
    """The rung of the ladder by which an answer was finished."""

    ENDED = 1
    VERIFIED = 3
    RESTARTED = 5


@dataclass(frozen=True, slots=True)
class Verified:
    """What a piece of the regenerated answer comes to: `text` is new; `restart` says it replaces the stored text."""

    text: str = ""
    restart: bool = False


class PrefixVerifier:
    """Swallows a regenerated answer as long as it equals the stored text.

    It is fed with joined text (whole characters). After a mismatch the whole regenerated answer so far is the text of
    a new generation.
    """

    def __init__(self, stored: str) -> None:
        self._stored = stored
        self._matched = 0
        self._restarted = False

    @property
    def verifying(self) -> bool:
        """Whether stored text is left that the answer was not yet compared with."""
        return not self._restarted and self._matched < len(self._stored)

    def feed(self, text: str) -> Verified:
        """Compare the next piece; what is new comes back."""
        if not self.verifying:
            return Verified(text)
        expected = self._stored[self._matched : self._matched + len(text)]
        if not text.startswith(expected):
            return self._restart(text)
        self._matched += len(expected)
        return Verified(text[len(expected) :])

    def finish(self) -> Verified:
        """The answer is complete. One that is shorter than the stored text does not match it."""
        return self._restart("") if self.verifying else Verified()

    def _restart(self, text: str) -> Verified:
        self._restarted = True
        return Verified(self._stored[: self._matched] + text, restart=True)
