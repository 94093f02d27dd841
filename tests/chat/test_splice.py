"""Splicing: a continuation goes where the text stopped, or nowhere."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chat.frames import TextJoiner
from chat.splice import INSTRUCTION, LONGEST_TAIL, SHORTEST_TAIL, TAIL, NoMatch, Splicer, new_text, tail_of

STORED = "The sky is blue because air scatters short waves more than long ones, which"
FAMILY = "👩\u200d👩\u200d👧\u200d👦"
LETTERS = 'ab c."`\n漢字é👩🏽\u200d💻🇯🇵'
PROSE = st.text(LETTERS, max_size=80)
CONTINUABLE = st.text(LETTERS, min_size=12, max_size=80).filter(lambda text: tail_of(text) is not None)


def spliced(stored: str, answer: str, pieces: int = 1) -> str | None:
    """The text that comes of it, the answer arriving in pieces of so many characters; None when there is no match."""
    tail = tail_of(stored)
    assert tail is not None
    splicer, text = Splicer(stored, tail), stored
    try:
        for start in range(0, len(answer), pieces):
            text += splicer.feed(answer[start : start + pieces])
        return text + splicer.finish()
    except NoMatch:
        assert text == stored, "text came out of an answer that does not match"
        return None


def test_the_tail_is_about_forty_characters_and_begins_with_a_word() -> None:
    assert tail_of(STORED) == "scatters short waves more than long ones, which"
    assert tail_of("Only this.") == "Only this."
    assert tail_of("\n\n" + STORED[:20]) == STORED[:20]


def test_a_tail_that_nobody_could_be_sure_of_is_none() -> None:
    assert tail_of("C" * (SHORTEST_TAIL - 1)) is None
    assert tail_of("-" * (LONGEST_TAIL + 1)) is None
    assert tail_of(" " * 100) is None
    repeated = "as I said, " * 20
    assert tail_of("Well, " + repeated) == "Well, " + repeated  # it grows until it occurs once


@pytest.mark.parametrize("character", [FAMILY, "👍🏽", "🇯🇵", "e\u0301", "1\ufe0f\u20e3"])
@pytest.mark.parametrize("before", range(TAIL - 12, TAIL + 2))
def test_a_tail_begins_with_a_whole_character(character: str, before: int) -> None:
    tail = tail_of("xyz" * 20 + character + "abcdfghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[:before])
    assert tail is not None
    assert character in tail or not set(character) & set(tail)


@given(PROSE)
def test_a_tail_occurs_once_at_the_end(text: str) -> None:
    tail = tail_of(text)
    if tail is None:
        assert len(text.strip()) <= LONGEST_TAIL
    else:
        assert text.endswith(tail)
        assert text.count(tail) == 1
        assert len(tail) >= SHORTEST_TAIL


@pytest.mark.parametrize("pieces", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    "repetition",
    [
        "{tail}",
        "  \n{tail}",
        '"{tail}"',
        '\n"{tail}',
        "“{tail}”",
        "\n`{tail}`",
        STORED,
        "because air scatters short waves more than long ones, which",
    ],
)
def test_what_repeats_the_end_of_the_text_is_spliced(repetition: str, pieces: int) -> None:
    answer = repetition.format(tail=tail_of(STORED)) + " makes it look blue."
    assert spliced(STORED, answer, pieces) == STORED + " makes it look blue."


@pytest.mark.parametrize("pieces", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    "answer",
    [
        "",
        " makes it look blue.",  # nothing repeated: as well an answer to the instruction
        "Certainly! {tail} makes it look blue.",
        "The sky appears blue since air scatters",
        "SCATTERS short waves more than long ones, which makes",
        "{tail}{tail} makes it look blue.",  # twice
        "short waves more than long ones, which makes it",  # too short to be sure
        "scatters short waves more than long",  # ends inside the tail
        "\n" * 100 + "{tail} makes",
    ],
)
def test_what_might_be_anything_else_is_no_match(answer: str, pieces: int) -> None:
    assert spliced(STORED, answer.format(tail=tail_of(STORED)), pieces) is None


def test_a_closing_mark_that_the_text_waits_for_is_the_text_s_own() -> None:
    stored = 'She said: "Nobody has ever seen anything like it in my life'
    tail = tail_of(stored)
    assert spliced(stored, f'"{tail}" and left.') is None
    assert spliced(stored, f'{tail}" and left.') == stored + '" and left.'


@pytest.mark.parametrize("pieces", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("rest", "text"),
    [
        (' makes it "blue".', ' makes it "blue".'),
        (' makes it blue."', " makes it blue."),
        (' makes it "blue"', ' makes it "blue"'),
        (' makes "it" "blue""', ' makes "it" "blue"'),
    ],
)
def test_the_mark_that_closes_a_quoted_answer_is_no_text(rest: str, text: str, pieces: int) -> None:
    assert spliced(STORED, f'"{tail_of(STORED)}{rest}', pieces) == STORED + text


def test_a_model_that_has_nothing_to_add_adds_nothing() -> None:
    assert spliced(STORED, tail_of(STORED) or "") == STORED


def test_new_text_is_let_through_as_soon_as_it_is_sure() -> None:
    tail = tail_of(STORED) or ""
    splicer = Splicer(STORED, tail)
    assert splicer.feed(tail[:20]) == ""
    assert splicer.feed(tail[20:]) == ""
    assert splicer.undecided
    assert splicer.feed(" makes") == " makes"
    assert not splicer.undecided
    assert splicer.feed(" it") == " it"
    assert splicer.shift == len(STORED) - len(tail)


@given(CONTINUABLE, PROSE, st.integers(0, 60), st.integers(0, 3), st.lists(st.integers(1, 9), min_size=1, max_size=50))
def test_a_repetition_of_any_length_in_any_pieces_never_doubles_or_loses_a_character(
    stored: str, rest: str, more: int, blanks: int, sizes: list[int]
) -> None:
    tail = tail_of(stored)
    assert tail is not None
    assume(not (rest.startswith(tail)))
    answer = " " * blanks + stored[max(0, len(stored) - len(tail) - more) :] + rest
    splicer, joiner, text, place = Splicer(stored, tail), TextJoiner(), stored, 0
    for size in sizes * (1 + len(answer) // sum(sizes)):
        text += splicer.feed(joiner.feed(answer[place : place + size]))
        place += size
        assert (stored + rest).startswith(text)
    text += splicer.feed(joiner.finish()) + splicer.finish()
    assert text == stored + rest


@given(CONTINUABLE, PROSE, st.integers(1, 9))
def test_how_an_answer_is_cut_into_pieces_changes_nothing(stored: str, answer: str, size: int) -> None:
    for candidate in (answer, (tail_of(stored) or "") + answer, f'"{tail_of(stored)}"{answer}', stored[-20:] + answer):
        assert spliced(stored, candidate, size) == spliced(stored, candidate, len(candidate) or 1)


@given(CONTINUABLE, PROSE)
def test_whatever_the_answer_the_text_only_grows_by_an_end_of_it(stored: str, answer: str) -> None:
    tail = tail_of(stored)
    assert tail is not None
    new = new_text(stored, tail, answer, whole=True)
    if new is not None:
        assert answer.endswith(new.rest)
        assert tail in answer[: len(answer) - len(new.rest)]


def test_the_instruction_quotes_the_tail_alone_on_its_lines() -> None:
    lines = INSTRUCTION.format(tail="the tail").splitlines()
    assert lines[-3:] == ["==========", "the tail", "=========="]
    assert "Continue" in lines[0]
