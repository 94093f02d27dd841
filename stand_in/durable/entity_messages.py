"""Messages between orchestrations, clients and entities, as JSON texts.

A request is an EventSent event in the orchestration's history and waits in the entity's queue; an answer is an
EventRaised event whose name is the request's id. The times in a request serve the extension to put messages of one
sender in order; here they arrive in order anyway, and are kept for those who read histories.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stand_in.durable.json_text import compact, quoted
from stand_in.durable.timestamps import Clock, text, ticks

_NAMESPACE = "Microsoft.Azure.WebJobs.Extensions.DurableTask"
REQUEST_TYPE = f"{_NAMESPACE}.RequestMessage, {_NAMESPACE}"
RESPONSE_TYPE = f"{_NAMESPACE}.ResponseMessage, {_NAMESPACE}"
_NEVER = "0001-01-01T00:00:00"


@dataclass(slots=True)
class EntityRequests:
    """The requests of one execution. A replay makes the same ids again, so an answer finds its waiter."""

    instance_id: str
    execution_id: str
    clock: Clock
    _count: int = 0
    _last: dict[str, tuple[int, str]] = field(default_factory=dict)

    def message(
        self, entity_id: str, operation: str, input_text: str | None, now: str, *, signal: bool
    ) -> tuple[str, str]:
        """The id and the text of the next request, at the orchestrator's time `now`."""
        request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.instance_id}_{self.execution_id}_{now}_{self._count}"))
        self._count += 1
        sent, predecessor = self._order(entity_id, now)
        request: dict[str, Any] = {"$type": REQUEST_TYPE, "op": operation}
        if signal:
            request["signal"] = True
        if input_text is not None:
            request["input"] = quoted(input_text)
        request |= {
            "id": request_id,
            "parent": self.instance_id,
            "parentExecution": self.execution_id,
            "Timestamp": sent,
            "Predecessor": predecessor,
            "requestTime": text(self.clock.next(), "+00:00"),
        }
        return request_id, compact(request)

    def _order(self, entity_id: str, now: str) -> tuple[str, str]:
        """Times to one receiver rise strictly; one that was raised has no zone, a habit of the extension."""
        at, shown = ticks(now), now
        last, predecessor = self._last.get(entity_id, (0, _NEVER))
        if at <= last:
            at = last + 1
            shown = text(at, "")
        self._last[entity_id] = (at, shown)
        return shown, predecessor


def client_signal(operation: str, input_text: str | None, clock: Clock) -> dict[str, Any]:
    """A signal from outside any orchestration."""
    now = clock.next()
    request: dict[str, Any] = {"$type": REQUEST_TYPE, "op": operation, "signal": True}
    if input_text is not None:
        request["input"] = input_text
    return request | {"id": str(uuid.uuid4()), "Timestamp": text(now), "requestTime": text(now, "+00:00")}


def response(result: Mapping[str, Any]) -> str:
    """The answer to a call, from one entry of the function's results."""
    message: dict[str, Any] = {"$type": RESPONSE_TYPE}
    if result.get("result") is not None:
        message["result"] = result["result"]
    if result.get("isError"):
        message["exceptionType"] = "Error"
    return compact(message)
