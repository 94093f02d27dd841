"""Requests to continue: what each kind of model does with them."""

import itertools

import pytest

from stand_in.azure_openai.completion_request import PromptMessage
from stand_in.azure_openai.faults import Fault
from stand_in.azure_openai.scripted_model import write_script

QUESTION = "#length 400"


def asked(
    question: str, partial: str, instruction: str = "Continue exactly where you stopped."
) -> tuple[PromptMessage, ...]:
    return (
        PromptMessage("user", question),
        PromptMessage("assistant", partial),
        PromptMessage("user", f'{instruction} Repeat first: "{partial[-30:]}"'),
    )


def whole_of(question: str) -> str:
    return write_script((PromptMessage("user", question),)).text


@pytest.mark.parametrize(
    ("how", "begins_at", "prefix"),
    [("exact", 120, ""), ("more", 60, ""), ("bare", 150, ""), ("afresh", 0, ""), ("quoted", 120, '\n"')],
)
def test_the_question_decides_how_it_is_continued(how: str, begins_at: int, prefix: str):
    question = f"#continue {how} {QUESTION}"
    whole = whole_of(question)

    assert write_script(asked(question, whole[:150])).text == prefix + whole[begins_at:]


@pytest.mark.parametrize("cut", [150, 31, 24, 20, 9])
def test_an_answer_that_drifted_is_continued_as_it_began(cut: int):
    """Also when it broke off inside the salt (from 22 to 32 here) or before it."""
    question = f"#drift after=4 {QUESTION}"
    first = whole_of(question)
    partial = first[:cut]

    text = write_script(asked(question, partial)).text

    whole = partial + text[len(partial[-30:]) :]
    assert text.startswith(partial[-30:])
    assert cut < 33 or whole == first
    assert write_script(asked(question, whole[:200])).text == whole[170:]


def test_a_continuation_afresh_drifts_again():
    question = f"#continue afresh #drift {QUESTION}"
    salts = (f"{number:08x}" for number in itertools.count())
    first = write_script((PromptMessage("user", question),), lambda: next(salts)).text

    second = write_script(asked(question, first[:150]), lambda: next(salts)).text

    assert first[:10] == "(00000000)"
    assert second[:10] == "(00000001)"


def test_a_deployment_that_drifts_needs_no_directive():
    messages = (PromptMessage("user", QUESTION),)
    first, second = (write_script(messages, drifts=True).text for _ in range(2))

    assert len({first, second, write_script(messages).text}) == 3
    partial = first[:150]
    assert write_script(asked(QUESTION, partial), drifts=True).text == first[120:]


def test_faults_of_a_continuation_are_its_own_and_are_counted_together():
    question = f"#fault 500 #fault cut after=3 times=2 when=continued\n{QUESTION}"
    whole = whole_of(question)

    scripts = [write_script(asked(question, whole[:cut])) for cut in (50, 90)]

    faults = (Fault("cut", 2, after=3, is_continued=True),)
    assert [script.directives.faults for script in scripts] == [faults, faults]
    assert scripts[0].fault_key == scripts[1].fault_key
    plain = write_script((PromptMessage("user", question),))
    assert [fault.kind for fault in plain.directives.faults] == ["500"]
    assert plain.fault_key != scripts[0].fault_key
