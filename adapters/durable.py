"""The durable world as the app sees it: instances of chat_turn and the conversation entity."""

import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
from azure.durable_functions import DurableOrchestrationClient, EntityId, OrchestrationRuntimeStatus

from chat.conversation import Conversation

RUNNING = (
    OrchestrationRuntimeStatus.Running,
    OrchestrationRuntimeStatus.Pending,
    OrchestrationRuntimeStatus.ContinuedAsNew,
    OrchestrationRuntimeStatus.Suspended,
)

logger = logging.getLogger(__name__)


class DurableInstances:
    """What starters, attempts and readers ask of the durable client. The SDK raises bare Exception for everything."""

    def __init__(self, client: DurableOrchestrationClient) -> None:
        self._client = client

    async def exists(self, turn_id: str) -> bool:
        """Whether an instance of this id is known, in whatever status."""
        status = await self._client.get_status(turn_id)
        return status.runtime_status is not None

    async def start(self, turn_id: str) -> None:
        """Start chat_turn with the turn id alone as input: any racer's start may win. One that runs means success."""
        try:
            await self._client.start_new("chat_turn", instance_id=turn_id, client_input=turn_id)
        except Exception:
            if not await self.exists(turn_id):
                raise
            logger.info("The orchestration was started by another request.", extra={"turn_id": turn_id})

    async def running(self, turn_id: str) -> bool | None:
        """Whether the instance is at work on this turn; None when there is none."""
        status = (await self._client.get_status(turn_id)).runtime_status
        return None if status is None else status in RUNNING

    async def failed_since(self, since: datetime) -> AsyncIterator[str]:
        """The ids of instances that failed or were terminated, created since then.

        Asked of the RPC endpoint in pages: the SDK's `get_status_by` stops at 100 without a word.
        """
        url = f"{self._client._orchestration_bindings.rpc_base_url}instances/"
        query = {"createdTimeFrom": since.isoformat(), "runtimeStatus": "Failed,Terminated", "top": "100"}
        token: str | None = ""
        async with aiohttp.ClientSession() as session:
            while token is not None:
                headers = {"x-ms-continuation-token": token} if token else {}
                async with session.get(url, params=query | {"showInput": "false"}, headers=headers) as response:
                    response.raise_for_status()
                    found = await response.json()
                    token = response.headers.get("x-ms-continuation-token") or None
                for instance in found:
                    if instance["instanceId"].startswith("turn-"):
                        yield instance["instanceId"]

    async def tell_conversation(self, conversation_key: str, turn: dict[str, Any]) -> None:
        """Send the entity a finished turn without waiting for it."""
        await self._client.signal_entity(EntityId("conversation", conversation_key), "complete_turn", turn)

    async def conversation(self, conversation_key: str) -> Conversation:
        """The entity's state; it can be one operation behind."""
        answer = await self._client.read_entity_state(EntityId("conversation", conversation_key))
        return Conversation.from_dict(answer.entity_state if answer.entity_exists else None)

    async def wake(self, turn_id: str, ended_turn_id: str) -> None:
        """Tell a waiting turn that an earlier one has ended. Getting lost is allowed: a timer stands behind it."""
        await self._raise_event(turn_id, f"ended-{ended_turn_id}", None)

    async def look(self, turn_id: str, claims: int, position: int) -> None:
        """Tell a turn that a reader finds it silent since this position."""
        await self._raise_event(turn_id, f"look-{claims}", {"position": position})

    async def stop(self, turn_id: str) -> None:
        """Tell a turn that it is to wait no longer, since it was stopped."""
        await self._raise_event(turn_id, "stopped", None)

    async def _raise_event(self, turn_id: str, name: str, data: Any) -> None:
        try:
            await self._client.raise_event(turn_id, name, data)
        except Exception as error:  # noqa: BLE001 - an instance that is unknown or over is not an error here
            logger.info("The event %s was not taken: %s", name, error, extra={"turn_id": turn_id})
