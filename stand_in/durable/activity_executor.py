"""Activities: run at least once, up to a number of them at a time.

Each run holds the lock of its task. `redeliver` voids the locks of an instance's running activities, as a lease that
expired would: the tasks are given out again while the old runs go on. The result of a run whose lock is void does not
count, unless the option says so; on Azure Storage the first result that arrives ends the activity, whoever sent it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from stand_in.durable import history as events
from stand_in.durable.app_functions import AppFunctions, FunctionFailed
from stand_in.durable.errors import TaskHubFailed, TaskHubTaken
from stand_in.durable.failure_texts import activity_failed
from stand_in.durable.history import HistoryEvent
from stand_in.durable.http_activity import HttpActivity
from stand_in.durable.json_text import reserialized
from stand_in.durable.options import DurableOptions
from stand_in.durable.replay import HTTP_ACTIVITY
from stand_in.durable.task_hub import TaskHub
from stand_in.durable.timestamps import Clock, text
from stand_in.durable.work_items import ActivityTask

logger = logging.getLogger(__name__)

ReturnResult = Callable[[ActivityTask, HistoryEvent], None]
# Brings a late result to the host that works on the task hub now.
HandOver = Callable[[ActivityTask, HistoryEvent], Awaitable[None]]


class ActivityExecutor:
    """Runs activities and hands back what they returned."""

    def __init__(
        self,
        hub: TaskHub,
        functions: AppFunctions,
        options: DurableOptions,
        clock: Clock,
        return_result: ReturnResult,
        hand_over: HandOver | None = None,
    ) -> None:
        self._hub = hub
        self._functions = functions
        self._options = options
        self._clock = clock
        self._return_result = return_result
        self._hand_over = hand_over
        self._waiting: deque[ActivityTask] = deque()
        # Every task that has not returned, with the number of the run that holds its lock.
        self._locks: dict[int, int] = {}
        self._tasks: dict[int, ActivityTask] = {}
        self._runs: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._http = HttpActivity()

    def enqueue(self, task: ActivityTask) -> None:
        """Run it as soon as there is a place."""
        self._tasks[task.sequence] = task
        self._waiting.append(task)
        self._start_waiting()

    def redeliver(self, instance_id: str) -> int:
        """Void the locks of an instance's running activities and give the tasks out again; how many there were."""
        voided = [
            task for task in self._tasks.values() if task.instance_id == instance_id and task.sequence in self._locks
        ]
        for task in voided:
            self._waiting.append(task)
        self._start_waiting()
        return len(voided)

    async def take_late_result(self, late: ActivityTask, event: HistoryEvent) -> bool:
        """A result from a host that had to give up the hub; whether it counts. Then ours is dropped."""
        found = (task for task in self._tasks.values() if task.is_same_as(late))
        task = next(found, None) if self._options.deliver_late_results else None
        if task is None:
            logger.info("A late result was dropped.", extra=_ids(late))
            return False
        self._finish(task, event)
        await self._hub.stored()
        return True

    def retire(self) -> None:
        """Another host works on the hub: start no more. What runs goes on."""
        self._is_stopping = True

    @property
    def running(self) -> int:
        """How many run now."""
        return len(self._runs)

    async def stop(self, patience: float) -> None:
        """Start no more; give what runs some seconds, then cancel it. What did not return runs again later."""
        self._is_stopping = True
        runs = list(self._runs)
        if runs:
            _, late = await asyncio.wait(runs, timeout=patience)
            for run in late:
                run.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._http.close()

    def _start_waiting(self) -> None:
        while self._waiting and not self._is_stopping and len(self._runs) < self._options.max_concurrent_activities:
            task = self._waiting.popleft()
            if task.sequence not in self._tasks:
                continue
            lock = self._locks[task.sequence] = self._locks.get(task.sequence, 0) + 1
            run = asyncio.get_running_loop().create_task(self._run(task, lock))
            self._runs.add(run)
            run.add_done_callback(self._ended)

    def _ended(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        self._start_waiting()

    async def _run(self, task: ActivityTask, lock: int) -> None:
        event = await self._result(task)
        if task.sequence not in self._tasks:
            logger.info("A result was dropped: another run of the activity was first.", extra=_ids(task))
            return
        if self._locks[task.sequence] != lock and not self._options.deliver_late_results:
            logger.info("A result was dropped: its run had lost the lock.", extra=_ids(task))
            return
        try:
            self._finish(task, event)
            if self._hand_over is not None:
                await self._hub.stored()
        except TaskHubTaken:
            await self._bring_late(task, event)
        except TaskHubFailed:
            logger.warning("A result was lost with the task hub; the activity runs again.", extra=_ids(task))

    def _finish(self, task: ActivityTask, event: HistoryEvent) -> None:
        del self._tasks[task.sequence]
        self._locks.pop(task.sequence, None)
        self._hub.delete_task(task.sequence)
        self._return_result(task, event)

    async def _bring_late(self, task: ActivityTask, event: HistoryEvent) -> None:
        if self._hand_over is None or not self._options.deliver_late_results:
            logger.info("A result was dropped: another host works on the task hub.", extra=_ids(task))
            return
        await self._hand_over(task, event)

    async def _result(self, task: ActivityTask) -> HistoryEvent:
        if task.name == HTTP_ACTIVITY:
            return await self._http.run(task, self._clock)
        try:
            returned = await self._functions.call_activity(task.name, task.instance_id, task.input_text)
        except FunctionFailed as failure:
            reason, details = activity_failed(task.name, failure.text)
            return events.task_failed(text(self._clock.next()), task.task_id, reason, details)
        except Exception as error:
            # Not the app's exception but the host's: reported like one, so that no activity is lost in silence.
            logger.exception("The host failed to run an activity.", extra=_ids(task))
            reason, details = activity_failed(
                task.name, f"Result: Failure\nException: {type(error).__name__}: {error}\nStack: "
            )
            return events.task_failed(text(self._clock.next()), task.task_id, reason, details)
        result = None if returned == "null" else reserialized(returned)
        return events.task_completed(text(self._clock.next()), task.task_id, result)


def _ids(task: ActivityTask) -> dict[str, object]:
    return {"instance_id": task.instance_id, "task_id": task.task_id, "activity": task.name}
