"""Embeddings through the official clients."""

import math
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from tests.model_emulator import ModelEmulator


async def vectors(client: AsyncOpenAI, texts: Any, **more: Any) -> list[list[float]]:
    answer = await client.embeddings.create(model="zero", input=texts, **more)
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return [item.embedding for item in answer.data]


async def test_both_encodings_on_every_path_are_the_same_vectors(
    classic: AsyncAzureOpenAI, v1: AsyncOpenAI, plain: AsyncOpenAI, emulator: ModelEmulator
):
    """The client asks for base64 by itself and decodes it."""
    texts = ["a quiet river", "東京"]
    found = [await vectors(client, texts) for client in (classic, v1, plain)]
    floats = await vectors(v1, texts, encoding_format="float")

    assert found == [floats] * 3
    assert [len(vector) for vector in floats] == [1536, 1536]
    assert all(math.isclose(sum(part * part for part in vector), 1.0, rel_tol=1e-5) for vector in floats)
    assert {request["kind"] for request in await emulator.requests()} == {"embeddings"}


async def test_texts_that_share_words_are_nearer(v1: AsyncOpenAI):
    river, same, clock = await vectors(v1, ["a quiet river", "the quiet river", "an old clock"])

    def nearness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert nearness(river, same) > 0.5 > nearness(river, clock)


async def test_dimensions_tokens_and_usage(v1: AsyncOpenAI):
    answer = await v1.embeddings.create(model="zero", input=[[1, 2, 3], [4]], dimensions=8)

    assert [len(item.embedding) for item in answer.data] == [8, 8]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.object) == (4, 4, "list")


@pytest.mark.parametrize(
    "change",
    [{"input": ""}, {"input": []}, {"input": ["a", ""]}, {"input": 5}, {"dimensions": 0}, {"encoding_format": "hex"}],
)
async def test_wrong_requests_are_refused_by_name(change: dict[str, Any], v1: AsyncOpenAI):
    with pytest.raises(openai.BadRequestError) as refused:
        await v1.embeddings.create(**{"model": "zero", "input": "a"} | change)

    assert refused.value.param == next(iter(change))
