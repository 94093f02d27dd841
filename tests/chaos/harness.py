"""The harness: rounds on real stacks, at every commit point and at random instants, until there were enough runs.

A few stacks work side by side, each for many rounds and then replaced by a fresh one. What every round came to is kept
in a file, from which `--resume` goes on. The first violation ends it, with all that is needed to see it again.
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stand_in.crash_points import VARIABLE
from tests.chaos.commit_points import CommitPoint, count_commits, counted, points, spread
from tests.chaos.evidence import RoundSeen, Violation, check, timeline
from tests.chaos.plan import KINDS, RESUMABLE_DEPLOYMENT, RUNS_IN_A_ROUND, Plan, draw, single_turn
from tests.chaos.play import Player
from tests.chaos.report import Progress, summary_of
from tests.conftest import deployed_copy
from tests.running_stack import RunningStack

# Generous limits rather than none: their bookkeeping is part of what is struck.
ENVIRONMENT = {
    VARIABLE: "1",
    "STAND_IN_KEEP_RESTARTING": "1",
    "STAND_IN_MODEL_DEPLOYMENTS": RESUMABLE_DEPLOYMENT,
    "ALLOWED_DEPLOYMENTS": RESUMABLE_DEPLOYMENT,
    "BACKGROUND_DEPLOYMENTS": RESUMABLE_DEPLOYMENT,
    "TURNS_AT_ONCE": "1000",
    "TURNS_PER_DAY": "100000",
    "MODEL_READ_TIMEOUT_SECONDS": "2",  # so that a stall is found out within a round
}
ROUNDS_OF_A_STACK = 12
POINTS_OF_A_STACK = 60
TOLD = 6  # violations of one round; those that follow from the first are many


@dataclass(frozen=True, slots=True)
class Task:
    """One round to be played."""

    name: str
    plan: Plan
    point: CommitPoint | None = None


@dataclass(slots=True)
class Wanted:
    """What is to be done."""

    runs: int
    seed: int = 1
    kinds: Sequence[str] = KINDS
    jobs: int = 3  # a round waits more than it works
    points: int | None = None  # how many commit points; None: all that a quarter of the runs has room for
    keep_going: bool = False


@dataclass(slots=True)
class Harness:
    """Plays what is wanted, on stacks whose state lies under `folder`."""

    wanted: Wanted
    progress: Progress
    folder: Path
    say: Callable[[str], None]
    found: list[Violation] = field(default_factory=list)
    _began: float = 0.0

    async def run(self) -> None:
        """Commit points, then random rounds until there were enough runs."""
        self._began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        await self._work_off(iter(await self._point_tasks()), POINTS_OF_A_STACK)
        if not self._is_over():
            await self._work_off(self._random_tasks(), ROUNDS_OF_A_STACK)

    async def replay(self, task: Task) -> None:
        """This round alone."""
        self._began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        await self._work_off(iter([task]), 1)

    def random_task(self, number: int) -> Task:
        return Task(f"{number}", draw(self.wanted.seed, number, self.wanted.kinds))

    def point_task(self, point: CommitPoint, number: int = 0) -> Task:
        return Task(str(point), single_turn(number), point)

    def _is_over(self) -> bool:
        return bool(self.found) and not self.wanted.keep_going

    def _random_tasks(self) -> Iterator[Task]:
        number, done = 0, self.progress.names
        while self.progress.runs < self.wanted.runs:
            if str(number) not in done:
                yield self.random_task(number)
            number += 1

    async def _point_tasks(self) -> list[Task]:
        if self.wanted.points == 0:
            return []
        commits = await self._undisturbed()
        self.say(f"commits of an undisturbed turn: {', '.join(f'{name} {count}' for name, count in commits.items())}")
        every = [*points(commits)]
        room = self.wanted.runs // 4 if self.wanted.points is None else self.wanted.points
        chosen = spread(every, room) if room < len(every) else every
        done = self.progress.names
        return [self.point_task(point, number) for number, point in enumerate(chosen) if str(point) not in done]

    async def _undisturbed(self) -> dict[str, int]:
        """How often each service commits in one turn that nothing hits; after one that warms everything up."""
        with self._stack() as stack:
            await asyncio.to_thread(stack.wait_ready)
            await Player(stack, single_turn(10**6)).play()
            count_commits(stack)
            await Player(stack, single_turn(10**6 + 1)).play()
            return counted(stack)

    async def _work_off(self, tasks: Iterator[Task], rounds_of_a_stack: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.wanted.jobs):
                group.create_task(self._work(tasks, rounds_of_a_stack))

    async def _work(self, tasks: Iterator[Task], rounds_of_a_stack: int) -> None:
        while not self._is_over():
            task = next(tasks, None)
            if task is None:
                return
            with self._stack() as stack:
                for _ in range(rounds_of_a_stack):
                    await asyncio.to_thread(stack.wait_ready)
                    if not await self._play(stack, task) or self._is_over():
                        break
                    task = next(tasks, None)
                    if task is None:
                        return

    async def _play(self, stack: RunningStack, task: Task) -> bool:
        """Whether the stack may go on to the next round."""
        began = time.monotonic()
        player = Player(stack, task.plan, task.point)
        seen = await player.play()
        violations = check(seen)
        summary = summary_of(task.name, seen, violations, time.monotonic() - began)
        self.progress.add(summary)
        strikes = ", ".join(f"{what} {service}" for _, what, service in seen.strikes) or "nothing struck"
        self.say(
            f"{time.monotonic() - self._began:6.0f} s  {self.progress.runs}/{self.wanted.runs} runs  "
            f"{task.name} ({task.plan.kind}): {strikes}, {summary['seconds']} s, {len(violations)} violations"
        )
        if violations:
            self._tell(task, seen, violations, stack)
            self.found += violations
        return not violations

    def _tell(self, task: Task, seen: RoundSeen, violations: Sequence[Violation], stack: RunningStack) -> None:
        for line in told(task, self.wanted, seen, violations):
            self.say(line)
        kept = self.folder / f"violation-{task.name.replace(':', '-')}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(stack.state_dir / "logs", kept)
        self.say(f"logs: {kept}")

    @contextlib.contextmanager
    def _stack(self) -> Iterator[RunningStack]:
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="stack-", ignore_cleanup_errors=True) as folder:
            app = deployed_copy(Path(folder) / "app")
            with RunningStack(app, Path(folder) / "state", environment=ENVIRONMENT) as stack:
                yield stack


def told(task: Task, wanted: Wanted, seen: RoundSeen, violations: Sequence[Violation]) -> list[str]:
    """A violation, how to see it again, and what happened."""
    first = violations[0]
    turn = next((turn for turn in seen.turns if turn.turn_id == first.turn_id), seen.turns[0])
    kinds = f"SEED={wanted.seed} KINDS={','.join(wanted.kinds)}"
    again = f"RUN={turn.question.run}" if task.point is None else f"POINT={task.point}"
    lines = ["", f"VIOLATION in run {turn.question.run} ({turn.question.story}), seed {wanted.seed}"]
    lines += [f"  promise {each.promise}, {each.turn_id}: {each.what}" for each in violations[:TOLD]]
    lines += [f"  and {len(violations) - TOLD} more"] if len(violations) > TOLD else []
    lines += [f"again:  make chaos {kinds} {again}", f"prompt: {turn.question.prompt}", "what happened:"]
    return [*lines, *timeline(turn, seen), ""]


def round_of(run: int) -> int:
    """The number of the round that a run belongs to."""
    return run // RUNS_IN_A_ROUND
