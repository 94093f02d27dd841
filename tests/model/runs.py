"""Runs of activities, one step at a time. What they decide, the app's own functions say."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import orchestrators.chat_turn
from chat import attempt_steps, closing_steps, conversation_order, journal_writer, records
from chat.attempt_steps import Following, Step
from chat.closing_steps import Closer
from chat.conversation import Conversation, prompt_of
from chat.journal import folded_to_end
from chat.journal_writer import Tail
from chat.log_record import log_record
from chat.outcome import end_of_answer, end_of_giving_up, end_of_stop, told
from chat.record_size import encoded
from chat.records import Alive, Claim, End, Frame, Record, Redact, Restart, Wait
from chat.relay import Answer
from tests.model.engine import finish, raise_event, start_new
from tests.model.orchestration import courses
from tests.model.world import (
    CACHES,
    NOW,
    Blobs,
    Case,
    Run,
    Way,
    World,
    at_once,
    decoded,
    fold_of,
    name_of,
    sequence,
    try_append,
)

LETTERS = "abcdefgh"


def steps(world: World, run: Run, case: Case) -> list[Way]:
    """Every way in which the next step of this run may go; none when it has to wait for others."""
    return STAGES[run.stage](world, run, case)


# ------------------------------------------------------------------------------------------------- reading and deciding
def read(world: World, run: Run, case: Case) -> list[Way]:
    return decide(world, run, case, "reads")


def decide(world: World, run: Run, case: Case, words: str) -> list[Way]:
    """The run has read the journal to its end."""
    journal = world.journals[run.turn] or b""
    run = run._replace(position=len(journal), pending=b"")
    run_input = attempt_steps.Run(run.attempt, run.open, run.look, run.polite)
    match attempt_steps.next_step(fold_of(journal), run_input):
        case Step.RETURN:
            if case.turns == 1:
                return announce(world, run, case, f"{words}: it is over", found=True)
            return to(world, run, "announce", f"{words}: it is over")
        case Step.END_STOP:
            return to(world, run, "close", f"{words}: stopped", closing_record(journal, "run", "stop"))
        case Step.NOT_NEEDED:
            return finish(world, run, {"result": "not_needed"}, case, f"{words}: the look came too late")
        case Step.FOLLOW:
            return to(world, run, "follow", f"{words}: another may be writing, follows")
        case Step.GIVE_UP:
            return to(world, run, "close", f"{words}: too many claims", closing_record(journal, "run", "give up"))
    if case.turns > 1:
        return to(world, run, "order", words)
    return to(world, run, "write", words, claim_of(run, case))


def decided_anew(run: Run, change: Callable[[attempt_steps.Run], attempt_steps.Run]) -> dict[str, Any]:
    """What the app's change of a run means for this one."""
    changed = change(attempt_steps.Run(run.attempt, run.open, run.look, run.polite))
    return {"look": changed.look, "polite": changed.polite}


def to(world: World, run: Run, stage: str, words: str, pending: bytes = b"", **more: Any) -> list[Way]:
    """The run goes on at another stage, with what it has read and will append."""
    return [(words, world.change(run._replace(stage=stage, pending=pending, **more)))]


def writer_of(run: Run, case: Case) -> str:
    return "run-0" if "writer id" in case.without else run.writer


def claim_of(run: Run, case: Case) -> bytes:
    attempt = 1 if "writer id" in case.without else run.attempt
    return claim(writer_of(run, case), attempt)


def order(world: World, run: Run, case: Case) -> list[Way]:
    """Is there an earlier turn to be waited for?"""
    if run.turn not in world.order:
        return [("order", world.broken("P5 a turn runs without a place in the conversation"))]
    blocking = blocking_turn(world, run.turn)
    if blocking is None:
        return to(world, run, "write", "no earlier turn runs", claim_of(run, case))
    waiting = {"result": "waiting", "for": name_of(blocking)}
    if conversation_order.may_be_unstarted(world.fold(blocking)) and not exists(world, blocking):
        return finish(start_new(world, blocking), run, waiting, case, f"T{blocking + 1} was never started: starts it")
    return finish(world, run, waiting, case, f"T{blocking + 1} runs")


def exists(world: World, turn: int) -> bool:
    return world.instances[turn].status not in ("none", "purged")


def turn_order(world: World, turn: int) -> conversation_order.TurnOrder:
    ids = tuple(map(name_of, sequence(world.order)))
    return conversation_order.TurnOrder(Blobs(world), ids, name_of(turn))  # type: ignore[arg-type]


def blocking_turn(world: World, turn: int) -> int | None:
    return number_of(at_once(turn_order(world, turn).blocking_turn()))


def next_turn(world: World, turn: int) -> int | None:
    if turn not in world.order:
        return None
    return number_of(at_once(turn_order(world, turn).next_turn()))


def number_of(turn_id: str | None) -> int | None:
    return next((turn for turn in range(9) if name_of(turn) == turn_id), None)


# ------------------------------------------------------------------------------------------------------------ answering
def prompt(world: World, run: Run, case: Case) -> list[Way]:
    """The conversation as the entity has it, and the journals of turns that it does not have yet."""
    turns = turn_order(world, run.turn)
    wanted = [fold for earlier in turns.earlier if (fold := at_once(turns.journal(earlier)))]
    if not all(fold.decided for fold in wanted):
        world = world.broken("P5 the model is called before an earlier turn is decided")
    ways = []
    for state in {world.conversation, ""} if case.stale else {world.conversation}:
        known = Conversation.from_dict(json.loads(state or "null"))
        given = prompt_of("", at_once(turns.finished_turns(known, 40)), "?")
        whole = [conversation_order.finished_turn(fold, place) for place, fold in enumerate(wanted) if fold.end]
        broken = "" if given == prompt_of("", whole, "?") else "P5 the prompt lacks a turn, or holds a wrong text"
        ways += call(world.broken(broken) if broken else world, run, case, "builds the prompt")
    return ways


def call(world: World, run: Run, case: Case, words: str) -> list[Way]:
    """The model is asked. `run.position` is behind the claim."""
    claim_at = world.journals[run.turn][: run.position]  # type: ignore[index]
    if fold_of(claim_at).decided:
        world = world.broken("P4 a model call by a run that claimed after the outcome was decided")
    fold = fold_of(claim_at)
    ways = go_on(world, run, case, f"{words}, the model answers")
    if world.budget.differ and fold.text:
        generation = fold.generation + ("new generation" not in case.without)
        text = LETTERS[0] if generation % 2 else LETTERS[0].upper()
        new = (
            Restart(writer_of(run, case), generation, run.attempt, "it differs", NOW),
            Frame(writer_of(run, case), generation, run.attempt, fold.seq + 1, 0, text, NOW),
        )
        ways += to(world.spend("differ"), run, "write", f"{words}, another answer", encode(*new))
    return ways


def go_on(world: World, run: Run, case: Case, words: str) -> list[Way]:
    """The writer's next append: another frame or the end, or whatever comes between."""
    fold = fold_of(world.journals[run.turn][: run.position])  # type: ignore[index]
    who, budget = writer_of(run, case), world.budget
    if fold.length < case.frames:
        ways = to(world, run, "write", words, next_frame(world.journals[run.turn][: run.position], who, run.attempt))  # type: ignore[index]
    else:
        ways = to(world, run, "write", words, answered(world.journals[run.turn][: run.position], who))  # type: ignore[index]
        if budget.cover and fold.text and "█" not in fold.text:
            redact = Redact(who, fold.generation + 1, run.attempt, 0, 1, NOW)
            ways += to(world.spend("cover"), run, "write", f"{words}, the filter wants it covered", encode(redact))
    if budget.rate:
        wait = Wait(who, NOW + 5000, "429", NOW)
        ways += to(world.spend("rate"), run, "write", f"{words}, the model fails", encode(wait))
    if budget.alive:
        ways += to(world.spend("alive"), run, "write", f"{words}, nothing comes", encode(Alive(who, NOW)))
    return ways


def write(world: World, run: Run, case: Case) -> list[Way]:
    """The writer appends what it has, under the condition that nobody wrote since."""
    last = decoded(run.pending)[-1]
    free = isinstance(last, Claim) and "claim condition" in case.without
    free = free or (isinstance(last, Frame) and "frame condition" in case.without)
    words = f"appends {' and '.join(record.kind for record in decoded(run.pending))}"
    if isinstance(last, Frame) and "durable first" in case.without:
        world = shown(world, run)
    ways: list[Way] = []
    for answer, after in try_append(world, run.turn, run.pending, None if free else run.position):
        if answer == "ok":
            ways += written(after, run, case, f"{words}: ok")
        else:
            stage = "tail" if answer == "moved" else "write"
            ways.append((f"{words}: {answer}", after.change(run, stage=stage)))
    return ways


def tail(world: World, run: Run, case: Case) -> list[Way]:
    """After a failed condition: everything that came since, in order."""
    journal = world.journals[run.turn] or b""
    found = decoded(journal[run.position :])
    match journal_writer.meaning_of_tail(fold_of(journal), writer_of(run, case), found, decoded(run.pending)):
        case Tail.DECIDED:
            return decide(world, run, case, "tail: decided")
        case Tail.FENCED:
            return to(world, run, "follow", "tail: fenced, follows")
        case Tail.APPLIED:
            return written(world, run, case, "tail: it was applied")
    return to(world, run, "read", "tail: others wrote, reads again")


def written(world: World, run: Run, case: Case, words: str) -> list[Way]:
    """What the run has appended is the end of the journal."""
    last = decoded(run.pending)[-1]
    if isinstance(last, Frame) and "durable first" not in case.without:
        world, words = shown(world, run), f"{words}, shown"
    if isinstance(last, Claim):
        world = fenced(world, run)
        run = run._replace(**decided_anew(run, attempt_steps.Run.having_claimed))
    run = run._replace(position=len(world.journals[run.turn] or b""), pending=b"")
    match last:
        case Claim():
            if case.turns > 1:
                return to(world, run, "prompt", words)
            return call(world, run, case, words)
        case Wait():
            wait = {"result": "failed", "class": "rate_limited", "code": "429", "wait": 5}
            return finish(world, run, wait, case, f"{words}, returns")
        case End():
            return announce(world, run, case, words) if case.turns == 1 else to(world, run, "announce", words)
        case Redact():
            return to(world, run, "write", words, answered(world.journals[run.turn], writer_of(run, case)))
    return go_on(world, run, case, words)


def fenced(world: World, run: Run) -> World:
    """A claim was appended: did it fence a run for no reason?"""
    journal = world.journals[run.turn] or b""
    before = fold_of(journal[: journal.rfind(run.pending)]).claim
    if before is None or before.attempt == run.attempt or run.look is not None or not run.polite:
        return world
    instance = world.instances[run.turn]
    if instance.status != "Running" or instance.execution != run.execution:
        return world
    open_ones = {task for task, _ in courses[instance.course].activities}
    if world.is_alive(before.writer) and f"stream_completion:{before.attempt}" in open_ones:
        return world.broken("S a run fences a healthy one of another attempt")
    return world


def shown(world: World, run: Run) -> World:
    """A frame goes to the browser: it must be in the journal, and count."""
    journal = world.journals[run.turn] or b""
    frame = decoded(run.pending)[-1]
    assert isinstance(frame, Frame)
    before = journal.rfind(run.pending)
    if before < 0:
        return world.broken("P1 a frame is shown that the journal does not hold")
    if fold_of(journal[:before]).decided:
        return world.broken("P1 a frame is shown that does not count")
    return world


# --------------------------------------------------------------------------------------------------- following, closing
def follow(world: World, run: Run, case: Case) -> list[Way]:
    """Reads along; a claimant that is gone is silent for ever, one that is slow may be taken for it."""
    fold = world.fold(run.turn)
    gone = fold.claim is None or not world.is_alive(fold.claim.writer)
    for quiet, words in ((0.0, "follows: decided"), (1e9, "follows: the claimant is silent")):
        if quiet and not gone:
            if not world.budget.early:
                return []
            world, words = world.spend("early"), "follows: too impatient"
        match attempt_steps.follow_step(fold, quiet, NOW, 30.0):
            case Following.READ_AGAIN:
                return to(world, run, "read", words)
            case Following.TAKE_OVER:
                return to(world, run, "read", words, **decided_anew(run, attempt_steps.Run.having_found_silence))
    return []


def close_read(world: World, run: Run, case: Case) -> list[Way]:
    """close_turn reads the journal."""
    journal = world.journals[run.turn] or b""
    run = run._replace(position=len(journal))
    if fold_of(journal).end:
        words = "reads: it is over"
        return announce(world, run, case, words) if case.turns == 1 else to(world, run, "announce", words)
    return to(world, run, "close", "reads", closing_record(journal, "close_turn", "give up"))


def close(world: World, run: Run, case: Case) -> list[Way]:
    """Appends the `end` that was made from the journal up to `position`, like `write_end`."""
    closer = Closer.CLOSE_TURN if run.activity == "close_turn" else Closer.RUN
    ways: list[Way] = []
    free = "end condition" in case.without
    for answer, after in try_append(world, run.turn, run.pending, None if free else run.position):
        words = f"appends end: {answer}"
        if answer == "ok":
            over = run._replace(position=len(after.journals[run.turn] or b""))
            ways += announce(after, over, case, words) if case.turns == 1 else to(after, over, "announce", words)
        elif answer == "moved":
            ways += moved(after, run, case, closer, words)
        else:
            ways.append((words, after))
    return ways


def moved(world: World, run: Run, case: Case, closer: Closer, words: str) -> list[Way]:
    journal = world.journals[run.turn] or b""
    fold = fold_of(journal)
    run = run._replace(position=len(journal))
    if "fold again" in case.without:
        return to(world, run, "close", f"{words}, tries the same at the new end", run.pending)
    if fold.end:
        return announce(world, run, case, words) if case.turns == 1 else to(world, run, "announce", words)
    if not fold.decided and closing_steps.gives_way(closer):
        return to(world, run, "read", f"{words}, gives way")
    by = "close_turn" if closer is Closer.CLOSE_TURN else "run"
    return to(world, run, "close", f"{words}, makes it anew", closing_record(journal, by, "give up"))


def announce(world: World, run: Run, case: Case, words: str = "", found: bool = False) -> list[Way]:
    """The journal has its end: the turn behind is woken, and what it says is returned."""
    fold = world.fold(run.turn)
    if fold.end is None:
        return [("announces", world.broken("P3 a run tells of an end that is not there"))]
    words = f"{words}, tells of the end".removeprefix(", ")
    following = next_turn(world, run.turn) if case.turns > 1 else None
    result = done_result(world, run.turn)
    if "ended goes on" in case.without and found:
        result = result | {"found": True}
    if following is None:
        return finish(world, run, result, case, words)
    ways: list[Way] = []
    if world.budget.lost:
        ways += finish(world.spend("lost"), run, result, case, f"{words}, and T{following + 1} does not hear of it")
    world = raise_event(world, following, f"ended-{name_of(run.turn)}")
    return ways + finish(world, run, result, case, f"{words}, wakes T{following + 1}")


def done_result(world: World, turn: int) -> dict[str, Any]:
    place = sequence(world.order).index(turn) if turn in world.order else 0
    return result_of(world.journals[turn] or b"", place)


@cache
def result_of(journal: bytes, place: int) -> dict[str, Any]:
    return {"result": "done", **told(fold_of(journal), place)}


# -------------------------------------------------------------------------------------------------------------- logging
def log_read(world: World, run: Run, case: Case) -> list[Way]:
    journal = world.journals[run.turn] or b""
    if fold_of(journal).logged:
        return finish(world, run, True, case, "reads: logged")
    return to(world, run, "log send", "reads", hub_record(journal))


def log_send(world: World, run: Run, case: Case) -> list[Way]:
    ways: list[Way] = []
    for words, after, accepted in send_to_hub(world, run.turn, run.pending):
        if accepted:
            ways += to(after, run, "log write", words)
        else:
            last = run.task == f"write_log_record:{len(orchestrators.chat_turn.LOG_WAITS) + 1}"
            after = after.put("marked", run.turn, True) if last else after
            ways += finish(after, run, False, case, f"{words}{', leaves a marker' if last else ''}")
    return ways


def log_write(world: World, run: Run, case: Case) -> list[Way]:
    ways: list[Way] = []
    for answer, after in try_append(world, run.turn, encode(records.Logged(NOW)), None):
        words = f"appends logged: {answer}"
        ways += finish(after, run, True, case, words) if answer == "ok" else [(words, after)]
    return ways


def send_to_hub(world: World, turn: int, record: bytes) -> list[tuple[str, World, bool]]:
    stored = world.put("hub", turn, world.hub[turn] | {record})
    ways = [("the hub takes the record", stored, True)]
    if world.budget.hub:
        ways.append(("the hub does not answer", world.spend("hub"), False))
        ways.append(("the hub takes the record and does not say so", stored.spend("hub"), False))
    return ways


# ---------------------------------------------------------------------------------------------------- records, memoised
@cache
def hub_record(journal: bytes) -> bytes:
    return encoded(log_record(folded_to_end(journal), None), 1 << 20)


@cache
def closing_record(journal: bytes, by: str, why: str) -> bytes:
    fold = fold_of(journal)
    if why == "stop":
        return encode(end_of_stop(fold, by, NOW))
    return encode(end_of_giving_up(fold, "given_up", "It was interrupted.", by, NOW))


@cache
def next_frame(journal: bytes, who: str, attempt: int) -> bytes:
    """One more character of the model's answer: small letters in the first generation, capitals in the next, ..."""
    fold = fold_of(journal)
    letter = LETTERS[fold.length] if fold.generation % 2 else LETTERS[fold.length].upper()
    return encode(Frame(who, fold.generation, attempt, fold.seq + 1, fold.length, letter, NOW))


@cache
def claim(writer: str, attempt: int) -> bytes:
    return encode(Claim(writer, attempt, NOW))


@cache
def answered(journal: bytes, by: str) -> bytes:
    return encode(end_of_answer(fold_of(journal), Answer(finish_reason="stop"), by, NOW))


def encode(*new: Record) -> bytes:
    return records.encode(*new)


CACHES += [hub_record, closing_record, answered, next_frame, claim, result_of]
STAGES = {
    "read": read,
    "order": order,
    "prompt": prompt,
    "write": write,
    "tail": tail,
    "follow": follow,
    "close read": close_read,
    "close": close,
    "announce": announce,
    "log read": log_read,
    "log send": log_send,
    "log write": log_write,
}
