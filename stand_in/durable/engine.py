"""The durable engine: one app's orchestrations, activities and entities, and what a client can ask of them.

Theory of operation. A client's verb becomes a change in the task hub and, mostly, a message to an instance; the verb
returns when that is stored. The dispatcher wakes the instance, an executor runs one episode of its function, and what
the episode decided is stored in one transaction and sent on its way. See `task_hub` for the two rules that make this
safe, `replay` for how decisions are found, and `dispatcher` for who runs when.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stand_in.durable import history as events
from stand_in.durable.activity_executor import HandOver
from stand_in.durable.app_functions import AppFunctions
from stand_in.durable.dispatcher import Dispatcher
from stand_in.durable.entity import EntityRecord
from stand_in.durable.entity_messages import client_signal
from stand_in.durable.errors import (
    EngineStopped,
    FunctionUnknown,
    InstanceExists,
    InstanceFinished,
    InstanceNotFound,
    WrongStatus,
)
from stand_in.durable.failure_texts import unknown_function
from stand_in.durable.history import EventType, HistoryEvent
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.names import entity_id, is_entity_id, is_known
from stand_in.durable.options import DurableOptions
from stand_in.durable.rewinding import rewind
from stand_in.durable.sdk_timestamps import quicken
from stand_in.durable.sqlite_task_hub import SqliteTaskHub
from stand_in.durable.task_hub import EntityFilter, InstanceFilter
from stand_in.durable.timestamps import Clock, text
from stand_in.durable.work_items import ActivityTask

logger = logging.getLogger(__name__)

# How long a polite stop waits for what runs; the real host gives ten seconds.
STOP_PATIENCE_SECONDS = 10.0
_PAGE = 1_000


class DurableEngine:
    """Runs the durable functions of one app on a database file. Use it from one event loop."""

    def __init__(
        self,
        database: Path,
        functions: AppFunctions,
        options: DurableOptions,
        *,
        clock: Clock | None = None,
        owner: str | None = None,
        hand_over: HandOver | None = None,
    ) -> None:
        """`owner` is the token of the lease under which this engine works, `hand_over` the way of results that come
        when another host has taken the hub."""
        self.options = options
        self._functions = functions
        self._clock = clock or Clock()
        self._hub = SqliteTaskHub(database, owner)
        self._hand_over = hand_over
        self._dispatcher: Dispatcher | None = None

    # -- life

    async def start(self) -> None:
        """Open the database and take up at once what was left."""
        for key in self.options.unknown_keys:
            logger.warning("host.json: extensions.durableTask.%s is not a setting of the Durable extension.", key)
        quicken()
        backlog = self._hub.open()
        self._dispatcher = Dispatcher(self._hub, self._functions, self.options, self._clock, self._hand_over)
        self._dispatcher.resume(backlog)

    def retire(self) -> None:
        """Another host has taken the hub: decide nothing more. Activities that run go on; `stop` waits for them."""
        self._running.retire()

    async def stop(self, patience: float = STOP_PATIENCE_SECONDS) -> None:
        """Take no more work, let what runs end for so many seconds, and close. What was cut off runs again later."""
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            await dispatcher.stop(patience)
            self._hub.close()

    @property
    def _running(self) -> Dispatcher:
        if self._dispatcher is None:
            raise EngineStopped("The durable engine is not running.")
        return self._dispatcher

    # -- orchestrations

    async def start_instance(
        self,
        name: str,
        *,
        instance_id: str | None = None,
        input_text: str | None = None,
        version: str | None = None,
        trace_context: Mapping[str, Any] | None = None,
    ) -> str:
        """Create an instance; its id. An unknown name is no error here, the instance fails. Raises InstanceExists."""
        generation = self._generation(instance_id) if instance_id else 0
        instance_id = instance_id or uuid.uuid4().hex
        at = self._clock.next()
        record = InstanceRecord(
            instance_id,
            str(uuid.uuid4()),
            name,
            version or self.options.default_version,
            Status.PENDING,
            at,
            at,
            input_text,
        )
        started = events.execution_started(
            text(self._clock.next()),
            instance_id=instance_id,
            execution_id=record.execution_id,
            name=name,
            version=record.version,
            input_text=input_text,
            generation=generation,
            trace_context=trace_context,
        )
        self._running.add_instance(record, started)
        await self._hub.stored()
        return instance_id

    def _generation(self, instance_id: str) -> int:
        """How often an instance of this id was replaced. Raises InstanceExists when it must not be."""
        live = self._running.instances.get(instance_id)
        if live is not None and not self.options.override_any_state:
            raise InstanceExists(live.record.status.value)
        if live is None and self._hub.instance(instance_id) is None:
            return 0
        began = [event for event in self._hub.history(instance_id) if event.event_type is EventType.EXECUTION_STARTED]
        return 1 + (began[0].fields["Generation"] or 0) if began else 1

    async def raise_event(self, instance_id: str, name: str, data: str | None) -> None:
        """Send an external event; `data` is JSON text. Raises InstanceNotFound or InstanceFinished."""
        await self._send(instance_id, events.event_raised(self._time(), name, data))

    async def terminate(self, instance_id: str, reason: str | None) -> None:
        """End an instance; activities that run go on, their results are dropped."""
        await self._send(instance_id, events.execution_terminated(self._time(), reason))

    async def suspend(self, instance_id: str, reason: str | None) -> None:
        """Hold an instance. Raises WrongStatus when it is held already."""
        self._check_not(instance_id, Status.SUSPENDED, "suspend")
        await self._send(instance_id, events.execution_suspended(self._time(), reason))

    async def resume(self, instance_id: str, reason: str | None) -> None:
        """Let a held instance go on. Raises WrongStatus when it is not held."""
        for status in (Status.RUNNING, Status.PENDING):
            self._check_not(instance_id, status, "resume")
        await self._send(instance_id, events.execution_resumed(self._time(), reason))

    def _check_not(self, instance_id: str, status: Status, verb: str) -> None:
        record = self._existing(instance_id)
        if record.status is status:
            raise WrongStatus(
                f"Cannot {verb} the orchestration instance {instance_id} "
                f"because instance is in the {status.value} state."
            )

    async def _send(self, instance_id: str, event: HistoryEvent) -> None:
        record = self._existing(instance_id)
        if record.status.is_final:
            raise InstanceFinished(f"The instance {instance_id} is {record.status.value}.")
        self._running.send(instance_id, None, event)
        await self._hub.stored()

    def _existing(self, instance_id: str) -> InstanceRecord:
        live = self._running.instances.get(instance_id)
        record = live.record if live is not None else self._hub.instance(instance_id)
        if record is None:
            raise InstanceNotFound(f"No instance with ID '{instance_id}' was found.")
        return record

    async def rewind(self, instance_id: str, reason: str | None) -> None:
        """Try a failed instance's last failure again. Raises InstanceNotFound or WrongStatus."""
        rewind(instance_id, reason, self._hub, self._running, self._clock)
        await self._hub.stored()

    async def restart(self, instance_id: str, *, with_new_id: bool = True) -> str:
        """Start anew with the name and input of an instance; the id. Raises InstanceNotFound or InstanceExists."""
        record = self._existing(instance_id)
        return await self.start_instance(
            record.name,
            instance_id=None if with_new_id else instance_id,
            input_text="null" if record.input is None else record.input,
            version=record.version,
        )

    async def purge(self, instance_id: str) -> bool:
        """Forget a finished instance or an entity; whether there was one. Raises WrongStatus."""
        if is_entity_id(instance_id):
            if self._hub.entity(instance_id) is None:
                return False
            self._hub.delete_entity(instance_id)
            await self._hub.stored()
            return True
        try:
            record = self._existing(instance_id)
        except InstanceNotFound:
            return False
        if not record.status.is_final:
            raise WrongStatus(
                "Only orchestrations in a terminal state can be purged, "
                f"but the orchestration with instance ID {instance_id} has status {record.status.value}"
            )
        self._hub.delete_instance(instance_id)
        await self._hub.stored()
        return True

    async def purge_many(self, wanted: InstanceFilter) -> int:
        """Forget every finished instance that the filter wants; how many."""
        final = [status.value for status in Status if status.is_final]
        chosen = tuple(status for status in wanted.statuses or final if status in final)
        if not chosen:
            return 0
        count = 0
        while page := self._hub.query(replace(wanted, statuses=chosen), _PAGE):
            for record in page:
                if isinstance(record, InstanceRecord):
                    self._hub.delete_instance(record.instance_id)
            count += len(page)
            await self._hub.stored()
        return count

    async def status(self, instance_id: str) -> InstanceRecord | EntityRecord | None:
        """What is stored of an instance, or of an entity under its `@name@key`."""
        self._running  # noqa: B018 - a stopped engine answers nothing
        record = self._hub.instance(instance_id)
        if record is None and is_entity_id(instance_id):
            return self._hub.entity(instance_id)
        return record

    async def history(self, instance_id: str) -> list[HistoryEvent]:
        """The events of an instance's current execution."""
        return self._hub.history(instance_id)

    async def query(self, wanted: InstanceFilter, top: int, start: str = "") -> list[InstanceRecord | EntityRecord]:
        """One page of instances and entities in the order of their ids, from an id on."""
        self._running  # noqa: B018
        return self._hub.query(wanted, top, start)

    # -- entities

    async def signal_entity(self, name: str, key: str, operation: str, input_text: str | None) -> None:
        """Queue an operation; `input_text` is JSON text. Raises FunctionUnknown."""
        if not is_known(name, self._functions.entities):
            raise FunctionUnknown(unknown_function(name, "entity", self._functions.entities))
        self._running.request(entity_id(name, key), client_signal(operation, input_text, self._clock))
        await self._hub.stored()

    async def read_entity(self, name: str, key: str) -> EntityRecord | None:
        """The entity as of its last finished batch."""
        self._running  # noqa: B018
        return self._hub.entity(entity_id(name, key))

    async def list_entities(self, wanted: EntityFilter, top: int, start: str = "") -> list[EntityRecord]:
        """One page of entities in the order of their ids, from an id on."""
        self._running  # noqa: B018
        return self._hub.query_entities(wanted, top, start)

    async def take_late_result(self, task: ActivityTask, event: HistoryEvent) -> bool:
        """A result from a host that had to give up the hub; whether it counts."""
        return await self._running.activities.take_late_result(task, event)

    # -- for tests of what happens when locks expire

    def redeliver_activities(self, instance_id: str) -> int:
        """Void the locks of an instance's running activities, so that they run a second time; how many."""
        return self._running.activities.redeliver(instance_id)

    def _time(self) -> str:
        return text(self._clock.next())
