"""Play: a round on a real stack. Asks, strikes, watches through it all, waits for quiet, and collects the evidence."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence

import aiohttp
from azure.core.exceptions import AzureError
from azure.storage.blob.aio import ContainerClient

from stand_in.azure_openai.tokens import split_tokens
from tests.chaos.commit_points import CommitPoint, arm, disarm, struck_when, was_reached
from tests.chaos.evidence import LATE, REDUCER, Journal, RoundSeen, TurnSeen
from tests.chaos.operator import event_hubs_fault, markers, open_turns, sweep
from tests.chaos.page_reducer import page_screen
from tests.chaos.plan import VISITORS, Plan, Question, Strike
from tests.chaos.screen import Screen, Visitor
from tests.chaos.watchers import OUTAGE, Outcome, StatusPoll, Watcher, watchers_for
from tests.log_reader import find_records
from tests.running_stack import RunningStack

# A record may wait 1 + 5 + 20 s for its hub, and a wake that got lost 15 s, on a busy machine.
PATIENCE = 100.0
SWEEP_SECONDS = 30.0
QUIET_SECONDS = 20.0
PAGE = "page"
# Something did not come back, or not in time: that is a violation, too.
GIVEN_UP = (*OUTAGE, AssertionError, OSError, AzureError)


class Player:
    """One round on one stack."""

    def __init__(self, stack: RunningStack, plan: Plan, point: CommitPoint | None = None) -> None:
        self.stack = stack
        self.plan = plan
        self.point = point
        self.seen = RoundSeen(plan)
        self._visitors: list[Visitor] = []
        self._watchers: dict[str, list[Watcher]] = {}
        self._visitor_of: dict[str, Visitor] = {}
        self._watching: list[asyncio.Task[None]] = []
        self._reading: list[asyncio.Task[None]] = []
        self._began = 0.0

    async def play(self) -> RoundSeen:
        """From the first question until everything is quiet."""
        async with contextlib.AsyncExitStack() as exits:
            for _ in range(VISITORS if len(self.plan.questions) > 1 else 1):
                self._visitors.append(await exits.enter_async_context(Visitor(self.stack.url)))
            await self._signalr_faults()
            if self.point is not None:
                arm(self.stack, self.point)
            self._began = time.time()
            try:
                striking = [asyncio.create_task(self._strike(strike)) for strike in self.plan.strikes]
                asking = [asyncio.create_task(self._ask(question)) for question in self.plan.questions]
                await asyncio.gather(*striking, *asking)
                await self._settle()
                await self._collect()
            except GIVEN_UP as error:
                self.seen.unfinished = [turn.turn_id for turn in self.seen.turns]
                self.seen.left_running = [f"the round could not be finished: {error!r}"]
            finally:
                for task in (*self._watching, *self._reading):
                    task.cancel()
                await asyncio.gather(*self._watching, *self._reading, return_exceptions=True)
                if self.point is not None:
                    self._note(f"commit point {self.point}: {'struck' if self._was_struck() else 'not reached'}")
                    disarm(self.stack)
        return self.seen

    # -- what happens

    async def _ask(self, question: Question) -> None:
        visitor = self._visitors[question.visitor]
        await self._until(question.at)
        asked_at = time.time()
        turn_id = await visitor.ask(
            question.prompt, question.conversation, f"key-{question.run}", deployment=question.deployment
        )
        self._note(f"run {question.run} accepted ({question.story}): {turn_id}")
        accepted = visitor.accepted[turn_id]
        watchers = self._watchers[turn_id] = watchers_for(visitor.client, accepted)
        self._visitor_of[turn_id] = visitor
        self._watching += [asyncio.create_task(watcher.watch()) for watcher in watchers]
        screens = {PAGE: visitor.screens[turn_id]} | {watcher.name: watcher.screen for watcher in watchers}
        turn = TurnSeen(question, turn_id, asked_at, screens)
        self.seen.turns.append(turn)
        if question.stop_after is not None and "stopUrl" in accepted:
            await asyncio.sleep(question.stop_after)
            await self._stop(turn, visitor, accepted["stopUrl"])

    async def _stop(self, turn: TurnSeen, visitor: Visitor, url: str) -> None:
        """Ask to stop until the app has taken it, or says that the turn is over."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(*OUTAGE):
                    async with visitor.client.http.post(url, json={}) as answer:
                        told = await answer.json()
                        if answer.status < 500:
                            turn.take_stop(answer.status, told)
                            self._note(f"run {turn.question.run}: stop answered with {answer.status}")
                            return
                await asyncio.sleep(0.1)

    async def _strike(self, strike: Strike) -> None:
        await self._until(strike.at)
        if strike.what == "silence":
            event_hubs_fault(self.stack, stall_seconds=strike.seconds)
            self._struck(strike.what, strike.service)
            await asyncio.sleep(strike.seconds)
            event_hubs_fault(self.stack)
            return
        pid = self.stack.status().processes.get(strike.service)
        if pid is None:
            self._note(f"{strike.service} is being started again: not struck")
            return
        if strike.what == "freeze":
            await self._freeze(strike, pid)
            return
        with contextlib.suppress(ProcessLookupError):  # it is gone already
            os.kill(pid, signal.SIGKILL)
            self._struck("kill", strike.service)
            if strike.service == "host" and len(self.plan.strikes) == 1:
                await self._resumption(pid)

    async def _freeze(self, strike: Strike, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                self._struck("freeze", strike.service)
                await asyncio.sleep(strike.seconds)
            finally:
                os.kill(pid, signal.SIGCONT)
            self._note(f"{strike.service} goes on")

    async def _resumption(self, killed: int) -> None:
        """How long after the new host was ready the next text came, for the answers that were interrupted."""
        interrupted = {}
        for turn in self.seen.turns:
            text = turn.screens[PAGE].shown[-1][1]
            alone = not turn.question.is_hit and turn.question.stop_after is None
            if text and alone and not turn.screens[PAGE].ended.is_set():
                interrupted[turn.turn_id] = len(text), len(split_tokens(turn.screens[PAGE].text))
        while True:
            status = await asyncio.to_thread(self.stack.status)
            if status.ready and status.processes.get("host") != killed:
                break
            await asyncio.sleep(0.01)
        ready = time.time()
        self._note("host ready")
        await asyncio.sleep(0)
        self._measure = asyncio.create_task(self._next_text(interrupted, ready))
        self._reading.append(self._measure)

    async def _next_text(self, interrupted: dict[str, tuple[int, int]], ready: float) -> None:
        for turn in self.seen.turns:
            if turn.turn_id not in interrupted:
                continue
            length, tokens = interrupted[turn.turn_id]
            screen = turn.screens["long poll"]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    while not (more := [at for at, text in _paints(turn) if len(text) > length]):
                        if screen.ended.is_set():
                            break
                        await asyncio.sleep(0.05)
                    if more:
                        self.seen.resumed.append((tokens, max(0.0, min(more) - ready)))

    async def _signalr_faults(self) -> None:
        async with aiohttp.ClientSession(self.stack.address("signalr")) as http:
            if self.plan.signalr_faults is None:
                await http.delete("/_admin/faults")
            else:
                await http.put("/_admin/faults", json=self.plan.signalr_faults)
                self._note(f"SignalR misbehaves: {self.plan.signalr_faults}")

    def _struck(self, what: str, service: str) -> None:
        now = time.time()
        self.seen.strikes.append((now, what, service))
        self._note(f"{what} {service}")
        # What is on screen at this instant is in the journal, whatever was struck.
        shown = [
            (turn, client, *screen.shown[-1]) for turn in self.seen.turns for client, screen in turn.screens.items()
        ]
        self._reading.append(asyncio.create_task(self._compare(shown)))

    async def _compare(self, shown: Sequence[tuple[TurnSeen, str, int, bytes]]) -> None:
        journals: dict[str, Journal] = {}
        for turn, client, generation, text in shown:
            if text:
                if turn.turn_id not in journals:
                    journals[turn.turn_id] = await self._journal(turn.turn_id)
                turn.shown_then.append((client, generation, text, journals[turn.turn_id]))

    def _was_struck(self) -> bool:
        return self.point is not None and was_reached(self.stack, self.point)

    def _note(self, what: str) -> None:
        self.seen.events.append((time.time(), what))

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self._began + at - time.time()))

    # -- what came of it

    async def _settle(self) -> None:
        """Until every turn is logged, or patience ends; the sweeper helps as its timer would."""
        logged = asyncio.gather(*(self._logged(turn) for turn in self.seen.turns))
        give_up = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < give_up:
                done, _ = await asyncio.wait({logged}, timeout=SWEEP_SECONDS)
                if done:
                    break
                self._note("swept")
                with contextlib.suppress(*OUTAGE, AssertionError):
                    await sweep(self.stack)
        finally:
            logged.cancel()
            await asyncio.gather(logged, return_exceptions=True)
        self.seen.unfinished = [turn.turn_id for turn in self.seen.turns if not turn.logged_at]

    async def _logged(self, turn: TurnSeen) -> None:
        await self._status_of(turn).logged.wait()
        turn.logged_at = time.time()

    def _status_of(self, turn: TurnSeen) -> StatusPoll:
        return next(each for each in self._watchers[turn.turn_id] if isinstance(each, StatusPoll))

    async def _collect(self) -> None:
        await asyncio.to_thread(self.stack.wait_ready)
        await self._all_have_seen_the_end()
        await asyncio.wait_for(asyncio.gather(*self._reading), PATIENCE)
        if self._was_struck() and self.point is not None:
            struck_at = struck_when(self.stack, self.point)
            self.seen.strikes.append((struck_at, "kill", self.point.victim))
            self.seen.events.append((struck_at, f"kill {self.point.victim}"))
        ids = {turn.turn_id for turn in self.seen.turns}
        records = await find_records(self.stack.settings, ids - set(self.seen.unfinished), PATIENCE)
        for turn in self.seen.turns:
            visitor = self._visitor_of[turn.turn_id]
            turn.status = await visitor.client.status(turn.turn_id)
            turn.journal = await self._journal(turn.turn_id)
            for watcher in self._watchers[turn.turn_id]:
                turn.outcomes += watcher.outcomes
            turn.outcomes += [Outcome.of(record) for record in visitor.heard[turn.turn_id] if record["kind"] == "end"]
            turn.records = [record for record in records if record["turn_id"] == turn.turn_id]
            _, told = await visitor.client.get(f"/api/conversations/{turn.question.conversation}")
            turn.messages = [message for message in told["messages"] if message["turnId"] == turn.turn_id]
            late = Screen()
            for record in (await visitor.client.frames(turn.turn_id))["frames"]:
                late.take(record)
            turn.screens = {**turn.screens, LATE: late}
        heard = {turn.turn_id: self._visitor_of[turn.turn_id].heard[turn.turn_id] for turn in self.seen.turns}
        reduced = await page_screen(heard)
        for turn in self.seen.turns:
            turn.screens = {**turn.screens, REDUCER: reduced[turn.turn_id]}
        self.seen.left_running = await self._left_running()

    async def _all_have_seen_the_end(self) -> None:
        """Each client reaches the end by itself, soon after the turn is over."""
        finished = [turn for turn in self.seen.turns if turn.turn_id not in self.seen.unfinished]
        give_up = time.monotonic() + QUIET_SECONDS
        for turn in finished:
            text = self._status_of(turn).status["text"]
            while time.monotonic() < give_up:
                if all(screen.text == text for screen in turn.screens.values()):
                    break
                await asyncio.sleep(0.02)

    async def _journal(self, turn_id: str) -> Journal:
        """The records of a turn, read from storage itself, as soon as that can be reached."""
        name = f"turns/{turn_id.split('-')[1]}/{turn_id}"
        connection = self.stack.settings["AzureWebJobsStorage"]
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with ContainerClient.from_connection_string(
                        connection, "journals", retry_total=0
                    ) as container:
                        data = await (await container.download_blob(name)).readall()
                    return [json.loads(line) for line in data.splitlines()]
                except AzureError:
                    await asyncio.sleep(0.1)

    async def _left_running(self) -> list[str]:
        give_up = time.monotonic() + QUIET_SECONDS
        while True:
            found = [*await self._open_things()]
            if not found or time.monotonic() > give_up:
                return found
            await asyncio.sleep(0.1)

    async def _open_things(self) -> list[str]:
        found = [f"orchestration {turn_id} runs" for turn_id in await open_turns(self.stack)]
        found += [f"{name} is marked as unlogged" for name in await markers(self.stack)]
        url, after = f"{self.stack.address('model')}/_admin/requests", {"after": str(10**9)}
        async with aiohttp.ClientSession() as http, http.get(url, params=after) as answer:
            requests = await answer.json()
        if requests["open"]:
            found.append(f"{requests['open']} connections to the model are open")
        return [*found, *await asyncio.to_thread(lambda: [*self._work_items()])]

    def _work_items(self) -> Iterator[str]:
        """What the engine still has to do."""
        database = self.stack.state_dir / "host" / "durable.db"
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            for table in ("messages", "tasks", "operations"):
                (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                if count:
                    yield f"{count} {table} of the engine are not done"


def _paints(turn: TurnSeen) -> Iterator[tuple[float, bytes]]:
    for screen in turn.screens.values():
        for at, (_, text) in zip(screen.shown_at, screen.shown, strict=True):
            yield at, text
