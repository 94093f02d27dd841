"""Who writes the `end` of a turn besides the run that answers, and when: decided from the journal and nothing else.

Each `end` is appended under the condition that the journal still ends where its figures were made. What differs is what
a closer does when somebody wrote in between and nothing is decided yet.
"""

from enum import Enum, auto

from chat.journal import Fold

# Seconds that the stop route leaves to the run that writes: it looks at the journal's end every 0.2 s.
STOP_PATIENCE = 2.0


class Closer(Enum):
    """Who writes an `end` without having claimed the journal."""

    RUN = auto()  # stream_completion, at the limit of claims or after a `stop`
    CLOSE_TURN = auto()  # the orchestrator gave the turn up
    SWEEPER = auto()  # the instance is gone
    STOP_ROUTE = auto()  # the user asked to stop, and no run was there to write it down


def gives_way(closer: Closer) -> bool:
    """Whether it leaves the turn to those who wrote in between. Only close_turn insists: its orchestrator starts no
    further run, so nobody else might end the turn."""
    return closer is not Closer.CLOSE_TURN


class StopStep(Enum):
    """What the stop route does once its `stop` is in the journal."""

    ANSWER = auto()  # the turn has its end
    WAIT = auto()  # a run writes: it will see the stop
    WRITE_END = auto()


def stop_step(fold: Fold, waited: float) -> StopStep:
    """`waited`: seconds since the `stop` was appended. Nobody is waited for where nobody writes."""
    if fold.end:
        return StopStep.ANSWER
    nobody_writes = fold.claims == 0 or fold.waiting is not None
    return StopStep.WRITE_END if nobody_writes or waited >= STOP_PATIENCE else StopStep.WAIT
