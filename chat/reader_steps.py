"""How a reader helps a turn along that it finds silent, decided from the journal and the time and nothing else.

A worker that dies says nothing, and the platform notices only after its time-outs. Readers notice sooner, because
somebody wants to read: whoever finds a turn silent for longer than a living run ever is, helps. What is done is safe to
do too early and by many at once; the limits only keep it rare.
"""

from enum import Enum, auto

from chat.journal import Fold

# All in milliseconds.
SILENCE = 20_000  # without a record (an `alive` comes every 10 s), after which a run is taken for dead
UNSTARTED = 2_000  # after `begin`, within which a starter may still be at it
UNENDED = 3_000  # after `stop`: a run that writes sees it within 0.2 s, and the stop route waits no longer than 2 s


class Help(Enum):
    """What a turn that is being read needs."""

    NONE = auto()
    START = auto()  # it was begun; is there an instance? whoever finds none starts it
    LOOK = auto()  # a run claimed and is silent: its orchestration looks after it
    END = auto()  # it was stopped, and nobody has written the `end` that belongs to it


def help_for(fold: Fold, now: int) -> Help:
    """`now` in milliseconds since 1970 UTC. A wait that was announced is no silence."""
    if fold.end or fold.begin is None:
        return Help.NONE
    if fold.stop:
        return Help.END if now - fold.stop.at > UNENDED else Help.NONE
    silent = now - max(fold.last_at, fold.waiting.until if fold.waiting else 0)
    if fold.claims == 0:
        return Help.START if silent > UNSTARTED else Help.NONE
    return Help.LOOK if silent > SILENCE else Help.NONE
