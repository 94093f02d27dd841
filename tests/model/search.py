"""The search: every order of events in a small world, breadth first: the first flaw found has a shortest story."""

import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from chat.records import Claim, Frame
from tests.model import engine, neighbours, runs
from tests.model.orchestration import courses
from tests.model.promises import flaw_of_rest, flaw_of_step, outcome_of
from tests.model.world import CACHES, NOW, Case, Instance, World, tidy

LIMIT = 3_000_000
CACHES.append(courses)


@dataclass(slots=True)
class Finding:
    """What a search came to. `story` is a shortest way to the flaw."""

    case: Case
    flaw: str = ""
    story: list[str] = field(default_factory=list)
    complete: bool = True
    states: int = 0
    steps: int = 0
    settled: int = 0
    depth: int = 0
    seconds: float = 0.0
    endings: dict[str, int] = field(default_factory=dict)
    journals: set[bytes] = field(default_factory=set)

    def __str__(self) -> str:
        verdict = "holds" if self.complete and not self.flaw else self.flaw or "not finished"
        endings = " ".join(f"{name}:{count}" for name, count in sorted(self.endings.items()))
        return (
            f"{self.case.name:<22} {self.states:>9,} states {self.steps:>10,} steps  depth {self.depth:>2}"
            f" {self.settled:>6,} settled {self.seconds:>6.1f} s  {verdict}  {endings}"
        )


def first_world(case: Case) -> World:
    """Turns in `running` are accepted and started; those in `ended` were answered and terminated, and told nobody."""
    nothing = (None,) * case.turns
    none = (frozenset[str](),) * case.turns
    world = World(
        journals=nothing,
        order=(*case.ended, *case.running) if case.turns > 1 else (0,),
        instances=(Instance(),) * case.turns,
        runs=(),
        starters=neighbours.starters_of(case),
        sweeps=nothing,
        stops=("",) * case.turns,
        conversation="",
        mail=(),
        hub=(frozenset[bytes](),) * case.turns,
        marked=(False,) * case.turns,
        late=(),
        answered=none,
        budget=case.budget,
    )
    for turn in (*case.ended, *case.running):
        begin = neighbours.begin_of(turn, "x", case)
        world = world.append(turn, runs.encode(begin)).put("answered", turn, frozenset({"202 x"}))
    for turn in case.ended:
        writer = f"run-{90 + turn}"
        text = (Claim(writer, 1, NOW), Frame(writer, 1, 1, 1, 0, "z", NOW))
        world = world.append(turn, runs.encode(*text))
        world = world.append(turn, runs.answered(world.journals[turn], writer))
        world = world.put("instances", turn, Instance("Terminated", 1))
    for turn in case.running:
        world = engine.start_new(world, turn)
    return world


def ways_on(world: World, case: Case) -> Iterator[tuple[str, World, bool]]:
    """Every next step: in words, the world after it, and whether it happens if only everybody goes on working."""
    budget = world.budget
    for number, starter in enumerate(world.starters):
        who = f"starter {number + 1} (T{starter.turn + 1}, {starter.request})"
        for words, after in neighbours.starter_steps(world, number, case):
            yield f"{who}: {words}", after, starter.stage != "new"
        if budget.crash and starter.stage not in ("new", "over", "dead"):
            gone = starter._replace(stage="dead")
            others = (*world.starters[:number], gone, *world.starters[number + 1 :])
            yield f"{who}: dies", world.spend("crash")._replace(starters=others), False
    for run in world.runs:
        for words, after in runs.steps(world, run, case):
            yield f"{engine.words_for(run)}: {words}", after, True
    for words, after in engine.crashes(world, case):
        yield words, after, False
    yield from engine.timers(world, case, has_reason)
    for words, after in neighbours.entity_ways(world):
        yield words, after, True
    for words, after in neighbours.late_ways(world):
        yield words, after, False
    for turn in range(case.turns):
        who = f"T{turn + 1}"
        for words, after in neighbours.sweep_ways(world, turn, case):
            yield f"sweeper at {who}: {words}", after, True
        if budget.crash and world.sweeps[turn]:
            yield f"sweeper at {who}: dies", world.spend("crash").put("sweeps", turn, None), False
        if turn in case.stoppable:
            for words, after in neighbours.stop_steps(world, turn, case):
                yield f"stop route of {who}: {words}", after, False
        for words, after in neighbours.reader_ways(world, turn):
            yield f"{who}: {words}", after, False
        for words, after in neighbours.operator_ways(world, turn, case):
            yield f"{who}: {words}", after, False


def has_reason(world: World, turn: int, why: str) -> bool:
    """Whether a timer behind an event would lead to anything: earlier ones change nothing."""
    fold = world.fold(turn)
    if why == "grace":
        return fold.claim is None or not world.is_alive(fold.claim.writer)
    if fold.decided or turn not in world.order:
        return True
    blocking = runs.blocking_turn(world, turn)
    return blocking is None or not runs.exists(world, blocking)


def search(case: Case, limit: int = LIMIT) -> Finding:
    """Look at every world that can come about."""
    began, finding = time.perf_counter(), Finding(case)
    first = first_world(case)
    known, waiting = {hash(first): 0}, deque([first])
    parents, depths, words_of = array("i", [-1]), array("H", [0]), [""]
    sources, targets = array("i"), array("i")
    vocabulary: dict[str, str] = {}

    def story(at: int, last: str | None = None) -> list[str]:
        found = [last] if last else []
        while at > 0:
            found.append(words_of[at])
            at = parents[at]
        return found[::-1]

    at = 0
    while waiting and not finding.flaw and len(words_of) <= limit:
        world = waiting.popleft()
        rests = True
        finding.journals.update(journal for journal in world.journals if journal)
        for words, after, must in ways_on(world, case):
            after = tidy(after)
            finding.steps += 1
            finding.flaw = flaw_of_step(world, after, case)
            if finding.flaw:
                finding.story = story(at, words)
                break
            key = hash(after)
            number = known.get(key)
            if number is None:
                number = known[key] = len(words_of)
                words_of.append(vocabulary.setdefault(words, words))
                parents.append(at)
                depths.append(depths[at] + 1)
                waiting.append(after)
            if must and number != at:
                rests = False
                sources.append(at)
                targets.append(number)
        if rests and not finding.flaw:
            finding.settled += 1
            for turn, journal in enumerate(world.journals):
                outcome = outcome_of(journal or b"")
                ending = f"T{turn + 1}:{outcome.status if outcome else '-'}"
                finding.endings[ending] = finding.endings.get(ending, 0) + 1
            finding.flaw = flaw_of_rest(world, case)
            finding.story = story(at) if finding.flaw else []
        at += 1
    finding.complete = not waiting
    if not finding.flaw and finding.complete and not ends(len(words_of), sources, targets):
        finding.flaw = "P7 a circle of steps that must happen"
    finding.states, finding.depth, finding.seconds = len(words_of), max(depths), time.perf_counter() - began
    return finding


def ends(count: int, sources: "array[int]", targets: "array[int]") -> bool:
    """Whether the steps that must happen form no circle: then everything that goes on working comes to rest."""
    degree, heads, nexts = array("i", [0]) * count, array("i", [-1]) * count, array("i", [0]) * len(sources)
    for edge, (source, target) in enumerate(zip(sources, targets, strict=True)):
        degree[target] += 1
        nexts[edge], heads[source] = heads[source], edge
    free = [place for place in range(count) if not degree[place]]
    seen = 0
    while free:
        edge = heads[free.pop()]
        seen += 1
        while edge >= 0:
            target = targets[edge]
            degree[target] -= 1
            if not degree[target]:
                free.append(target)
            edge = nexts[edge]
    return seen == count
