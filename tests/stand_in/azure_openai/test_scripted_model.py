"""The scripted model: the same question has the same answer, everywhere and always."""

import itertools
import subprocess
import sys

import pytest

from stand_in.azure_openai.completion_request import PromptMessage
from stand_in.azure_openai.prose import SCRIPTS, write_prose
from stand_in.azure_openai.scripted_model import write_script


def conversation(*texts: str) -> tuple[PromptMessage, ...]:
    return tuple(PromptMessage("assistant" if index % 2 else "user", text) for index, text in enumerate(texts))


def test_the_answer_is_the_same_in_another_process():
    prompt = "Tell me a long story with code, a table and emoji"
    script = (
        "from stand_in.azure_openai.scripted_model import write_script as w\n"
        "from stand_in.azure_openai.completion_request import PromptMessage as P\n"
        f"import sys; sys.stdout.buffer.write(w((P('user', {prompt!r}),)).text.encode())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)

    assert elsewhere.stdout.decode() == write_script(conversation(prompt)).text


def test_the_answer_tells_what_was_asked_and_how_many_messages_came_before():
    text = write_script(conversation("Hi", "Hello!", "What is\na lighthouse?")).text

    assert "> What is\n> a lighthouse?" in text
    assert "2 earlier messages (1 from you)" in text
    assert "first message" in write_script(conversation("Hi")).text


@pytest.mark.parametrize(
    ("word", "shown"),
    [("code", "```python"), ("table", "|---|---:|"), ("list", "1. "), ("emoji", "👋🏽"), ("long", "## ")],
)
def test_a_word_in_the_question_chooses_what_is_shown(word: str, shown: str):
    assert shown in write_script(conversation(f"Show me: {word}")).text
    assert shown in write_script(conversation(f"Show me: {word}, please")).text
    assert shown not in write_script(conversation("Hi")).text


def test_a_japanese_question_is_answered_in_japanese():
    assert "こんにちは" in write_script(conversation("はじめまして")).text


@pytest.mark.parametrize("script", SCRIPTS)
def test_prose_has_exactly_the_length_that_was_ordered(script: str):
    text = write_script(conversation(f"#length 777 #script {script}")).text

    assert len(text) == 777
    assert write_script(conversation(f"#length 777 #script {script} ")).text != text
    assert write_prose(script, "seed", 100) == write_prose(script, "seed", 777)[:100]


def test_only_the_last_user_message_gives_orders():
    text = write_script(conversation("#say one", "one", "#say two")).text

    assert text == "two"
    assert "local model emulator" in write_script(conversation("#say one", "one", "Hi")).text


def test_drift_makes_another_answer_each_time_and_can_keep_a_beginning():
    salts = map(str, itertools.count())
    messages = conversation("#drift after=4 #length 200")

    first, second = (write_script(messages, lambda: next(salts)).text for _ in range(2))

    steady = write_script(conversation("#length 200")).text
    assert first != second
    assert first.split("(")[0] == second.split("(")[0]
    assert steady not in (first, second)


def test_a_request_to_continue_is_answered_with_the_quoted_tail_and_the_rest():
    question = conversation("#length 400 #fault 500 times=always")
    whole = write_script(question).text
    partial = whole[:150]
    asked = PromptMessage("user", f'Continue exactly where you stopped. Repeat first: "{partial[-30:]}"')

    script = write_script((*question, PromptMessage("assistant", partial), asked))

    assert script.text == whole[120:]
    assert script.directives.faults == ()


def test_a_request_to_continue_without_a_quotation_repeats_forty_characters():
    question = conversation("#length 400")
    whole = write_script(question).text
    asked = PromptMessage("system", "Continue your last message. Begin by repeating its last 40 characters.")

    assert write_script((*question, PromptMessage("assistant", whole[:150]), asked)).text == whole[110:]


def test_continue_after_a_whole_answer_is_a_question_like_any_other():
    whole = write_script(conversation("#length 90")).text

    assert "> continue" in write_script(conversation("#length 90", whole, "continue")).text
