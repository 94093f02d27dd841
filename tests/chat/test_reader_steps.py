"""Reader steps: what a turn needs depends on what its journal says and for how long it has said nothing."""

import pytest

from chat.journal import folded
from chat.reader_steps import SILENCE, UNENDED, UNSTARTED, Help, help_for
from chat.records import Alive, Begin, Claim, End, Frame, Record, Stop, Wait

BEGIN = Begin("turn-a-b", "talk", "owner", "user", {"prompt": "?"}, "hash", 1_000)
CLAIM = Claim("w", 1, 1_000)
END = End("w", "completed", 1, "stop", 0, "", 0, None, {}, None, None, 0, 1_000)


@pytest.mark.parametrize(
    ("journal", "limit", "needed"),
    [
        ([BEGIN], UNSTARTED, Help.START),
        ([BEGIN, CLAIM], SILENCE, Help.LOOK),
        ([BEGIN, CLAIM, Frame("w", 1, 1, 1, 0, "a", 3_000)], SILENCE + 2_000, Help.LOOK),
        ([BEGIN, CLAIM, Alive("w", 9_000)], SILENCE + 8_000, Help.LOOK),
        ([BEGIN, CLAIM, Wait("w", 61_000, "429", 1_000)], SILENCE + 60_000, Help.LOOK),
        ([BEGIN, CLAIM, Wait("w", 61_000, "429", 1_000), Claim("x", 2, 61_000)], SILENCE + 60_000, Help.LOOK),
        ([BEGIN, Stop(2_000)], UNENDED + 1_000, Help.END),
        ([BEGIN, CLAIM, Stop(2_000)], UNENDED + 1_000, Help.END),
        # Whoever asks for a stop again does not make it younger.
        ([BEGIN, CLAIM, Stop(2_000), Stop(4_000)], UNENDED + 1_000, Help.END),
    ],
)
def test_a_turn_is_helped_once_it_is_silent_for_longer_than_a_living_run_is(
    journal: list[Record], limit: int, needed: Help
):
    fold = folded((record, number) for number, record in enumerate(journal))
    assert help_for(fold, 1_000 + limit) is Help.NONE
    assert help_for(fold, 1_001 + limit) is needed


@pytest.mark.parametrize("journal", [[], [BEGIN, CLAIM, END], [BEGIN, Stop(2), END], [BEGIN, END]])
def test_a_turn_that_is_over_or_not_there_needs_nothing(journal: list[Record]):
    fold = folded((record, number) for number, record in enumerate(journal))
    assert help_for(fold, 10**12) is Help.NONE
