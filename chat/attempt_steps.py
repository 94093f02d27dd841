"""What a run of stream_completion does next, decided from what it read and nothing else.

The activity does what these functions say; tests/model searches every order of events with the same functions.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from chat.failure_policy import MAX_CLAIMS
from chat.journal import Fold


class Step(Enum):
    """The next step of a run that has read the journal."""

    RETURN = auto()  # it has its end: return what that says
    END_STOP = auto()  # the user asked to stop: write the `end` that belongs to it
    NOT_NEEDED = auto()  # a `look` that came too late: somebody writes
    FOLLOW = auto()  # the run of another attempt may be writing: read along
    GIVE_UP = auto()  # too many runs claimed and died
    CLAIM = auto()  # become the writer, unless an earlier turn has to be waited for


@dataclass(frozen=True, slots=True)
class Run:
    """What a run was given: its attempt's number, the attempts that were open when it was scheduled, for a `look` the
    position that the reader saw. `polite` until it has found the claimant silent."""

    attempt: int
    open: frozenset[int] = frozenset()
    look: int | None = None
    polite: bool = True

    def having_claimed(self) -> "Run":
        """A `look` is over then: what happens later is not what the reader saw."""
        return replace(self, look=None)

    def having_found_silence(self) -> "Run":
        """It has seen the silence itself."""
        return replace(self, look=None, polite=False)


def next_step(fold: Fold, run: Run) -> Step:
    """What this run does with the journal as it is."""
    if fold.end:
        return Step.RETURN
    if fold.stop:
        return Step.END_STOP
    if run.look is not None and fold.position != run.look:
        return Step.NOT_NEEDED
    if run.polite and run.look is None and another_may_write(fold, run):
        return Step.FOLLOW
    return Step.GIVE_UP if fold.claims >= MAX_CLAIMS else Step.CLAIM


def another_may_write(fold: Fold, run: Run) -> bool:
    """Whether the last claim is of an attempt that may be alive: a later one, or one that was open beside this."""
    claim = fold.claim
    return claim is not None and (claim.attempt > run.attempt or claim.attempt in run.open)


class Following(Enum):
    """What a run does that reads along."""

    ON = auto()
    READ_AGAIN = auto()  # the outcome is decided
    TAKE_OVER = auto()  # the claimant is silent: two followers of a dead run would wait for ever


def follow_step(fold: Fold, quiet: float, now: int, silence: float) -> Following:
    """`quiet`: seconds since something new was read; `silence`: how many are too many beyond any announced wait."""
    if fold.decided:
        return Following.READ_AGAIN
    announced = max(0, fold.waiting.until - now) / 1000 if fold.waiting else 0
    return Following.TAKE_OVER if quiet > silence + announced else Following.ON
