"""The proxy's storm: many calls whose callers leave, whose service breaks off, whose host is killed, whose hub is away.

Every call that got an answer was accepted, and so were some that got none; all must be in the log once. When all is
quiet `python -m operations reconcile` is asked, then one record is taken out of the hub, and it is asked again.
"""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import Figure, show
from tests.chaos.operator import event_hubs_fault
from tests.conftest import deployed_copy
from tests.running_stack import ROOT, RunningStack

CALLS = 300
AT_ONCE = 24
# The supervisor gives a service up that dies five times within a minute.
SECONDS_BETWEEN_KILLS = (16.0, 24.0)
SECONDS_BEFORE_OUTAGE = 5.0
OUTAGE_SECONDS = 60.0
# A call whose worker died is closed a minute after it was heard of last; then it is sent.
QUIET_SECONDS = 300.0
KINDS = (
    ("whole", 50, "#length 200 #speed 200 #first 0"),
    ("quick", 20, "#length 20 #speed max #first 0"),
    ("left", 15, "#length 800 #speed 100 #first 0"),  # by its caller, after some bytes
    ("cut", 10, "#length 400 #speed 200 #first 0 #fault cut after=20 times=always"),
    ("refused", 5, "#fault 429 retry_after=1 times=always"),
)


@dataclass(slots=True)
class ProxyStorm:
    """A storm over one stack."""

    stack: RunningStack
    chance: random.Random
    left: int
    kills: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    async def call(self, http: aiohttp.ClientSession) -> None:
        """One caller: call after call."""
        while self.left > 0:
            self.left -= 1
            (kind, _, prompt), streamed = self.chance.choices(KINDS, [weight for _, weight, _ in KINDS])[0], True
            if kind == "quick":
                streamed = False
            try:
                self.ends[await self._one(http, kind, f"{prompt}\ncall {self.left}", streamed=streamed)] += 1
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                self.ends["connection lost"] += 1
                await asyncio.sleep(0.2)  # the host is away

    async def _one(self, http: aiohttp.ClientSession, kind: str, prompt: str, *, streamed: bool) -> str:
        body = {"model": "zero", "stream": streamed, "messages": [{"role": "user", "content": prompt}]}
        async with http.post("/openai/v1/chat/completions", json=body) as answer:
            if answer.status != 200:
                await answer.read()
                return f"status {answer.status}"
            received = 0
            async for piece in answer.content.iter_any():
                received += len(piece)
                if kind == "left" and received > self.chance.randrange(1, 20_000):
                    answer.close()
                    return "left by the caller"
        return "answered"

    async def kill(self) -> None:
        """Kill the host again and again."""
        while True:
            await asyncio.sleep(self.chance.uniform(*SECONDS_BETWEEN_KILLS))
            with contextlib.suppress(KeyError, ProcessLookupError):  # it is being started again
                await asyncio.to_thread(self.stack.kill, "host")
                self.kills += 1

    async def outage(self) -> None:
        """The hub takes no record for a while."""
        await asyncio.sleep(SECONDS_BEFORE_OUTAGE)
        event_hubs_fault(self.stack, reject_sends=10**9)
        await asyncio.sleep(OUTAGE_SECONDS)
        event_hubs_fault(self.stack)


def reconciled(stack: RunningStack) -> dict[str, Any]:
    """What `python -m operations reconcile` says of the stack."""
    asked = subprocess.run(
        [sys.executable, "-m", "operations", "reconcile", "--json"],
        env={**os.environ, **stack.settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 2:
        raise AssertionError(asked.stderr)
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


async def _quiet(stack: RunningStack) -> dict[str, Any]:
    """Sweep, as the timer does every five minutes, until no call waits for its record, or the time is over."""
    give_up = time.monotonic() + QUIET_SECONDS
    async with aiohttp.ClientSession(stack.url) as http:
        while True:
            async with http.post("/admin/functions/sweep_calls", json={"input": ""}) as answer:
                answer.raise_for_status()
            await asyncio.sleep(5)
            found = await asyncio.to_thread(reconciled, stack)
            if not found["waiting"] or time.monotonic() > give_up:
                return found


def lose_one_record(stack: RunningStack, call_id: str) -> int:
    """Take the record of a call out of the hub's storage; how many events that were."""
    (path,) = (stack.state_dir / "eventHubs").glob("*.sqlite*3")
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as log, log:
        return log.execute("DELETE FROM events WHERE instr(tail, ?) > 0", (call_id.encode(),)).rowcount


async def run(stack: RunningStack, calls: int, seed: int) -> list[Figure]:
    """Raise the storm, let it pass, count; then lose a record and see whether that is noticed."""
    storm = ProxyStorm(stack, random.Random(seed), calls)
    started = time.perf_counter()
    headers = {"api-key": stack.settings["PROXY_KEYS"]}
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(stack.url, headers=headers, timeout=timeout) as http:
        troubles = [asyncio.create_task(storm.kill()), asyncio.create_task(storm.outage())]
        try:
            await asyncio.gather(*(storm.call(http) for _ in range(AT_ONCE)))
            await troubles[1]  # a short storm ends before the outage
        finally:
            troubles[0].cancel()
            await asyncio.gather(*troubles, return_exceptions=True)
    seconds = time.perf_counter() - started
    await asyncio.to_thread(stack.wait_ready)
    found = await _quiet(stack)
    lost = found["accepted_ids"][seed % len(found["accepted_ids"])]
    await asyncio.to_thread(lose_one_record, stack, lost)
    again = await asyncio.to_thread(reconciled, stack)
    ends = ", ".join(f"{count} {end}" for end, count in storm.ends.most_common())
    return [
        Figure("calls made", str(calls), f"in {seconds:.0f} s, host killed {storm.kills} times"),
        Figure("what their callers saw", "", ends),
        Figure("calls accepted", str(found["accepted"])),
        Figure("records, copies not counted", str(found["records"]), "", "as many"),
        Figure("records missing", str(len(found["missing"]) + len(found["waiting"])), "", "0"),
        Figure("records of one id that differ", str(len(found["different"])), "", "0"),
        Figure("records nobody accepted", str(len(found["unknown"])), "", "0"),
        Figure("records sent again, equal and with one id", str(len(found["copies"])), "at least once"),
        Figure("missing after one was taken out", str(len(again["missing"])), f"{lost}", "1, by its name"),
        Figure("and named", "yes" if again["missing"] == [lost] else "NO", "", "yes"),
    ]


def main(calls: int = CALLS, seed: int = 1) -> None:
    """Start a stack, raise a storm over its proxy, print the table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningStack(deployed_copy(Path(folder) / "app"), Path(folder) / "state") as stack,
    ):
        stack.wait_ready()
        figures = asyncio.run(run(stack, calls, seed))
    show(f"Storm over the proxy, seed {seed}", figures)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS)
