"""Each rule of the protocol left out, and what breaks then: a rule whose absence breaks nothing would be none.

A rule that the app decides is left out by another decision in its place; one that storage or a caller keeps, by a word
in the case's `without`.
"""

from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.model.cases import BOTH, NOBODY, ONE, STREAM, TWICE, limits
from tests.model.other_decisions import (
    a_stop_changes_the_end,
    appends_each_time,
    back_to_the_first_known,
    claims_at_every_look,
    claims_at_once,
    goes_on_behind_its_own,
    in_order_of_arrival,
    never_takes_over,
    no,
    only_the_turn_before,
    orchestrator_with,
    returns_at_a_stop,
    silent_ones_count,
    tells_nobody,
    yes,
)
from tests.model.search import Finding, search
from tests.model.world import Budget, Case, forget


class Rule(NamedTuple):
    """`breaks`: the promise that is broken first without it."""

    name: str
    about: str
    breaks: str
    case: Case
    without: str = ""
    instead: dict[str, Any] = {}  # noqa: RUF012 - never changed
    large: bool = False  # the whole world, with the rule in force, is too large for every run of the tests

    def search_with(self) -> Finding:
        """The same world with the rule in force."""
        case = self.case._replace(name=self.name)
        with limits(case):
            return search(case)

    def search(self) -> Finding:
        """The search without this rule."""
        case = self.case._replace(
            name=self.name, without=self.case.without | ({self.without} if self.without else set())
        )
        with limits(case), ExitStack() as stack:
            for target, value in self.instead.items():
                stack.enter_context(patch(target, value))
            forget()
            return search(case, limit=400_000)


def one(**more: Any) -> Case:
    """One turn, accepted and started; only its runs are faulty."""
    return Case("", "", **({"faulty": STREAM} | more))


def posted(*starters: tuple[int, str], **more: Any) -> Case:
    return Case("", "", starters=starters, running=NOBODY, **({"frames": 0} | more))


TWO: dict[str, Any] = {"turns": 2, "frames": 0}
THREE: dict[str, Any] = {"turns": 3, "frames": 0, "starters": ((2, "x"),)}
TOLD_NOBODY: dict[str, Any] = {"ended": (0,), "running": (1,), **THREE}
TERMINATED = one(budget=Budget(terminate=1), frames=1, may_fail=(0,))

RULES: tuple[Rule, ...] = (
    Rule("create if none", "a journal is created over one that is there", "P2", posted(*TWICE), "create condition"),
    Rule(
        "stop reads begin",
        "a stop is appended to a journal without begin",
        "P6",
        posted(*ONE, budget=Budget(stop=1)),
        "stop reads begin",
    ),
    Rule(
        "begin first",
        "the place in the conversation is taken before begin",
        "P5",
        posted(*BOTH, **TWO, budget=Budget(crash=1)),
        "begin first",
        large=True,
    ),
    Rule(
        "loser finishes",
        "who loses position 0 answers at once",
        "P3",
        posted(*TWICE, budget=Budget(crash=1)),
        "loser finishes",
    ),
    Rule("start first", "202 is said before the start", "P3", posted(*ONE, budget=Budget(crash=1)), "start first"),
    Rule(
        "whoever finds it",
        "nobody starts an earlier turn that its starter left",
        "S",
        posted(*BOTH, **TWO, budget=Budget(crash=1), faulty=(), waits=1),
        instead={"chat.conversation_order.may_be_unstarted": no},
        large=True,
    ),
    Rule("kindness", "the sweeper closes what is not started yet", "S", posted(*ONE), "kindness"),
    Rule("writer id", "records do not say which run wrote them", "S", one(budget=Budget(redeliver=1)), "writer id"),
    Rule(
        "claim condition",
        "claims are appended without a condition",
        "P4",
        one(budget=Budget(stop=1)),
        "claim condition",
    ),
    Rule(
        "frame condition",
        "frames are appended without a condition",
        "P1",
        one(budget=Budget(stop=1)),
        "frame condition",
    ),
    Rule("durable first", "frames are shown before they are stored", "P1", one(budget=Budget(stop=1)), "durable first"),
    Rule(
        "whole tail",
        "a run that finds its own record goes on at the end",
        "P4",
        one(budget=Budget(stop=1, timeout=1)),
        instead={"chat.journal_writer.meaning_of_tail": goes_on_behind_its_own},
    ),
    Rule(
        "stop then end",
        "a run returns at a stop",
        "P3",
        one(budget=Budget(stop=1)),
        instead={"chat.attempt_steps.next_step": returns_at_a_stop},
    ),
    Rule(
        "take over",
        "followers of a silent run wait for ever",
        "P7",
        one(budget=Budget(crash=1, redeliver=1), deaths="h"),
        instead={"chat.attempt_steps.follow_step": never_takes_over},
    ),
    Rule(
        "crash starts another",
        "a crash is passed over while a run is open",
        "P7",
        one(budget=Budget(crash=1, look=1, early=1), frames=1, deaths="w"),
        instead=orchestrator_with(
            "if isinstance(result, Exception):",
            "if isinstance(result, Exception) and self._runs:\n                continue\n"
            "            if isinstance(result, Exception):",
        )
        | {"chat.attempt_steps.follow_step": never_takes_over},
    ),
    Rule("conditional end", "an end is appended without a condition", "P2", TERMINATED, "end condition"),
    Rule("fold again", "a closer tries its old end at the new position", "P2", TERMINATED, "fold again"),
    Rule(
        "first decides",
        "a stop after the end changes the outcome",
        "P2",
        one(budget=Budget(stop=1), frames=1),
        instead={"chat.journal.Fold.status": property(a_stop_changes_the_end)},
    ),
    Rule(
        "look once",
        "every look starts a run that claims",
        "S",
        one(budget=Budget(look=2, crash=1), frames=0, claims=3),
        instead={"chat.attempt_steps.next_step": claims_at_every_look}
        | orchestrator_with(
            "self._looks.remove(look)",
            "self._looks[self._looks.index(look)] = self._context.wait_for_external_event(look.name)",
        ),
    ),
    Rule(
        "polite",
        "a run fences a healthy one of another attempt",
        "S",
        one(budget=Budget(look=1, crash=1), frames=1),
        instead={"chat.attempt_steps.next_step": claims_at_once},
    ),
    Rule(
        "ended goes on",
        "a second execution of an ended turn returns at once",
        "P3",
        posted(*TWICE, budget=Budget(terminate=1), may_fail=(0,), faulty=STREAM),
        "ended goes on",
        orchestrator_with(
            '    context.set_custom_status({"phase": "answered"})\n    conversation',
            '    if ended.get("found"):\n        return {}\n    conversation',
        ),
        large=True,
    ),
    Rule(
        "sweeper tells",
        "the sweeper logs without telling the conversation",
        "P5",
        one(budget=Budget(terminate=1), frames=0, may_fail=(0,)),
        instead={"chat.sweep_steps.next_step": tells_nobody},
    ),
    Rule(
        "told twice",
        "the conversation takes in a turn each time it is told",
        "P5",
        one(budget=Budget(terminate=1), frames=0, may_fail=(0,)),
        instead={"chat.conversation.Conversation.complete_turn": appends_each_time},
    ),
    Rule(
        "sorted by place",
        "the conversation has its turns in order of arrival",
        "P5",
        posted(*BOTH, **TWO),
        instead={"chat.conversation.Conversation.complete_turn": in_order_of_arrival},
    ),
    Rule(
        "wake timer",
        "no timer stands behind the event",
        "P7",
        Case("", "", Budget(lost=1), ((1, "x"),), **TWO),
        "wake timer",
    ),
    Rule(
        "silent turns",
        "a turn that never spoke counts as the one before",
        "P5",
        Case("", "", Budget(stop=1), running=(0, 1, 2), turns=3, frames=0, stoppable=(1,)),
        instead={"chat.conversation_order.standing": silent_ones_count},
        large=True,
    ),
    Rule(
        "wake who waits",
        "only the next turn is woken, and no timer",
        "P7",
        Case(
            "",
            "",
            Budget(stop=1),
            running=(0, 1, 2),
            turns=3,
            frames=0,
            stoppable=(1,),
            route_ends=False,
            without=frozenset({"wake timer"}),
        ),
        instead={"chat.conversation_order.may_wait": yes},
        large=True,
    ),
    Rule(
        "every earlier turn",
        "only the journal of the turn before fills the prompt",
        "P5",
        Case("", "", **TOLD_NOBODY),
        instead={"chat.conversation_order.TurnOrder.finished_turns": only_the_turn_before},
        large=True,
    ),
    Rule(
        "each by itself",
        "journals are read back to the first turn that is known",
        "P5",
        Case("", "", **TOLD_NOBODY),
        instead={"chat.conversation_order.TurnOrder.finished_turns": back_to_the_first_known},
        large=True,
    ),
    Rule(
        "purge logged",
        "an instance is purged before its turn is logged",
        "P3",
        one(budget=Budget(terminate=1, purge=1), frames=0, may_fail=(0,)),
        "purge logged",
    ),
    Rule(
        "admit record",
        "what reject decides is not written down",
        "P6",
        posted(*BOTH, (1, "x"), **TWO, rejecting=(0, 1)),
        "admit record",
        large=True,
    ),
    Rule(
        "new generation",
        "a text that starts again keeps its generation",
        "P1",
        one(budget=Budget(crash=1, differ=1)),
        "new generation",
    ),
)
