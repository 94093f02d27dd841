"""The order of a conversation's turns, decided when they were accepted: who waits for whom, and who comes next.

A turn waits for the nearest earlier turn, not counting those that ended without a claim (they never spoke). One that
ends wakes the nearest later turn that has not ended.
"""

from collections.abc import Sequence
from enum import Enum, auto

from chat.conversation import Conversation, FinishedTurn
from chat.errors import JournalMissing
from chat.journal import Fold, JournalStore, read_journal


class Standing(Enum):
    """What an earlier turn is to one that wants to speak."""

    SILENT = auto()  # it never spoke: the one before it counts
    OVER = auto()  # the way is free
    RUNNING = auto()  # it has to be waited for


def standing(fold: Fold | None) -> Standing:
    """Of an earlier turn with this journal; None when it was deleted with its conversation."""
    if fold is None or (fold.end and not fold.claims):
        return Standing.SILENT
    return Standing.OVER if fold.end else Standing.RUNNING


def may_be_unstarted(fold: Fold | None) -> bool:
    """Whether the turn's starter may have died before it started the orchestration: then whoever finds out does it."""
    return fold is not None and fold.claims == 0


def may_wait(fold: Fold | None) -> bool:
    """Whether a later turn with this journal is one to wake."""
    return fold is not None and fold.end is None


class TurnOrder:
    """The turns of one conversation in their order, and those of their journals that were read on the way."""

    def __init__(self, store: JournalStore, turn_ids: Sequence[str], turn_id: str) -> None:
        self._store = store
        self._journals: dict[str, Fold | None] = {}
        self.turn_ids = tuple(turn_ids)
        self.place = self.turn_ids.index(turn_id)

    @property
    def earlier(self) -> tuple[str, ...]:
        return self.turn_ids[: self.place]

    @property
    def later(self) -> tuple[str, ...]:
        return self.turn_ids[self.place + 1 :]

    async def journal(self, turn_id: str) -> Fold | None:
        """The turn's journal as first read here; None when it is gone (deleted with its conversation)."""
        if turn_id not in self._journals:
            try:
                self._journals[turn_id] = await read_journal(self._store, turn_id)
            except JournalMissing:
                self._journals[turn_id] = None
        return self._journals[turn_id]

    async def blocking_turn(self) -> str | None:
        """The running turn that this one has to wait for, if any."""
        for turn_id in reversed(self.earlier):
            match standing(await self.journal(turn_id)):
                case Standing.RUNNING:
                    return turn_id
                case Standing.OVER:
                    return None
        return None

    async def next_turn(self) -> str | None:
        """The nearest later turn that has not ended: the one to wake."""
        for turn_id in self.later:
            if may_wait(await self.journal(turn_id)):
                return turn_id
        return None

    async def finished_turns(self, known: Conversation, count: int) -> list[FinishedTurn]:
        """The last `count` earlier turns: the conversation's copy, or else what the turn's journal says.

        Each is looked up by itself: an entity that lacks one turn may well have a later one, and a read through the
        durable client can be an operation behind.
        """
        copies = {turn.turn_id: turn for turn in known.turns}
        found = []
        for place in range(max(0, self.place - count), self.place):
            turn_id = self.turn_ids[place]
            copy = copies.get(turn_id)
            if copy is None or copy.prompt is None or copy.answer is None:
                fold = await self.journal(turn_id)
                copy = finished_turn(fold, place) if fold and fold.end else None
            if copy is not None:
                found.append(copy)
        return found


def finished_turn(fold: Fold, place: int) -> FinishedTurn:
    """The turn of an ended journal, with its whole texts."""
    assert fold.begin is not None
    assert fold.end is not None
    return FinishedTurn(
        fold.begin.turn_id,
        place,
        fold.end.status,
        fold.begin.request["prompt"],
        fold.text,
        fold.begin.at,
        fold.end.at,
    )
