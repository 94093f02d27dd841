"""Conversations: the ordered messages under one id, as a durable entity keeps them.

The order of turns is decided when they are accepted, not here: each comes with its place. The state holds the recent
turns within a budget, so that an entity's state stays small; everything else is in the turns' journals, which the
state can be rebuilt from. Texts above `LARGEST_TEXT` are not copied here at all: their turn is listed with `None`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chat.completion import Message
from chat.turn import TurnStatus

LARGEST_TEXT = 8 * 1024  # bytes of UTF-8; what travels through messages and history stays this small
KEPT_TURNS = 40
KEPT_CHARACTERS = 60_000
TITLE_LENGTH = 60
PROMPT_BUDGET = 48_000  # characters of earlier turns that are given to the model (about 12,000 tokens)


def small_enough(text: str | None) -> str | None:
    """The text itself when it may travel in messages and states, else None."""
    return text if text is not None and len(text.encode()) <= LARGEST_TEXT else None


@dataclass(frozen=True, slots=True)
class FinishedTurn:
    """One turn of a conversation, as the entity keeps it; a `prompt` or `answer` of None is in the journal only."""

    turn_id: str
    place: int
    status: str
    prompt: str | None
    answer: str | None
    created_at: int
    ended_at: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "turnId": self.turn_id,
            "place": self.place,
            "status": self.status,
            "prompt": self.prompt,
            "answer": self.answer,
            "createdAt": self.created_at,
            "endedAt": self.ended_at,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "FinishedTurn":
        return cls(
            value["turnId"],
            value["place"],
            value["status"],
            value["prompt"],
            value["answer"],
            value["createdAt"],
            value["endedAt"],
        )

    @property
    def size(self) -> int:
        return len(self.prompt or "") + len(self.answer or "")


@dataclass(slots=True)
class Conversation:
    """The state of the entity."""

    title: str = ""
    title_place: int | None = None
    created_at: int = 0
    updated_at: int = 0
    completed: int = 0  # turns that were told, also those no longer kept
    turns: list[FinishedTurn] = field(default_factory=list)
    forgotten: int = -1  # the highest place that was dropped: a late repetition of it must not come back

    def complete_turn(self, turn: FinishedTurn) -> bool:
        """Take in a finished turn. False when it was known: telling twice changes nothing."""
        if turn.place <= self.forgotten or any(known.turn_id == turn.turn_id for known in self.turns):
            return False
        self.turns.append(turn)
        self.turns.sort(key=lambda known: known.place)
        self.completed += 1
        self.created_at = min(self.created_at or turn.created_at, turn.created_at)
        self.updated_at = max(self.updated_at, turn.ended_at)
        if turn.prompt and (self.title_place is None or turn.place < self.title_place):
            self.title, self.title_place = title_of(turn.prompt), turn.place
        self._keep_budget()
        return True

    def _keep_budget(self) -> None:
        size = sum(turn.size for turn in self.turns)
        while len(self.turns) > 1 and (len(self.turns) > KEPT_TURNS or size > KEPT_CHARACTERS):
            dropped = self.turns.pop(0)
            size -= dropped.size
            self.forgotten = max(self.forgotten, dropped.place)

    def to_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "titlePlace": self.title_place,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "completed": self.completed,
            "turns": [turn.to_dict() for turn in self.turns],
            "forgotten": self.forgotten,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any] | None) -> "Conversation":
        """The conversation in an entity's state; an empty one when there is none yet."""
        if not value:
            return cls()
        return cls(
            value["title"],
            value["titlePlace"],
            value["createdAt"],
            value["updatedAt"],
            value["completed"],
            [FinishedTurn.from_dict(turn) for turn in value["turns"]],
            value["forgotten"],
        )


def title_of(prompt: str) -> str:
    """A conversation's title: the beginning of its first question, on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given for one turn: the system text, earlier turns, the question."""

    system: str
    earlier: tuple[FinishedTurn, ...]
    question: str

    @property
    def messages(self) -> tuple[Message, ...]:
        messages = [Message("system", self.system)] if self.system else []
        for turn in self.earlier:
            messages += [Message("user", turn.prompt or ""), Message("assistant", turn.answer or "")]
        return (*messages, Message("user", self.question))


def prompt_of(system: str, earlier: Sequence[FinishedTurn], question: str) -> Prompt:
    """The prompt of a turn, with the newest earlier turns within the budget.

    Turns without an answer (failed before the first word, refused by the filter) are left out: the model would take
    the question for one that it still has to answer, or refuse again.
    """
    kept: list[FinishedTurn] = []
    budget = PROMPT_BUDGET
    for turn in reversed(earlier):
        if turn.prompt is None or not turn.answer or turn.status in (TurnStatus.FILTERED, TurnStatus.REJECTED):
            continue
        budget -= turn.size
        if budget < 0:
            break
        kept.append(turn)
    return Prompt(system, tuple(reversed(kept)), question)
