"""The proxy before a service that is not Azure's: `OPENAI_BASE_URL`."""

import json
from pathlib import Path

import pytest

from tests.conftest import NewStack
from tests.model_emulator import running_emulator
from tests.proxy_callers import CHAT, KEYS, PROXY_KEYS, callers_of, chat


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat("#say through a plain service")),
        ("/openai/v1/chat/completions", chat("#say through it", model="zero")),
    ],
)
async def test_azures_paths_and_the_plain_ones_both_reach_it(
    new_stack: NewStack, tmp_path: Path, path: str, body: dict[str, object]
):
    """There the body names the model, and no api-version is known."""
    async with running_emulator(tmp_path / "model") as model:
        stack = new_stack(
            environment={
                "OPENAI_BASE_URL": f"{model.url}/v1",
                "OPENAI_API_KEY": "any-key-will-do",
                "PROXY_KEYS": PROXY_KEYS,
            }
        )
        async with callers_of(stack) as callers:
            status, _, answer = await callers.call(body, path, key=KEYS["full"])
            streamed, _, events = await callers.call(body | {"stream": True}, path)
            (record, _) = await callers.records_when(lambda record: record["status"] == "completed", 2)
        seen = await model.requests(bodies=True)

    assert (status, streamed) == (200, 200)
    assert json.loads(answer)["choices"][0]["message"]["content"].startswith("through")
    assert b'"usage"' not in events
    assert {request["path"] for request in seen} == {"/v1/chat/completions"}
    assert {request["api_version"] for request in seen} == {None}
    assert {json.loads(request["body"])["model"] for request in seen} == {"zero"}
    assert (record["deployment"], record["region"]) == ("zero", "unknown")
