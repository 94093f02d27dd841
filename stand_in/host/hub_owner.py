"""The way to the host that works on the task hub, for one that does not: requests of durable clients are passed on, and
so are the results of activities that had not ended when the hub was lost."""

import logging
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stand_in.durable.engine import DurableEngine
from stand_in.durable.history import HistoryEvent
from stand_in.durable.hub_lease import Owner
from stand_in.durable.json_text import parse
from stand_in.durable.work_items import ActivityTask
from stand_in.host.durable_requests import error_answer

logger = logging.getLogger(__name__)

LATE_RESULTS_PATH = "/late-results"
_PATIENCE = aiohttp.ClientTimeout(total=60.0)
# What belongs to one connection, or is made anew.
_NOT_PASSED_ON = frozenset(
    {"host", "connection", "keep-alive", "content-length", "transfer-encoding", "date", "server"}
)


class HubOwner:
    """Speaks to the endpoint of whoever owns the hub."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def pass_on(self, request: Request, owner: Owner | None, path: str) -> Response:
        """The owner's answer to this request, sent to `path` of its endpoint."""
        if owner is None:
            return error_answer(503, "No host works on the task hub.", "NoOwner")
        url = f"{owner.address}{path}"
        try:
            async with self._open().request(
                request.method,
                url,
                params=request.query_params.multi_items(),
                headers=_passed_on(request.headers.items()),
                data=await request.body(),
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
                return Response(body, answer.status, _passed_on(answer.headers.items()))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return error_answer(503, f"The host that works on the task hub does not answer: {error!r}.", "OwnerAway")

    async def bring_late_result(self, owner: Owner | None, task: ActivityTask, event: HistoryEvent) -> None:
        """Hand over a result. It is lost when the owner is away, too: then the activity runs again anyway."""
        document = {
            "instanceId": task.instance_id,
            "executionId": task.execution_id,
            "taskId": task.task_id,
            "activity": task.name,
            "event": event.indented,
        }
        counts: Any = None
        try:
            if owner is not None:
                async with self._open().post(f"{owner.address}{LATE_RESULTS_PATH}", json=document) as answer:
                    counts = (await answer.json())["counts"] if answer.status == 200 else answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            counts = repr(error)
        logger.warning("A late result of %s was handed over; it counts: %s", task.name, counts)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_PATIENCE, auto_decompress=False)
        return self._session


async def receive_late_result(request: Request, engine: DurableEngine) -> Response:
    """The other end of `bring_late_result`."""
    document = parse((await request.body()).decode())
    event = HistoryEvent.from_json(document["event"])
    task = ActivityTask(
        0, document["instanceId"], document["executionId"], document["taskId"], document["activity"], ""
    )
    return JSONResponse({"counts": await engine.take_late_result(task, event)})


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _NOT_PASSED_ON}
