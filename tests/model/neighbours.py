"""Everybody but the runs: starters, the stop route, readers, operators, the entity, the sweeper, late appends."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from chat import acceptance_steps, closing_steps, reader_steps, sweep_steps
from chat.acceptance_steps import Step
from chat.closing_steps import STOP_PATIENCE, Closer, StopStep
from chat.conversation import Conversation, FinishedTurn
from chat.reader_steps import Help
from chat.records import Admit, Begin, Logged, Stop
from chat.turn import QueuePolicy
from tests.model.engine import FINISHED, happen, raise_event, start_new
from tests.model.runs import (
    blocking_turn,
    closing_record,
    done_result,
    encode,
    exists,
    hub_record,
    next_turn,
    send_to_hub,
)
from tests.model.world import (
    CACHES,
    MUCH_LATER,
    NOW,
    Case,
    Starter,
    Sweep,
    Way,
    World,
    decoded,
    fold_of,
    name_of,
    try_append,
)


# ------------------------------------------------------------------------------------------------------------- starters
def begin_of(turn: int, request: str, case: Case) -> Begin:
    policy = QueuePolicy.REJECT if turn in case.rejecting else QueuePolicy.QUEUE
    asked = {"prompt": f"T{turn + 1} {request}", "deployment": "gpt-x", "policy": policy.value}
    return Begin(name_of(turn), "talk", "owner", "user", asked, request, NOW)


def starter_steps(world: World, number: int, case: Case) -> list[Way]:
    starter = world.starters[number]
    turn = starter.turn

    def on(after: World, **more: Any) -> World:
        done = starter._replace(**more)
        return after._replace(starters=(*after.starters[:number], done, *after.starters[number + 1 :]))

    def answer(words: str, **more: Any) -> list[Way]:
        return [(f"answers {words}", on(world.put("answered", turn, world.answered[turn] | {words}), **more))]

    match starter.stage:
        case "new" if "begin first" in case.without and turn not in world.order:
            return [("takes its place", on(world._replace(order=(*world.order, turn)), stage="create", placed=True))]
        case "new" | "create":
            if world.journals[turn] is None or "create condition" in case.without:
                return [("creates the journal", on(world.put("journals", turn, b""), stage="go"))]
            return [("the journal exists", on(world, stage="go", **lost(world, starter, case)))]
        case "say":
            ways: list[Way] = []
            for word, after in try_append(world, turn, starter.pending, fold_of(starter.first).position):
                back = {"pending": b"", "stage": "go"} if word != "no answer" else {}
                ways.append((f"appends its admission: {word}", on(after, **back)))
            return ways
        case "start":
            return [("starts the orchestration", on(start_new(world, turn), stage="go", started=True))]
        case "over" | "dead":
            return []

    first = decoded(starter.first)
    progress = acceptance_steps.Progress(
        first[0] if first else None,  # type: ignore[arg-type]
        starter.placed,
        starter.admitted,
        starter.started,
    )
    match acceptance_steps.next_step(starter.request, progress):
        case Step.BEGIN:
            return begin(world, starter, case, on)
        case Step.REFUSE_KEY:
            return answer("409 other request", stage="over")
        case Step.PLACE:
            if not starter.won and turn in world.order:
                return [("has its place", on(world, placed=True))]
            ways = [("takes its place", on(world._replace(order=(*world.order, turn)), placed=True))]
            if world.budget.timeout:
                late = (*world.late, ("order", bytes([turn]), None))
                ways.append(("takes its place: no answer", world.spend("timeout")._replace(late=late)))
            return ways
        case Step.ADMIT:
            return admit(world, starter, case, on)
        case Step.REJECT:
            return answer("409 turn runs", stage="over")
        case Step.START:
            accepted = f"202 {starter.request}"
            if "start first" in case.without and accepted not in world.answered[turn]:
                return answer(accepted)
            if starter.won or not exists(world, turn):
                return [("sees no instance", on(world, stage="start"))]
            return [("sees the instance", on(world, started=True))]
    return answer(f"202 {starter.request}", stage="over")


def lost(world: World, starter: Starter, case: Case) -> dict[str, Any]:
    """What a starter knows that finds `begin` there."""
    first = world.fold(starter.turn).begin
    if first is None:
        return {}
    skips = "loser finishes" in case.without and first.request_hash == starter.request
    return {"first": encode(first)} | (dict.fromkeys(("placed", "admitted", "started"), True) if skips else {})


def begin(world: World, starter: Starter, case: Case, on: Any) -> list[Way]:
    ways: list[Way] = []
    own = encode(begin_of(starter.turn, starter.request, case))
    for word, after in try_append(world, starter.turn, own, 0):
        if word == "ok":
            after = on(after, first=own, won=True)
        elif word == "moved":
            found = lost(after, starter, case)
            after = on(after, **found)
            if not found:
                after = after.broken("P6 position 0 holds no begin: nobody can use the key any more")
        ways.append((f"appends begin: {word}", after))
    return ways


def admit(world: World, starter: Starter, case: Case, on: Any) -> list[Way]:
    turn, fold = starter.turn, world.fold(starter.turn)
    said = acceptance_steps.admission(fold)
    if said is not None:
        return [("reads what was decided", on(world, admitted=said))]
    blocking = blocking_turn(world, turn)
    verdict = acceptance_steps.verdict(fold, None if blocking is None else name_of(blocking), NOW)
    after = world
    if blocking is not None and not exists(world, blocking):
        after = start_new(world, blocking)
    if "admit record" in case.without:
        return [("decides", on(after, admitted=isinstance(verdict, Admit)))]
    return [("decides", on(after, stage="say", pending=encode(verdict)))]


# -------------------------------------------------------------------------------------------- users, readers, operators
def stop_steps(world: World, turn: int, case: Case) -> Iterator[Way]:
    journal = world.journals[turn]
    if world.budget.stop and journal is not None and (journal or "stop reads begin" in case.without):
        data = encode(Stop(NOW))
        yield "appends stop", world.spend("stop").append(turn, data).put("stops", turn, "wake")
        if world.budget.timeout:
            late = world.spend("stop").spend("timeout")
            yield "appends stop: no answer", late._replace(late=(*late.late, (turn, data, None)))
    if world.stops[turn] == "wake":
        after = raise_event(world, turn, "stopped")
        if world.fold(turn).claims == 0:
            after = resume(after, turn)
        yield "wakes the orchestration", after.put("stops", turn, "end" if case.route_ends else "")
    if world.stops[turn] == "end":
        fold = world.fold(turn)
        steps = {closing_steps.stop_step(fold, waited) for waited in (0.0, STOP_PATIENCE)}
        if StopStep.WRITE_END in steps:
            end = closing_record(journal or b"", "stop", "stop")
            yield "appends end", world.append(turn, end).put("stops", turn, "")
        if StopStep.ANSWER in steps:
            yield "answers", world.put("stops", turn, "")


def resume(world: World, turn: int) -> World:
    """A begun turn goes on from where its starter left it."""
    if turn not in world.order:
        world = world._replace(order=(*world.order, turn))
    return world if exists(world, turn) else start_new(world, turn)


def reader_ways(world: World, turn: int) -> Iterator[Way]:
    fold = world.fold(turn)
    if not world.budget.look or fold.begin is None:
        return
    match reader_steps.help_for(fold, MUCH_LATER):
        case Help.START if not exists(world, turn):
            yield "a reader finds no instance and starts it", resume(world.spend("look"), turn)
        case Help.LOOK if world.instances[turn].status == "Running":
            assert fold.claim is not None
            gone = not world.is_alive(fold.claim.writer)
            if gone or world.budget.early:
                after = world.spend("look") if gone else world.spend("look").spend("early")
                seen = {"position": fold.position}
                yield "a reader finds silence and raises look", raise_event(after, turn, f"look-{fold.claims}", seen)


def operator_ways(world: World, turn: int, case: Case) -> Iterator[Way]:
    instance = world.instances[turn]
    if world.budget.terminate and instance.status == "Running" and turn in (case.running or (0,)):
        ended = instance._replace(status="Terminated", course=0)
        yield "an operator terminates it", world.spend("terminate").put("instances", turn, ended)
    if (
        world.budget.purge
        and instance.status in FINISHED
        and (world.fold(turn).logged or "purge logged" in case.without)
    ):
        yield "an operator purges it", world.spend("purge").put("instances", turn, instance._replace(status="purged"))


def late_ways(world: World) -> Iterator[Way]:
    for place, (turn, data, position) in enumerate(world.late):
        after = world._replace(late=(*world.late[:place], *world.late[place + 1 :]))
        if turn == "order":
            yield f"T{data[0] + 1} takes its place late", after._replace(order=(*world.order, data[0]))
        elif position is None or position == len(world.journals[turn] or b""):
            kinds = " and ".join(record.kind for record in decoded(data))
            yield f"a late append of {kinds} to T{turn + 1} is applied", after.append(turn, data)


# --------------------------------------------------------------------------------------------------------------- entity
def entity_ways(world: World) -> Iterator[Way]:
    for place, (turn, data, execution) in enumerate(world.mail):
        after = world._replace(mail=(*world.mail[:place], *world.mail[place + 1 :]))
        after = after._replace(conversation=with_turn(world.conversation, data))
        if execution == world.instances[turn].execution:
            after = happen(after, turn, ("done", "complete_turn", "true"))
        yield f"the conversation takes in T{turn + 1}", after


@cache
def with_turn(state: str, data: str) -> str:
    conversation = Conversation.from_dict(json.loads(state or "null"))
    conversation.complete_turn(FinishedTurn.from_dict(json.loads(data)))
    return json.dumps(conversation.to_dict())


# -------------------------------------------------------------------------------------------------------------- sweeper
def is_left_behind(world: World, turn: int, case: Case) -> bool:
    fold = world.fold(turn)
    if fold.begin is None:
        return False
    status = world.instances[turn].status
    unstarted = "kindness" in case.without and status == "none"
    return world.marked[turn] or (not fold.logged and (status in ("Failed", "Terminated") or unstarted))


def sweep_ways(world: World, turn: int, case: Case) -> list[Way]:
    sweep = world.sweeps[turn]

    def on(after: World, stage: str = "go", **more: Any) -> World:
        assert sweep is not None
        return after.put("sweeps", turn, sweep._replace(stage=stage, **more))

    journal = world.journals[turn] or b""
    if sweep is None:
        if is_left_behind(world, turn, case):
            fresh = Sweep("go", sweep_steps.Progress(), journal)
            return [("finds it left behind", world.put("sweeps", turn, fresh))]
        return []
    progress = sweep.progress
    match sweep.stage:
        case "close":
            return sweep_close(world, turn, case, on)
        case "send":
            ways = []
            for words, after, accepted in send_to_hub(world, turn, sweep.pending):
                if accepted:
                    ways.append((words, on(after, "log", pending=b"")))
                else:
                    ways.append(
                        (words, on(after.put("marked", turn, True), progress=replace(progress, delivered=False)))
                    )
            return ways
        case "log":
            ways = []
            for word, after in try_append(world, turn, encode(Logged(NOW)), None):
                known = replace(progress, delivered=True)
                ways.append((f"appends logged: {word}", on(after, progress=known) if word == "ok" else after))
            return ways
    match sweep_steps.next_step(fold_of(sweep.journal), progress):
        case sweep_steps.Step.LOOK:
            running = world.instances[turn].status == "Running"
            return [("looks at the instance", on(world, progress=replace(progress, running=running)))]
        case sweep_steps.Step.LEAVE:
            return [("leaves it", world.put("sweeps", turn, None))]
        case sweep_steps.Step.CLOSE:
            end = closing_record(sweep.journal, "sweeper", "give up")
            return sweep_close(on(world, "close", pending=end), turn, case, on)
        case sweep_steps.Step.TELL:
            data = json.dumps(done_result(world, turn)["turn"])
            after = world._replace(mail=(*world.mail, (turn, data, 0)))
            following = next_turn(world, turn)
            if following is not None:
                after = raise_event(after, following, f"ended-{name_of(turn)}")
            return [("tells the conversation", on(after, progress=replace(progress, told=True)))]
        case sweep_steps.Step.DELIVER:
            if world.fold(turn).logged:
                return [("reads: logged", on(world, progress=replace(progress, delivered=True)))]
            return [("makes the record", on(world, "send", pending=hub_record(journal)))]
        case sweep_steps.Step.UNMARK:
            return [("deletes the marker", world.put("marked", turn, False).put("sweeps", turn, None))]
    raise AssertionError("No such step.")


def sweep_close(world: World, turn: int, case: Case, on: Any) -> list[Way]:
    sweep = world.sweeps[turn]
    assert sweep is not None
    free = "end condition" in case.without
    ways: list[Way] = []
    for word, after in try_append(world, turn, sweep.pending, None if free else len(sweep.journal)):
        now = after.journals[turn] or b""
        fold = fold_of(now)
        if word == "ok" or (word == "moved" and fold.end):
            changed = on(after, journal=now, pending=b"", progress=replace(sweep.progress, closed=True))
        elif word == "no answer":
            changed = on(after, "close", pending=sweep.pending)
        elif "fold again" in case.without:
            changed = on(after, "close", journal=now, pending=sweep.pending)
        elif not fold.decided and closing_steps.gives_way(Closer.SWEEPER):
            changed = on(after, pending=b"", progress=replace(sweep.progress, closed=False))
        else:
            changed = on(after, "close", journal=now, pending=closing_record(now, "sweeper", "give up"))
        ways.append((f"appends end: {word}", changed))
    return ways


CACHES.append(with_turn)


def starters_of(case: Case) -> tuple[Starter, ...]:
    return tuple(Starter(turn, request) for turn, request in case.starters)
