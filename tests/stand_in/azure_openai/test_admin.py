"""The emulator's own door, and the emulator as a process with settings."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from stand_in.azure_openai.access import EMULATOR_KEY
from stand_in.azure_openai.deployments import Deployments
from stand_in.azure_openai.rate_limits import RateLimited, RateLimits
from tests.model_emulator import ModelEmulator


async def test_the_request_log_keeps_prompts_to_itself_unless_asked(emulator: ModelEmulator):
    await emulator.ask("a secret question")
    await emulator.ask("#fault 500")

    quiet, spoken = await emulator.requests(), await emulator.requests(bodies=True)
    assert [(request["number"], request["status"], request["error_code"]) for request in quiet] == [
        (1, 200, None),
        (2, 500, "InternalServerError"),
    ]
    assert "secret" not in json.dumps(quiet)
    assert json.loads(spoken[0]["body"])["messages"][0]["content"] == "a secret question"
    assert quiet[0]["message_count"] == 1
    assert quiet[0]["access"] == "key"


async def test_the_log_tells_what_came_since_and_starts_anew_after_a_reset(emulator: ModelEmulator):
    for _ in range(3):
        await emulator.ask("Hi")

    _, since = await emulator.get("/_admin/requests?after=2")
    assert ([request["number"] for request in since["requests"]], since["count"], since["open"]) == ([3], 3, 0)
    await emulator.post("/_admin/reset", {})
    assert await emulator.requests() == []
    assert (await emulator.get("/_admin/requests?after=x"))[0] == 400


async def test_speed_is_changed_for_one_deployment_or_for_all_until_a_reset(emulator: ModelEmulator):
    _, before = await emulator.get("/_admin/speed")
    _, one = await emulator.post("/_admin/speed", {"deployment": "fast", "tokens_per_second": 7})
    _, all_ = await emulator.post("/_admin/speed", {"first_token_seconds": 0.5, "async_filter": True})
    await emulator.post("/_admin/reset", {})

    assert (before["gpt-4o-mini"]["tokens_per_second"], before["zero"]["tokens_per_second"]) == (60, "max")
    assert (one["fast"]["tokens_per_second"], one["gpt-4o"]["tokens_per_second"]) == (7, 100)
    assert {(speed["first_token_seconds"], speed["async_filter"]) for speed in all_.values()} == {(0.5, True)}
    assert (await emulator.get("/_admin/speed"))[1] == before


@pytest.mark.parametrize(
    ("change", "named"),
    [({"deployment": "gpt-99"}, "gpt-99"), ({"tokens_per_second": -1}, "-1"), ({"pace": 3}, "pace"), ([], "object")],
)
async def test_a_wrong_speed_is_refused_by_name(change: Any, named: str, emulator: ModelEmulator):
    status, body = await emulator.post("/_admin/speed", change)

    assert status == 400
    assert named in body["error"]["message"]


async def test_health_needs_no_key(emulator: ModelEmulator):
    assert await emulator.get("/health") == (200, {"service": "azure_openai", "status": "ok"})


def test_the_environment_sets_speeds_and_adds_deployments():
    deployments = Deployments(
        {
            "STAND_IN_MODEL_TOKENS_PER_SECOND": "33",
            "STAND_IN_MODEL_ASYNC_FILTER": "true",
            "STAND_IN_MODEL_DEPLOYMENTS": "gpt4o-mini-chat, mine=gpt-4.1-mini-2025-04-14",
        }
    )

    mine = deployments.find("mine")
    assert mine is not None
    assert (mine.model, mine.speed.tokens_per_second, mine.speed.async_filter) == ("gpt-4.1-mini-2025-04-14", 33, True)
    assert deployments.find("gpt4o-mini-chat") is not None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STAND_IN_MODEL_TOKENS_PER_SECOND", "0"),
        ("STAND_IN_MODEL_FIRST_TOKEN_SECONDS", "soon"),
        ("STAND_IN_MODEL_ASYNC_FILTER", "perhaps"),
        ("STAND_IN_MODEL_TOKENS_PER_MINUTE", "-1"),
    ],
)
def test_a_wrong_setting_is_named_at_start(variable: str, value: str):
    with pytest.raises(ValueError, match=f"{variable}: .*{value}"):
        (Deployments({variable: value}), RateLimits({variable: value}, lambda: 0.0))


def test_the_rate_limit_is_a_bucket_that_refills():
    now = 0.0
    limits = RateLimits({"STAND_IN_MODEL_TOKENS_PER_MINUTE": "1000"}, lambda: now)

    headers = limits.admit("zero", 500, 400)
    with pytest.raises(RateLimited) as limited:
        limits.admit("zero", 200, None)

    assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == ("1000", "100")
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("6", "5")
    assert limited.value.headers["retry-after-ms"] == "6960"  # 116 tokens at 1,000 a minute
    now = 7.0
    assert limits.admit("zero", 200, None)["x-ratelimit-remaining-tokens"] == "0"
    assert limits.admit("other", 200, None)["x-ratelimit-remaining-tokens"] == "784"


@contextmanager
def emulator_process(state_dir: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "stand_in.azure_openai", "--state-dir", str(state_dir)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | environment
    ) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert (ready["service"], ready["pid"]) == ("azure_openai", process.pid)
            yield process, ready["port"]
        finally:
            process.kill()


def test_a_process_announces_itself_obeys_its_settings_and_stops_politely(tmp_path: Path):
    settings = {"STAND_IN_MODEL_TOKENS_PER_SECOND": "max", "STAND_IN_MODEL_FIRST_TOKEN_SECONDS": "0"}
    texts = []
    for _ in range(2):  # a restarted emulator says the same
        with emulator_process(tmp_path, **settings) as (process, port):
            with OpenAI(base_url=f"http://127.0.0.1:{port}/openai/v1/", api_key=EMULATOR_KEY) as client:
                answer = client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "#length 5000"}], timeout=5
                )
            texts.append(answer.choices[0].message.content)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0

    assert texts[0] == texts[1]
    assert len(str(texts[0])) == 5000


async def test_open_connections_are_counted_with_what_runs_on_them(emulator: ModelEmulator, v1: AsyncOpenAI):
    _, before = await emulator.get("/_admin/connections")
    stream = await v1.chat.completions.create(
        model="zero", messages=[{"role": "user", "content": "#speed 10\n#length 9000"}], stream=True
    )
    _, during = await emulator.get("/_admin/connections")
    await stream.close()
    closed = await emulator.last_request_when(lambda request: request["disconnected_at"] is not None)
    _, after = await emulator.get("/_admin/connections")

    assert before == after == {"open": 0, "connections": []}
    [connection] = during["connections"]
    assert connection["requests"] == [{"number": 1, "kind": "chat.completions", "deployment": "zero"}]
    assert connection["peer"] == closed["peer"]
    assert closed["disconnected_ms"] == pytest.approx((closed["disconnected_at"] - closed["received_at"]) * 1000, abs=1)
    assert closed["tokens_produced"] == closed["tokens_sent"] < 100
