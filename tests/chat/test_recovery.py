"""Recovery: what matches is swallowed, what does not is a new generation, never a mixture."""

from hypothesis import given
from hypothesis import strategies as st

from chat.recovery import PrefixVerifier, Verified


def verified(stored: str, pieces: list[str]) -> tuple[str, int]:
    """The text that a reader of the stored text ends with, and how often it was started again."""
    verifier, text, restarts = PrefixVerifier(stored), stored, 0
    for found in [*(verifier.feed(piece) for piece in pieces), verifier.finish()]:
        if found.restart:
            text, restarts = "", restarts + 1
        text += found.text
    return text, restarts


@given(st.text("ab", max_size=12), st.lists(st.text("ab", max_size=5), max_size=6))
def test_the_reader_ends_with_the_whole_new_answer(stored: str, pieces: list[str]):
    answer = "".join(pieces)
    assert verified(stored, pieces) == (answer, 0 if answer.startswith(stored) else 1)


def test_an_answer_that_is_shorter_than_the_stored_text_does_not_match_it():
    verifier = PrefixVerifier("abc")
    assert verifier.feed("ab") == Verified("")
    assert verifier.finish() == Verified("ab", restart=True)


def test_while_stored_text_is_left_nothing_new_comes_out():
    verifier = PrefixVerifier("abc")
    assert (verifier.feed("ab").text, verifier.verifying) == ("", True)
    assert (verifier.feed("cd").text, verifier.verifying) == ("d", False)
