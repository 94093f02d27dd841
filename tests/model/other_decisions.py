"""Other decisions than the app's, to be put in their place when a rule is left out."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orchestrators.chat_turn
from chat import attempt_steps, conversation_order, journal_writer, sweep_steps
from chat.attempt_steps import Following, Run, Step
from chat.conversation import Conversation, FinishedTurn
from chat.conversation_order import Standing, TurnOrder, finished_turn
from chat.journal import Fold
from chat.journal_writer import Tail
from chat.records import Record
from chat.turn import TurnStatus

_next_step = attempt_steps.next_step
_meaning_of_tail = journal_writer.meaning_of_tail
_sweep_step = sweep_steps.next_step
_standing = conversation_order.standing


def returns_at_a_stop(fold: Fold, run: Run) -> Step:
    return Step.RETURN if fold.stop else _next_step(fold, run)


def goes_on_behind_its_own(fold: Fold, writer: str, found: Sequence[Record], own: Sequence[Record]) -> Tail:
    applied = bool(own) and list(found[: len(own)]) == list(own)
    return Tail.APPLIED if applied else _meaning_of_tail(fold, writer, found, own)


def never_takes_over(fold: Fold, quiet: float, now: int, silence: float) -> Following:
    return Following.READ_AGAIN if fold.decided else Following.ON


def claims_at_once(fold: Fold, run: Run) -> Step:
    return _next_step(fold, replace(run, polite=False))


def claims_at_every_look(fold: Fold, run: Run) -> Step:
    return _next_step(fold, replace(run, polite=False, look=None))


def tells_nobody(fold: Fold, progress: sweep_steps.Progress) -> sweep_steps.Step:
    return _sweep_step(fold, replace(progress, told=True))


def a_stop_changes_the_end(fold: Fold) -> TurnStatus:
    if fold.end is None:
        return TurnStatus.RUNNING
    return TurnStatus.STOPPED if fold.stop else TurnStatus(fold.end.status)


def silent_ones_count(fold: Fold | None) -> Standing:
    return Standing.OVER if fold and fold.end else _standing(fold)


def appends_each_time(self: Conversation, turn: FinishedTurn) -> bool:
    self.turns.append(turn)
    return True


def in_order_of_arrival(self: Conversation, turn: FinishedTurn) -> bool:
    if any(known.turn_id == turn.turn_id for known in self.turns):
        return False
    self.turns.append(turn)
    return True


async def only_the_turn_before(self: TurnOrder, known: Conversation, count: int) -> list[FinishedTurn]:
    copies = {turn.turn_id: turn for turn in known.turns}
    before = self.earlier[-1:]
    found = [copies.get(earlier) or await _from_journal(self, earlier) for earlier in before]
    return [copies[earlier] for earlier in self.earlier[:-1] if earlier in copies] + [turn for turn in found if turn]


async def back_to_the_first_known(self: TurnOrder, known: Conversation, count: int) -> list[FinishedTurn]:
    copies, found = {turn.turn_id: turn for turn in known.turns}, []
    for place in reversed(range(self.place)):
        earlier = self.turn_ids[place]
        if earlier in copies:
            found += [copies[other] for other in reversed(self.turn_ids[: place + 1]) if other in copies]
            break
        turn = await _from_journal(self, earlier)
        found += [turn] if turn else []
    return found[::-1]


async def _from_journal(order: TurnOrder, turn_id: str) -> FinishedTurn | None:
    fold = await order.journal(turn_id)
    return finished_turn(fold, order.turn_ids.index(turn_id)) if fold and fold.end else None


def orchestrator_with(old: str, new: str) -> dict[str, Any]:
    """The orchestrator's code with another piece in the place of one."""
    source = inspect.getsource(orchestrators.chat_turn)
    assert source.count(old) == 1, f"{old!r} is no longer in chat_turn"
    return {"orchestrators.chat_turn.chat_turn": _Changed(source.replace(old, new))}


class _Changed:
    """Code with the limits of the module that it stands for, which a case may have changed."""

    def __init__(self, source: str) -> None:
        self._code = compile(source, "chat_turn", "exec")

    def __call__(self, context: Any) -> Any:
        names = dict(vars(orchestrators.chat_turn))
        limits_of_the_case = {name: value for name, value in names.items() if name.isupper()}
        exec(self._code, names)
        names.update(limits_of_the_case)
        return names["chat_turn"](context)


def yes(*_: Any) -> bool:
    return True


def no(*_: Any) -> bool:
    return False
