"""Cancellations: background responses that nobody will read are ended at the service, so that they cost no more.

Best effort: a response that is over, or a service that is away, changes nothing for the turn. They run beside the turn
and are waited for at its end.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from chat.errors import MissingSetting, ModelFailure

logger = logging.getLogger(__name__)


class Cancellations:
    """Those of one run. `cancel(deployment, response_id)` may raise ModelFailure or MissingSetting."""

    def __init__(self, cancel: Callable[[str, str], Coroutine[Any, Any, None]]) -> None:
        self._cancel = cancel
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, deployment: str, response_id: str | None) -> None:
        """Cancel this response, once. One that never got an id cannot be found, by nobody."""
        if response_id is not None and response_id not in self._tasks:
            self._tasks[response_id] = asyncio.create_task(self._run(deployment, response_id))

    async def finish(self) -> None:
        """Wait for all of them."""
        await asyncio.gather(*self._tasks.values())

    async def _run(self, deployment: str, response_id: str) -> None:
        try:
            await self._cancel(deployment, response_id)
        except (ModelFailure, MissingSetting) as error:
            logger.warning("The background response %s could not be cancelled: %s", response_id, error)
        else:
            logger.info("The background response %s was cancelled.", response_id)
