"""Several choices, structured output, and calls of tools that are forced."""

import json
from typing import Any, Literal

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic import BaseModel

from stand_in.azure_openai.structured_output import write_json
from tests.model_emulator import ModelEmulator
from tests.stand_in.azure_openai.test_chat_completions import asking, collect
from tests.stand_in.azure_openai.test_tool_calls import TOOLS


def texts_by_index(chunks: list[Any]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + ((choice.delta.content or "") if choice.delta else "")
    return texts


async def test_choices_are_said_side_by_side(classic: AsyncAzureOpenAI):
    asked = asking("#length 60", n=3)
    chunks = await collect(classic, **asked, stream_options={"include_usage": True})
    whole = await classic.chat.completions.create(**asked)
    one = await classic.chat.completions.create(**asking("#length 60"))

    texts = texts_by_index(chunks)
    assert [choice.message.content for choice in whole.choices] == [texts[index] for index in range(3)]
    assert len(set(texts.values())) == 3
    assert texts[0] == one.choices[0].message.content
    finished = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(finished) == [0, 1, 2]
    order = [chunk.choices[0].index for chunk in chunks if chunk.choices]
    assert order[:6] == [0, 1, 2] * 2
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


async def test_a_filter_ends_every_choice(classic: AsyncAzureOpenAI, emulator: ModelEmulator):
    chunks = await collect(classic, **asking("#fault filter after=2\n#length 60", n=2))

    finished = {choice.index: choice.finish_reason for chunk in chunks for choice in chunk.choices}
    assert finished == {0: "content_filter", 1: "content_filter"}
    seen = (await emulator.requests())[-1]
    assert (seen["finish_reason"], seen["tokens_sent"]) == ("content_filter", 4)


class Leg(BaseModel):
    kind: Literal["train", "boat"]
    minutes: int


class Journey(BaseModel):
    title: str
    legs: list[Leg]
    note: str | None
    is_return: bool


async def test_an_answer_follows_the_schema_of_its_request(v1: AsyncOpenAI):
    async def ask(prompt: str) -> Journey:
        answer = await v1.chat.completions.parse(
            model="zero", messages=[{"role": "user", "content": prompt}], response_format=Journey
        )
        assert answer.choices[0].message.parsed is not None
        return answer.choices[0].message.parsed

    assert await ask("Where to?") == await ask("Where to?") != await ask("Where else?")


async def test_json_without_a_schema_is_an_object(classic: AsyncAzureOpenAI):
    asked = asking("Answer in JSON.", response_format={"type": "json_object"})
    whole = await classic.chat.completions.create(**asked)

    assert set(json.loads(str(whole.choices[0].message.content))) == {"answer"}
    assert texts_by_index(await collect(classic, **asked)) == {0: whole.choices[0].message.content}


async def test_a_strict_schema_has_to_be_closed(classic: AsyncAzureOpenAI):
    inner = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    outer = {"type": "object", "properties": {"x": inner}, "required": ["x"], "additionalProperties": False}
    described = {"name": "thing", "schema": outer, "strict": True}

    with pytest.raises(openai.BadRequestError, match=r"'properties', 'x'.*additionalProperties"):
        await collect(classic, **asking("Hi", response_format={"type": "json_schema", "json_schema": described}))
    assert json.loads(write_json(outer, "seed"))["x"]["a"]


def test_a_schema_that_refers_to_itself_comes_to_an_end():
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}

    depth, value = 0, json.loads(write_json(node, "seed"))
    while value is not None:
        depth, value = depth + 1, value["next"]
    assert depth > 1


@pytest.mark.parametrize(
    ("choice", "name", "reason"),
    [
        ("required", "weather", "tool_calls"),
        ({"type": "function", "function": {"name": "time"}}, "time", "stop"),
    ],
)
async def test_a_forced_call_has_arguments_that_fit(choice: Any, name: str, reason: str, classic: AsyncAzureOpenAI):
    parameters = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Kyoto"]}}}
    tools = [{"type": "function", "function": tool["function"] | {"parameters": parameters}} for tool in TOOLS]  # type: ignore[operator]

    answer = (await classic.chat.completions.create(**asking("Hi", tools=tools, tool_choice=choice))).choices[0]

    calls: Any = answer.message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [(name, '{"city": "Kyoto"}')]
    assert answer.finish_reason == reason
