"""Turns on the whole stack: POST to 202, added time to first token, tokens per second, messages per answer."""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from bench.bare_model import ask
from bench.figures import Figure, percentile, show
from tests.chat_client import ChatClient
from tests.running_stack import ROOT, RunningStack

CHARACTERS_PER_TOKEN = 4
TOKENS = 300  # of each answer: three seconds at 100 tokens/s
ROUNDS = 3
# 100 tokens a second is a fast model; the first token comes at once, so what is measured is ours.
PROMPT = "#length {characters}\n#speed {rate}\n#first 0"
STREAM_COUNTS = ((1, "<= 30 ms"), (16, "<= 80 ms"), (64, "<= 300 ms"))


async def measure(host: str, settings: Mapping[str, str]) -> list[Figure]:
    """All figures of a running stack."""
    figures = [await _post_to_202(host)]
    for count, bar in STREAM_COUNTS:
        figures += await _streams(host, settings, count, bar)
    figures.append(await _messages_per_answer(host))
    return figures


async def _post_to_202(host: str) -> Figure:
    async with ChatClient(host) as client:
        prompt = PROMPT.format(characters=8, rate="max")
        times = []
        for number in range(110):
            turn_id, _, seconds = await client.start_turn(prompt)
            if number >= 10:  # the first ones warm connections and caches
                times.append(1000 * seconds)
            await asyncio.wait_for(client.ended[turn_id].wait(), 30)
    ours = f"p50 {percentile(times, 0.5):.1f} ms, p99 {percentile(times, 0.99):.1f} ms"
    return Figure("POST to durable 202, one after another", ours, "", "p50 <= 15, p99 <= 60 ms")


async def _streams(host: str, settings: Mapping[str, str], count: int, bar: str) -> list[Figure]:
    """Rounds of turns begun at once; the first round opens connections and does not count."""
    prompt = PROMPT.format(characters=TOKENS * CHARACTERS_PER_TOKEN, rate=100)
    bare = await _bare(settings, count, prompt)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ChatClient(host)) for _ in range(count)]
        await _round(clients, prompt)
        rounds = [await _round(clients, prompt) for _ in range(ROUNDS)]
    added = [1000 * first - bare for firsts, _ in rounds for first in firsts]
    first = Figure(
        f"added time to first token, {count} streams",
        f"p50 {percentile(added, 0.5):.0f} ms, p99 {percentile(added, 0.99):.0f} ms",
        f"model alone {bare:.1f} ms",
        bar,
    )
    if count != 64:
        return [first]
    rate = count * TOKENS / min(seconds for _, seconds in rounds)
    return [first, Figure("durable tokens/s at 64 streams", f"{rate:,.0f}", "64 x 100 asked for", ">= 3,000")]


async def _round(clients: list[ChatClient], prompt: str) -> tuple[list[float], float]:
    """One turn of every client at once: seconds to each first character, and to the last end."""
    started = time.perf_counter()
    turns = await asyncio.gather(*(client.start_turn(prompt) for client in clients))
    pairs = [(client, turn_id, posted) for client, (turn_id, posted, _) in zip(clients, turns, strict=True)]
    await asyncio.gather(*(asyncio.wait_for(client.ended[turn].wait(), 120) for client, turn, _ in pairs))
    seconds = time.perf_counter() - started
    for client, turn_id, _ in pairs:  # the next round begins when this one is told and logged, too
        await client.wait_for(turn_id, "logged")
    for client, turn_id, _ in pairs:
        if len(client.texts[turn_id]) != TOKENS * CHARACTERS_PER_TOKEN:
            raise AssertionError(f"{turn_id} is not whole: {len(client.texts[turn_id])} characters")
    return [client.first_at[turn] - posted for client, turn, posted in pairs], seconds


async def _bare(settings: Mapping[str, str], count: int, prompt: str) -> float:
    """The model's own time to first token under the same load, in ms (median)."""
    endpoint, key = settings["AZURE_OPENAI_ENDPOINT"] + "/openai/v1", settings["AZURE_OPENAI_KEY"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        answers = await asyncio.gather(*(ask(session, endpoint, key, prompt) for _ in range(count)))
    return 1000 * percentile([first for first, _ in answers], 0.5)


async def _messages_per_answer(host: str) -> Figure:
    async with ChatClient(host) as client:
        turn_id, _, _ = await client.start_turn(PROMPT.format(characters=500 * CHARACTERS_PER_TOKEN, rate=100))
        await asyncio.wait_for(client.ended[turn_id].wait(), 60)
        messages = client.messages[turn_id]
    return Figure("SignalR messages per 500-token answer at 100 tok/s", str(messages), "503 one per token", "<= 60")


def main() -> None:
    """Start a stack, measure it, print the table."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        environment = {"TURNS_AT_ONCE": "0", "TURNS_PER_DAY": "0"}
        with RunningStack(ROOT, Path(folder), environment=environment) as stack:
            status = stack.wait_ready()
            ready = time.perf_counter() - started
            figures = asyncio.run(measure(status.addresses["host"], status.settings))
        show("Turns", [Figure("cold start of the stack to ready", f"{ready:.1f} s", "", "<= 5 s"), *figures])


if __name__ == "__main__":
    main()
