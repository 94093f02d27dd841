"""One batch: the operations that wait for an entity go to its function together.

State, answers and the removal of the operations are one transaction, so an operation counts once: a process that dies
in the middle leaves the operations where they were. The function does not roll back by itself; what an operation
changed before it raised stays, as on Azure with Python.
"""

import logging
from dataclasses import replace
from typing import Any, Protocol

from stand_in.durable import history as events
from stand_in.durable.app_functions import AppFunctions, FunctionFailed
from stand_in.durable.entity import EntityRecord, LiveEntity
from stand_in.durable.entity_messages import response
from stand_in.durable.failure_texts import split_worker_text, unknown_function
from stand_in.durable.history import HistoryEvent
from stand_in.durable.json_text import indented, parse, quoted
from stand_in.durable.names import entity_key, entity_name, find
from stand_in.durable.options import DurableOptions
from stand_in.durable.task_hub import TaskHub
from stand_in.durable.timestamps import Clock, text
from stand_in.durable.work_items import Operation

logger = logging.getLogger(__name__)


class Answers(Protocol):
    """The way of an answer to the orchestration that called."""

    def send(self, instance_id: str, execution_id: str | None, event: HistoryEvent, due_at: int = 0) -> None: ...


class EntityExecutor:
    """Runs batches."""

    def __init__(
        self, hub: TaskHub, functions: AppFunctions, options: DurableOptions, clock: Clock, answers: Answers
    ) -> None:
        self._hub = hub
        self._functions = functions
        self._options = options
        self._clock = clock
        self._answers = answers

    async def run_batch(self, entity: LiveEntity) -> None:
        """Do the operations that wait now, up to the limit of a batch."""
        operations = list(entity.queue)[: self._options.max_entity_batch]
        record = entity.record or self._read(entity.entity_id)
        result = await self._call(record, operations)
        for operation in operations:
            entity.queue.popleft()
            self._hub.delete_operation(operation.sequence)
        if result["entityExists"] is not None:
            record = replace(record, exists=result["entityExists"], state=result["entityState"])
        now = self._clock.now()
        entity.record = replace(record, created_at=now, updated_at=now)
        self._hub.save_entity(entity.record)
        for operation, outcome in zip(operations, result["results"], strict=True):
            if not operation.is_signal:
                answer = events.event_raised(text(self._clock.next()), operation.message["id"], response(outcome))
                self._answers.send(operation.message["parent"], operation.message["parentExecution"], answer)

    def _read(self, entity_id: str) -> EntityRecord:
        now = self._clock.now()
        return self._hub.entity(entity_id) or EntityRecord(entity_id, False, None, now, now)

    async def _call(self, record: EntityRecord, operations: list[Operation]) -> dict[str, Any]:
        name = find(entity_name(record.entity_id), self._functions.entities)
        if name is None:
            known = self._functions.entities
            return _all_failed(operations, unknown_function(entity_name(record.entity_id), "entity", known))
        try:
            reported = await self._functions.call_entity(name, self._body(record, operations))
        except FunctionFailed as failure:
            logger.error("An entity function failed outside its operations.", extra={"entity_id": record.entity_id})
            return _all_failed(operations, split_worker_text(failure.text)[0])
        result: dict[str, Any] = parse(reported)
        return result

    def _body(self, record: EntityRecord, operations: list[Operation]) -> str:
        return indented(
            {
                "self": {"name": entity_name(record.entity_id), "key": entity_key(record.entity_id)},
                "exists": record.exists,
                "state": record.state,
                "batch": [operation.in_batch() for operation in operations],
            }
        )


def _all_failed(operations: list[Operation], message: str) -> dict[str, Any]:
    """The result of a batch that did not run: nothing changes, and every caller gets the error."""
    failure = {"isError": True, "result": quoted(message)}
    return {"entityExists": None, "entityState": None, "results": [failure] * len(operations)}
