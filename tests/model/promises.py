"""What has to hold: after every step, and in every world in which nothing is left that must happen.

P1  text only grows within its generation; what is shown counts and is in the journal
P2  the first `stop` or `end` decides, for ever, and the `end` says what the journal says
P3  an accepted turn ends, and leaves one record that says what the journal says
P4  no model call after the outcome is decided
P5  turns of a conversation are answered in their order, each with all the earlier ones in its prompt
P6  202 is said of the request in `begin`, and of no turn that is rejected
P7  nothing waits for ever
S   no turn fails without a cause
"""

import json
from functools import cache
from typing import NamedTuple

from chat.conversation import Conversation, small_enough
from chat.journal import Fold
from chat.records import Alive, Claim, End, Frame, Record, Redact, Restart, UpstreamSeen, Wait
from tests.model.orchestration import courses
from tests.model.runs import hub_record
from tests.model.world import CACHES, Case, World, decoded, fold_of, name_of, sequence


class Outcome(NamedTuple):
    """What was decided."""

    status: str
    generation: int
    text: str


@cache
def outcome_of(journal: bytes) -> Outcome | None:
    """As the journal said when its first `stop` or `end` came, read by the app's fold."""
    fold = Fold()
    for number, record in enumerate(decoded(journal), 1):
        fold.apply(record, number)
        if fold.decided:
            break
    else:
        return None
    whole = fold_of(journal)
    status = whole.status.value if whole.end else "stopped"
    return Outcome(status, fold.generation, fold.text)


@cache
def flaw_of(journal: bytes) -> str:
    """What is wrong with the records of this journal."""
    fold = Fold()
    for number, record in enumerate(decoded(journal), 1):
        wrong = "" if fold.decided else flaw_of_next(fold, record)
        if wrong:
            return wrong
        fold.apply(record, number)
        if isinstance(record, End) and fold.end is record:
            said = (record.generation, record.length, record.sha256)
            if said != (fold.generation, fold.length, fold.sha256):
                return "P2 the end says something else than the journal"
            if fold.stop and record.status != "stopped":
                return "P2 the end passes over the stop before it"
    return ""


def flaw_of_next(fold: Fold, record: Record) -> str:
    writer = fold.claim.writer if fold.claim else None
    if isinstance(record, (Frame, Restart, Redact, Wait, Alive, UpstreamSeen)) and record.writer != writer:
        return "P1 somebody writes who is not the last one that claimed"
    match record:
        case Frame():
            if (record.generation, record.seq, record.offset) != (fold.generation, fold.seq + 1, fold.length):
                return "P1 a frame does not follow the text before it"
        case Restart() | Redact():
            if record.generation != fold.generation + 1:
                return "P1 the text is changed without a new generation"
        case Claim():
            if fold.end:
                return "P2 a claim after the end"
    return ""


def flaw_of_step(before: World, after: World, case: Case) -> str:
    """What a step broke; nothing when all is well."""
    if after.wrong:
        return after.wrong
    for turn in range(case.turns):
        old, new = before.journals[turn], after.journals[turn]
        if new is not old:
            if old and not (new or b"").startswith(old):
                return "P2 the journal lost records"
            wrong = flaw_of(new or b"")
            if wrong:
                return wrong
            decided = outcome_of(old or b"")
            if decided and outcome_of(new or b"") != decided:
                return "P2 the outcome changed after it was decided"
        if after.hub[turn] is not before.hub[turn]:
            if len(after.hub[turn]) > 1:
                return "P3 two records of one turn differ"
            wrong = flaw_of_record(next(iter(after.hub[turn])), new or b"")
            if wrong:
                return wrong
        if after.answered[turn] is not before.answered[turn]:
            wrong = flaw_of_answers(after, turn)
            if wrong:
                return wrong
    return ""


def flaw_of_record(record: bytes, journal: bytes) -> str:
    said, outcome = json.loads(record), outcome_of(journal)
    if outcome is None or (said["status"], said["generation"], said["content"]) != outcome:
        return "P3 the record differs from the journal"
    return "" if record == hub_record(journal) else "P3 the record of the same journal differs"


def flaw_of_answers(world: World, turn: int) -> str:
    answers, begin = world.answered[turn], world.fold(turn).begin
    accepted = {answer for answer in answers if answer.startswith("202")}
    if accepted and (begin is None or accepted != {f"202 {begin.request_hash}"}):
        return "P6 202 is said of a request that is not in begin"
    if accepted and "409 turn runs" in answers:
        return "P6 one request was both accepted and rejected"
    return ""


def flaw_of_rest(world: World, case: Case) -> str:
    """What is wrong with a world in which nothing is left that must happen."""
    for run in world.runs:
        return f"P7 {run.task} of T{run.turn + 1} waits for ever ({run.stage})"
    kept = Conversation.from_dict(json.loads(world.conversation or "null"))
    for turn in range(case.turns):
        wrong = flaw_of_turn(world, turn, case, kept)
        if wrong:
            return f"{wrong} (T{turn + 1})"
    places = [sequence(world.order).index(number) for number in range(case.turns) if number in world.order]
    told = [turn.place for turn in kept.turns]
    return (
        ""
        if told == sorted(told) and len(set(told)) == len(told) <= len(places)
        else "P5 the conversation is out of order"
    )


def flaw_of_turn(world: World, turn: int, case: Case, kept: Conversation) -> str:
    fold, instance = world.fold(turn), world.instances[turn]
    if instance.status == "Running":
        return f"P7 the orchestration waits for ever, with {courses[instance.course].timers}"
    if world.marked[turn]:
        return "P3 a marker is left"
    if not any(answer.startswith("202") for answer in world.answered[turn]):
        return ""
    outcome = outcome_of(world.journals[turn] or b"")
    if fold.end is None or outcome is None:
        return "P3 an accepted turn never ends"
    if not fold.logged or len(world.hub[turn]) != 1:
        return f"P3 an accepted turn has {len(world.hub[turn])} records, and logged is {fold.logged}"
    copies = [copy for copy in kept.turns if copy.turn_id == name_of(turn)]
    if [(copy.status, copy.answer) for copy in copies] != [(outcome.status, small_enough(outcome.text))]:
        return "P5 the conversation has the turn not once, or with another text"
    if outcome.status == "rejected":
        return "P6 a turn is rejected of which 202 was said"
    if outcome.status == "failed" and turn not in case.may_fail:
        return "S an accepted turn failed, and nothing asked for it"
    return ""


CACHES += [outcome_of, flaw_of]
