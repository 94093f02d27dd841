"""Calls that no client waits for: timers, and functions started by hand through `/admin/functions/{name}`."""

from stand_in.host import conversion
from stand_in.host.binding_values import BindingValues
from stand_in.host.errors import BindingFailed
from stand_in.host.expressions import CallData
from stand_in.host.function import Function
from stand_in.host.invocation import Invocations, new_context
from stand_in.host.timers import trigger_text


class FunctionCalls:
    """Runs a function with the text of its trigger, and delivers its outputs."""

    def __init__(self, invocations: Invocations, values: BindingValues) -> None:
        self._invocations = invocations
        self._values = values

    async def call_timer(self, function: Function, trigger: str) -> None:
        """One run of a timer function."""
        await self._call(function, trigger, "json")

    async def call_by_hand(self, function: Function, given: str) -> None:
        """One run with the text that somebody posted; for a timer the text does not matter."""
        if function.trigger.type == "timerTrigger":
            await self.call_timer(function, trigger_text(None))
        elif function.trigger.type == "httpTrigger":
            raise BindingFailed("an HTTP function is started by its URL, not by hand")
        else:
            await self._call(function, given, "string")

    async def _call(self, function: Function, text: str, kind: str) -> None:
        call = CallData(function.name, body=lambda: text)
        arguments = await self._values.read_inputs(function, call)
        trigger = function.trigger
        arguments[trigger.name] = conversion.decode(
            function.signature.inputs[trigger.name], conversion.datum(text, kind)
        )
        outcome = await self._invocations.run(function, arguments, new_context(function, is_traced=False))
        await self._values.write_outputs(function, outcome.outputs, call)
