"""Tokens: text is cut, never changed."""

from hypothesis import given
from hypothesis import strategies as st

from stand_in.azure_openai.tokens import estimate_prompt_tokens, split_tokens


@given(st.text())
def test_tokens_join_to_the_text_they_were_cut_from(text: str):
    assert "".join(split_tokens(text)) == text


def test_words_take_their_space_along_and_other_scripts_go_by_character():
    assert split_tokens("Hello, wonderful 2024!\n\n東京🚀") == [
        "Hello", ",", " wonder", "ful", " 202", "4", "!", "\n\n", "東", "京", "🚀",
    ]  # fmt: skip


def test_a_prompt_costs_about_a_token_for_four_characters_and_one_for_each_wide_one():
    assert estimate_prompt_tokens(["a" * 400]) == 3 + 3 + 100
    assert estimate_prompt_tokens(["東京" * 50, "hi"]) == 3 + 3 + 100 + 3 + 1
