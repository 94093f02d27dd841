"""Calls that no client waits for: timers, and functions started by hand through `/admin/functions/{name}`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stand_in.host import conversion
from stand_in.host.binding_values import BindingValues
from stand_in.host.errors import BindingFailed, HostError
from stand_in.host.expressions import CallData
from stand_in.host.function import Function
from stand_in.host.invocation import Invocations, RetryContext, new_context
from stand_in.host.retry_policy import read_policy
from stand_in.host.timers import trigger_text

logger = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class FunctionCalls:
    """Runs a function with the text of its trigger, and delivers its outputs."""

    def __init__(self, invocations: Invocations, values: BindingValues, sleep: Sleep = asyncio.sleep) -> None:
        self._invocations = invocations
        self._values = values
        self._sleep = sleep

    async def call_timer(self, function: Function, trigger: str) -> None:
        """One run of a timer function, tried again as its retry policy says."""
        policy, retry = read_policy(function.retry), 0
        while True:
            try:
                return await self._call(function, trigger, "json", RetryContext(retry, policy.count if policy else 0))
            except HostError:
                retry += 1
                wait = policy.wait_before(retry) if policy is not None else None
                if wait is None:
                    raise
                logger.warning("Timer function %s is tried again in %s (retry %d)", function.name, wait, retry)
                await self._sleep(wait.total_seconds())

    async def call_by_hand(self, function: Function, given: str) -> None:
        """One run with the text that somebody posted; for a timer the text does not matter."""
        if function.trigger.type == "timerTrigger":
            await self.call_timer(function, trigger_text(None))
        elif function.trigger.type == "httpTrigger":
            raise BindingFailed("an HTTP function is started by its URL, not by hand")
        else:
            await self._call(function, given, "string")

    async def _call(self, function: Function, text: str, kind: str, retry: RetryContext | None = None) -> None:
        call = CallData(function.name, body=lambda: text)
        arguments = await self._values.read_inputs(function, call)
        trigger = function.trigger
        arguments[trigger.name] = conversion.decode(
            function.signature.inputs[trigger.name], conversion.datum(text, kind)
        )
        outcome = await self._invocations.run(function, arguments, new_context(function, is_traced=False, retry=retry))
        await self._values.write_outputs(function, outcome.outputs, call)
