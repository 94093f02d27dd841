"""Health: what is configured and reachable, for probes and for people. No secrets, no cost: the model is not called."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from chat.errors import ChatError, MissingSetting
from http_triggers.answers import answer, answers_errors

PROBE_SECONDS = 3.0


@answers_errors
async def health(req: Request) -> Response:
    """GET api/health: 200 when turns can be accepted, 503 when they cannot. The other services only degrade."""
    storage, signalr = await asyncio.gather(_probe(_storage()), _probe(_signalr()))
    settings = clients.settings()
    services = {
        "storage": storage,
        "signalr": signalr,
        "model": {"configured": bool(settings.openai_endpoint or settings.openai_base_url)},
        "eventHubs": {"configured": bool(settings.event_hub_connection or settings.event_hub_namespace)},
    }
    healthy = storage.get("reachable", False)
    body = {"status": "ok" if healthy else "unavailable", "services": services, "missing": list(settings.missing())}
    return answer(body, 200 if healthy else 503)


async def _storage() -> None:
    journal = clients.journal()
    await journal.prepare()
    await journal.read_order("health")


async def _signalr() -> None:
    await clients.signalr().check_health()


async def _probe(probing: Awaitable[None]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probing
    except MissingSetting:
        return {"configured": False}
    except (ChatError, TimeoutError) as error:
        return {"configured": True, "reachable": False, "error": type(error).__name__}
    return {"configured": True, "reachable": True}
