"""The Responses API through the official clients: answers that go well, and the bodies that are refused."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tests.model_emulator import ModelEmulator

PATH = "/openai/v1/responses"
OPENING = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
]
CLOSING = [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.fixture
async def azure(emulator: ModelEmulator) -> AsyncIterator[AsyncAzureOpenAI]:
    async with AsyncAzureOpenAI(
        azure_endpoint=emulator.url, api_key=emulator.key, api_version="2025-04-01-preview", max_retries=0
    ) as client:
        yield client


@pytest.fixture(params=["azure", "v1", "plain"])
def client(request: pytest.FixtureRequest, azure: AsyncAzureOpenAI, v1: AsyncOpenAI, plain: AsyncOpenAI) -> AsyncOpenAI:
    return {"azure": azure, "v1": v1, "plain": plain}[request.param]


async def events_of(client: AsyncOpenAI, prompt: str, **more: Any) -> list[Any]:
    stream: Any = await client.responses.create(stream=True, **{"model": "zero", "input": prompt} | more)
    async with stream:
        return [event async for event in stream]


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def test_a_streamed_response_has_the_services_order_and_numbers(client: AsyncOpenAI):
    events = await events_of(client, "#say Hello, 東京!")

    kinds = [event.type for event in events]
    deltas = ["response.output_text.delta"] * 6
    assert kinds == [*OPENING, *deltas, *CLOSING]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert text_of(events) == "Hello, 東京!"
    assert events[-4].text == events[-1].response.output_text == "Hello, 東京!"
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {events[2].item.id}
    assert events[0].response.status == "in_progress"
    assert events[0].response.id == events[-1].response.id
    assert events[-1].response.usage.output_tokens == 6


async def test_events_are_what_the_clients_types_ask_for(v1: AsyncOpenAI):
    """The client itself never checks: every event is held against its own model here."""
    for event in await events_of(v1, "#say a b", instructions="Be brief.", metadata={"a": "b"}):
        members = event.model_dump()
        usage = members.get("response", {}).get("usage")
        if usage:  # newer than what Azure was recorded to send
            usage["input_tokens_details"]["cache_write_tokens"] = 0
        type(event).model_validate(members)


async def test_a_response_that_is_not_streamed_says_what_chat_completions_say(client: AsyncOpenAI):
    response = await client.responses.create(model="zero", input="demo")
    chat = await client.chat.completions.create(model="zero", messages=[{"role": "user", "content": "demo"}])

    assert response.output_text == chat.choices[0].message.content
    assert (response.status, response.object, response.background, response.error) == (
        "completed",
        "response",
        False,
        None,
    )
    assert response.usage is not None
    assert chat.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
    )


async def test_the_helper_of_the_client_reads_the_stream(v1: AsyncOpenAI):
    async with v1.responses.stream(model="zero", input="#say a b c") as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()

    assert snapshots == ["a", "a b", "a b c"]
    assert final.output_text == "a b c"


async def test_a_list_of_messages_and_instructions_reach_the_model(v1: AsyncOpenAI, emulator: ModelEmulator):
    response = await v1.responses.create(
        model="zero",
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "Hi"},
            {"type": "message", "role": "assistant", "content": "Hello!"},
            {"role": "user", "content": [{"type": "input_text", "text": "And you?"}]},
        ],
    )

    assert "> And you?" in response.output_text
    assert "2 earlier messages (1 from you)" in response.output_text
    assert (await emulator.requests())[-1]["message_count"] == 4
    assert response.instructions == "Be brief."


async def test_max_output_tokens_ends_a_response_as_incomplete(v1: AsyncOpenAI):
    events = await events_of(v1, "#length 900", max_output_tokens=16)

    last = events[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output[0].status == "incomplete"
    assert sum(1 for event in events if event.type == "response.output_text.delta") == 16


async def test_a_reasoning_model_thinks_in_an_item_of_its_own(v1: AsyncOpenAI):
    events = await events_of(v1, "#first 0 #speed max\n#say Hi", model="o3-mini", reasoning={"effort": "low"})

    assert [item.type for item in events[-1].response.output] == ["reasoning", "message"]
    assert {event.output_index for event in events if event.type == "response.output_text.delta"} == {1}
    assert events[-1].response.usage.output_tokens_details.reasoning_tokens == 64


async def test_halves_of_an_emoji_arrive_in_two_deltas_and_whole_at_the_end(v1: AsyncOpenAI):
    events = await events_of(v1, "#split surrogates\n#say 🚀")

    assert [event.delta for event in events if event.type == "response.output_text.delta"] == ["\ud83d", "\ude80"]
    assert events[-1].response.output_text == "🚀"


async def test_structured_output_follows_its_schema(v1: AsyncOpenAI):
    class Place(BaseModel):
        name: str
        lanterns: int

    parsed = (await v1.responses.parse(model="zero", input="Where?", text_format=Place)).output_parsed

    assert isinstance(parsed, Place)


async def test_a_kept_response_can_be_read_again_and_deleted(client: AsyncOpenAI):
    made = await client.responses.create(model="zero", input="Hi")

    assert (await client.responses.retrieve(made.id)).output_text == made.output_text
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match=made.id):
        await client.responses.retrieve(made.id)


async def test_what_is_not_to_be_stored_is_not(v1: AsyncOpenAI):
    made = await v1.responses.create(model="zero", input="Hi", store=False)

    with pytest.raises(openai.NotFoundError):
        await v1.responses.retrieve(made.id)


async def test_only_background_responses_are_cancelled_or_streamed_again(v1: AsyncOpenAI):
    made = await v1.responses.create(model="zero", input="Hi")

    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await v1.responses.cancel(made.id)
    with pytest.raises(openai.BadRequestError, match="background=true"):
        await v1.responses.retrieve(made.id, stream=True)


async def test_an_older_api_version_has_no_responses(classic: AsyncAzureOpenAI):
    with pytest.raises(openai.BadRequestError, match="2025-03-01-preview and later"):
        await classic.responses.create(model="zero", input="Hi")


INVALID: list[tuple[dict[str, Any], str, str | None]] = [
    ({"input": None}, "input", "missing_required_parameter"),
    ({"input": [{"role": "bot", "content": "Hi"}]}, "input[0].role", None),
    ({"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]}, "input[0].type", "not_emulated"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input[0].content",
        "not_emulated",
    ),
    ({"previous_response_id": "resp_1"}, "previous_response_id", "not_emulated"),
    ({"tools": [{"type": "web_search"}]}, "tools", "not_emulated"),
    ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value"),
    ({"temperature": 3}, "temperature", None),
    ({"background": "yes"}, "background", "invalid_type"),
    ({"background": True, "store": False}, "background", None),
    ({"reasoning": {"effort": "low"}}, "reasoning.effort", "unsupported_parameter"),
    ({"colour": "blue"}, "colour", "unknown_parameter"),
    ({"input": "#speed quick"}, "messages", None),
]


@pytest.mark.parametrize(("change", "param", "code"), INVALID)
async def test_a_wrong_body_is_refused_by_the_name_of_what_is_wrong(
    change: dict[str, Any], param: str, code: str | None, emulator: ModelEmulator
):
    body = {"model": "zero", "input": "Hi"} | change
    status, answer = await emulator.post(PATH, body, **{"api-key": emulator.key})

    assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, param, code)


async def test_who_may_not_ask_may_not_read_either(emulator: ModelEmulator, v1: AsyncOpenAI):
    made: Response = await v1.responses.create(model="zero", input="Hi")

    assert (await emulator.post(PATH, {"model": "zero", "input": "Hi"}))[0] == 401
    assert (await emulator.get(f"{PATH}/{made.id}"))[0] == 401
    with pytest.raises(openai.NotFoundError, match="deployment"):
        await v1.responses.create(model="gpt-99", input="Hi")


async def test_a_foreground_response_stops_with_its_connection(v1: AsyncOpenAI, emulator: ModelEmulator):
    stream: Any = await v1.responses.create(model="zero", input="#speed 200\n#length 9000", stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()

    seen = await emulator.last_request_when(lambda request: request["disconnected_at"] is not None)
    assert seen["kind"] == "responses.create"
    assert 0 < seen["tokens_produced"] == seen["tokens_sent"] < 2000
    assert seen["disconnected_ms"] > 0
    with pytest.raises(openai.NotFoundError):
        await v1.responses.retrieve(seen["response_id"])


async def test_a_foreground_response_that_merely_ended_is_not_kept(v1: AsyncOpenAI, emulator: ModelEmulator):
    events = await events_of(v1, "#fault end after=2\n#say a b c")

    assert text_of(events) == "a b"
    assert events[-1].type == "response.output_text.delta"
    with pytest.raises(openai.NotFoundError):
        await v1.responses.retrieve(events[0].response.id)
    assert text_of(await events_of(v1, "#fault end after=2\n#say a b c")) == "a b c"
