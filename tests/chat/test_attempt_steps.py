"""What a run does next: one journal, one answer."""

import pytest

from chat.attempt_steps import Following, Run, Step, follow_step, next_step
from chat.failure_policy import MAX_CLAIMS
from chat.journal import Fold
from chat.records import Claim, Record, Stop, Wait
from tests.chat.test_journal import BEGIN, end


def journal(*found: Record) -> Fold:
    """Each record takes one byte."""
    fold = Fold()
    for place, record in enumerate((BEGIN, *found), 1):
        fold.apply(record, place)
    return fold


CLAIM = Claim("other", 2, 1)


@pytest.mark.parametrize(
    ("found", "run", "step"),
    [
        ((), Run(1), Step.CLAIM),
        ((end(),), Run(1), Step.RETURN),
        ((Stop(1),), Run(1), Step.END_STOP),
        ((Stop(1), end()), Run(1), Step.RETURN),
        ((CLAIM,), Run(1), Step.FOLLOW),  # of a later attempt
        ((CLAIM,), Run(3, frozenset({2})), Step.FOLLOW),  # of one that was open beside this
        ((CLAIM,), Run(3), Step.CLAIM),  # of one that is over: a restart costs nothing
        ((CLAIM,), Run(2), Step.CLAIM),  # of this attempt's run before it crashed
        ((CLAIM,), Run(1, polite=False), Step.CLAIM),  # found silent
        ((CLAIM,), Run(3, frozenset({2}), look=2), Step.CLAIM),  # found silent by a reader, and nothing came since
        ((CLAIM,), Run(3, frozenset({2}), look=1), Step.NOT_NEEDED),
        ((CLAIM,) * MAX_CLAIMS, Run(3), Step.GIVE_UP),
        ((CLAIM,) * MAX_CLAIMS, Run(3, frozenset({2})), Step.FOLLOW),  # the last one may yet finish
        ((CLAIM,) * MAX_CLAIMS + (Stop(1),), Run(3), Step.END_STOP),
    ],
)
def test_the_next_step_follows_from_the_journal(found: tuple[Record, ...], run: Run, step: Step):
    assert next_step(journal(*found), run) is step


def test_a_look_that_has_claimed_or_found_silence_itself_no_longer_depends_on_what_the_reader_saw():
    look = Run(3, frozenset({2}), look=1)
    assert next_step(journal(CLAIM), look.having_found_silence()) is Step.CLAIM
    assert next_step(journal(Claim("own", 3, 1)), look.having_claimed()) is Step.CLAIM
    assert next_step(journal(Claim("other", 4, 1)), look.having_claimed()) is Step.FOLLOW


@pytest.mark.parametrize(
    ("found", "quiet", "step"),
    [
        ((CLAIM,), 30.0, Following.ON),
        ((CLAIM,), 30.1, Following.TAKE_OVER),
        ((CLAIM, Wait("other", 61_000, "429", 1)), 90.0, Following.ON),
        ((CLAIM, Wait("other", 61_000, "429", 1)), 90.1, Following.TAKE_OVER),
        ((CLAIM, Stop(1)), 0.0, Following.READ_AGAIN),  # whoever sees a stop may end the turn
        ((CLAIM, end()), 99.0, Following.READ_AGAIN),
    ],
)
def test_a_follower_leaves_a_claimant_its_time(found: tuple[Record, ...], quiet: float, step: Following):
    assert follow_step(journal(*found), quiet, now=1_000, silence=30.0) is step
