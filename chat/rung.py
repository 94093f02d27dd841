"""Rungs: the ways to finish an interrupted answer, from the one that costs nothing to the one that people see.

What each does is in `chat/recovery.py`; records name them by number.
"""

from enum import IntEnum


class Rung(IntEnum):
    """The rung of the recovery ladder by which an answer was finished."""

    ENDED = 1
    REATTACHED = 2
    VERIFIED = 3
    CONTINUED = 4
    RESTARTED = 5
