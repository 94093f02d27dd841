"""What starters, closers, the sweeper and readers do next: one journal, one answer."""

from dataclasses import replace

import pytest

from chat import acceptance_steps, sweep_steps
from chat.acceptance_steps import admission, verdict
from chat.closing_steps import STOP_PATIENCE, Closer, StopStep, gives_way, stop_step
from chat.conversation_order import Standing, may_wait, standing
from chat.outcome import end_of_rejection
from chat.records import Admit, Claim, End, Logged, Record, Stop, Wait
from tests.chat.test_attempt_steps import journal
from tests.chat.test_journal import BEGIN, end

CLAIM = Claim("w", 1, 1)


def test_a_starter_places_the_turn_before_it_starts_it_and_starts_it_before_it_promises():
    first = replace(BEGIN, request_hash="x", request={"policy": "reject"})
    step, progress = acceptance_steps.next_step, acceptance_steps.Progress
    assert step("x", progress()) is acceptance_steps.Step.BEGIN
    assert step("y", progress(first)) is acceptance_steps.Step.REFUSE_KEY
    assert step("x", progress(first)) is acceptance_steps.Step.PLACE
    assert step("x", progress(first, placed=True)) is acceptance_steps.Step.ADMIT
    assert step("x", progress(first, placed=True, admitted=False)) is acceptance_steps.Step.REJECT
    assert step("x", progress(first, placed=True, admitted=True)) is acceptance_steps.Step.START
    assert step("x", progress(first, True, True, True)) is acceptance_steps.Step.ACCEPTED
    queued = replace(first, request={"policy": "queue"})
    assert step("x", progress(queued, placed=True)) is acceptance_steps.Step.START


def test_what_was_said_of_a_turn_that_must_not_queue_counts():
    fold = journal()
    assert admission(fold) is None
    assert verdict(fold, None, 5) == Admit(5)
    no = verdict(fold, "turn-1", 5)
    assert isinstance(no, End)
    assert no.status == "rejected"
    assert admission(journal(no)) is False
    assert admission(journal(Admit(5))) is True
    assert admission(journal(Stop(5))) is True  # stopped before it was admitted: its run will say so
    assert admission(journal(CLAIM)) is True  # started by the turn behind it, and at work


@pytest.mark.parametrize(
    ("found", "waited", "step"),
    [
        ((Stop(2),), 0.0, StopStep.WRITE_END),
        ((CLAIM, Stop(2)), 0.0, StopStep.WAIT),
        ((CLAIM, Stop(2)), STOP_PATIENCE, StopStep.WRITE_END),
        ((CLAIM, Wait("w", 9_000, "429", 2), Stop(3)), 0.0, StopStep.WRITE_END),
        ((CLAIM, end()), 0.0, StopStep.ANSWER),
    ],
)
def test_a_stop_is_written_down_by_its_route_where_no_run_does(
    found: tuple[Record, ...], waited: float, step: StopStep
):
    assert stop_step(journal(*found), waited) is step


def test_close_turn_alone_insists():
    assert {closer for closer in Closer if not gives_way(closer)} == {Closer.CLOSE_TURN}


def test_a_sweep_closes_tells_delivers_and_only_then_forgets():
    step, progress, word = sweep_steps.next_step, sweep_steps.Progress, sweep_steps.Step
    running, ended = journal(CLAIM), journal(CLAIM, end())
    assert step(running, progress()) is word.LOOK
    assert step(running, progress(running=True)) is word.LEAVE
    assert step(running, progress(running=False)) is word.CLOSE
    assert step(running, progress(running=False, closed=False)) is word.LEAVE
    assert step(ended, progress()) is word.TELL
    assert step(ended, progress(told=True)) is word.DELIVER
    assert step(ended, progress(told=True, delivered=False)) is word.LEAVE
    assert step(ended, progress(told=True, delivered=True)) is word.UNMARK
    assert step(journal(CLAIM, end(), Logged(9)), progress()) is word.UNMARK


def test_a_turn_that_ended_before_it_spoke_is_not_one_to_wait_for():
    assert standing(None) is Standing.SILENT
    assert standing(journal(end_of_rejection(journal(), "starter", 1))) is Standing.SILENT
    assert standing(journal()) is Standing.RUNNING
    assert standing(journal(CLAIM, Stop(2))) is Standing.RUNNING
    assert standing(journal(CLAIM, end())) is Standing.OVER
    assert [may_wait(fold) for fold in (None, journal(), journal(end()))] == [False, True, False]
