"""The storm: many turns, while host, Event Hubs and storage are killed at random. What is lost, doubled, unfinished?

Visitors ask one turn after another, a few in each conversation, and repeat a POST with its key until it is accepted.
Every few seconds one of the three services gets SIGKILL; the supervisor starts it again. When all is quiet, the log is
read with the official consumer and held against what the app says of every accepted turn.
"""

import asyncio
import contextlib
import random
import secrets
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import Figure, show
from stand_in.stack import DEATHS_TOO_MANY, DEATHS_WINDOW_SECONDS
from tests.chat_client import ChatClient
from tests.log_reader import find_records
from tests.running_stack import ROOT, RunningStack

TURNS = 300
AT_ONCE = 16
TURNS_IN_A_CONVERSATION = 4
CHARACTERS = 200
PROMPT = f"#length {CHARACTERS} #script mixed #speed 100 #first 0"
VICTIMS = ("host", "eventHubs", "blob")
SECONDS_BETWEEN_KILLS = (1.0, 5.0)
# Beyond the turns themselves: the five tries of a record take 86 s, a turn may wait 5 min for a wake that got lost.
QUIET_SECONDS = 420.0
RETRY_SECONDS = 0.2


@dataclass(slots=True)
class Storm:
    """A storm over one stack."""

    stack: RunningStack
    chance: random.Random
    left: int
    accepted: list[tuple[ChatClient, str]] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    _deaths: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    async def ask(self, client: ChatClient) -> None:
        """One visitor: turn after turn, each to its end."""
        while self.left > 0:
            conversation = "talk-" + secrets.token_hex(8)
            for _ in range(TURNS_IN_A_CONVERSATION):
                if self.left <= 0:
                    return
                self.left -= 1
                turn_id = await _accepted(client, conversation)
                self.accepted.append((client, turn_id))
                await _ended(client, turn_id)

    async def kill(self) -> None:
        """Kill one service after another, none so often that the supervisor would give up on it."""
        while True:
            await asyncio.sleep(self.chance.uniform(*SECONDS_BETWEEN_KILLS))
            now = time.monotonic()
            candidates = [victim for victim in VICTIMS if self._may_die(victim, now)]
            if not candidates:
                continue
            fewest = min(self.kills[victim] for victim in candidates)
            victim = self.chance.choice([each for each in candidates if self.kills[each] == fewest])
            with contextlib.suppress(KeyError, ProcessLookupError):  # it is being started again
                await asyncio.to_thread(self.stack.kill, victim)
                self._deaths[victim].append(now)
                self.kills[victim] += 1

    def _may_die(self, victim: str, now: float) -> bool:
        deaths = self._deaths[victim]
        while deaths and deaths[0] < now - DEATHS_WINDOW_SECONDS - 5:
            deaths.popleft()
        return len(deaths) < DEATHS_TOO_MANY - 1


async def _accepted(client: ChatClient, conversation: str) -> str:
    """Post a turn until it is accepted; its id."""
    key = secrets.token_hex(8)
    while True:
        with contextlib.suppress(aiohttp.ClientError, ValueError, TimeoutError):
            status, body = await client.post_turn({"prompt": PROMPT}, conversation, key)
            if status == 202:
                return str(body["turnId"])
            if status not in (500, 503):
                raise AssertionError(f"{status}: {body}")
        await asyncio.sleep(RETRY_SECONDS)


async def _ended(client: ChatClient, turn_id: str) -> None:
    with contextlib.suppress(TimeoutError):  # it is counted at the end
        await client.wait_for(turn_id, "answered", "logged", seconds=QUIET_SECONDS)


async def _quiet(stack: RunningStack, accepted: Sequence[tuple[ChatClient, str]]) -> dict[str, dict[str, Any]]:
    """Sweep, as the timer does every five minutes, until every turn is logged or the time is over; their statuses."""
    statuses: dict[str, dict[str, Any]] = {}
    give_up = time.monotonic() + QUIET_SECONDS
    waiting = list(accepted)
    async with aiohttp.ClientSession(stack.url) as http:
        while waiting and time.monotonic() < give_up:
            still = []
            for client, turn_id in waiting:
                statuses[turn_id] = await client.status(turn_id)
                if not statuses[turn_id].get("logged"):
                    still.append((client, turn_id))
            waiting = still
            if waiting:
                async with http.post("/admin/functions/sweep_turns", json={"input": ""}) as answer:
                    answer.raise_for_status()
                await asyncio.sleep(5)
    return statuses


def figures_of(
    statuses: Mapping[str, Mapping[str, Any]], records: Sequence[Mapping[str, Any]], storm: Storm, seconds: float
) -> list[Figure]:
    """What came of it. Records are the same when their message id is."""
    by_id: dict[str, Mapping[str, Any]] = {}
    differing = 0
    for record in records:
        differing += by_id.setdefault(record["_id"], record) != record
    counts = Counter(record["turn_id"] for record in by_id.values())
    texts = {record["turn_id"]: record["content"] for record in by_id.values()}
    kills = ", ".join(f"{victim} {storm.kills[victim]}" for victim in VICTIMS)
    whole = [turn for turn, status in statuses.items() if len(status.get("text", "")) == CHARACTERS]
    completed = [turn for turn, status in statuses.items() if status.get("status") == "completed"]
    restarted = [turn for turn, status in statuses.items() if status.get("generation") != 1]
    interrupted = [turn for turn, status in statuses.items() if status.get("attempts", 0) > 1]
    return [
        Figure("turns accepted", str(len(statuses)), f"in {seconds:.0f} s, {len(interrupted)} interrupted"),
        Figure("kill -9", str(storm.kills.total()), kills),
        Figure("turns not completed", str(len(statuses) - len(completed)), "", "0"),
        Figure("answers not whole", str(len(statuses) - len(whole)), "", "0"),
        Figure("answers started again on screen", str(len(restarted)), "", "0"),
        Figure("records lost", str(sum(not counts[turn] for turn in statuses)), "", "0"),
        Figure("records doubled, by message id", str(sum(count > 1 for count in counts.values()) + differing), "", "0"),
        Figure("records sent again, equal and with one id", str(len(records) - len(by_id)), "at least once"),
        Figure(
            "records that differ from the answer",
            str(sum(texts[turn] != statuses[turn]["text"] for turn in statuses if turn in texts)),
            "",
            "0",
        ),
    ]


async def run(stack: RunningStack, turns: int, seed: int) -> list[Figure]:
    """Raise the storm, let it pass, count."""
    storm = Storm(stack, random.Random(seed), turns)
    started = time.perf_counter()
    async with contextlib.AsyncExitStack() as exits:
        clients = [await exits.enter_async_context(ChatClient(stack.url, signalr=False)) for _ in range(AT_ONCE)]
        killing = asyncio.create_task(storm.kill())
        try:
            await asyncio.gather(*(storm.ask(client) for client in clients))
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        seconds = time.perf_counter() - started
        await asyncio.to_thread(stack.wait_ready)
        statuses = await _quiet(stack, storm.accepted)
        records = await find_records(stack.settings, set(statuses), 60 + turns / 100)
    return figures_of(statuses, records, storm, seconds)


def main(turns: int = TURNS, seed: int = 1) -> None:
    """Start a stack, raise a storm over it, print the table."""
    environment = {"TURNS_AT_ONCE": "0", "TURNS_PER_DAY": "0"}
    with tempfile.TemporaryDirectory() as folder, RunningStack(ROOT, Path(folder), environment=environment) as stack:
        stack.wait_ready()
        figures = asyncio.run(run(stack, turns, seed))
    show(f"Storm, seed {seed}", figures)


if __name__ == "__main__":
    main()
