"""The activity behind `call_http`: one request, its answer as it came.

The extension follows redirects and, unlike its documentation, does not poll a 202 for Python apps: the 202 is the
result. An orchestrator sees status, headers and text.
"""

import json
import logging
from typing import Any

import aiohttp

from stand_in.durable import history as events
from stand_in.durable.history import HistoryEvent
from stand_in.durable.json_text import compact, parse
from stand_in.durable.timestamps import Clock, text
from stand_in.durable.work_items import ActivityTask

logger = logging.getLogger(__name__)

_USER_AGENT = "Microsoft.Azure.WebJobs.Extensions.DurableTask/3.19.0"
# .NET keeps these with the content, and the extension does not copy them.
_CONTENT_HEADERS = frozenset({"content-type", "content-length"})


class HttpActivity:
    """Sends requests over one session."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def run(self, task: ActivityTask, clock: Clock) -> HistoryEvent:
        """The event that the request ends in."""
        request = parse(task.input_text)
        if request.get("tokenSource"):
            reason = "call_http with a token source needs a managed identity, which the stand-in does not have."
            return events.task_failed(text(clock.next()), task.task_id, reason, None)
        try:
            result = await self._send(request)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            logger.info("A durable HTTP call failed.", extra={"instance_id": task.instance_id})
            return events.task_failed(text(clock.next()), task.task_id, _reason(error), None)
        return events.task_completed(text(clock.next()), task.task_id, compact(result))

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"))
        headers = {"User-Agent": _USER_AGENT, **(request.get("headers") or {})}
        content = request.get("content")
        if content is not None:
            headers.setdefault("Content-Type", "text/plain")
            content = content if isinstance(content, str) else json.dumps(content)
        data = None if content is None else content.encode()
        async with self._session.request(request["method"], request["uri"], headers=headers, data=data) as answer:
            shown: dict[str, Any] = {}
            for name in answer.headers:
                if name.lower() not in _CONTENT_HEADERS:
                    values = answer.headers.getall(name)
                    shown[name] = values[0] if len(values) == 1 else values
            return {"statusCode": answer.status, "headers": shown, "content": await answer.text(errors="replace")}


def _reason(error: Exception) -> str:
    """The first line of what .NET says."""
    if isinstance(error, aiohttp.InvalidURL):
        return (
            "An invalid request URI was provided. Either the request URI must be an absolute URI or BaseAddress must "
            "be set."
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"Name or service not known ({error.host}:{error.port})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"Connection refused ({error.host}:{error.port})"
    return str(error) or type(error).__name__
