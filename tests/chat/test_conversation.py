"""Conversations: in order, once each, within a budget."""

from hypothesis import given
from hypothesis import strategies as st

from chat.conversation import KEPT_TURNS, PROMPT_BUDGET, Conversation, FinishedTurn, prompt_of, title_of


def turn(place: int, prompt: str | None = None, answer: str | None = None, status: str = "completed") -> FinishedTurn:
    return FinishedTurn(f"turn-{place}", place, status, prompt or f"q{place}", answer or f"a{place}", place, place + 1)


@given(st.permutations(range(8)), st.lists(st.integers(0, 7)))
def test_turns_told_in_any_order_and_twice_stand_once_in_their_order(order: list[int], again: list[int]) -> None:
    conversation = Conversation()
    for place in [*order, *again]:
        conversation.complete_turn(turn(place))
    assert [known.place for known in conversation.turns] == list(range(8))
    assert conversation.completed == 8
    assert conversation.title == "q0"
    assert Conversation.from_dict(conversation.to_dict()) == conversation


def test_old_turns_are_dropped_and_do_not_come_back() -> None:
    conversation = Conversation()
    for place in range(KEPT_TURNS + 5):
        conversation.complete_turn(turn(place))
    assert [known.place for known in conversation.turns] == list(range(5, KEPT_TURNS + 5))
    assert not conversation.complete_turn(turn(2))
    assert conversation.completed == KEPT_TURNS + 5


def test_the_prompt_keeps_the_newest_turns_and_leaves_out_what_has_no_answer() -> None:
    earlier = [
        turn(0, "old", "x" * PROMPT_BUDGET),
        turn(1, "kept", "yes"),
        FinishedTurn("t2", 2, "failed", "lost", "", 0, 0),
        turn(3, "bad", "cut off", status="filtered"),
        turn(4, "stopped", "half", status="stopped"),
    ]
    prompt = prompt_of("system", earlier, "now")
    assert [message.content for message in prompt.messages] == ["system", "kept", "yes", "stopped", "half", "now"]


def test_a_title_is_one_short_line() -> None:
    assert title_of("  Hello\nworld ") == "Hello world"
    assert len(title_of("word " * 100)) <= 60
