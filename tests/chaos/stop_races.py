"""Races: a stop against whatever a turn is at, and against its completion; then one outcome, the same everywhere.

Each race is drawn from a seed: what the model does, and when the stop comes. A visitor presses Stop until it is
answered, as a person does who is told that it did not work.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.chaos.promises import PATIENCE, check_promises
from tests.chaos.screen import RETRY_SECONDS, Visitor
from tests.chat_calls import chat_calls
from tests.running_stack import RunningStack

# What the model is told, and between how many seconds after the 202 the stop comes.
PHASES: Mapping[str, tuple[str, tuple[float, float]]] = {
    "first token": ("#first 5\n#say late", (0.0, 0.6)),
    "no answer": ("#fault hang", (0.0, 0.6)),
    "streaming": ("#length 1200\n#script mixed\n#speed 60\n#first 0", (0.1, 1.0)),
    "slow": ("#length 200\n#speed 3\n#first 0", (0.1, 1.0)),
    "waiting": ("#length 200\n#speed 60\n#first 0\n#fault 429 times=1 retry_after=1", (0.0, 1.6)),
    "completing": ("#length 96\n#speed 100\n#first 0", (0.15, 0.45)),
    "queued": ("#length 96\n#speed 100\n#first 0", (0.0, 0.3)),
}


@dataclass(frozen=True, slots=True)
class Race:
    """One stop. `sent_at` is when its first request left (Unix seconds); `code` and `answer` came back for the last."""

    phase: str
    turn_id: str
    prompt: str
    sent_at: float
    code: int
    answer: Mapping[str, Any]

    @property
    def told(self) -> Mapping[str, Any]:
        """The status that the stop was answered with."""
        told: Mapping[str, Any] = self.answer["turn"] if self.code == 409 else self.answer
        return told


async def run_race(visitor: Visitor, number: int, chance: random.Random, series: str = "race") -> list[Race]:
    """Race number so-and-so: one stop, or two where one turn waits for the other. A series has names of its own."""
    phase = list(PHASES)[number % len(PHASES)]
    order, (earliest, latest) = PHASES[phase]
    talk = f"{series}-{number}"
    if phase != "queued":
        prompt = f"{order}\n{talk}"
        turn_id = await visitor.ask(prompt, talk)
        return [await _stop(visitor, phase, turn_id, prompt, chance.uniform(earliest, latest))]
    first_prompt, prompt = f"{PHASES['streaming'][0]}\n{talk} first", f"{order}\n{talk}"
    first = await visitor.ask(first_prompt, talk)
    queued = await visitor.ask(prompt, talk)
    stops = [(phase, queued, prompt), ("streaming", first, first_prompt)]
    chance.shuffle(stops)
    return [await _stop(visitor, *stop, chance.uniform(earliest, latest)) for stop in stops]


async def _stop(visitor: Visitor, phase: str, turn_id: str, prompt: str, after: float) -> Race:
    await asyncio.sleep(after)  # the race: whatever happens until then
    sent_at = time.time()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                code, answer = await visitor.client.stop(turn_id)
            except (aiohttp.ClientError, ValueError):  # the host is away
                code, answer = 0, {}
            if code in (200, 409):
                return Race(phase, turn_id, prompt, sent_at, code, answer)
            assert code in (0, 202, 500, 503), (code, answer)
            await asyncio.sleep(RETRY_SECONDS)


async def check_races(stack: RunningStack, visitor: Visitor, races: Sequence[Race]) -> None:
    """Each turn has one outcome: what its stop was told, and the same on screen, in the journal, the status, the
    conversation and the record. Those that were stopped say so."""
    statuses = {race.turn_id: await visitor.client.wait_for(race.turn_id, "logged", seconds=PATIENCE) for race in races}
    for race in races:
        found = statuses[race.turn_id]
        assert found["status"] == ("stopped" if race.code == 200 else race.told["status"]) != "running"
        for name in ("status", "text", "sha256", "endedAt"):
            assert race.told[name] == found[name], f"{race.phase}: an outcome that was read has changed"
    endings = {turn_id: found["status"] for turn_id, found in statuses.items()}
    await check_promises(stack, visitor, dict.fromkeys(statuses), endings=endings)


async def upstream_calls(stack: RunningStack) -> list[dict[str, Any]]:
    """What the model emulator saw, oldest first; its times are Unix seconds. `prompt` is the question of each call."""
    return [call | {"prompt": call["messages"][-1]["content"]} for call in await chat_calls(stack)]


def seconds_to_close(races: Sequence[Race], calls: Sequence[Mapping[str, Any]]) -> list[float]:
    """For each stop that met an open call of the model: seconds from the request until its connection was closed."""
    closed = {call["prompt"]: call["disconnected_at"] for call in calls if call["disconnected_at"]}
    return [closed[race.prompt] - race.sent_at for race in races if race.prompt in closed]
