"""What the sweeper does next with a turn that was left behind, decided from what it knows and nothing else.

In this order: the `end`, the conversation and whoever waits, the record and `logged`, the marker. Every step is
idempotent, so a sweeper that dies after any of them leaves the turn to the next one.
"""

from dataclasses import dataclass
from enum import Enum, auto

from chat.journal import Fold
from chat.turn import TurnStatus


class Step(Enum):
    """The next step of a sweep."""

    LOOK = auto()  # is an instance at work on this turn?
    LEAVE = auto()  # somebody is, or the record was not taken: the next sweep looks again
    START = auto()  # there is no instance: a begun turn is started by whoever finds it, nobody closes it as abandoned
    CLOSE = auto()  # write the `end`; give way to whoever wrote since the journal was read
    TELL = auto()  # the conversation, the turn behind, the quota
    DELIVER = auto()  # send the record, then append `logged`
    UNMARK = auto()  # delete the marker: nothing is left to do, as for a turn that was not let in


@dataclass(frozen=True, slots=True)
class Progress:
    """What a sweep has found and done; None is not known yet."""

    running: bool | None = None  # the instance, looked at after the journal was read
    known: bool = True  # False: there is no instance, never was or was purged
    closed: bool | None = None  # False: somebody wrote in between
    told: bool = False
    delivered: bool | None = None  # False: the record was not accepted


def next_step(fold: Fold, progress: Progress) -> Step:
    """The next step for a turn with this journal."""
    if fold.logged or fold.status is TurnStatus.REJECTED or progress.delivered:
        return Step.UNMARK
    if progress.delivered is False or progress.closed is False:
        return Step.LEAVE
    if fold.end is None:
        if progress.running is None:
            return Step.LOOK
        if progress.running:
            return Step.LEAVE
        return Step.CLOSE if progress.known or fold.stop else Step.START
    return Step.DELIVER if progress.told else Step.TELL
