"""Silence: what a reader does about a turn that nobody goes on with.

A worker that dies says nothing, and the platform notices only after its time-outs. Readers notice sooner, because
somebody wants to read: whoever finds a turn silent for longer than a living run ever is, helps. What is done is safe to
do too early and by many at once; the limits below only keep it rare.
"""

from enum import Enum

from chat.journal import Fold

# All in milliseconds.
UNSTARTED = 2_000  # after `begin`: a starter may still be at it
SILENCE = 20_000  # without a record; a run that works appends an `alive` every 10 s
UNENDED = 3_000  # after `stop`: its writer answers within 0.2 s, and the stop route within 2 s if there is none


class Help(Enum):
    """What a silent turn needs."""

    START = "it was begun, and perhaps not started"
    LOOK = "its run is silent: another one looks after it"
    END = "it was stopped, and nobody has written the end that belongs to it"


def help_needed(fold: Fold, now: int) -> Help | None:
    """What this turn needs at this time (ms), None for one that is over or in good hands."""
    if fold.begin is None or fold.end:
        return None
    if fold.stop:
        return Help.END if now - fold.stop.at > UNENDED else None
    # A wait that was announced is no silence.
    silent = now - max(fold.last_at, fold.waiting.until if fold.waiting else 0)
    if fold.claims == 0:
        return Help.START if silent > UNSTARTED else None
    return Help.LOOK if silent > SILENCE else None
