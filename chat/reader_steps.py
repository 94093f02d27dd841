"""How a reader helps a turn along that it finds silent, decided from the journal and the time and nothing else."""

from enum import Enum, auto

from chat.journal import Fold

SILENCE = 20_000  # ms without a record (an `alive` comes every 10 s) after which a run is taken for dead
UNSTARTED = 2_000  # ms after `begin` within which a starter may still be at it


class Help(Enum):
    """What a turn that is being read needs."""

    NONE = auto()
    START = auto()  # it was begun; is there an instance? whoever finds none starts it
    LOOK = auto()  # a run claimed and is silent: its orchestration looks after it


def help_for(fold: Fold, now: int) -> Help:
    """`now` in milliseconds since 1970 UTC. A wait that was announced is no silence."""
    if fold.end or fold.begin is None:
        return Help.NONE
    silent = now - max(fold.last_at, fold.waiting.until if fold.waiting else 0)
    if fold.claims == 0:
        return Help.START if silent > UNSTARTED else Help.NONE
    return Help.LOOK if silent > SILENCE else Help.NONE
