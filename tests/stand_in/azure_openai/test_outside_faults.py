"""Faults by deployment: ordered by a prompt, or set from outside without one."""

from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from stand_in.azure_openai.outside_faults import OutsideFaults, parse_outside_fault
from tests.model_emulator import ModelEmulator
from tests.stand_in.azure_openai.test_chat_completions import asking, collect, text_of

KNOWN = ["zero", "fast"]


async def put_faults(emulator: ModelEmulator, *faults: dict[str, Any], **more: Any) -> tuple[int, dict[str, Any]]:
    body = {"faults": list(faults), **more}
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{emulator.url}/_admin/faults", json=body) as response,
    ):
        return response.status, await response.json()


async def test_a_prompt_lets_one_deployment_fail_and_another_answer(classic: AsyncAzureOpenAI):
    prompt = "#fault 503 deployment=zero times=always\n#say Hi"

    with pytest.raises(openai.InternalServerError):
        await collect(classic, **asking(prompt))
    assert text_of(await collect(classic, **asking(prompt) | {"model": "fast"})) == "Hi"
    with pytest.raises(openai.InternalServerError):
        await collect(classic, **asking(prompt))


async def test_a_deployment_fails_from_outside_until_its_faults_are_deleted(
    classic: AsyncAzureOpenAI, emulator: ModelEmulator
):
    status, _ = await put_faults(emulator, {"deployment": "zero", "fault": "429 retry_after=7"})
    assert status == 200

    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as raised:
            await collect(classic, **asking("#say Hi"))
        assert raised.value.response.headers["retry-after"] == "7"
    assert text_of(await collect(classic, **asking("#say Hi") | {"model": "fast"})) == "Hi"
    _, shown = await emulator.get("/_admin/faults")
    assert shown["faults"] == [
        {"fault": "429 retry_after=7", "deployment": "zero", "operation": None, "ratio": 1.0, "happened": 2}
    ]
    async with aiohttp.ClientSession() as session:
        await session.delete(f"{emulator.url}/_admin/faults")
    assert text_of(await collect(classic, **asking("#say Hi"))) == "Hi"


async def test_a_connection_can_be_refused(classic: AsyncAzureOpenAI, emulator: ModelEmulator):
    await put_faults(emulator, {"fault": "refuse times=1"})

    with pytest.raises(openai.APIConnectionError):
        await collect(classic, **asking("#say Hi"))
    assert text_of(await collect(classic, **asking("#say Hi"))) == "Hi"
    seen = (await emulator.requests())[0]
    assert (seen["fault"], seen["status"], seen["disconnected_at"]) == ("refuse", None, None)


async def test_an_operation_can_fail_alone(v1: AsyncOpenAI, emulator: ModelEmulator):
    await put_faults(emulator, {"fault": "503", "operation": "responses.retrieve"})
    made = await v1.responses.create(model="zero", input="#say Hi", background=True)

    with pytest.raises(openai.InternalServerError):
        await v1.responses.retrieve(made.id)
    assert (await v1.responses.cancel(made.id)).status == "completed"


async def test_a_stall_from_outside_befalls_a_stream(classic: AsyncAzureOpenAI, emulator: ModelEmulator):
    await put_faults(emulator, {"fault": "stall after=1 seconds=60"})

    with pytest.raises(openai.APITimeoutError):
        await collect(classic.with_options(timeout=1), **asking("#say a b c"))
    seen = await emulator.last_request_when(lambda request: request["disconnected_at"] is not None)
    assert (seen["fault"], seen["tokens_sent"]) == ("stall", 1)


async def test_a_reset_forgets_them(classic: AsyncAzureOpenAI, emulator: ModelEmulator):
    await put_faults(emulator, {"fault": "500"}, seed=3)
    await emulator.post("/_admin/reset", {})

    assert (await emulator.get("/_admin/faults"))[1] == {"faults": [], "seed": 0}
    assert text_of(await collect(classic, **asking("#say Hi"))) == "Hi"


def test_a_ratio_befalls_the_same_calls_for_the_same_seed():
    def run(seed: int) -> list[bool]:
        faults = OutsideFaults()
        faults.replace([parse_outside_fault({"fault": "503", "ratio": 0.3}, KNOWN)], seed)
        return [faults.choose("zero", "chat.completions") is not None for _ in range(1000)]

    assert run(1) == run(1) != run(2)
    assert 250 < sum(run(1)) < 350


def test_the_first_rule_that_applies_decides():
    faults = OutsideFaults()
    rules = ({"fault": "503 times=1", "deployment": "zero"}, {"fault": "429"})
    faults.replace([parse_outside_fault(rule, KNOWN) for rule in rules], 0)

    kinds = [getattr(faults.choose(name, "embeddings"), "kind", None) for name in ("fast", "zero", "zero")]

    assert kinds == ["429", "503", "429"]


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"fault": "600"}, "the kind is one of"),
        ({"fault": "503", "deployment": "gpt-99"}, "gpt-99"),
        ({"fault": "503", "operation": "audio"}, "responses.retrieve"),
        ({"fault": "503", "ratio": 2}, "ratio"),
        ({"fault": "503", "pace": 1}, "pace"),
        ({"fault": "503 deployment=zero"}, "deployment"),
        ({"deployment": "zero"}, "object"),
    ],
)
async def test_a_wrong_rule_is_refused_and_changes_nothing(fault: dict[str, Any], named: str, emulator: ModelEmulator):
    await put_faults(emulator, {"fault": "503"})
    status, body = await put_faults(emulator, fault)

    assert status == 400
    assert named in body["error"]["message"]
    assert (await emulator.get("/_admin/faults"))[1]["faults"][0]["fault"] == "503"
