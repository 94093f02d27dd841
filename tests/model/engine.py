"""The durable engine: instances, messages, results, timers, events.

The first result of a task counts; results for finished tasks or earlier executions are dropped. A host that dies leaves
its message, from which another run starts; a worker that dies fails the activity. An instance stays Running while an
activity of it is open.
"""

import json
from collections.abc import Callable, Iterator

from tests.model.orchestration import Happening, courses
from tests.model.world import Case, Instance, Run, Way, World, fresh_number

FIRST_STAGE = {"stream_completion": "read", "close_turn": "close read", "write_log_record": "log read"}
FINISHED = ("Completed", "Failed", "Terminated")


def start_new(world: World, turn: int) -> World:
    """Overwrites a finished instance, is refused for a running one."""
    instance = world.instances[turn]
    if instance.status == "Running":
        return world
    course = courses.first(turn)
    world = world.put("instances", turn, Instance("Running", instance.execution + 1, course))
    return _opened(world, turn, ())


def happen(world: World, turn: int, happening: Happening) -> World:
    """Something comes for the instance, and its next episode runs. One step: an episode has no other effect."""
    instance = world.instances[turn]
    if instance.status != "Running":
        return world
    kind, name, _ = happening
    before = courses[instance.course]
    tasks = [task for task, _ in (*before.activities, *before.timers)]
    if kind != "event" and name != "complete_turn" and name not in tasks:
        return world
    if kind == "event" and before.over:
        return world
    after = courses.after(instance.course, happening)
    world = world.put("instances", turn, instance._replace(course=after))
    if courses[after].entity and not before.entity:
        told = (turn, courses[after].entity, instance.execution)
        world = world._replace(mail=(*world.mail, told))  # type: ignore[arg-type]
    world = _opened(world, turn, before.activities)
    if courses[after].over and not courses[after].activities:
        world = world.put("instances", turn, Instance(courses[after].over, instance.execution))
    return world


def _opened(world: World, turn: int, known: tuple[tuple[str, str], ...]) -> World:
    """A run for each activity that the last episode asked for."""
    instance = world.instances[turn]
    for task, data in courses[instance.course].activities:
        if all(task != other for other, _ in known):
            asked = json.loads(data)
            look = asked["look"]["position"] if "look" in asked else None
            stage = FIRST_STAGE[task.partition(":")[0]]
            more = (asked.get("attempt", 0), frozenset(asked.get("open", ())), look)
            world = add(world, Run(fresh_number(world), turn, instance.execution, task, stage, *more))
    return world


def add(world: World, run: Run) -> World:
    return world._replace(runs=tuple(sorted((*world.runs, run), key=lambda other: other.number)))


def delivered_again(world: World, run: Run) -> World:
    """Another run of the same task holds the message now."""
    fresh = Run(fresh_number(world), run.turn, run.execution, run.task, FIRST_STAGE[run.activity])
    return add(world, fresh._replace(attempt=run.attempt, open=run.open, look=run.look))


def finish(world: World, run: Run, result: object, case: Case, words: str) -> list[Way]:
    """The run returns: its result is posted, then its message deleted; between the two it may be delivered again."""
    after = world.without(run)
    if world.instances[run.turn].execution == run.execution:
        after = happen(after, run.turn, ("done", run.task, json.dumps(result)))
    ways = [(words, after)]
    if run.holder and world.budget.redeliver and run.activity in case.faulty:
        ways.append((f"{words}, and is delivered again", delivered_again(after.spend("redeliver"), run)))
    return ways


def crashes(world: World, case: Case) -> Iterator[Way]:
    """What may happen to any run at any time."""
    for run in world.runs:
        if run.activity not in case.faulty:
            continue
        who = f"{words_for(run)}"
        if world.budget.redeliver and run.holder:
            lost = world.change(run, holder=False).spend("redeliver")
            yield f"{who}: its message is delivered again", delivered_again(lost, run)
        if world.budget.crash:
            gone = world.without(run).spend("crash")
            if "h" in case.deaths and (not run.holder or run.stage != FIRST_STAGE[run.activity]):
                yield f"{who}: its host dies", delivered_again(gone, run) if run.holder else gone
            if "w" in case.deaths:
                failed = gone
                if world.instances[run.turn].execution == run.execution:
                    failed = happen(gone, run.turn, ("failed", run.task, "null"))
                yield f"{who}: its worker dies", failed


def timers(
    world: World, case: Case, has_reason: Callable[[World, int, str], bool]
) -> Iterator[tuple[str, World, bool]]:
    """Timers that fire. Those behind an event fire when there is a reason, or `early`: else nothing comes of it."""
    for turn, instance in enumerate(world.instances):
        if instance.status != "Running":
            continue
        for timer, why in courses[instance.course].timers:
            must = why not in ("queued", "grace") or has_reason(world, turn, why)
            if why == "queued" and "wake timer" in case.without:
                continue
            if must or world.budget.early:
                after = happen(world if must else world.spend("early"), turn, ("done", timer, "null"))
                yield f"T{turn + 1} orchestrator: timer of {why} fires", after, must


def raise_event(world: World, turn: int, name: str, data: object = None) -> World:
    return happen(world, turn, ("event", name, json.dumps(data)))


def words_for(run: Run) -> str:
    lost = "" if run.holder else " (message lost)"
    return f"T{run.turn + 1} {run.task} as run {run.number}{lost}"
