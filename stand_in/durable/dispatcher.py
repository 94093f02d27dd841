"""The dispatcher: who works on what, and when.

It keeps every instance that is not over in memory, gives each at most one episode at a time, each entity at most one
batch at a time, and runs activities up to their limit. Nothing is polled: a message wakes its receiver as soon as it
is there, a timer sleeps in the event loop. After a restart `resume` takes up everything that was left at once; there
is no other process whose locks could still count.
"""

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Coroutine
from typing import Any

from stand_in.durable.activity_executor import ActivityExecutor, HandOver
from stand_in.durable.app_functions import AppFunctions
from stand_in.durable.entity import LiveEntity
from stand_in.durable.entity_executor import EntityExecutor
from stand_in.durable.errors import TaskHubFailed
from stand_in.durable.history import EventType, HistoryEvent
from stand_in.durable.instance import InstanceRecord, LiveInstance
from stand_in.durable.options import DurableOptions, VersionFailure
from stand_in.durable.orchestration_executor import OrchestrationExecutor
from stand_in.durable.task_hub import Backlog, TaskHub
from stand_in.durable.timestamps import TICKS_PER_SECOND, Clock
from stand_in.durable.versions import is_accepted
from stand_in.durable.work_items import ActivityTask, Message, Operation

logger = logging.getLogger(__name__)

# Pause before an episode or a batch that failed for no fault of the app's is tried again: 2^n seconds, at most this.
_LONGEST_PAUSE_SECONDS = 600


class Dispatcher:
    """Runs what is in the task hub."""

    def __init__(
        self,
        hub: TaskHub,
        functions: AppFunctions,
        options: DurableOptions,
        clock: Clock,
        hand_over: HandOver | None = None,
    ) -> None:
        self.hub = hub
        self.clock = clock
        self.options = options
        self.instances: dict[str, LiveInstance] = {}
        self.entities: dict[str, LiveEntity] = {}
        self.activities = ActivityExecutor(hub, functions, options, clock, self._return_result, hand_over)
        self._orchestrations = OrchestrationExecutor(hub, functions, options, clock, self)
        self._entity_executor = EntityExecutor(hub, functions, options, clock, self)
        self._orchestrator_slots = asyncio.Semaphore(options.max_concurrent_orchestrators)
        self._entity_slots = asyncio.Semaphore(options.max_concurrent_entities)
        self._timers: list[tuple[int, int, Message]] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    # -- life

    def resume(self, backlog: Backlog) -> None:
        """Take up what was left."""
        for record, history in backlog.instances:
            self.instances[record.instance_id] = LiveInstance(record, history)
        for message in backlog.messages:
            instance = self._receiver(message)
            if instance is None:
                self.hub.delete_message(message.sequence)
            else:
                self._enqueue(instance, message)
        for task in backlog.tasks:
            instance = self.instances.get(task.instance_id)
            if instance is None or instance.execution_id != task.execution_id:
                self.hub.delete_task(task.sequence)
            else:
                self.activities.enqueue(task)
        for operation in backlog.operations:
            self._enqueue_operation(operation)

    def retire(self) -> None:
        """Another host works on the hub: decide nothing more. Activities that run go on."""
        self._stopping.set()
        if self._alarm is not None:
            self._alarm.cancel()
        self.activities.retire()

    async def stop(self, patience: float) -> None:
        """Start nothing new; give what runs some seconds, then let go of it. What was let go of runs again later."""
        self._stopping.set()
        if self._alarm is not None:
            self._alarm.cancel()
        deadline = asyncio.get_running_loop().time() + patience
        await self.activities.stop(patience)
        tasks = list(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(0, deadline - asyncio.get_running_loop().time()))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @property
    def _is_stopping(self) -> bool:
        return self._stopping.is_set()

    # -- instances

    def add_instance(self, record: InstanceRecord, started: HistoryEvent) -> None:
        """Create an instance, in the place of any other with its id, and let it begin."""
        self.discard(record.instance_id)
        self.hub.delete_history(record.instance_id)
        self.hub.save_instance(record)
        self.instances[record.instance_id] = LiveInstance(record)
        self.send(record.instance_id, record.execution_id, started)

    def revive(self, record: InstanceRecord, history: list[HistoryEvent]) -> None:
        """Let an instance that was over go on (rewind)."""
        self.hub.save_instance(record)
        self.instances[record.instance_id] = LiveInstance(record, history)

    def discard(self, instance_id: str) -> None:
        """Forget a live instance and everything that waits for it."""
        instance = self.instances.pop(instance_id, None)
        if instance is not None:
            for sequence in instance.stored_messages:
                self.hub.delete_message(sequence)
            instance.stored_messages.clear()

    def send(self, instance_id: str, execution_id: str | None, event: HistoryEvent, due_at: int = 0) -> None:
        """Store an event for an instance, and wake it when the event is due. Nobody there: the event is dropped."""
        message = Message(self.hub.next_sequence(), instance_id, execution_id, event, due_at)
        instance = self._receiver(message)
        if instance is None:
            logger.debug("An event was dropped: its instance is over.", extra={"instance_id": instance_id})
            return
        self.hub.add_message(message)
        self._enqueue(instance, message)

    def _receiver(self, message: Message) -> LiveInstance | None:
        instance = self.instances.get(message.instance_id)
        if instance is None or message.execution_id not in (None, instance.execution_id):
            return None
        return instance

    def _enqueue(self, instance: LiveInstance, message: Message) -> None:
        instance.stored_messages.add(message.sequence)
        if message.due_at > self.clock.now():
            heapq.heappush(self._timers, (message.due_at, message.sequence, message))
            self._set_alarm()
            return
        instance.inbox.append(message)
        self.wake(instance)

    def wake(self, instance: LiveInstance) -> None:
        """See to it that the instance works off its messages."""
        if instance.is_busy or not instance.inbox or self._is_stopping or self._is_parked(instance):
            return
        instance.is_busy = True
        self._spawn(self._work(instance))

    def _is_parked(self, instance: LiveInstance) -> bool:
        """An instance of a version that this worker must not run stays where it is."""
        if self.options.version_failure is VersionFailure.FAIL or is_accepted(instance.record.version, self.options):
            return False
        return all(message.event.event_type is not EventType.EXECUTION_TERMINATED for message in instance.inbox)

    async def _work(self, instance: LiveInstance) -> None:
        try:
            async with self._orchestrator_slots:
                await self._orchestrations.run_episode(instance)
            instance.failures = 0
        except TaskHubFailed:
            return
        except Exception:
            logger.exception("An episode was abandoned.", extra={"instance_id": instance.instance_id})
            await self._pause(instance)
        finally:
            instance.is_busy = False
        if self.instances.get(instance.instance_id) is instance:
            self.wake(instance)

    async def _pause(self, worker: LiveInstance | LiveEntity) -> None:
        worker.failures += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), min(2**worker.failures, _LONGEST_PAUSE_SECONDS))

    # -- timers

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._timers and not self._is_stopping:
            wait = max(0, self._timers[0][0] - self.clock.now()) / TICKS_PER_SECOND
            # A day at most: the loop's own limits, and clocks that are set.
            self._alarm = asyncio.get_running_loop().call_later(min(wait, 86_400), self._fire)

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.clock.now():
            _, _, message = heapq.heappop(self._timers)
            instance = self.instances.get(message.instance_id)
            if instance is not None and message.sequence in instance.stored_messages:
                # One of an earlier generation too: the next episode forgets it.
                instance.inbox.append(message)
                self.wake(instance)
        self._set_alarm()

    # -- activities

    def schedule_activity(self, task: ActivityTask) -> None:
        """Store an activity; it starts when that is done."""
        self.hub.add_task(task)
        self.hub.when_stored(lambda: self.activities.enqueue(task))

    def _return_result(self, task: ActivityTask, event: HistoryEvent) -> None:
        self.send(task.instance_id, task.execution_id, event)

    # -- entities

    def request(self, entity_id: str, message: dict[str, Any]) -> None:
        """Store an operation for an entity, and wake it."""
        operation = Operation(self.hub.next_sequence(), entity_id, message)
        self.hub.add_operation(operation)
        self._enqueue_operation(operation)

    def _enqueue_operation(self, operation: Operation) -> None:
        entity = self.entities.get(operation.entity_id)
        if entity is None:
            entity = self.entities[operation.entity_id] = LiveEntity(operation.entity_id)
        entity.queue.append(operation)
        self._wake_entity(entity)

    def _wake_entity(self, entity: LiveEntity) -> None:
        if not entity.is_busy and entity.queue and not self._is_stopping:
            entity.is_busy = True
            self._spawn(self._work_entity(entity))

    async def _work_entity(self, entity: LiveEntity) -> None:
        try:
            async with self._entity_slots:
                await self._entity_executor.run_batch(entity)
            entity.failures = 0
        except TaskHubFailed:
            return
        except Exception:
            logger.exception("A batch was abandoned.", extra={"entity_id": entity.entity_id})
            await self._pause(entity)
        finally:
            entity.is_busy = False
        if entity.queue:
            self._wake_entity(entity)
        elif self.entities.get(entity.entity_id) is entity:
            del self.entities[entity.entity_id]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
