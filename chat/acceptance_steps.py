"""What a starter does next on the way from a request to its 202, decided from what it knows and nothing else.

`begin` comes first: a place in the order without it would make the turns behind it wait for one that may never be. The
start comes last, and only after it the 202: a turn that was promised is one that runs.
"""

from dataclasses import dataclass
from enum import Enum, auto

from chat.journal import Fold
from chat.outcome import end_of_rejection
from chat.records import Admit, Begin, End
from chat.turn import QueuePolicy, TurnStatus


class Step(Enum):
    """The next step of a starter."""

    BEGIN = auto()  # append `begin` at position 0, or read the one that is there
    REFUSE_KEY = auto()  # the key stands for another request
    PLACE = auto()  # take the turn's place in the conversation
    ADMIT = auto()  # under `reject`: say at position 1 whether the turn had to queue, or read what is said there
    REJECT = auto()  # it had to
    START = auto()  # start the orchestration, if there is none
    ACCEPTED = auto()


@dataclass(frozen=True, slots=True)
class Progress:
    """What a starter knows: what position 0 holds, what it has done or found done. `admitted` is None until known."""

    first: Begin | None = None
    placed: bool = False
    admitted: bool | None = None
    started: bool = False


def next_step(asked: str, progress: Progress) -> Step:
    """The next step for a request with this hash. Who lost position 0 to the same request takes the same steps: the
    winner may have died after any of them."""
    first = progress.first
    if first is None:
        return Step.BEGIN
    if first.request_hash != asked:
        return Step.REFUSE_KEY
    if not progress.placed:
        return Step.PLACE
    if first.request["policy"] == QueuePolicy.REJECT:
        if progress.admitted is None:
            return Step.ADMIT
        if not progress.admitted:
            return Step.REJECT
    return Step.ACCEPTED if progress.started else Step.START


def admission(fold: Fold) -> bool | None:
    """Whether a turn under `reject` was let in, as its journal says; None when nothing is said yet.

    One that speaks was: a turn behind it may have started it when its starter died before it said so.
    """
    if not fold.admitted and not fold.decided and fold.claims == 0:
        return None
    return fold.status is not TurnStatus.REJECTED


def verdict(fold: Fold, blocking: str | None, now: int) -> Admit | End:
    """What is to be said of a turn under `reject`; `blocking` is the turn it would have to wait for."""
    return Admit(now) if blocking is None else end_of_rejection(fold, "starter", now)
