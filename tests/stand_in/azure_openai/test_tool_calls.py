"""Tool calls through the official client: offered, ordered, called, answered."""

from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI

from tests.stand_in.azure_openai.test_chat_completions import asking, collect

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("weather", "time")
]
PROMPT = 'What is it like?\n#tool weather {"city": "東京", "days": 2}\n#tool time {}'
ARGUMENTS = ['{"city": "東京", "days": 2}', "{}"]


async def test_calls_are_streamed_in_pieces_that_join_by_index(classic: AsyncAzureOpenAI):
    chunks = await collect(classic, **asking(PROMPT, tools=TOOLS))

    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert (deltas[0].role, deltas[0].content) == ("assistant", None)
    assert [(call.index, call.function.name) for call in calls if call.id] == [(0, "weather"), (1, "time")]
    assert ["".join(call.function.arguments for call in calls if call.index == index) for index in (0, 1)] == ARGUMENTS
    assert sum(1 for call in calls if call.index == 0) > 5
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_calls_that_are_not_streamed_say_the_same(classic: AsyncAzureOpenAI):
    choice = (await classic.chat.completions.create(**asking(PROMPT, tools=TOOLS))).choices[0]

    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls: Any = choice.message.tool_calls
    assert [call.function.arguments for call in calls] == ARGUMENTS


async def test_with_the_results_the_answer_is_text(classic: AsyncAzureOpenAI):
    asked = asking(PROMPT, tools=TOOLS)
    calls: Any = (await classic.chat.completions.create(**asked)).choices[0].message
    asked["messages"] += [
        calls.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": "x", "content": "sunny"},
    ]

    choice = (await classic.chat.completions.create(**asked)).choices[0]

    assert choice.finish_reason == "stop"
    assert "What is it like?" in str(choice.message.content)


async def test_a_tool_that_was_not_offered_is_refused_by_name(classic: AsyncAzureOpenAI):
    for more in ({}, {"tools": TOOLS[1:]}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": ["weather"]}):
        with pytest.raises(openai.BadRequestError, match=r"weather|'tools'"):
            await classic.chat.completions.create(**asking(PROMPT, **more))
