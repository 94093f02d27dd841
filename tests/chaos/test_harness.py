"""A short run of the chaos harness, and what it needs to be repeatable. `make chaos` is the long one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.commit_points import COMMITTERS, CommitPoint, points, spread
from tests.chaos.evidence import RoundSeen, Violation
from tests.chaos.harness import Harness, Task, Wanted, told
from tests.chaos.plan import KINDS, RUNS_IN_A_ROUND, draw, single_turn
from tests.chaos.report import Progress, figures_of, summary_of
from tests.chaos.test_evidence import TURN, whole

SEED = 20270301


@pytest.mark.chaos
@pytest.mark.timeout(600)  # seconds on a busy machine; about 40 on one that does nothing else
async def test_a_spread_of_commit_points_and_random_instants_breaks_no_promise(
    tmp_path: Path, report: Callable[[str], None]
):
    progress, said = Progress(tmp_path / "progress.jsonl", resume=False), list[str]()
    wanted = Wanted(runs=26, seed=SEED, points=8, jobs=2)
    harness = Harness(wanted, progress, tmp_path / "stacks", said.append)
    await harness.run()
    assert harness.found == [], "\n".join(said)
    assert progress.runs >= wanted.runs
    for figure in figures_of(progress.summaries, 0.0):
        report(f"{figure.what}: {figure.ours} {figure.peer}")


def test_a_seed_gives_the_same_plans_again():
    assert [draw(7, number) for number in range(20)] == [draw(7, number) for number in range(20)]
    assert draw(7, 0) != draw(8, 0)
    assert draw(7, 0) != draw(7, 1)


def test_the_plans_of_a_long_run_hold_everything_that_can_happen():
    plans = [draw(1, number) for number in range(100)]
    stories = {question.story for plan in plans for question in plan.questions}
    assert stories == {"plain", "long", "queued", "stop", "429", "500", "cut", "stall", "filter", "redact"}
    struck = {(strike.what, strike.service) for plan in plans for strike in plan.strikes}
    assert {("kill", service) for service in (*COMMITTERS, "model")} <= struck
    assert {what for what, _ in struck} == {"kill", "freeze", "silence"}
    assert {plan.kind for plan in plans} == set(KINDS)
    assert any(plan.signalr_faults for plan in plans)
    for plan in plans:
        assert [question.run // RUNS_IN_A_ROUND for question in plan.questions] == [plan.number] * RUNS_IN_A_ROUND


def test_commit_points_are_every_commit_before_and_after_for_its_maker_and_for_the_host():
    every = [*points({"host": 2, "blob": 1, "signalr": 0, "eventHubs": 1})]
    assert len(every) == len(set(every)) == 2 * 2 + 2 * (2 * 2)
    assert CommitPoint("blob", 1, "after", "host") in every
    assert CommitPoint("host", 2, "before", "host") in every
    assert [CommitPoint.parse(str(point)) for point in every] == every
    assert len(spread(every, 4)) == 4
    assert spread(every, 100) == every


@pytest.mark.parametrize("text", ["blob", "blob:1:during:host", "model:1:before:host", "blob:x:before:host"])
def test_what_is_no_commit_point_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        CommitPoint.parse(text)


def test_finished_rounds_are_kept_for_the_next_time(tmp_path: Path):
    path = tmp_path / "progress.jsonl"
    first = Progress(path, resume=False)
    first.add(summary_of("3", RoundSeen(draw(1, 3)), [], 1.5))
    assert Progress(path, resume=True).names == {"3"}
    assert Progress(path, resume=True).summaries == first.summaries
    assert Progress(path, resume=False).names == set()


def test_a_violation_says_how_to_see_it_again():
    task = Task("blob:3:after:host", single_turn(0), CommitPoint("blob", 3, "after", "host"))
    lines = told(task, Wanted(10, seed=5), whole(), [Violation(1, TURN, "it shrank")])
    assert "again:  make chaos SEED=5 KINDS=deterministic,drifting,resumable POINT=blob:3:after:host" in lines
    assert any("it shrank" in line for line in lines)
